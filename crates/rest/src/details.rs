//! Problem details (RFC 9457) from how a call failed in gRPC.
//!
//! What a gateway refused has a type of its own, `urn:drawbridge:refusal:NO_AGREEMENT`; what a provider's system answered has the type of its
//! status, `urn:drawbridge:status:NOT_FOUND`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::status;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::diagnose::Violation;

/// The media type. Source: RFC 9457, section 3.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A call that failed: its status, and what is known beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failure<'a> {
    /// The gRPC status code.
    pub code: i32,
    /// The gRPC status message.
    pub message: &'a str,
    /// An encoded `google.rpc.Status`, or nothing.
    pub details: &'a [u8],
    /// The exchange's id, where there was one.
    pub exchange: Option<&'a str>,
    /// Where it failed, where that is known.
    pub hop: Option<&'a str>,
    /// What is wrong with the request, beside what the details say.
    pub violations: &'a [Violation],
}

impl Failure<'_> {
    /// Returns the problem details.
    #[must_use]
    pub fn problem(&self) -> Value {
        let known = Known::read(self.details);
        let status = status_name(self.code);
        let reason = known.reason.as_deref();
        let kind = reason
            .map_or_else(|| format!("urn:drawbridge:status:{status}"), |name| format!("urn:drawbridge:refusal:{name}"));
        let told = reason.and_then(|name| self.message.strip_prefix(name)?.strip_prefix(": ")).unwrap_or(self.message);
        let mut problem = Map::new();
        problem.insert("type".to_owned(), kind.into());
        problem.insert("title".to_owned(), title(reason.unwrap_or(status)).into());
        problem.insert("status".to_owned(), refusal_status(reason, self.code).into());
        if !told.is_empty() {
            problem.insert("detail".to_owned(), told.into());
        }
        let exchange = self.exchange.or(known.exchange.as_deref());
        if let Some(exchange) = exchange {
            problem.insert("instance".to_owned(), format!("urn:uuid:{exchange}").into());
        }
        problem.insert("code".to_owned(), status.into());
        let words =
            [("reason", reason), ("hop", self.hop.or(known.hop.as_deref())), ("exchange", exchange)].into_iter();
        problem.extend(words.filter_map(|(name, word)| Some((name.to_owned(), word?.into()))));
        if let Some(seconds) = known.retry {
            problem.insert("retryAfter".to_owned(), format!("{seconds}s").into());
        }
        let violations: Vec<Value> = known
            .violations
            .iter()
            .chain(self.violations)
            .map(|violation| json!({"field": violation.field, "description": violation.description}))
            .collect();
        if !violations.is_empty() {
            problem.insert("violations".to_owned(), violations.into());
        }
        if !known.others.is_empty() {
            problem.insert("details".to_owned(), known.others.into());
        }
        Value::Object(problem)
    }

    /// Returns the HTTP status that fits the problem details.
    #[must_use]
    pub fn status(&self) -> u16 {
        refusal_status(Known::read(self.details).reason.as_deref(), self.code)
    }

    /// Returns after how many seconds asking again may help, where that is said. For `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        Known::read(self.details).retry
    }
}

/// Returns the HTTP status of a refusal, or of a status without one.
///
/// That of the code, but for what is too large: clients take 429 as advice to ask again later, and that would not help.
pub(crate) fn refusal_status(reason: Option<&str>, code: i32) -> u16 {
    if reason == Some("TOO_LARGE") { 413 } else { http_status(code) }
}

/// Returns the HTTP status of a gRPC status code. Source: `google/rpc/code.proto`, "HTTP Mapping".
#[must_use]
pub fn http_status(code: i32) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Returns the name of a gRPC status code; one that is not known is `UNKNOWN`.
#[must_use]
pub fn status_name(code: i32) -> &'static str {
    status::name(code).unwrap_or("UNKNOWN")
}

