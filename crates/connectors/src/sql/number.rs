//! Numbers as databases keep them: stored as such, as text, as decimals, or as a count of small units.
//!
//! Nothing is rounded on the way. A decimal that does not fit is a [`Misfit`], since a wrong amount is worse than none.

use std::fmt;

use crate::Misfit;
use crate::sql::cell::Cell;

/// Largest number of decimals a format may keep. Ten to this power still fits an `i64`.
pub(crate) const MAX_SCALE: u32 = 18;

/// How a number is written in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberForm {
    /// As a number.
    Stored,
    /// As a number or as text of one.
    Text,
    /// With decimals, of which this many are kept. A whole-number field counts the last of them.
    Decimal(u32),
    /// As a whole number that counts the last of this many decimals.
    Scaled(u32),
}

impl NumberForm {
    /// Reads `number`, `decimal(2)` or `scaled(2)`. `None` if `format` is none of them.
    pub(crate) fn parse(format: &str) -> Option<Self> {
        if format == "number" {
            return Some(Self::Text);
        }
        let (name, scale) = format.strip_suffix(')')?.split_once('(')?;
        let scale: u32 = scale.trim().parse().ok().filter(|scale| *scale <= MAX_SCALE)?;
        match name.trim() {
            "decimal" => Some(Self::Decimal(scale)),
            "scaled" => Some(Self::Scaled(scale)),
            _ => None,
        }
    }

    /// Reads a whole number.
    pub(crate) fn integer(self, cell: Cell<'_>) -> Result<i128, Misfit> {
        match (self, cell) {
            (Self::Stored | Self::Text | Self::Scaled(_), Cell::Integer(number)) => Ok(i128::from(number)),
            (Self::Stored | Self::Text | Self::Scaled(_), Cell::Real(number)) => whole(number),
            (Self::Text, Cell::Text(text)) => decimal(text, 0),
            (Self::Decimal(scale), cell) => decimal_cell(cell, scale),
            (Self::Stored | Self::Text | Self::Scaled(_), Cell::Decimal(number)) => number.at_scale(0),
            (_, cell) => Err(cell.misfit()),
        }
    }

    /// Reads a floating-point number.
    pub(crate) fn real(self, cell: Cell<'_>) -> Result<f64, Misfit> {
        match (self, cell) {
            (Self::Scaled(scale), cell) => {
                let scaled = Self::Text.integer(cell)?;
                // The nearest double to the decimal, which dividing two doubles would miss now and then.
                written(scaled, scale).parse().map_err(|_| Misfit::NotANumber)
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "a double is what the contract asks for; the nearest one is it"
            )]
            (_, Cell::Integer(number)) => Ok(number as f64),
            (_, Cell::Real(number)) => Ok(number),
            (Self::Text | Self::Decimal(_), Cell::Text(text)) => {
                let number: f64 = text.trim().parse().map_err(|_| Misfit::NotANumber)?;
                if number.is_finite() { Ok(number) } else { Err(Misfit::NotANumber) }
            }
            // The nearest double to the decimal, which dividing two doubles would miss now and then.
            (_, Cell::Decimal(number)) => number.to_string().parse().map_err(|_| Misfit::NotANumber),
            (_, cell) => Err(cell.misfit()),
        }
    }

    /// Reads a number and writes it with a fixed number of decimals.
    pub(crate) fn fixed(self, cell: Cell<'_>) -> Result<String, Misfit> {
        match self {
            Self::Decimal(scale) => Ok(written(decimal_cell(cell, scale)?, scale)),
            Self::Scaled(scale) => Ok(written(Self::Text.integer(cell)?, scale)),
            Self::Stored | Self::Text => Ok(Self::Text.integer(cell)?.to_string()),
        }
    }
}

/// An exact decimal number of up to 38 digits, with the decimals that it is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// The number as a count of its last decimals.
    digits: i128,
    scale: u32,
}

impl Decimal {
    /// Largest number of decimals. Ten to this power still fits a `u128`.
    const MAX_SCALE: u32 = 38;

