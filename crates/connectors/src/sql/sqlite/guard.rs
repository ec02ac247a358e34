//! Stops a statement that runs: because it was taken back, or because its deadline passed.
//!
//! SQLite asks its guard on the connection's thread, so nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many instructions of SQLite's machine pass between two questions: some tens of microseconds of work.
pub(crate) const STEPS: i32 = 1000;

/// Stands for no deadline.
const NEVER: u64 = u64::MAX;

/// The guard of one connection.
#[derive(Debug)]
pub(crate) struct Guard {
    /// What deadlines are counted from.
    epoch: Instant,
    stopped: AtomicBool,
    /// Microseconds since `epoch`.
    deadline: AtomicU64,
    /// How often SQLite has asked.
    asked: AtomicU64,
}

impl Guard {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            stopped: AtomicBool::new(false),
            deadline: AtomicU64::new(NEVER),
            asked: AtomicU64::new(0),
        })
    }

    /// Lets the next statement run, up to `deadline`. Only while none runs.
    pub(crate) fn arm(&self, deadline: Option<Instant>) {
        let micros = deadline.map_or(NEVER, |deadline| {
            let since: Duration = deadline.saturating_duration_since(self.epoch);
            u64::try_from(since.as_micros()).unwrap_or(NEVER)
        });
        self.deadline.store(micros, Ordering::Release);
        self.stopped.store(false, Ordering::Release);
    }

    /// Stops the statement that runs.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// What SQLite asks: may it go on?
    pub(crate) fn goes_on(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.stopped.load(Ordering::Acquire) {
            return false;
        }
        let deadline = self.deadline.load(Ordering::Acquire);
        deadline == NEVER || self.epoch.elapsed().as_micros() < u128::from(deadline)
    }

    /// How often SQLite has asked: a measure of the work it did.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_goes_on_until_it_is_stopped_or_too_late() {
        let guard = Guard::new();
        assert!(guard.goes_on());
        guard.stop();
        assert!(!guard.goes_on());
        guard.arm(Some(Instant::now() + Duration::from_hours(1)));
        assert!(guard.goes_on());
        guard.arm(Some(guard.epoch));
        assert!(!guard.goes_on());
        guard.arm(None);
        assert!(guard.goes_on());
        assert_eq!(guard.asked(), 5);
    }
}
