//! JSON over HTTP on the clients' port: the same exchange as a gRPC call, asked and answered in JSON.
//!
//! Permission, record and certificate are those of a gRPC call: what is asked becomes the same [`Query`]. What cannot be made into a message
//! is refused by the exchange as well, once it is permitted, so that it is recorded.

mod answers;
mod connect;
mod documents;
mod lines;
mod one;
mod packing;
mod streamed;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use exchange::{Answer, Hop, Query, Reason, Refusal, UnaryAnswer, framing, ports};
use federation::SystemId;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use link::{Body, Incoming};
use rest::{Found, Route, Routes, Unfit, Violation};

use crate::{
    calls::{self, Held, Unread},
    clients::{ClientBody, Clients, NO_PLACE},
    compression,
    lingering::{lingering, read_on},
    places::Place,
    ports::{BodyOutlet, STREAM_BUFFER},
};
use answers::Failed;
pub(crate) use documents::Rest;
use lines::JsonLines;
use one::OneAnswer;
use packing::Packing;

/// Where the document of what may be asked is.
const DOCUMENT: &str = "/openapi.json";
/// Longest text that is read or written on the thread of the connection, in bytes. A longer one would keep its other connections waiting.
const IN_PLACE: usize = 64 * 1024;
/// How much longer than the largest message an answer may be in JSON.
const EXPANSION: usize = 8;

/// Where the head of a response goes.
type Begun = tokio::sync::oneshot::Sender<Response<ClientBody>>;

/// What was called: enough to find the route again.
struct Call {
    routes: Arc<Routes>,
    verb: String,
    path: String,
    query: Option<String>,
    /// Whether the body is compressed.
    gzip: bool,
    /// Where the answer's form comes from; none where nothing is at the path.
    route: Option<Arc<Route>>,
}

/// What a call asks, as far as it could be read.
struct Asked {
    /// With its prefix.
    message: Bytes,
    unfit: Option<Unfit>,
}

impl Rest {
    /// Answers one request that is not gRPC.
    pub(crate) async fn serve(
        &self,
        clients: Arc<Clients>,
        system: &SystemId,
        request: Request<Incoming>,
    ) -> Response<ClientBody> {
        if let Some(form) = connect::Form::of(request.headers()) {
            return connect::serve(self, clients, system, (form, request)).await;
        }
        if let Some(told) = clients.long_header(&request) {
            return long_header(request, &told);
        }
        let path = request.uri().path();
        if path == DOCUMENT {
            return match *request.method() {
                Method::GET | Method::HEAD => self.document(&clients.house, system),
                _ => answers::wrong_verb(&["GET"]),
            };
        }
        let routes = self.routes(&clients.house);
        let verb = verb(&routes, request.method(), path).to_owned();
        let route = match routes.find(&verb, path) {
            Found::Route(matched) => Some(matched.route.clone()),
            Found::Verbs(_) if verb == "GET" && connect::in_url(request.uri().query()) => return connect::only_post(),
            Found::Verbs(verbs) => {
                read_on(request);
                return answers::wrong_verb(&verbs);
            }
            Found::Nothing => None,
        };
        let (path, query) = (path.to_owned(), request.uri().query().map(str::to_owned));
        let packing = Packing::of(request.headers());
        let call = Call { routes, verb, path, query, gzip: packing == Packing::Gzip, route };
        if let Some(told) = unsupported(&call, request.headers()) {
            read_on(request);
            return answers::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, told);
        }
        if let Some(response) = packing.refused(call.streams()) {
            read_on(request);
            return response;
        }
        let Some(place) = clients.place(system).await else {
            clients.observer.shed("consumer");
            read_on(request);
            return unrecorded(&clients, Reason::Overloaded, NO_PLACE);
        };
        exchange(clients, call, system, request, place).await
    }
}

