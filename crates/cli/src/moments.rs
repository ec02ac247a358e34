//! Moments as people write and read them. Everything is in UTC, since two members may not share a clock's zone.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, civil, tz::Offset};

/// Returns the time of now.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Reads a moment: RFC 3339, a day, or how long ago it was, as in `2h`.
///
/// Returns milliseconds since the Unix epoch.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    parse_at(text, now())
}

fn parse_at(text: &str, now: SystemTime) -> Result<u64, String> {
    const HELP: &str =
        "write a moment as 2027-11-24T09:30:00Z, a day as 2027-11-24, or how long ago, as in 2h or 7days";
    let found = if let Ok(moment) = text.parse::<Timestamp>() {
        moment
    } else if let Ok(written) = text.parse::<civil::DateTime>() {
        // As tables here write it: UTC, without saying so.
        Offset::UTC.to_timestamp(written).map_err(|_| HELP.to_owned())?
    } else {
        let ago = humantime::parse_duration(text).map_err(|_| HELP.to_owned())?;
        let then = now.checked_sub(ago).ok_or_else(|| HELP.to_owned())?;
        Timestamp::try_from(then).map_err(|_| HELP.to_owned())?
    };
    u64::try_from(found.as_millisecond()).map_err(|_| "nothing is recorded from before 1970".to_owned())
}

/// Reads a length of time, as in `5s` or `500ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err("write it with its unit, as in 5s or 500ms".to_owned()),
    }
}

/// Reads a length of time that may be none, as in `1day` or `0s`.
pub(crate) fn parse_overlap(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_hours(24 * 90);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= MOST => Ok(duration),
        Ok(_) => Err("90 days are the most".to_owned()),
        Err(_) => Err("write it with its unit, as in 1day or 0s".to_owned()),
    }
}

/// Writes milliseconds since the Unix epoch for a table: `2027-11-24 09:30:00.123`.
pub(crate) fn for_people(millis: u64) -> String {
    stamp(millis).map_or_else(|| millis.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

/// Writes milliseconds since the Unix epoch for programs: `2027-11-24T09:30:00.123Z`.
pub(crate) fn for_programs(millis: u64) -> String {
    stamp(millis).map_or_else(|| millis.to_string(), |at| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// Writes a moment to the minute: `2027-11-24 09:30 UTC`.
pub(crate) fn to_the_minute(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .map_or_else(|_| "at no known time".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// Writes how long something took.
pub(crate) fn took(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", duration.as_secs_f64()) }
}

fn stamp(millis: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        for (text, expected) in [
            ("2027-01-15T08:00:00Z", 1_800_000_000_000),
            ("2027-01-15T09:00:00+01:00", 1_800_000_000_000),
            ("2027-01-15 08:00:00.250", 1_800_000_000_250),
            ("2027-01-15", 1_799_971_200_000),
            ("2h", 1_799_992_800_000),
            ("90s", 1_799_999_910_000),
        ] {
            assert_eq!(parse_at(text, now), Ok(expected), "{text}");
        }
        for text in ["", "yesterday", "2027-13-01", "1969-01-01", "-2h", "08:00"] {
            assert!(parse_at(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(for_people(1_800_000_000_123), "2027-01-15 08:00:00.123");
        assert_eq!(for_programs(1_800_000_000_120), "2027-01-15T08:00:00.120Z");
        assert_eq!(to_the_minute(SystemTime::UNIX_EPOCH), "1970-01-01 00:00 UTC");
        assert_eq!(for_people(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn lengths_of_time_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("5").is_err());
        assert!(parse_duration("0s").is_err());
        assert_eq!(
            (took(Duration::from_millis(12)), took(Duration::from_millis(1250))),
            ("12 ms".to_owned(), "1.2 s".to_owned())
        );
    }
}
