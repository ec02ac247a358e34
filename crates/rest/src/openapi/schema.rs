//! Messages and enums as JSON Schema, in protobuf's JSON mapping.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use super::describe;

/// The types that were referred to, in the order in which they came.
#[derive(Default)]
pub(super) struct Schemas {
    named: BTreeMap<String, Named>,
    waiting: Vec<Named>,
}

#[derive(Clone)]
enum Named {
    Message(MessageDescriptor),
    Enum(EnumDescriptor),
}

impl Schemas {
    /// Returns the schema of a message: inline for a well-known type, else a reference.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        well_known(message.full_name())
            .unwrap_or_else(|| self.reference(message.full_name(), Named::Message(message.clone())))
    }

    /// Returns the schema of a field: what is repeated is an array, a map an object.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return json!({"type": "object"}) };
            let value = self.single(&entry.map_entry_value_field().kind());
            json!({"type": "object", "additionalProperties": value})
        } else if field.is_list() {
            json!({"type": "array", "items": self.single(&field.kind())})
        } else {
            self.single(&field.kind())
        }
    }

    /// Returns the schema of one value.
    pub(super) fn single(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double => number("double"),
            Kind::Float => number("float"),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"})
            }
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Message(message) => self.message(message),
            Kind::Enum(values) if values.full_name() == "google.protobuf.NullValue" => json!({"type": "null"}),
            Kind::Enum(values) => self.reference(values.full_name(), Named::Enum(values.clone())),
        }
    }

    fn reference(&mut self, name: &str, named: Named) -> Value {
        if !self.named.contains_key(name) {
            self.named.insert(name.to_owned(), named.clone());
            self.waiting.push(named);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Writes all types that were referred to, and those that they refer to.
    pub(super) fn finish(&mut self, comments: &mut Comments) -> BTreeMap<String, Value> {
        let mut written = BTreeMap::new();
        while let Some(named) = self.waiting.pop() {
            match named {
                Named::Message(message) => {
                    written.insert(message.full_name().to_owned(), self.object(&message, comments));
                }
                Named::Enum(values) => {
                    written.insert(values.full_name().to_owned(), names(&values, comments));
                }
            }
        }
        written
    }

    fn object(&mut self, message: &MessageDescriptor, comments: &mut Comments) -> Value {
        let mut object = Map::from_iter([("type".to_owned(), Value::from("object"))]);
        describe(&mut object, comments.of(&message.parent_file(), message.path()));
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields() {
            let mut schema = self.field(&field);
            if let Some(schema) = schema.as_object_mut() {
                describe(schema, comments.of(&field.parent_file(), field.path()));
                if let Some(class) = contract::classification(&field) {
                    schema.insert("x-drawbridge-classification".to_owned(), class.as_str().into());
                }
                if let Some(scheme) = contract::subject(&field) {
                    schema.insert("x-drawbridge-subject".to_owned(), scheme.into());
                }
            }
            properties.insert(field.json_name().to_owned(), schema);
            if field.is_required() {
                required.push(field.json_name().to_owned());
            }
        }
        object.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            object.insert("required".to_owned(), required.into());
        }
        let choices: Vec<Value> =
            message.oneofs().filter(|oneof| !oneof.is_synthetic()).map(|oneof| choice(&oneof)).collect();
        if !choices.is_empty() {
            object.insert("allOf".to_owned(), choices.into());
        }
        Value::Object(object)
    }
}

/// At most one field of a oneof.
fn choice(oneof: &prost_reflect::OneofDescriptor) -> Value {
    let each: Vec<Value> = oneof.fields().map(|field| json!({"required": [field.json_name()]})).collect();
    let mut options = each.clone();
    options.push(json!({"not": {"anyOf": each}}));
    json!({"title": oneof.name(), "oneOf": options})
}

fn names(values: &EnumDescriptor, comments: &mut Comments) -> Value {
    let file = values.parent_file();
    let mut object = Map::from_iter([("type".to_owned(), Value::from("string"))]);
    let mut text = comments.of(&file, values.path()).unwrap_or_default();
    let mut listed = Vec::new();
    for value in values.values() {
        if let Some(comment) = comments.of(&file, value.path()) {
            listed.push(format!("- `{}`: {}", value.name(), comment.replace('\n', " ")));
        }
    }
    if !listed.is_empty() {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&listed.join("\n"));
    }
    describe(&mut object, Some(text).filter(|text| !text.is_empty()));
    let names: Vec<Value> = values.values().map(|value| value.name().into()).collect();
    object.insert("enum".to_owned(), names.into());
    Value::Object(object)
}

fn number(format: &str) -> Value {
    json!({"anyOf": [{"type": "number", "format": format}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]})
}

/// The schema of a type whose JSON is its own. Source: protobuf, "JSON mapping".
pub(super) fn well_known(name: &str) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
        "FieldMask" => json!({"type": "string"}),
        "Any" => json!({
            "type": "object",
            "properties": {"@type": {"type": "string"}},
            "required": ["@type"],
            "additionalProperties": true,
        }),
        "Empty" => json!({"type": "object", "maxProperties": 0}),
        "Struct" => json!({"type": "object", "additionalProperties": true}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "Value" => json!({}),
        "DoubleValue" | "FloatValue" => json!({"type": ["number", "string", "null"]}),
        "Int32Value" => json!({"type": ["integer", "null"], "format": "int32"}),
        "UInt32Value" => json!({"type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX}),
        "Int64Value" => json!({"type": ["string", "null"], "format": "int64"}),
        "UInt64Value" => json!({"type": ["string", "null"], "format": "uint64"}),
        "BoolValue" => json!({"type": ["boolean", "null"]}),
        "StringValue" => json!({"type": ["string", "null"]}),
        "BytesValue" => json!({"type": ["string", "null"], "contentEncoding": "base64"}),
        _ => return None,
    })
}
