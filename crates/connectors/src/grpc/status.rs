//! What a back end says about the end of a call: a gRPC status in trailers, or in the head if there is nothing else.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;

use crate::{ConnectorError, Failure};

/// Base64 with or without padding, as gRPC asks its readers to take both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the status in trailers or in a head.
///
/// `None` if there is none. `Some(Ok(()))` for `OK`.
pub(crate) fn read(headers: &HeaderMap) -> Option<Result<(), ConnectorError>> {
    let code = headers.get("grpc-status")?;
    let code: Option<i32> = code.to_str().ok().and_then(|code| code.parse().ok()).filter(|code| *code >= 0);
    Some(match code {
        Some(0) => Ok(()),
        Some(code) => Err(ConnectorError::Status { code, message: message(headers), details: details(headers) }),
        None => Err(ConnectorError::Malformed { what: "its `grpc-status` is not a number" }),
    })
}

/// Largest header list that is accepted, in bytes as HTTP/2 counts them: rich errors travel in trailers.
pub(crate) const LARGEST: usize = 32 * 1024;

/// Says of a head or of trailers that they are longer than [`LARGEST`].
pub(crate) const TOO_LONG: ConnectorError =
    ConnectorError::Malformed { what: "its head or its trailers are longer than 32 KiB" };

/// Says whether a head or trailers are short enough. Source of the count: RFC 9113, section 6.5.2.
pub(crate) fn check_size(headers: &HeaderMap) -> Result<(), ConnectorError> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if size > LARGEST { Err(TOO_LONG) } else { Ok(()) }
}

/// Says whether a head is that of a gRPC response, and the error if it is not.
pub(crate) fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), ConnectorError> {
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    match (status, is_grpc) {
        (StatusCode::OK, true) => Ok(()),
        (StatusCode::OK, false) => Err(ConnectorError::Malformed { what: "its content type is not gRPC" }),
        // A proxy in front of the back end may answer before it: then nothing says what happened but HTTP's status.
        (_, true) if headers.contains_key("grpc-status") => Ok(()),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(ConnectorError::Credentials { why: format!("it answered with HTTP status {}", status.as_u16()).into() })
        }
        (status, _) => Err(ConnectorError::Failed { why: Failure::Http { status: status.as_u16() } }),
    }
}

fn message(headers: &HeaderMap) -> String {
    headers
        .get("grpc-message")
        .map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned())
        .unwrap_or_default()
}

fn details(headers: &HeaderMap) -> Bytes {
    headers
        .get("grpc-status-details-bin")
        .and_then(|value| BASE64.decode(value.as_bytes()).ok())
        .map(Bytes::from)
        .unwrap_or_default()
}
