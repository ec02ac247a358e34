//! A gRPC back end of one's own making that tells how each streamed request reached it: whole, or broken off. grpcio's server reads a
//! reset as an end where it comes before the first message, so it cannot tell.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use exchange::framing;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinHandle};

/// How a request ended, with the bytes that came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was ended by who sent it.
    Whole(usize),
    /// It was reset.
    Broken(usize),
}

/// The back end. Its connections end when it is dropped.
pub struct Collector {
    /// Its port on loopback.
    pub port: u16,
    ends: Arc<Mutex<Vec<End>>>,
    server: JoinHandle<()>,
}

impl Collector {
    /// Starts it, in plain text. It answers every whole request with one message, the number of bytes as field 1.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = Arc::<Mutex<Vec<End>>>::default();
        let told = ends.clone();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                let service = service_fn(move |request| {
                    let told = told.clone();
                    async move { Ok::<_, Infallible>(serve(request, &told).await) }
                });
                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn(async move {
                    let _ = http2.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, ends, server }
    }

    /// How the requests ended so far.
    pub fn ends(&self) -> Vec<End> {
        self.ends.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(request: Request<Incoming>, told: &Mutex<Vec<End>>) -> Response<Answer> {
    let mut body = request.into_body();
    let (mut bytes, mut whole) = (0, true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => whole = false,
        }
        if !whole {
            break;
        }
    }
    told.lock().unwrap().push(if whole { End::Whole(bytes) } else { End::Broken(bytes) });
    let mut response = Response::new(answer(bytes));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

type Answer = UnsyncBoxBody<Bytes, io::Error>;

fn answer(bytes: usize) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let answer = framing::framed(&[0x08, u8::try_from(bytes & 0x7f).unwrap()]);
    StreamBody::new(stream::iter([Ok(Frame::data(answer)), Ok(Frame::trailers(trailers))])).boxed_unsync()
}
