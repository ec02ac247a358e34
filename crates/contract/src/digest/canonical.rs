//! The canonical text of a service, which its digest is taken of.
//!
//! `DIGEST.md` describes every line; the two change together, and never for a contract that has been published: the
//! first line is the format's version.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    ServiceDescriptor, Value,
};

use crate::descriptors::value_kind;
use crate::method::Shape;

/// Names below this are protobuf's own, the same everywhere, and not described.
pub(crate) const WELL_KNOWN: &str = "google.protobuf.";

/// Lowest number of an extension of options. Below are protobuf's own, which are hints to generators of code.
const FIRST_EXTENSION: u32 = 1000;

/// Writes a service and all that it reaches.
pub(crate) fn text(service: &ServiceDescriptor) -> String {
    let mut text = Text(String::from("drawbridge.contract/v1\n"));
    text.line(format_args!("service {}", service.full_name()));
    text.options(&service.options());
    let mut methods: Vec<_> = service.methods().collect();
    methods.sort_by(|a, b| a.name().cmp(b.name()));
    for method in &methods {
        let (input, output) = (method.input(), method.output());
        let (name, shape) = (method.name(), Shape::of(method));
        text.line(format_args!("method {name} {shape} {} {}", input.full_name(), output.full_name()));
        text.idempotency(&method.options());
        text.options(&method.options());
    }
    for definition in closure(service).values() {
        match definition {
            Definition::Message(message) => text.message(message),
            Definition::Enum(of) => text.enumeration(of),
        }
    }
    text.0
}

/// A type that a service reaches.
pub(crate) enum Definition {
    Message(MessageDescriptor),
    Enum(EnumDescriptor),
}

/// Returns every message and enum that a service reaches, by full name, without protobuf's own.
pub(crate) fn closure(service: &ServiceDescriptor) -> BTreeMap<String, Definition> {
    let mut found = BTreeMap::new();
    let mut waiting: Vec<MessageDescriptor> =
        service.methods().flat_map(|method| [method.input(), method.output()]).collect();
    while let Some(message) = waiting.pop() {
        if message.full_name().starts_with(WELL_KNOWN) || found.contains_key(message.full_name()) {
            continue;
        }
        for field in message.fields() {
            let kind = value_kind(&field);
            if let Some(of) = kind.as_enum().filter(|of| !of.full_name().starts_with(WELL_KNOWN)) {
                found.entry(of.full_name().to_owned()).or_insert_with(|| Definition::Enum(of.clone()));
            }
            waiting.extend(kind.as_message().cloned());
        }
        found.insert(message.full_name().to_owned(), Definition::Message(message));
    }
    found
}

struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn message(&mut self, message: &MessageDescriptor) {
        self.line(format_args!("message {}", message.full_name()));
        self.options(&message.options());
        let mut oneofs: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
        oneofs.sort_by(|a, b| a.name().cmp(b.name()));
        for oneof in &oneofs {
            self.line(format_args!("oneof {}", oneof.name()));
            self.options(&oneof.options());
        }
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        for field in &fields {
            self.field(field);
        }
    }

    fn field(&mut self, field: &FieldDescriptor) {
        let mut line = format!("field {} {} {} {}", field.number(), field.name(), label(field), type_name(field));
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            let _ = write!(line, " oneof={}", oneof.name());
        }
        if field.json_name() != default_json_name(field.name()) {
            let _ = write!(line, " json={}", quoted(field.json_name().as_bytes()));
        }
        if field.field_descriptor_proto().default_value.is_some() {
            let _ = write!(line, " default={}", scalar(&field.default_value()));
        }
        self.line(format_args!("{line}"));
        self.options(&field.options());
    }

    fn enumeration(&mut self, of: &EnumDescriptor) {
        let openness = match of.parent_file().syntax() {
            prost_reflect::Syntax::Proto2 => "closed",
            prost_reflect::Syntax::Proto3 => "open",
        };
        self.line(format_args!("enum {} {openness}", of.full_name()));
        self.options(&of.options());
        let mut values: Vec<_> = of.values().collect();
        values.sort_by(|a, b| (a.number(), a.name()).cmp(&(b.number(), b.name())));
        for value in &values {
            self.line(format_args!("value {} {}", value.number(), value.name()));
            self.options(&value.options());
        }
    }

    /// Writes the one standard option that says what a method does.
    fn idempotency(&mut self, options: &DynamicMessage) {
        if let Some(level) = options.get_field_by_name("idempotency_level").and_then(|value| value.as_enum_number())
            && level != 0
        {
            self.line(format_args!("option 34={level}"));
        }
    }

    fn options(&mut self, options: &DynamicMessage) {
        let mut extensions: Vec<_> = options
            .extensions()
            .filter(|(extension, _)| !source_only(&extension.options()))
            .map(|(extension, value)| (extension.number(), value))
            .collect();
        extensions.sort_by_key(|entry| entry.0);
        for (number, value) in extensions {
            self.value(&number.to_string(), value);
        }
        self.unknown("", options, FIRST_EXTENSION);
    }

    fn value(&mut self, path: &str, value: &Value) {
        match value {
            Value::Message(message) => self.fields(path, message),
            Value::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), value);
                }
            }
            Value::Map(entries) => self.entries(path, entries),
            Value::Bool(_)
            | Value::I32(_)
            | Value::I64(_)
            | Value::U32(_)
            | Value::U64(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::EnumNumber(_) => self.line(format_args!("option {path}={}", scalar(value))),
        }
    }

    fn fields(&mut self, path: &str, message: &DynamicMessage) {
        self.line(format_args!("option {path}={{}}"));
        let mut fields: Vec<_> = message
            .fields()
            .filter(|(field, _)| !source_only(&field.options()))
            .map(|(field, value)| (field.number(), value))
            .chain(message.extensions().map(|(extension, value)| (extension.number(), value)))
            .collect();
        fields.sort_by_key(|entry| entry.0);
        for (number, value) in fields {
            self.value(&format!("{path}.{number}"), value);
        }
        self.unknown(&format!("{path}."), message, 0);
    }

    fn entries(&mut self, path: &str, entries: &HashMap<MapKey, Value>) {
        let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (map_key(key), value)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in sorted {
            self.value(&format!("{path}{{{key}}}"), value);
        }
    }

    fn unknown(&mut self, path: &str, message: &DynamicMessage, from: u32) {
        let mut unknown: Vec<_> = message.unknown_fields().filter(|field| field.number() >= from).collect();
        unknown.sort_by_key(|field| field.number());
        for field in unknown {
            let mut bytes = Vec::new();
            field.encode(&mut bytes);
            self.line(format_args!("option {path}{}?={}", field.number(), hex::encode(bytes)));
        }
    }
}

