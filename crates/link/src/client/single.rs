//! One connection over a transport that somebody else opened, as to a back end.

use std::sync::Arc;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Unsent, first_word};
use super::{Ending, LinkError};
use crate::body::{Body, Incoming};
use crate::coalesce::CoalescedWrites;
use crate::guard::{Guarded, Pulse};
use crate::http2::Http2;
use crate::upkeep::Times;

/// A connection for as long as anybody holds it; it ends with its last stream once nobody does.
///
/// Streams beyond those that the peer allows at once wait for their turn.
#[derive(Clone, Debug)]
pub struct Single(Arc<Connection>);

/// Why a request has no answer.
#[derive(Debug)]
pub enum SingleError {
    /// The connection had ended before, or took no more; nothing of this request was sent.
    Ended,
    /// It was, or could not be, sent.
    Failed(LinkError),
}

impl Single {
    /// Speaks HTTP/2 on `io` until the peer has too, and returns the connection with the future that has to run for it, which returns why it
    /// ended, if not in order: whoever knows the peer's name logs it.
    ///
    /// The peer's first word says how many streams it allows; whoever did not wait for it would send more, and have them cut. It is asked
    /// for signs of life while a stream is open only, as servers of gRPC's C core end connections that ask without one.
    ///
    /// # Errors
    ///
    /// The connection ended before that: in order, or with an [`h2::Error`], also where what came is not HTTP/2.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the transport. A peer that says nothing is waited for as long as [`Http2::header_timeout`].
    pub async fn open<IO>(
        io: IO,
        limits: &Http2,
    ) -> Result<(Self, impl Future<Output = Option<Ending>> + Send + use<IO>), Option<h2::Error>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pulse = Arc::new(Pulse::default());
        let io = CoalescedWrites::new(Guarded::client(io, limits, Arc::clone(&pulse)));
        let (requests, mut h2) = limits.client().handshake(io).await.map_err(Some)?;
        let ping = h2.ping_pong();
        first_word(&mut h2, &pulse).await?;
        let times = Times { unused_too: false, ..Times::of(limits, None, None) };
        let (connection, driven) = Connection::new(requests, h2, ping, pulse, times);
        Ok((Self(Arc::new(connection)), driven))
    }

    /// Whether it takes requests, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Streams that are open, also while it takes no more.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.0.streams()
    }

    /// Whether a request was answered on it.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.0.has_answered()
    }

    /// Sends a request, and waits for the head of its answer. The URI names scheme and authority.
    ///
    /// The body is sent meanwhile, and goes on being sent after that for as long as the answer is held.
    ///
    /// # Errors
    ///
    /// [`SingleError::Ended`] where another connection is as good; else [`SingleError::Failed`], whose [`LinkError::nothing_done`] tells
    /// whether the peer can have seen the request. After a [`LinkError::Refused`] by `GOAWAY` the connection takes no more.
    ///
    /// # Cancel safety
    ///
    /// As [`Links::send`](super::Links::send).
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, SingleError> {
        let sent = self.0.take().send(request).await.map_err(|unsent| match unsent {
            Unsent::Ended(_) => SingleError::Ended,
            Unsent::Unfit(cause) => SingleError::Failed(LinkError::Request(cause)),
        })?;
        sent.answer().await.map_err(|error| {
            if matches!(&error, LinkError::Refused(cause) if cause.is_go_away()) {
                self.0.retire();
            }
            SingleError::Failed(error)
        })
    }
}
