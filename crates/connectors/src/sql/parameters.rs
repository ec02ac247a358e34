//! From the request to the arguments of a statement.
//!
//! The request is decoded once, by the contract's own descriptors, so that what is bound is what the contract says the bytes
//! mean. A field that is absent and has presence is `NULL`; one without presence is its default.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::sql::cell::{Argument, Gives, Slot, Takes};
use crate::sql::codes::number_of;
use crate::sql::moment::{MomentForm, Notation};
use crate::sql::plan::{self, Finding, Mapping};
use crate::sql::point::Point;
use crate::{ConnectorError, Failure, Misfit};

/// How the request fills the parameters of one statement, in their order.
#[derive(Clone)]
pub(crate) struct Parameters {
    request: MessageDescriptor,
    list: Vec<Parameter>,
}

#[derive(Clone)]
struct Parameter {
    path: Arc<str>,
    /// From the request inwards; the last is the field bound.
    fields: Vec<FieldDescriptor>,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// As the field is.
    Plain,
    /// A repeated field.
    List,
    /// A repeated field as a JSON array in text.
    Json,
    /// Names or legacy codes of an enum's values.
    Codes(BTreeMap<i32, String>),
    /// ISO text in the notation of the column.
    Moment(MomentForm),
    Timestamp(MomentForm),
    Date(MomentForm),
    /// The value in a wrapper.
    Wrapped,
}

impl Parameters {
    /// Finds the fields that `names` name in `request`, or says everything that stands against it.
    ///
    /// `slots` are what the database takes for each, as far as it says so.
    pub(crate) fn compile(
        request: &MessageDescriptor,
        names: &[String],
        slots: &[Slot],
        mapping: Mapping<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let tables = [
            ("formats", mapping.formats.keys().collect::<Vec<_>>()),
            ("values", mapping.values.keys().collect()),
            ("separators", mapping.separators.keys().collect()),
            ("columns", mapping.columns.keys().collect()),
        ];
        for (table, keys) in tables {
            for key in keys {
                let Some(name) = key.strip_prefix(':') else {
                    continue;
                };
                if matches!(table, "separators" | "columns") {
                    let what = format!("`{key}` is a parameter, and `{table}` is for columns");
                    findings.push(Finding::new(plan::key(table, key), what, "leave it out"));
                } else if !names.iter().any(|known| known == name) {
                    findings.push(Finding::new(
                        plan::key(table, key),
                        format!("the statement has no parameter `{key}`"),
                        plan::did_you_mean(key, names.iter().map(|name| format!(":{name}"))),
                    ));
                }
            }
        }
        let mut list = Vec::new();
        let anything = Slot::anything();
        for (index, name) in names.iter().enumerate() {
            match parameter(request, name, slots.get(index).unwrap_or(&anything), mapping) {
                Ok(parameter) => list.push(parameter),
                Err(finding) => findings.push(*finding),
            }
        }
        if findings.is_empty() { Ok(Self { request: request.clone(), list }) } else { Err(findings) }
    }

    /// Reads the arguments out of an encoded request.
    pub(crate) fn arguments(&self, request: &[u8]) -> Result<Vec<Argument>, ConnectorError> {
        if self.list.is_empty() {
            return Ok(Vec::new());
        }
        let message = DynamicMessage::decode(self.request.clone(), request).map_err(|_| {
            // It has passed the contract's own check before.
            ConnectorError::Failed { why: Failure::Internal }
        })?;
        self.list
            .iter()
            .map(|parameter| {
                parameter
                    .argument(&message)
                    .map_err(|why| ConnectorError::Argument { parameter: Arc::clone(&parameter.path), why })
            })
            .collect()
    }
}

/// Names the parameters only: `Debug` of a descriptor does not end on a message that holds itself.
impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.iter().map(|parameter| &parameter.path)).finish()
    }
}

impl Parameter {
    fn argument(&self, message: &DynamicMessage) -> Result<Argument, Misfit> {
        let Some((field, parents)) = self.fields.split_last() else {
            return Ok(Argument::Null);
        };
        let mut at = Cow::Borrowed(message);
        for parent in parents {
            if !at.has_field(parent) {
                return Ok(Argument::Null);
            }
            let inner = at.get_field(parent).as_message().cloned().ok_or(Misfit::WrongType)?;
            at = Cow::Owned(inner);
        }
        if field.supports_presence() && !at.has_field(field) {
            return Ok(Argument::Null);
        }
        self.form.argument(&at.get_field(field))
    }
}

