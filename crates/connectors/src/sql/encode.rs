//! From a cell to wire bytes, without a message in between.
//!
//! An [`Encoder`] knows one field and how its column is written. It writes a value without its key, so that one encoder
//! serves a plain field, a wrapper and the elements of a list.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::Misfit;
use crate::sql::cell::Cell;
use crate::sql::codes::Codes;
use crate::sql::moment::MomentForm;
use crate::sql::number::NumberForm;

/// 0001-01-01T00:00:00Z, which `google.protobuf.Timestamp` begins with, in seconds since 1970.
const FIRST_SECOND: i64 = -62_135_596_800;

/// Writes the values of one column.
#[derive(Clone, Debug)]
pub(crate) enum Encoder {
    String(TextForm),
    Bytes(BytesForm),
    Bool(Option<Codes<bool>>),
    Integer(IntegerKind, NumberForm),
    Float(NumberForm),
    Double(NumberForm),
    Enum(Codes<i32>),
    Timestamp(MomentForm),
    Date(MomentForm),
}

/// How the text of a string field comes about.
#[derive(Clone, Debug)]
pub(crate) enum TextForm {
    /// Text as it is, numbers in digits.
    Plain,
    /// As `Plain`, without the spaces around it.
    Trim,
    Number(NumberForm),
    Moment(MomentForm),
    Codes(Codes<Box<str>>),
}

/// How bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BytesForm {
    Blob,
    Hex,
    Base64,
}

/// The ten whole-number types of protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntegerKind {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
}

/// Whether a value just written is the one that proto3 leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Default,
    Other,
}

impl Written {
    fn default_if(default: bool) -> Self {
        if default { Self::Default } else { Self::Other }
    }
}

impl Encoder {
    /// The wire type of the values.
    pub(crate) fn wire_type(&self) -> WireType {
        match self {
            Self::String(_) | Self::Bytes(_) | Self::Timestamp(_) | Self::Date(_) => WireType::LengthDelimited,
            Self::Bool(_) | Self::Enum(_) => WireType::Varint,
            Self::Float(_) => WireType::ThirtyTwoBit,
            Self::Double(_) => WireType::SixtyFourBit,
            Self::Integer(kind, _) => kind.wire_type(),
        }
    }

    /// Writes one value that is not null, without its key.
    pub(crate) fn value(&self, cell: Cell<'_>, out: &mut BytesMut) -> Result<Written, Misfit> {
        match self {
            Self::String(form) => form.value(cell, out),
            Self::Bytes(form) => form.value(cell, out),
            Self::Bool(codes) => {
                let value = boolean(codes.as_ref(), cell)?;
                out.put_u8(u8::from(value));
                Ok(Written::default_if(!value))
            }
            Self::Integer(kind, form) => kind.value(form.integer(cell)?, out),
            Self::Float(form) => {
                let wide = form.real(cell)?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the contract asks for a float; the nearest one is it"
                )]
                let value = wide as f32;
                if value.is_infinite() && wide.is_finite() {
                    return Err(Misfit::OutOfRange);
                }
                out.put_f32_le(value);
                Ok(Written::default_if(value.to_bits() == 0))
            }
            Self::Double(form) => {
                let value = form.real(cell)?;
                out.put_f64_le(value);
                Ok(Written::default_if(value.to_bits() == 0))
            }
            Self::Enum(codes) => {
                let number = *codes.read(cell)?;
                encode_varint(sign_extended(i64::from(number)), out);
                Ok(Written::default_if(number == 0))
            }
            Self::Timestamp(form) => {
                let instant = form.instant(cell)?;
                if instant.seconds() < FIRST_SECOND {
                    return Err(Misfit::OutOfRange);
                }
                // Protobuf counts the nanoseconds forward, also before 1970.
                length_delimited(out, |out| {
                    varint_field(1, instant.seconds(), out);
                    varint_field(2, i64::from(instant.nanos()), out);
                });
                Ok(Written::Other)
            }
            Self::Date(form) => {
                let date = form.date(cell)?;
                length_delimited(out, |out| {
                    varint_field(1, i64::from(date.year()), out);
                    varint_field(2, i64::from(date.month()), out);
                    varint_field(3, i64::from(date.day()), out);
                });
                Ok(Written::Other)
            }
        }
    }
}

