//! The port of this crate: what is asked of a legacy system and what comes back.
//!
//! Dropping is the only way to cancel, and it reaches the legacy system: a SQL statement is interrupted, a gRPC stream is reset.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::ConnectorError;

/// Answers the questions of one method out of one legacy system.
pub trait Connector: Send + Sync + 'static {
    /// Asks the legacy system.
    ///
    /// For a unary method the answer holds exactly one message and is complete when this returns. For a server stream it
    /// returns as soon as the legacy system has taken the question; messages are produced as they are pulled, with a
    /// bounded number made ahead.
    ///
    /// # Errors
    ///
    /// [`ConnectorError`]; the same may come later, as an item of the stream, which it ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future or the [`Answer`] stops the work in the legacy system.
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, ConnectorError>>;

    /// Returns whether an answer changes something, so that it may be asked for by a command alone. Default: no.
    fn writes(&self) -> bool {
        false
    }

    /// Says whether a command was carried out, where the legacy system itself remembers that: `Ok(None)` where it does not. Waits for
    /// the end of one under way, and carries nothing out. Default: it does not.
    ///
    /// # Errors
    ///
    /// Why it cannot say now.
    fn remembers(&self, command: CommandId) -> BoxFuture<'_, Result<Option<bool>, ConnectorError>> {
        let _ = command;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Tries the path that a question takes, as far as that is possible without a question. It never writes.
    ///
    /// # Errors
    ///
    /// What [`Connector::answer`] would return now.
    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>>;
}

/// One question.
pub struct Ask {
    /// The method asked. It is the one that the connector was prepared for.
    pub method: Arc<contract::Method>,
    /// One encoded message, without gRPC's prefix. It has passed the contract's check. Empty where the request is a stream.
    pub request: Bytes,
    /// The messages of a streamed request.
    pub requests: Option<Requests>,
    /// When the answer is worth nothing any more. The binding's own limit applies beside it.
    pub deadline: Option<Instant>,
    /// What a gRPC back end is told besides, as header names and values; ignored by other kinds.
    ///
    /// Names that are HTTP's or gRPC's own, `authorization` and `cookie` never cross.
    pub metadata: Vec<(String, String)>,
    /// Of a command: what it is known by. A statement that writes is carried out for a command alone.
    pub command: Option<CommandId>,
    /// Hears what a gRPC back end says beside its messages; ignored by other kinds.
    pub listener: Option<Arc<dyn Listener>>,
    /// On whose behalf is asked.
    pub asker: Asker,
    /// Fires once a stream is stopped because its reader takes nothing while others wait, since a reader that is away does not see its
    /// last item. Ignored by kinds that take nothing away.
    pub stalled: Option<CancellationToken>,
}

impl Ask {
    /// Asks `method` with one message, on nobody's behalf, and with nothing besides.
    pub fn new(method: &Arc<contract::Method>, request: impl Into<Bytes>) -> Self {
        Self {
            method: Arc::clone(method),
            request: request.into(),
            requests: None,
            deadline: None,
            metadata: Vec::new(),
            command: None,
            listener: None,
            asker: Asker::default(),
            stalled: None,
        }
    }
}

/// On whose behalf is asked, as a name that is only compared: where a legacy system has few places, askers share them fairly.
/// Default: nobody in particular.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asker(Arc<str>);

impl Default for Asker {
    fn default() -> Self {
        Self::from("")
    }
}

impl From<&str> for Asker {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// What a command is known by in the legacy system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandId {
    /// 64 hexadecimal digits, the same each time that the same command is asked for.
    pub key: String,
    /// The exchange that carries it out.
    pub exchange: String,
}

/// Hears the headers of an answer, before the messages that follow them.
///
/// Of a back end that says nothing but a status only the trailing ones are heard, also where the question fails with that status.
pub trait Listener: Send + Sync {
    /// Hears the headers that open an answer.
    fn initial(&self, headers: &HeaderMap);

    /// Hears what came with the status.
    fn trailing(&self, headers: &HeaderMap);
}

/// The encoded messages of a streamed request, each of which has passed the contract's check. It ends only when the request is
/// whole; an error means that it never will be.
pub type Requests = BoxStream<'static, Result<Bytes, Withdrawn>>;

/// A request was given up before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was given up before its end")]
pub struct Withdrawn;

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("method", &self.method.path())
            .field("request", &format_args!("{} bytes", self.request.len()))
            .field("deadline", &self.deadline)
            .field("requests", &self.requests.as_ref().map(|_| "a stream"))
            .field("metadata", &format_args!("{} pairs", self.metadata.len()))
            .finish_non_exhaustive()
    }
}

/// The messages of an answer.
pub struct Answer {
    /// Each item is one encoded message. An error is the last item.
    pub messages: BoxStream<'static, Result<Bytes, ConnectorError>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer { .. }")
    }
}
