//! Values that stand in a path or a query, put into JSON where they belong.

use percent_encoding::percent_decode_str;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::diagnose::Violation;
use crate::routes::field_at;

/// Most parameters of one query.
const MOST_PARAMETERS: usize = 256;

/// Reads a query into names and values, in their order.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, Violation> {
    let mut found = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if found.len() == MOST_PARAMETERS {
            return Err(Violation::new("", format!("the query has more than {MOST_PARAMETERS} parameters")));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        };
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(Violation::new("", "the query is not percent-encoded UTF-8"));
        };
        found.push((name, value));
    }
    Ok(found)
}

/// Puts the text of a parameter into `root`, under the path of a field. A repeated field takes it as its next element.
pub(crate) fn put(
    root: &mut Map<String, Value>,
    message: &MessageDescriptor,
    path: &str,
    text: &str,
) -> Result<(), Violation> {
    let Some(field) = field_at(message, path) else {
        let shown: String = path.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Violation::new(shown, "the contract has no such field"));
    };
    let wrong = |what: &str| Violation::new(path, what);
    if field.is_map() {
        return Err(wrong("a map has no form in a path or a query"));
    }
    let value =
        value(&field, text).ok_or_else(|| wrong("this has no form in a path or a query, or is not of its type"))?;
    let mut steps: Vec<FieldDescriptor> = Vec::new();
    let mut at = message.clone();
    for name in path.split('.') {
        let step = at.get_field_by_name(name).or_else(|| at.get_field_by_json_name(name));
        let step = step.ok_or_else(|| wrong("the contract has no such field"))?;
        if let Kind::Message(inner) = step.kind() {
            at = inner;
        }
        steps.push(step);
    }
    steps.pop();
    let mut object = root;
    for step in steps {
        let inner = object.entry(key(object, &step)).or_insert_with(|| Value::Object(Map::new()));
        object = inner.as_object_mut().ok_or_else(|| wrong("the body says something else of this"))?;
    }
    let last = key(object, &field);
    if field.is_list() {
        let list = object.entry(last).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().ok_or_else(|| wrong("the body says something else of this"))?.push(value);
    } else if object.insert(last, value).is_some() {
        return Err(wrong("this is said more than once"));
    }
    Ok(())
}

/// The key of a field: the one that the body has, by whichever of its names, else that of JSON.
fn key(object: &Map<String, Value>, field: &FieldDescriptor) -> String {
    let name = if object.contains_key(field.name()) { field.name() } else { field.json_name() };
    name.to_owned()
}

fn value(field: &FieldDescriptor, text: &str) -> Option<Value> {
    let boolean = || match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => None,
    };
    match field.kind() {
        Kind::Bool => boolean(),
        // By name or by number.
        Kind::Enum(_) => Some(
            text.parse::<i32>().map_or_else(|_| Value::String(text.to_owned()), |number| Value::Number(number.into())),
        ),
        Kind::Message(message) => match message.full_name().strip_prefix("google.protobuf.")? {
            "BoolValue" => boolean(),
            "Timestamp" | "Duration" | "FieldMask" | "DoubleValue" | "FloatValue" | "Int32Value" | "UInt32Value"
            | "Int64Value" | "UInt64Value" | "StringValue" | "BytesValue" => Some(Value::String(text.to_owned())),
            _ => None,
        },
        // Numbers may be texts in protobuf's JSON.
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
        | Kind::String
        | Kind::Bytes => Some(Value::String(text.to_owned())),
    }
}
