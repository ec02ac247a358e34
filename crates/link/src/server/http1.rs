//! Serves the requests of one HTTP/1.1 connection, where that is allowed.
//!
//! The surprising fact: HTTP/1.1 has no sign of life, so what tells a dead peer from a slow one is whether it takes any of its answer
//! within [`Http2::stall`](crate::Http2::stall).

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection::Connection;
use super::connections::Caller;
use super::{Event, count};
use crate::body::Incoming;
use crate::upkeep::{OpenStream, Order};

/// Bytes that are read, or wait to be written, at once. More than any head, and what hyper takes as its least is 8 KiB.
const BUFFER: usize = 64 * 1024;

impl<P: Send + Sync + 'static> Connection<P> {
    /// Serves requests one after the other until the peer ends, breaks a rule, or has been asked to.
    pub(super) async fn serve_http1<IO, S, F, B>(self, io: IO, service: S)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        S: Fn(Arc<Caller<P>>, Request<Incoming>) -> F,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limits = self.shared.limits();
        let caller = &self.admitted.caller;
        let control = &self.admitted.control;
        let counters = &self.shared.counters;
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            count(&counters.streams);
            let open = control.begin_stream();
            let answer = service(Arc::clone(caller), request.map(Incoming::http1));
            async move {
                let response = answer.await;
                Ok::<_, Infallible>(response.map(|body| Counted { body, _open: open }))
            }
        });
        // What is longer than it may be is handed on all the same, as with HTTP/2, so that it is refused in words.
        let header_bytes = limits.http2.header_bytes.max(limits.http2.told_header_bytes);
        let header_bytes = usize::try_from(header_bytes).unwrap_or(usize::MAX);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.http2.header_timeout)
            .max_header_size(header_bytes)
            .max_buf_size(header_bytes.max(BUFFER))
            .serve_connection(TokioIo::new(Patient { io, patience: limits.http2.stall, waits: None }), service);
        let mut connection = pin!(connection);
        let mut retires = limits.connection_age.map(|age| Box::pin(tokio::time::sleep(age)));
        let ended = poll_fn(|context| {
            let aged = retires.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready());
            if aged {
                retires = None;
                connection.as_mut().graceful_shutdown();
            }
            match control.listen(context) {
                Order::Serve => {}
                Order::Drain => connection.as_mut().graceful_shutdown(),
                Order::Close => return Poll::Ready(Ok(())),
            }
            connection.as_mut().poll(context)
        })
        .await;
        if let Err(cause) = ended {
            let (address, name) = (caller.address, Arc::clone(&caller.name));
            (self.shared.observe)(Event::Broken { address, name, cause: cause.into() });
        }
    }
}

/// A body that counts as an open stream until it has been sent, or given up.
struct Counted<B> {
    body: B,
    _open: OpenStream,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A transport whose peer has to take what is written within a time.
struct Patient<IO> {
    io: IO,
    patience: Duration,
    /// Runs while the peer takes nothing.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<IO> Patient<IO> {
    fn watch<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waits = None;
            return outcome;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waits.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing of its answer")))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(context, outcome)
    }
}
