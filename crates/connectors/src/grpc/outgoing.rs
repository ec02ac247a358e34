//! What is sent to a back end, and sent again where the back end never saw it.
//!
//! A streamed request is read as it is sent, so its beginning is kept until the back end answers, as far as that is little.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use contract::framing::prefixed;
use futures_core::Stream;
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use link::Body;

use crate::{ConnectorError, Failure, Requests, Withdrawn};

/// How much is kept of a streamed request that the back end has not answered yet, in bytes: as much as waits in HTTP/2 for a call that
/// waits for its turn.
const KEPT: usize = 64 * 1024;

/// The body of a call.
pub(super) enum Outgoing {
    /// One message, with its prefix.
    One(Bytes),
    /// Messages as they come.
    Stream(Arc<Mutex<Streamed>>),
}

impl Outgoing {
    pub(super) fn one(message: &Bytes) -> Result<Self, ConnectorError> {
        framed(message).map(Self::One)
    }

    pub(super) fn stream(requests: Requests) -> Self {
        let streamed = Streamed { requests, ended: None, kept: Some(Vec::new()), bytes: 0, turn: 0 };
        Self::Stream(Arc::new(Mutex::new(streamed)))
    }

    /// Returns the body for the next attempt. Those before it send no more.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Unreachable`] where too much of a stream was sent to be sent again: nothing of it was done, since it is asked for
    /// only where the back end never saw what was sent before.
    pub(super) fn next(&self) -> Result<Body, ConnectorError> {
        match self {
            Self::One(message) => Ok(Body::full(message.clone(), None)),
            Self::Stream(shared) => {
                let mut streamed = lock(shared);
                if streamed.kept.is_none() {
                    let why = "it took the connection away before it looked at the call, of which too much was sent to be sent again";
                    return Err(ConnectorError::Unreachable { why: why.into() });
                }
                streamed.turn += 1;
                let reading = Reading { streamed: Arc::clone(shared), turn: streamed.turn, at: 0 };
                Ok(Body::other(StreamBody::new(reading)))
            }
        }
    }

    /// Keeps no more: the back end has answered.
    pub(super) fn settle(&self) {
        if let Self::Stream(streamed) = self {
            lock(streamed).kept = None;
        }
    }
}

/// A streamed request.
pub(super) struct Streamed {
    requests: Requests,
    /// How it ended, once it has.
    ended: Option<Result<(), Withdrawn>>,
    /// The messages that were read, with their prefixes. `None` once they are too many, or need not be sent again.
    kept: Option<Vec<Bytes>>,
    /// Bytes of what is kept.
    bytes: usize,
    /// Which attempt may read on.
    turn: u64,
}

impl Streamed {
    /// Reads the next message, and keeps it.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Withdrawn>>> {
        if let Some(ended) = self.ended {
            return Poll::Ready(ended.err().map(Err));
        }
        let message = match ready!(self.requests.poll_next_unpin(context)) {
            Some(Ok(message)) => framed(&message).map_err(|_| Withdrawn),
            Some(Err(withdrawn)) => Err(withdrawn),
            None => {
                self.ended = Some(Ok(()));
                return Poll::Ready(None);
            }
        };
        match &message {
            Ok(message) => self.keep(message),
            Err(withdrawn) => self.ended = Some(Err(*withdrawn)),
        }
        Poll::Ready(Some(message))
    }

    fn keep(&mut self, message: &Bytes) {
        self.bytes = self.bytes.saturating_add(message.len());
        match &mut self.kept {
            Some(kept) if self.bytes <= KEPT => kept.push(message.clone()),
            kept => *kept = None,
        }
    }
}

/// One attempt at sending a streamed request.
struct Reading {
    streamed: Arc<Mutex<Streamed>>,
    turn: u64,
    /// How many of the messages that are kept were sent.
    at: usize,
}

impl Stream for Reading {
    type Item = Result<Frame<Bytes>, Withdrawn>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut streamed = lock(&this.streamed);
        if streamed.turn != this.turn {
            return Poll::Ready(Some(Err(Withdrawn)));
        }
        let again = streamed.kept.as_ref().and_then(|kept| kept.get(this.at)).cloned();
        let message = match again {
            Some(message) => Some(Ok(message)),
            None => ready!(streamed.poll_message(context)),
        };
        this.at += 1;
        Poll::Ready(message.map(|message| message.map(Frame::data)))
    }
}

fn lock(streamed: &Mutex<Streamed>) -> MutexGuard<'_, Streamed> {
    streamed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn framed(message: &Bytes) -> Result<Bytes, ConnectorError> {
    // The prefix has no length for a longer one.
    u32::try_from(message.len()).map_err(|_| ConnectorError::Failed { why: Failure::Limit })?;
    Ok(prefixed(0, message))
}