    /// Makes `digits` divided by ten to the power of `scale`. `None` if that has too many decimals.
    pub(crate) fn new(digits: i128, scale: u32) -> Option<Self> {
        (scale <= Self::MAX_SCALE).then_some(Self { digits, scale })
    }

    /// Counts the number's `scale`-th decimals, where that is exact.
    pub(crate) fn at_scale(self, scale: u32) -> Result<i128, Misfit> {
        let power = 10_i128.checked_pow(scale.abs_diff(self.scale)).ok_or(Misfit::OutOfRange)?;
        if scale >= self.scale {
            return self.digits.checked_mul(power).ok_or(Misfit::OutOfRange);
        }
        if self.digits % power == 0 { Ok(self.digits / power) } else { Err(Misfit::Inexact) }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.digits, self.scale))
    }
}

/// Takes a floating-point number for a whole one, where it is.
fn whole(number: f64) -> Result<i128, Misfit> {
    // Beyond 2^53 neighbouring whole numbers share one double.
    if number.fract() != 0.0 {
        return Err(Misfit::Inexact);
    }
    if number.abs() > 9_007_199_254_740_992.0 {
        return Err(Misfit::OutOfRange);
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, checked above")]
    Ok(number as i128)
}

fn decimal_cell(cell: Cell<'_>, scale: u32) -> Result<i128, Misfit> {
    match cell {
        Cell::Integer(number) => i128::from(number).checked_mul(10_i128.pow(scale)).ok_or(Misfit::OutOfRange),
        // The shortest text that is this double: 0.1 is `0.1`, although the double is a little more.
        Cell::Real(number) if number.is_finite() => decimal(&number.to_string(), scale),
        Cell::Text(text) => decimal(text, scale),
        Cell::Decimal(number) => number.at_scale(scale),
        Cell::Null
        | Cell::Bool(_)
        | Cell::Real(_)
        | Cell::Blob(_)
        | Cell::Uuid(_)
        | Cell::Date(_)
        | Cell::Time(_)
        | Cell::Local(_)
        | Cell::Instant(_)
        | Cell::List
        | Cell::Unfit { .. } => Err(cell.misfit()),
    }
}

/// Reads decimal text as a count of its `scale`-th decimals.
fn decimal(text: &str, scale: u32) -> Result<i128, Misfit> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if integer.is_empty() && fraction.is_empty() {
        return Err(Misfit::NotANumber);
    }
    let mut value: i128 = 0;
    let mut push = |digit: u32| -> Result<(), Misfit> {
        value =
            value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit))).ok_or(Misfit::OutOfRange)?;
        Ok(())
    };
    for c in integer.chars() {
        push(c.to_digit(10).ok_or(Misfit::NotANumber)?)?;
    }
    let mut kept = 0;
    for c in fraction.chars() {
        let digit = c.to_digit(10).ok_or(Misfit::NotANumber)?;
        if kept < scale {
            push(digit)?;
            kept += 1;
        } else if digit != 0 {
            return Err(Misfit::Inexact);
        }
    }
    for _ in kept..scale {
        push(0)?;
    }
    Ok(if negative { -value } else { value })
}

