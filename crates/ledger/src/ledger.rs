//! The ledger as its callers see it, and what its two threads share.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::watch;

use crate::append::{Append, AppendError, Caller, Slot, Ticket};
use crate::config::Config;
use crate::files::on;
use crate::folder::Folder;
use crate::journal::segment::Blank;
use crate::leaf::{Entry, Leaf, SealInput};
use crate::places::Places;
use crate::proof::{ProofError, Proofs};
use crate::reader::{ReadError, Stored, read_at};
use crate::recovery::{self, OpenError, Recovery};
use crate::writer::Writer;
use crate::{Hash, publisher};

/// A published tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointState {
    /// Number of leaves that it covers.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The signed note, as it lies in `tlog/checkpoint`.
    pub note: Arc<str>,
}

/// An open ledger. Cheap to clone; all clones are the same ledger.
///
/// Two threads belong to it: one writes the journal, one makes tiles and checkpoints. Dropping the last clone closes it and
/// waits for them; [`Ledger::close`] does so without blocking.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Handle>);

impl Ledger {
    /// Opens the ledger in a folder, or makes one, and reads all of it back. Blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: in use by another gateway, damaged, made by a newer program, another log's, or the disk refuses.
    pub fn open(config: Config) -> Result<(Self, Recovery), OpenError> {
        let opened = recovery::open(&config)?;
        let recovery = opened.recovery.clone();
        let shared = Arc::new(Shared {
            proofs: Proofs::new(opened.folder.tlog()),
            folder: opened.folder.clone(),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            failed: OnceLock::new(),
            callers: Arc::default(),
            size: AtomicU64::new(opened.chain.next),
            places: RwLock::new(opened.places),
            behind: Mutex::default(),
            behind_arrived: Condvar::new(),
            checkpoints: watch::Sender::new(opened.checkpoint),
            ended: watch::Sender::new(false),
            config,
        });
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let builder = thread::Builder::new().name(name.to_owned());
            builder.spawn(work).map_err(|error| OpenError::from(on("start a thread for", shared.folder.path())(error)))
        };
        let (publisher, tlog, lock) = (Arc::clone(&shared), opened.tlog, opened.lock);
        let mut threads = vec![spawn(
            "ledger-tiles",
            Box::new(move || {
                let ended = StopOnDrop { shared: publisher, writes: false };
                publisher::run(&ended.shared, tlog);
                // Whoever waits for the end may open the ledger anew at once.
                drop(lock);
            }),
        )?];
        let writer = Writer::new(Arc::clone(&shared), opened.segment, opened.key, opened.offset, opened.chain);
        let ended = StopOnDrop { shared: Arc::clone(&shared), writes: true };
        match spawn(
            "ledger-write",
            Box::new(move || {
                writer.run();
                drop(ended);
            }),
        ) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                shared.end_behind();
                return Err(error);
            }
        }
        Ok((Self(Arc::new(Handle { shared, threads })), recovery))
    }

    /// Appends a leaf. It is in the queue when this returns; the future resolves once it is on disk.
    ///
    /// # Errors
    ///
    /// The future resolves to an [`AppendError`] when the queue is full, the body too large, the ledger closed, or the disk
    /// refused.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the leaf back.
    pub fn append(&self, entry: Entry) -> Append {
        self.0.shared.push(entry)
    }

    /// Says whether the ledger can record.
    ///
    /// # Errors
    ///
    /// After a storage failure, what every append is refused with.
    pub fn healthy(&self) -> Result<(), AppendError> {
        self.0.shared.healthy()
    }

    /// Counts one caller who is going to append, from now until the guard is dropped.
    ///
    /// The pace looks at it: from [`Config::pace_from`] callers on, a commit is held for a moment to gather more. Without it
    /// the ledger sees only who waits already.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::new(&self.0.shared.callers)
    }

    /// Returns the latest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> CheckpointState {
        self.0.shared.checkpoints.borrow().clone()
    }

    /// Returns a receiver of each new checkpoint.
    #[must_use]
    pub fn watch_checkpoints(&self) -> watch::Receiver<CheckpointState> {
        self.0.shared.checkpoints.subscribe()
    }

    /// Returns the number of leaves on disk, whether or not a checkpoint covers them.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.shared.size.load(Ordering::Acquire)
    }

    /// Returns the audit path of the leaf at `index` in the tree of the first `size` leaves. Reads tiles; blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotCovered`] when `size` exceeds the latest checkpoint, [`ProofError::OutOfRange`] when `index` is not
    /// below it.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.0.shared.proofs.inclusion(index, size, self.covered())
    }

    /// Returns the proof that the tree of the first `old` leaves is a prefix of that of the first `new` ones. Reads tiles;
    /// blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotCovered`] when `new` exceeds the latest checkpoint, [`ProofError::OutOfRange`] when `old` exceeds
    /// `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.0.shared.proofs.consistency(old, new, self.covered())
    }

    /// Returns the hashes of the leaves from `from` on, up to `to`. Reads tiles; blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotCovered`] when `to` exceeds the latest checkpoint, [`ProofError::OutOfRange`] when `from` exceeds
    /// `to`.
    pub fn leaf_hashes(&self, from: u64, to: u64) -> Result<Vec<Hash>, ProofError> {
        self.0.shared.proofs.leaves(from, to, self.covered())
    }

    /// Returns the roots of the complete subtrees of the first `size` leaves, largest first: what a
    /// [`Frontier`](crate::merkle::Frontier) is made of. Reads tiles; blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotCovered`] when `size` exceeds the latest checkpoint.
    pub fn frontier(&self, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.0.shared.proofs.frontier(size, self.covered())
    }

    /// Reads a leaf and its body back from the journal. Blocks meanwhile, some 0.1 ms.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotThere`] when the log does not reach so far, or what is wrong with the file.
    pub fn read(&self, index: u64) -> Result<Stored, ReadError> {
        let shared = &self.0.shared;
        let size = self.size();
        if index >= size {
            return Err(ReadError::NotThere { index, size });
        }
        let place = shared.places.read().unwrap_or_else(PoisonError::into_inner).find(index);
        read_at(&shared.folder, place.ok_or(ReadError::NotThere { index, size })?, index)
    }

    /// Closes the ledger: what waits is written, a last checkpoint covers it, and the folder is free when this returns.
    /// Appends of other clones are refused from now on.
    pub async fn close(self) {
        self.0.shared.begin_closing();
        // The senders live as long as `self`.
        let _ = self.0.shared.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn covered(&self) -> u64 {
        self.0.shared.checkpoints.borrow().size
    }
}

