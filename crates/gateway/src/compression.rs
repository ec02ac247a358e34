//! gzip on the clients' port: what a partner system compresses is taken, and what it is answered is compressed in return.
//!
//! The surprising fact: nothing of an exchange knows of it. Compression belongs to one hop of gRPC; links and back ends are spoken to
//! without, and every digest is over the messages as they are. Source: gRPC, "Compression", and "gRPC over HTTP2".

use std::{
    io::{Read as _, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use contract::framing::write_prefixed;
use exchange::{
    Hop, Reason, Refusal, framing,
    ports::{Broken, Request, RequestBody},
};
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use link::Incoming;

use crate::calls;

/// What a client compresses its request with.
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What a side takes.
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What this port takes.
const TAKEN: HeaderValue = HeaderValue::from_static("identity,gzip");
const GZIP: &str = "gzip";
/// Longest compressed message that is unpacked on the thread of the connection, in bytes.
const IN_PLACE: usize = 64 * 1024;

/// How one call is compressed.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coding {
    /// The client names an encoding: it is told which are taken.
    named: bool,
    /// Messages of the request may be gzip.
    request: bool,
    /// Messages of the answer are gzip, where that makes them shorter.
    answer: bool,
}

impl Coding {
    /// Reads the headers of a call. Answers are compressed for who compresses its request and takes gzip back.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let encoding = headers.get(ENCODING).map(HeaderValue::as_bytes);
        let request = encoding == Some(GZIP.as_bytes());
        let accepted = headers.get_all(ACCEPTED).iter().filter_map(|value| value.to_str().ok());
        let answer = request && accepted.flat_map(|list| list.split(',')).any(|one| one.trim() == GZIP);
        Self { named: encoding.is_some_and(|name| name != b"identity"), request, answer }
    }

    /// Says in the head of an answer how it is compressed, and what is taken from who tries something else.
    pub(crate) fn write(self, head: &mut HeaderMap) {
        if self.answer {
            head.insert(ENCODING, HeaderValue::from_static(GZIP));
        }
        if self.named {
            say_taken(head);
        }
    }

    /// Unpacks a request. What cannot be unpacked becomes something that the exchange refuses, so that it is recorded.
    pub(crate) async fn unpack(self, request: Request, limit: usize) -> Request {
        match request {
            Request::One(message) if self.request && message.first() == Some(&1) => unpack_one(message, limit).await,
            Request::Stream(body) if self.request => Request::Stream(Box::pin(Unpacked::new(body, limit))),
            request @ (Request::One(_) | Request::Stream(_) | Request::Unfit(_)) => request,
        }
    }

    /// Returns a request for a service of the gateway's own, which knows of no compression.
    pub(crate) fn plain(self, mut request: http::Request<Incoming>, limit: usize) -> http::Request<tonic::body::Body> {
        if !self.request {
            return request.map(tonic::body::Body::new);
        }
        request.headers_mut().remove(ENCODING);
        request.map(|body| tonic::body::Body::new(Unpacked::new(Box::pin(body.map_err(|_| Broken::Withdrawn)), limit)))
    }

    /// Packs the only message of an answer, which has its prefix.
    pub(crate) fn pack(self, message: Bytes) -> Bytes {
        if self.answer && !message.is_empty() { Packer::default().feed(&message) } else { message }
    }

    /// Returns what packs a stream of answers; none where it goes as it is.
    pub(crate) fn packer(self) -> Option<Packer> {
        self.answer.then(Packer::default)
    }
}

/// Says what is taken, as goes with `UNIMPLEMENTED` for a compressed message.
pub(crate) fn say_taken(head: &mut HeaderMap) {
    head.insert(ACCEPTED, TAKEN);
}

async fn unpack_one(message: Bytes, limit: usize) -> Request {
    let unpacked = match compressed(&message) {
        Some(compressed) => unpack(compressed, limit).await,
        None => Err(Unpacking::Malformed),
    };
    unpacked.map_or_else(|error| error.request(limit), |message| Request::One(framing::framed(&message)))
}

/// Unpacks one message, off the thread of the connection where it is long.
pub(crate) async fn unpack(compressed: Bytes, limit: usize) -> Result<Bytes, Unpacking> {
    let unpacked = if compressed.len() <= IN_PLACE {
        inflated(&compressed, limit)
    } else {
        let work = tokio::task::spawn_blocking(move || inflated(&compressed, limit));
        work.await.unwrap_or(Err(Unpacking::Malformed))
    };
    unpacked.map(Bytes::from)
}

/// Packs one message, off the thread of the connection where it is long; none where that makes it no shorter.
pub(crate) async fn pack(message: Bytes) -> Option<Bytes> {
    let packed = if message.len() <= IN_PLACE {
        deflated(&message)
    } else {
        tokio::task::spawn_blocking(move || deflated(&message)).await.ok().flatten()
    };
    packed.map(Bytes::from)
}

