//! What was made of a statement and its contract, until its tables change. Then it is made anew, and held against the contract as at
//! a start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Method;

use crate::bindings::Complaint;
use crate::{ConnectorError, Failure};

/// How long after it did not fit a statement is not described once more, and nothing more is said of it in the log.
const PAUSE: Duration = Duration::from_secs(1);

/// What questions are answered with now.
pub(crate) struct Current<T> {
    now: Mutex<Arc<T>>,
    /// Held by whoever makes it anew: when that last did not succeed.
    failed: tokio::sync::Mutex<Option<Instant>>,
}

impl<T> Current<T> {
    pub(crate) fn new(made: T) -> Self {
        Self { now: Mutex::new(Arc::new(made)), failed: tokio::sync::Mutex::new(None) }
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts what `make` gives in the place of `used`, unless another question has done so already. `None` where it does not fit.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, everything is as it was.
    pub(crate) async fn anew(
        &self,
        used: &Arc<T>,
        method: &Method,
        make: impl Future<Output = Result<T, Vec<Complaint>>>,
    ) -> Option<Arc<T>> {
        let mut failed = self.failed.lock().await;
        let now = self.get();
        if !Arc::ptr_eq(&now, used) {
            return Some(now);
        }
        if failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        let method = method.path().trim_start_matches('/');
        match make.await {
            Ok(made) => {
                *failed = None;
                let made = Arc::new(made);
                *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&made);
                tracing::info!(method, "the tables of a binding have changed, and its statement was prepared anew");
                Some(made)
            }
            Err(complaints) => {
                *failed = Some(Instant::now());
                let what = complaints.iter().map(|complaint| complaint.what.as_str()).collect::<Vec<_>>().join("; ");
                tracing::warn!(method, what, "the tables of a binding have changed, and its statement fits no more");
                None
            }
        }
    }
}

/// Whether a question failed because the tables are others than its statement was made for.
pub(crate) fn changed(error: &ConnectorError) -> bool {
    // Of a command: nothing of it was done, so it may be tried once more.
    let error = if let ConnectorError::RolledBack { why } = error { why } else { error };
    *error == ConnectorError::Failed { why: Failure::SchemaChanged }
}
