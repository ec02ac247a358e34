//! What stands in every document once: headers, how failures are told, how systems are known.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Reason;
use crate::details::PROBLEM_JSON;

/// The headers of a call: name, whether it must be set, what it says.
const HEADERS: [(&str, bool, &str); 7] = [
    (
        "Drawbridge-Provider",
        false,
        "The member that is asked, as in `trust.example`. May be left out where the gateway's configuration names one for this system.",
    ),
    ("Drawbridge-Purpose", true, "The purpose that the call is made for, one of those in the agreement."),
    (
        "Drawbridge-Actor",
        false,
        "The acting person, `id;role=…`, percent-encoded, at most 256 bytes. Required where the agreement asks for it.",
    ),
    (
        "Drawbridge-Case",
        false,
        "The case, percent-encoded, at most 256 bytes. Required where the agreement asks for it.",
    ),
    (
        "Drawbridge-Justification",
        false,
        "The justification, percent-encoded, at most 1,024 bytes. Required where the agreement asks for it.",
    ),
    ("Grpc-Timeout", false, "How long the caller waits: digits and a unit, `5S`, `800m` (milliseconds)."),
    ("traceparent", false, "W3C trace context."),
];

/// Only for commands.
const KEY: (&str, bool, &str) =
    ("Drawbridge-Idempotency-Key", true, "Names this command, so that it is done once however often it is sent.");

/// References to the headers of a call.
pub(super) fn header_references(command: bool) -> Vec<Value> {
    let names = HEADERS.iter().map(|(name, _, _)| *name).chain(command.then_some(KEY.0));
    names.map(|name| json!({"$ref": format!("#/components/parameters/{name}")})).collect()
}

/// References to the headers of an answer.
pub(super) fn answer_headers() -> Value {
    json!({
        "Drawbridge-Exchange-Id": {"$ref": "#/components/headers/Drawbridge-Exchange-Id"},
        "Drawbridge-Withheld": {"$ref": "#/components/headers/Drawbridge-Withheld"},
    })
}

/// Everything that operations refer to.
pub(super) fn components(schemas: &BTreeMap<String, Value>, reasons: &[Reason]) -> Value {
    let parameters: Map<String, Value> = HEADERS
        .iter()
        .chain([&KEY])
        .map(|(name, required, text)| {
            let parameter = json!({
                "name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"},
            });
            ((*name).to_owned(), parameter)
        })
        .collect();
    let mut all = schemas.clone();
    all.insert("Problem".to_owned(), problem(reasons));
    all.insert(
        "StreamProblem".to_owned(),
        json!({
            "type": "object",
            "description": "The last line of a stream that failed.",
            "properties": {"@problem": {"$ref": "#/components/schemas/Problem"}},
            "required": ["@problem"],
        }),
    );
    json!({
        "securitySchemes": {"mutualTLS": {
            "type": "mutualTLS",
            "description": "TLS 1.3 with the system's own certificate, issued by its member's authority. The certificate says which system asks.",
        }},
        "parameters": parameters,
        "headers": {
            "Drawbridge-Exchange-Id": {
                "description": "The exchange's id, under which both sides have recorded it.",
                "schema": {"type": "string", "format": "uuid"},
            },
            "Drawbridge-Withheld": {
                "description": "Digest of the list of fields that the agreement withholds.",
                "schema": {"type": "string"},
            },
            "Drawbridge-Hop": {
                "description": "Where it failed.",
                "schema": {"type": "string", "enum": ["consumer", "link", "provider", "legacy"]},
            },
        },
        "responses": responses(reasons),
        "schemas": all,
    })
}

fn problem(reasons: &[Reason]) -> Value {
    let mut names: Vec<&str> = reasons.iter().map(|reason| reason.name.as_str()).collect();
    names.sort_unstable();
    json!({
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "properties": {
            "type": {
                "type": "string", "format": "uri",
                "description": "`urn:drawbridge:refusal:` and the reason for what a gateway refused; `urn:drawbridge:status:` and the code for what the provider's system answered.",
            },
            "title": {"type": "string"},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What is wrong and what mends it, for people."},
            "instance": {"type": "string", "format": "uri", "description": "The exchange, as a URN."},
            "code": {"type": "string", "description": "The name of the gRPC status."},
            "reason": {"type": "string", "enum": names, "description": "Why a gateway refused."},
            "hop": {"type": "string", "enum": ["consumer", "link", "provider", "legacy"], "description": "Where it failed."},
            "exchange": {"type": "string", "format": "uuid", "description": "The exchange's id."},
            "retryAfter": {"type": "string", "description": "When asking again may help, as in `1s`."},
            "violations": {
                "type": "array",
                "description": "What is wrong with the request, place by place.",
                "items": {
                    "type": "object",
                    "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
                    "required": ["field", "description"],
                },
            },
            "details": {"type": "array", "description": "What else the provider's system said.", "items": {"type": "object"}},
        },
        "required": ["type", "title", "status", "code"],
    })
}

fn responses(reasons: &[Reason]) -> Value {
    let mut by_status: BTreeMap<u16, Vec<&Reason>> = BTreeMap::from([(404, Vec::new())]);
    for reason in reasons {
        by_status.entry(reason.status()).or_default().push(reason);
    }
    let mut responses = Map::from_iter([("Problem".to_owned(), response("The call failed."))]);
    for (status, mut reasons) in by_status {
        reasons.sort_by(|a, b| a.name.cmp(&b.name));
        let mut text = if status == 404 {
            "The provider's system has nothing that answers to this.".to_owned()
        } else {
            "Refused by a gateway, or answered so by the provider's system.".to_owned()
        };
        for (at, reason) in reasons.iter().enumerate() {
            let separator = if at == 0 { "\n\n" } else { "\n" };
            let _ = write!(text, "{separator}- `{}`: {}", reason.name, reason.meaning);
        }
        responses.insert(format!("Status{status}"), response(&text));
    }
    Value::Object(responses)
}

fn response(description: &str) -> Value {
    json!({
        "description": description,
        "headers": {
            "Drawbridge-Exchange-Id": {"$ref": "#/components/headers/Drawbridge-Exchange-Id"},
            "Drawbridge-Hop": {"$ref": "#/components/headers/Drawbridge-Hop"},
        },
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}
