//! The two directions of a stream: what is sent, and what arrives.
//!
//! The surprising fact: [`Body::channel`] joins what waits. Small messages that were handed over one by one leave as one chunk, so that a
//! stream of rows costs HTTP/2 a frame for every 16 KiB rather than one for each row. gRPC's messages do not care where frames end.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use channel::Receiver;
pub use channel::{Closed, Sender};

use crate::guard::Pulse;

mod channel;

/// A body to send.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole { data: Option<Bytes>, trailers: Option<Box<HeaderMap>> },
    Channel(Receiver),
    Passed(Box<Incoming>),
    Other(UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>),
}

impl Body {
    /// A body without a byte.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Whole { data: None, trailers: None })
    }

    /// A body that is all there: one chunk, then trailers if there are any.
    #[must_use]
    pub fn full(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self(Kind::Whole { data: Some(data).filter(|data| !data.is_empty()), trailers: trailers.map(Box::new) })
    }

    /// A body that is written while it is sent.
    ///
    /// At most `capacity` bytes (and one chunk more) wait in it; then [`Sender::send`] waits for the peer to take some. 64 KiB suits rows.
    #[must_use]
    pub fn channel(capacity: usize) -> (Sender, Self) {
        let (sender, receiver) = channel::channel(capacity);
        (sender, Self(Kind::Channel(receiver)))
    }

    /// A body of somebody else's, as of a service that is mounted beside exchanges.
    #[must_use]
    pub fn other<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Kind::Other(body.map_err(Into::into).boxed_unsync()))
    }

    /// A body that is passed on as it arrives.
    #[must_use]
    pub fn passed(incoming: Incoming) -> Self {
        Self(Kind::Passed(Box::new(incoming)))
    }
}

impl Body {
    /// Copies a body that is all there.
    pub(crate) fn copy(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole { data, trailers } => {
                Some(Self(Kind::Whole { data: data.clone(), trailers: trailers.clone() }))
            }
            Kind::Channel(_) | Kind::Passed(_) | Kind::Other(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Whole { data, trailers } => {
                let frame =
                    data.take().map(Frame::data).or_else(|| trailers.take().map(|trailers| Frame::trailers(*trailers)));
                Poll::Ready(frame.map(Ok))
            }
            Kind::Channel(receiver) => receiver.poll_frame(context),
            Kind::Passed(incoming) => Pin::new(incoming.as_mut()).poll_frame(context),
            Kind::Other(other) => {
                let frame = ready!(Pin::new(other).poll_frame(context));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Other)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole { data, trailers } => data.is_none() && trailers.is_none(),
            Kind::Channel(receiver) => receiver.is_end(),
            Kind::Passed(incoming) => incoming.is_end_stream(),
            Kind::Other(other) => other.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole { data, .. } => SizeHint::with_exact(data.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Channel(_) | Kind::Passed(_) => SizeHint::new(),
            Kind::Other(other) => other.size_hint(),
        }
    }
}

/// A body that arrives.
///
/// What is not read is not asked for: its window stays closed, and the peer waits. Dropping it before its end resets the stream.
pub struct Incoming {
    source: Source,
    data_ended: bool,
    hoard: Hoard,
    /// Tells whether its trailers were too long.
    pulse: Option<Arc<Pulse>>,
    /// Held for as long as the stream takes a place.
    _hold: Option<Hold>,
}

type Hold = Box<dyn std::any::Any + Send + Sync>;

type OtherIncoming = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send + Sync>>;

/// What a body arrives on.
enum Source {
    Http2(h2::RecvStream),
    /// With the trailers, once they were met.
    Http1(Box<hyper::body::Incoming>, Option<HeaderMap>),
    /// The same of a body that reads another one.
    Other(OtherIncoming, Option<HeaderMap>),
}

/// What was taken in while nobody read. Its window is still closed.
#[derive(Default)]
struct Hoard {
    data: BytesMut,
    /// How the data ended, once it has.
    ended: Option<Result<(), h2::Error>>,
}

impl Incoming {
    pub(crate) fn new(stream: h2::RecvStream) -> Self {
        Self::of(Source::Http2(stream), None)
    }

