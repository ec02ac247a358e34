//! The Connect protocol on the clients' port: unary calls and streams of answers, in protobuf or JSON.
//!
//! The surprising fact: its envelopes are gRPC's own, so a stream in protobuf is passed on as it comes, and only its end is another.
//! Source: <https://connectrpc.com/docs/protocol>; neither `GET` nor compression is taken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use exchange::{
    Answer, ApplicationMetadata, Head, Hop, Query, Reason, Refusal, UnaryAnswer, framing, headers,
    ports::{self, Gone, Outlet},
};
use federation::SystemId;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use link::{Body, Incoming};
use rest::{Failure, Found, Lines, NoJson, http_status};
use serde_json::{Map, Value, json};

use super::{Asked, Begun, Call, EXPANSION, Rest, answers, read, write};
use crate::{
    calls::{self, Held, Unread},
    clients::{ClientBody, Clients},
    places::Place,
    ports::{BodyOutlet, STREAM_BUFFER},
};

/// The flag of the envelope that ends a stream.
const END: u8 = 0x02;
/// A time-out has at most so many digits, in milliseconds.
const TIMEOUT_DIGITS: usize = 10;

/// How messages are written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Codec {
    Proto,
    Json,
}

/// What a request of the Connect protocol is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    codec: Codec,
    /// In envelopes, with an end of its own.
    streams: bool,
}

impl Form {
    /// Reads the headers. JSON without the protocol's own header is a call in JSON over HTTP as any other.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let versioned = headers.get("connect-protocol-version").is_some_and(|version| version == "1");
        match media_type {
            b"application/connect+proto" => Some(Self { codec: Codec::Proto, streams: true }),
            b"application/connect+json" => Some(Self { codec: Codec::Json, streams: true }),
            b"application/proto" => Some(Self { codec: Codec::Proto, streams: false }),
            b"application/json" if versioned => Some(Self { codec: Codec::Json, streams: false }),
            _ => None,
        }
    }

    fn media_type(self) -> &'static str {
        match (self.codec, self.streams) {
            (Codec::Proto, true) => "application/connect+proto",
            (Codec::Json, true) => "application/connect+json",
            (Codec::Proto, false) => "application/proto",
            (Codec::Json, false) => "application/json",
        }
    }

    /// The header that names how the request is compressed.
    fn encoding(self) -> HeaderName {
        if self.streams { HeaderName::from_static("connect-content-encoding") } else { header::CONTENT_ENCODING }
    }
}

/// Answers one request of the Connect protocol.
pub(super) async fn serve(
    rest: &Rest,
    clients: Arc<Clients>,
    system: &SystemId,
    (form, request): (Form, Request<Incoming>),
) -> Response<ClientBody> {
    if request.method() != Method::POST {
        return answers::wrong_verb(&["POST"]);
    }
    let path = request.uri().path().to_owned();
    let routes = rest.routes(&clients.house);
    let route = match routes.find("POST", &path) {
        Found::Route(matched) if matched.route.method().path() == path => Some(matched.route.clone()),
        Found::Route(_) | Found::Verbs(_) | Found::Nothing => None,
    };
    if route.as_ref().is_some_and(|route| route.method().shape().streams_answers() != form.streams) {
        let told = "a method with one answer takes `application/proto` or `application/json`, one that streams them `application/connect+proto` or `application/connect+json`";
        return once_read(&clients, request, answers::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, told)).await;
    }
    if request.headers().get(form.encoding()).is_some_and(|encoding| encoding != "identity") {
        let refusal = Refusal::new(Reason::Malformed, Hop::Consumer, "compressed requests are not taken here");
        let refused = unrecorded(&clients, form, &refusal.prescribed(tonic::Code::Unimplemented));
        return once_read(&clients, request, refused).await;
    }
    let Some(place) = clients.place(system).await else {
        clients.observer.shed("consumer");
        let told = "the gateway has as many exchanges at once as it takes";
        return unrecorded(&clients, form, &Refusal::new(Reason::Overloaded, Hop::Consumer, told));
    };
    let call = Call { routes, verb: "POST".to_owned(), path, query: None, route };
    exchange(clients, system, (form, Arc::new(call)), request, place).await
}

