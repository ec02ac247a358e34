//! How much of a grant's limits is used: counters that all threads of a gateway share, and that decide without a clock.
//!
//! A [`Meter`] counts for one grant of one agreement. Time is an argument: the time in the claims of a call, by which both gateways
//! find the same second and the same day. What a meter forgets when its process ends is given back to it with [`Meter::restore`],
//! from the records of the exchange log.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::Digest;

use crate::grant::Limits;

/// Seconds of a day by UTC, which has no leap seconds here.
const DAY: u64 = 86_400;
/// How far the times in claims may lie apart, in seconds: two clocks, each up to two minutes off. A second further back than this is
/// no late call; the clock was set back.
const LATE: u64 = 240;

/// The meters of a gateway, by agreement and position of the grant in it. Kept while agreements are read again.
///
/// One for each grant with limits that was ever asked under in this run, and so no more than members have signed.
#[derive(Default)]
pub struct Meters(RwLock<HashMap<(Digest, usize), Arc<Meter>>>);

impl Meters {
    /// Returns the meter of a grant.
    #[must_use]
    pub fn of(&self, agreement: Digest, grant: usize) -> Arc<Meter> {
        let key = (agreement, grant);
        if let Some(meter) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(meter);
        }
        let mut meters = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(key).or_default())
    }
}

/// Counts what is used of the limits of one grant.
#[derive(Default)]
pub struct Meter(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// The newest second that a call was counted in, since the Unix epoch, and the calls in it.
    second: u64,
    calls: u64,
    /// The newest day and those next to it: at midnight calls of both days come.
    days: Vec<Arc<Day>>,
}

/// One day of a meter. A call holds on to its day, so that a stream that goes on past midnight counts where it began.
#[derive(Debug, Default)]
struct Day {
    /// Days since the Unix epoch.
    number: u64,
    calls: AtomicU64,
    rows: AtomicU64,
}

/// What a day has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Calls.
    pub calls: u64,
    /// Messages of answers.
    pub rows: u64,
}

/// How many messages a method answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// One at most. Its place is taken when the call is admitted, so that nothing is done whose answer could not be given.
    One,
    /// Any number; each is held against the limits when it comes.
    Many,
}

impl Meter {
    /// Admits a call whose claims say `at`, and counts it; or says which limit is reached. A call that is not admitted leaves no trace.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] for the first limit reached, in the order of [`Limits`].
    pub fn admit(&self, limits: &Limits, answers: Answers, at: SystemTime) -> Result<Admitted, Exceeded> {
        let second = seconds(at);
        let mut counts = self.counts();
        if let Some(most) = limits.calls_per_second
            && counts.calls_in(second) >= most
        {
            return Err(Exceeded { limit: Limit::CallsPerSecond, most, until: moment(second.saturating_add(1)) });
        }
        let day = counts.day(second / DAY);
        if let Some(most) = limits.calls_per_day
            && day.calls.load(Ordering::Relaxed) >= most
        {
            return Err(Exceeded { limit: Limit::CallsPerDay, most, until: day.end() });
        }
        if let Some(most) = limits.rows_per_day {
            let room = match answers {
                Answers::One => day.take_row(most),
                Answers::Many => day.rows.load(Ordering::Relaxed) < most,
            };
            if !room {
                return Err(Exceeded { limit: Limit::RowsPerDay, most, until: day.end() });
            }
        }
        if limits.calls_per_second.is_some() {
            counts.calls = counts.calls.saturating_add(1);
        }
        day.calls.fetch_add(1, Ordering::Relaxed);
        let spare = u64::from(answers == Answers::One);
        Ok(Admitted { day, limits: *limits, rows: 0, spare, kept: false })
    }

    /// Adds what the exchange log says of a day, in days since the Unix epoch.
    pub fn restore(&self, day: u64, used: Used) {
        let day = self.counts().day(day);
        day.calls.fetch_add(used.calls, Ordering::Relaxed);
        day.rows.fetch_add(used.rows, Ordering::Relaxed);
    }

