//! The two ways out of an exchange: to a legacy system, and to another gateway. `gateway` implements both.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use contract::Method;
use federation::GatewayId;
use futures_util::{future::BoxFuture, stream::BoxStream};
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use proto::{
    link::{OpenResponse, OutcomeRequest, OutcomeResponse},
    records::KeptAnswer,
};
use records::{CommandKey, ExchangeId};
use tokio_util::sync::CancellationToken;

use crate::{
    application::{ApplicationMetadata, Heard},
    headers::Signed,
    refusal::{Refusal, Status},
};

/// What is asked: one message, or messages as they come.
pub enum Request {
    /// One message, with its prefix.
    One(Bytes),
    /// The body of a streamed request: messages with their prefixes, cut anywhere, and trailers where the asker is a gateway.
    Stream(RequestBody),
    /// Something that could not be made into a message of the contract: what the call is refused for once it is permitted.
    Unfit(Box<Refusal>),
}

/// The body of a streamed request.
pub type RequestBody = Pin<Box<dyn Body<Data = Bytes, Error = Broken> + Send + Sync>>;

/// Why the body of a streamed request breaks off.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    /// It was given up.
    #[error("the request was given up before its end")]
    Withdrawn,
    /// What came next could not be made into a message of the contract: what the call is refused for.
    #[error("{}", .0.told)]
    Unfit(Box<Refusal>),
}

/// A request was given up before its end.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was given up before its end")]
pub struct Withdrawn;

/// The messages that a legacy system is asked with, without prefix, already held against the contract.
pub enum Requests {
    /// One.
    One(Bytes),
    /// As they come. It ends only when the request is whole; an error means that it never will be.
    Stream(BoxStream<'static, Result<Bytes, Withdrawn>>),
}

/// What a legacy system is asked.
pub struct Question {
    /// The contract's method.
    pub method: Arc<Method>,
    /// The request.
    pub requests: Requests,
    /// When the answer has to be there.
    pub deadline: Option<Instant>,
    /// `drawbridge-consumer`, `-purpose` and the like, for back ends that can read them.
    pub metadata: Vec<(String, String)>,
    /// Of a command: what it is known by, for systems that remember it themselves.
    pub command: Option<CommandId>,
    /// Where the headers of a back end's answer are heard; none where the agreement lets no metadata cross.
    pub heard: Option<Arc<Heard>>,
    /// On whose behalf it is asked, `member/system`: systems with few places share them between those.
    pub asker: String,
    /// Of a stream: fires once the legacy system has stopped it as [`LegacyError::Stalled`], which a reader that is away would see late.
    pub stalled: Option<CancellationToken>,
}

/// What a legacy system knows a command by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandId {
    /// 64 hexadecimal digits: the caller's key within consumer, system and method, hashed.
    pub key: String,
    /// The exchange that carries it out.
    pub exchange: String,
}

/// What a legacy system remembers of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It was carried out.
    Done,
    /// It was not carried out, and will not be.
    NotDone,
    /// Nobody can say now.
    NotNow,
    /// The system remembers no commands.
    Nothing,
}

/// Messages of an answer, without prefix, pulled by the reader. Dropping it stops the legacy system.
pub type Messages = BoxStream<'static, Result<Bytes, LegacyError>>;

/// How a legacy system failed.
#[derive(Clone, Debug)]
pub enum LegacyError {
    /// It ended with a status of its own: an answer like any other.
    Status(Status),
    /// It did not answer in time.
    Timeout,
    /// A value of the request is not one that it can be asked for; the text names the field, never the value.
    Unfit(String),
    /// It failed, and may answer later; the text is for this gateway's operators and holds no payload.
    Failed(String),
    /// What it holds or answers cannot be passed on, however often it is asked; the text as that of a failure.
    Unusable(String),
    /// It was stopped, because the reader took nothing of a stream while others waited for the system.
    Stalled,
    /// Of a command: the system remembers that it was carried out.
    AlreadyDone,
    /// Of a command: it ended so, and nothing was done.
    Undone(Box<LegacyError>),
}

/// A member's own systems, behind its bindings.
pub trait LegacySystem: Send + Sync {
    /// Asks, and returns once the answer begins.
    fn answer(&self, question: Question) -> BoxFuture<'_, Result<Messages, LegacyError>>;

    /// Returns whether what serves `path` may be asked only by a command.
    fn writes(&self, path: &str) -> bool;

    /// Returns whether a binding serves `path`.
    fn serves(&self, path: &str) -> bool;

