//! Dates and times as databases keep them: ISO text, text in a pattern, seconds since 1970, Julian days.
//!
//! A time that does not name its offset is read in the binding's time zone. Where the clock was put back it is the
//! earlier of the two instants, and where it was put forward the later.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Misfit;
use crate::sql::cell::{Argument, Cell};

/// Julian day of midnight, 1 January 1970. Source: <https://www.sqlite.org/lang_datefunc.html>.
const JULIAN_1970: f64 = 2_440_587.5;

const SECONDS_A_DAY: f64 = 86_400.0;

/// How dates and times are written in a column.
#[derive(Clone, Debug)]
pub(crate) struct MomentForm {
    notation: Notation,
    zone: TimeZone,
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
        let sample = DateTime::new(2001, 2, 3, 14, 5, 6, 0)
            .ok()?
            .to_zoned_datetime(TimeZone::UTC)
            .ok()?;
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
    pub(crate) fn new(notation: Notation, zone: TimeZone) -> Self {
        Self { notation, zone }
    }

    /// Reads an instant. A date alone is its midnight in the time zone.
    pub(crate) fn instant(&self, cell: Cell<'_>) -> Result<Timestamp, Misfit> {
        match (&self.notation, cell) {
            (Notation::Iso, Cell::Text(text)) => self.iso_instant(text.trim()),
            (Notation::Pattern { pattern, .. }, Cell::Text(text)) => {
                self.pattern_instant(pattern, text)
            }
            (Notation::Pattern { pattern, .. }, Cell::Integer(number)) => {
                self.pattern_instant(pattern, &number.to_string())
            }
            (Notation::Unix, Cell::Integer(seconds)) => {
                Timestamp::from_second(seconds).map_err(|_| Misfit::OutOfRange)
            }
            (Notation::Unix, Cell::Real(seconds)) => since_1970(seconds),
            (Notation::UnixMillis, Cell::Integer(millis)) => {
                Timestamp::from_millisecond(millis).map_err(|_| Misfit::OutOfRange)
            }
            (Notation::UnixMillis, Cell::Real(millis)) => since_1970(millis / 1000.0),
            (Notation::Julian, Cell::Real(days)) => {
                since_1970((days - JULIAN_1970) * SECONDS_A_DAY)
            }
            (Notation::Julian, Cell::Integer(days)) => {
                since_1970((day(days)? - JULIAN_1970) * SECONDS_A_DAY)
            }
            (_, Cell::Garbled) => Err(Misfit::NotUtf8),
            (_, Cell::Null | Cell::Integer(_) | Cell::Real(_) | Cell::Text(_) | Cell::Blob(_)) => {
                Err(Misfit::WrongType)
            }
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
                text.parse::<DateTime>().map(DateTime::date).or_else(|_| {
                    self.iso_instant(text)
                        .map(|instant| self.local_date(instant))
                })
            }
            (Notation::Pattern { pattern, .. }, Cell::Text(text)) => pattern_date(pattern, text),
            (Notation::Pattern { pattern, .. }, Cell::Integer(number)) => {
                pattern_date(pattern, &number.to_string())
            }
            // A Julian day number counts the day that has its noon.
            (Notation::Julian, Cell::Integer(days)) => {
                since_1970((day(days)? - JULIAN_1970) * SECONDS_A_DAY)
                    .map(|noon| noon.to_zoned_datetime(TimeZone::UTC).date())
            }
            (Notation::Julian, Cell::Real(_)) => self
                .instant(cell)
                .map(|instant| instant.to_zoned_datetime(TimeZone::UTC).date()),
            _ => self.instant(cell).map(|instant| self.local_date(instant)),
        }
    }

    /// Reads a date, or a date with a time, and writes it as RFC 3339 does: `2024-02-29` or `2024-02-29T13:05:00Z`.
    pub(crate) fn iso_text(&self, cell: Cell<'_>) -> Result<String, Misfit> {
        let with_time = match &self.notation {
            Notation::Iso => matches!(cell, Cell::Text(text) if text.trim().len() > 10),
            Notation::Pattern { with_time, .. } => *with_time,
            Notation::Unix | Notation::UnixMillis => true,
            Notation::Julian => false,
        };
        if with_time {
            Ok(self.instant(cell)?.to_string())
        } else {
            Ok(self.date(cell)?.to_string())
        }
    }

    /// Writes an instant as the column has it.
    pub(crate) fn argument_of_instant(&self, instant: Timestamp) -> Result<Argument, Misfit> {
        Ok(match &self.notation {
            Notation::Iso => Argument::Text(instant.to_string()),
            Notation::Pattern { pattern, .. } => {
                let local = instant.to_zoned_datetime(self.zone.clone());
                Argument::Text(
                    strtime::format(pattern.as_ref(), &local).map_err(|_| Misfit::NotAMoment)?,
                )
            }
            Notation::Unix => Argument::Integer(instant.as_second()),
            Notation::UnixMillis => Argument::Integer(instant.as_millisecond()),
            Notation::Julian => Argument::Real(days_since_1970(instant) + JULIAN_1970),
        })
    }

    /// Writes a date as the column has it.
    pub(crate) fn argument_of_date(&self, date: Date) -> Result<Argument, Misfit> {
        Ok(match &self.notation {
            Notation::Iso => Argument::Text(date.to_string()),
            Notation::Pattern { pattern, .. } => {
                let midnight = date.to_datetime(Time::midnight());
                Argument::Text(
                    strtime::format(pattern.as_ref(), midnight).map_err(|_| Misfit::NotAMoment)?,
                )
            }
            Notation::Julian => {
                let noon = date
                    .at(12, 0, 0, 0)
                    .to_zoned_datetime(TimeZone::UTC)
                    .map_err(|_| Misfit::OutOfRange)?;
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the days of years up to 9999 are few"
                )]
                Argument::Integer((days_since_1970(noon.timestamp()) + JULIAN_1970).round() as i64)
            }
            Notation::Unix | Notation::UnixMillis => {
                let midnight = date
                    .to_zoned_datetime(self.zone.clone())
                    .map_err(|_| Misfit::OutOfRange)?;
                return self.argument_of_instant(midnight.timestamp());
            }
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

    fn iso_instant(&self, text: &str) -> Result<Timestamp, Misfit> {
        // With an offset it says its instant, without one it is a time of the zone.
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Ok(instant);
        }
        let local: DateTime = text.parse().map_err(|_| Misfit::NotAMoment)?;
        self.local_instant(local)
    }

    fn pattern_instant(&self, pattern: &str, text: &str) -> Result<Timestamp, Misfit> {
        let read = read_pattern(pattern, text)?;
        if let Some(instant) = read.timestamp() {
            return Ok(instant);
        }
        if read.offset().is_some() {
            return read.to_timestamp().map_err(|_| Misfit::NotAMoment);
        }
        let date = read.to_date().map_err(|_| Misfit::NotAMoment)?;
        let time = read.to_time().unwrap_or_else(|_| Time::midnight());
        self.local_instant(date.to_datetime(time))
    }

    fn local_instant(&self, local: DateTime) -> Result<Timestamp, Misfit> {
        self.zone
            .to_ambiguous_timestamp(local)
            .compatible()
            .map_err(|_| Misfit::OutOfRange)
    }

    fn local_date(&self, instant: Timestamp) -> Date {
        instant.to_zoned_datetime(self.zone.clone()).date()
    }
}

