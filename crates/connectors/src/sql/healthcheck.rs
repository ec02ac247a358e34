//! Tries the path of a statement without a question: a connection of its own, and the statement compiled once more.

use crate::ConnectorError;
use crate::sql::connector::SqlConnector;

/// Returns why a question would fail now.
pub(crate) async fn check(connector: &SqlConnector) -> Result<(), ConnectorError> {
    connector.run().health().await
}