    /// Says what the system that serves `path` remembers of a command. Waits, for some seconds, for the end of one under way. Carries
    /// nothing out.
    fn remembers(&self, path: &str, command: CommandId) -> BoxFuture<'_, Remembered>;

    /// Names what serves `path`, as this member's configuration does. It is for its own log and records.
    fn name(&self, path: &str) -> Option<Arc<str>>;
}

/// What another gateway is asked.
pub struct LinkRequest {
    /// `/package.Service/Method`.
    pub path: Arc<str>,
    /// Opening claims and signature.
    pub opening: Signed,
    /// The application's metadata that goes with it.
    pub metadata: ApplicationMetadata,
    /// The request. A stream ends in trailers: closing claims and signature.
    pub request: Request,
    /// How long the provider may take.
    pub timeout: Option<std::time::Duration>,
    /// W3C trace context.
    pub trace_parent: Option<String>,
}

/// Another gateway's reply, as its bytes come in.
pub struct LinkReply {
    /// Response headers.
    pub headers: HeaderMap,
    /// Data and trailers.
    pub body: ReplyBody,
}

impl CommandId {
    /// Returns what `exchange` carries a command out as.
    #[must_use]
    pub fn of(key: &CommandKey, exchange: ExchangeId) -> Self {
        let key = key.0.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
        Self { key, exchange: exchange.to_string() }
    }
}

impl LinkReply {
    /// Returns the reply of a link that was cut before one came.
    #[must_use]
    pub fn cut(what: String) -> Self {
        Self { headers: HeaderMap::new(), body: Box::pin(Cut(Some(what))) }
    }
}

/// A body of a reply.
pub type ReplyBody = Pin<Box<dyn Reply>>;

/// A body that comes over a link.
pub trait Reply: Body<Data = Bytes, Error = LinkError> + Send {
    /// Takes in what comes while nobody reads, and asks for no more, so that many small pieces cost no more than their bytes. Ready once
    /// nothing more comes.
    fn poll_hoard(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()>;
}

/// The body of a link that was cut.
struct Cut(Option<String>);

impl Body for Cut {
    type Data = Bytes;
    type Error = LinkError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        Poll::Ready(self.0.take().map(|what| Err(LinkError::Cut(what))))
    }
}

/// A reply that is there already: nothing comes.
impl<S> Reply for StreamBody<S>
where
    Self: Body<Data = Bytes, Error = LinkError> + Send,
{
    fn poll_hoard(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Reply for Cut {
    fn poll_hoard(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// How a link failed. The texts hold no payload.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// The question went out, or part of it.
    #[error("{0}")]
    Cut(String),
}

/// The other gateways.
pub trait Peers: Send + Sync {
    /// Asks `to` for a session.
    fn open<'a>(&'a self, to: &'a GatewayId) -> BoxFuture<'a, Result<OpenResponse, LinkError>>;

    /// Asks `to` what became of a command.
    fn outcome<'a>(
        &'a self,
        to: &'a GatewayId,
        request: OutcomeRequest,
    ) -> BoxFuture<'a, Result<OutcomeResponse, LinkError>>;

    /// Sends a question and returns once the reply's headers are there. Dropping reply or future resets the stream.
    fn ask<'a>(&'a self, to: &'a GatewayId, request: LinkRequest) -> BoxFuture<'a, Result<LinkReply, LinkError>>;
}

/// Keeps the answers of commands for a while, encrypted, so that who asks again has them again.
pub trait Answers: Send + Sync {
    /// Keeps an answer. That it cannot be kept is no failure: who asks again is then told that it was done.
    fn keep<'a>(&'a self, key: &'a CommandKey, answer: KeptAnswer) -> BoxFuture<'a, ()>;

    /// Returns the answer that is kept under a key.
    fn find<'a>(&'a self, key: &'a CommandKey) -> BoxFuture<'a, Option<KeptAnswer>>;
}

/// Remembers what other gateways promise, to hold it against their later checkpoints.
pub trait Promises: Send + Sync {
    /// Notes that `by` has promised a leaf.
    fn made(&self, by: &GatewayId, promise: &ledger::Promise);
}

/// Where the chunks of an answer go.
pub trait Outlet: Send {
    /// Says what opens the answer, before the first chunk. Not said of a stream that ends without one: then it comes with the end.
    fn begin(&mut self, _metadata: &ApplicationMetadata) {}

    /// Hands on whole messages with their prefixes; waits while the reader does not read.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the reader went away.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, nothing of the chunk was handed on over a link.
    fn send(&mut self, chunk: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Waits until the reader has gone away.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// The reader of an answer went away.
#[derive(Copy, Clone, Debug)]
pub struct Gone;
