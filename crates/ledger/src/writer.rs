//! The one owner of sequence, append and seal.
//!
//! It takes everything that waits, gives out indices, seals, writes one batch of frames and syncs once. How long it waits before
//! it takes is the [`Pace`].
//!
//! The surprising fact: it is no thread's own. A thread commits for all who wait; but a lone caller commits for himself, where the disk is
//! quick. Waking another thread and being woken again takes as long as such a commit, and nobody else is there to be kept waiting.

use std::os::unix::fs::FileExt as _;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::Hash;
use crate::append::{AppendError, Appended};
use crate::files::on;
use crate::journal::frame::{BATCH_HEADER, BatchHeader, MAX_BATCH_BYTES, NewFrame, SECTOR, SegmentKey, frame_length};
use crate::journal::scan::Chain;
use crate::journal::segment::{Blank, SEGMENT_HEADER, Segment};
use crate::leaf::{Promise, encode_promise};
use crate::ledger::{Pending, Shared, refused};
use crate::random;
use crate::seal::{Seal, seal_batch, seal_leaf};

/// Where the next batch goes, and what it is made with. One thread at a time has it.
#[derive(Debug)]
pub(crate) struct Writer {
    segment: Segment,
    key: SegmentKey,
    /// Where the next batch goes.
    offset: u64,
    chain: Chain,
    /// Index of the segment that was begun and has no batch yet.
    begun: Option<u64>,
    buffer: Vec<u8>,
    /// What a commit took lately, a moving mean over some eight of them. Unknown at first.
    usual: Option<Duration>,
}

/// Runs until the ledger closes and nothing waits, or a write fails.
pub(crate) fn run(shared: &Shared) {
    let mut pace = Pace::default();
    let mut batch = Vec::new();
    while shared.await_first() > 0 {
        pace.hold(shared);
        // Poisoned: a caller's commit ended midway, and nobody knows what is on disk. The end of this thread stops the ledger.
        let Ok(mut writer) = shared.writer.lock() else { return };
        shared.take_batch(&mut batch);
        // The ledger has failed meanwhile, and all that waited was refused.
        if batch.is_empty() {
            continue;
        }
        if !writer.commit_and_answer(shared, &mut batch) {
            return;
        }
    }
    // Whoever commits for himself at this moment is waited for; nobody begins to once the ledger closes.
    drop(shared.writer.lock());
}

impl Writer {
    /// A commit that usually takes no longer may be made by a lone caller, in his own thread.
    const QUICK: Duration = Duration::from_millis(1);

    pub fn new(segment: Segment, key: SegmentKey, offset: u64, chain: Chain) -> Self {
        Self { segment, key, offset, chain, begun: None, buffer: Vec::new(), usual: None }
    }

    /// Says whether a commit of `bytes` is expected to be over at once.
    pub fn is_quick(&self, bytes: usize) -> bool {
        let room = self.segment.length.saturating_sub(self.offset);
        self.usual.is_some_and(|usual| usual < Self::QUICK) && room > (bytes + 2 * SECTOR) as u64
    }

    /// Makes a batch durable, answers all who wait for it, and hands its leaves on. Returns whether the ledger goes on.
    pub fn commit_and_answer(&mut self, shared: &Shared, batch: &mut Vec<Pending>) -> bool {
        let begun = Instant::now();
        let result = self.commit(shared, batch);
        let took = begun.elapsed();
        self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        match result {
            Ok(appended) => {
                // First: who is answered may read at once.
                shared.reveal(self.chain.next);
                let answers = batch.iter().zip(appended);
                // All answers before the first waker: who wakes finds the others' answers too.
                let wakers: Vec<_> =
                    answers.filter_map(|(pending, appended)| pending.ticket.0.answer(Ok(appended))).collect();
                wakers.into_iter().for_each(Waker::wake);
                shared.publish(batch.drain(..).map(|pending| pending.leaf));
                true
            }
            Err(error) => {
                // Those of this batch first: `fail` wakes who waits behind them.
                let waiting = batch.drain(..);
                let wakers: Vec<_> =
                    waiting.filter_map(|pending| pending.ticket.0.answer(Err(error.clone()))).collect();
                shared.fail(error);
                wakers.into_iter().for_each(Waker::wake);
                false
            }
        }
    }

