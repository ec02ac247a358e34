//! How a call ended, as the Connect protocol tells it.
//!
//! Source: <https://connectrpc.com/docs/protocol>, "Error Codes" and "Error End-Stream".

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::details::{BadRequest, Failure, RpcStatus, status_name};

impl Failure<'_> {
    /// Returns the error of the Connect protocol. Its HTTP status is [`http_status`](crate::http_status) of the code.
    #[must_use]
    pub fn connect_error(&self) -> Value {
        let mut details: Vec<Value> = RpcStatus::decode(self.details)
            .unwrap_or_default()
            .details
            .into_iter()
            .map(|any| detail(any.type_url.rsplit('/').next().unwrap_or_default(), &any.value))
            .collect();
        if !self.violations.is_empty() {
            details.push(detail("google.rpc.BadRequest", &BadRequest::of(self.violations).encode_to_vec()));
        }
        let mut error = Map::new();
        error.insert("code".to_owned(), connect_code(self.code).into());
        if !self.message.is_empty() {
            error.insert("message".to_owned(), self.message.into());
        }
        if !details.is_empty() {
            error.insert("details".to_owned(), details.into());
        }
        Value::Object(error)
    }
}

fn detail(name: &str, value: &[u8]) -> Value {
    json!({"type": name, "value": STANDARD_NO_PAD.encode(value)})
}

/// Returns the Connect protocol's name of a gRPC status code.
fn connect_code(code: i32) -> String {
    match code {
        1 => "canceled".to_owned(),
        _ => status_name(code).to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_code_message_and_details_as_they_are() {
        let any =
            prost_types::Any { type_url: "type.googleapis.com/acme.Other".to_owned(), value: vec![1, 2, 0xff, 4] };
        let details = RpcStatus { details: vec![any] }.encode_to_vec();
        let failure = Failure { code: 5, message: "none", details: &details, ..Failure::default() };
        let expected = json!({
            "code": "not_found", "message": "none", "details": [{"type": "acme.Other", "value": "AQL/BA"}],
        });
        assert_eq!(failure.connect_error(), expected);
        let violations = [crate::Violation::new("id", "a number")];
        let error = Failure { code: 3, violations: &violations, ..Failure::default() }.connect_error();
        let told = json!([{"type": "google.rpc.BadRequest", "value": "Cg4KAmlkEghhIG51bWJlcg"}]);
        assert_eq!(error["details"], told);
        assert_eq!(Failure { code: 1, ..Failure::default() }.connect_error(), json!({"code": "canceled"}));
        assert_eq!(
            Failure { code: 99, details: b"\xff", ..Failure::default() }.connect_error(),
            json!({"code": "unknown"})
        );
    }
}