impl TextForm {
    fn value(&self, cell: Cell<'_>, out: &mut BytesMut) -> Result<Written, Misfit> {
        match (self, cell) {
            (Self::Plain, Cell::Text(text)) => Ok(put_text(text, out)),
            (Self::Trim, Cell::Text(text)) => Ok(put_text(text.trim(), out)),
            (Self::Plain | Self::Trim, Cell::Integer(number)) => Ok(put_text(&number.to_string(), out)),
            (Self::Plain | Self::Trim, Cell::Real(number)) => Ok(put_text(&number.to_string(), out)),
            (Self::Number(form), cell) => Ok(put_text(&form.fixed(cell)?, out)),
            (Self::Moment(form), cell) => Ok(put_text(&form.iso_text(cell)?, out)),
            (Self::Codes(codes), cell) => Ok(put_text(codes.read(cell)?, out)),
            (Self::Plain | Self::Trim, cell) => match spelt(cell) {
                Some(text) => Ok(put_text(&text, out)),
                None => Err(cell.misfit()),
            },
        }
    }
}

/// Writes a value that is no text as PostgreSQL and RFC 3339 do.
fn spelt(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Bool(value) => Some(value.to_string()),
        Cell::Decimal(number) => Some(number.to_string()),
        Cell::Uuid(bytes) => {
            let mut text = hex::encode(bytes);
            for at in [20, 16, 12, 8] {
                text.insert(at, '-');
            }
            Some(text)
        }
        Cell::Date(date) => Some(date.to_string()),
        Cell::Time(time) => Some(time.to_string()),
        Cell::Local(local) => Some(local.to_string()),
        Cell::Instant(instant) => Some(instant.to_string()),
        Cell::Null
        | Cell::Integer(_)
        | Cell::Real(_)
        | Cell::Text(_)
        | Cell::Blob(_)
        | Cell::List
        | Cell::Unfit { .. } => None,
    }
}

impl BytesForm {
    fn value(self, cell: Cell<'_>, out: &mut BytesMut) -> Result<Written, Misfit> {
        match (self, cell) {
            (Self::Blob, Cell::Blob(bytes)) => Ok(put_bytes(bytes, out)),
            (Self::Hex, Cell::Text(text)) => Ok(put_bytes(&hex::decode(text.trim()).map_err(|_| Misfit::NotHex)?, out)),
            (Self::Base64, Cell::Text(text)) => {
                Ok(put_bytes(&STANDARD.decode(text.trim()).map_err(|_| Misfit::NotBase64)?, out))
            }
            (Self::Blob, Cell::Uuid(bytes)) => Ok(put_bytes(&bytes, out)),
            (_, cell) => Err(cell.misfit()),
        }
    }
}

impl IntegerKind {
    fn wire_type(self) -> WireType {
        match self {
            Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 | Self::Sint32 | Self::Sint64 => WireType::Varint,
            Self::Fixed32 | Self::Sfixed32 => WireType::ThirtyTwoBit,
            Self::Fixed64 | Self::Sfixed64 => WireType::SixtyFourBit,
        }
    }

    fn value(self, number: i128, out: &mut BytesMut) -> Result<Written, Misfit> {
        fn fit<T: TryFrom<i128>>(number: i128) -> Result<T, Misfit> {
            T::try_from(number).map_err(|_| Misfit::OutOfRange)
        }
        match self {
            Self::Int32 => encode_varint(sign_extended(i64::from(fit::<i32>(number)?)), out),
            Self::Int64 => encode_varint(sign_extended(fit(number)?), out),
            Self::Uint32 => encode_varint(u64::from(fit::<u32>(number)?), out),
            Self::Uint64 => encode_varint(fit(number)?, out),
            Self::Sint32 => encode_varint(zigzag(i64::from(fit::<i32>(number)?)), out),
            Self::Sint64 => encode_varint(zigzag(fit(number)?), out),
            Self::Fixed32 => out.put_u32_le(fit(number)?),
            Self::Fixed64 => out.put_u64_le(fit(number)?),
            Self::Sfixed32 => out.put_i32_le(fit(number)?),
            Self::Sfixed64 => out.put_i64_le(fit(number)?),
        }
        Ok(Written::default_if(number == 0))
    }
}

/// Writes a length and what `body` writes, in one pass.
///
/// One byte is kept for the length; a longer length moves the body up once.
pub(crate) fn length_delimited<R>(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut) -> R) -> R {
    let at = out.len();
    out.put_u8(0);
    let result = body(out);
    let from = at + 1;
    let length = out.len() - from;
    let extra = encoded_len_varint(length as u64) - 1;
    if extra > 0 {
        out.put_bytes(0, extra);
        out.copy_within(from..from + length, from + extra);
    }
    if let Some(mut prefix) = out.get_mut(at..=at + extra) {
        encode_varint(length as u64, &mut prefix);
    }
    result
}

