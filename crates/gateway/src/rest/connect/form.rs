//! What a request of the Connect protocol is, as its headers say.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A time-out has at most so many digits, in milliseconds.
const TIMEOUT_DIGITS: usize = 10;
const GZIP: &str = "gzip";

/// How messages are written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Proto,
    Json,
}

/// What a request of the Connect protocol is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::rest) struct Form {
    pub(super) codec: Codec,
    /// In envelopes, with an end of its own.
    pub(super) streams: bool,
}

impl Form {
    /// Reads the headers. JSON without the protocol's own header is a call in JSON over HTTP as any other.
    pub(in crate::rest) fn of(headers: &HeaderMap) -> Option<Self> {
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

    pub(super) fn media_type(self) -> &'static str {
        match (self.codec, self.streams) {
            (Codec::Proto, true) => "application/connect+proto",
            (Codec::Json, true) => "application/connect+json",
            (Codec::Proto, false) => "application/proto",
            (Codec::Json, false) => "application/json",
        }
    }

    /// The header that names how a side compresses.
    pub(super) fn encoding(self) -> HeaderName {
        if self.streams { HeaderName::from_static("connect-content-encoding") } else { header::CONTENT_ENCODING }
    }

    fn accepted(self) -> HeaderName {
        if self.streams { HeaderName::from_static("connect-accept-encoding") } else { header::ACCEPT_ENCODING }
    }
}

/// How a request is compressed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Plain,
    Gzip,
    /// In a way that is not taken.
    Otherwise,
}

/// How one call is compressed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    pub(super) request: Given,
    /// The answer may be gzip.
    pub(super) answer: bool,
}

impl Coding {
    /// Reads the headers. Who does not say what it takes, takes what it sends.
    pub(super) fn of(form: Form, headers: &HeaderMap) -> Self {
        let request = match headers.get(form.encoding()).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Given::Plain,
            Some(b"gzip") => Given::Gzip,
            Some(_) => Given::Otherwise,
        };
        let mut lists = headers.get_all(form.accepted()).iter().peekable();
        let answer = match lists.peek() {
            None => request == Given::Gzip,
            Some(_) => lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).any(is_gzip),
        };
        Self { request, answer }
    }
}

/// Whether one member of a list of encodings is gzip, and is not said to be unwanted.
fn is_gzip(one: &str) -> bool {
    let mut parts = one.split(';').map(str::trim);
    let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(GZIP));
    let weight = parts.find_map(|part| part.strip_prefix("q="));
    named && weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0))
}

/// Reads how long the caller waits.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("connect-timeout-ms")?.to_str().ok()?;
    let milliseconds = text.parse().ok().filter(|_| text.len() <= TIMEOUT_DIGITS);
    milliseconds.map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_request_is_of_the_connect_protocol_by_its_media_type() {
        let form = |pairs: &[(&'static str, &'static str)]| Form::of(&headers(pairs)).map(Form::media_type);
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
    fn gzip_is_agreed_on_by_the_headers_of_the_form() {
        let unary = [("content-encoding", "accept-encoding"), ("connect-content-encoding", "connect-accept-encoding")];
        for (streams, (sent, taken)) in [false, true].into_iter().zip(unary) {
            for (pairs, request, answer) in [
                (&[][..], Given::Plain, false),
                (&[(sent, "identity")], Given::Plain, false),
                (&[(sent, "gzip")], Given::Gzip, true),
                (&[(sent, "gzip"), (taken, "identity")], Given::Gzip, false),
                (&[(sent, "gzip"), (taken, "br")], Given::Gzip, false),
                (&[(taken, "br, gzip")], Given::Plain, true),
                (&[(taken, "br;q=1.0,GZIP;q=0.8")], Given::Plain, true),
                (&[(taken, "gzip;q=0")], Given::Plain, false),
                (&[(sent, "br")], Given::Otherwise, false),
                (&[(sent, "br"), (taken, "gzip")], Given::Otherwise, true),
                // Those of the other form say nothing.
                (&[("x-content-encoding", "gzip")], Given::Plain, false),
            ] {
                let form = Form { codec: Codec::Proto, streams };
                assert_eq!(Coding::of(form, &headers(pairs)), Coding { request, answer }, "{streams} {pairs:?}");
            }
        }
    }
}