fn read_pattern(pattern: &str, text: &str) -> Result<BrokenDownTime, Misfit> {
    strtime::parse(pattern, text.trim()).map_err(|_| Misfit::NotAMoment)
}

fn pattern_date(pattern: &str, text: &str) -> Result<Date, Misfit> {
    read_pattern(pattern, text)?
        .to_date()
        .map_err(|_| Misfit::NotAMoment)
}

/// A day number as a double, which holds every one that can be a date.
fn day(days: i64) -> Result<f64, Misfit> {
    i32::try_from(days)
        .map(f64::from)
        .map_err(|_| Misfit::OutOfRange)
}

/// The instant this many seconds after 1970, to the millisecond: a Julian day in a double is no finer.
fn since_1970(seconds: f64) -> Result<Timestamp, Misfit> {
    let millis = (seconds * 1000.0).round();
    if !millis.is_finite() || millis.abs() > 1e15 {
        return Err(Misfit::OutOfRange);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "finite and below 10^15, checked above"
    )]
    Timestamp::from_millisecond(millis as i64).map_err(|_| Misfit::OutOfRange)
}

fn days_since_1970(instant: Timestamp) -> f64 {
    let since: SignedDuration = instant.as_duration();
    since.as_secs_f64() / SECONDS_A_DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(format: &str, zone: &str) -> MomentForm {
        MomentForm::new(
            Notation::parse(format).unwrap_or_else(|| panic!("{format}")),
            TimeZone::get(zone).unwrap(),
        )
    }

    fn instant(format: &str, zone: &str, cell: Cell<'_>) -> String {
        form(format, zone)
            .instant(cell)
            .map_or_else(|misfit| misfit.to_string(), |instant| instant.to_string())
    }

    fn date(format: &str, cell: Cell<'_>) -> String {
        form(format, "UTC")
            .date(cell)
            .map_or_else(|misfit| misfit.to_string(), |date| date.to_string())
    }

    #[test]
    fn instants_are_read_in_each_notation() {
        for (format, cell, expected) in [
            (
                "iso",
                Cell::Text("2024-02-29T13:05:00Z"),
                "2024-02-29T13:05:00Z",
            ),
            (
                "iso",
                Cell::Text("2024-02-29 13:05:00.25"),
                "2024-02-29T13:05:00.25Z",
            ),
            (
                "iso",
                Cell::Text("2024-02-29 13:05"),
                "2024-02-29T13:05:00Z",
            ),
            (
                "iso",
                Cell::Text("2024-02-29T13:05:00+02:00"),
                "2024-02-29T11:05:00Z",
            ),
            ("iso", Cell::Text("2024-02-29"), "2024-02-29T00:00:00Z"),
            (
                "%d/%m/%Y %H:%M",
                Cell::Text("29/02/2024 13:05"),
                "2024-02-29T13:05:00Z",
            ),
            ("%d/%m/%Y", Cell::Text("29/02/2024"), "2024-02-29T00:00:00Z"),
            (
                "YYYYMMDDhhmmss",
                Cell::Integer(20_240_229_130_500),
                "2024-02-29T13:05:00Z",
            ),
            ("unix", Cell::Integer(1_709_211_900), "2024-02-29T13:05:00Z"),
            (
                "unix",
                Cell::Real(1_709_211_900.5),
                "2024-02-29T13:05:00.5Z",
            ),
            (
                "unix-ms",
                Cell::Integer(1_709_211_900_250),
                "2024-02-29T13:05:00.25Z",
            ),
            ("julian", Cell::Real(2_440_587.5), "1970-01-01T00:00:00Z"),
            ("julian", Cell::Integer(2_440_588), "1970-01-01T12:00:00Z"),
        ] {
            assert_eq!(instant(format, "UTC", cell), expected, "{format} {cell:?}");
        }
    }

    #[test]
    fn a_time_without_offset_is_one_of_the_time_zone() {
        assert_eq!(
            instant("iso", "Europe/London", Cell::Text("2024-07-01 10:00:00")),
            "2024-07-01T09:00:00Z"
        );
        assert_eq!(
            instant(
                "%d.%m.%Y %H:%M",
                "Europe/London",
                Cell::Text("01.01.2024 10:00")
            ),
            "2024-01-01T10:00:00Z"
        );
        // One o'clock comes twice on this night: it is the earlier one. On the other it does not come.
        assert_eq!(
            instant("iso", "Europe/London", Cell::Text("2024-10-27 01:30:00")),
            "2024-10-27T00:30:00Z"
        );
        assert_eq!(
            instant("iso", "Europe/London", Cell::Text("2024-03-31 01:30:00")),
            "2024-03-31T01:30:00Z"
        );
        assert_eq!(
            instant("iso", "Europe/London", Cell::Text("2024-07-01T10:00:00Z")),
            "2024-07-01T10:00:00Z"
        );
    }

    #[test]
    fn dates_are_read_in_each_notation() {
        for (format, cell, expected) in [
            ("iso", Cell::Text("2024-02-29"), "2024-02-29"),
            ("iso", Cell::Text("2024-02-29 23:59:59"), "2024-02-29"),
            ("%d-%b-%y", Cell::Text("29-Feb-24"), "2024-02-29"),
            ("YYYYMMDD", Cell::Text("20240229"), "2024-02-29"),
            ("YYYYMMDD", Cell::Integer(20_240_229), "2024-02-29"),
            ("DD/MM/YYYY", Cell::Text(" 29/02/2024 "), "2024-02-29"),
            ("%Y%j", Cell::Text("2024060"), "2024-02-29"),
            ("julian", Cell::Integer(2_460_370), "2024-02-29"),
            ("julian", Cell::Real(2_460_369.5), "2024-02-29"),
            ("unix", Cell::Integer(0), "1970-01-01"),
        ] {
            assert_eq!(date(format, cell), expected, "{format} {cell:?}");
        }
    }

    #[test]
    fn what_is_no_moment_is_a_misfit() {
        let form = form("%d/%m/%Y", "UTC");
        for (cell, misfit) in [
            (Cell::Text("30/02/2024"), Misfit::NotAMoment),
            (Cell::Text("2024-02-29"), Misfit::NotAMoment),
            (Cell::Text(""), Misfit::NotAMoment),
            (Cell::Text("29/02/2024 and more"), Misfit::NotAMoment),
            (Cell::Real(1.0), Misfit::WrongType),
            (Cell::Blob(b"29/02/2024"), Misfit::WrongType),
            (Cell::Garbled, Misfit::NotUtf8),
        ] {
            assert_eq!(form.date(cell), Err(misfit), "{cell:?}");
            assert_eq!(form.instant(cell), Err(misfit), "{cell:?}");
        }
        for cell in [
            Cell::Real(f64::NAN),
            Cell::Real(f64::INFINITY),
            Cell::Real(1e300),
            Cell::Integer(i64::MAX),
        ] {
            assert_eq!(
                MomentForm::new(Notation::Julian, TimeZone::UTC).instant(cell),
                Err(Misfit::OutOfRange),
                "{cell:?}"
            );
        }
        assert_eq!(
            MomentForm::new(Notation::Unix, TimeZone::UTC).instant(Cell::Integer(i64::MAX)),
            Err(Misfit::OutOfRange)
        );
    }

    #[test]
    fn patterns_that_lose_part_of_a_date_are_no_formats() {
        for format in ["%d/%m", "%H:%M", "%Y", "date", "%Q", "", "decimal(2)"] {
            assert_eq!(Notation::parse(format), None, "{format}");
        }
    }

    #[test]
    fn text_becomes_iso_text() {
        let text = |format: &str, cell| form(format, "Europe/London").iso_text(cell).unwrap();
        assert_eq!(text("%d/%m/%Y", Cell::Text("29/02/2024")), "2024-02-29");
        assert_eq!(
            text("%d/%m/%Y %H:%M", Cell::Text("01/07/2024 10:00")),
            "2024-07-01T09:00:00Z"
        );
        assert_eq!(text("unix", Cell::Integer(0)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn parameters_are_written_as_the_column_has_them() {
        let date: Date = "2024-02-29".parse().unwrap();
        for (format, expected) in [
            ("iso", Argument::Text("2024-02-29".into())),
            ("%d/%m/%Y", Argument::Text("29/02/2024".into())),
            ("julian", Argument::Integer(2_460_370)),
            ("unix", Argument::Integer(1_709_164_800)),
        ] {
            assert_eq!(
                form(format, "UTC").argument_of_date(date),
                Ok(expected),
                "{format}"
            );
        }
        let summer: Timestamp = "2024-07-01T09:00:00Z".parse().unwrap();
        let written = form("%Y-%m-%d %H:%M", "Europe/London").argument_of_instant(summer);
        assert_eq!(written, Ok(Argument::Text("2024-07-01 10:00".into())));
        assert_eq!(
            form("%d/%m/%Y", "UTC").argument_of_text("2024-02-29"),
            Ok(Argument::Text("29/02/2024".into()))
        );
        assert_eq!(
            form("%d/%m/%Y", "UTC").argument_of_text("29/02/2024"),
            Err(Misfit::NotAMoment)
        );
    }
}
