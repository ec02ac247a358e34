//! What both ports share: one exchange that runs to its end, watched by the request that it belongs to.

use std::{
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use link::{Body, Incoming};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use exchange::{
    Hop, Reason, Refusal, deadline, headers,
    ports::{Broken, Request},
};

use crate::{lingering::read_rest, places::Place, ports::body_limit, web::NotBase64};

/// Returns a token and what fires it when dropped.
pub(crate) fn cancellation() -> (CancellationToken, DropGuard) {
    let token = CancellationToken::new();
    (token.clone(), token.drop_guard())
}

/// Runs `exchange` until it has given the head of its answer to whom `head` belongs.
///
/// `None` where it ended without one. What is left of it then, or when who waits is dropped, goes on in a task of its own: nearly
/// every exchange is over by then, and costs no task.
pub(crate) fn head_of<F, T>(exchange: F, head: oneshot::Receiver<T>) -> HeadOf<F, T>
where
    F: Future<Output = ()> + Send + 'static,
{
    // Boxed here and not later: an `async fn` would hold the whole exchange in the future of who waits, which is moved.
    HeadOf { exchange: Some(Box::pin(exchange)), head }
}

/// Waits for the head of an exchange's answer, see [`head_of`].
pub(crate) struct HeadOf<F: Future<Output = ()> + Send + 'static, T> {
    exchange: Option<Pin<Box<F>>>,
    head: oneshot::Receiver<T>,
}

impl<F: Future<Output = ()> + Send + 'static, T> Future for HeadOf<F, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(exchange) = &mut self.exchange
            && exchange.as_mut().poll(context).is_ready()
        {
            self.exchange = None;
        }
        Pin::new(&mut self.head).poll(context).map(Result::ok)
    }
}

impl<F: Future<Output = ()> + Send + 'static, T> Drop for HeadOf<F, T> {
    fn drop(&mut self) {
        // Without a runtime the gateway has ended, and with it what it carried; what has panicked has ended too.
        if let (Some(rest), Ok(runtime), false) = (self.exchange.take(), Handle::try_current(), thread::panicking()) {
            let _goes_on = runtime.spawn(rest);
        }
    }
}

/// Reads when the caller stops waiting.
pub(crate) fn deadline_of(headers: &HeaderMap) -> Option<Instant> {
    let timeout = deadline::read_timeout(headers.get("grpc-timeout")?.to_str().ok()?)?;
    Instant::now().checked_add(timeout)
}

/// Reads a request with one message. One that is too large is read on, so that its client reads why it was refused.
pub(crate) async fn read_message(
    mut body: Incoming,
    limit: usize,
    within: std::time::Duration,
) -> Result<Bytes, Unread> {
    let read = tokio::time::timeout(within, body.read_to_end(limit)).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.data),
        Ok(Err(link::BodyError::TooLong { .. })) => {
            read_rest(body);
            Err(Unread::TooLarge)
        }
        Ok(Err(error)) if is_unfit(&error) => Err(Unread::Unfit),
        Ok(Err(
            link::BodyError::Reset(_)
            | link::BodyError::Lost(_)
            | link::BodyError::Other(_)
            | link::BodyError::LongTrailers,
        )) => Err(Unread::Gone),
        Err(_) => Err(Unread::TooSlow),
    }
}

/// Reads a request: one message, or the body of a stream.
///
/// # Errors
///
/// What kept the one message from being read.
pub(crate) async fn read_request(
    body: Incoming,
    streams: bool,
    (limit, within): (usize, std::time::Duration),
) -> Result<Request, Unread> {
    if streams {
        let broken = |error| if is_unfit(&error) { Broken::Unfit(unfit()) } else { Broken::Withdrawn };
        return Ok(Request::Stream(Box::pin(body.map_err(broken))));
    }
    match read_message(body, body_limit(limit), within).await {
        Ok(message) => Ok(Request::One(message)),
        // One byte above the limit is all that has to be kept for the exchange to refuse and record it.
        Err(Unread::TooLarge) => Ok(Request::One(oversized(limit))),
        Err(Unread::Unfit) => Ok(Request::Unfit(unfit())),
        Err(unread) => Err(unread),
    }
}

/// Whether what came is not in the form that it says it is in.
fn is_unfit(error: &link::BodyError) -> bool {
    matches!(error, link::BodyError::Other(error) if error.is::<NotBase64>())
}

fn unfit() -> Box<Refusal> {
    Box::new(Refusal::new(Reason::Malformed, Hop::Consumer, NotBase64.to_string()))
}

/// A message that is one byte above the limit, in its prefix alone.
pub(crate) fn oversized(limit: usize) -> Bytes {
    let length = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX).to_be_bytes();
    Bytes::copy_from_slice(&[&[0][..], &length].concat())
}

/// Why a request could not be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is above its limit.
    TooLarge,
    /// The caller took too long.
    TooSlow,
    /// The caller went away.
    Gone,
    /// It is not in the form that it says it is in.
    Unfit,
}

/// Returns the size of a request's header list as HTTP/2 counts it. Source: RFC 9113, section 6.5.2.
pub(crate) fn header_list<B>(request: &http::Request<B>) -> usize {
    const EACH: usize = 32;
    let uri = request.uri();
    let length = |part: Option<&str>| part.map_or(0, str::len);
    let path = length(uri.path_and_query().map(http::uri::PathAndQuery::as_str));
    let pseudo = [
        (":method", request.method().as_str().len()),
        (":scheme", length(uri.scheme_str())),
        (":authority", length(uri.authority().map(http::uri::Authority::as_str))),
        (":path", path),
    ];
    let fields = request.headers().iter().map(|(name, value)| (name.as_str(), value.len()));
    let sizes = pseudo.into_iter().chain(fields).map(|(name, value)| name.len().saturating_add(value));
    sizes.fold(0, |sum: usize, size| sum.saturating_add(size).saturating_add(EACH))
}

/// Returns the span of one exchange. Its fields are filled once they are known.
pub(crate) fn span(side: &'static str) -> tracing::Span {
    use tracing::field::Empty;
    tracing::info_span!("exchange", exchange.id = Empty, side, consumer = Empty, provider = Empty, method = Empty)
}

/// A body that holds a place among the exchanges at once until it has been sent.
pub(crate) struct Held {
    body: Body,
    place: Option<Place>,
}

impl Held {
    /// Holds no place: it has none, or its exchange's task holds it.
    pub(crate) fn free(body: Body) -> Self {
        Self { body, place: None }
    }

    /// Holds `place` until the body has been sent, or given up.
    pub(crate) fn until_sent(body: Body, place: Place) -> Self {
        Self { body, place: Some(place) }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = link::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.place = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Returns the head of every gRPC response.
pub(crate) fn grpc_head() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers
}

/// Returns a gRPC response with these headers.
pub(crate) fn respond<B>(headers: HeaderMap, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// Returns a response that is a gRPC status and nothing else.
pub(crate) fn status_only(status: &exchange::Status, hop: Option<exchange::Hop>) -> Response<Body> {
    let mut head = grpc_head();
    headers::write_status(status, &mut head);
    if let Some(hop) = hop {
        head.insert(headers::HOP, HeaderValue::from_static(hop.as_str()));
    }
    respond(head, Body::empty())
}

/// Returns an HTTP status without a body.
pub(crate) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Whether a request is a gRPC one.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    value == b"application/grpc"
        || value.starts_with(b"application/grpc+proto")
        || value.starts_with(b"application/grpc;")
}