    pub(crate) fn holding(stream: h2::RecvStream, hold: impl std::any::Any + Send + Sync) -> Self {
        Self::of(Source::Http2(stream), Some(Box::new(hold)))
    }

    pub(crate) fn http1(body: hyper::body::Incoming) -> Self {
        Self::of(Source::Http1(Box::new(body), None), None)
    }

    /// A body that arrives by way of another one, as of one that decodes it.
    #[must_use]
    pub fn other<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Send + Sync + 'static,
    {
        Self::of(Source::Other(Box::pin(body), None), None)
    }

    fn of(source: Source, hold: Option<Hold>) -> Self {
        Self { source, data_ended: false, hoard: Hoard::default(), pulse: None, _hold: hold }
    }

    /// Has it looked up with `pulse` whether its trailers were too long.
    pub(crate) fn measured_by(mut self, pulse: Arc<Pulse>) -> Self {
        self.pulse = Some(pulse);
        self
    }

    /// Waits for the next chunk of data. None: only trailers can follow.
    ///
    /// # Errors
    ///
    /// [`BodyError`]: the stream ended before its end.
    ///
    /// # Cancel safety
    ///
    /// No chunk is lost.
    pub async fn data(&mut self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|context| self.poll_data(context)).await
    }

    /// Waits for the trailers, to be called once [`Incoming::data`] has returned none.
    ///
    /// # Errors
    ///
    /// [`BodyError`]: the stream ended before its end.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, BodyError> {
        std::future::poll_fn(|context| self.poll_trailers(context)).await
    }

    /// Reads to the end: at most `limit` bytes of data, and the trailers.
    ///
    /// Data that came in one chunk is not copied.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLong`] beyond the limit, at once; the other ones when the stream ended before its end.
    pub async fn collect(mut self, limit: usize) -> Result<Collected, BodyError> {
        self.read_to_end(limit).await
    }

    /// As [`Incoming::collect`]; what is beyond the limit is left to be read.
    ///
    /// # Errors
    ///
    /// As [`Incoming::collect`].
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Collected, BodyError> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(chunk) = self.data().await {
            let chunk = chunk?;
            if first.len() + joined.len() + chunk.len() > limit {
                return Err(BodyError::TooLong { limit });
            }
            if first.is_empty() && joined.is_empty() {
                first = chunk;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                joined.extend_from_slice(&chunk);
            }
        }
        let data = if joined.is_empty() { first } else { joined.freeze() };
        let trailers = self.trailers().await?;
        Ok(Collected { data, trailers })
    }

    /// Takes in what comes while nobody reads, and asks for no more: it is not ready until the data ends.
    ///
    /// A stream that is left unread keeps its frames, each of which costs more than its bytes where it is small, and counts against the
    /// connection ([`Http2::small_frames`](crate::Http2::small_frames)). Polled by a reader that cannot read on, this joins them. What it
    /// holds is bounded by the window of the stream, and is read first.
    pub fn poll_hoard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Source::Http2(stream) = &mut self.source else { return Poll::Pending };
        while !self.data_ended && self.hoard.ended.is_none() {
            match ready!(stream.poll_data(context)) {
                Some(Ok(chunk)) => self.hoard.data.extend_from_slice(&chunk),
                Some(Err(error)) => self.hoard.ended = Some(Err(error)),
                None => self.hoard.ended = Some(Ok(())),
            }
        }
        Poll::Ready(())
    }

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.data_ended {
            return Poll::Ready(None);
        }
        let next = match &mut self.source {
            Source::Http2(stream) if !self.hoard.data.is_empty() => {
                let chunk = self.hoard.data.split().freeze();
                let _ = stream.flow_control().release_capacity(chunk.len());
                Some(Ok(chunk))
            }
            Source::Http2(stream) if self.hoard.ended.is_some() => {
                let error = self.hoard.ended.take().and_then(Result::err);
                error.map(|error| Err(failed(stream, self.pulse.as_deref(), error)))
            }
            Source::Http2(stream) => match ready!(stream.poll_data(context)) {
                Some(Ok(chunk)) => {
                    // Fails only for more than was received.
                    let _ = stream.flow_control().release_capacity(chunk.len());
                    Some(Ok(chunk))
                }
                Some(Err(error)) => Some(Err(failed(stream, self.pulse.as_deref(), error))),
                None => None,
            },
            Source::Http1(body, trailers) => {
                let frame = ready!(http_body::Body::poll_frame(Pin::new(body.as_mut()), context));
                data_of(frame.map(|frame| frame.map_err(|error| BodyError::Other(error.into()))), trailers)
            }
            Source::Other(body, trailers) => data_of(ready!(body.as_mut().poll_frame(context)), trailers),
        };
        self.data_ended = next.is_none();
        Poll::Ready(next)
    }

    fn poll_trailers(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyError>> {
        match &mut self.source {
            Source::Http2(stream) => {
                let trailers = ready!(stream.poll_trailers(context));
                let pulse = self.pulse.as_deref();
                Poll::Ready(match trailers {
                    Ok(Some(_)) if is_long(stream, pulse) => Err(BodyError::LongTrailers),
                    Ok(trailers) => Ok(trailers),
                    Err(error) => Err(failed(stream, pulse, error)),
                })
            }
            Source::Http1(_, trailers) | Source::Other(_, trailers) => Poll::Ready(Ok(trailers.take())),
        }
    }
}