fn label(field: &FieldDescriptor) -> &'static str {
    if field.is_map() {
        "map"
    } else if field.is_list() {
        if field.is_packed() { "packed" } else { "repeated" }
    } else if field.cardinality() == Cardinality::Required {
        "required"
    } else if field.supports_presence() {
        "optional"
    } else {
        "implicit"
    }
}

fn type_name(field: &FieldDescriptor) -> String {
    let kind = field.kind();
    match &kind {
        Kind::Message(entry) if field.is_map() => {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            format!("{},{}", type_name(&key), type_name(&value))
        }
        Kind::Message(message) if field.is_group() => format!("group:{}", message.full_name()),
        Kind::Message(message) => format!("message:{}", message.full_name()),
        Kind::Enum(of) => format!("enum:{}", of.full_name()),
        Kind::Double => "double".to_owned(),
        Kind::Float => "float".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Uint32 => "uint32".to_owned(),
        Kind::Uint64 => "uint64".to_owned(),
        Kind::Sint32 => "sint32".to_owned(),
        Kind::Sint64 => "sint64".to_owned(),
        Kind::Fixed32 => "fixed32".to_owned(),
        Kind::Fixed64 => "fixed64".to_owned(),
        Kind::Sfixed32 => "sfixed32".to_owned(),
        Kind::Sfixed64 => "sfixed64".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::String => "string".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) | Value::EnumNumber(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        // Bits, because decimal spellings of floating-point numbers differ between languages.
        Value::F32(value) => format!("0x{:08x}", value.to_bits()),
        Value::F64(value) => format!("0x{:016x}", value.to_bits()),
        Value::String(value) => quoted(value.as_bytes()),
        Value::Bytes(value) => quoted(value),
        Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}

fn map_key(key: &MapKey) -> String {
    scalar(&Value::from(key.clone()))
}

/// Writes bytes between quotes; what is not printable ASCII, a quote or a backslash becomes `\x` and two digits.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        if (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

/// Returns whether an option is kept in sources only: `protoc` strips these from descriptor sets, other compilers do not.
fn source_only(options: &DynamicMessage) -> bool {
    const RETENTION_SOURCE: i32 = 2;
    let Some(field) = options.descriptor().get_field_by_name("retention") else {
        return false;
    };
    options.get_field(&field).as_enum_number() == Some(RETENTION_SOURCE)
}

/// Source: `ToJsonName` in protobuf's `descriptor.cc`.
fn default_json_name(name: &str) -> String {
    let mut json = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else if upper {
            json.push(letter.to_ascii_uppercase());
            upper = false;
        } else {
            json.push(letter);
        }
    }
    json
}
