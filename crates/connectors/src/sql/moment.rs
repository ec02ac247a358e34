//! Dates and times as databases keep them: ISO text, text in a pattern, seconds since 1970, Julian days.
//!
//! A time that does not name its offset is read in the binding's time zone. One that the clocks skipped is none, and of one that came
//! twice the binding says which of the two is meant.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::Misfit;
use crate::sql::cell::{Argument, Cell, Gives};
use crate::sql::point::Point;

#[cfg(test)]
mod tests;

/// Julian day of midnight, 1 January 1970. Source: <https://www.sqlite.org/lang_datefunc.html>.
const JULIAN_1970: f64 = 2_440_587.5;

const SECONDS_A_DAY: f64 = 86_400.0;

/// How dates and times are written in a column.
#[derive(Clone, Debug)]
pub(crate) struct MomentForm {
    notation: Notation,
    clock: Clock,
}

/// The clocks that say a time without an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    zone: TimeZone,
    /// `None` where the binding does not say.
    twice: Option<Twice>,
}

/// Which is meant of a time that came twice, because clocks were put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    Earlier,
    Later,
}

impl Clock {
    #[cfg(test)]
    pub(crate) const UTC: Self = Self { zone: TimeZone::UTC, twice: None };

    pub(crate) fn new(zone: TimeZone, twice: Option<Twice>) -> Self {
        Self { zone, twice }
    }

    /// When the clocks said so.
    fn instant(&self, local: DateTime) -> Result<Point, Misfit> {
        let offset = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { .. } => return Err(Misfit::Skipped),
            AmbiguousOffset::Fold { before, after } => match self.twice {
                Some(Twice::Earlier) => before,
                Some(Twice::Later) => after,
                None => return Err(Misfit::Twice),
            },
        };
        Point::at(local, offset).ok_or(Misfit::OutOfRange)
    }

    /// When the day began, which it did even where the clocks skipped its midnight or came to it twice.
    fn midnight(&self, date: Date) -> Result<Point, Misfit> {
        let local = date.to_datetime(Time::midnight());
        let offset = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
        };
        Point::at(local, offset).ok_or(Misfit::OutOfRange)
    }

    /// What the clocks say at an instant.
    fn local(&self, instant: Point) -> Result<DateTime, Misfit> {
        instant.local(&self.zone).ok_or(Misfit::OutOfRange)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// `2024-02-29`, `2024-02-29 13:05:00`, `2024-02-29T13:05:00.5+01:00`, …
    Iso,
    /// As strptime writes patterns.
    Pattern { pattern: Arc<str>, with_time: bool },
    /// Seconds since 1970 in UTC, whole or with decimals.
    Unix,
    /// Milliseconds since 1970 in UTC.
    UnixMillis,
    /// Days since noon, 24 November 4714 BC (proleptic Gregorian) in UTC.
    Julian,
}

impl Notation {
    /// Reads `iso`, `unix`, `unix-ms`, `julian` or a pattern. `None` if `format` cannot be a format of dates.
    ///
    /// `YYYY`, `MM` and `DD` are also understood, so `YYYYMMDD` is `%Y%m%d`.
    pub(crate) fn parse(format: &str) -> Option<Self> {
        match format {
            "iso" => return Some(Self::Iso),
            "unix" => return Some(Self::Unix),
            "unix-ms" => return Some(Self::UnixMillis),
            "julian" => return Some(Self::Julian),
            _ => {}
        }
        let pattern = if format.contains('%') {
            format.to_owned()
        } else {
            let pattern = format
                .replace("YYYY", "%Y")
                .replace("MM", "%m")
                .replace("DD", "%d")
                .replace("hh", "%H")
                .replace("mm", "%M")
                .replace("ss", "%S");
            if !pattern.contains('%') {
                return None;
            }
            pattern
        };
        // Tried on a day that no two numbers of which agree: what the pattern writes it must also read.
        let sample = DateTime::new(2001, 2, 3, 14, 5, 6, 0).ok()?.to_zoned_datetime(TimeZone::UTC).ok()?;
        let written = strtime::format(&pattern, &sample).ok()?;
        let read = strtime::parse(&pattern, &written).ok()?;
        (read.to_date().ok()? == sample.date()).then(|| Self::Pattern {
            pattern: pattern.into(),
            with_time: read.hour().is_some() || read.timestamp().is_some(),
        })
    }

    /// Whether a whole number can be in this notation.
    pub(crate) fn takes_integers(&self) -> bool {
        *self != Self::Iso
    }

    /// Whether a floating-point number can be in this notation.
    pub(crate) fn takes_reals(&self) -> bool {
        matches!(self, Self::Unix | Self::UnixMillis | Self::Julian)
    }

    /// Whether text can be in this notation.
    pub(crate) fn takes_text(&self) -> bool {
        matches!(self, Self::Iso | Self::Pattern { .. })
    }
}

impl MomentForm {
    pub(crate) fn new(notation: Notation, clock: Clock) -> Self {
        Self { notation, clock }
    }