/// The last clone's end is the ledger's.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_closing();
        for thread in self.threads.drain(..) {
            // A thread that panicked has stopped the ledger already, and said so to everyone who waited.
            let _ = thread.join();
        }
    }
}

/// An append that waits for the writer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub leaf: Leaf,
    pub leaf_hash: Hash,
    pub body: Vec<u8>,
    pub seal: Option<SealInput>,
    pub ticket: Ticket,
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
    queue: Mutex<Queue>,
    arrived: Condvar,
    failed: OnceLock<AppendError>,
    callers: Arc<AtomicUsize>,
    size: AtomicU64,
    places: RwLock<Places>,
    behind: Mutex<Behind>,
    behind_arrived: Condvar,
    checkpoints: watch::Sender<CheckpointState>,
    ended: watch::Sender<bool>,
    proofs: Proofs,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Pending>,
    bytes: usize,
    /// The writer sleeps until so many wait; `usize::MAX` while it does not sleep.
    wake_at: usize,
    closing: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, wake_at: usize::MAX, closing: false }
    }
}

/// What waits for the publisher.
#[derive(Debug, Default)]
struct Behind {
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
    fn push(&self, entry: Entry) -> Append {
        let (bytes, limit) = (entry.body.len(), self.config.body_max);
        if bytes > limit {
            return Append::refused(AppendError::TooLarge { bytes, limit });
        }
        let slot = Slot::new();
        let pending = Pending {
            leaf_hash: entry.leaf.hash(),
            leaf: entry.leaf,
            body: entry.body,
            seal: entry.seal,
            ticket: Ticket(Arc::clone(&slot)),
        };
        let mut queue = lock(&self.queue);
        // Under the lock: the writer empties the queue for the last time after it has failed.
        if let Some(error) = self.failed.get() {
            return Append::refused(error.clone());
        }
        if queue.closing {
            return Append::refused(AppendError::Closed);
        }
        let waiting = queue.waiting.len();
        let bytes = queue.bytes.saturating_add(pending.bytes());
        if waiting >= self.config.queue_max || (waiting > 0 && bytes > self.config.queue_bytes) {
            return Append::refused(AppendError::Overloaded { waiting });
        }
        queue.bytes = bytes;
        queue.waiting.push_back(pending);
        if queue.waiting.len() >= queue.wake_at {
            // Once: each further call would cost a system call.
            queue.wake_at = usize::MAX;
            drop(queue);
            self.arrived.notify_one();
        }
        Append::new(slot)
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

    fn begin_closing(&self) {
        lock(&self.queue).closing = true;
        self.arrived.notify_one();
    }

    /// Lets the publisher end once it has published what is there.
    fn end_behind(&self) {
        lock(&self.behind).closing = true;
        self.behind_arrived.notify_one();
    }
}

/// Sees to it that a thread's end, even by a panic, ends the rest in order.
struct StopOnDrop {
    shared: Arc<Shared>,
    /// The writer's, not the publisher's.
    writes: bool,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let closing = lock(&self.shared.queue).closing;
        if thread::panicking() || !closing {
            self.shared.fail(AppendError::Stopped);
        }
        if self.writes {
            self.shared.end_behind();
        } else {
            self.shared.ended.send_replace(true);
        }
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
