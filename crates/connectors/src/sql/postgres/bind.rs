//! Writes arguments in PostgreSQL's binary form, as the types that the server has inferred for the parameters.
//!
//! Source: the functions `*recv` of PostgreSQL, under `src/backend/utils/adt`.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::{Arguments, Encode, Postgres, Type};

use super::types::{Known, Scalar, Sort};
use super::values::{EPOCH, EPOCH_MICROS};
use crate::Misfit;
use crate::sql::cell::Argument;
use crate::sql::point::Point;

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    sort: Sort,
    /// The type that is told to the server; a type of this database's own is left to its inference, since its number changes when
    /// it is made anew.
    declared: PgTypeInfo,
    /// The type of an array's elements.
    element: u32,
}

/// Types with smaller numbers are built in. Source: `FirstNormalObjectId` in `src/include/access/transam.h`.
const FIRST_OWN: u32 = 16_384;

impl Parameter {
    pub(super) fn of(info: &PgTypeInfo) -> Self {
        let own = |oid: &Oid| oid.0 < FIRST_OWN;
        let element = match info.kind() {
            sqlx::postgres::PgTypeKind::Array(element) => element.oid().map_or(0, |oid| oid.0),
            sqlx::postgres::PgTypeKind::Simple
            | sqlx::postgres::PgTypeKind::Pseudo
            | sqlx::postgres::PgTypeKind::Domain(_)
            | sqlx::postgres::PgTypeKind::Composite(_)
            | sqlx::postgres::PgTypeKind::Enum(_)
            | sqlx::postgres::PgTypeKind::Range(_) => 0,
        };
        Self {
            sort: Known::of(info).sort,
            declared: PgTypeInfo::with_oid(info.oid().filter(own).unwrap_or(Oid(0))),
            element,
        }
    }
}

/// Writes the arguments. The error is the first that does not fit, by its place.
pub(super) fn bound(parameters: &[Parameter], arguments: &[Argument]) -> Result<PgArguments, (usize, Misfit)> {
    let mut bound = PgArguments::default();
    for (at, parameter) in parameters.iter().enumerate() {
        let argument = arguments.get(at).unwrap_or(&Argument::Null);
        let bytes = parameter.bytes(argument).map_err(|misfit| (at, misfit))?;
        let value = Value { declared: parameter.declared.clone(), bytes };
        bound.add(value).map_err(|_| (at, Misfit::OutOfRange))?;
    }
    Ok(bound)
}

/// Writes null for every parameter.
pub(super) fn nulls(parameters: &[Parameter]) -> PgArguments {
    bound(parameters, &[]).unwrap_or_default()
}

/// A value in its binary form.
struct Value {
    declared: PgTypeInfo,
    bytes: Option<Vec<u8>>,
}

