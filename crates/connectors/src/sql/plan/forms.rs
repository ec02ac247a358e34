//! Chooses how the values of a column are read, from the field's type, the column's type and what the binding declares.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::Shape;
use crate::sql::cell::{Cell, Class};
use crate::sql::codes::{Codes, number_of};
use crate::sql::encode::{BytesForm, Encoder, IntegerKind, TextForm};
use crate::sql::moment::{Clock, MomentForm, Notation};
use crate::sql::number::NumberForm;

const MOMENT_HELP: &str =
    "`iso`, `unix`, `unix-ms`, `julian`, or a pattern that holds a whole date, as in `%d/%m/%Y` or `YYYYMMDD`";
const NUMBER_HELP: &str =
    "`number` for text of a number, `decimal(2)` to keep two decimals, `scaled(2)` for a column that counts hundredths";

/// What is known and declared about one column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'b> {
    pub(crate) name: &'b str,
    pub(crate) class: Class,
    pub(crate) list: bool,
    pub(crate) labels: Option<&'b [String]>,
    pub(crate) refused: Option<&'b str>,
    pub(crate) format: Option<&'b str>,
    pub(crate) values: Option<&'b BTreeMap<String, String>>,
    pub(crate) separator: Option<&'b str>,
    pub(crate) clock: &'b Clock,
}

/// Why a column cannot fill a field.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The binding's table that is at fault; `None` if it is the statement.
    pub(crate) key: Option<&'static str>,
    pub(crate) why: Option<String>,
    pub(crate) help: String,
}

impl Refusal {
    fn of(help: impl Into<String>) -> Self {
        Self { key: None, why: None, help: help.into() }
    }

    fn at(key: &'static str, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { key: Some(key), why: Some(why.into()), help: help.into() }
    }
}