/// Answers once the request is there: a client that is answered in the middle of it may take that for a broken connection.
async fn once_read(
    clients: &Clients,
    request: Request<Incoming>,
    response: Response<ClientBody>,
) -> Response<ClientBody> {
    let (most, patience) = clients.request_limits();
    // What could not be read changes nothing about the answer.
    let _ = calls::read_message(request.into_body(), most.saturating_add(framing::PREFIX), patience).await;
    response
}

async fn exchange(
    clients: Arc<Clients>,
    system: &SystemId,
    (form, call): (Form, Arc<Call>),
    request: Request<Incoming>,
    place: Place,
) -> Response<ClientBody> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let deadline = timeout(&parts.headers).and_then(|timeout| Instant::now().checked_add(timeout));
    let (cancel, guard) = calls::cancellation();
    let (most, patience) = clients.request_limits();
    let limit = most.saturating_add(if form.streams { framing::PREFIX } else { 0 });
    let request = match calls::read_message(body, limit, patience).await {
        Ok(body) => asked(&clients, form, &call, body).await,
        // The exchange refuses and records it.
        Err(Unread::TooLarge) => ports::Request::One(calls::oversized(most)),
        Err(Unread::TooSlow | Unread::Gone) => {
            let told = "the request did not arrive in time";
            return unrecorded(&clients, form, &Refusal::new(Reason::Cancelled, Hop::Consumer, told));
        }
    };
    let query = Query {
        system: system.clone(),
        default_provider: clients.default_provider(system),
        path: call.path.clone(),
        headers: parts.headers,
        request,
        deadline,
        cancel,
    };
    let (begun, head) = tokio::sync::oneshot::channel();
    let task = run((clients, arrived), (form, call), query, place, begun);
    // A stream outlives its head: only until then does this future stand for the caller.
    let _running = tokio::spawn(tracing::Instrument::instrument(task, calls::span("consumer")));
    let response = head.await;
    let _ = guard.disarm();
    response
        .unwrap_or_else(|_| answers::plain(StatusCode::INTERNAL_SERVER_ERROR, "the exchange ended without an answer"))
}

/// Makes the request's message. What cannot be made into one is refused by the exchange, so that it is recorded.
async fn asked(clients: &Clients, form: Form, call: &Arc<Call>, body: Bytes) -> ports::Request {
    let unfit = |reason, told: String| ports::Request::Unfit(Box::new(Refusal::new(reason, Hop::Consumer, told)));
    if clients.house.rules.load().contracts.method(&call.path).is_some_and(|m| m.shape().streams_requests()) {
        let told = "the method takes a stream of requests, which are sent over gRPC and not by the Connect protocol";
        return unfit(Reason::UnknownMethod, told.to_owned());
    }
    let body = if form.streams {
        match unwrapped(&body) {
            Some(message) => message,
            None => return unfit(Reason::Malformed, "the body is not one message in an envelope".to_owned()),
        }
    } else {
        body
    };
    if form.codec == Codec::Proto {
        return ports::Request::One(framing::framed(&body));
    }
    match read(call, body).await {
        Asked { unfit: Some(found), .. } => unfit(Reason::Malformed, found.to_string()),
        Asked { message, .. } => ports::Request::One(message),
    }
}

/// Takes the only message of a body out of its envelope.
fn unwrapped(body: &Bytes) -> Option<Bytes> {
    let [flag, length @ ..] = body.first_chunk::<{ framing::PREFIX }>()?;
    let message = body.slice(framing::PREFIX..);
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (*flag == 0 && message.len() == length).then_some(message)
}

fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("connect-timeout-ms")?.to_str().ok()?;
    let milliseconds = text.parse().ok().filter(|_| text.len() <= TIMEOUT_DIGITS);
    milliseconds.map(Duration::from_millis)
}

