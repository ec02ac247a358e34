//! Tries the path to a back end: a connection, and a call of its health service if it has one.

use std::time::{Duration, Instant};

use crate::grpc::connector::GrpcConnector;
use crate::{ConnectorError, Failure};

/// How long the back end may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `HealthCheckResponse` with the status `SERVING`: field 1, 1.
const SERVING: &[u8] = &[0x08, 0x01];

/// `UNAVAILABLE` and `UNAUTHENTICATED` of gRPC's status codes.
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// Returns why a question would fail now. A back end without a health service is healthy if it answers at all.
pub(crate) async fn check(connector: &GrpcConnector) -> Result<(), ConnectorError> {
    match connector.ask_health(Instant::now() + TIMEOUT).await {
        Ok(message) if message.starts_with(SERVING) => Ok(()),
        Ok(_) | Err(ConnectorError::Status { code: UNAVAILABLE, .. }) => {
            Err(ConnectorError::Failed { why: Failure::NotServing })
        }
        Err(ConnectorError::Status { code: UNAUTHENTICATED, .. }) => {
            Err(ConnectorError::Credentials { why: "it asks for authentication".into() })
        }
        Err(ConnectorError::Status { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
