//! gRPC-Web on the clients' port: gRPC for clients that see no trailers, over either version of HTTP.
//!
//! The surprising fact: nothing of an exchange knows of it. The request is gRPC's but for its content type, and the trailers of the answer
//! become a last frame of its body. Source: gRPC-Web, `PROTOCOL-WEB.md`. Its last word on the text form is not followed, as no proxy
//! follows it: binary metadata in trailers stays in base64 of its own.

mod text;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use contract::framing::prefixed;
use federation::SystemId;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use link::{Body, Incoming, server::Caller};

use crate::{
    calls,
    clients::{ClientBody, Clients},
};
pub use text::{Decoded, NotBase64, written};

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// How a body is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Form {
    Binary,
    /// In base64.
    Text,
}

impl Form {
    fn named(media_type: &[u8]) -> Option<Self> {
        match media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii() {
            b"application/grpc-web" | b"application/grpc-web+proto" => Some(Self::Binary),
            b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        })
    }
}

/// How request and answer of a call are written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forms {
    request: Form,
    answer: Form,
}

impl Forms {
    /// Reads the headers; none where the request is not a gRPC-Web one. The answer has the form that `Accept` names first, else that of
    /// the request.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let request = Form::named(headers.get(header::CONTENT_TYPE)?.as_bytes())?;
        let mut accepted =
            headers.get_all(header::ACCEPT).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        let answer = accepted.find_map(Form::named).unwrap_or(request);
        Some(Self { request, answer })
    }
}

/// Answers one request as gRPC, and puts the trailers into the body.
pub(crate) async fn serve(
    clients: Arc<Clients>,
    caller: Arc<Caller<SystemId>>,
    (forms, mut request): (Forms, Request<Incoming>),
) -> Response<ClientBody> {
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if forms.request == Form::Text {
        request = request.map(|body| Incoming::other(text::Decoded::new(body)));
    }
    let (mut head, body) = clients.grpc(caller, request).await.into_parts();
    if !calls::is_grpc(&head.headers) {
        return Response::from_parts(head, body);
    }
    head.headers.insert(header::CONTENT_TYPE, forms.answer.media_type());
    Response::from_parts(head, ClientBody::ours(Body::other(WebBody { body, form: forms.answer, ended: false })))
}

struct WebBody {
    body: ClientBody,
    form: Form,
    ended: bool,
}

impl WebBody {
    fn frame(&self, data: Bytes) -> Frame<Bytes> {
        Frame::data(match self.form {
            Form::Binary => data,
            Form::Text => text::written(&data),
        })
    }
}

impl http_body::Body for WebBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let data = match frame.into_trailers() {
            Ok(trailers) => {
                self.ended = true;
                framed(&trailers)
            }
            Err(frame) => frame.into_data().unwrap_or_default(),
        };
        Poll::Ready(Some(Ok(self.frame(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

/// Writes trailers as HTTP/1 writes headers, in a frame.
#[must_use]
pub fn framed(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    prefixed(TRAILERS, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_a_frame_of_their_own() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(0));
        assert_eq!(framed(&trailers), &b"\x80\0\0\0\x10grpc-status: 0\r\n"[..]);
        assert_eq!(framed(&HeaderMap::new()), &b"\x80\0\0\0\0"[..]);
    }

    #[test]
    fn both_forms_are_known_by_their_media_types() {
        use Form::{Binary, Text};
        for (sent, accepted, expected) in [
            ("application/grpc-web", None, Some((Binary, Binary))),
            ("application/grpc-web+proto; charset=utf-8", Some("*/*"), Some((Binary, Binary))),
            ("application/grpc-web-text", None, Some((Text, Text))),
            ("application/grpc-web-text+proto", Some("application/grpc-web-text"), Some((Text, Text))),
            ("application/grpc-web", Some("application/grpc-web-text, */*"), Some((Binary, Text))),
            ("application/grpc-web-text", Some("text/html, application/grpc-web+proto"), Some((Text, Binary))),
            ("application/grpc-web-texts", None, None),
            ("application/grpc", Some("application/grpc-web"), None),
            ("application/json", None, None),
        ] {
            let pairs = [Some((header::CONTENT_TYPE, sent)), accepted.map(|accepted| (header::ACCEPT, accepted))];
            let headers =
                pairs.into_iter().flatten().map(|(name, text)| (name, HeaderValue::from_static(text))).collect();
            let expected = expected.map(|(request, answer)| Forms { request, answer });
            assert_eq!(Forms::of(&headers), expected, "{sent} {accepted:?}");
        }
    }
}
