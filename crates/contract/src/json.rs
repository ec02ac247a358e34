//! Requests from JSON and answers to JSON, for people at a terminal.
//!
//! The mapping is protobuf's own (<https://protobuf.dev/programming-guides/json/>). No error repeats a value.

mod numbers;
mod twice;

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};

use crate::method::Method;
pub use numbers::InJson;
pub use twice::Twice;

impl Method {
    /// Encodes a request given as JSON. Fields may go by their names in the contract or by their JSON names. The contract's
    /// rules about values are left to [`Method::check_request`]: a gateway that refuses by them records it.
    ///
    /// # Errors
    ///
    /// [`JsonProblem`], with the place in the text. An unknown field or an unknown value of an enum is one, and so is
    /// what is said twice.
    pub fn request_from_json(&self, text: &str) -> Result<Vec<u8>, JsonProblem> {
        let encoded = message_from_json(self.input(), text)?.encode_to_vec();
        match self.check_form(&encoded) {
            Ok(()) => Ok(encoded),
            Err(malformed) => Err(JsonProblem { line: 0, column: 0, what: malformed.to_string(), help: None }),
        }
    }

    /// Reads an answer given as JSON, as [`Method::request_from_json`] reads a request.
    ///
    /// # Errors
    ///
    /// As of [`Method::request_from_json`].
    pub fn answer_from_json(&self, text: &str) -> Result<DynamicMessage, JsonProblem> {
        message_from_json(self.output(), text)
    }

    /// Writes an answer message as JSON on one line.
    ///
    /// # Errors
    ///
    /// [`UnreadableAnswer`] when the bytes are not a message of the contract, or hold what has no form in JSON (a timestamp in the
    /// year 20000, an `Any` of a type that the contract does not have).
    pub fn answer_to_json(&self, message: &[u8]) -> Result<String, UnreadableAnswer> {
        self.check_answer(message).map_err(|malformed| UnreadableAnswer(malformed.to_string()))?;
        let message = DynamicMessage::decode(self.output().clone(), message)
            .map_err(|_| UnreadableAnswer("it cannot be decoded".to_owned()))?;
        serde_json::to_string(&InJson(&message))
            .map_err(|_| UnreadableAnswer("a value in it has no form in JSON".to_owned()))
    }
}

fn message_from_json(descriptor: &MessageDescriptor, text: &str) -> Result<DynamicMessage, JsonProblem> {
    if let Some(Twice { place, what }) = Twice::in_message(descriptor, text.as_bytes()).into_iter().next() {
        return Err(JsonProblem { line: 0, column: 0, what: format!("`{place}`: {what}"), help: None });
    }
    let mut json = serde_json::Deserializer::from_str(text);
    DynamicMessage::deserialize(descriptor.clone(), &mut json)
        .and_then(|message| json.end().map(|()| message))
        .map_err(|error| JsonProblem::new(&error, descriptor))
}

/// A JSON text is not a message of the method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct JsonProblem {
    /// The line, from 1; 0 when the problem is with the text as a whole.
    pub line: usize,
    /// The column, from 1, in bytes; 0 when the problem is with the line as a whole.
    pub column: usize,
    /// What went wrong. It names fields and types, and never a value.
    pub what: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl JsonProblem {
    fn new(error: &serde_json::Error, message: &MessageDescriptor) -> Self {
        let text = error.to_string();
        let (what, help) = if error.is_data() {
            data(&text, message)
        } else if error.is_eof() {
            ("the JSON ends too early".to_owned(), Some("close what is open: a brace, a bracket or a quote".to_owned()))
        } else {
            (
                place(&text).to_owned(),
                Some("write JSON: names and texts in double quotes, no comma before a brace".to_owned()),
            )
        };
        Self { line: error.line(), column: error.column(), what, help }
    }
}

/// An answer cannot be shown as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be shown as JSON: {0}")]
pub struct UnreadableAnswer(pub String);

/// Puts an error about a value in words of ours, because serde's own repeat the value.
fn data(text: &str, message: &MessageDescriptor) -> (String, Option<String>) {
    if let Some(name) = between(text, "unrecognized field name '", "'") {
        let (names, nested) = names(message);
        let help = match problem::nearest(name, names.iter().map(String::as_str)) {
            Some(similar) => Some(format!("did you mean `{similar}`?")),
            // With messages within, it is not known here which of them was meant.
            None => (!nested).then(|| format!("`{}` has {}", message.full_name(), list(&names))),
        };
        return (format!("unknown field `{name}`"), help);
    }
    if let Some(oneof) = between(text, "multiple fields provided for oneof '", "'") {
        return (format!("more than one field of `{oneof}` is set"), Some("set one of them".to_owned()));
    }
    if text.starts_with("unrecognized enum value") {
        return ("a name is none of the contract's values".to_owned(), None);
    }
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| place(expected));
    match expected {
        Some("a map") => ("a value of another type stands where an object is expected".to_owned(), None),
        Some(expected) => (format!("a value of another type stands where {expected} is expected"), None),
        None => ("a value does not fit the field's type".to_owned(), None),
    }
}

/// Returns the JSON names of all fields that a message can have, at any depth, and whether it has messages within.
fn names(message: &MessageDescriptor) -> (Vec<String>, bool) {
    let mut seen: Vec<MessageDescriptor> = vec![message.clone()];
    let mut names = Vec::new();
    let mut position = 0;
    while let Some(message) = seen.get(position).cloned() {
        position += 1;
        for field in message.fields() {
            if !message.is_map_entry() && !names.iter().any(|name| name == field.json_name()) {
                names.push(field.json_name().to_owned());
            }
            if let Some(inner) = field.kind().as_message()
                && !seen.contains(inner)
            {
                seen.push(inner.clone());
            }
        }
    }
    (names, seen.len() > 1)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "no fields".to_owned();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Cuts off the place that `serde_json` adds at the end.
fn place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(text, _)| text)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