/// The verb that a request is looked up by: `HEAD` asks what `GET` asks, and its answer goes out without a body.
fn verb<'a>(routes: &Routes, method: &'a Method, path: &str) -> &'a str {
    match *method {
        Method::HEAD if !matches!(routes.find("HEAD", path), Found::Route(_)) => "GET",
        _ => method.as_str(),
    }
}

/// Whether a request says whose gateway it is for, as HTTP/1.1 wants it. Source: RFC 9112, section 3.2.
pub(crate) fn says_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_host = |host: &HeaderValue| {
        let host = host.as_bytes();
        host.is_empty() || (!host.contains(&b'@') && http::uri::Authority::try_from(host).is_ok())
    };
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => request.version() != Version::HTTP_11 || is_host(host),
        (None, _) => request.version() != Version::HTTP_11,
        (Some(_), Some(_)) => request.version() >= Version::HTTP_2,
    }
}

/// Refuses a request that does not say whose gateway it is for.
pub(crate) fn no_host(request: Request<Incoming>) -> Response<ClientBody> {
    read_on(request);
    answers::plain(StatusCode::BAD_REQUEST, "a request of HTTP/1.1 has one `Host` header with the name of the gateway")
}

/// Refuses a request whose metadata is too long. A connection of HTTP/1.1 ends with it.
fn long_header(request: Request<Incoming>, told: &str) -> Response<ClientBody> {
    let ends = request.version() < Version::HTTP_2;
    read_on(request);
    let mut response = answers::plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, told);
    if ends {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Media types of JSON lines.
const LINES: [&[u8]; 2] = [b"application/x-ndjson", b"application/jsonl"];

/// Says what the body has to be, where it is something else. What has no body may leave its type out.
fn unsupported(call: &Call, headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media_type = value.map(|value| value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
    let is_one_of = |known: &[&[u8]]| media_type.is_some_and(|text| known.iter().any(|k| text.eq_ignore_ascii_case(k)));
    let (json, lines) = (media_type.is_none() || is_one_of(&[b"application/json"]), is_one_of(&LINES));
    match &call.route {
        Some(_) if call.streams() => (!lines).then_some(
            "the method takes a stream of requests: JSON lines, as `application/x-ndjson` or `application/jsonl`",
        ),
        Some(_) => (!json).then_some("the body has to be `application/json`"),
        // The exchange refuses it, whatever it is.
        None => {
            (!json && !lines).then_some("the body has to be `application/json`, or JSON lines for a stream of requests")
        }
    }
}

/// What was found wrong with requests that are no messages of the contract. Told to whom may ask, and to nobody else.
#[derive(Clone, Debug, Default)]
struct Flaws(Arc<Mutex<Vec<Violation>>>);

impl Flaws {
    fn note(&self, violations: Vec<Violation>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = violations;
    }

    /// Returns them where they are what the call was refused for.
    fn told(&self, status: &exchange::Status) -> Vec<Violation> {
        match status.reason() {
            Some(Reason::Malformed) => self.0.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Some(_) | None => Vec::new(),
        }
    }
}

fn unrecorded(clients: &Clients, reason: Reason, told: &str) -> Response<ClientBody> {
    let status = clients.house.unrecorded_status(&Refusal::new(reason, Hop::Consumer, told));
    Failed { status: &status, hop: Some(Hop::Consumer), head: None, said: None, violations: &[] }.response()
}

/// Says why nothing was asked. Of a body that did not come in time HTTP has a status of its own.
fn unread(clients: &Clients, cause: Unread) -> Response<ClientBody> {
    let refusal = Refusal::new(Reason::Cancelled, Hop::Consumer, "the request did not arrive in time");
    let status = clients.house.unrecorded_status(&refusal);
    let failed = Failed { status: &status, hop: Some(Hop::Consumer), head: None, said: None, violations: &[] };
    match cause {
        Unread::TooSlow => failed.response_as(StatusCode::REQUEST_TIMEOUT.as_u16()),
        Unread::TooLarge | Unread::Gone | Unread::Unfit => failed.response(),
    }
}

async fn exchange(
    clients: Arc<Clients>,
    call: Call,
    system: &SystemId,
    request: Request<Incoming>,
    place: Place,
) -> Response<ClientBody> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let deadline = calls::deadline_of(&parts.headers);
    let (cancel, guard) = calls::cancellation();
    let (call, flaws) = (Arc::new(call), Flaws::default());
    let request = if call.streams() {
        Ok(stream(&clients, &call, lingering(body), flaws.clone()))
    } else {
        one(&clients, &call, body, &flaws).await
    };
    let request = match request {
        Ok(request) => request,
        Err(cause) => return unread(&clients, cause),
    };
    let query = Query {
        system: system.clone(),
        default_provider: clients.default_provider(system),
        path: call.method(),
        headers: parts.headers,
        request,
        deadline,
        cancel,
    };
    let (begun, head) = tokio::sync::oneshot::channel();
    let task = run((clients, arrived), call, (query, flaws), place, begun);
    // A stream outlives its head: only until then does this future stand for the caller.
    let response = calls::head_of(tracing::Instrument::instrument(task, calls::span("consumer")), head).await;
    let _ = guard.disarm();
    response
        .unwrap_or_else(|| answers::plain(StatusCode::INTERNAL_SERVER_ERROR, "the exchange ended without an answer"))
}

fn unfit(told: String) -> ports::Request {
    ports::Request::Unfit(Box::new(Refusal::new(Reason::Malformed, Hop::Consumer, told)))
}

/// Makes the messages of a streamed request.
fn stream(clients: &Clients, call: &Arc<Call>, body: ports::RequestBody, flaws: Flaws) -> ports::Request {
    if call.query.as_deref().is_some_and(|query| !query.is_empty()) {
        return unfit("this path takes no query: fields go into the lines of the body".to_owned());
    }
    ports::Request::Stream(streamed::of_lines(body, call.clone(), clients.request_limits().0, flaws))
}

/// Makes the message of a request that is one.
async fn one(clients: &Clients, call: &Arc<Call>, body: Incoming, flaws: &Flaws) -> Result<ports::Request, Unread> {
    let (limit, within) = clients.request_limits();
    let mut body = match calls::read_message(body, limit, within).await {
        Ok(body) => body,
        // The exchange refuses and records it.
        Err(Unread::TooLarge) => return Ok(ports::Request::One(calls::oversized(limit))),
        Err(cause @ (Unread::TooSlow | Unread::Gone | Unread::Unfit)) => return Err(cause),
    };
    // What is empty is not compressed either.
    if call.gzip && !body.is_empty() {
        body = match compression::unpack(body, limit).await {
            Ok(body) => body,
            Err(error) => return Ok(error.request(limit)),
        };
    }
    Ok(match read(call, body).await {
        Asked { unfit: Some(found), .. } => {
            let told = found.to_string();
            flaws.note(found.violations);
            unfit(told)
        }
        Asked { message, .. } => ports::Request::One(message),
    })
}

impl Call {
    /// The path of the method that the route leads to; what was called, where there is no route.
    fn method(&self) -> String {
        self.route.as_ref().map_or_else(|| self.path.clone(), |route| route.method().path().to_owned())
    }

    /// Whether what is called takes a stream of requests.
    fn streams(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.method().shape().streams_requests())
    }

    /// Whether what is called answers with a stream.
    fn streams_answers(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.method().shape().streams_answers())
    }

    fn read(&self, body: &[u8]) -> Asked {
        let Found::Route(matched) = self.routes.find(&self.verb, &self.path) else {
            return Asked { message: framing::framed(&[]), unfit: None };
        };
        match matched.request(self.query.as_deref(), body) {
            Ok(message) => Asked { message: framing::framed(&message), unfit: None },
            Err(unfit) => Asked { message: Bytes::new(), unfit: Some(unfit) },
        }
    }

    fn answer(&self, message: &[u8], limit: usize) -> Result<Vec<u8>, rest::NoJson> {
        self.route.as_ref().map_or(Err(rest::NoJson::Malformed), |route| route.answer(message, limit))
    }
}

