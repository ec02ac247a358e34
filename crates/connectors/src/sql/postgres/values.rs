//! Reads PostgreSQL's binary form of values.
//!
//! Source: the functions `*send` of PostgreSQL, under `src/backend/utils/adt`.

use jiff::Span;
use jiff::civil::{Date, Time};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::types::{Scalar, Sort};
use crate::Misfit;
use crate::sql::cell::Cell;
use crate::sql::number::Decimal;
use crate::sql::plan;
use crate::sql::point::Point;

/// Microseconds from 1970 to 2000, which PostgreSQL counts from.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The day that PostgreSQL counts dates from.
pub(super) const EPOCH: Date = Date::constant(2000, 1, 1);

/// A row whose columns are of known types.
pub(super) struct Typed<'r> {
    pub(super) row: &'r PgRow,
    pub(super) sorts: &'r [Sort],
}

impl Typed<'_> {
    fn raw(&self, column: usize) -> Option<(Sort, &[u8])> {
        let sort = *self.sorts.get(column)?;
        let value = self.row.try_get_raw(column).ok()?;
        value.as_bytes().ok().map(|bytes| (sort, bytes))
    }
}

impl plan::Row for Typed<'_> {
    fn cell(&self, column: usize) -> Cell<'_> {
        match self.raw(column) {
            None => Cell::Null,
            Some((Sort::One(scalar), bytes)) => cell(scalar, bytes),
            Some((Sort::Array(_), bytes)) if dimensions(bytes).is_some_and(|count| count <= 1) => Cell::List,
            Some((Sort::Array(_), _)) => unfit("array of several dimensions", Misfit::WrongType),
            Some((Sort::Foreign(_), _)) => unfit("another type", Misfit::WrongType),
        }
    }

    fn elements(&self, column: usize) -> impl Iterator<Item = Cell<'_>> {
        match self.raw(column) {
            Some((Sort::Array(scalar), bytes)) => Elements::of(scalar, bytes),
            _ => Elements { scalar: Scalar::Text, left: 0, rest: &[] },
        }
    }
}

/// The values of an array of one dimension or none.
struct Elements<'r> {
    scalar: Scalar,
    left: usize,
    rest: &'r [u8],
}

impl<'r> Elements<'r> {
    fn of(scalar: Scalar, bytes: &'r [u8]) -> Self {
        // Dimensions, a flag, the type; then size and lower bound of the one dimension.
        let left = bytes.get(12..16).map_or(0, |size| usize::try_from(integer(size)).unwrap_or_default());
        Self { scalar, left, rest: bytes.get(20..).unwrap_or_default() }
    }
}

impl<'r> Iterator for Elements<'r> {
    type Item = Cell<'r>;

    fn next(&mut self) -> Option<Cell<'r>> {
        self.left = self.left.checked_sub(1)?;
        let Some((length, rest)) = self.rest.split_at_checked(4) else {
            return Some(unfit("array", Misfit::WrongType));
        };
        let Ok(length) = usize::try_from(integer(length)) else {
            self.rest = rest;
            return Some(Cell::Null);
        };
        let Some((value, rest)) = rest.split_at_checked(length) else {
            return Some(unfit("array", Misfit::WrongType));
        };
        self.rest = rest;
        Some(cell(self.scalar, value))
    }
}

fn dimensions(bytes: &[u8]) -> Option<i64> {
    bytes.get(..4).map(integer)
}

