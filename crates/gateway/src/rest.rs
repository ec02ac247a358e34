//! JSON over HTTP on the clients' port: the same exchange as a gRPC call, asked and answered in JSON.
//!
//! Permission, record and certificate are those of a gRPC call: what is asked becomes the same [`Query`]. What cannot be made into a message
//! is refused by the exchange as well, once it is permitted, so that it is recorded.

mod answers;
mod connect;
mod documents;
mod lines;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use exchange::{Answer, Hop, Query, Reason, Refusal, framing, ports};
use federation::SystemId;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use link::{Body, Incoming};
use rest::{Found, Route, Routes, Unfit, Violation};

use crate::{
    calls::{self, Held, Unread},
    clients::{ClientBody, Clients, NO_PLACE},
    places::Place,
    ports::{BodyOutlet, STREAM_BUFFER},
};
use answers::Failed;
pub(crate) use documents::Rest;
use lines::JsonLines;

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
    /// Where the answer's form comes from; none where nothing is at the path.
    route: Option<Arc<Route>>,
}

/// What a call asks, as far as it could be read.
struct Asked {
    /// The method's path; what was called, where there is no such route.
    path: String,
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
        let path = request.uri().path();
        if path == DOCUMENT {
            return match *request.method() {
                Method::GET => self.document(&clients.house, system),
                _ => answers::wrong_verb(&["GET"]),
            };
        }
        let routes = self.routes(&clients.house);
        let verb = request.method().as_str().to_owned();
        let route = match routes.find(&verb, path) {
            Found::Route(matched) => Some(matched.route.clone()),
            Found::Verbs(verbs) => return answers::wrong_verb(&verbs),
            Found::Nothing => None,
        };
        let (path, query) = (path.to_owned(), request.uri().query().map(str::to_owned));
        let call = Call { routes, verb, path, query, route };
        if !is_json(request.headers()) {
            return answers::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be `application/json`");
        }
        let Some(place) = clients.place(system).await else {
            clients.observer.shed("consumer");
            return unrecorded(&clients, Reason::Overloaded, NO_PLACE);
        };
        exchange(clients, call, system, request, place).await
    }
}

/// Whether the body is JSON, or there is none.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    media_type.eq_ignore_ascii_case(b"application/json")
}

fn unrecorded(clients: &Clients, reason: Reason, told: &str) -> Response<ClientBody> {
    let status = clients.house.unrecorded_status(&Refusal::new(reason, Hop::Consumer, told));
    Failed { status: &status, hop: Some(Hop::Consumer), head: None, said: None, violations: &[] }.response()
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
    let (limit, within) = clients.request_limits();
    let body = match calls::read_message(body, limit, within).await {
        Ok(body) => Some(body),
        // The exchange refuses and records it.
        Err(Unread::TooLarge) => None,
        Err(Unread::TooSlow | Unread::Gone) => {
            return unrecorded(&clients, Reason::Cancelled, "the request did not arrive in time");
        }
    };
    let call = Arc::new(call);
    let asked = match body {
        Some(body) => read(&call, body).await,
        None => Asked { path: call.method(), message: calls::oversized(limit), unfit: None },
    };
    let refusal = |unfit: &Unfit| Refusal::new(Reason::Malformed, Hop::Consumer, unfit.to_string());
    let streams =
        clients.house.rules.load().contracts.method(&asked.path).is_some_and(|m| m.shape().streams_requests());
    let request = match &asked.unfit {
        _ if streams => {
            let told = "the method takes a stream of requests, which are sent over gRPC and not as JSON";
            ports::Request::Unfit(Box::new(Refusal::new(Reason::UnknownMethod, Hop::Consumer, told)))
        }
        Some(unfit) => ports::Request::Unfit(Box::new(refusal(unfit))),
        None => ports::Request::One(asked.message),
    };
    let query = Query {
        system: system.clone(),
        default_provider: clients.default_provider(system),
        path: asked.path,
        headers: parts.headers,
        request,
        deadline,
        cancel,
    };
    let violations = asked.unfit.map(|unfit| unfit.violations).unwrap_or_default();
    let (begun, head) = tokio::sync::oneshot::channel();
    let task = run((clients, arrived), call, (query, violations), place, begun);
    // A stream outlives its head: only until then does this future stand for the caller.
    let _running = tokio::spawn(tracing::Instrument::instrument(task, calls::span("consumer")));
    let response = head.await;
    let _ = guard.disarm();
    response
        .unwrap_or_else(|_| answers::plain(StatusCode::INTERNAL_SERVER_ERROR, "the exchange ended without an answer"))
}

impl Call {
    /// The path of the method that the route leads to; what was called, where there is no route.
    fn method(&self) -> String {
        self.route.as_ref().map_or_else(|| self.path.clone(), |route| route.method().path().to_owned())
    }

    fn read(&self, body: &[u8]) -> Asked {
        let path = self.method();
        let Found::Route(matched) = self.routes.find(&self.verb, &self.path) else {
            return Asked { path, message: framing::framed(&[]), unfit: None };
        };
        match matched.request(self.query.as_deref(), body) {
            Ok(message) => Asked { path, message: framing::framed(&message), unfit: None },
            Err(unfit) => Asked { path, message: Bytes::new(), unfit: Some(unfit) },
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
        Asked { path: call.method(), message: Bytes::new(), unfit: Some(Unfit { violations: vec![violation] }) }
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
    (query, violations): (Query, Vec<Violation>),
    place: Place,
    begun: Begun,
) {
    let limit = clients.house.limits.message().saturating_mul(EXPANSION);
    match clients.consumer.serve(query).await {
        Answer::Unary(answer) => {
            clients.observer.settled(&answer.settled, arrived);
            let failed = Failed {
                status: &answer.status,
                hop: answer.hop,
                head: Some(&answer.head),
                said: Some(&answer.said),
                violations: violations_for(&answer.status, &violations),
            };
            let response = if answer.status.code != 0 {
                failed.response()
            } else {
                let message = answer.message.clone().unwrap_or_default();
                let message =
                    if message.len() > framing::PREFIX { message.slice(framing::PREFIX..) } else { Bytes::new() };
                match write(&call, message, limit).await {
                    Ok(json) => {
                        let body = Held::until_sent(Body::full(json.into(), None), place);
                        answers::json(&answer.head, &answer.said, body)
                    }
                    Err(error) => answers::unshowable(&answer.head, error),
                }
            };
            let _ = begun.send(response);
        }
        Answer::Stream(stream) => {
            let (sender, body) = Body::channel(STREAM_BUFFER);
            let head = answers::lines(&stream.head, Held::until_sent(body, place.clone()));
            let mut outlet = JsonLines::new(BodyOutlet(sender), (begun, head), (call, limit));
            let answer = Box::pin(stream.run(&clients.consumer, &mut outlet)).await;
            clients.observer.settled(&answer.settled, arrived);
            let failed = Failed {
                status: &answer.status,
                hop: answer.hop,
                head: Some(&answer.head),
                said: Some(&answer.said),
                violations: &[],
            };
            outlet.end(failed).await;
            drop(place);
        }
    }
}

/// What is wrong with the request is told to whom may ask, and to nobody else.
fn violations_for<'a>(status: &exchange::Status, violations: &'a [Violation]) -> &'a [Violation] {
    if status.reason() == Some(Reason::Malformed) { violations } else { &[] }
}

/// Inserts what can stand in a header.
fn insert(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
