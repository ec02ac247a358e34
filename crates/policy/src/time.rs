//! Instants, days and lengths of time as agreements write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use toml_edit::Datetime;

/// Reads an instant: a date-time with an offset. `None` for anything else, such as a date alone.
pub(crate) fn instant(written: &Datetime) -> Option<SystemTime> {
    written.offset?;
    let timestamp: Timestamp = written.to_string().parse().ok()?;
    SystemTime::try_from(timestamp).ok()
}

/// Reads a day: a date alone. `None` for anything else.
pub(crate) fn day(written: &Datetime) -> Option<Date> {
    if written.time.is_some() || written.offset.is_some() {
        return None;
    }
    let date = written.date?;
    Date::new(i16::try_from(date.year).ok()?, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
}

/// Returns the UTC day of an instant; the first day there is for instants before it.
pub(crate) fn day_of(instant: SystemTime) -> Date {
    Timestamp::try_from(instant).map_or(Date::MIN, |timestamp| Offset::UTC.to_datetime(timestamp).date())
}

/// Writes an instant for people, to the second: `2026-11-01 00:00 UTC`, with seconds where there are any.
pub(crate) fn shown(instant: SystemTime) -> String {
    let Ok(timestamp) = Timestamp::try_from(instant) else {
        return "an unknown time".to_owned();
    };
    let time = Offset::UTC.to_datetime(timestamp);
    let date = time.date();
    if time.second() == 0 {
        format!("{date} {:02}:{:02} UTC", time.hour(), time.minute())
    } else {
        format!("{date} {:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
    }
}

/// Writes an instant as TOML does, in UTC to the second: `2026-11-01T00:00:00Z`.
pub(crate) fn written(instant: SystemTime) -> String {
    let seconds = Timestamp::try_from(instant).map_or(0, Timestamp::as_second);
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Writes a length of time in its largest unit: `3 days`, `1 hour`.
#[must_use]
pub fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// How long both members keep the records of exchanges under an agreement: `"6 years"`, `"90 days"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Retention {
    /// How many; 1 to 1000.
    pub count: u16,
    /// Of what.
    pub unit: RetentionUnit,
}

/// What a [`Retention`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionUnit {
    /// Days of the calendar.
    Days,
    /// Months of the calendar.
    Months,
    /// Years of the calendar.
    Years,
}

impl Retention {
    /// Returns the first day on which a record of `day` need not be kept any more. The last day there is when it would lie beyond.
    #[must_use]
    pub fn after(self, day: Date) -> Date {
        let count = i64::from(self.count);
        let span = jiff::Span::new();
        let span = match self.unit {
            RetentionUnit::Days => span.try_days(count),
            RetentionUnit::Months => span.try_months(count),
            RetentionUnit::Years => span.try_years(count),
        };
        span.and_then(|span| day.checked_add(span)).unwrap_or(Date::MAX)
    }
}

impl FromStr for Retention {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (count, unit) = text.split_once(' ').ok_or(())?;
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|count| digits && (1..=1000).contains(count)).ok_or(())?;
        let unit = match unit {
            "day" | "days" => RetentionUnit::Days,
            "month" | "months" => RetentionUnit::Months,
            "year" | "years" => RetentionUnit::Years,
            _ => return Err(()),
        };
        Ok(Self { count, unit })
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RetentionUnit::Days => "day",
            RetentionUnit::Months => "month",
            RetentionUnit::Years => "year",
        };
        write!(f, "{} {unit}{}", self.count, if self.count == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_date_time_with_an_offset_is_an_instant() {
        let cases = [
            ("1970-01-01T00:00:10Z", Some(10)),
            ("1970-01-01T02:00:10+02:00", Some(10)),
            ("1970-01-01 00:00:10Z", Some(10)),
            ("1970-01-01T00:00:10", None),
            ("1970-01-01", None),
            ("00:00:10", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(instant(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn only_a_date_alone_is_a_day() {
        assert_eq!(day(&"2027-08-01".parse().unwrap()), Some(jiff::civil::date(2027, 8, 1)));
        assert_eq!(day(&"2027-08-01T00:00:00Z".parse().unwrap()), None);
        assert_eq!(day(&"10:00:00".parse().unwrap()), None);
    }

    #[test]
    fn instants_are_written_in_utc() {
        let at = instant(&"2026-11-01T01:30:05.5+01:00".parse().unwrap()).unwrap();
        assert_eq!(shown(at), "2026-11-01 00:30:05 UTC");
        assert_eq!(written(at), "2026-11-01T00:30:05Z");
        assert_eq!(shown(at - Duration::from_millis(5500)), "2026-11-01 00:30 UTC");
        assert_eq!(day_of(at), jiff::civil::date(2026, 11, 1));
    }

    #[test]
    fn a_retention_is_a_count_and_a_unit() {
        let cases = [
            ("6 years", Some("6 years")),
            ("1 year", Some("1 year")),
            ("90 days", Some("90 days")),
            ("0 days", None),
            ("+1 days", None),
            ("1001 days", None),
            ("6years", None),
            ("6 fortnights", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Retention>().ok().map(|kept| kept.to_string()).as_deref(), expected, "{text}");
        }
        let kept: Retention = "6 years".parse().unwrap();
        assert_eq!(kept.after(jiff::civil::date(2024, 2, 29)), jiff::civil::date(2030, 2, 28));
    }
}