fn unfit(stored: &'static str, why: Misfit) -> Cell<'static> {
    Cell::Unfit { stored, why }
}

/// Reads a whole number of up to eight bytes, the first of which has the sign.
fn integer(bytes: &[u8]) -> i64 {
    let start = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(start, |number, byte| (number << 8) | i64::from(*byte))
}

fn cell(scalar: Scalar, bytes: &[u8]) -> Cell<'_> {
    match scalar {
        Scalar::Bool => Cell::Bool(integer(bytes) != 0),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => Cell::Integer(integer(bytes)),
        Scalar::Oid => Cell::Integer(integer(bytes) & 0xffff_ffff),
        Scalar::Float4 => match bytes.try_into() {
            Ok(bytes) => Cell::Real(widened(f32::from_be_bytes(bytes))),
            Err(_) => unfit("float4", Misfit::WrongType),
        },
        Scalar::Float8 => match bytes.try_into() {
            Ok(bytes) => Cell::Real(f64::from_be_bytes(bytes)),
            Err(_) => unfit("float8", Misfit::WrongType),
        },
        Scalar::Numeric => match numeric(bytes) {
            Ok(decimal) => Cell::Decimal(decimal),
            Err(why) => unfit("numeric", why),
        },
        Scalar::Text | Scalar::Json => text(bytes),
        // A version comes first.
        Scalar::Jsonb => text(bytes.get(1..).unwrap_or_default()),
        Scalar::Bytea => Cell::Blob(bytes),
        Scalar::Uuid => bytes.try_into().map_or(unfit("uuid", Misfit::WrongType), Cell::Uuid),
        Scalar::Date => date(integer(bytes)).map_or_else(|why| unfit("date", why), Cell::Date),
        Scalar::Time => time(integer(bytes)).map_or(unfit("time", Misfit::OutOfRange), Cell::Time),
        Scalar::Timestamptz => timestamp(bytes).map_or_else(|why| unfit("timestamp", why), Cell::Instant),
        Scalar::Timestamp => {
            timestamp(bytes).map_or_else(|why| unfit("timestamp", why), |instant| Cell::Local(instant.utc()))
        }
    }
}

/// A `real` as the double of its shortest text: 0.1 stays 0.1, which the double nearest to its bits is not.
fn widened(number: f32) -> f64 {
    if number.is_finite() { number.to_string().parse().unwrap_or(f64::from(number)) } else { f64::from(number) }
}

fn text(bytes: &[u8]) -> Cell<'_> {
    std::str::from_utf8(bytes).map_or(unfit("text", Misfit::NotUtf8), Cell::Text)
}

fn date(days: i64) -> Result<Date, Misfit> {
    if days == i64::from(i32::MAX) || days == i64::from(i32::MIN) {
        return Err(Misfit::Infinite);
    }
    let span = Span::new().try_days(days).map_err(|_| Misfit::OutOfRange)?;
    EPOCH.checked_add(span).map_err(|_| Misfit::OutOfRange)
}

fn time(micros: i64) -> Option<Time> {
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let part = |number: i64| i8::try_from(number).ok();
    let nanos = i32::try_from(micros * 1000).ok()?;
    Time::new(part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?, nanos).ok()
}

/// An instant; infinities, and what lies beyond the year 9999, are none.
fn timestamp(bytes: &[u8]) -> Result<Point, Misfit> {
    match integer(bytes) {
        i64::MAX | i64::MIN => Err(Misfit::Infinite),
        micros => micros.checked_add(EPOCH_MICROS).and_then(Point::from_micros).ok_or(Misfit::OutOfRange),
    }
}

