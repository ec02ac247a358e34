//! The responses to calls in JSON.

use exchange::{Head, Hop, Said, Status, headers};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use link::Body;
use rest::{Failure, NoJson, PROBLEM_JSON, Violation};
use serde_json::Value;

use super::insert;
use crate::{calls::Held, clients::ClientBody};

/// How a call failed.
pub(super) struct Failed<'a> {
    pub(super) status: &'a Status,
    pub(super) hop: Option<Hop>,
    pub(super) head: Option<&'a Head>,
    /// The application's metadata that came with it.
    pub(super) said: Option<&'a Said>,
    pub(super) violations: &'a [Violation],
}

impl Failed<'_> {
    /// Returns the problem details.
    pub(super) fn problem(&self) -> Value {
        let exchange = self.head.map(|head| head.exchange.to_string());
        self.failure(exchange.as_deref()).problem()
    }

    fn failure<'a>(&'a self, exchange: Option<&'a str>) -> Failure<'a> {
        Failure {
            code: self.status.code,
            message: &self.status.message,
            details: &self.status.details,
            exchange,
            hop: self.hop.map(Hop::as_str),
            violations: self.violations,
        }
    }

    /// Returns the problem details as a response.
    pub(super) fn response(&self) -> Response<ClientBody> {
        self.response_as(self.failure(None).status())
    }

    /// The same with another HTTP status than that of the code.
    pub(super) fn response_as(&self, status: u16) -> Response<ClientBody> {
        let mut told = self.problem();
        if let Some(told) = told.as_object_mut() {
            told.insert("status".to_owned(), status.into());
        }
        let mut response = problem(status, &told);
        let map = response.headers_mut();
        if let Some(head) = self.head {
            initial(head, map);
        }
        if let Some(said) = self.said {
            write(said, map);
        }
        if let Some(hop) = self.hop {
            map.insert(headers::HOP, HeaderValue::from_static(hop.as_str()));
        }
        if let Some(seconds) = self.failure(None).retry_after() {
            map.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// Returns what the trailers of a stream say.
    pub(super) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(headers::GRPC_STATUS, HeaderValue::from(self.status.code));
        if let Some(hop) = self.hop {
            trailers.insert(headers::HOP, HeaderValue::from_static(hop.as_str()));
        }
        trailers
    }
}

/// What every answer of an exchange says in its headers.
pub(super) fn initial(head: &Head, map: &mut HeaderMap) {
    insert(map, headers::EXCHANGE_ID, &head.exchange.to_string());
    if let Some(withheld) = head.withheld {
        insert(map, headers::WITHHELD, &contract::Digest(withheld).to_string());
    }
    map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// The application's metadata of a whole answer: initial and trailing both stand in its headers.
fn write(said: &Said, map: &mut HeaderMap) {
    said.initial.write(map);
    said.trailing.write(map);
}

/// A whole answer.
pub(super) fn json(head: &Head, said: &Said, body: Held) -> Response<ClientBody> {
    let mut response = answer(head, "application/json", body);
    write(said, response.headers_mut());
    response
}

/// The head of a stream of answers, and its body.
pub(super) fn lines(head: &Head, body: Held) -> Response<ClientBody> {
    let mut response = answer(head, "application/x-ndjson", body);
    // HTTP/1.1 sends trailers only if they are announced, and asked for by `TE: trailers`.
    response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("grpc-status, drawbridge-hop"));
    response
}

fn answer(head: &Head, media_type: &'static str, body: Held) -> Response<ClientBody> {
    let mut response = Response::new(ClientBody::Ours(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    initial(head, response.headers_mut());
    response
}

/// The answer is recorded as given; what cannot be shown is only its form in JSON.
pub(super) fn unshowable(head: &Head, error: NoJson) -> Response<ClientBody> {
    let mut response = problem(StatusCode::INTERNAL_SERVER_ERROR.as_u16(), &no_form(head, error));
    initial(head, response.headers_mut());
    response
}

/// Problem details of an answer without a form in JSON.
pub(super) fn no_form(head: &Head, error: NoJson) -> Value {
    let detail = format!("{error}; it was given and recorded, and gRPC can carry it");
    let exchange = head.exchange.to_string();
    let failure = Failure { code: 13, message: &detail, exchange: Some(&exchange), ..Failure::default() };
    let mut problem = failure.problem();
    if let Some(problem) = problem.as_object_mut() {
        problem.insert("type".to_owned(), "urn:drawbridge:rest:no-json".into());
        problem.insert("title".to_owned(), "The answer has no form in JSON".into());
    }
    problem
}

/// A request that is none of an exchange.
pub(super) fn plain(status: StatusCode, detail: &str) -> Response<ClientBody> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    problem(status.as_u16(), &body)
}

/// The path is there, for other HTTP methods.
pub(super) fn wrong_verb(verbs: &[&str]) -> Response<ClientBody> {
    // Where there is `GET`, there is `HEAD`.
    let head = (verbs.contains(&"GET") && !verbs.contains(&"HEAD")).then_some("HEAD");
    let allowed = verbs.iter().copied().chain(head).collect::<Vec<_>>().join(", ");
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allowed}"));
    insert(response.headers_mut(), header::ALLOW, &allowed);
    response
}

/// A JSON document.
pub(super) fn document(body: bytes::Bytes) -> Response<ClientBody> {
    let mut response = Response::new(ClientBody::ours(Body::full(body, None)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn problem(status: u16, body: &Value) -> Response<ClientBody> {
    let mut response = Response::new(ClientBody::ours(Body::full(body.to_string().into(), None)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response
}