/// Reads a request, off the thread of the connection where it is long.
async fn read(call: &Arc<Call>, body: Bytes) -> Asked {
    if body.len() <= IN_PLACE {
        return call.read(&body);
    }
    let reader = call.clone();
    tokio::task::spawn_blocking(move || reader.read(&body)).await.unwrap_or_else(|_| {
        let violation = Violation { field: String::new(), description: "the body could not be read".to_owned() };
        Asked { message: Bytes::new(), unfit: Some(Unfit { violations: vec![violation] }) }
    })
}

/// Writes an answer, off the thread of the connection where it is long.
async fn write(call: &Arc<Call>, message: Bytes, limit: usize) -> Result<Vec<u8>, rest::NoJson> {
    if message.len() <= IN_PLACE {
        return call.answer(&message, limit);
    }
    let writer = call.clone();
    tokio::task::spawn_blocking(move || writer.answer(&message, limit)).await.unwrap_or(Err(rest::NoJson::Unshowable))
}

/// Runs one exchange to its end; the head goes out as soon as it is known what it says.
async fn run(
    (clients, arrived): (Arc<Clients>, Instant),
    call: Arc<Call>,
    (query, flaws): (Query, Flaws),
    place: Place,
    begun: Begun,
) {
    let most = clients.house.limits.message();
    let limit = most.saturating_mul(EXPANSION);
    let stream = match clients.consumer.serve(query).await {
        Answer::Unary(answer) => {
            clients.observer.settled(&answer.settled, arrived);
            let message = answer.message.clone().unwrap_or_default();
            let _ = begun.send(whole(&call, (answer, message), &flaws, (limit, place)).await);
            return;
        }
        Answer::Stream(stream) => stream,
    };
    if call.streams_answers() {
        let (sender, body) = Body::channel(STREAM_BUFFER);
        let head = answers::lines(&stream.head, Held::until_sent(body, place.clone()));
        let mut outlet = JsonLines::new(BodyOutlet(sender), (begun, head), (call, limit));
        let answer = Box::pin(stream.run(&clients.consumer, &mut outlet)).await;
        clients.observer.settled(&answer.settled, arrived);
        outlet.end(failed(&answer, &flaws.told(&answer.status))).await;
        drop(place);
    } else {
        let mut outlet = OneAnswer::new(most);
        let answer = Box::pin(stream.run(&clients.consumer, &mut outlet)).await;
        clients.observer.settled(&answer.settled, arrived);
        let _ = begun.send(whole(&call, (answer, outlet.message()), &flaws, (limit, place)).await);
    }
}

/// An answer of one message, or a failure.
async fn whole(
    call: &Arc<Call>,
    (answer, message): (UnaryAnswer, Bytes),
    flaws: &Flaws,
    (limit, place): (usize, Place),
) -> Response<ClientBody> {
    if answer.status.code != 0 {
        return failed(&answer, &flaws.told(&answer.status)).response();
    }
    let message = if message.len() > framing::PREFIX { message.slice(framing::PREFIX..) } else { Bytes::new() };
    match write(call, message, limit).await {
        Ok(json) => {
            let body = Held::until_sent(Body::full(json.into(), None), place);
            answers::json(&answer.head, &answer.said, body)
        }
        Err(error) => answers::unshowable(&answer.head, error),
    }
}

fn failed<'a>(answer: &'a UnaryAnswer, violations: &'a [Violation]) -> Failed<'a> {
    Failed { status: &answer.status, hop: answer.hop, head: Some(&answer.head), said: Some(&answer.said), violations }
}

/// Inserts what can stand in a header.
fn insert(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
