//! What the two threads of a ledger and all its callers share.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::watch;

use super::CheckpointState;
use crate::Hash;
use crate::append::{Append, AppendError, Slot, Ticket};
use crate::config::Config;
use crate::folder::Folder;
use crate::journal::segment::Blank;
use crate::leaf::{Entry, Leaf, SealInput};
use crate::places::Places;
use crate::proof::Proofs;
use crate::writer::Writer;

/// An append that waits for the writer.
pub(crate) struct Pending {
    pub leaf: Leaf,
    pub leaf_hash: Hash,
    pub body: Vec<u8>,
    pub seal: Option<SealInput>,
    pub ticket: Ticket,
}

impl fmt::Debug for Pending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pending").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Pending {
    pub fn bytes(&self) -> usize {
        self.body.len() + self.seal.as_ref().map_or(0, |seal| seal.claims.len())
    }
}

/// What the two threads and all callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: Config,
    pub folder: Folder,
    /// Before the queue, where both are held.
    pub writer: Mutex<Writer>,
    pub(super) queue: Mutex<Queue>,
    pub(super) arrived: Condvar,
    pub(super) failed: OnceLock<AppendError>,
    pub(super) callers: Arc<AtomicUsize>,
    pub(super) size: AtomicU64,
    pub(super) places: RwLock<Places>,
    pub(super) behind: Mutex<Behind>,
    pub(super) behind_arrived: Condvar,
    pub(super) checkpoints: watch::Sender<CheckpointState>,
    pub(super) ended: watch::Sender<bool>,
    pub(super) proofs: Proofs,
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Pending>,
    bytes: usize,
    /// The writer sleeps until so many wait; `usize::MAX` while it does not sleep.
    wake_at: usize,
    pub(super) closing: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, wake_at: usize::MAX, closing: false }
    }
}

/// What waits for the publisher.
#[derive(Debug, Default)]
pub(super) struct Behind {
    leaves: Vec<Leaf>,
    /// A blank segment of this length is wanted.
    wanted: Option<u64>,
    blank: Option<Blank>,
    closing: bool,
}

/// What the publisher is to do.
#[derive(Debug)]
pub(crate) struct Work {
    pub leaves: Vec<Leaf>,
    pub blank: Option<u64>,
    pub closing: bool,
}

impl Shared {
    pub(super) fn push(&self, entry: Entry) -> Append {
        let (pending, append) = match self.pending(entry) {
            Ok(made) => made,
            Err(error) => return Append::refused(error),
        };
        let queue = lock(&self.queue);
        match self.enqueue(queue, pending) {
            Ok(()) => append,
            Err(error) => Append::refused(error),
        }
    }

    /// Commits at once where that is the quickest for all, see [`Writer::is_quick`].
    pub(super) fn push_or_commit(&self, entry: Entry) -> Append {
        let (pending, append) = match self.pending(entry) {
            Ok(made) => made,
            Err(error) => return Append::refused(error),
        };
        // Several at once are better off with one commit, and would wait for one another's in the same thread.
        let writer = if self.callers() == 1 { self.writer.try_lock().ok() } else { None };
        let queue = lock(&self.queue);
        if let Some(mut writer) = writer.filter(|writer| writer.is_quick(pending.bytes()))
            && queue.waiting.is_empty()
            && !queue.closing
        {
            drop(queue);
            writer.commit_and_answer(self, &mut vec![pending]);
            return append;
        }
        match self.enqueue(queue, pending) {
            Ok(()) => append,
            Err(error) => Append::refused(error),
        }
    }

    fn pending(&self, entry: Entry) -> Result<(Pending, Append), AppendError> {
        let (bytes, limit) = (entry.body.len(), self.config.body_max);
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let slot = Slot::new();
        let pending = Pending {
            leaf_hash: entry.leaf.hash(),
            leaf: entry.leaf,
            body: entry.body,
            seal: entry.seal,
            ticket: Ticket(Arc::clone(&slot)),
        };
        Ok((pending, Append::new(slot)))
    }