impl Form {
    fn argument(&self, value: &Value) -> Result<Argument, Misfit> {
        match (self, value) {
            (Self::Plain, value) => plain(value),
            (Self::List, Value::List(items)) => items.iter().map(plain).collect::<Result<_, _>>().map(Argument::List),
            (Self::Json, Value::List(items)) => {
                let items: Result<Vec<_>, _> = items.iter().map(json).collect();
                Ok(Argument::Text(serde_json::Value::Array(items?).to_string()))
            }
            (Self::Codes(codes), Value::EnumNumber(number)) => {
                codes.get(number).map(|code| Argument::Text(code.clone())).ok_or(Misfit::UnknownCode)
            }
            (Self::Moment(form), Value::String(text)) if !text.is_empty() => form.argument_of_text(text),
            // A field without presence that was not set.
            (Self::Moment(_), Value::String(_)) => Ok(Argument::Null),
            (Self::Timestamp(form), Value::Message(message)) => {
                let seconds = integer_in(message, 1)?;
                let nanos = u32::try_from(integer_in(message, 2)?).map_err(|_| Misfit::OutOfRange)?;
                form.argument_of_instant(Point::new(seconds, nanos).ok_or(Misfit::OutOfRange)?)
            }
            (Self::Date(form), Value::Message(message)) => {
                let year = i16::try_from(integer_in(message, 1)?).map_err(|_| Misfit::NotAMoment)?;
                let month = i8::try_from(integer_in(message, 2)?).map_err(|_| Misfit::NotAMoment)?;
                let day = i8::try_from(integer_in(message, 3)?).map_err(|_| Misfit::NotAMoment)?;
                form.argument_of_date(Date::new(year, month, day).map_err(|_| Misfit::NotAMoment)?)
            }
            (Self::Wrapped, Value::Message(message)) => {
                let value = message.get_field_by_number(1).ok_or(Misfit::WrongType)?;
                plain(&value)
            }
            _ => Err(Misfit::WrongType),
        }
    }
}

fn parameter(
    request: &MessageDescriptor,
    name: &str,
    slot: &Slot,
    mapping: Mapping<'_>,
) -> Result<Parameter, Box<Finding>> {
    let fields = plan::follow(request, name).map_err(|(what, help)| {
        Box::new(Finding::new("query", format!("the parameter `:{name}` names no field: {what}"), help))
    })?;
    let colon = format!(":{name}");
    let format = mapping.formats.get(&colon).map(String::as_str);
    let values = mapping.values.get(&colon);
    let field = fields
        .last()
        .cloned()
        .ok_or_else(|| Box::new(Finding::new("query", "a parameter has no name", "name a field")))?;
    let form = form(&field, name, format, values, mapping)?;
    let form = fitted(form, &field, &colon, slot, mapping)?;
    Ok(Parameter { path: name.into(), fields, form })
}

/// Holds what the field becomes against what the database takes.
fn fitted(
    form: Form,
    field: &FieldDescriptor,
    colon: &str,
    slot: &Slot,
    mapping: Mapping<'_>,
) -> Result<Form, Box<Finding>> {
    let gives = gives(&form, field);
    let declared = slot.declared.as_deref().unwrap_or("its type");
    let refuse = |help: String| {
        let what = format!("the parameter `{colon}` ({declared}) cannot take {}", plan::describe(field));
        Err(Box::new(Finding::new("query", what, help)))
    };
    let cast = || format!("cast it in the statement, as in `{colon}::{}::{declared}`", gives.sql());
    if field.is_list() && !slot.list {
        // Databases without lists take them as JSON.
        if matches!(slot.takes, Takes::Anything | Takes::Json | Takes::Text) {
            return Ok(Form::Json);
        }
        return refuse(format!("compare with every value, as in `= ANY({colon})`"));
    }
    if slot.list && !field.is_list() {
        return refuse(format!("make the field repeated, or a list of one in the statement, as in `ARRAY[{colon}]`"));
    }
    if let (Some(labels), Takes::Label) = (slot.labels.as_deref(), slot.takes) {
        return labelled(form, field, colon, declared, labels);
    }
    if !slot.takes.fits(gives) {
        return refuse(if slot.takes == Takes::Nothing {
            format!("cast it from text in the statement, as in `{colon}::text::{declared}`")
        } else {
            cast()
        });
    }
    // Text that stands for a date is read as one, in the binding's time zone.
    match (&form, slot.takes, slot.list) {
        (Form::Plain, Takes::Date | Takes::Moment, false) if gives == Gives::Text => {
            Ok(Form::Moment(MomentForm::new(Notation::Iso, mapping.clock.clone())))
        }
        (Form::List, Takes::Date | Takes::Moment | Takes::Time, true) => refuse(cast_each(colon, declared)),
        _ => Ok(form),
    }
}