/// `NO_AGREEMENT` as a person writes it.
fn title(name: &str) -> String {
    let mut title = name.replace('_', " ").to_ascii_lowercase();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// What stands in the details that we know how to show.
#[derive(Default)]
struct Known {
    reason: Option<String>,
    hop: Option<String>,
    exchange: Option<String>,
    /// In seconds, rounded up.
    retry: Option<u64>,
    violations: Vec<Violation>,
    /// The rest, as they are.
    others: Vec<Value>,
}

impl Known {
    fn read(details: &[u8]) -> Self {
        let mut known = Self::default();
        let status = RpcStatus::decode(details).unwrap_or_default();
        for any in status.details {
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            let taken = match name {
                "google.rpc.ErrorInfo" => known.info(&any.value),
                "google.rpc.RequestInfo" => RequestInfo::decode(any.value.as_slice())
                    .map(|info| known.exchange = Some(info.request_id).filter(|id| !id.is_empty()))
                    .is_ok(),
                "google.rpc.RetryInfo" => known.retry_info(&any.value),
                "google.rpc.BadRequest" => known.bad_request(&any.value),
                _ => false,
            };
            if !taken {
                known.others.push(json!({"@type": any.type_url, "value": STANDARD.encode(&any.value)}));
            }
        }
        known
    }

    fn info(&mut self, value: &[u8]) -> bool {
        let Ok(info) = ErrorInfo::decode(value) else { return false };
        if info.domain != "drawbridge" {
            return false;
        }
        self.hop = info.metadata.get("hop").cloned();
        self.reason = Some(info.reason);
        true
    }

    fn retry_info(&mut self, value: &[u8]) -> bool {
        let delay = RetryInfo::decode(value).ok().and_then(|info| info.retry_delay);
        let seconds = delay.and_then(|delay| {
            u64::try_from(delay.seconds).ok().map(|whole| whole.saturating_add(u64::from(delay.nanos > 0)))
        });
        self.retry = seconds;
        seconds.is_some()
    }

    fn bad_request(&mut self, value: &[u8]) -> bool {
        let Ok(bad) = BadRequest::decode(value) else { return false };
        self.violations
            .extend(bad.field_violations.into_iter().map(|found| Violation::new(found.field, found.description)));
        true
    }
}

// Source: google/rpc/status.proto and google/rpc/error_details.proto; the fields that are shown.

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: std::collections::HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestInfo {
    #[prost(string, tag = "1")]
    request_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

impl BadRequest {
    pub(crate) fn of(violations: &[Violation]) -> Self {
        let field =
            |found: &Violation| FieldViolation { field: found.field.clone(), description: found.description.clone() };
        Self { field_violations: violations.iter().map(field).collect() }
    }
}

#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(name: &str, message: &impl Message) -> prost_types::Any {
        prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
    }

    #[test]
    fn a_refusal_tells_reason_hop_exchange_retry_and_violations() {
        let metadata = [("hop".to_owned(), "consumer".to_owned())].into();
        let details = RpcStatus {
            details: vec![
                any(
                    "google.rpc.ErrorInfo",
                    &ErrorInfo { reason: "MALFORMED".to_owned(), domain: "drawbridge".to_owned(), metadata },
                ),
                any(
                    "google.rpc.RequestInfo",
                    &RequestInfo { request_id: "0193a1c4-0000-7000-8000-000000000000".to_owned() },
                ),
                any(
                    "google.rpc.RetryInfo",
                    &RetryInfo { retry_delay: Some(prost_types::Duration { seconds: 1, nanos: 5 }) },
                ),
                any(
                    "google.rpc.BadRequest",
                    &BadRequest {
                        field_violations: vec![FieldViolation {
                            field: "nhs_number".to_owned(),
                            description: "ten digits".to_owned(),
                        }],
                    },
                ),
                any("acme.Other", &RequestInfo { request_id: "x".to_owned() }),
            ],
        }
        .encode_to_vec();
        let violations = [Violation::new("a", "b")];
        let failure = Failure {
            code: 3,
            message: "MALFORMED: no",
            details: &details,
            violations: &violations,
            ..Failure::default()
        };
        let problem = failure.problem();
        insta::assert_snapshot!(serde_json::to_string_pretty(&problem).unwrap());
        assert_eq!(failure.retry_after(), Some(2));
    }

    #[test]
    fn an_answer_of_the_provider_has_the_type_of_its_status() {
        let failure =
            Failure { code: 5, message: "none", exchange: Some("id"), hop: Some("legacy"), ..Failure::default() };
        let expected = json!({
            "type": "urn:drawbridge:status:NOT_FOUND", "title": "Not found", "status": 404, "detail": "none",
            "instance": "urn:uuid:id", "code": "NOT_FOUND", "hop": "legacy", "exchange": "id",
        });
        assert_eq!(failure.problem(), expected);
    }

    #[test]
    fn details_that_cannot_be_read_are_left_out() {
        let failure = Failure { code: 99, message: "", details: b"\xff\xff", ..Failure::default() };
        assert_eq!(failure.problem()["type"], "urn:drawbridge:status:UNKNOWN");
        assert_eq!(failure.problem()["status"], 500);
    }
}