    /// Returns what was used on the day of `at`. Rows are counted where the grant limits those of a day.
    #[must_use]
    pub fn used(&self, at: SystemTime) -> Used {
        let number = seconds(at) / DAY;
        let counts = self.counts();
        let day = counts.days.iter().find(|day| day.number == number);
        day.map_or_else(Used::default, |day| Used {
            calls: day.calls.load(Ordering::Relaxed),
            rows: day.rows.load(Ordering::Relaxed),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Returns the calls in a second. A call that comes late counts in the newest one, so that no time is used twice.
    fn calls_in(&mut self, second: u64) -> u64 {
        if second > self.second || self.second.saturating_sub(second) > LATE {
            (self.second, self.calls) = (second, 0);
        }
        self.calls
    }

    /// Returns a day; a new one lets go of those that are not next to it.
    fn day(&mut self, number: u64) -> Arc<Day> {
        if let Some(day) = self.days.iter().find(|day| day.number == number) {
            return Arc::clone(day);
        }
        self.days.retain(|day| day.number.abs_diff(number) <= 1);
        let day = Arc::new(Day { number, ..Day::default() });
        self.days.push(Arc::clone(&day));
        day
    }
}

impl Day {
    /// Takes one row, if fewer than `most` are taken.
    fn take_row(&self, most: u64) -> bool {
        let more = |rows: u64| (rows < most).then(|| rows.saturating_add(1));
        self.rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn end(&self) -> Option<SystemTime> {
        moment(self.number.saturating_add(1).saturating_mul(DAY))
    }
}

/// A call that was admitted. Dropped without [`Admitted::keep`] it is as if it had never been, but for its second.
#[derive(Debug)]
pub struct Admitted {
    day: Arc<Day>,
    limits: Limits,
    /// Messages of the answer so far.
    rows: u64,
    /// Rows of the day that are taken, and whose messages have not come yet.
    spare: u64,
    kept: bool,
}

impl Admitted {
    /// Counts the next message of the answer, which may then go; or says which limit it is above.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] for rows of the call, then of the day. The answer ends then.
    pub fn row(&mut self) -> Result<(), Exceeded> {
        self.holds(self.rows.saturating_add(1))?;
        if let Some(most) = self.limits.rows_per_day {
            if self.spare > 0 {
                self.spare = 0;
            } else if !self.day.take_row(most) {
                return Err(Exceeded { limit: Limit::RowsPerDay, most, until: self.day.end() });
            }
        }
        self.rows = self.rows.saturating_add(1);
        Ok(())
    }

    /// Says whether one answer may have so many messages. It counts nothing.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] for the rows of the call.
    pub fn holds(&self, rows: u64) -> Result<(), Exceeded> {
        match self.limits.rows_per_call {
            Some(most) if rows > most => Err(Exceeded { limit: Limit::RowsPerCall, most, until: None }),
            _ => Ok(()),
        }
    }

    /// Counts messages that have passed already, whatever the limits say: those that the other side has let pass.
    pub fn passed(&mut self, rows: u64) {
        self.rows = self.rows.saturating_add(rows);
        if self.limits.rows_per_day.is_some() {
            let taken = rows.min(self.spare);
            self.spare = self.spare.saturating_sub(taken);
            self.day.rows.fetch_add(rows.saturating_sub(taken), Ordering::Relaxed);
        }
    }

    /// Lets the call count: it went so far that its record says so.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut rows = if self.kept { 0 } else { self.rows };
        rows = rows.saturating_add(self.spare);
        if self.limits.rows_per_day.is_some() {
            self.day.rows.fetch_sub(rows, Ordering::Relaxed);
        }
        if !self.kept {
            self.day.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One of the limits of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `calls_per_second`.
    CallsPerSecond,
    /// `calls_per_day`.
    CallsPerDay,
    /// `rows_per_day`.
    RowsPerDay,
    /// `rows_per_call`.
    RowsPerCall,
}

impl Limit {
    /// Returns the key in the agreement.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Limit::CallsPerSecond => "calls_per_second",
            Limit::CallsPerDay => "calls_per_day",
            Limit::RowsPerDay => "rows_per_day",
            Limit::RowsPerCall => "rows_per_call",
        }
    }

    fn counted(self) -> &'static str {
        match self {
            Limit::CallsPerSecond => "calls a second",
            Limit::CallsPerDay => "calls a day",
            Limit::RowsPerDay => "rows a day",
            Limit::RowsPerCall => "rows a call",
        }
    }
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// What the agreement says.
    pub most: u64,
    /// From when on there is room again, by the clock of the claims. `None` where waiting does not help.
    pub until: Option<SystemTime>,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the agreement allows {} {}, and no more", self.most, self.limit.counted())
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn moment(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
