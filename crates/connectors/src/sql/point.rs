//! A point in time, in all of the range of protobuf's `Timestamp` and somewhat beyond its beginning.
//!
//! The calendar's own instants end a day before 9999-12-31T23:59:59Z, which old systems write for what has no end.

use std::fmt;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// What clocks said in UTC when 1970 began.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// -9999-01-01T00:00:00Z, in seconds since 1970.
const FIRST: i64 = -377_705_116_800;

/// 9999-12-31T23:59:59Z, in seconds since 1970: the last second of protobuf's `Timestamp` as of the calendar.
const LAST: i64 = 253_402_300_799;

const NANOS: i128 = 1_000_000_000;

/// An instant, to the nanosecond. Written as RFC 3339 does: `2024-02-29T13:05:00.5Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Since 1970, rounded down.
    seconds: i64,
    nanos: u32,
}

impl Point {
    /// The instant so long after 1970 began. `None` beyond the range.
    pub(crate) fn new(seconds: i64, nanos: u32) -> Option<Self> {
        ((FIRST..=LAST).contains(&seconds) && nanos < 1_000_000_000).then_some(Self { seconds, nanos })
    }

    /// The instant so many milliseconds after 1970 began.
    pub(crate) fn from_millis(millis: i64) -> Option<Self> {
        Self::from_nanos(i128::from(millis) * 1_000_000)
    }

    /// The instant so many microseconds after 1970 began.
    pub(crate) fn from_micros(micros: i64) -> Option<Self> {
        Self::from_nanos(i128::from(micros) * 1000)
    }

    fn from_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        Self::new(seconds, u32::try_from(nanos.rem_euclid(NANOS)).ok()?)
    }

    /// The instant at which clocks with this offset say `local`.
    pub(crate) fn at(local: DateTime, offset: Offset) -> Option<Self> {
        Self::from_nanos(local.duration_since(EPOCH).as_nanos() - i128::from(offset.seconds()) * NANOS)
    }

    /// Reads ISO text that says its offset.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Self::from_nanos(instant.as_nanosecond());
        }
        let pieces = Pieces::parse(text).ok()?;
        Self::at(pieces.date().to_datetime(pieces.time()?), pieces.to_numeric_offset()?)
    }

    /// Returns whole seconds since 1970, rounded down.
    pub(crate) fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns the nanoseconds beyond [`Point::seconds`].
    pub(crate) fn nanos(self) -> u32 {
        self.nanos
    }

    /// Returns what clocks in UTC say.
    pub(crate) fn utc(self) -> DateTime {
        let since = SignedDuration::from_secs(self.seconds) + SignedDuration::from_nanos(i64::from(self.nanos));
        // The range is that of the calendar.
        EPOCH.checked_add(since).unwrap_or(EPOCH)
    }

    /// Returns what the clocks of a time zone say. `None` where that is a day beyond the calendar.
    pub(crate) fn local(self, zone: &TimeZone) -> Option<DateTime> {
        // Nothing is known of offsets in the last day that would not hold a day before it.
        let seconds = self.seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let offset = zone.to_offset(Timestamp::from_second(seconds).ok()?);
        self.utc().checked_add(SignedDuration::from_secs(i64::from(offset.seconds()))).ok()
    }

    /// Returns the calendar's own instant, where it has one.
    pub(crate) fn timestamp(self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(self.seconds) * NANOS + i128::from(self.nanos)).ok()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_protobufs_to_its_last_second() {
        for text in [
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "-009999-01-01T00:00:00Z",
        ] {
            assert_eq!(Point::read(text).unwrap().to_string(), text);
        }
        assert_eq!(Point::read("9999-12-31T23:59:59+00:00"), Point::new(LAST, 0));
        assert_eq!(Point::read("9999-12-31T23:59:59-01:00"), None);
        assert_eq!(Point::read("9999-12-31T23:59:59"), None);
        assert_eq!((Point::new(LAST + 1, 0), Point::new(FIRST - 1, 0)), (None, None));
        assert_eq!(Point::from_micros(-1).unwrap().to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn the_last_day_has_the_offset_of_the_day_before() {
        let last = Point::new(LAST, 0).unwrap();
        let zone = |name: &str| TimeZone::get(name).unwrap();
        assert_eq!(last.local(&zone("Europe/London")).unwrap().to_string(), "9999-12-31T23:59:59");
        assert_eq!(last.local(&zone("America/New_York")).unwrap().to_string(), "9999-12-31T18:59:59");
        assert_eq!(last.local(&zone("Asia/Tokyo")), None);
        assert_eq!(last.timestamp(), None);
    }
}