    /// Makes a batch durable. An error is final.
    fn commit(&mut self, shared: &Shared, batch: &[Pending]) -> Result<Vec<Appended>, AppendError> {
        let seals = self.seal(shared, batch);
        let sealed = |at: usize| seals.get(at).and_then(Option::as_ref);
        let length: usize = BATCH_HEADER
            + batch
                .iter()
                .enumerate()
                .map(|(at, pending)| frame_length(sealed(at).map_or(0, Seal::encoded_len), pending.body.len()))
                .sum::<usize>();
        if length > MAX_BATCH_BYTES {
            // The limits of the configuration keep it from coming to this.
            return Err(AppendError::Stopped);
        }
        let padded = length.next_multiple_of(SECTOR);
        if self.offset + padded as u64 > self.segment.length {
            self.next_segment(shared, padded as u64)?;
        }
        let mut salt = [0; 4];
        random::fill(&mut salt).map_err(|_| AppendError::Stopped)?;
        let header = BatchHeader {
            first: self.chain.next,
            count: u32::try_from(batch.len()).map_err(|_| AppendError::Stopped)?,
            length: u32::try_from(length).map_err(|_| AppendError::Stopped)?,
            salt,
        };
        self.buffer.clear();
        self.buffer.reserve(padded);
        self.buffer.extend_from_slice(&header.encode());
        let frames = batch.iter().zip(self.chain.next..).enumerate().map(|(at, (pending, index))| NewFrame {
            index,
            leaf: &pending.leaf,
            leaf_hash: &pending.leaf_hash,
            seal: sealed(at),
            body: &pending.body,
        });
        let chain = write_frames(&mut self.buffer, frames, &self.key, salt, self.chain)
            .ok_or_else(|| on("encrypt for", &self.segment.path)(refused()))?;
        self.buffer.resize(padded, 0);
        let Segment { path, file, .. } = &self.segment;
        file.write_all_at(&self.buffer, self.offset).map_err(on("write", path))?;
        file.sync_data().map_err(on("sync", path))?;

        shared.mark(self.begun.take(), self.chain.next, self.offset);
        let first = self.chain.next;
        self.chain = chain;
        self.offset += padded as u64;
        let origin = &shared.config.origin;
        let appended = batch.iter().zip(first..).zip(seals).map(|((pending, index), seal)| Appended {
            index,
            promise: Promise { origin: origin.clone(), index, leaf: pending.leaf_hash },
            seal,
        });
        Ok(appended.collect())
    }

    /// Signs once for all that ask for it, each together with the promise of its own leaf.
    fn seal(&self, shared: &Shared, batch: &[Pending]) -> Vec<Option<Seal>> {
        let leaves: Vec<_> = batch
            .iter()
            .zip(self.chain.next..)
            .filter_map(|(pending, index)| {
                let input = pending.seal.as_ref()?;
                let promise = encode_promise(&shared.config.origin, index, &pending.leaf_hash);
                Some(seal_leaf(input.tag, &input.claims, &promise))
            })
            .collect();
        if leaves.is_empty() {
            return vec![None; batch.len()];
        }
        let mut seals = seal_batch(&shared.config.seal_key, &leaves).into_iter();
        batch.iter().map(|pending| pending.seal.as_ref().and_then(|_| seals.next())).collect()
    }

    /// Begins a new segment in which `needed` bytes have room.
    fn next_segment(&mut self, shared: &Shared, needed: u64) -> Result<(), AppendError> {
        let needed = (SEGMENT_HEADER + needed).max(next_length(self.segment.length, shared.config.segment_bytes));
        let blank = match shared.take_blank(needed) {
            Some(blank) => blank,
            None => Blank::make(&shared.folder, needed)?,
        };
        let (segment, key) =
            blank.become_segment(&shared.folder, &shared.config.origin, self.chain.next, self.chain.link)?;
        shared.want_blank(next_length(segment.length, shared.config.segment_bytes));
        self.segment = segment;
        self.key = key;
        self.offset = SEGMENT_HEADER;
        self.begun = Some(self.chain.next);
        Ok(())
    }
}

/// Appends frames to `buffer` and returns the chain after them. `None` when the cryptographic library refuses.
fn write_frames<'a>(
    buffer: &mut Vec<u8>,
    frames: impl Iterator<Item = NewFrame<'a>>,
    key: &SegmentKey,
    salt: [u8; 4],
    mut chain: Chain,
) -> Option<Chain> {
    let frames = frames.map(|frame| frame.write(buffer, key, salt)).collect::<Option<Vec<_>>>()?;
    let bodies: Vec<&[u8]> = frames.iter().map(|frame| frame.body(buffer)).collect();
    for (frame, digest) in frames.iter().zip(Hash::of_each(&bodies)) {
        chain = Chain { next: chain.next + 1, link: frame.link(buffer, &digest, &chain.link)? };
    }
    Some(chain)
}

/// Segments double, so that a small log stays small and a busy one seldom changes files.
pub(crate) fn next_length(length: u64, most: u64) -> u64 {
    length.saturating_mul(2).min(most)
}

/// Decides how long a commit is held to gather more appends.
///
/// One commit costs about the same for one leaf as for fifty: a write, a sync, a signature, two thread switches. When many
/// callers are about, holding it for a moment saves most of that; when few are, it only makes them wait. So it is held only while
/// at least [`crate::Config::pace_from`] callers are known, and only as long as holding is seen to gather: callers may be there
/// and not be about to append (open streams, slow legacy systems).
#[derive(Debug)]
struct Pace {
    /// Commits left until holding is tried again after it did not pay.
    idle: u32,
    /// How many the last batches held, a moving mean in sixteenths.
    gathered: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { idle: 0, gathered: 16 * Self::WORTH }
    }
}

impl Pace {
    /// Holding pays when it gathers as many on average.
    const WORTH: usize = 3;
    /// Commits at once before holding is tried again.
    const REST: u32 = 64;

    fn hold(&mut self, shared: &Shared) {
        let config = &shared.config;
        let callers = shared.callers();
        if callers < config.pace_from || config.pace_hold.is_zero() {
            return;
        }
        if let Some(left) = self.idle.checked_sub(1) {
            self.idle = left;
            return;
        }
        let enough = config.pace_until.min(callers).min(config.batch_max);
        let waiting = shared.await_appends(enough, Some(Instant::now() + config.pace_hold));
        self.gathered = (self.gathered * 15 + waiting * 16) / 16;
        if self.gathered < 16 * Self::WORTH {
            *self = Self { idle: Self::REST, ..Self::default() };
        }
    }
}