    /// Reads an instant. A date alone is its midnight in the time zone.
    pub(crate) fn instant(&self, cell: Cell<'_>) -> Result<Point, Misfit> {
        match (&self.notation, cell) {
            (Notation::Iso, Cell::Text(text)) => self.iso_instant(text.trim()),
            (Notation::Pattern { pattern, .. }, Cell::Text(text)) => self.pattern_instant(pattern, text),
            (Notation::Pattern { pattern, .. }, Cell::Integer(number)) => {
                self.pattern_instant(pattern, &number.to_string())
            }
            (Notation::Unix, Cell::Integer(seconds)) => Point::new(seconds, 0).ok_or(Misfit::OutOfRange),
            (Notation::Unix, Cell::Real(seconds)) => since_1970(seconds),
            (Notation::UnixMillis, Cell::Integer(millis)) => Point::from_millis(millis).ok_or(Misfit::OutOfRange),
            (Notation::UnixMillis, Cell::Real(millis)) => since_1970(millis / 1000.0),
            (Notation::Julian, Cell::Real(days)) => since_1970((days - JULIAN_1970) * SECONDS_A_DAY),
            (Notation::Julian, Cell::Integer(days)) => since_1970((day(days)? - JULIAN_1970) * SECONDS_A_DAY),
            (Notation::Iso, Cell::Instant(instant)) => Ok(instant),
            (Notation::Iso, Cell::Local(local)) => self.clock.instant(local),
            (Notation::Iso, Cell::Date(date)) => self.clock.midnight(date),
            (_, cell) => Err(cell.misfit()),
        }
    }

    /// Reads a date. Of an instant it is the date in the time zone.
    pub(crate) fn date(&self, cell: Cell<'_>) -> Result<Date, Misfit> {
        match (&self.notation, cell) {
            (Notation::Iso, Cell::Text(text)) => {
                let text = text.trim();
                if text.len() <= 10 {
                    return text.parse().map_err(|_| Misfit::NotAMoment);
                }
                // A date with a time is the date that it says, whatever its offset.
                text.parse::<DateTime>()
                    .map(DateTime::date)
                    .or_else(|_| self.iso_instant(text).and_then(|instant| self.local_date(instant)))
            }
            (Notation::Iso, Cell::Date(date)) => Ok(date),
            (Notation::Iso, Cell::Local(local)) => Ok(local.date()),
            (Notation::Pattern { pattern, .. }, Cell::Text(text)) => pattern_date(pattern, text),
            (Notation::Pattern { pattern, .. }, Cell::Integer(number)) => pattern_date(pattern, &number.to_string()),
            // A Julian day number counts the day that has its noon.
            (Notation::Julian, Cell::Integer(days)) => {
                since_1970((day(days)? - JULIAN_1970) * SECONDS_A_DAY).map(|noon| noon.utc().date())
            }
            (Notation::Julian, Cell::Real(_)) => self.instant(cell).map(|instant| instant.utc().date()),
            _ => self.instant(cell).and_then(|instant| self.local_date(instant)),
        }
    }

    /// Reads a date, or a date with a time, and writes it as RFC 3339 does: `2024-02-29` or `2024-02-29T13:05:00Z`.
    pub(crate) fn iso_text(&self, cell: Cell<'_>) -> Result<String, Misfit> {
        let with_time = match &self.notation {
            Notation::Iso => {
                !matches!(cell, Cell::Date(_)) && !matches!(cell, Cell::Text(text) if text.trim().len() <= 10)
            }
            Notation::Pattern { with_time, .. } => *with_time,
            Notation::Unix | Notation::UnixMillis => true,
            Notation::Julian => false,
        };
        if with_time { Ok(self.instant(cell)?.to_string()) } else { Ok(self.date(cell)?.to_string()) }
    }

    /// What a parameter in this form becomes, if `native` is what it is without a notation.
    pub(crate) fn gives(&self, native: Gives) -> Gives {
        match self.notation {
            Notation::Iso => native,
            Notation::Pattern { .. } => Gives::Text,
            Notation::Unix | Notation::UnixMillis => Gives::Integer,
            Notation::Julian if native == Gives::Date => Gives::Integer,
            Notation::Julian => Gives::Real,
        }
    }

    /// Writes an instant as the column has it. What the column would not keep of it is a misfit.
    pub(crate) fn argument_of_instant(&self, instant: Point) -> Result<Argument, Misfit> {
        let kept = |unit: u32| if instant.nanos().is_multiple_of(unit) { Ok(()) } else { Err(Misfit::Finer) };
        Ok(match &self.notation {
            Notation::Iso => Argument::Instant { instant, local: instant.local(&self.clock.zone) },
            Notation::Pattern { pattern, with_time } => {
                let local = self.clock.local(instant)?;
                let written = match instant.timestamp() {
                    Some(zoned) => strtime::format(pattern.as_ref(), &zoned.to_zoned_datetime(self.clock.zone.clone())),
                    None => strtime::format(pattern.as_ref(), local),
                };
                let text = written.map_err(|_| Misfit::NotAMoment)?;
                if !keeps_time(pattern, &text, local) {
                    return Err(if *with_time { Misfit::Finer } else { Misfit::TimeOfDay });
                }
                Argument::Text(text)
            }
            Notation::Unix => {
                kept(1_000_000_000)?;
                Argument::Integer(instant.seconds())
            }
            Notation::UnixMillis => {
                kept(1_000_000)?;
                Argument::Integer(instant.seconds() * 1000 + i64::from(instant.nanos() / 1_000_000))
            }
            Notation::Julian => Argument::Real(days_since_1970(instant) + JULIAN_1970),
        })
    }

