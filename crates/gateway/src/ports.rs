//! The ports of `exchange`, implemented over connectors and links.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use connectors::{Bindings, ConnectorError};
use exchange::{
    Heard, Status, deadline, framing,
    headers::{METADATA, binary},
    ports::{
        CommandId, LegacyError, LegacySystem, LinkError, LinkReply, LinkRequest, Messages, Outlet, Peers, Question,
        Remembered, Reply, Requests,
    },
};
use federation::GatewayId;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body::Frame;
use link::{Body, Incoming, client::Links};
use prost::Message;
use proto::link::{OpenRequest, OpenResponse, OutcomeRequest, OutcomeResponse};

/// Path of the request that opens a session.
pub(crate) const OPEN: &str = "/drawbridge.link.v1/Open";
/// Path of the request for proofs.
pub(crate) const PROVE: &str = "/drawbridge.link.v1/Prove";
/// Path of the request that hands on an end note.
pub(crate) const END_AGREEMENT: &str = "/drawbridge.link.v1/EndAgreement";
/// Path of the request for the end notes of agreements.
pub(crate) const ENDED: &str = "/drawbridge.link.v1/Ended";
/// Most agreements that one such request may name: all their notes fit into the answer.
pub(crate) const MAX_ENDED: usize = 128;
/// Path of the request for what became of a command.
pub(crate) const OUTCOME: &str = "/drawbridge.link.v1/Outcome";
/// Version of the link protocol.
pub(crate) const PROTOCOL: u32 = 1;
/// How long a request on a control path may take.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer on a control path, in bytes, beside a message: proofs of 1,024 leaves in a log of 2^40.
const CONTROL_BYTES: usize = 4 * 1024 * 1024;

/// A member's own systems, behind its bindings.
pub(crate) struct Legacy {
    bindings: Bindings,
    notes: Arc<Notes>,
}

impl Legacy {
    pub(crate) fn new(bindings: Bindings) -> Self {
        Self { bindings, notes: Arc::default() }
    }
}

impl LegacySystem for Legacy {
    fn answer(&self, question: Question) -> BoxFuture<'_, Result<Messages, LegacyError>> {
        let Some(binding) = self.bindings.get(question.method.path()) else {
            return async { Err(LegacyError::Failed("no binding serves the method".to_owned())) }.boxed();
        };
        let Question { method, requests, deadline, metadata, command, heard, asker, stalled } = question;
        let is_command = command.is_some();
        let command = command.map(|id| connectors::CommandId { key: id.key, exchange: id.exchange });
        let (request, requests) = match requests {
            Requests::One(request) => (request, None),
            Requests::Stream(messages) => {
                let messages = messages.map(|message| message.map_err(|_| connectors::Withdrawn));
                (Bytes::new(), Some(messages.boxed()))
            }
        };
        let listener = heard.map(|heard| Arc::new(Listening(heard)) as Arc<dyn connectors::Listener>);
        let asker = connectors::Asker::from(asker.as_str());
        let (system, notes) = (Arc::clone(binding.system()), Arc::clone(&self.notes));
        let told = Told { system, path: method.path().into(), notes, is_command };
        let ask = connectors::Ask { method, request, requests, deadline, metadata, command, listener, asker, stalled };
        async move {
            let answer = binding.connector().answer(ask).await.map_err(|error| told.error(error))?;
            Ok(answer.messages.map(move |message| message.map_err(|error| told.error(error))).boxed())
        }
        .boxed()
    }

    fn writes(&self, path: &str) -> bool {
        self.bindings.get(path).is_some_and(|binding| binding.connector().writes())
    }

    fn serves(&self, path: &str) -> bool {
        self.bindings.get(path).is_some()
    }

    fn remembers(&self, path: &str, command: CommandId) -> BoxFuture<'_, Remembered> {
        let Some(binding) = self.bindings.get(path) else {
            return std::future::ready(Remembered::NotNow).boxed();
        };
        let command = connectors::CommandId { key: command.key, exchange: command.exchange };
        async move {
            match binding.connector().remembers(command).await {
                Ok(Some(true)) => Remembered::Done,
                Ok(Some(false)) => Remembered::NotDone,
                Ok(None) => Remembered::Nothing,
                Err(error) => {
                    tracing::debug!(%error, "the legacy system cannot say now whether a command was carried out");
                    Remembered::NotNow
                }
            }
        }
        .boxed()
    }

    fn name(&self, path: &str) -> Option<Arc<str>> {
        self.bindings.get(path).map(|binding| Arc::clone(binding.system()))
    }
}

/// How an exchange is told of what its legacy system did.
struct Told {
    /// The legacy system, as the configuration names it.
    system: Arc<str>,
    /// The method's.
    path: Box<str>,
    notes: Arc<Notes>,
    is_command: bool,
}