fn cast_each(colon: &str, declared: &str) -> String {
    format!("cast it in the statement, as in `{colon}::text[]::{declared}`")
}

/// An enum of the database takes one of its labels, so each that a request can name must be one.
fn labelled(
    form: Form,
    field: &FieldDescriptor,
    colon: &str,
    declared: &str,
    labels: &[String],
) -> Result<Form, Box<Finding>> {
    let known = || labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    match (&form, field.kind()) {
        (Form::Codes(codes), _) => match codes.values().find(|code| !labels.contains(code)) {
            // A name that no label has is the contract's own way of saying that nothing is said.
            Some(code) if codes.get(&0) != Some(code) => Err(Box::new(Finding::new(
                "query",
                format!("the parameter `{colon}` ({declared}) cannot take `{code}` of {}", plan::describe(field)),
                format!("say what is bound for each value, in `values = {{ \"{colon}\" = … }}`; there are {}", known()),
            ))),
            Some(_) | None => Ok(form),
        },
        (Form::Plain | Form::List, Kind::String) => Ok(form),
        _ => Err(Box::new(Finding::new(
            "query",
            format!("the parameter `{colon}` ({declared}) cannot take {}", plan::describe(field)),
            format!(
                "say which label is bound for each value, in `values = {{ \"{colon}\" = … }}`; there are {}",
                known()
            ),
        ))),
    }
}

/// What becomes of the field's value, or of each of its values.
fn gives(form: &Form, field: &FieldDescriptor) -> Gives {
    match form {
        Form::Codes(_) => return Gives::Text,
        Form::Moment(form) | Form::Timestamp(form) => return form.gives(Gives::Instant),
        Form::Date(form) => return form.gives(Gives::Date),
        Form::Plain | Form::List | Form::Json | Form::Wrapped => {}
    }
    let kind = field.kind();
    let within = kind.as_message().and_then(plan::wrapped);
    match within.unwrap_or(kind) {
        Kind::Bool => Gives::Bool,
        Kind::String | Kind::Message(_) => Gives::Text,
        Kind::Bytes => Gives::Blob,
        Kind::Double | Kind::Float => Gives::Real,
        Kind::Enum(_)
        | Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => Gives::Integer,
    }
}

fn form(
    field: &FieldDescriptor,
    name: &str,
    format: Option<&str>,
    values: Option<&BTreeMap<String, String>>,
    mapping: Mapping<'_>,
) -> Result<Form, Box<Finding>> {
    let colon = format!(":{name}");
    let cannot = |key: String, help: &str| {
        let what = format!("the parameter `{colon}` cannot be bound as {} is declared", plan::describe(field));
        Box::new(Finding::new(key, what, help))
    };
    let format_key = || plan::key("formats", &colon);
    let moment = |build: fn(MomentForm) -> Form| {
        let notation = match format {
            None => Notation::Iso,
            Some(format) => Notation::parse(format).ok_or_else(|| {
                cannot(format_key(), "use `iso`, `unix`, `unix-ms`, `julian` or a pattern as in `%d/%m/%Y`")
            })?,
        };
        Ok(build(MomentForm::new(notation, mapping.clock.clone())))
    };
    if values.is_some() && !matches!(field.kind(), Kind::Enum(_)) {
        return Err(cannot(plan::key("values", &colon), "`values` of a parameter is for enums"));
    }
    if field.is_map() || field.is_group() {
        return Err(cannot("query".into(), "name a field that holds one value, or a list of scalars"));
    }
    if field.is_list() {
        if format.is_some() || values.is_some() || matches!(field.kind(), Kind::Message(_) | Kind::Bytes) {
            return Err(cannot(
                "query".into(),
                "a repeated scalar is bound as a list (`= ANY(:ids)`), in SQLite as a JSON array (`json_each(:ids)`); it takes no formats",
            ));
        }
        return Ok(Form::List);
    }
    match field.kind() {
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => moment(Form::Timestamp),
        Kind::Message(message) if plan::is_date(&message) => moment(Form::Date),
        Kind::Message(message) if plan::wrapped(&message).is_some() => match format {
            None => Ok(Form::Wrapped),
            Some(_) => Err(cannot(format_key(), "a wrapper takes no format")),
        },
        Kind::Message(_) => Err(cannot("query".into(), "name a field in the message, as in `:name.family`")),
        Kind::String => match format {
            None => Ok(Form::Plain),
            Some(_) => moment(Form::Moment),
        },
        Kind::Enum(descriptor) => enum_form(&descriptor, &colon, format, values, &cannot),
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
        | Kind::Bytes => match format {
            None => Ok(Form::Plain),
            Some(_) => Err(cannot(format_key(), "formats of parameters are for dates, times and enums")),
        },
    }
}