/// Says why a stream failed: trailers that are far too long cost the connection.
fn failed(stream: &h2::RecvStream, pulse: Option<&Pulse>, error: h2::Error) -> BodyError {
    if is_long(stream, pulse) { BodyError::LongTrailers } else { BodyError::from_h2(error) }
}

fn is_long(stream: &h2::RecvStream, pulse: Option<&Pulse>) -> bool {
    pulse.is_some_and(|pulse| pulse.take_long(stream.stream_id().as_u32()))
}

/// Takes the data out of a frame; none at the end, and at the trailers, which are put aside.
fn data_of(
    frame: Option<Result<Frame<Bytes>, BodyError>>,
    trailers: &mut Option<HeaderMap>,
) -> Option<Result<Bytes, BodyError>> {
    match frame?.map(Frame::into_data) {
        Ok(Ok(chunk)) => Some(Ok(chunk)),
        Ok(Err(frame)) => {
            *trailers = frame.into_trailers().ok();
            None
        }
        Err(error) => Some(Err(error)),
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Incoming");
        if let Source::Http2(stream) = &self.source {
            shown.field("stream", &stream.stream_id().as_u32());
        }
        shown.finish_non_exhaustive()
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(chunk) = ready!(self.poll_data(context)) {
            return Poll::Ready(Some(chunk.map(Frame::data)));
        }
        match ready!(self.poll_trailers(context)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http2(stream) => {
                let hoarded = !self.hoard.data.is_empty() || matches!(self.hoard.ended, Some(Err(_)));
                !hoarded && stream.is_end_stream()
            }
            Source::Http1(body, trailers) => {
                trailers.is_none() && (self.data_ended || http_body::Body::is_end_stream(body.as_ref()))
            }
            Source::Other(body, trailers) => trailers.is_none() && (self.data_ended || body.is_end_stream()),
        }
    }
}

/// A body read to its end.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// All data.
    pub data: Bytes,
    /// The trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// One side gave the stream up.
    #[error("the stream was reset: {0}")]
    Reset(Reason),
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost(#[source] h2::Error),
    /// A body of somebody else's failed.
    #[error("the body failed")]
    Other(#[source] Box<dyn Error + Send + Sync>),
    /// There was more of it than may be.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Its trailers are longer than [`Http2::header_block`](crate::Http2::header_block).
    #[error("the trailers are too long")]
    LongTrailers,
}

impl BodyError {
    pub(crate) fn from_h2(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Lost(error),
        }
    }

    /// The code for the peer when sending fails for this reason.
    pub(crate) fn reset(&self) -> Reason {
        match self {
            Self::Reset(reason) => *reason,
            Self::Lost(_) | Self::Other(_) | Self::TooLong { .. } | Self::LongTrailers => Reason::INTERNAL_ERROR,
        }
    }
}