impl Told {
    fn error(&self, error: ConnectorError) -> LegacyError {
        let error = if self.is_command { command_error(error) } else { legacy_error(error) };
        self.named(error)
    }

    /// Says of a failure, for this member's own record, whose it is.
    fn named(&self, error: LegacyError) -> LegacyError {
        match error {
            LegacyError::Failed(why) => LegacyError::Failed(format!("{}: {why}", self.system)),
            LegacyError::Unusable(why) => {
                if let Some(unsaid) = self.notes.take(&self.path, Instant::now()) {
                    let (method, system) = (self.path.trim_start_matches('/'), &self.system);
                    tracing::warn!(method, %system, why, unsaid, "what a legacy system answers cannot be passed on");
                }
                LegacyError::Unusable(format!("{}: {why}", self.system))
            }
            LegacyError::Undone(error) => LegacyError::Undone(Box::new(self.named(*error))),
            other @ (LegacyError::Status(_)
            | LegacyError::Timeout
            | LegacyError::Unfit(_)
            | LegacyError::Stalled
            | LegacyError::AlreadyDone) => other,
        }
    }
}

/// For how long one warning stands for all that would be said of the same method.
const QUIET: Duration = Duration::from_secs(60);

/// When the log was last warned of a method's answers, and of how many it was not since then.
#[derive(Default)]
struct Notes(Mutex<HashMap<Box<str>, (Instant, u64)>>);

impl Notes {
    /// Says whether the log is to be warned now, and then how many warnings that one stands for besides.
    fn take(&self, path: &str, now: Instant) -> Option<u64> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match notes.get_mut(path) {
            Some((since, unsaid)) if now.saturating_duration_since(*since) < QUIET => {
                *unsaid += 1;
                None
            }
            Some(note) => Some(std::mem::replace(note, (now, 0)).1),
            None => {
                notes.insert(path.into(), (now, 0));
                Some(0)
            }
        }
    }
}

/// An exchange that hears the headers of a back end.
struct Listening(Arc<Heard>);

impl connectors::Listener for Listening {
    fn initial(&self, headers: &HeaderMap) {
        self.0.initial(headers);
    }

    fn trailing(&self, headers: &HeaderMap) {
        self.0.trailing(headers);
    }
}

/// Longest message of a back end's status that crosses, in bytes as they are percent-encoded; what is beyond is cut off.
const MAX_MESSAGE_BYTES: usize = 6 * 1024;
/// Largest details of a back end's status that cross, in bytes; larger ones are left out whole.
const MAX_DETAILS_BYTES: usize = 4 * 1024;

/// Returns how much of a text there is room for, in bytes of the text, where a character that is not printable ASCII takes three
/// for each of its bytes.
fn within(text: &str, most: usize) -> usize {
    let mut left = most;
    for (at, character) in text.char_indices() {
        let takes = if matches!(character, ' '..='~') && character != '%' { 1 } else { 3 * character.len_utf8() };
        match left.checked_sub(takes) {
            Some(rest) => left = rest,
            None => return at,
        }
    }
    text.len()
}

fn legacy_error(error: ConnectorError) -> LegacyError {
    match error {
        ConnectorError::Status { code, mut message, details } => {
            // As much as the link's headers take, before it is signed.
            message.truncate(within(&message, MAX_MESSAGE_BYTES));
            let details = if details.len() > MAX_DETAILS_BYTES { Bytes::new() } else { details };
            LegacyError::Status(Status { code, message, details })
        }
        ConnectorError::NotFound => LegacyError::Status(Status {
            code: tonic::Code::NotFound as i32,
            message: "the provider's system has nothing that answers to this".to_owned(),
            details: Bytes::new(),
        }),
        ConnectorError::Timeout => LegacyError::Timeout,
        ConnectorError::Stalled => LegacyError::Stalled,
        unfit @ (ConnectorError::Argument { .. } | ConnectorError::Unsuited { .. }) => {
            LegacyError::Unfit(unfit.to_string())
        }
        forbidden @ ConnectorError::Forbidden { .. } => LegacyError::Status(Status {
            code: tonic::Code::FailedPrecondition as i32,
            message: format!("{forbidden}; nothing was changed"),
            details: Bytes::new(),
        }),
        other @ (ConnectorError::Unreachable { .. }
        | ConnectorError::Untrusted { .. }
        | ConnectorError::Credentials { .. }
        | ConnectorError::Mapping { .. }
        | ConnectorError::TooManyRows
        | ConnectorError::TooLarge { .. }
        | ConnectorError::Malformed { .. }
        | ConnectorError::Failed { .. }
        | ConnectorError::Cancelled) => {
            let why = other.to_string();
            if other.may_pass() { LegacyError::Failed(why) } else { LegacyError::Unusable(why) }
        }
        ConnectorError::RolledBack { why } => LegacyError::Undone(Box::new(legacy_error(*why))),
        ConnectorError::AlreadyDone => LegacyError::AlreadyDone,
    }
}