/// Writes a count of `scale`-th decimals as decimal text.
fn written(value: i128, scale: u32) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let unit = 10_u128.pow(scale);
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    let width = usize::try_from(scale).unwrap_or_default();
    format!("{sign}{}.{:0width$}", value / unit, value % unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formats_are_read() {
        assert_eq!(NumberForm::parse("number"), Some(NumberForm::Text));
        assert_eq!(NumberForm::parse("decimal(2)"), Some(NumberForm::Decimal(2)));
        assert_eq!(NumberForm::parse("scaled( 3 )"), Some(NumberForm::Scaled(3)));
        for format in ["decimal", "decimal()", "decimal(-1)", "decimal(19)", "rounded(2)", "%d"] {
            assert_eq!(NumberForm::parse(format), None, "{format}");
        }
    }

    #[test]
    fn whole_numbers_are_exact_or_refused() {
        let stored = NumberForm::Stored;
        assert_eq!(stored.integer(Cell::Integer(-7)), Ok(-7));
        assert_eq!(stored.integer(Cell::Real(5.0)), Ok(5));
        assert_eq!(stored.integer(Cell::Real(5.5)), Err(Misfit::Inexact));
        assert_eq!(stored.integer(Cell::Real(1e17)), Err(Misfit::OutOfRange));
        assert_eq!(stored.integer(Cell::Real(f64::NAN)), Err(Misfit::Inexact));
        assert_eq!(stored.integer(Cell::Text("5")), Err(Misfit::WrongType));
        assert_eq!(NumberForm::Text.integer(Cell::Text(" 007 ")), Ok(7));
        assert_eq!(NumberForm::Text.integer(Cell::Text("7.0")), Ok(7));
        assert_eq!(NumberForm::Text.integer(Cell::Text("7.1")), Err(Misfit::Inexact));
        for text in ["", "-", ".", "seven", "7 7", "1e3", "٧"] {
            assert_eq!(NumberForm::Text.integer(Cell::Text(text)), Err(Misfit::NotANumber), "{text}");
        }
    }

    #[test]
    fn decimals_keep_every_digit_they_may() {
        let cents = NumberForm::Decimal(2);
        assert_eq!(cents.integer(Cell::Text("12.3")), Ok(1230));
        assert_eq!(cents.integer(Cell::Text("-0.05")), Ok(-5));
        assert_eq!(cents.integer(Cell::Real(0.1)), Ok(10));
        assert_eq!(cents.integer(Cell::Integer(3)), Ok(300));
        assert_eq!(cents.integer(Cell::Real(0.1 + 0.2)), Err(Misfit::Inexact));
        assert_eq!(cents.fixed(Cell::Text("12.300")), Ok("12.30".into()));
        assert_eq!(cents.fixed(Cell::Text("-.5")), Ok("-0.50".into()));
        assert_eq!(NumberForm::Scaled(2).fixed(Cell::Integer(-5)), Ok("-0.05".into()));
        assert_eq!(NumberForm::Scaled(2).real(Cell::Integer(1250)), Ok(12.5));
        assert_eq!(NumberForm::Text.real(Cell::Text("12.5")), Ok(12.5));
        assert_eq!(NumberForm::Text.real(Cell::Text("inf")), Err(Misfit::NotANumber));
        assert_eq!(NumberForm::Stored.real(Cell::Text("12.5")), Err(Misfit::WrongType));
    }

    #[test]
    fn exact_decimals_keep_their_decimals_and_are_never_rounded() {
        let price = Decimal::new(250, 2).unwrap();
        assert_eq!(price.to_string(), "2.50");
        assert_eq!(price.at_scale(1), Ok(25));
        assert_eq!(price.at_scale(0), Err(Misfit::Inexact));
        assert_eq!(NumberForm::Decimal(2).integer(Cell::Decimal(price)), Ok(250));
        assert_eq!(NumberForm::Stored.integer(Cell::Decimal(price)), Err(Misfit::Inexact));
        assert_eq!(NumberForm::Stored.integer(Cell::Decimal(Decimal::new(-700, 2).unwrap())), Ok(-7));
        assert_eq!(NumberForm::Stored.real(Cell::Decimal(price)), Ok(2.5));
        assert_eq!(Decimal::new(-5, 38).unwrap().to_string(), format!("-0.{}5", "0".repeat(37)));
        assert_eq!(Decimal::new(1, 39), None);
        assert_eq!(Decimal::new(i128::MAX, 0).unwrap().at_scale(1), Err(Misfit::OutOfRange));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any::<i64>(), scale in 0..=MAX_SCALE) {
            prop_assert_eq!(decimal(&written(i128::from(value), scale), scale), Ok(i128::from(value)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", scale in 0..=MAX_SCALE) {
            let _ = decimal(&text, scale);
        }
    }
}
