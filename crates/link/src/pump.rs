//! Moves a body into an HTTP/2 stream, as fast as the peer takes it.
//!
//! The surprising fact: it asks the body for a chunk before it asks the connection for room. Room that is claimed and not used would be
//! missing from the other streams of the connection.
//!
//! A large chunk leaves in pieces, as the peer makes room: h2 would keep all of it, however little the peer takes, and the body would
//! look as if it had been sent.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use tokio::time::{Instant, Sleep};

use crate::body::BodyError;
use crate::http2::spare_the_table;

/// The future that sends a body to its end. Dropped before, it resets the stream.
pub(crate) struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// A chunk that waits for room, and whether it is the last.
    waiting: Option<(Bytes, bool)>,
    /// Nothing was sent yet.
    first: bool,
    /// The code of the reset when the body itself fails.
    on_failure: Reason,
    stall: Option<Stall>,
}

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    #[error("the stream is gone")]
    Stream(#[source] Option<h2::Error>),
    #[error("the body failed")]
    Body,
    #[error("the peer took nothing of it for too long")]
    Stalled,
}

/// Looks how long the peer takes nothing. Its timer is made when the peer first does, and is not touched while it takes something.
struct Stall {
    patience: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// The peer has taken something.
    fn over(&mut self) {
        self.since = None;
    }

    /// The peer takes nothing. Ready: it has taken nothing for too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let end = *self.since.get_or_insert_with(Instant::now) + self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        loop {
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            // It was set when the peer stalled before.
            timer.as_mut().reset(end);
        }
    }
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(crate) fn new(body: B, stream: SendStream<Bytes>, on_failure: Reason) -> Self {
        Self { body, stream, waiting: None, first: true, on_failure, stall: None }
    }

    /// Resets the stream once the peer has taken nothing of what waits for so long.
    pub(crate) fn patient_for(mut self, patience: Duration) -> Self {
        self.stall = Some(Stall { patience: patience.min(LONGEST_PATIENCE), since: None, timer: None });
        self
    }

    /// Sends the chunk that waits, once the peer has room for some of it.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<Progress, PumpError>> {
        if self.waiting.is_none() {
            return Poll::Ready(Ok(Progress::Goes));
        }
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(PumpError::Stream(Some(error)))),
                Poll::Ready(None) => return Poll::Ready(Err(PumpError::Stream(None))),
                Poll::Pending => return self.poll_stall(context),
            }
        }
        if let Some(stall) = &mut self.stall {
            stall.over();
        }
        let Some((mut chunk, last)) = self.waiting.take() else {
            return Poll::Ready(Ok(Progress::Goes));
        };
        let room = self.stream.capacity();
        if chunk.len() > UNASKED.max(room) {
            let piece = chunk.split_to(room);
            self.waiting = Some((chunk, last));
            self.stream.send_data(piece, false).map_err(|error| PumpError::Stream(Some(error)))?;
            self.reserve();
            return Poll::Ready(Ok(Progress::Goes));
        }
        self.stream.send_data(chunk, last).map_err(|error| PumpError::Stream(Some(error)))?;
        Poll::Ready(Ok(if last { Progress::Done } else { Progress::Goes }))
    }

    /// Asks the connection for room: for one byte where the chunk that waits may leave whole, else for a piece of it.
    fn reserve(&mut self) {
        let waits = self.waiting.as_ref().map_or(0, |(chunk, _)| chunk.len());
        self.stream.reserve_capacity(if waits > UNASKED { waits.min(PIECE) } else { 1 });
    }

    /// Waits for the peer, unless it has taken nothing for too long.
    fn poll_stall(&mut self, context: &mut Context<'_>) -> Poll<Result<Progress, PumpError>> {
        let Some(stall) = &mut self.stall else { return Poll::Pending };
        ready!(stall.poll(context));
        self.stream.send_reset(Reason::CANCEL);
        Poll::Ready(Err(PumpError::Stalled))
    }

    /// Takes the next frame from the body.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<Progress, PumpError>> {
        let stream = &mut self.stream;
        let sent = |error| PumpError::Stream(Some(error));
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => {
                    let last = self.body.is_end_stream();
                    if chunk.is_empty() && !last {
                        return Poll::Ready(Ok(Progress::Goes));
                    }
                    // A new stream has no room before its head is on its way, so a small first chunk does not ask: it waits in h2,
                    // and leaves together with the head.
                    let first = std::mem::take(&mut self.first);
                    if chunk.is_empty() || first && chunk.len() <= UNASKED {
                        stream.send_data(chunk, last).map_err(sent)?;
                        return Poll::Ready(Ok(if last { Progress::Done } else { Progress::Goes }));
                    }
                    self.waiting = Some((chunk, last));
                    self.reserve();
                    Poll::Ready(Ok(Progress::Goes))
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(mut trailers) => {
                        spare_the_table(&mut trailers);
                        stream.reserve_capacity(0);
                        stream.send_trailers(trailers).map_err(sent)?;
                        Poll::Ready(Ok(Progress::Done))
                    }
                    Err(_unknown) => Poll::Ready(Ok(Progress::Goes)),
                },
            },
            Some(Err(error)) => {
                let error: Box<dyn Error + Send + Sync> = error.into();
                let reason = error.downcast_ref::<BodyError>().map_or(self.on_failure, BodyError::reset);
                stream.send_reset(reason);
                Poll::Ready(Err(PumpError::Body))
            }
            None => {
                stream.send_data(Bytes::new(), true).map_err(sent)?;
                Poll::Ready(Ok(Progress::Done))
            }
        }
    }
}

/// The largest first chunk that does not wait for room, and the largest later one that leaves whole as soon as there is any: one frame.
const UNASKED: usize = 16 * 1024;
/// As good as for ever, and no more than clocks can be set to.
const LONGEST_PATIENCE: Duration = Duration::from_hours(365 * 24);
/// The largest piece of a chunk for which room is asked at once.
const PIECE: usize = 64 * 1024;

enum Progress {
    Goes,
    Done,
}

impl<B> Future for Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<(), PumpError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(reset) = this.stream.poll_reset(context) {
                return Poll::Ready(Err(match reset {
                    Ok(reason) => PumpError::Reset(reason),
                    Err(error) => PumpError::Stream(Some(error)),
                }));
            }
            let progress = if this.waiting.is_some() {
                ready!(this.poll_waiting(context))?
            } else {
                ready!(this.poll_body(context))?
            };
            if matches!(progress, Progress::Done) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