/// Why a message cannot be unpacked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unpacking {
    /// It would be above the limit; no more than that was unpacked.
    TooLarge,
    /// It is not one member of gzip, and nothing else.
    Malformed,
}

impl Unpacking {
    /// Returns what the exchange refuses in the place of the message.
    pub(crate) fn request(self, limit: usize) -> Request {
        match self {
            Self::TooLarge => Request::One(calls::oversized(limit)),
            Self::Malformed => {
                let told = "the message says that it is gzip, and is not";
                Request::Unfit(Box::new(Refusal::new(Reason::Malformed, Hop::Consumer, told)))
            }
        }
    }
}

/// Takes the only message of a body out of its frame.
fn compressed(message: &Bytes) -> Option<Bytes> {
    let length = message.first_chunk::<{ framing::PREFIX }>().copied().map(length_of)?;
    let compressed = message.slice(framing::PREFIX..);
    (compressed.len() == length).then_some(compressed)
}

fn inflated(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Unpacking> {
    let mut message = Vec::new();
    let mut decoder = GzDecoder::new(compressed);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.by_ref().take(most).read_to_end(&mut message).map_err(|_| Unpacking::Malformed)?;
    if message.len() > limit {
        return Err(Unpacking::TooLarge);
    }
    if decoder.into_inner().is_empty() { Ok(message) } else { Err(Unpacking::Malformed) }
}

fn length_of([_, length @ ..]: [u8; framing::PREFIX]) -> usize {
    usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
}

/// Bytes after which no further message of a streamed request is unpacked for now.
const AT_ONCE: usize = 64 * 1024;

/// The body of a streamed request, unpacked message by message.
pub(crate) struct Unpacked {
    body: RequestBody,
    limit: usize,
    /// What has come of messages that are not whole.
    begun: BytesMut,
    ended: bool,
}

impl Unpacked {
    /// Messages may unpack to `limit` bytes each.
    pub(crate) fn new(body: RequestBody, limit: usize) -> Self {
        Self { body, limit, begun: BytesMut::new(), ended: false }
    }

    /// Takes whole messages out of what has come, some [`AT_ONCE`] bytes of them. Where one cannot be unpacked, what the exchange refuses it for is the last.
    fn messages(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while out.len() < AT_ONCE
            && let Some(prefix) = self.begun.first_chunk::<{ framing::PREFIX }>()
        {
            let (flag, length) = (prefix.first().copied(), length_of(*prefix));
            if length > self.limit {
                return self.give_up(out, &calls::oversized(self.limit));
            }
            let whole = framing::PREFIX.saturating_add(length);
            if self.begun.len() < whole {
                break;
            }
            let message = self.begun.split_to(whole).freeze();
            if flag != Some(1) {
                out.put_slice(&message);
                continue;
            }
            match inflated(message.get(framing::PREFIX..).unwrap_or_default(), self.limit) {
                Ok(message) => framing::write_framed(&mut out, &message),
                Err(Unpacking::TooLarge) => return self.give_up(out, &calls::oversized(self.limit)),
                // Still compressed, which the exchange takes from nobody.
                Err(Unpacking::Malformed) => return self.give_up(out, &message),
            }
        }
        out.freeze()
    }

    fn give_up(&mut self, mut out: BytesMut, last: &[u8]) -> Bytes {
        self.ended = true;
        self.begun.clear();
        out.put_slice(last);
        out.freeze()
    }
}

impl Body for Unpacked {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            // One chunk can hold a thousand times its length: no more is unpacked than somebody takes.
            let messages = self.messages();
            if !messages.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(messages))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let frame = match ready!(self.body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = true;
                    // A message that is not whole stays so.
                    let rest = self.begun.split().freeze();
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            self.begun.extend_from_slice(&data);
        }
    }
}

/// Packs the messages of an answer, wherever the chunks are cut that they come in.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    begun: BytesMut,
    /// Length below which a message stays as it is, in bytes.
    least: usize,
}

impl Packer {
    /// Leaves messages of less than `least` bytes as they are.
    pub(crate) fn beyond(least: usize) -> Self {
        Self { begun: BytesMut::new(), least }
    }

    /// Takes a chunk; returns the messages that are whole now, each packed where that makes it shorter.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Bytes {
        self.begun.extend_from_slice(chunk);
        let mut out = BytesMut::new();
        while let Some(prefix) = self.begun.first_chunk::<{ framing::PREFIX }>() {
            let whole = framing::PREFIX.saturating_add(length_of(*prefix));
            if self.begun.len() < whole {
                break;
            }
            let message = self.begun.split_to(whole);
            let plain = message.get(framing::PREFIX..).unwrap_or_default();
            match (plain.len() >= self.least).then(|| deflated(plain)).flatten() {
                Some(packed) => write_prefixed(&mut out, 1, &packed),
                None => out.put_slice(&message),
            }
        }
        out.freeze()
    }
}

/// Returns a message packed; none where that makes it no shorter.
fn deflated(message: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < message.len())
}

#[cfg(test)]
mod tests;
