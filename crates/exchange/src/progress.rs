//! How far a stream may run ahead of its records.
//!
//! A durable progress record is written at least every second or half a window, and never more than one window of bytes
//! is released beyond the last durable one; so a crash leaves at most that much unrecorded.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use ledger::AppendError;
use proto::records::Kind;
use records::{Recorded, Records};

use crate::{account::Account, digests::Running, house::House};

/// Bytes that may be released beyond the last durable progress record.
pub const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Longest time between progress records while messages pass.
pub const INTERVAL: Duration = Duration::from_secs(1);

type Pending = BoxFuture<'static, Result<Recorded, AppendError>>;

/// Which messages of an exchange are recorded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those of the request.
    Requests,
    /// Those of the answer.
    Answers,
}

/// Keeps a stream's records abreast of its bytes.
pub struct Progress {
    records: Records,
    direction: Direction,
    released: u64,
    durable: u64,
    pending: Option<(u64, Pending)>,
    last: Instant,
}

impl Progress {
    /// Starts with nothing released; the intent is durable.
    #[must_use]
    pub fn new(house: &House, direction: Direction) -> Self {
        Self { records: house.records.clone(), direction, released: 0, durable: 0, pending: None, last: Instant::now() }
    }

    /// Returns the bytes released so far.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Waits until `bytes` more may be released. They are then counted as released.
    ///
    /// # Errors
    ///
    /// [`AppendError`] when a record could not be written: the stream has to end.
    pub async fn admit(&mut self, bytes: u64, now: (&House, &Account, &Running)) -> Result<(), AppendError> {
        self.room(bytes, now).await?;
        self.release(bytes);
        Ok(())
    }

    /// Waits until `bytes` more may be released.
    ///
    /// # Errors
    ///
    /// As those of [`Self::admit`].
    pub async fn room(&mut self, bytes: u64, now: (&House, &Account, &Running)) -> Result<(), AppendError> {
        while self.released > self.durable
            && self.released.saturating_add(bytes) > self.durable.saturating_add(WINDOW_BYTES)
        {
            if self.pending.is_none() {
                self.start(now);
            }
            self.settle_pending().await?;
        }
        Ok(())
    }

    /// Counts `bytes` that have been released, for which there was [`Self::room`].
    pub fn release(&mut self, bytes: u64) {
        self.released = self.released.saturating_add(bytes);
    }

    /// Begins a record when one is due. Called after bytes have gone out, and at each tick.
    pub fn keep_up(&mut self, now: (&House, &Account, &Running)) {
        let behind = self.released.saturating_sub(self.durable);
        if self.pending.is_none() && behind > 0 && (behind >= WINDOW_BYTES / 2 || self.last.elapsed() >= INTERVAL) {
            self.start(now);
        }
    }

    /// Waits until the record under way is durable; for ever when there is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn settle_pending(&mut self) -> Result<(), AppendError> {
        let Some((upto, pending)) = self.pending.as_mut() else {
            return std::future::pending().await;
        };
        let (upto, result) = (*upto, pending.await);
        self.pending = None;
        result?;
        self.durable = upto;
        Ok(())
    }

    fn start(&mut self, (house, account, digest): (&House, &Account, &Running)) {
        let mut draft = account.draft(house, Kind::Progress);
        let so_far = digest.so_far().to_vec().into();
        match self.direction {
            Direction::Requests => draft.shared.request_digest = so_far,
            Direction::Answers => draft.shared.running_digest = so_far,
        }
        draft.private.bytes = self.released;
        let records = self.records.clone();
        let append = Box::pin(async move { records.append(draft, None).await });
        self.pending = Some((self.released, append));
        self.last = Instant::now();
    }
}
