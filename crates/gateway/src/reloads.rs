//! How reloading has gone since the start, for status and metrics.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use problem::Problem;
use tokio::sync::oneshot;

use crate::{observe::Gauge, status, when};

/// What became of a reload: what has changed, or every problem of what lies in the files.
pub type Reloaded = Result<Vec<&'static str>, Vec<Problem>>;

/// Somebody asks for a reload, and waits for what becomes of it.
pub(crate) type Asked = oneshot::Sender<Reloaded>;

/// What has been reloaded, and what has not.
pub(crate) struct Reloads {
    taken: AtomicU64,
    refused: AtomicU64,
    now: Mutex<Now>,
    /// What is wrong with agreements, which count one by one.
    broken: Mutex<Vec<String>>,
}

struct Now {
    /// When what is in force was read.
    since: SystemTime,
    refused: Option<Refused>,
}

/// What lies in the files is not what is in force.
struct Refused {
    since: SystemTime,
    problems: Vec<Problem>,
}

impl Reloads {
    pub(crate) fn new(now: SystemTime) -> Self {
        Self {
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            now: Mutex::new(Now { since: now, refused: None }),
            broken: Mutex::default(),
        }
    }

    /// Notes that what lay in the files is in force now.
    pub(crate) fn took(&self, now: SystemTime) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        *self.now() = Now { since: now, refused: None };
    }

    /// Notes that it is not, and why. Returns whether that is news.
    pub(crate) fn refuse(&self, problems: &[Problem], now: SystemTime) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut state = self.now();
        let known = state.refused.as_ref();
        let news = known.is_none_or(|known| known.problems != problems);
        let since = known.map_or(now, |known| known.since);
        state.refused = Some(Refused { since, problems: problems.to_vec() });
        news
    }

    /// Notes which agreements cannot be used.
    pub(crate) fn break_agreements<'p>(&self, problems: impl Iterator<Item = &'p Problem>) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = problems.map(ToString::to_string).collect();
    }

    /// Says which agreements cannot be used.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how it stands.
    pub(crate) fn status(&self) -> status::Reload {
        let now = self.now();
        status::Reload {
            in_force_since: when::rfc3339(now.since),
            taken: self.taken.load(Ordering::Relaxed),
            refused: now.refused.as_ref().map(|refused| status::RefusedReload {
                since: when::rfc3339(refused.since),
                problems: refused.problems.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    /// Returns what metrics say of it.
    pub(crate) fn gauges(self: &Arc<Self>) -> Vec<(&'static str, &'static str, Gauge)> {
        let [taken, refused, now] = [self.clone(), self.clone(), self.clone()];
        vec![
            (
                "drawbridge.reload.taken",
                "Reloads since the start",
                Box::new(move || taken.taken.load(Ordering::Relaxed)),
            ),
            (
                "drawbridge.reload.refused",
                "Reloads since the start that were refused because of a problem",
                Box::new(move || refused.refused.load(Ordering::Relaxed)),
            ),
            (
                "drawbridge.reload.current",
                "1 while what lies in the files is in force, 0 while it is refused",
                Box::new(move || u64::from(now.now().refused.is_none())),
            ),
        ]
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reload_is_told_until_one_is_taken_and_is_news_once() {
        let reloads = Arc::new(Reloads::new(SystemTime::UNIX_EPOCH));
        let later = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let problem = |what: &str| vec![Problem::new("gateway.toml", what)];
        let current = |reloads: &Arc<Reloads>| reloads.gauges()[2].2();
        assert_eq!(current(&reloads), 1);
        assert!(reloads.refuse(&problem("one"), later(1)));
        assert!(!reloads.refuse(&problem("one"), later(2)));
        assert!(reloads.refuse(&problem("two"), later(3)));
        let told = reloads.status();
        let refused = told.refused.unwrap();
        assert_eq!(
            (told.in_force_since.as_str(), refused.since.as_str()),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z")
        );
        assert!(refused.problems[0].contains("two"), "{refused:?}");
        assert_eq!(current(&reloads), 0);
        reloads.took(later(4));
        assert_eq!(
            reloads.status(),
            status::Reload { in_force_since: "1970-01-01T00:00:04Z".to_owned(), taken: 1, refused: None }
        );
        assert_eq!(current(&reloads), 1);
    }
}
