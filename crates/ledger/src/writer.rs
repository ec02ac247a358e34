//! The one owner of sequence, append and seal.
//!
//! It takes everything that waits, gives out indices, seals, writes one batch of frames and syncs once. How long it waits before
//! it takes is the [`Pace`].

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

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

pub(crate) struct Writer {
    shared: Arc<Shared>,
    segment: Segment,
    key: SegmentKey,
    /// Where the next batch goes.
    offset: u64,
    chain: Chain,
    /// Index of the segment that was begun and has no batch yet.
    begun: Option<u64>,
    buffer: Vec<u8>,
    pace: Pace,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, segment: Segment, key: SegmentKey, offset: u64, chain: Chain) -> Self {
        shared.want_blank(next_length(segment.length, shared.config.segment_bytes));
        Self { shared, segment, key, offset, chain, begun: None, buffer: Vec::new(), pace: Pace::default() }
    }

    /// Runs until the ledger closes and nothing waits, or a write fails.
    pub fn run(mut self) {
        let mut batch = Vec::new();
        let mut wakers = Vec::new();
        while self.shared.await_first() > 0 {
            self.pace.hold(&self.shared);
            self.shared.take_batch(&mut batch);
            match self.commit(&batch) {
                Ok(appended) => {
                    // First: who is answered may read at once.
                    self.shared.reveal(self.chain.next);
                    for (pending, appended) in batch.iter().zip(appended) {
                        wakers.extend(pending.ticket.0.answer(Ok(appended)));
                    }
                    wakers.drain(..).for_each(Waker::wake);
                    self.shared.publish(batch.drain(..).map(|pending| pending.leaf));
                }
                Err(error) => {
                    // Those of this batch first: `fail` wakes who waits behind them.
                    for pending in batch.drain(..) {
                        wakers.extend(pending.ticket.0.answer(Err(error.clone())));
                    }
                    self.shared.fail(error);
                    wakers.drain(..).for_each(Waker::wake);
                    return;
                }
            }
        }
    }

    /// Makes a batch durable. An error is final.
    fn commit(&mut self, batch: &[Pending]) -> Result<Vec<Appended>, AppendError> {
        let seals = self.seal(batch);
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
            self.next_segment(padded as u64)?;
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

        self.shared.mark(self.begun.take(), self.chain.next, self.offset);
        let first = self.chain.next;
        self.chain = chain;
        self.offset += padded as u64;
        let origin = &self.shared.config.origin;
        let appended = batch.iter().zip(first..).zip(seals).map(|((pending, index), seal)| Appended {
            index,
            promise: Promise { origin: origin.clone(), index, leaf: pending.leaf_hash },
            seal,
        });
        Ok(appended.collect())
    }

    /// Signs once for all that ask for it, each together with the promise of its own leaf.
    fn seal(&self, batch: &[Pending]) -> Vec<Option<Seal>> {
        let leaves: Vec<_> = batch
            .iter()
            .zip(self.chain.next..)
            .filter_map(|(pending, index)| {
                let input = pending.seal.as_ref()?;
                let promise = encode_promise(&self.shared.config.origin, index, &pending.leaf_hash);
                Some(seal_leaf(input.tag, &input.claims, &promise))
            })
            .collect();
        if leaves.is_empty() {
            return vec![None; batch.len()];
        }
        let mut seals = seal_batch(&self.shared.config.seal_key, &leaves).into_iter();
        batch.iter().map(|pending| pending.seal.as_ref().and_then(|_| seals.next())).collect()
    }

    /// Begins a new segment in which `needed` bytes have room.
    fn next_segment(&mut self, needed: u64) -> Result<(), AppendError> {
        let shared = &self.shared;
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
fn next_length(length: u64, most: u64) -> u64 {
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