/// As [`legacy_error`], of a command: what was never sent was not done.
fn command_error(error: ConnectorError) -> LegacyError {
    let unsent = matches!(
        error,
        ConnectorError::Unreachable { .. }
            | ConnectorError::Untrusted { .. }
            | ConnectorError::Credentials { .. }
            | ConnectorError::Argument { .. }
    );
    let error = legacy_error(error);
    if unsent { LegacyError::Undone(Box::new(error)) } else { error }
}

/// The other gateways, over the links of one runtime.
#[derive(Clone)]
pub(crate) struct LinkPeers {
    pub(crate) links: Links<GatewayId>,
    /// Limits of messages.
    pub(crate) limits: exchange::Limits,
}

impl Peers for LinkPeers {
    fn open<'a>(&'a self, to: &'a GatewayId) -> BoxFuture<'a, Result<OpenResponse, LinkError>> {
        self.control(to, OPEN, OpenRequest { protocol: PROTOCOL }).boxed()
    }

    fn outcome<'a>(
        &'a self,
        to: &'a GatewayId,
        request: OutcomeRequest,
    ) -> BoxFuture<'a, Result<OutcomeResponse, LinkError>> {
        self.control(to, OUTCOME, request).boxed()
    }

    fn ask<'a>(&'a self, to: &'a GatewayId, request: LinkRequest) -> BoxFuture<'a, Result<LinkReply, LinkError>> {
        async move {
            let LinkRequest { path, opening, metadata, request, timeout, trace_parent } = request;
            let mut headers = HeaderMap::with_capacity(8);
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            opening.write(&mut headers);
            if !metadata.is_empty() {
                headers.insert(METADATA, binary(&metadata.encode()));
            }
            if let Some(value) = timeout.and_then(|t| HeaderValue::try_from(deadline::write_timeout(t)).ok()) {
                headers.insert("grpc-timeout", value);
            }
            if let Some(value) = trace_parent.and_then(|t| HeaderValue::try_from(t).ok()) {
                headers.insert("traceparent", value);
            }
            let body = match request {
                exchange::ports::Request::One(message) => {
                    // Tells the provider's gateway that it is one message, before it looks at the claims.
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(message.len()));
                    Body::full(message, None)
                }
                exchange::ports::Request::Stream(body) => Body::other(body),
                exchange::ports::Request::Unfit(_) => {
                    return Err(LinkError::NotSent("there is no message to send".to_owned()));
                }
            };
            let request = self.request(&path, headers, body)?;
            let response = self.links.send(to, request).await.map_err(|e| link_error(&e))?;
            let (parts, body) = response.into_parts();
            if parts.status != http::StatusCode::OK {
                return Err(LinkError::Cut(format!(
                    "the provider's gateway answered with HTTP status {}",
                    parts.status
                )));
            }
            Ok(LinkReply { headers: parts.headers, body: Box::pin(LinkBody(body)) })
        }
        .boxed()
    }
}

/// The body of a reply, as an exchange sees it.
struct LinkBody(Incoming);

