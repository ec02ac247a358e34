//! gRPC-Web on the clients' port: gRPC for clients that see no trailers, over either version of HTTP.
//!
//! The surprising fact: nothing of an exchange knows of it. The request is gRPC's but for its content type, and the trailers of the answer
//! become a last frame of its body. Source: gRPC-Web, `PROTOCOL-WEB.md`; the binary form alone.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use federation::SystemId;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use link::{Body, Incoming, server::Caller};

use crate::{
    calls,
    clients::{ClientBody, Clients},
};

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// Whether a request is a gRPC-Web one.
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    media_type == b"application/grpc-web" || media_type == b"application/grpc-web+proto"
}

/// Answers one request as gRPC, and puts the trailers into the body.
pub(crate) async fn serve(
    clients: Arc<Clients>,
    caller: Arc<Caller<SystemId>>,
    mut request: Request<Incoming>,
) -> Response<ClientBody> {
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let (mut head, body) = clients.grpc(caller, request).await.into_parts();
    if !calls::is_grpc(&head.headers) {
        return Response::from_parts(head, body);
    }
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc-web+proto"));
    Response::from_parts(head, ClientBody::ours(Body::other(WebBody { body, ended: false })))
}

struct WebBody {
    body: ClientBody,
    ended: bool,
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
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.ended = true;
                    Some(Ok(Frame::data(framed(&trailers))))
                }
                Err(frame) => Some(Ok(frame)),
            },
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

/// Writes trailers as HTTP/1 writes headers, in a frame.
fn framed(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(text.len().saturating_add(5));
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    frame.unsplit(text);
    frame.freeze()
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
    fn the_binary_form_is_known_by_its_media_type() {
        for (text, expected) in [
            ("application/grpc-web", true),
            ("application/grpc-web+proto; charset=utf-8", true),
            ("application/grpc-web-text", false),
            ("application/grpc", false),
            ("application/json", false),
        ] {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(is_grpc_web(&headers), expected, "{text}");
        }
    }
}
