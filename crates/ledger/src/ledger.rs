//! The ledger as its callers see it.

mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

pub(crate) use self::shared::{Pending, Shared, lock, refused};
use crate::append::{Append, AppendError, Caller};
use crate::config::Config;
use crate::files::on;
use crate::leaf::Entry;
use crate::proof::{ProofError, Proofs};
use crate::reader::{ReadError, Stored, read_at};
use crate::recovery::{self, OpenError, Recovery};
use crate::writer::{self, Writer};
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
        let length = opened.segment.length;
        let writer = Writer::new(opened.segment, opened.key, opened.offset, opened.chain);
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
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
        shared.want_blank(writer::next_length(length, shared.config.segment_bytes));
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
        let ended = StopOnDrop { shared: Arc::clone(&shared), writes: true };
        match spawn(
            "ledger-write",
            Box::new(move || {
                writer::run(&ended.shared);
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

    /// As [`Ledger::append`], for a caller who has nothing else to do meanwhile.
    ///
    /// Where he is the only one that is counted ([`Ledger::caller`]) and the disk usually takes less than a millisecond, it blocks for the
    /// time of one commit instead of asking the ledger's thread: waking it and being woken by it would take as long. A disk that
    /// hangs at that very moment then holds the caller's thread too, until it goes on.
    ///
    /// # Errors
    ///
    /// As [`Ledger::append`].
    pub fn append_and_wait(&self, entry: Entry) -> Append {
        self.0.shared.push_or_commit(entry)
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
