//! The Connect protocol on the clients' port: calls of all four kinds, in protobuf or JSON.
//!
//! The surprising fact: its envelopes are gRPC's own, so a stream in protobuf is passed on as it comes, and only its end is another.
//! Source: <https://connectrpc.com/docs/protocol>. `GET` is refused on purpose: a question in a URL is one that others keep.

mod envelopes;
mod failures;
mod form;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use contract::Shape;
use exchange::{Answer, Head, Hop, Query, Reason, Refusal, UnaryAnswer, framing, ports};
use federation::SystemId;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use link::{Body, Incoming};
use rest::Found;

use super::{Asked, Begun, Call, EXPANSION, Flaws, Rest, answers, read, streamed, write};
use crate::{
    calls::{self, Held, Unread},
    clients::{ClientBody, Clients, NO_PLACE},
    compression::{self, Packer, Unpacked},
    lingering::{lingering, read_on},
    places::Place,
    ports::{BodyOutlet, STREAM_BUFFER},
};
use envelopes::{Envelopes, end, unwrapped};
use failures::{beside, failed, failure, no_form, told, unrecorded};
pub(super) use failures::{in_url, only_post};
pub(super) use form::Form;
use form::{Codec, Coding, Given};

/// Messages of an answer that are shorter stay as they are, in bytes: gzip gains nothing there.
const LEAST_PACKED: usize = 1024;

/// Answers one request of the Connect protocol.
pub(super) async fn serve(
    rest: &Rest,
    clients: Arc<Clients>,
    system: &SystemId,
    (form, request): (Form, Request<Incoming>),
) -> Response<ClientBody> {
    match *request.method() {
        Method::POST => {}
        Method::GET => return only_post(),
        _ => {
            read_on(request);
            return answers::wrong_verb(&["POST"]);
        }
    }
    if let Some(told) = clients.long_header(&request) {
        read_on(request);
        return unrecorded(&clients, form, &Refusal::new(Reason::TooLarge, Hop::Consumer, told));
    }
    let path = request.uri().path().to_owned();
    let routes = rest.routes(&clients.house);
    let route = match routes.find("POST", &path) {
        Found::Route(matched) if matched.route.method().path() == path => Some(matched.route.clone()),
        Found::Route(_) | Found::Verbs(_) | Found::Nothing => None,
    };
    if route.as_ref().is_some_and(|route| (route.method().shape() != Shape::Unary) != form.streams) {
        let told = "a method with one request and one answer takes `application/proto` or `application/json`, one that streams \
                    `application/connect+proto` or `application/connect+json`";
        read_on(request);
        return answers::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, told);
    }
    let Some(place) = clients.place(system).await else {
        clients.observer.shed("consumer");
        read_on(request);
        return unrecorded(&clients, form, &Refusal::new(Reason::Overloaded, Hop::Consumer, NO_PLACE));
    };
    let call = Call { routes, verb: "POST".to_owned(), path, query: None, gzip: false, route };
    exchange(clients, system, (form, Arc::new(call)), request, place).await
}

/// One call: what it is, what it asks, and what was found wrong with that.
struct Asking {
    form: Form,
    coding: Coding,
    call: Arc<Call>,
    flaws: Flaws,
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
    let deadline = form::timeout(&parts.headers).and_then(|timeout| Instant::now().checked_add(timeout));
    let (cancel, guard) = calls::cancellation();
    let asking = Asking { form, coding: Coding::of(form, &parts.headers), call, flaws: Flaws::default() };
    let request = if asking.call.streams() {
        Some(asking.stream(lingering(body), clients.request_limits().0))
    } else {
        asking.one(&clients, body).await
    };
    let Some(request) = request else {
        let told = "the request did not arrive in time";
        return unrecorded(&clients, form, &Refusal::new(Reason::Cancelled, Hop::Consumer, told));
    };
    let query = Query {
        system: system.clone(),
        default_provider: clients.default_provider(system),
        path: asking.call.path.clone(),
        headers: parts.headers,
        request,
        deadline,
        cancel,
    };
    let (begun, head) = tokio::sync::oneshot::channel();
    let task = run((clients, arrived), asking, query, place, begun);
    // A stream outlives its head: only until then does this future stand for the caller.
    let response = calls::head_of(tracing::Instrument::instrument(task, calls::span("consumer")), head).await;
    let _ = guard.disarm();
    response
        .unwrap_or_else(|| answers::plain(StatusCode::INTERNAL_SERVER_ERROR, "the exchange ended without an answer"))
}

fn unfit(reason: Reason, told: impl Into<String>) -> ports::Request {
    ports::Request::Unfit(Box::new(Refusal::new(reason, Hop::Consumer, told)))
}

fn otherwise() -> ports::Request {
    let told = "a request may be compressed with `gzip`, or not at all (`identity`)";
    let refusal = Refusal::new(Reason::Malformed, Hop::Consumer, told);
    ports::Request::Unfit(Box::new(refusal.prescribed(tonic::Code::Unimplemented)))
}

