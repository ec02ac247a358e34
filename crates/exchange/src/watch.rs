//! The watch over an open stream, the same on both sides: its caller, its deadline, its agreement, its request and its records may end
//! it at any moment, also while the reader does not read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ledger::AppendError;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

use crate::{
    account::Account,
    deadline, digests,
    house::House,
    intake::{Activity, Running},
    progress::{Direction, Progress},
    refusal::{Hop, Reason, Refusal},
};

/// How often an open stream looks whether it still may go on.
const LOOK: Duration = Duration::from_millis(500);

/// What lets a stream be open on one side, and how that side words its end.
pub(crate) trait Permission {
    /// The side.
    const SIDE: Hop;

    /// Returns what is known of the exchange.
    fn account(&self) -> &Account;

    /// Asks again whether the agreement covers the exchange, by the rules and the clock of now: it can end while a stream is open.
    fn still_permitted(&self, house: &House) -> Result<(), Refusal>;

    /// The caller went away.
    fn cancelled() -> Refusal;

    /// The deadline passed.
    fn late() -> Refusal;
}

/// How an answer stands when it is looked at: what permits it, and the digest of what has passed.
type Standing<'a, P> = (&'a P, &'a digests::Running);

/// Holds one answer to all that may end it.
pub(crate) struct Watch {
    house: Arc<House>,
    cancel: CancellationToken,
    pub(crate) until: Option<Instant>,
    pub(crate) activity: Arc<Activity>,
    /// A streamed request under way.
    pub(crate) request: Option<Running>,
    progress: Progress,
    look: Interval,
}

impl Watch {
    /// Begins the watch over an answer that is given up when `cancel` fires, and ends `until` then.
    pub(crate) fn new(house: &Arc<House>, cancel: CancellationToken, until: Option<Instant>) -> Self {
        Self {
            house: house.clone(),
            cancel,
            until,
            activity: Activity::new(),
            request: None,
            progress: Progress::new(house, Direction::Answers),
            look: tokio::time::interval(LOOK),
        }
    }

    /// Waits until it is time to look after the stream, and does so.
    ///
    /// # Errors
    ///
    /// Why the stream has to end, as soon as it has to.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn look<P: Permission>(&mut self, (permission, digest): Standing<'_, P>) -> Result<(), Refusal> {
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(P::cancelled()),
                () = deadline::wait(self.until) => return Err(P::late()),
                refusal = refused(&mut self.request) => return Err(refusal),
                result = self.progress.settle_pending() => result.map_err(|error| unsettled(P::SIDE, &error))?,
                _ = self.look.tick() => break,
            }
        }
        may_go_on((&self.house, &self.activity), permission)?;
        self.keep_up((permission, digest));
        Ok(())
    }

    /// Waits until there is room for `bytes` more: a disk that hangs holds the stream back, not its end.
    ///
    /// # Errors
    ///
    /// Why the stream has to end.
    pub(crate) async fn room<P: Permission>(
        &mut self,
        bytes: u64,
        (permission, digest): Standing<'_, P>,
    ) -> Result<(), Refusal> {
        let Self { house, cancel, until, activity, progress, look, .. } = self;
        let room = progress.room(bytes, (house, permission.account(), digest));
        let over = async {
            loop {
                look.tick().await;
                if let Err(refusal) = may_go_on((house, activity), permission) {
                    return refusal;
                }
            }
        };
        tokio::select! {
            biased;
            result = room => result.map_err(|error| unsettled(P::SIDE, &error)),
            () = cancel.cancelled() => Err(P::cancelled()),
            () = deadline::wait(*until) => Err(P::late()),
            refusal = over => Err(refusal),
        }
    }

    /// Counts `bytes` that have been released, for which there was [`Self::room`].
    pub(crate) fn release(&mut self, bytes: u64) {
        self.progress.release(bytes);
    }

    /// Begins a record where one is due, once something has passed.
    pub(crate) fn keep_up<P: Permission>(&mut self, (permission, digest): Standing<'_, P>) {
        self.progress.keep_up((&self.house, permission.account(), digest));
    }

    /// Returns the bytes released so far.
    pub(crate) fn released(&self) -> u64 {
        self.progress.released()
    }
}

/// Waits until the request may not go on; for ever where it is no stream.
async fn refused(request: &mut Option<Running>) -> Refusal {
    match request {
        Some(request) => request.refused().await,
        None => std::future::pending().await,
    }
}

fn may_go_on<P: Permission>((house, activity): (&House, &Activity), permission: &P) -> Result<(), Refusal> {
    permission.still_permitted(house)?;
    activity.within(house.limits.stream_idle(), P::SIDE)
}

fn unsettled(hop: Hop, error: &AppendError) -> Refusal {
    let told = format!("the {}'s gateway can no longer record, so the stream was closed", hop.as_str());
    Refusal::new(Reason::Unsettled, hop, told).detail(error.to_string())
}
