//! Moments and lengths of time as people read them. Whole seconds; nothing here reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustls_pki_types::UnixTime;

/// Seconds since the Unix epoch; 0 for anything before it.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The moment `seconds` after the Unix epoch; moments that the platform cannot express become the epoch.
pub(crate) fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

pub(crate) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds(time)))
}

pub(crate) fn from_unix(time: UnixTime) -> SystemTime {
    moment(time.as_secs())
}

/// Writes a moment to the second in UTC, as TOML and RFC 3339 do: `2026-11-20T23:59:00Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    timestamp(time).to_string()
}

/// Reads an RFC 3339 moment with an offset. Fractions of a second are cut off.
pub(crate) fn from_rfc3339(text: &str) -> Option<SystemTime> {
    let timestamp: Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_second()).ok().map(moment)
}

/// Writes a moment to the minute for people: `2026-11-20 23:59 UTC`.
pub(crate) fn shown(time: SystemTime) -> String {
    timestamp(time).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Writes the distance of two moments in its largest unit: `3 days`, `1 hour`.
pub(crate) fn distance(one: SystemTime, other: SystemTime) -> String {
    let apart = seconds(one).abs_diff(seconds(other));
    let (count, unit) = match apart {
        0..60 => (apart, "second"),
        60..3600 => (apart / 60, "minute"),
        3600..86_400 => (apart / 3600, "hour"),
        _ => (apart / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = i64::try_from(seconds(time)).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc_and_read_back() {
        let time = moment(1_795_391_940);
        assert_eq!(rfc3339(time), "2026-11-22T23:59:00Z");
        assert_eq!(shown(time), "2026-11-22 23:59 UTC");
        assert_eq!(from_rfc3339(&rfc3339(time)), Some(time));
        assert_eq!(from_rfc3339("2026-11-23T01:59:00+02:00"), Some(time));
        for bad in ["", "2026-11-23", "2026-11-23T01:59:00", "1950-01-01T00:00:00Z"] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_distance_is_told_in_its_largest_unit() {
        let base = moment(1_000_000_000);
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (61, "1 minute"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (300_000, "3 days"),
        ] {
            assert_eq!(distance(base, base + Duration::from_secs(seconds)), words);
            assert_eq!(distance(base + Duration::from_secs(seconds), base), words);
        }
    }

    #[test]
    fn moments_beyond_the_calendar_do_not_panic() {
        assert!(shown(moment(u64::MAX / 4)).contains("UTC"));
        assert!(rfc3339(moment(u64::MAX)).contains('Z'));
    }
}
