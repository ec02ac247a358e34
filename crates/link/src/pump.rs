//! Moves a body into an HTTP/2 stream, as fast as the peer takes it.
//!
//! The surprising fact: it asks the body for a chunk before it asks the connection for room. Room that is claimed and not used would be
//! missing from the other streams of the connection.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

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
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub(crate) fn new(body: B, stream: SendStream<Bytes>, on_failure: Reason) -> Self {
        Self { body, stream, waiting: None, first: true, on_failure }
    }

    /// Sends the chunk that waits, once the peer has room for some of it.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<Progress, PumpError>> {
        if self.waiting.is_none() {
            return Poll::Ready(Ok(Progress::Goes));
        }
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(PumpError::Stream(Some(error)))),
                None => return Poll::Ready(Err(PumpError::Stream(None))),
            }
        }
        let Some((chunk, last)) = self.waiting.take() else {
            return Poll::Ready(Ok(Progress::Goes));
        };
        self.stream.send_data(chunk, last).map_err(|error| PumpError::Stream(Some(error)))?;
        Poll::Ready(Ok(if last { Progress::Done } else { Progress::Goes }))
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
                    stream.reserve_capacity(1);
                    self.waiting = Some((chunk, last));
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

/// The largest first chunk that does not wait for room: one frame.
const UNASKED: usize = 16 * 1024;

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
