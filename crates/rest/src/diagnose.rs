//! What is wrong with a JSON text that is not a request: every place at once, and never a value.
//!
//! Only run once a text has been turned down, so that a good one is read in one pass. The surprising fact: single values are put
//! to the very decoder that turned the whole down, by way of protobuf's wrapper types.

use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

/// Something in a request that the contract does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: the path in the JSON, `addresses[2].postcode`; empty for the text as a whole. Keys of maps are data, and stand as `*`.
    pub field: String,
    /// What is wrong there; it never repeats a value.
    pub description: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Violations that are looked for; more are not told.
const MOST: usize = 50;
/// Longest name from a request that is repeated to its sender, in characters.
const LONGEST_NAME: usize = 64;

/// Finds what is wrong with `value`, which is no `message`.
pub(crate) fn violations(message: &MessageDescriptor, value: &Value) -> Vec<Violation> {
    let mut found = seen(message, value);
    if found.is_empty() {
        // What the walk has no words for is still wrong.
        found.push(Violation::new("", format!("this is not a `{}` in JSON", message.full_name())));
    }
    found
}

/// Finds what is wrong with `value` as a `message`, if there is something.
pub(crate) fn seen(message: &MessageDescriptor, value: &Value) -> Vec<Violation> {
    let mut walk = Walk { found: Vec::new(), path: String::new() };
    walk.message(message, value);
    walk.found
}

struct Walk {
    found: Vec<Violation>,
    path: String,
}

impl Walk {
    fn say(&mut self, description: impl Into<String>) {
        if self.found.len() < MOST {
            self.found.push(Violation::new(self.path.clone(), description));
        }
    }

    fn within(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        look(self);
        self.path.truncate(before);
    }

    fn message(&mut self, message: &MessageDescriptor, value: &Value) {
        if let Some(form) = form(message.full_name()) {
            if DynamicMessage::deserialize(message.clone(), value).is_err() {
                self.say(format!("a `{}` is {form}", message.full_name()));
            }
            return;
        }
        let Value::Object(members) = value else {
            return self.say(format!("this has to be an object: `{}`", message.full_name()));
        };
        let mut set: Vec<FieldDescriptor> = Vec::new();
        for (name, value) in members {
            let field = message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name));
            let Some(field) = field else {
                if message.get_extension_by_json_name(name).is_none() {
                    self.unknown(message, name);
                }
                continue;
            };
            if !value.is_null() {
                self.within(field.json_name(), |walk| walk.field(&field, value));
                set.push(field);
            }
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            if oneof.fields().filter(|field| set.contains(field)).count() > 1 {
                self.say(format!("more than one field of `{}` is set; set one of them", oneof.name()));
            }
        }
    }

    fn unknown(&mut self, message: &MessageDescriptor, name: &str) {
        let names: Vec<String> = message.fields().map(|field| field.json_name().to_owned()).collect();
        let mut description = "the contract has no such field".to_owned();
        if let Some(near) = problem::nearest(name, names.iter().map(String::as_str)) {
            let _ = write!(description, "; did you mean `{near}`?");
        }
        let shown: String = name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        self.within(&shown, |walk| walk.say(description));
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) {
        if field.is_map() {
            let Value::Object(members) = value else { return self.say("this has to be an object, a map") };
            let Kind::Message(entry) = field.kind() else { return };
            for (key, value) in members {
                self.within("*", |walk| {
                    walk.key(&entry.map_entry_key_field().kind(), key);
                    walk.kind(&entry.map_entry_value_field().kind(), value);
                });
            }
        } else if field.is_list() {
            let Value::Array(elements) = value else { return self.say("this has to be an array") };
            for (at, element) in elements.iter().enumerate() {
                self.within(&format!("[{at}]"), |walk| walk.kind(&field.kind(), element));
            }
        } else {
            self.kind(&field.kind(), value);
        }
    }

    /// Keys are texts in JSON, whatever they are in the contract.
    fn key(&mut self, kind: &Kind, key: &str) {
        let value = match (kind, key) {
            (Kind::Bool, "true" | "false") => Value::Bool(key == "true"),
            _ => Value::String(key.to_owned()),
        };
        self.scalar(kind, &value);
    }

    fn kind(&mut self, kind: &Kind, value: &Value) {
        match kind {
            Kind::Message(message) => self.message(message, value),
            Kind::Enum(values) if values.full_name() == "google.protobuf.NullValue" => {
                if !value.is_null() && value != "NULL_VALUE" && value != 0 {
                    self.say("this has to be null");
                }
            }
            Kind::Enum(values) => {
                let known = match value {
                    Value::String(name) => values.get_value_by_name(name).is_some(),
                    Value::Number(number) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
                };
                if !known {
                    let names: Vec<String> =
                        values.values().take(16).map(|value| format!("`{}`", value.name())).collect();
                    self.say(format!("this has to be a value of `{}`: {}", values.full_name(), names.join(", ")));
                }
            }
            Kind::Double
            | Kind::Float
            | Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64
            | Kind::Bool
            | Kind::String
            | Kind::Bytes => self.scalar(kind, value),
        }
    }

    fn scalar(&mut self, kind: &Kind, value: &Value) {
        let Some((wrapper, form)) = wrapper(kind) else { return };
        let descriptor = DescriptorPool::global().get_message_by_name(wrapper);
        if descriptor.is_some_and(|descriptor| DynamicMessage::deserialize(descriptor, value).is_err()) {
            self.say(format!("this has to be {form}"));
        }
    }
}

/// The wrapper of a scalar, and what the scalar looks like in JSON.
fn wrapper(kind: &Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        Kind::Double => ("google.protobuf.DoubleValue", "a number"),
        Kind::Float => ("google.protobuf.FloatValue", "a number"),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => ("google.protobuf.Int32Value", "a whole number of 32 bits"),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            ("google.protobuf.Int64Value", "a whole number of 64 bits, best as a text")
        }
        Kind::Uint32 | Kind::Fixed32 => ("google.protobuf.UInt32Value", "a whole number of 32 bits, not below 0"),
        Kind::Uint64 | Kind::Fixed64 => {
            ("google.protobuf.UInt64Value", "a whole number of 64 bits, not below 0, best as a text")
        }
        Kind::Bool => ("google.protobuf.BoolValue", "`true` or `false`"),
        Kind::String => ("google.protobuf.StringValue", "a text"),
        Kind::Bytes => ("google.protobuf.BytesValue", "a text in base64"),
        Kind::Message(_) | Kind::Enum(_) => return None,
    })
}

/// What a well-known type that has a form of its own looks like in JSON.
fn form(name: &str) -> Option<&'static str> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => "a text as in `2026-03-01T09:30:00Z`",
        "Duration" => "a text as in `3.5s`",
        "FieldMask" => "a text of names with commas, as in `name,address.postcode`",
        "Any" => "an object with the type's URL under `@type`, of a type that the contract has",
        "Empty" => "an object without anything",
        "Struct" => "an object",
        "ListValue" => "an array",
        "Value" => "any JSON",
        "DoubleValue" | "FloatValue" => "a number",
        "Int32Value" | "UInt32Value" | "Int64Value" | "UInt64Value" => "a whole number within its range",
        "BoolValue" => "`true` or `false`",
        "StringValue" => "a text",
        "BytesValue" => "a text in base64",
        _ => return None,
    })
}
