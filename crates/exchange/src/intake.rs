//! A streamed request, taken in message by message: held against the contract, digested, recorded as it goes, and handed on.
//!
//! It runs in a task of its own beside the answer. What it has taken in is known whenever it is stopped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use contract::Method;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    account::Account,
    digests,
    framing::{self, Cutter, FramingError},
    headers::Signed,
    house::House,
    ports::{Broken, Gone, RequestBody},
    progress::{Direction, Progress},
    refusal::{Hop, Reason, Refusal},
};

/// How often a record is begun where nothing passes.
const LOOK: Duration = Duration::from_millis(500);

/// So much of a message that is not whole yet keeps its stream from being idle.
const PART_BYTES: u64 = 64 * 1024;

/// Where the messages of a streamed request go.
pub(crate) trait Sink: Send {
    /// Takes whole messages with their prefixes; waits while the reader does not read.
    fn take(&mut self, messages: Vec<Bytes>) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Waits until nobody reads any more.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// When something last passed on a stream, in either direction.
#[derive(Debug)]
pub(crate) struct Activity {
    begun: Instant,
    /// Milliseconds after `begun`.
    last: AtomicU64,
    /// Bytes since then of messages that are not whole.
    parts: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), last: AtomicU64::new(0), parts: AtomicU64::new(0) })
    }

    /// Notes that something passed now.
    pub(crate) fn note(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Notes bytes that came. They count once a message is whole, or [`PART_BYTES`] of one are there: a trickle is not activity.
    pub(crate) fn passed(&self, bytes: u64, whole: bool) {
        let parts = self.parts.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if whole || parts >= PART_BYTES {
            self.parts.store(0, Ordering::Relaxed);
            self.note();
        }
    }

    /// Refuses to go on where nothing has passed for `limit`.
    pub(crate) fn within(&self, limit: Duration, hop: Hop) -> Result<(), Refusal> {
        if self.idle() < limit {
            return Ok(());
        }
        let told = match (limit.as_secs(), limit.subsec_millis()) {
            (seconds, 0) => format!("nothing passed for {seconds} s, so the stream was closed"),
            _ => format!("nothing passed for {} ms, so the stream was closed", limit.as_millis()),
        };
        Err(Refusal::new(Reason::Cancelled, hop, told))
    }

    /// Returns how long nothing has passed.
    fn idle(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// What one side takes in of a streamed request.
pub(crate) struct Intake<S> {
    pub(crate) house: Arc<House>,
    pub(crate) method: Arc<Method>,
    /// As things stood when the stream was opened.
    pub(crate) account: Box<Account>,
    /// This side.
    pub(crate) hop: Hop,
    pub(crate) body: RequestBody,
    pub(crate) nonce: Bytes,
    pub(crate) activity: Arc<Activity>,
    pub(crate) sink: S,
}

/// What passed of a streamed request.
pub(crate) struct Streamed {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
    /// The closing claims and their signature, where the request is whole and they hold.
    pub(crate) closing: Option<Signed>,
    /// Why it may not go on.
    pub(crate) refusal: Option<Refusal>,
}

impl Streamed {
    /// Notes it in the account of its exchange.
    pub(crate) fn note(&self, account: &mut Account) {
        let shared = &mut account.shared;
        shared.request_messages = self.messages;
        shared.request_digest = self.digest.to_vec().into();
        if let Some(closing) = &self.closing {
            shared.consumer_closing = closing.claims.clone();
            shared.consumer_closing_seal.clone_from(&closing.seal);
        }
        account.private.bytes = account.private.bytes.saturating_add(self.bytes);
    }
}

/// A request that is whole: its trailers, and the sink that is still open.
pub(crate) type Whole<S> = (HeaderMap, S);

impl<S: Sink> Intake<S> {
    /// Takes in messages until the request ends, may not go on, or `stop` fires.
    pub(crate) async fn run(self, stop: CancellationToken) -> (Streamed, Option<Whole<S>>) {
        let Self { house, method, mut account, hop, mut body, nonce, activity, mut sink } = self;
        let mut digest = digests::Running::new(&nonce);
        let mut cutter = Cutter::new(house.limits.message());
        let mut progress = Progress::new(&house, Direction::Requests);
        let mut look = tokio::time::interval(LOOK);
        let mut trailers = None;
        let ended = loop {
            let frame = tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(false),
                () = sink.gone() => break Ok(false),
                result = progress.settle_pending() => match result {
                    Ok(()) => continue,
                    Err(error) => break Err(unsettled(hop, &error)),
                },
                _ = look.tick() => {
                    progress.keep_up((&house, &account, &digest));
                    continue;
                }
                frame = body.frame() => frame,
            };
            let piece = match frame {
                None if cutter.at_boundary() => break Ok(true),
                None => break Err(malformed(hop, &FramingError::Truncated)),
                Some(Err(Broken::Withdrawn)) => break Err(withdrawn(hop)),
                Some(Err(Broken::Unfit(refusal))) => break Err(*refusal),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => piece,
                    Err(frame) => {
                        trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
            };
            let came = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            let (messages, refusal) = cut(&mut cutter, piece, &method, hop);
            activity.passed(came, !messages.is_empty());
            let passed = async {
                let mut bytes = 0_u64;
                for message in &messages {
                    digest.update(message);
                    bytes = bytes.saturating_add(u64::try_from(message.len()).unwrap_or(u64::MAX));
                }
                let shared = &mut account.shared;
                let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                shared.request_messages = shared.request_messages.saturating_add(count);
                progress.admit(bytes, (&house, &account, &digest)).await.map_err(|e| Some(unsettled(hop, &e)))?;
                sink.take(messages).await.map_err(|Gone| None)
            };
            let passed = tokio::select! {
                biased;
                passed = passed => passed,
                () = stop.cancelled() => break Ok(false),
            };
            match (passed, refusal) {
                (Err(None), _) => break Ok(false),
                (Err(Some(refusal)), _) | (Ok(()), Some(refusal)) => break Err(refusal),
                (Ok(()), None) => progress.keep_up((&house, &account, &digest)),
            }
        };
        let (whole, refusal) = match ended {
            Ok(true) => (Some((trailers.unwrap_or_default(), sink)), None),
            Ok(false) => (None, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let (messages, bytes) = (account.shared.request_messages, progress.released());
        (Streamed { messages, bytes, digest: digest.so_far(), closing: None, refusal }, whole)
    }
}

/// Cuts whole messages that fit the contract out of what came; with the refusal of the first that may not pass.
fn cut(cutter: &mut Cutter, piece: Bytes, method: &Method, hop: Hop) -> (Vec<Bytes>, Option<Refusal>) {
    cutter.push(piece);
    let mut messages = Vec::new();
    loop {
        let message = match cutter.cut() {
            Ok(Some(message)) => message,
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(malformed(hop, &error))),
        };
        if let Err(misfit) = method.check_request(message.get(framing::PREFIX..).unwrap_or_default()) {
            return (messages, Some(Refusal::misfit(misfit, hop)));
        }
        messages.push(message);
    }
}

fn malformed(hop: Hop, error: &FramingError) -> Refusal {
    let reason = if matches!(error, FramingError::TooLarge { .. }) { Reason::TooLarge } else { Reason::Malformed };
    let refusal = Refusal::new(reason, hop, error.to_string());
    // Source: gRPC over HTTP/2, "Compression": an encoding that is not supported is `UNIMPLEMENTED`.
    if *error == FramingError::Compressed { refusal.prescribed(tonic::Code::Unimplemented) } else { refusal }
}

fn withdrawn(hop: Hop) -> Refusal {
    Refusal::new(Reason::Cancelled, hop, "the request was given up before its end")
}

fn unsettled(hop: Hop, error: &ledger::AppendError) -> Refusal {
    let told = "the gateway can no longer record, so the stream was closed";
    Refusal::new(Reason::Unsettled, hop, told).detail(error.to_string())
}

/// A task that takes in a request, and what came of it.
pub(crate) struct Running {
    task: Option<JoinHandle<Streamed>>,
    stop: CancellationToken,
    result: Option<Streamed>,
}

impl Running {
    /// Starts the task that `work` makes.
    pub(crate) fn start<F>(work: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Streamed> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { task: Some(tokio::spawn(work(stop.clone()))), stop, result: None }
    }

    /// Waits until the request may not go on, and returns why; for ever where it may.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn refused(&mut self) -> Refusal {
        let Some(task) = self.task.as_mut() else { return std::future::pending().await };
        let ended = task.await;
        self.task = None;
        self.result = ended.ok();
        match self.result.as_ref().and_then(|streamed| streamed.refusal.clone()) {
            Some(refusal) => refusal,
            None => std::future::pending().await,
        }
    }

    /// Ends the task, and returns what came of it. `None` where it ended in a panic.
    pub(crate) async fn end(mut self) -> Option<Streamed> {
        self.stop.cancel();
        match self.task.take() {
            Some(task) => task.await.ok(),
            None => self.result.take(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_of_one_message_is_no_activity_and_a_whole_message_or_a_large_part_is() {
        let activity = Activity::new();
        let last = || activity.last.load(Ordering::Relaxed);
        let noted = |bytes, whole| {
            activity.last.store(u64::MAX, Ordering::Relaxed);
            activity.passed(bytes, whole);
            last() != u64::MAX
        };
        assert!(!noted(1, false));
        assert!(noted(1, true), "a message is whole");
        assert!(!noted(PART_BYTES - 1, false), "what came before a whole message no longer counts");
        assert!(noted(1, false), "as much as a part has come");
        assert!(!noted(1, false), "and is counted anew");
    }
}