/// Runs one exchange to its end; the head goes out as soon as it is known what it says.
async fn run(
    (clients, arrived): (Arc<Clients>, Instant),
    (form, call): (Form, Arc<Call>),
    query: Query,
    place: Place,
    begun: Begun,
) {
    let limit = clients.house.limits.message().saturating_mul(EXPANSION);
    match clients.consumer.serve(query).await {
        Answer::Unary(answer) => {
            clients.observer.settled(&answer.settled, arrived);
            let _ = begun.send(if form.streams {
                let end = end(&failure(&answer), &answer);
                head(form, &answer.head, Held::until_sent(Body::full(end, None), place))
            } else {
                unary(form, &call, answer, (limit, place)).await
            });
        }
        Answer::Stream(stream) => {
            let (sender, body) = Body::channel(STREAM_BUFFER);
            let head = head(form, &stream.head, Held::until_sent(body, place.clone()));
            let waiting = Some((begun, head));
            let (outlet, lines) = (BodyOutlet(sender), Lines::default());
            let mut outlet = Envelopes { outlet, waiting, form, call, limit, lines, broken: None };
            let answer = Box::pin(stream.run(&clients.consumer, &mut outlet)).await;
            clients.observer.settled(&answer.settled, arrived);
            outlet.end(&answer).await;
            drop(place);
        }
    }
}

async fn unary(
    form: Form,
    call: &Arc<Call>,
    answer: UnaryAnswer,
    (limit, place): (usize, Place),
) -> Response<ClientBody> {
    if answer.status.code != 0 {
        return failed(&failure(&answer), &answer);
    }
    let message = answer.message.clone().unwrap_or_default();
    let message = if message.len() > framing::PREFIX { message.slice(framing::PREFIX..) } else { Bytes::new() };
    let body = match form.codec {
        Codec::Proto => message,
        Codec::Json => match write(call, message, limit).await {
            Ok(json) => json.into(),
            Err(error) => return failed(&no_form(&told(error)), &answer),
        },
    };
    let mut response = head(form, &answer.head, Held::until_sent(Body::full(body, None), place));
    beside(&answer, response.headers_mut());
    response
}

/// The answer is recorded as given; what cannot be shown is only its form in JSON.
fn told(error: NoJson) -> String {
    format!("{error}; it was given and recorded, and protobuf can carry it")
}

fn no_form(told: &str) -> Failure<'_> {
    Failure { code: tonic::Code::Internal as i32, message: told, ..Failure::default() }
}

fn failure(answer: &UnaryAnswer) -> Failure<'_> {
    Failure {
        code: answer.status.code,
        message: &answer.status.message,
        details: &answer.status.details,
        ..Failure::default()
    }
}