impl http_body::Body for LinkBody {
    type Data = Bytes;
    type Error = LinkError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinkError>>> {
        Pin::new(&mut self.0).poll_frame(context).map_err(|error| LinkError::Cut(crate::load::chain(&error)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl Reply for LinkBody {
    fn poll_hoard(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_hoard(context)
    }
}

impl LinkPeers {
    /// Asks on a control path: one protobuf message each way, without gRPC's prefix.
    pub(crate) async fn control<R: Message + Default>(
        &self,
        to: &GatewayId,
        path: &str,
        message: impl Message,
    ) -> Result<R, LinkError> {
        let mut headers = HeaderMap::with_capacity(1);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let request = self.request(path, headers, Body::full(message.encode_to_vec().into(), None))?;
        let exchange = async {
            let response = self.links.send(to, request).await.map_err(|e| link_error(&e))?;
            let status = response.status();
            let body = response.into_body().collect(self.limits.message().saturating_add(CONTROL_BYTES)).await;
            let data = body.map_err(|e| LinkError::Cut(crate::load::chain(&e)))?.data;
            if status != http::StatusCode::OK {
                return Err(LinkError::NotSent(format!("`{to}` answered `{path}` with HTTP status {status}")));
            }
            R::decode(data)
                .map_err(|_| LinkError::Cut(format!("`{to}` answered `{path}` with something else than was asked")))
        };
        tokio::time::timeout(CONTROL_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(LinkError::NotSent(format!("`{to}` did not answer `{path}` within 10 s"))))
    }

    #[expect(clippy::unused_self, reason = "part of talking to a peer")]
    fn request(&self, path: &str, headers: HeaderMap, body: Body) -> Result<Request<Body>, LinkError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .body(body)
            .map_err(|_| LinkError::NotSent("the method's path cannot be sent".to_owned()))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn link_error(error: &link::client::LinkError) -> LinkError {
    let text = crate::load::chain(error);
    if error.nothing_done() { LinkError::NotSent(text) } else { LinkError::Cut(text) }
}

/// The sending half of a response body, as an exchange sees it.
pub(crate) struct BodyOutlet(pub(crate) link::Sender);

impl Outlet for BodyOutlet {
    async fn send(&mut self, chunk: Bytes) -> Result<(), exchange::ports::Gone> {
        self.0.send(chunk).await.map_err(|_| exchange::ports::Gone)
    }

    async fn gone(&mut self) {
        self.0.closed().await;
    }
}

/// Bytes that wait in a stream's body before its exchange is held back.
pub(crate) const STREAM_BUFFER: usize = 64 * 1024;

/// Largest body of a request with one message, in bytes.
pub(crate) fn body_limit(message: usize) -> usize {
    message.saturating_add(framing::PREFIX)
}

/// The peers as a shared port.
pub(crate) fn shared(peers: LinkPeers) -> Arc<dyn Peers> {
    Arc::new(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_status_of_a_back_end_is_cut_to_what_a_header_takes_and_never_inside_a_character() {
        let check = |text: &str, most, expected| assert_eq!(within(text, most), expected, "{text}");
        check("abc", 3, 3);
        check("abcd", 3, 3);
        check("a%b", 4, 2);
        // Two bytes, six when they are escaped.
        check("aé", 7, 3);
        check("aé", 6, 1);
        let status =
            ConnectorError::Status { code: 5, message: "é".repeat(4000), details: Bytes::from(vec![0; 5000]) };
        let LegacyError::Status(status) = legacy_error(status) else { panic!("a status stays one") };
        assert_eq!((status.code, status.message.len(), status.details.len()), (5, 2048, 0));
    }

    fn told(is_command: bool) -> Told {
        let (system, path) = ("sql `tenancies`".into(), "/housing.v1.Tenancies/Find".into());
        Told { system, path, notes: Arc::default(), is_command }
    }

    #[test]
    fn what_asking_again_does_not_mend_is_no_failure_that_passes() {
        use connectors::{Failure, Misfit, Rule, SqlState};
        let failed = |state: &str| ConnectorError::Failed { why: Failure::State { state: SqlState::of(state) } };
        for state in ["40001", "40P01", "53300", "57014"] {
            assert!(matches!(told(false).error(failed(state)), LegacyError::Failed(_)), "{state}");
        }
        let misfit = ConnectorError::Mapping {
            column: "born".into(),
            field: "born".into(),
            stored: "text",
            why: Misfit::NotAMoment,
        };
        let changed = ConnectorError::Failed { why: Failure::SchemaChanged };
        for error in [failed("22P02"), failed("21000"), misfit, ConnectorError::TooManyRows, changed] {
            assert!(matches!(told(false).error(error.clone()), LegacyError::Unusable(_)), "{error}");
        }
        let forbidden = ConnectorError::Forbidden { rule: Rule::Unique, name: Some("one_per_home".into()) };
        let undone = told(true).error(ConnectorError::RolledBack { why: Box::new(forbidden) });
        let LegacyError::Undone(error) = undone else { panic!("nothing was done") };
        let LegacyError::Status(status) = *error else { panic!("it is an answer") };
        assert_eq!(status.code, tonic::Code::FailedPrecondition as i32);
        assert!(status.message.contains("there may be one only (`one_per_home`)"), "{}", status.message);
    }

    #[test]
    fn a_warning_stands_for_all_of_its_minute() {
        let (notes, now) = (Notes::default(), Instant::now());
        assert_eq!(notes.take("/a", now), Some(0));
        assert_eq!((notes.take("/a", now), notes.take("/a", now), notes.take("/b", now)), (None, None, Some(0)));
        assert_eq!((notes.take("/a", now + QUIET), notes.take("/a", now + QUIET)), (Some(2), None));
    }

    #[test]
    fn a_failure_names_its_legacy_system_for_the_members_own_record() {
        let unreachable = || ConnectorError::Unreachable { why: "it is away".into() };
        let expected = "sql `tenancies`: cannot reach the legacy system: it is away";
        let LegacyError::Failed(why) = told(false).error(unreachable()) else { panic!("a failure stays one") };
        assert_eq!(why, expected);
        let LegacyError::Undone(error) = told(true).error(unreachable()) else { panic!("nothing was done") };
        let LegacyError::Failed(why) = *error else { panic!("a failure stays one") };
        assert_eq!(why, expected);
    }
}
