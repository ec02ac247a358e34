//! The plain gRPC back end behind every contender: `bench.v1.Echo`, on one thread.
//!
//! It prints its address as its first line, and ends when its standard input closes, so it never outlives the run.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::messages::{self, Row, RowsRequest};

/// About how much of a stream is handed to HTTP/2 at once, in bytes: what other gRPC servers gather too.
const BATCH: usize = 32 * 1024;

/// Serves until standard input closes.
///
/// # Errors
///
/// When no port can be had.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        let accepting = async {
            loop {
                if let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(serve(tcp));
                }
            }
        };
        let mut rest = Vec::new();
        let mut stdin = tokio::io::stdin();
        tokio::select! {
            () = accepting => {}
            _ = stdin.read_to_end(&mut rest) => {}
        }
        Ok::<(), anyhow::Error>(())
    })?;
    // A blocking read of standard input does not hold the end up.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(tcp: TcpStream) {
    // Without it a small answer may wait for an acknowledgement; the connection works either way.
    let _ = tcp.set_nodelay(true);
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .serve_connection(TokioIo::new(tcp), service_fn(answer));
    // A caller that goes away in the middle is its own business.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let (head, body) = request.into_parts();
    let answer = match body.collect().await {
        Ok(body) => choose(head.uri.path(), body.to_bytes()),
        Err(_) => Answer::failed("13"),
    };
    let mut response = Response::new(answer);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn choose(path: &str, body: Bytes) -> Answer {
    match path {
        // Request and answer look alike on the wire.
        "/bench.v1.Echo/Say" => Answer { part: body, times: 1, rest: Bytes::new(), status: Some("0") },
        "/bench.v1.Echo/Rows" => match body.get(5..).map(RowsRequest::decode) {
            Some(Ok(asked)) => Answer::rows(&asked),
            Some(Err(_)) | None => Answer::failed("3"),
        },
        // One byte of field 1 with the value 1: serving.
        "/grpc.health.v1.Health/Check" => {
            Answer { part: Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), times: 1, rest: Bytes::new(), status: Some("0") }
        }
        _ => Answer::failed("12"),
    }
}

/// The same bytes so many times, then the rest, then the status.
struct Answer {
    part: Bytes,
    times: u32,
    rest: Bytes,
    status: Option<&'static str>,
}

impl Answer {
    fn failed(status: &'static str) -> Self {
        Self { part: Bytes::new(), times: 0, rest: Bytes::new(), status: Some(status) }
    }

    fn rows(asked: &RowsRequest) -> Self {
        let row = messages::prefixed(&Row { payload: messages::payload(asked.size) });
        let together = u32::try_from((BATCH / row.len()).max(1)).unwrap_or(1);
        let repeated = |times: u32| Bytes::from(row.repeat(usize::try_from(times).unwrap_or_default()));
        Self {
            part: repeated(together),
            times: asked.count / together,
            rest: repeated(asked.count % together),
            status: Some("0"),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(times) = self.times.checked_sub(1) {
            self.times = times;
            return Poll::Ready(Some(Ok(Frame::data(self.part.clone()))));
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        }
        Poll::Ready(self.status.take().map(|status| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            Ok(Frame::trailers(trailers))
        }))
    }
}
