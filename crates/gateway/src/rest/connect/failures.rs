//! How a call of the Connect protocol failed, and what stands beside its answer.

use contract::framing::prefixed;
use exchange::{Refusal, UnaryAnswer, headers};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use link::Body;
use rest::{Failure, NoJson, Violation, http_status};
use serde_json::json;

use super::{envelopes::END, form::Form};
use crate::{
    clients::{ClientBody, Clients},
    rest::{answers, insert},
};

/// What is told to whom puts a request into a URL.
const ONLY_POST: &str = "requests are taken by POST alone, also where a method has no side effects: by GET what is asked would stand in the \
                         URL, and URLs are kept by proxies, logs and histories";

/// Whether the query of a `GET` holds a request of the Connect protocol.
pub(in crate::rest) fn in_url(query: Option<&str>) -> bool {
    let has = |name: &str| {
        let pairs = query.unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split('=').next()).any(|known| known == name)
    };
    has("connect") || (has("encoding") && has("message"))
}

/// Refuses a request in a URL, as its client can read it.
pub(in crate::rest) fn only_post() -> Response<ClientBody> {
    let code = tonic::Code::Unimplemented as i32;
    let mut response = error(&Failure { code, message: ONLY_POST, ..Failure::default() });
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    insert(response.headers_mut(), header::ALLOW, "POST");
    insert(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    response
}

/// The answer is recorded as given; what cannot be shown is only its form in JSON.
pub(super) fn told(error: NoJson) -> String {
    format!("{error}; it was given and recorded, and protobuf can carry it")
}

pub(super) fn no_form(told: &str) -> Failure<'_> {
    Failure { code: tonic::Code::Internal as i32, message: told, ..Failure::default() }
}

pub(super) fn failure<'a>(answer: &'a UnaryAnswer, violations: &'a [Violation]) -> Failure<'a> {
    let exchange::Status { code, message, details } = &answer.status;
    Failure { code: *code, message, details, violations, ..Failure::default() }
}

/// A unary call that failed.
pub(super) fn failed(failure: &Failure<'_>, answer: &UnaryAnswer) -> Response<ClientBody> {
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
pub(super) fn beside(answer: &UnaryAnswer, map: &mut HeaderMap) {
    answer.said.initial.write(map);
    for (name, value) in trailers(answer) {
        let name = HeaderName::try_from(format!("trailer-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            map.append(name, value);
        }
    }
}

pub(super) fn trailers(answer: &UnaryAnswer) -> Vec<(String, String)> {
    let hop = answer.hop.map(|hop| (headers::HOP.as_str().to_owned(), hop.as_str().to_owned()));
    answer.said.trailing.pairs().into_iter().chain(hop).collect()
}

pub(super) fn unrecorded(clients: &Clients, form: Form, refusal: &Refusal) -> Response<ClientBody> {
    let status = clients.house.unrecorded_status(refusal);
    let failure =
        Failure { code: status.code, message: &status.message, details: &status.details, ..Failure::default() };
    if !form.streams {
        return error(&failure);
    }
    let end = json!({"error": failure.connect_error()}).to_string();
    let mut response = Response::new(ClientBody::ours(Body::full(prefixed(END, end.as_bytes()), None)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_a_url_is_known_by_its_query() {
        for (query, expected) in [
            (Some("connect=v1&encoding=json&message=%7B%7D"), true),
            (Some("message=&encoding=proto&base64=1"), true),
            (Some("message=1"), false),
            (Some("encoding=json&note=message"), false),
            (Some("reconnect=v1"), false),
            (None, false),
        ] {
            assert_eq!(in_url(query), expected, "{query:?}");
        }
    }
}