fn boolean(codes: Option<&Codes<bool>>, cell: Cell<'_>) -> Result<bool, Misfit> {
    let found = match (codes, cell) {
        (Some(codes), cell) => codes.read(cell).copied(),
        (None, Cell::Integer(0)) => Ok(false),
        (None, Cell::Integer(1)) => Ok(true),
        (None, Cell::Bool(value)) => Ok(value),
        (None, Cell::Decimal(number)) => match number.at_scale(0) {
            Ok(0) => Ok(false),
            Ok(1) => Ok(true),
            Ok(_) | Err(_) => Err(Misfit::NotABoolean),
        },
        (None, Cell::Integer(_) | Cell::Text(_)) => Err(Misfit::NotABoolean),
        (None, cell) => Err(cell.misfit()),
    };
    found.map_err(|misfit| if misfit == Misfit::UnknownCode { Misfit::NotABoolean } else { misfit })
}

fn put_text(text: &str, out: &mut BytesMut) -> Written {
    put_bytes(text.as_bytes(), out)
}

fn put_bytes(bytes: &[u8], out: &mut BytesMut) -> Written {
    encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
    Written::default_if(bytes.is_empty())
}

fn varint_field(number: u32, value: i64, out: &mut BytesMut) {
    if value != 0 {
        encode_key(number, WireType::Varint, out);
        encode_varint(sign_extended(value), out);
    }
}

fn sign_extended(number: i64) -> u64 {
    number.cast_unsigned()
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_any_size_are_patched_in() {
        for length in [0_usize, 1, 127, 128, 300, 16_383, 16_384, 3_000_000] {
            let body: Vec<u8> = (0..length).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
            let mut out = BytesMut::from(&b"before"[..]);
            length_delimited(&mut out, |out| out.put_slice(&body));
            let mut expected = b"before".to_vec();
            encode_varint(length as u64, &mut expected);
            expected.extend_from_slice(&body);
            assert_eq!(out, expected, "{length}");
        }
    }

    #[test]
    fn a_boolean_is_nought_or_one_unless_declared() {
        assert_eq!(boolean(None, Cell::Integer(1)), Ok(true));
        assert_eq!(boolean(None, Cell::Integer(2)), Err(Misfit::NotABoolean));
        assert_eq!(boolean(None, Cell::Text("1")), Err(Misfit::NotABoolean));
        assert_eq!(boolean(None, Cell::Real(1.0)), Err(Misfit::WrongType));
        let pair = Codes::pair("1/0").unwrap();
        assert_eq!(boolean(Some(&pair), Cell::Text("1")), Ok(true));
        assert_eq!(boolean(Some(&pair), Cell::Integer(0)), Ok(false));
        assert_eq!(boolean(Some(&pair), Cell::Text("x")), Err(Misfit::NotABoolean));
    }

    #[test]
    fn numbers_outside_a_fields_range_are_misfits() {
        for (kind, low, high) in [
            (IntegerKind::Int32, i128::from(i32::MIN), i128::from(i32::MAX)),
            (IntegerKind::Sint32, i128::from(i32::MIN), i128::from(i32::MAX)),
            (IntegerKind::Sfixed32, i128::from(i32::MIN), i128::from(i32::MAX)),
            (IntegerKind::Uint32, 0, i128::from(u32::MAX)),
            (IntegerKind::Fixed32, 0, i128::from(u32::MAX)),
            (IntegerKind::Int64, i128::from(i64::MIN), i128::from(i64::MAX)),
            (IntegerKind::Sint64, i128::from(i64::MIN), i128::from(i64::MAX)),
            (IntegerKind::Sfixed64, i128::from(i64::MIN), i128::from(i64::MAX)),
            (IntegerKind::Uint64, 0, i128::from(u64::MAX)),
            (IntegerKind::Fixed64, 0, i128::from(u64::MAX)),
        ] {
            let mut out = BytesMut::new();
            assert!(kind.value(low, &mut out).is_ok() && kind.value(high, &mut out).is_ok(), "{kind:?}");
            assert_eq!(kind.value(low - 1, &mut out), Err(Misfit::OutOfRange), "{kind:?}");
            assert_eq!(kind.value(high + 1, &mut out), Err(Misfit::OutOfRange), "{kind:?}");
        }
        let mut out = BytesMut::new();
        assert_eq!(Encoder::Float(NumberForm::Stored).value(Cell::Real(1e300), &mut out), Err(Misfit::OutOfRange));
    }
}
