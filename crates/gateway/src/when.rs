//! Moments and lengths of time as operators read them, in UTC.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Writes a moment to the second: `2026-11-20T23:59:00Z`. One beyond the calendar is its last.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns how many seconds `later` is after `now`; negative when it is past.
pub(crate) fn seconds_until(later: SystemTime, now: SystemTime) -> i64 {
    let seconds = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    match later.duration_since(now) {
        Ok(ahead) => seconds(ahead),
        Err(past) => seconds(past.duration()).saturating_neg(),
    }
}

/// Writes a length of time in its largest unit: `3 days`, `1 hour`.
#[must_use]
pub fn length(seconds: u64) -> String {
    policy::length(Duration::from_secs(seconds))
}

/// Writes when something ends or ended: `ends in 3 days`, `ended 1 hour ago`.
#[must_use]
pub fn end(seconds_until: i64) -> String {
    let apart = length(seconds_until.unsigned_abs());
    if seconds_until < 0 { format!("ended {apart} ago") } else { format!("ends in {apart}") }
}

/// Writes a number of bytes in the unit that suits it: `512 B`, `1.5 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, unit) in UNITS {
        if bytes >= size {
            let (whole, tenth) = (bytes / size, (bytes % size).saturating_mul(10) / size);
            return format!("{whole}.{tenth} {unit}");
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc_and_in_words() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_391_940);
        assert_eq!(rfc3339(now + Duration::from_millis(900)), "2026-11-22T23:59:00Z");
        assert_eq!(seconds_until(now + Duration::from_secs(90), now), 90);
        assert_eq!(seconds_until(now, now + Duration::from_secs(90)), -90);
        assert_eq!((end(90), end(-86_400)), ("ends in 1 minute".to_owned(), "ended 1 day ago".to_owned()));
        assert_eq!([0, 1, 7200, 300_000].map(length), ["0 seconds", "1 second", "2 hours", "3 days"]);
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_suits_them() {
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }
}