/// The key of a column in one of the binding's tables, quoted where TOML asks for it.
pub(crate) fn key(table: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare {
        format!("{table}.{name}")
    } else {
        format!("{table}.\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Chooses the encoder for `field`.
pub(crate) fn encoder(field: &FieldDescriptor, given: &Given<'_>) -> Result<(Encoder, Shape), Refusal> {
    if field.is_map() {
        return Err(Refusal::of(
            "a column cannot fill a map; leave it out, or change the contract to a repeated message",
        ));
    }
    if let Some(help) = given.refused {
        return Err(Refusal::of(help));
    }
    if given.list {
        return array(field, given);
    }
    if let Some(separator) = given.separator {
        return list(field, separator, given);
    }
    if field.is_list() {
        return Err(Refusal::of(if field.kind().as_message().is_some() {
            "rows become a repeated message with `gather` only".to_owned()
        } else {
            format!("say what separates the values: `separators = {{ {} = \";\" }}`", quoted(given.name))
        }));
    }
    let kind = field.kind();
    let Some(message) = kind.as_message() else {
        return Ok((scalar(&kind, given)?, Shape::One));
    };
    match wrapped(message) {
        Some(inner) => Ok((scalar(&inner, given)?, Shape::Wrapped)),
        None => Ok((moment_message(message, given)?, Shape::One)),
    }
}

/// A column that holds a list of its own.
fn array(field: &FieldDescriptor, given: &Given<'_>) -> Result<(Encoder, Shape), Refusal> {
    if given.separator.is_some() {
        return Err(Refusal::at("separators", "it is a list already", "leave the separator out"));
    }
    if !field.is_list() {
        return Err(Refusal::of(format!(
            "make the field repeated, or take one value in the statement, as in `{0}[1]` or `array_to_string({0}, ', ')`",
            given.name
        )));
    }
    let kind = field.kind();
    let encoder = match kind.as_message() {
        None => scalar(&kind, given)?,
        Some(message) if wrapped(message).is_some() => {
            return Err(Refusal::of("change the contract to a repeated scalar"));
        }
        Some(message) => moment_message(message, given)?,
    };
    Ok((encoder, Shape::List { separator: None, packed: field.is_packed() }))
}

fn list(field: &FieldDescriptor, separator: &str, given: &Given<'_>) -> Result<(Encoder, Shape), Refusal> {
    if !field.is_list() || matches!(field.kind(), Kind::Message(_)) {
        return Err(Refusal::at(
            "separators",
            "it holds one value",
            "leave the separator out, or name a repeated field of scalars",
        ));
    }
    if separator.is_empty() {
        return Err(Refusal::at("separators", "the separator is empty", "write the text between two values"));
    }
    if !matches!(given.class, Class::Text | Class::Integer | Class::Real | Class::Numeric | Class::Unknown) {
        return Err(Refusal::of("cast the column to text in the statement"));
    }
    // The parts of a text are texts, so numbers are read from text without being declared so.
    let number = matches!(field.kind(), Kind::Float | Kind::Double) || integer_kind(&field.kind()).is_some();
    let part = Given {
        class: if number { Class::Unknown } else { Class::Text },
        format: given.format.or(number.then_some("number")),
        separator: None,
        ..*given
    };
    let encoder = scalar(&field.kind(), &part)?;
    let shape = Shape::List { separator: Some(separator.into()), packed: field.is_packed() };
    Ok((encoder, shape))
}

fn scalar(kind: &Kind, given: &Given<'_>) -> Result<Encoder, Refusal> {
    if let Some(kind) = integer_kind(kind) {
        return Ok(Encoder::Integer(kind, number(given, false)?));
    }
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the whole numbers are dealt with above, and messages have fields"
    )]
    match kind {
        Kind::String => text(given),
        Kind::Bytes => bytes(given),
        Kind::Bool => boolean(given),
        Kind::Double => Ok(Encoder::Double(number(given, true)?)),
        Kind::Float => Ok(Encoder::Float(number(given, true)?)),
        Kind::Enum(descriptor) => {
            no_format(given)?;
            if !matches!(given.class, Class::Integer | Class::Text | Class::Numeric | Class::Unknown)
                && (given.class != Class::Bool || given.values.is_none())
            {
                return Err(Refusal::of("an enum is filled from whole numbers or text"));
            }
            let codes = match given.values {
                None => Codes::of_enum(descriptor),
                Some(values) => Codes::of(values, |name| number_of(descriptor, name)).map_err(|name| {
                    Refusal::at(
                        "values",
                        format!("`{}` has no value `{name}`", descriptor.full_name()),
                        super::compile::did_you_mean(&name, descriptor.values().map(|value| value.name().to_owned())),
                    )
                })?,
            };
            labelled(given, &codes, descriptor.full_name())?;
            Ok(Encoder::Enum(codes))
        }
        _ => Err(Refusal::of("name a field in the message, as in `AS \"name.family\"`")),
    }
}

/// Holds the texts that a column can have, where the database names them, against the codes declared.
fn labelled<T: Clone>(given: &Given<'_>, codes: &Codes<T>, meaning: &str) -> Result<(), Refusal> {
    let Some(labels) = given.labels else {
        return Ok(());
    };
    if let Some(label) = labels.iter().find(|label| codes.read(Cell::Text(label)).is_err()) {
        return Err(Refusal {
            key: given.values.map(|_| "values"),
            why: Some(format!("`{label}`, which the column can hold, is not a value of {meaning}")),
            help: format!(
                "say what it means: `values = {{ {} = {{ \"{label}\" = \"…\" }} }}`, where `\"*\"` stands for every other",
                quoted(given.name)
            ),
        });
    }
    let known = |code: &str| code == "*" || labels.iter().any(|label| label == code);
    match given.values.and_then(|values| values.keys().find(|code| !known(code))) {
        None => Ok(()),
        Some(code) => Err(Refusal::at(
            "values",
            format!("it never holds `{code}`"),
            super::compile::did_you_mean(code, labels.iter().cloned()),
        )),
    }
}

fn text(given: &Given<'_>) -> Result<Encoder, Refusal> {
    let form = match (given.values, given.format) {
        (Some(_), None) if matches!(given.class, Class::Uuid | Class::Moment | Class::Time | Class::Blob) => {
            return Err(Refusal::at("values", "it has no codes", "leave `values` out"));
        }
        (Some(values), None) => {
            let codes = Codes::texts(values);
            labelled(given, &codes, "the binding")?;
            TextForm::Codes(codes)
        }
        (Some(_), Some(_)) => return Err(both()),
        (None, None) if given.class == Class::Blob => {
            return Err(Refusal::of("cast it to text in the statement, or make the field bytes"));
        }
        (None, None) => TextForm::Plain,
        (None, Some("trim")) => TextForm::Trim,
        (None, Some(format)) => {
            if let Some(form) = NumberForm::parse(format) {
                no_number(given)?;
                TextForm::Number(form)
            } else if let Some(notation) = Notation::parse(format) {
                TextForm::Moment(moment_form(notation, given)?)
            } else {
                let help = format!("for text: `trim`; for numbers: {NUMBER_HELP}; for dates: {MOMENT_HELP}");
                return Err(Refusal::at("formats", format!("`{format}` is not a format"), help));
            }
        }
    };
    Ok(Encoder::String(form))
}

fn bytes(given: &Given<'_>) -> Result<Encoder, Refusal> {
    no_values(given)?;
    let form = match given.format {
        None if matches!(given.class, Class::Blob | Class::Uuid | Class::Unknown) => BytesForm::Blob,
        None => {
            return Err(Refusal::of(format!(
                "say how bytes are written: `formats = {{ {} = \"hex\" }}` or `base64`",
                quoted(given.name)
            )));
        }
        Some("hex") => BytesForm::Hex,
        Some("base64") => BytesForm::Base64,
        Some(format) => {
            return Err(Refusal::at(
                "formats",
                format!("`{format}` is not a format of bytes"),
                "use `hex` or `base64`",
            ));
        }
    };
    Ok(Encoder::Bytes(form))
}

fn boolean(given: &Given<'_>) -> Result<Encoder, Refusal> {
    if !matches!(given.class, Class::Bool | Class::Integer | Class::Numeric | Class::Text | Class::Unknown) {
        return Err(Refusal::of("compare it in the statement, as in `(fee > 0) AS owes`"));
    }
    let codes = match (given.values, given.format) {
        (None, Some(_)) if given.class == Class::Bool => {
            return Err(Refusal::at("formats", "it is true or false already", "leave the format out"));
        }
        (Some(_), Some(_)) => return Err(both()),
        (Some(values), None) => Some(Codes::of(values, |meaning| meaning.parse().ok()).map_err(|meaning| {
            Refusal::at(
                "values",
                format!("`{meaning}` is neither `true` nor `false`"),
                "a code of a bool means `true` or `false`",
            )
        })?),
        (None, Some(format)) => Some(Codes::pair(format).ok_or_else(|| {
            Refusal::at(
                "formats",
                format!("`{format}` does not name two values"),
                "write what is true, then what is false, as in `Y/N`",
            )
        })?),
        (None, None) if given.class != Class::Text => None,
        (None, None) => {
            return Err(Refusal::of(format!(
                "say what is true and what is false: `formats = {{ {} = \"Y/N\" }}`",
                quoted(given.name)
            )));
        }
    };
    Ok(Encoder::Bool(codes))
}

fn number(given: &Given<'_>, real: bool) -> Result<NumberForm, Refusal> {
    no_values(given)?;
    no_number(given)?;
    match given.format {
        Some(format) => match NumberForm::parse(format) {
            Some(NumberForm::Decimal(_)) if real => Err(Refusal::at(
                "formats",
                "a floating-point field keeps no fixed decimals",
                "leave `decimal` out, or use `number` for a column of text",
            )),
            Some(NumberForm::Scaled(_)) if !real => Err(Refusal::at(
                "formats",
                "a whole number has no decimals to divide into",
                "leave `scaled` out: the field counts the same small unit as the column",
            )),
            Some(form) => Ok(form),
            None => Err(Refusal::at("formats", format!("`{format}` is not a format of numbers"), NUMBER_HELP)),
        },
        None => match given.class {
            Class::Integer | Class::Numeric | Class::Unknown => Ok(NumberForm::Stored),
            Class::Real if real => Ok(NumberForm::Stored),
            Class::Real => Err(Refusal::of(format!(
                "say how many decimals to keep, `formats = {{ {} = \"decimal(2)\" }}`, and the field counts the last of them",
                quoted(given.name)
            ))),
            Class::Text => Err(Refusal::of(format!(
                "if the text is a number, say `formats = {{ {} = \"number\" }}`",
                quoted(given.name)
            ))),
            Class::Bool | Class::Blob | Class::Uuid | Class::Moment | Class::Time => {
                Err(Refusal::of("cast it to a number in the statement"))
            }
        },
    }
}

/// Refuses columns that no format makes a number of.
fn no_number(given: &Given<'_>) -> Result<(), Refusal> {
    match given.class {
        Class::Bool | Class::Uuid => Err(Refusal::of("cast it to a number in the statement")),
        Class::Moment | Class::Time => Err(Refusal::of(format!(
            "make a number of it in the statement, as in `extract(epoch from {})::bigint`",
            given.name
        ))),
        Class::Integer | Class::Real | Class::Text | Class::Blob | Class::Numeric | Class::Unknown => Ok(()),
    }
}

fn moment_message(message: &MessageDescriptor, given: &Given<'_>) -> Result<Encoder, Refusal> {
    let build: fn(MomentForm) -> Encoder = if message.full_name() == "google.protobuf.Timestamp" {
        Encoder::Timestamp
    } else if is_date(message) {
        Encoder::Date
    } else {
        let first = message.fields().next().map_or_else(|| "field".to_owned(), |field| field.name().to_owned());
        return Err(Refusal::of(format!("name a field in the message, as in `AS \"….{first}\"`")));
    };
    no_values(given)?;
    let notation = match given.format {
        None => Notation::Iso,
        Some(format) => Notation::parse(format).ok_or_else(|| {
            Refusal::at("formats", format!("`{format}` is not a format of dates"), format!("use {MOMENT_HELP}"))
        })?,
    };
    Ok(build(moment_form(notation, given)?))
}

fn moment_form(notation: Notation, given: &Given<'_>) -> Result<MomentForm, Refusal> {
    if given.class == Class::Moment && notation != Notation::Iso {
        return Err(Refusal::at("formats", "it is stored as a date or time", "leave the format out"));
    }
    if matches!(given.class, Class::Bool | Class::Uuid | Class::Time) {
        return Err(Refusal::of("it holds no date; make one in the statement"));
    }
    let fits = match given.class {
        Class::Integer => notation.takes_integers(),
        Class::Real => notation.takes_reals(),
        Class::Text => notation.takes_text(),
        Class::Bool | Class::Blob | Class::Uuid | Class::Time => false,
        Class::Moment | Class::Numeric | Class::Unknown => true,
    };
    if !fits {
        return Err(Refusal::of(format!(
            "say how dates are written: `formats = {{ {} = \"…\" }}` with {MOMENT_HELP}",
            quoted(given.name)
        )));
    }
    Ok(MomentForm::new(notation, given.clock.clone()))
}

/// Whether this is `google.type.Date`, by its own definition and not by its name alone.
pub(crate) fn is_date(message: &MessageDescriptor) -> bool {
    let part = |number, name: &str| {
        message.get_field(number).is_some_and(|field| field.name() == name && field.kind() == Kind::Int32)
    };
    message.full_name() == "google.type.Date" && part(1, "year") && part(2, "month") && part(3, "day")
}

/// The type in a wrapper of `google/protobuf/wrappers.proto`.
pub(crate) fn wrapped(message: &MessageDescriptor) -> Option<Kind> {
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    let wrappers = [
        "DoubleValue",
        "FloatValue",
        "Int64Value",
        "UInt64Value",
        "Int32Value",
        "UInt32Value",
        "BoolValue",
        "StringValue",
        "BytesValue",
    ];
    wrappers.contains(&name).then(|| message.get_field(1).map(|field| field.kind())).flatten()
}

fn integer_kind(kind: &Kind) -> Option<IntegerKind> {
    match kind {
        Kind::Int32 => Some(IntegerKind::Int32),
        Kind::Int64 => Some(IntegerKind::Int64),
        Kind::Uint32 => Some(IntegerKind::Uint32),
        Kind::Uint64 => Some(IntegerKind::Uint64),
        Kind::Sint32 => Some(IntegerKind::Sint32),
        Kind::Sint64 => Some(IntegerKind::Sint64),
        Kind::Fixed32 => Some(IntegerKind::Fixed32),
        Kind::Fixed64 => Some(IntegerKind::Fixed64),
        Kind::Sfixed32 => Some(IntegerKind::Sfixed32),
        Kind::Sfixed64 => Some(IntegerKind::Sfixed64),
        Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Enum(_) => None,
    }
}

fn no_format(given: &Given<'_>) -> Result<(), Refusal> {
    match given.format {
        None => Ok(()),
        Some(_) => Err(Refusal::at("formats", "it has no formats", "say what its codes mean in `values`")),
    }
}

fn no_values(given: &Given<'_>) -> Result<(), Refusal> {
    match given.values {
        None => Ok(()),
        Some(_) => Err(Refusal::at("values", "it has no codes", "`values` is for enums, bools and strings")),
    }
}

fn both() -> Refusal {
    Refusal::at("formats", "it has `values` too", "leave one of them")
}

/// A column's name as a TOML key.
fn quoted(name: &str) -> String {
    key("", name).trim_start_matches('.').to_owned()
}