impl Asking {
    /// Makes the messages of a streamed request. What cannot be made into one is refused by the exchange, so that it is recorded.
    fn stream(&self, body: ports::RequestBody, most: usize) -> ports::Request {
        let body = match self.coding.request {
            Given::Plain => body,
            Given::Gzip => Box::pin(Unpacked::new(body, most)),
            Given::Otherwise => return otherwise(),
        };
        ports::Request::Stream(match self.form.codec {
            Codec::Proto => body,
            Codec::Json => streamed::of_envelopes(body, self.call.clone(), most, self.flaws.clone()),
        })
    }

    /// Makes the message of a request that is one; none where it does not come.
    async fn one(&self, clients: &Clients, body: Incoming) -> Option<ports::Request> {
        let (most, patience) = clients.request_limits();
        let limit = most.saturating_add(if self.form.streams { framing::PREFIX } else { 0 });
        match calls::read_message(body, limit, patience).await {
            Ok(body) => Some(self.message(body, most).await),
            // The exchange refuses and records it.
            Err(Unread::TooLarge) => Some(ports::Request::One(calls::oversized(most))),
            Err(Unread::TooSlow | Unread::Gone | Unread::Unfit) => None,
        }
    }

    async fn message(&self, body: Bytes, most: usize) -> ports::Request {
        let (compressed, body) = if self.form.streams {
            match unwrapped(&body) {
                Some(found) => found,
                None => return unfit(Reason::Malformed, "the body is not one message in an envelope"),
            }
        } else {
            // What is empty is not compressed either.
            (self.coding.request == Given::Gzip && !body.is_empty(), body)
        };
        let body = match self.coding.request {
            Given::Otherwise => return otherwise(),
            Given::Plain if compressed => {
                let told = "a message is compressed, and `Connect-Content-Encoding` does not say how";
                return unfit(Reason::Malformed, told);
            }
            Given::Gzip if compressed => match compression::unpack(body, most).await {
                Ok(body) => body,
                Err(error) => return error.request(most),
            },
            Given::Plain | Given::Gzip => body,
        };
        if self.form.codec == Codec::Proto {
            return ports::Request::One(framing::framed(&body));
        }
        match read(&self.call, body).await {
            Asked { unfit: Some(found), .. } => {
                let told = found.to_string();
                self.flaws.note(found.violations);
                unfit(Reason::Malformed, told)
            }
            Asked { message, .. } => ports::Request::One(message),
        }
    }
}

/// Runs one exchange to its end; the head goes out as soon as it is known what it says.
async fn run((clients, arrived): (Arc<Clients>, Instant), asking: Asking, query: Query, place: Place, begun: Begun) {
    let limit = clients.house.limits.message().saturating_mul(EXPANSION);
    match clients.consumer.serve(query).await {
        Answer::Unary(answer) => {
            clients.observer.settled(&answer.settled, arrived);
            let _ = begun.send(if asking.form.streams {
                let flaws = asking.flaws.told(&answer.status);
                let end = end(&failure(&answer, &flaws), &answer);
                head(asking.form, &answer.head, Held::until_sent(Body::full(end, None), place))
            } else {
                unary(&asking, answer, (limit, place)).await
            });
        }
        Answer::Stream(stream) => {
            let Asking { form, coding, call, flaws } = asking;
            let (sender, body) = Body::channel(STREAM_BUFFER);
            let mut head = head(form, &stream.head, Held::until_sent(body, place.clone()));
            let packer = coding.answer.then(|| Packer::beyond(LEAST_PACKED));
            if packer.is_some() {
                head.headers_mut().insert(form.encoding(), HeaderValue::from_static("gzip"));
            }
            let mut outlet = Envelopes::new(BodyOutlet(sender), (begun, head), (form, packer), (call, limit));
            let answer = Box::pin(stream.run(&clients.consumer, &mut outlet)).await;
            clients.observer.settled(&answer.settled, arrived);
            outlet.end(&answer, &flaws.told(&answer.status)).await;
            drop(place);
        }
    }
}

async fn unary(asking: &Asking, answer: UnaryAnswer, (limit, place): (usize, Place)) -> Response<ClientBody> {
    if answer.status.code != 0 {
        return failed(&failure(&answer, &asking.flaws.told(&answer.status)), &answer);
    }
    let message = answer.message.clone().unwrap_or_default();
    let message = if message.len() > framing::PREFIX { message.slice(framing::PREFIX..) } else { Bytes::new() };
    let body = match asking.form.codec {
        Codec::Proto => message,
        Codec::Json => match write(&asking.call, message, limit).await {
            Ok(json) => json.into(),
            Err(error) => return failed(&no_form(&told(error)), &answer),
        },
    };
    let packed =
        if asking.coding.answer && body.len() >= LEAST_PACKED { compression::pack(body.clone()).await } else { None };
    let gzip = packed.is_some();
    let body = Body::full(packed.unwrap_or(body), None);
    let mut response = head(asking.form, &answer.head, Held::until_sent(body, place));
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    beside(&answer, response.headers_mut());
    response
}

fn head(form: Form, head: &Head, body: Held) -> Response<ClientBody> {
    let mut response = Response::new(ClientBody::Ours(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    answers::initial(head, response.headers_mut());
    response
}