fn head(form: Form, head: &Head, body: Held) -> Response<ClientBody> {
    let mut response = Response::new(ClientBody::Ours(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    answers::initial(head, response.headers_mut());
    response
}

/// A unary call that failed.
fn failed(failure: &Failure<'_>, answer: &UnaryAnswer) -> Response<ClientBody> {
    let mut response = error(failure);
    answers::initial(&answer.head, response.headers_mut());
    beside(answer, response.headers_mut());
    response
}

fn error(failure: &Failure<'_>) -> Response<ClientBody> {
    let body = failure.connect_error().to_string();
    let mut response = Response::new(ClientBody::ours(Body::full(body.into(), None)));
    *response.status_mut() =
        StatusCode::from_u16(http_status(failure.code)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What gRPC has in trailers a unary call has in headers of another name.
fn beside(answer: &UnaryAnswer, map: &mut HeaderMap) {
    answer.said.initial.write(map);
    for (name, value) in trailers(answer) {
        let name = HeaderName::try_from(format!("trailer-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            map.append(name, value);
        }
    }
}

fn trailers(answer: &UnaryAnswer) -> Vec<(String, String)> {
    let hop = answer.hop.map(|hop| (headers::HOP.as_str().to_owned(), hop.as_str().to_owned()));
    answer.said.trailing.pairs().into_iter().chain(hop).collect()
}

/// The envelope that ends a stream.
fn end(failure: &Failure<'_>, answer: &UnaryAnswer) -> Bytes {
    let mut metadata = Map::new();
    for (name, value) in trailers(answer) {
        if let Value::Array(values) = metadata.entry(name).or_insert_with(|| json!([])) {
            values.push(value.into());
        }
    }
    let mut end = Map::new();
    if failure.code != 0 {
        end.insert("error".to_owned(), failure.connect_error());
    }
    if !metadata.is_empty() {
        end.insert("metadata".to_owned(), metadata.into());
    }
    enveloped(END, Value::Object(end).to_string().as_bytes())
}

fn enveloped(flag: u8, message: &[u8]) -> Bytes {
    let mut envelope = BytesMut::with_capacity(framing::PREFIX.saturating_add(message.len()));
    envelope.put_u8(flag);
    envelope.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    envelope.put_slice(message);
    envelope.freeze()
}

fn unrecorded(clients: &Clients, form: Form, refusal: &Refusal) -> Response<ClientBody> {
    let status = clients.house.unrecorded_status(refusal);
    let failure =
        Failure { code: status.code, message: &status.message, details: &status.details, ..Failure::default() };
    if !form.streams {
        return error(&failure);
    }
    let end = json!({"error": failure.connect_error()}).to_string();
    let mut response = Response::new(ClientBody::ours(Body::full(enveloped(END, end.as_bytes()), None)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    response
}

/// A stream of answers in envelopes.
struct Envelopes {
    outlet: BodyOutlet,
    /// Until what opens the answer is known: where the head goes, and the head.
    waiting: Option<(Begun, Response<ClientBody>)>,
    form: Form,
    call: Arc<Call>,
    limit: usize,
    lines: Lines,
    /// What a message has no form in JSON for; nothing follows it.
    broken: Option<NoJson>,
}

impl Envelopes {
    async fn end(mut self, answer: &UnaryAnswer) {
        self.begin(&answer.said.initial);
        let end = match self.broken {
            Some(error) => end(&no_form(&told(error)), answer),
            None => end(&failure(answer), answer),
        };
        // Who has gone away needs no end.
        let _ = self.outlet.send(end).await;
        self.outlet.0.finish(None);
    }
}

impl Outlet for Envelopes {
    fn begin(&mut self, metadata: &ApplicationMetadata) {
        if let Some((begun, mut head)) = self.waiting.take() {
            metadata.write(head.headers_mut());
            // Where nobody waits any more the exchange learns it from the closed body.
            let _ = begun.send(head);
        }
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), Gone> {
        if self.form.codec == Codec::Proto {
            return self.outlet.send(chunk).await;
        }
        let mut out = BytesMut::new();
        for message in self.lines.feed(&chunk) {
            match self.call.answer(&message, self.limit) {
                Ok(json) => out.put_slice(&enveloped(0, &json)),
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
        }
        if !out.is_empty() {
            self.outlet.send(out.freeze()).await?;
        }
        // There is no more that could be shown, so the stream is given up.
        if self.broken.is_some() { Err(Gone) } else { Ok(()) }
    }

    async fn gone(&mut self) {
        self.outlet.gone().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_of_the_connect_protocol_by_its_media_type() {
        let form = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            Form::of(&headers).map(Form::media_type)
        };
        let version = ("connect-protocol-version", "1");
        for text in ["application/proto", "application/connect+proto", "application/connect+json"] {
            assert_eq!(form(&[("content-type", text)]), Some(text));
            assert_eq!(form(&[version, ("content-type", text)]), Some(text));
        }
        assert_eq!(form(&[version, ("content-type", "application/json; charset=utf-8")]), Some("application/json"));
        assert_eq!(form(&[("content-type", "application/json")]), None);
        assert_eq!(form(&[version, ("content-type", "application/grpc-web")]), None);
    }

    #[test]
    fn one_message_is_taken_out_of_its_envelope() {
        let check = |body: &[u8], expected: Option<&[u8]>| {
            assert_eq!(unwrapped(&Bytes::copy_from_slice(body)).as_deref(), expected, "{body:?}");
        };
        check(b"\0\0\0\0\x01x", Some(b"x"));
        check(b"\0\0\0\0\0", Some(b""));
        for bad in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\x01x", b"\0\0\0\0\x02x", b"\0\0\0\0\x01x\0\0\0\0\0"] {
            check(bad, None);
        }
        assert_eq!(enveloped(END, b"{}"), &b"\x02\0\0\0\x02{}"[..]);
    }
}