fn enum_form(
    descriptor: &EnumDescriptor,
    colon: &str,
    format: Option<&str>,
    values: Option<&BTreeMap<String, String>>,
    cannot: &dyn Fn(String, &str) -> Box<Finding>,
) -> Result<Form, Box<Finding>> {
    let values = match (values, format) {
        (None, None) => return Ok(Form::Plain),
        (None, Some("name")) => {
            let names = descriptor.values().map(|value| (value.number(), value.name().to_owned()));
            return Ok(Form::Codes(names.collect()));
        }
        (None, Some(_)) => {
            let help = "use `name` for the value's name, or `values` for legacy codes";
            return Err(cannot(plan::key("formats", colon), help));
        }
        (Some(_), Some(_)) => {
            return Err(cannot(plan::key("formats", colon), "leave either `formats` or `values` out"));
        }
        (Some(values), None) => values,
    };
    let key = plan::key("values", colon);
    let mut codes = BTreeMap::new();
    for (code, meaning) in values {
        if code == "*" {
            return Err(cannot(key, "a parameter is bound to one code, so name each"));
        }
        let Some(number) = number_of(descriptor, meaning) else {
            let what = format!("`{}` has no value `{meaning}`", descriptor.full_name());
            let names = descriptor.values().map(|value| value.name().to_owned());
            return Err(Box::new(Finding::new(key, what, plan::did_you_mean(meaning, names))));
        };
        if codes.insert(number, code.clone()).is_some() {
            return Err(cannot(key, "two codes mean the same value, so leave one of them"));
        }
    }
    Ok(Form::Codes(codes))
}

fn plain(value: &Value) -> Result<Argument, Misfit> {
    Ok(match value {
        Value::Bool(value) => Argument::Bool(*value),
        Value::I32(value) | Value::EnumNumber(value) => Argument::Integer(i64::from(*value)),
        Value::I64(value) => Argument::Integer(*value),
        Value::U32(value) => Argument::Integer(i64::from(*value)),
        Value::U64(value) => Argument::Integer(i64::try_from(*value).map_err(|_| Misfit::OutOfRange)?),
        Value::F32(value) => Argument::Real(f64::from(*value)),
        Value::F64(value) => Argument::Real(*value),
        Value::String(value) => Argument::Text(value.clone()),
        Value::Bytes(value) => Argument::Blob(value.to_vec()),
        Value::Message(_) | Value::List(_) | Value::Map(_) => return Err(Misfit::WrongType),
    })
}

fn json(value: &Value) -> Result<serde_json::Value, Misfit> {
    Ok(match plain(value)? {
        // As numbers, which is what a flag is in a database that takes JSON.
        Argument::Bool(value) => i64::from(value).into(),
        Argument::Integer(number) => number.into(),
        Argument::Real(number) => number.into(),
        Argument::Text(text) => text.into(),
        Argument::Null | Argument::Blob(_) | Argument::Date { .. } | Argument::Instant { .. } | Argument::List(_) => {
            return Err(Misfit::WrongType);
        }
    })
}

fn integer_in(message: &DynamicMessage, number: u32) -> Result<i64, Misfit> {
    match message.get_field_by_number(number).as_deref() {
        Some(Value::I64(value)) => Ok(*value),
        Some(Value::I32(value)) => Ok(i64::from(*value)),
        _ => Err(Misfit::WrongType),
    }
}