    fn enqueue(&self, mut queue: MutexGuard<'_, Queue>, pending: Pending) -> Result<(), AppendError> {
        // Under the lock: the queue is emptied for the last time after the ledger has failed.
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        if queue.closing {
            return Err(AppendError::Closed);
        }
        let waiting = queue.waiting.len();
        let bytes = queue.bytes.saturating_add(pending.bytes());
        if waiting >= self.config.queue_max || (waiting > 0 && bytes > self.config.queue_bytes) {
            return Err(AppendError::Overloaded { waiting });
        }
        queue.bytes = bytes;
        queue.waiting.push_back(pending);
        if queue.waiting.len() >= queue.wake_at {
            // Once: each further call would cost a system call.
            queue.wake_at = usize::MAX;
            drop(queue);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until at least one append waits; returns how many do. 0: the ledger closes and nothing waits.
    pub fn await_first(&self) -> usize {
        self.await_appends(1, None)
    }

    /// Waits until `enough` wait, or `until`, or the ledger closes; returns how many wait.
    pub fn await_appends(&self, enough: usize, until: Option<Instant>) -> usize {
        let mut queue = lock(&self.queue);
        while queue.waiting.len() < enough && !queue.closing {
            queue.wake_at = enough;
            queue = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        queue.wake_at = usize::MAX;
        queue.waiting.len()
    }

    /// Moves a batch out of the queue: in order, within the limits, and at least one if any waits.
    pub fn take_batch(&self, batch: &mut Vec<Pending>) {
        let mut queue = lock(&self.queue);
        let mut bytes = 0usize;
        while let Some(pending) = queue.waiting.front().map(Pending::bytes) {
            bytes = bytes.saturating_add(pending);
            if !batch.is_empty() && (batch.len() >= self.config.batch_max || bytes > self.config.batch_bytes) {
                break;
            }
            queue.bytes = queue.bytes.saturating_sub(pending);
            batch.extend(queue.waiting.pop_front());
        }
    }

    /// Number of callers who said that they are going to append.
    pub fn callers(&self) -> usize {
        self.callers.load(Ordering::Relaxed)
    }

    /// Lets readers see the leaves below `size`, which are on disk.
    pub fn reveal(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Hands leaves that are on disk to the publisher.
    pub fn publish(&self, leaves: impl Iterator<Item = Leaf>) {
        let mut behind = lock(&self.behind);
        let first = behind.leaves.is_empty();
        behind.leaves.extend(leaves);
        drop(behind);
        if first {
            self.behind_arrived.notify_one();
        }
    }

    /// Remembers where a batch lies; `segment` when it is the first of one.
    pub fn mark(&self, segment: Option<u64>, index: u64, offset: u64) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = segment {
            places.begin(first);
        }
        places.mark(index, offset);
    }

    /// Asks for a blank segment to be made ahead, unless there is one that is long enough.
    pub fn want_blank(&self, length: u64) {
        let mut behind = lock(&self.behind);
        if behind.blank.as_ref().is_none_or(|blank| blank.length() < length) {
            behind.wanted = Some(length);
            self.behind_arrived.notify_one();
        }
    }

    /// Takes the blank segment that was made ahead, if it is there and long enough.
    pub fn take_blank(&self, length: u64) -> Option<Blank> {
        lock(&self.behind).blank.take().filter(|blank| blank.length() >= length)
    }

    /// Puts a blank segment where the writer finds it. One that lies there unused is removed.
    pub fn offer_blank(&self, blank: Blank) {
        let unused = lock(&self.behind).blank.replace(blank);
        unused.into_iter().for_each(Blank::discard);
    }

    /// Waits for something to do behind the hot path. Leaves are not published before `due`.
    pub fn await_work(&self, due: Instant) -> Work {
        let mut behind = lock(&self.behind);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if behind.closing || behind.wanted.is_some() || (left.is_zero() && !behind.leaves.is_empty()) {
                let leaves =
                    if left.is_zero() || behind.closing { std::mem::take(&mut behind.leaves) } else { Vec::new() };
                return Work { leaves, blank: behind.wanted.take(), closing: behind.closing };
            }
            behind = if behind.leaves.is_empty() {
                self.behind_arrived.wait(behind).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.behind_arrived.wait_timeout(behind, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    pub fn announce(&self, state: CheckpointState) {
        self.checkpoints.send_replace(state);
    }

    pub fn healthy(&self) -> Result<(), AppendError> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    /// Refuses everything from now on, and everything that waits.
    pub fn fail(&self, error: AppendError) {
        let error = self.failed.get_or_init(|| error).clone();
        let mut queue = lock(&self.queue);
        let waiting = std::mem::take(&mut queue.waiting);
        queue.closing = true;
        queue.bytes = 0;
        drop(queue);
        self.arrived.notify_one();
        for pending in waiting {
            if let Some(waker) = pending.ticket.0.answer(Err(error.clone())) {
                waker.wake();
            }
        }
    }

    pub(super) fn begin_closing(&self) {
        lock(&self.queue).closing = true;
        self.arrived.notify_one();
    }

    /// Lets the publisher end once it has published what is there.
    pub(super) fn end_behind(&self) {
        lock(&self.behind).closing = true;
        self.behind_arrived.notify_one();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is never left half changed: nothing in their critical sections panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the cryptographic library's refusal looks like, where one can only be answered by stopping.
pub(crate) fn refused() -> io::Error {
    io::Error::other("the cryptographic library refused")
}
