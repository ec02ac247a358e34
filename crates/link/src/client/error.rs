//! Why a request has no answer, and whether the peer can have seen it.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;

use crate::guard::Breach;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody knows how to reach the peer.
    #[error("the peer cannot be dialled")]
    Undialable(#[source] Box<dyn Error + Send + Sync>),
    /// The peer could not be reached, now or a moment ago.
    #[error("no connection to `{address}`; the next attempt is in {} ms", again_in.as_millis())]
    Down {
        /// What was dialled.
        address: Arc<str>,
        /// What went wrong at the last attempt.
        #[source]
        cause: Arc<DialError>,
        /// Time for which requests are refused without another attempt.
        again_in: Duration,
    },
    /// Connections come about, and end before a request can be sent on them.
    #[error("the peer ends every connection at once")]
    Fleeting,
    /// Every connection is full, and so is the queue.
    #[error("more requests wait for the peer than may")]
    Full,
    /// The request cannot be sent to anybody, as its head breaks a rule of HTTP/2.
    #[error("the request cannot be sent")]
    Request(#[source] h2::Error),
    /// The peer refused the stream before it looked at the request. Source: RFC 9113, sections 6.8 and 8.7.
    #[error("the peer refused the stream unseen")]
    Refused(#[source] h2::Error),
    /// The peer gave the stream up before it answered.
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    /// The connection was lost, or given up, before the peer answered.
    #[error("the connection was lost before the answer")]
    Lost(#[source] h2::Error),
    /// The head of the answer is longer than [`Http2::header_block`](crate::Http2::header_block), or the trailers that came with it are.
    #[error("the head or the trailers of the answer are too long")]
    LongHead,
}

/// Why a connection ended that did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum Ending {
    /// The peer went beyond a limit, for which this end closed.
    #[error("the peer went beyond a limit")]
    Breach(#[source] Breach),
    /// HTTP/2 failed, or what is below it.
    #[error("the connection broke")]
    Broken(#[source] h2::Error),
}

impl LinkError {
    /// Whether the peer cannot have acted on the request: nothing was sent, or the peer says that it has not looked at it.
    #[must_use]
    pub fn nothing_done(&self) -> bool {
        match self {
            Self::Undialable(_)
            | Self::Down { .. }
            | Self::Fleeting
            | Self::Full
            | Self::Request(_)
            | Self::Refused(_) => true,
            Self::Reset(_) | Self::Lost(_) | Self::LongHead => false,
        }
    }

    /// Tells what became of a request that was sent.
    pub(super) fn sent(error: h2::Error) -> Self {
        // h2 hands a received GOAWAY to those streams only that lie beyond its last stream.
        let unseen = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        match error.reason() {
            _ if unseen => Self::Refused(error),
            Some(reason) if error.is_reset() && error.is_remote() => Self::Reset(reason),
            _ => Self::Lost(error),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address has no such form, or names no host.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// One side did not accept the other's certificate, or they have no version or key exchange in common.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The other side is not a gateway, or an old one.
    #[error("the peer does not speak `h2`")]
    Protocol,
    /// The peer closed the connection before it said anything; with TLS 1.3 this is how it turns down our certificate.
    #[error("the peer closed the connection at once")]
    Closed(#[source] Option<h2::Error>),
    /// It took longer than [`Limits::connect_timeout`](super::Limits::connect_timeout).
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
}
