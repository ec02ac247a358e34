//! Deadlines: the least of what everybody allows, less what it takes to settle.

use std::time::{Duration, Instant};

/// A unary call whose client sets no deadline and whose contract names none.
pub const UNARY_DEFAULT: Duration = Duration::from_secs(30);
/// A stream on which nothing passes for so long is closed, unless configured.
pub const STREAM_IDLE: Duration = Duration::from_secs(60);
/// Most that is kept back to settle.
const MAX_RESERVE: Duration = Duration::from_millis(250);

/// Returns the earlier of two deadlines, where there are any.
#[must_use]
pub fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Returns the deadline less a reserve to settle: 5 % of what is left, at most 250 ms.
#[must_use]
pub fn reserve(deadline: Option<Instant>) -> Option<Instant> {
    let deadline = deadline?;
    let reserve = (deadline.saturating_duration_since(Instant::now()) / 20).min(MAX_RESERVE);
    deadline.checked_sub(reserve)
}

/// Waits until `deadline`; for ever without one.
pub async fn wait(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Reads gRPC's `grpc-timeout`. `None` when it is malformed.
///
/// Source: gRPC over HTTP/2, "Timeout": at most eight digits and a unit.
#[must_use]
pub fn read_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(n.saturating_mul(60))),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// Writes gRPC's `grpc-timeout`, rounded down to whole milliseconds, or in seconds where that takes more than eight digits.
#[must_use]
pub fn write_timeout(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", timeout.as_secs().min(99_999_999)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_read_as_grpc_writes_them() {
        let check = |text: &str, expected: Option<Duration>| assert_eq!(read_timeout(text), expected, "{text}");
        check("1H", Some(Duration::from_secs(3600)));
        check("250m", Some(Duration::from_millis(250)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "m", "1", "1x", "-1S", "123456789S", "1.5S", "é"] {
            check(bad, None);
        }
        assert_eq!(read_timeout(&write_timeout(Duration::from_millis(1234))), Some(Duration::from_millis(1234)));
        assert_eq!(read_timeout(&write_timeout(Duration::from_secs(200_000))), Some(Duration::from_secs(200_000)));
    }

    #[test]
    fn the_reserve_is_a_twentieth_and_never_above_a_quarter_second() {
        let now = Instant::now();
        let left =
            |d| reserve(Some(now + Duration::from_millis(d))).unwrap().saturating_duration_since(now).as_millis();
        assert!((945..=951).contains(&left(1000)), "{}", left(1000));
        assert_eq!(left(100_000), 99_750);
        assert!(reserve(None).is_none());
    }
}
