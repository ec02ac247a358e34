//! Days and times: in an order that fits their names, so that nobody dies before they are born.

use super::random::Random;

/// A day of the calendar, and seconds of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) year: i32,
    pub(super) month: i32,
    pub(super) day: i32,
    seconds: i64,
}

/// Words in names of fields, and the years that fit them. The first that is found counts.
const YEARS: &[(&[&str], i128, i128)] = &[
    (&["birth", "born", "dob"], 1935, 2015),
    (&["death", "died", "deceased"], 2019, 2024),
    (&["end", "until", "to", "expiry", "expires", "closed", "discharged", "left", "review", "due"], 2025, 2028),
    (&["start", "from", "since", "opened", "begin", "began", "admitted", "created", "joined", "issued"], 2016, 2018),
];

/// Years where no word says anything.
const LATELY: (i128, i128) = (2019, 2024);

impl Moment {
    /// Returns a moment that fits a field of this name.
    pub(super) fn made(words: &[&str], random: &mut Random) -> Self {
        let found = YEARS.iter().find(|(known, ..)| words.iter().any(|word| known.contains(word)));
        let (first, last) = found.map_or(LATELY, |(_, first, last)| (*first, *last));
        let small = |number: i128| i32::try_from(number).unwrap_or_default();
        Self {
            year: small(random.between(first, last)),
            month: small(random.between(1, 12)),
            // Every month has them.
            day: small(random.between(1, 28)),
            // From eight to six, by the minute.
            seconds: i64::try_from(random.between(8 * 60, 18 * 60)).unwrap_or_default().saturating_mul(60),
        }
    }

    /// Returns the day as `2026-03-01`.
    pub(super) fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// Returns the moment as `2026-03-01T09:30:00Z`.
    pub(super) fn date_time(&self) -> String {
        let minutes = self.seconds / 60;
        format!("{}T{:02}:{:02}:{:02}Z", self.date(), minutes / 60, minutes % 60, self.seconds % 60)
    }

    /// Returns the seconds since the Unix epoch.
    pub(super) fn unix(&self) -> i64 {
        self.days().saturating_mul(86_400).saturating_add(self.seconds)
    }

    /// Returns the days since the Unix epoch, of a year from 1970 on or a little earlier.
    ///
    /// Source: the count of days in the Gregorian calendar, with the year begun in March so that a leap day is its last.
    fn days(&self) -> i64 {
        let early = i64::from(self.month <= 2);
        let (year, month) = (i64::from(self.year) - early, i64::from(self.month) + 12 * early - 3);
        let before = 365 * year + year / 4 - year / 100 + year / 400;
        before + (153 * month + 2) / 5 + i64::from(self.day) - 1 - 719_468
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_the_epoch() {
        for (year, month, day, seconds, unix) in [
            (1970, 1, 1, 0, 0),
            (2000, 2, 29, 0, 951_782_400),
            (2024, 2, 29, 47_100, 1_709_211_900),
            (1969, 12, 31, 86_399, -1),
            (2026, 3, 1, 0, 1_772_323_200),
        ] {
            assert_eq!(Moment { year, month, day, seconds }.unix(), unix, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn nobody_dies_before_they_are_born() {
        for seed in 0..100 {
            let at = |words: &[&str]| Moment::made(words, &mut Random::of(seed, 1)).unix();
            assert!(at(&["birth", "date"]) < at(&["date", "of", "death"]));
            assert!(at(&["start", "date"]) < at(&["end", "date"]));
        }
    }
}