/// Reads a `numeric`: groups of four decimal digits, the place of the first, a sign, and the decimals to show.
fn numeric(bytes: &[u8]) -> Result<Decimal, Misfit> {
    let part = |at: usize| bytes.get(at..at + 2).map(integer).ok_or(Misfit::WrongType);
    let (groups, first, sign, shown) = (part(0)?, part(2)?, part(4)? & 0xffff, part(6)?);
    if sign != 0 && sign != 0x4000 {
        // Not a number, or an infinity.
        return Err(Misfit::NotANumber);
    }
    let mut digits: i128 = 0;
    for group in bytes.get(8..).unwrap_or_default().chunks(2) {
        digits = digits
            .checked_mul(10_000)
            .and_then(|digits| digits.checked_add(i128::from(integer(group))))
            .ok_or(Misfit::OutOfRange)?;
    }
    let mut scale = 4 * (groups - 1 - first);
    // The last group is filled up with noughts, and noughts at the end are not stored.
    while scale > shown && digits % 10 == 0 {
        digits /= 10;
        scale -= 1;
    }
    while scale < shown {
        match digits.checked_mul(10) {
            Some(more) => digits = more,
            // Noughts after the point that are only shown may be left out.
            None if scale >= 0 => break,
            None => return Err(Misfit::OutOfRange),
        }
        scale += 1;
    }
    let digits = if sign == 0 { digits } else { -digits };
    u32::try_from(scale).ok().and_then(|scale| Decimal::new(digits, scale)).ok_or(Misfit::OutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sql::postgres::bind;

    #[test]
    fn numbers_are_read_as_the_server_writes_them() {
        for (bytes, expected) in [
            // 2.50, 0, -12345.678, 10000, 1e-7 and 0.00 of PostgreSQL 15.
            ("0002000000000002 0002 1388", "2.50"),
            ("0000000000000000", "0"),
            ("0003000140000003 0001 0929 1a7c", "-12345.678"),
            ("0001000100000000 0001", "10000"),
            ("0001fffe00000007 000a", "0.0000001"),
            ("0000000000000002", "0.00"),
        ] {
            let bytes = hex::decode(bytes.replace(' ', "")).unwrap();
            assert_eq!(numeric(&bytes).unwrap().to_string(), expected);
        }
        assert_eq!(numeric(&hex::decode("00000000c0000000").unwrap()), Err(Misfit::NotANumber));
        assert_eq!(numeric(&[0, 1]), Err(Misfit::WrongType));
    }

    #[test]
    fn days_and_times_are_counted_from_the_year_2000() {
        assert_eq!(date(0), Ok(EPOCH));
        assert_eq!(date(-36_524).unwrap().to_string(), "1900-01-01");
        assert_eq!(date(i64::from(i32::MAX)), Err(Misfit::Infinite));
        assert_eq!(date(i64::from(i32::MAX) - 1), Err(Misfit::OutOfRange));
        assert_eq!(time(86_399_000_001).unwrap().to_string(), "23:59:59.000001");
        assert_eq!(time(86_400_000_000), None);
        assert_eq!(timestamp(&0_i64.to_be_bytes()).unwrap().to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(timestamp(&i64::MAX.to_be_bytes()), Err(Misfit::Infinite));
        assert_eq!(timestamp(&i64::MIN.to_be_bytes()), Err(Misfit::Infinite));
        assert_eq!(timestamp(&(i64::MAX - 1).to_be_bytes()), Err(Misfit::OutOfRange));
    }

    #[test]
    fn a_real_keeps_the_decimals_that_it_shows() {
        assert_eq!(cell(Scalar::Float4, &0.1_f32.to_be_bytes()), Cell::Real(0.1));
        assert_eq!(cell(Scalar::Oid, &[0xff; 4]), Cell::Integer(4_294_967_295));
        assert_eq!(cell(Scalar::Int2, &[0xff, 0xfe]), Cell::Integer(-2));
    }

    proptest! {
        #[test]
        fn a_decimal_that_is_bound_reads_back(digits in -10_i128.pow(30)..10_i128.pow(30), scale in 0_u32..20) {
            let decimal = Decimal::new(digits, scale).unwrap();
            let bytes = bind::numeric(&decimal.to_string()).unwrap();
            prop_assert_eq!(numeric(&bytes).unwrap().at_scale(scale), Ok(digits));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for scalar in [Scalar::Bool, Scalar::Int8, Scalar::Float4, Scalar::Numeric, Scalar::Text, Scalar::Date,
                Scalar::Time, Scalar::Timestamp, Scalar::Timestamptz, Scalar::Uuid, Scalar::Jsonb] {
                let _ = cell(scalar, &bytes);
                let _ = Elements::of(scalar, &bytes).take(100).count();
            }
        }
    }
}
