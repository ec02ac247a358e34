//! Types that everybody knows, whose fields by themselves would say too little: `google.protobuf.*` and `google.type.*`.

use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use super::{moment::Moment, random::Random, words};

/// What is to be done about a message of a type.
pub(super) enum Known {
    /// It is this.
    Made(DynamicMessage),
    /// It wraps one value, which goes by the name of the field around it.
    Wrapper,
    /// Nothing can be said about what it holds: it is left out.
    Left,
    /// It is like every other message.
    Ordinary,
}

/// Makes a message of a type that everybody knows, for a field of this name.
pub(super) fn made(message: &MessageDescriptor, words: &[&str], random: &mut Random) -> Known {
    let moment = Moment::made(words, random);
    let minor = |number: i128| i32::try_from(number).unwrap_or_default();
    let fields: Vec<(&str, Value)> = match message.full_name() {
        "google.protobuf.Timestamp" => vec![("seconds", Value::I64(moment.unix()))],
        "google.protobuf.Duration" => {
            vec![("seconds", Value::I64(i64::from(minor(random.between(1, 120))).saturating_mul(60)))]
        }
        "google.protobuf.Value" => vec![("string_value", Value::String(words::text(words, random)))],
        "google.protobuf.FieldMask" | "google.protobuf.Empty" => Vec::new(),
        "google.protobuf.Any" => return Known::Left,
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => return Known::Wrapper,
        "google.type.Date" => {
            vec![
                ("year", Value::I32(moment.year)),
                ("month", Value::I32(moment.month)),
                ("day", Value::I32(moment.day)),
            ]
        }
        "google.type.TimeOfDay" => vec![
            ("hours", Value::I32(minor(random.between(8, 17)))),
            ("minutes", Value::I32(minor(random.between(0, 59)))),
        ],
        "google.type.Money" => vec![
            ("currency_code", Value::String("GBP".to_owned())),
            ("units", Value::I64(i64::from(minor(random.between(1, 999))))),
            ("nanos", Value::I32(minor(random.between(0, 99)).saturating_mul(10_000_000))),
        ],
        _ => return Known::Ordinary,
    };
    let mut made = DynamicMessage::new(message.clone());
    for (name, value) in fields {
        // Somebody's own type of that name may have other fields.
        if made.try_set_field_by_name(name, value).is_err() {
            return Known::Ordinary;
        }
    }
    Known::Made(made)
}
