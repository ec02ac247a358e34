//! Messages and enums as JSON Schema, in protobuf's JSON mapping.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::{FieldRules, field_rules};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use super::describe;
use super::rules::{self, Given};

/// The types that were referred to, in the order in which they came.
pub(super) struct Schemas {
    /// Messages that answers can hold: what they look like in requests stands in a component of its own, where it differs.
    answered: BTreeSet<String>,
    /// Whether a message has rules in it, however deep.
    ruled: HashMap<String, bool>,
    named: BTreeSet<String>,
    waiting: Vec<(String, Named)>,
}

/// Where a value stands. Only what is asked is held against rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Asked,
    Answered,
}

enum Named {
    Message(MessageDescriptor, Side),
    Enum(EnumDescriptor),
}

impl Schemas {
    /// Begins a document in which these messages are answers.
    pub(super) fn new<'m>(answers: impl Iterator<Item = &'m MessageDescriptor>) -> Self {
        let answered = reached(answers.cloned()).iter().map(|message| message.full_name().to_owned()).collect();
        Self { answered, ruled: HashMap::new(), named: BTreeSet::new(), waiting: Vec::new() }
    }

    /// Returns the schema of a message: inline for a well-known type, else a reference.
    pub(super) fn message(&mut self, message: &MessageDescriptor, side: Side) -> Value {
        if let Some(known) = well_known(message.full_name()) {
            return known;
        }
        let side = if self.is_ruled(message) { side } else { Side::Answered };
        let mut name = message.full_name().to_owned();
        if side == Side::Asked && self.answered.contains(&name) {
            // No name in a contract has a hyphen.
            name.push_str("-Request");
        }
        self.reference(name, Named::Message(message.clone(), side))
    }

    fn is_ruled(&mut self, message: &MessageDescriptor) -> bool {
        if let Some(known) = self.ruled.get(message.full_name()) {
            return *known;
        }
        let within = reached(std::iter::once(message.clone()));
        let ruled = within.iter().flat_map(MessageDescriptor::fields).any(|field| !field_rules(&field).is_empty());
        self.ruled.insert(message.full_name().to_owned(), ruled);
        ruled
    }

    /// Returns the schema of a request's message, but for the fields of these paths, which stand elsewhere.
    pub(super) fn asked_but(&mut self, message: &MessageDescriptor, taken: &[&str], comments: &mut Comments) -> Value {
        if asks_for(message, taken) {
            Value::Object(self.object(message, Side::Asked, taken, comments))
        } else {
            self.message(message, Side::Asked)
        }
    }

    /// Returns the schema of a field: what is repeated is an array, a map an object.
    pub(super) fn field(&mut self, field: &FieldDescriptor, side: Side) -> Value {
        let rules = match side {
            Side::Asked => field_rules(field),
            Side::Answered => FieldRules::default(),
        };
        if let Kind::Message(entry) = field.kind()
            && field.is_map()
        {
            let kind = entry.map_entry_value_field().kind();
            let value = rules::narrow(self.single(&kind, side), &kind, rules.value().as_ref(), Given::Always);
            let mut schema = Map::from_iter([("type".to_owned(), "object".into())]);
            if let Some(key) = rules.key() {
                schema.insert("propertyNames".to_owned(), rules::keys(&key));
            }
            schema.insert("additionalProperties".to_owned(), value);
            rules::items(&mut schema, &rules, ("minProperties", "maxProperties"));
            return Value::Object(schema);
        }
        let kind = field.kind();
        let single = self.single(&kind, side);
        if !field.is_list() {
            let given = match side {
                Side::Asked => Given::of(field, &rules),
                Side::Answered => Given::Always,
            };
            return rules::narrow(single, &kind, rules.value().as_ref(), given);
        }
        let element = rules::narrow(single, &kind, rules.value().as_ref(), Given::Always);
        let mut schema = Map::from_iter([("type".to_owned(), "array".into()), ("items".to_owned(), element)]);
        rules::items(&mut schema, &rules, ("minItems", "maxItems"));
        if rules.distinct() {
            schema.insert("uniqueItems".to_owned(), true.into());
        }
        Value::Object(schema)
    }

    /// Returns the schema of one value of a kind, whatever is asked of it.
    fn single(&mut self, kind: &Kind, side: Side) -> Value {
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
            Kind::Message(message) => self.message(message, side),
            Kind::Enum(values) if values.full_name() == "google.protobuf.NullValue" => json!({"type": "null"}),
            Kind::Enum(values) => self.reference(values.full_name().to_owned(), Named::Enum(values.clone())),
        }
    }

    fn reference(&mut self, name: String, named: Named) -> Value {
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        if self.named.insert(name.clone()) {
            self.waiting.push((name, named));
        }
        reference
    }

    /// Writes all types that were referred to, and those that they refer to.
    pub(super) fn finish(&mut self, comments: &mut Comments) -> BTreeMap<String, Value> {
        let mut written = BTreeMap::new();
        while let Some((name, named)) = self.waiting.pop() {
            let schema = match named {
                Named::Message(message, side) => Value::Object(self.object(&message, side, &[], comments)),
                Named::Enum(values) => names(&values, comments),
            };
            written.insert(name, schema);
        }
        written
    }

    /// Writes a message, but for the fields of the paths that are taken.
    fn object(
        &mut self,
        message: &MessageDescriptor,
        side: Side,
        taken: &[&str],
        comments: &mut Comments,
    ) -> Map<String, Value> {
        let mut object = Map::from_iter([("type".to_owned(), Value::from("object"))]);
        describe(&mut object, comments.of(&message.parent_file(), message.path()));
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields().filter(|field| !taken.contains(&field.name())) {
            let within = within(taken, &field);
            let mut schema = if let Kind::Message(inner) = field.kind()
                && !within.is_empty()
            {
                self.asked_but(&inner, &within, comments)
            } else {
                self.field(&field, side)
            };
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
            let must = match side {
                Side::Asked => within.is_empty() && rules::must_be_given(&field, &field_rules(&field)),
                Side::Answered => field.is_required(),
            };
            if must {
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
        object
    }
}

/// Returns the messages, and all that lie within them.
fn reached(messages: impl Iterator<Item = MessageDescriptor>) -> Vec<MessageDescriptor> {
    let mut reached: Vec<MessageDescriptor> = Vec::new();
    let mut known = BTreeSet::new();
    let mut waiting: Vec<MessageDescriptor> = messages.collect();
    while let Some(message) = waiting.pop() {
        if known.insert(message.full_name().to_owned()) {
            waiting.extend(message.fields().filter_map(|field| field.kind().as_message().cloned()));
            reached.push(message);
        }
    }
    reached
}

/// Returns what of the paths lies within the field.
pub(super) fn within<'t>(taken: &[&'t str], field: &FieldDescriptor) -> Vec<&'t str> {
    taken.iter().filter_map(|path| path.strip_prefix(field.name())?.strip_prefix('.')).collect()
}

/// Returns whether one of the paths is, or lies within, something that a request has to name.
fn asks_for(message: &MessageDescriptor, taken: &[&str]) -> bool {
    message.fields().any(|field| {
        let within = within(taken, &field);
        let touched = !within.is_empty() || taken.contains(&field.name());
        let deeper = || field.kind().as_message().is_some_and(|inner| asks_for(inner, &within));
        touched && (rules::must_be_given(&field, &field_rules(&field)) || deeper())
    })
}

/// Returns whether a request has to name something beside the fields of these paths.
pub(super) fn asks_for_more(message: &MessageDescriptor, taken: &[&str]) -> bool {
    message.fields().filter(|field| !taken.contains(&field.name())).any(|field| {
        let within = within(taken, &field);
        if within.is_empty() {
            rules::must_be_given(&field, &field_rules(&field))
        } else {
            field.kind().as_message().is_some_and(|inner| asks_for_more(inner, &within))
        }
    })
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