impl Encode<'_, Postgres> for Value {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else {
            return Ok(IsNull::Yes);
        };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.declared.clone())
    }

    fn size_hint(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

impl Type<Postgres> for Value {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Parameter {
    fn bytes(&self, argument: &Argument) -> Result<Option<Vec<u8>>, Misfit> {
        match (self.sort, argument) {
            (_, Argument::Null) => Ok(None),
            (Sort::One(scalar), argument) => scalar.bytes(argument),
            (Sort::Array(scalar), Argument::List(items)) => self.array(scalar, items).map(Some),
            (Sort::Array(_) | Sort::Foreign(_), _) => Err(Misfit::WrongType),
        }
    }

    fn array(&self, scalar: Scalar, items: &[Argument]) -> Result<Vec<u8>, Misfit> {
        let count = |length: usize| i32::try_from(length).map_err(|_| Misfit::OutOfRange);
        let mut bytes = Vec::with_capacity(20 + items.len() * 12);
        // Dimensions, whether there are nulls (the server looks for itself), the type.
        bytes.extend_from_slice(&i32::from(!items.is_empty()).to_be_bytes());
        bytes.extend_from_slice(&0_i32.to_be_bytes());
        bytes.extend_from_slice(&self.element.to_be_bytes());
        if items.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&count(items.len())?.to_be_bytes());
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        for item in items {
            match scalar.bytes(item)? {
                None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(item) => {
                    bytes.extend_from_slice(&count(item.len())?.to_be_bytes());
                    bytes.extend_from_slice(&item);
                }
            }
        }
        Ok(bytes)
    }
}

impl Scalar {
    /// Writes a value. Empty text is null where the type has no empty text.
    fn bytes(self, argument: &Argument) -> Result<Option<Vec<u8>>, Misfit> {
        let empty = matches!(argument, Argument::Text(text) if text.is_empty());
        if empty && self != Self::Text {
            return Ok(None);
        }
        let bytes = match (self, argument) {
            (Self::Text | Self::Json, argument) => text(argument)?,
            (Self::Jsonb, argument) => [vec![1], text(argument)?].concat(),
            (Self::Bool, Argument::Bool(value)) => vec![u8::from(*value)],
            (Self::Int2, argument) => fit::<i16>(argument)?.to_be_bytes().to_vec(),
            (Self::Int4, argument) => fit::<i32>(argument)?.to_be_bytes().to_vec(),
            (Self::Int8, argument) => fit::<i64>(argument)?.to_be_bytes().to_vec(),
            (Self::Oid, argument) => fit::<u32>(argument)?.to_be_bytes().to_vec(),
            (Self::Float4, argument) => {
                let wide = real(argument)?;
                #[expect(clippy::cast_possible_truncation, reason = "the parameter is a float; the nearest one is it")]
                let value = wide as f32;
                if value.is_infinite() && wide.is_finite() {
                    return Err(Misfit::OutOfRange);
                }
                value.to_be_bytes().to_vec()
            }
            (Self::Float8, argument) => real(argument)?.to_be_bytes().to_vec(),
            (Self::Numeric, Argument::Integer(number)) => numeric(&number.to_string())?,
            (Self::Numeric, Argument::Real(number)) if number.is_finite() => numeric(&number.to_string())?,
            (Self::Numeric, Argument::Text(text)) => numeric(text.trim())?,
            (Self::Numeric, _) => return Err(Misfit::NotANumber),
            (Self::Bytea, Argument::Blob(bytes)) => bytes.clone(),
            (Self::Uuid, argument) => uuid(argument)?,
            (Self::Time, Argument::Text(text)) => time(text)?,
            (Self::Date, Argument::Date { date, .. }) => days(*date)?,
            (Self::Date, Argument::Instant { local, .. }) => {
                let local = local.ok_or(Misfit::OutOfRange)?;
                if local.time() != Time::midnight() {
                    return Err(Misfit::TimeOfDay);
                }
                days(local.date())?
            }
            (Self::Timestamptz, Argument::Date { midnight: instant, .. } | Argument::Instant { instant, .. }) => {
                micros(*instant)?
            }
            (Self::Timestamp, Argument::Date { date, .. }) => local_micros(date.to_datetime(Time::midnight()))?,
            (Self::Timestamp, Argument::Instant { local, .. }) => local_micros(local.ok_or(Misfit::OutOfRange)?)?,
            (Self::Time | Self::Date | Self::Timestamptz | Self::Timestamp, _) => return Err(Misfit::NotAMoment),
            (Self::Bool | Self::Bytea, _) => return Err(Misfit::WrongType),
        };
        Ok(Some(bytes))
    }
}

fn text(argument: &Argument) -> Result<Vec<u8>, Misfit> {
    let text = match argument {
        Argument::Text(text) => text.clone(),
        Argument::Date { date, .. } => date.to_string(),
        Argument::Instant { instant, .. } => instant.to_string(),
        Argument::Null
        | Argument::Bool(_)
        | Argument::Integer(_)
        | Argument::Real(_)
        | Argument::Blob(_)
        | Argument::List(_) => return Err(Misfit::WrongType),
    };
    if text.contains('\0') { Err(Misfit::Nul) } else { Ok(text.into_bytes()) }
}

fn fit<T: TryFrom<i64>>(argument: &Argument) -> Result<T, Misfit> {
    let number = if let Argument::Integer(number) = argument {
        *number
    } else if let Argument::Bool(value) = argument {
        i64::from(*value)
    } else {
        return Err(Misfit::WrongType);
    };
    T::try_from(number).map_err(|_| Misfit::OutOfRange)
}

fn real(argument: &Argument) -> Result<f64, Misfit> {
    #[expect(clippy::cast_precision_loss, reason = "a double is what the parameter is; the nearest one is it")]
    if let Argument::Integer(number) = argument {
        return Ok(*number as f64);
    }
    if let Argument::Real(number) = argument { Ok(*number) } else { Err(Misfit::WrongType) }
}

fn uuid(argument: &Argument) -> Result<Vec<u8>, Misfit> {
    let bytes = if let Argument::Blob(bytes) = argument {
        bytes.clone()
    } else if let Argument::Text(text) = argument {
        hex::decode(text.trim().replace('-', "")).map_err(|_| Misfit::NotHex)?
    } else {
        return Err(Misfit::WrongType);
    };
    if bytes.len() == 16 { Ok(bytes) } else { Err(Misfit::OutOfRange) }
}

fn days(date: Date) -> Result<Vec<u8>, Misfit> {
    let days = EPOCH.until(date).map_err(|_| Misfit::OutOfRange)?.get_days();
    Ok(days.to_be_bytes().to_vec())
}

/// The server keeps microseconds.
fn micros(instant: Point) -> Result<Vec<u8>, Misfit> {
    if !instant.nanos().is_multiple_of(1000) {
        return Err(Misfit::Finer);
    }
    let micros = instant.seconds() * 1_000_000 + i64::from(instant.nanos() / 1000) - EPOCH_MICROS;
    Ok(micros.to_be_bytes().to_vec())
}

/// The microseconds to what the clocks say, wherever.
fn local_micros(local: DateTime) -> Result<Vec<u8>, Misfit> {
    micros(Point::at(local, Offset::UTC).ok_or(Misfit::OutOfRange)?)
}

fn time(text: &str) -> Result<Vec<u8>, Misfit> {
    let time: Time = text.trim().parse().map_err(|_| Misfit::NotAMoment)?;
    if time.subsec_nanosecond() % 1000 != 0 {
        return Err(Misfit::Finer);
    }
    let seconds = (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    Ok((seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1000).to_be_bytes().to_vec())
}

/// Writes decimal text as a `numeric`: groups of four decimal digits, the place of the first, a sign, and the decimals to show.
pub(super) fn numeric(text: &str) -> Result<Vec<u8>, Misfit> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if integer.is_empty() && fraction.is_empty() {
        return Err(Misfit::NotANumber);
    }
    if !integer.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(Misfit::NotANumber);
    }
    let integer = integer.trim_start_matches('0');
    // The point stands between two groups.
    let before = integer.len().div_ceil(4);
    let padded = format!("{integer:0>0$}{fraction:0<1$}", before * 4, fraction.len().div_ceil(4) * 4);
    let mut groups: Vec<i16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |number, digit| number * 10 + i16::from(digit - b'0')))
        .collect();
    let mut first = i64::try_from(before).map_err(|_| Misfit::OutOfRange)? - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    first -= i64::try_from(leading).map_err(|_| Misfit::OutOfRange)?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        first = 0;
    }
    let short = |number: i64| i16::try_from(number).map_err(|_| Misfit::OutOfRange);
    let count = |number: usize| i16::try_from(number).map_err(|_| Misfit::OutOfRange);
    let sign: u16 = if negative && !groups.is_empty() { 0x4000 } else { 0 };
    let mut bytes = Vec::with_capacity(8 + groups.len() * 2);
    bytes.extend_from_slice(&count(groups.len())?.to_be_bytes());
    bytes.extend_from_slice(&short(first)?.to_be_bytes());
    bytes.extend_from_slice(&sign.to_be_bytes());
    bytes.extend_from_slice(&count(fraction.len())?.to_be_bytes());
    for group in groups {
        bytes.extend_from_slice(&group.to_be_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_as_the_server_writes_them() {
        for (text, expected) in [
            ("2.50", "00020000000000020002 1388"),
            ("0", "0000000000000000"),
            ("-12345.678", "0003000140000003 0001 0929 1a7c"),
            ("10000", "0001000100000000 0001"),
            (".0000001", "0001fffe00000007 000a"),
            ("-0.00", "0000000000000002"),
        ] {
            assert_eq!(hex::encode(numeric(text).unwrap()), expected.replace(' ', ""), "{text}");
        }
        for text in ["", "-", ".", "1e3", "NaN", "1 2", "٧"] {
            assert_eq!(numeric(text), Err(Misfit::NotANumber), "{text}");
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_a_misfit() {
        for (scalar, argument, misfit) in [
            (Scalar::Int2, Argument::Integer(40_000), Misfit::OutOfRange),
            (Scalar::Int4, Argument::Integer(1 << 40), Misfit::OutOfRange),
            (Scalar::Oid, Argument::Integer(-1), Misfit::OutOfRange),
            (Scalar::Float4, Argument::Real(1e300), Misfit::OutOfRange),
            (Scalar::Uuid, Argument::Text("no".into()), Misfit::NotHex),
            (Scalar::Uuid, Argument::Text("ab".into()), Misfit::OutOfRange),
            (Scalar::Text, Argument::Text("a\0b".into()), Misfit::Nul),
            (Scalar::Time, Argument::Text("10:00:00.0000001".into()), Misfit::Finer),
            (Scalar::Time, Argument::Text("noon".into()), Misfit::NotAMoment),
            (Scalar::Bool, Argument::Integer(1), Misfit::WrongType),
        ] {
            assert_eq!(scalar.bytes(&argument), Err(misfit), "{scalar:?} {argument:?}");
        }
        assert_eq!(Scalar::Uuid.bytes(&Argument::Text(String::new())), Ok(None));
        assert_eq!(Scalar::Text.bytes(&Argument::Text(String::new())), Ok(Some(Vec::new())));
        assert_eq!(time("23:59:59.000001").unwrap(), 86_399_000_001_i64.to_be_bytes());
    }
}