    /// Writes a date as the column has it.
    pub(crate) fn argument_of_date(&self, date: Date) -> Result<Argument, Misfit> {
        Ok(match &self.notation {
            Notation::Iso => Argument::Date { date, midnight: self.clock.midnight(date)? },
            Notation::Pattern { pattern, .. } => {
                let midnight = date.to_datetime(Time::midnight());
                Argument::Text(strtime::format(pattern.as_ref(), midnight).map_err(|_| Misfit::NotAMoment)?)
            }
            Notation::Julian => {
                let noon = Point::at(date.at(12, 0, 0, 0), Offset::UTC).ok_or(Misfit::OutOfRange)?;
                #[expect(clippy::cast_possible_truncation, reason = "the days of years up to 9999 are few")]
                Argument::Integer((days_since_1970(noon) + JULIAN_1970).round() as i64)
            }
            Notation::Unix | Notation::UnixMillis => return self.argument_of_instant(self.clock.midnight(date)?),
        })
    }

    /// Writes ISO text, a date or a date with a time, as the column has it.
    pub(crate) fn argument_of_text(&self, text: &str) -> Result<Argument, Misfit> {
        if text.len() <= 10 {
            self.argument_of_date(text.parse().map_err(|_| Misfit::NotAMoment)?)
        } else {
            self.argument_of_instant(self.iso_instant(text)?)
        }
    }

    fn iso_instant(&self, text: &str) -> Result<Point, Misfit> {
        if text.len() <= 10 {
            return self.clock.midnight(text.parse().map_err(|_| Misfit::NotAMoment)?);
        }
        // With an offset it says its instant, without one it is a time of the zone.
        if let Some(instant) = Point::read(text) {
            return Ok(instant);
        }
        self.clock.instant(text.parse().map_err(|_| Misfit::NotAMoment)?)
    }

    fn pattern_instant(&self, pattern: &str, text: &str) -> Result<Point, Misfit> {
        let read = read_pattern(pattern, text)?;
        if let Some(instant) = read.timestamp() {
            return Point::from_micros(instant.as_microsecond()).ok_or(Misfit::OutOfRange);
        }
        let date = read.to_date().map_err(|_| Misfit::NotAMoment)?;
        let time = read.hour().map(|_| read.to_time().map_err(|_| Misfit::NotAMoment)).transpose()?;
        if let Some(offset) = read.offset() {
            let local = date.to_datetime(time.unwrap_or(Time::midnight()));
            return Point::at(local, offset).ok_or(Misfit::OutOfRange);
        }
        match time {
            Some(time) => self.clock.instant(date.to_datetime(time)),
            None => self.clock.midnight(date),
        }
    }

    fn local_date(&self, instant: Point) -> Result<Date, Misfit> {
        self.clock.local(instant).map(DateTime::date)
    }
}

/// Whether text in a pattern says all of the time of day that it was made of.
fn keeps_time(pattern: &str, text: &str, local: DateTime) -> bool {
    match strtime::parse(pattern, text) {
        Ok(read) if read.timestamp().is_some() => local.subsec_nanosecond() == 0,
        Ok(read) => read.to_time().unwrap_or(Time::midnight()) == local.time(),
        // A pattern that writes what it does not read, as with the name of a time zone.
        Err(_) => true,
    }
}

fn read_pattern(pattern: &str, text: &str) -> Result<BrokenDownTime, Misfit> {
    strtime::parse(pattern, text.trim()).map_err(|_| Misfit::NotAMoment)
}

fn pattern_date(pattern: &str, text: &str) -> Result<Date, Misfit> {
    read_pattern(pattern, text)?.to_date().map_err(|_| Misfit::NotAMoment)
}

/// A day number as a double, which holds every one that can be a date.
fn day(days: i64) -> Result<f64, Misfit> {
    i32::try_from(days).map(f64::from).map_err(|_| Misfit::OutOfRange)
}

/// The instant this many seconds after 1970, to the millisecond: a Julian day in a double is no finer.
fn since_1970(seconds: f64) -> Result<Point, Misfit> {
    let millis = (seconds * 1000.0).round();
    if !millis.is_finite() || millis.abs() > 1e15 {
        return Err(Misfit::OutOfRange);
    }
    #[expect(clippy::cast_possible_truncation, reason = "finite and below 10^15, checked above")]
    Point::from_millis(millis as i64).ok_or(Misfit::OutOfRange)
}

fn days_since_1970(instant: Point) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the seconds of years up to 9999 are few")]
    let seconds = instant.seconds() as f64 + f64::from(instant.nanos()) / 1e9;
    seconds / SECONDS_A_DAY
}
