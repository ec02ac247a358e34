//! Waiting for a leaf to be on disk.
//!
//! All answers of a batch are in their slots before the first caller is woken, and each caller is woken by its own waker. On
//! tokio that costs one write to an event descriptor, measured at 0.35 µs; grouping callers by runtime would save most of
//! it, under 1 % of a call, and would make one caller's answer depend on another task's being polled.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use crate::files::StorageError;
use crate::{Promise, Seal};

/// A leaf that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its place in the log, counted from 0.
    pub index: u64,
    /// The gateway's word for it.
    pub promise: Promise,
    /// The signature over the claims and the promise, when it was asked for.
    pub seal: Option<Seal>,
}

/// Why a leaf was not appended.
#[derive(Debug, Clone, Error)]
pub enum AppendError {
    /// The disk refused. The ledger refuses everything until it is opened again; recovery decides whether the leaf is in it.
    #[error("the ledger cannot record, and stopped")]
    Storage(#[from] StorageError),
    /// The ledger stopped for a reason within itself. As final as [`AppendError::Storage`].
    #[error("the ledger stopped")]
    Stopped,
    /// Too many appends wait already. Nothing was recorded; it can be tried again.
    #[error("the ledger is overloaded: {waiting} appends wait already")]
    Overloaded {
        /// How many wait.
        waiting: usize,
    },
    /// The body is larger than [`crate::Config::body_max`].
    #[error("a record of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Length of the body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The ledger is being closed.
    #[error("the ledger is closed")]
    Closed,
}

/// An append under way. Resolves once the leaf is durable.
///
/// # Cancel safety
///
/// Dropping it does not take the leaf back.
#[derive(Debug)]
#[must_use = "the leaf is on disk only when this resolves"]
pub struct Append(Arc<Slot>);

impl Append {
    pub(crate) fn new(slot: Arc<Slot>) -> Self {
        Self(slot)
    }

    pub(crate) fn refused(error: AppendError) -> Self {
        Self(Arc::new(Slot { state: Mutex::new(State::Done(Err(error))) }))
    }
}

impl Future for Append {
    type Output = Result<Appended, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0.state);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Poll::Ready(result),
            // A future that is polled after it was ready may answer anything but must not hang.
            State::Taken => Poll::Ready(Err(AppendError::Stopped)),
            State::Waiting(waiting) => {
                let waker = match waiting {
                    Some(waker) if waker.will_wake(context.waker()) => waker,
                    _ => context.waker().clone(),
                };
                *state = State::Waiting(Some(waker));
                Poll::Pending
            }
        }
    }
}

/// Where the writer puts the answer.
#[derive(Debug)]
pub(crate) struct Slot {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Done(Result<Appended, AppendError>),
    Taken,
}

impl Slot {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Waiting(None)) })
    }

    /// Puts the answer in, unless there is one, and returns whom to wake.
    pub fn answer(&self, result: Result<Appended, AppendError>) -> Option<Waker> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Waiting(waker) => {
                *state = State::Done(result);
                waker
            }
            answered @ (State::Done(_) | State::Taken) => {
                *state = answered;
                None
            }
        }
    }
}

/// Who is to answer a slot: the last to hold it. Dropped unanswered, it answers that the ledger stopped.
#[derive(Debug)]
pub(crate) struct Ticket(pub Arc<Slot>);

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waker) = self.0.answer(Err(AppendError::Stopped)) {
            waker.wake();
        }
    }
}

/// Counts callers who are going to append, see [`crate::Ledger::caller`].
#[derive(Debug)]
pub struct Caller(Arc<AtomicUsize>);

impl Caller {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
