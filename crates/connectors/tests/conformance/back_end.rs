//! A gRPC back end of our own, on hyper, that misbehaves on demand.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, std::io::Error>;

/// What the tests can see of the back end.
#[derive(Default)]
pub(crate) struct Seen {
    /// Calls being worked on.
    pub(crate) working: AtomicUsize,
    /// Messages given to HTTP/2.
    pub(crate) produced: AtomicUsize,
    /// Connections accepted.
    pub(crate) connections: AtomicUsize,
    /// Headers of the last call.
    pub(crate) headers: Mutex<HeaderMap>,
}

/// A running back end. Dropping it cuts its connections.
pub(crate) struct BackEnd {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    acceptor: Option<TlsAcceptor>,
    manners: Manners,
    tasks: Option<JoinSet<()>>,
}

/// What a back end allows on one connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Calls at once.
    pub(crate) at_once: Option<u32>,
    /// Calls before the connection is closed, in good order.
    pub(crate) calls: Option<usize>,
}

impl BackEnd {
    pub(crate) async fn start(acceptor: Option<TlsAcceptor>) -> Self {
        Self::with(acceptor, Manners::default()).await
    }

    pub(crate) async fn with(acceptor: Option<TlsAcceptor>, manners: Manners) -> Self {
        let mut back_end = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            seen: Arc::default(),
            acceptor,
            manners,
            tasks: None,
        };
        back_end.listen().await;
        back_end
    }

    /// Listens at the same address as before.
    pub(crate) async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let seen = Arc::clone(&self.seen);
        let acceptor = self.acceptor.clone();
        let manners = self.manners;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Ends with this task, so cutting it cuts them.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&seen);
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, seen, manners).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, seen, manners).await;
                            }
                        }
                    }
                });
            }
        });
        self.tasks = Some(tasks);
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(mut tasks) = self.tasks.take() {
            tasks.shutdown().await;
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, seen: Arc<Seen>, manners: Manners) {
    let calls = AtomicUsize::new(0);
    let enough = Arc::new(Notify::new());
    let had_enough = Arc::clone(&enough);
    let service = service_fn(move |request| {
        if manners.calls == Some(calls.fetch_add(1, Ordering::SeqCst) + 1) {
            enough.notify_one();
        }
        answer(request, Arc::clone(&seen))
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    if let Some(at_once) = manners.at_once {
        builder.max_concurrent_streams(at_once);
    }
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        () = had_enough.notified() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Counts a call as long as it lives.
struct Working(Arc<Seen>);

impl Working {
    fn on(seen: &Arc<Seen>) -> Self {
        seen.working.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A stream that holds the call it belongs to.
struct Held<S>(S, #[expect(dead_code, reason = "it counts by being there")] Working);

impl<S: Stream + Unpin> Stream for Held<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.poll_next_unpin(context)
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Body>, Infallible> {
    let working = Working::on(&seen);
    let (head, body) = request.into_parts();
    *seen.headers.lock().unwrap() = head.headers;
    let body = body.collect().await.unwrap().to_bytes();
    let asked = body.get(5..).unwrap_or_default().to_vec();
    let response = match head.uri.path() {
        "/fixture.v1.Patients/Find" => found(&text(&asked), working).await,
        "/fixture.v1.Patients/All" => all(&asked, working, seen),
        "/grpc.health.v1.Health/Check" => status(12, "no health service here"),
        _ => status(12, "unknown"),
    };
    Ok(response)
}

/// Reads field 1, a short text.
fn text(asked: &[u8]) -> String {
    String::from_utf8(asked.get(2..).unwrap_or_default().to_vec()).unwrap()
}

async fn found(number: &str, working: Working) -> Response<Body> {
    match number {
        "slow" => std::future::pending().await,
        "nobody" => status(5, "no such patient"),
        "unauthenticated" => status(16, "who are you?"),
        "malformed" => frames(vec![Ok(data(&[1, 0, 0, 0, 1, 7])), Ok(ok())], working),
        "large" => frames(vec![Ok(message(&[0; 65 * 1024])), Ok(ok())], working),
        "silent" => frames(vec![Ok(ok())], working),
        "twice" => frames(vec![Ok(message(&patient("1"))), Ok(message(&patient("1"))), Ok(ok())], working),
        "torn" => frames(vec![Ok(data(&[0, 0, 0, 0, 9, 7])), Ok(ok())], working),
        "unstatused" => frames(vec![Ok(message(&patient("1")))], working),
        "lost" => frames(vec![Ok(message(&patient("1"))), Err(std::io::Error::other("lost"))], working),
        "late error" => frames(
            vec![
                Ok(message(&patient("1"))),
                Ok(trailers(&[("grpc-status", "9"), ("grpc-message", "not%20now"), ("drawbridge-hop", "none")])),
            ],
            working,
        ),
        "odd details" => {
            frames(vec![Ok(trailers(&[("grpc-status", "9"), ("grpc-status-details-bin", "no base64!")]))], working)
        }
        "large details" => {
            let mut headers = headers(&[("grpc-status", "9")]);
            let details = format!("{}A=", "A".repeat(27_306));
            headers.insert("grpc-status-details-bin", HeaderValue::try_from(details).unwrap());
            frames(vec![Ok(Frame::trailers(headers))], working)
        }
        number if number.contains(',') => lengthy(number, working),
        "proxy" => {
            let mut response = frames(Vec::new(), working);
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
            response
        }
        number => {
            let mut body = BytesMut::from(&patient(number)[..]);
            body.put_slice(&[0x12, 6, 0x0a, 4]);
            body.put_slice(b"Ashe");
            body.put_slice(&[0x28, 3]);
            frames(vec![Ok(message(&body)), Ok(ok())], working)
        }
    }
}

fn all(asked: &[u8], working: Working, seen: Arc<Seen>) -> Response<Body> {
    let count = move |_: &Result<Frame<Bytes>, std::io::Error>| {
        seen.produced.fetch_add(1, Ordering::SeqCst);
    };
    let endless = stream::repeat_with(|| Ok(message(&patient(&"x".repeat(100))))).inspect(count);
    match asked {
        [] => body(endless.boxed(), working),
        [0x08, 100] => {
            let last = Ok(Frame::trailers(long(300, 1, false)));
            body(endless.take(100).chain(stream::iter([last])).boxed(), working)
        }
        [0x08, first @ 0..=127] => {
            body(endless.take(usize::from(*first)).chain(stream::iter([Ok(ok())])).boxed(), working)
        }
        // A number below nought: one message, and then silence.
        _ => body(endless.take(1).chain(stream::pending()).boxed(), working),
    }
}

fn patient(number: &str) -> Vec<u8> {
    [&[0x0a, u8::try_from(number.len()).unwrap()], number.as_bytes()].concat()
}

fn message(bytes: &[u8]) -> Frame<Bytes> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(bytes.len()).unwrap());
    framed.put_slice(bytes);
    Frame::data(framed.freeze())
}

fn data(bytes: &[u8]) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(bytes))
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> Frame<Bytes> {
    Frame::trailers(headers(pairs))
}

fn ok() -> Frame<Bytes> {
    trailers(&[("grpc-status", "0")])
}

/// A patient with a head or trailers of some length, as `place, pieces, KiB` says.
fn lengthy(asked: &str, working: Working) -> Response<Body> {
    let [place, pieces, kibibytes] = asked.split(", ").collect::<Vec<_>>().try_into().unwrap();
    let (pieces, kibibytes) = (pieces.parse().unwrap(), kibibytes.parse().unwrap());
    let found = message(&patient("1"));
    if place == "head" {
        let mut response = frames(vec![Ok(found), Ok(ok())], working);
        response.headers_mut().extend(long(kibibytes, pieces, true));
        response.headers_mut().remove("grpc-status");
        return response;
    }
    let trailers = long(kibibytes, pieces, place.starts_with("status last"));
    frames(vec![Ok(found), Ok(Frame::trailers(trailers))], working)
}

/// `OK`, with so many bytes in so many values before or behind it.
fn long(kibibytes: usize, pieces: usize, status_last: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let ok = |headers: &mut HeaderMap| headers.insert("grpc-status", HeaderValue::from_static("0"));
    if !status_last {
        ok(&mut headers);
    }
    for _ in 0..pieces {
        headers.append("x-long", HeaderValue::try_from("x".repeat(kibibytes * 1024 / pieces)).unwrap());
    }
    if status_last {
        ok(&mut headers);
    }
    headers
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn frames(frames: Vec<Result<Frame<Bytes>, std::io::Error>>, working: Working) -> Response<Body> {
    body(stream::iter(frames).boxed(), working)
}

fn body(frames: stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>, working: Working) -> Response<Body> {
    let body = StreamBody::new(Unshared(Mutex::new(Held(frames, working))));
    let mut response = Response::new(BodyExt::boxed(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// Makes a stream `Sync`, as a boxed body wants it.
struct Unshared<S>(Mutex<S>);

impl<S: Stream + Unpin> Stream for Unshared<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.get_mut().unwrap().poll_next_unpin(context)
    }
}

/// A response of nothing but a head.
fn status(code: u8, message: &'static str) -> Response<Body> {
    let empty = http_body_util::Empty::new().map_err(|never| match never {});
    let mut response = Response::new(BodyExt::boxed(empty));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    headers.insert("grpc-status-details-bin", HeaderValue::from_static("AQID"));
    response
}

/// An authority with certificates for both sides.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(
            rcgen::DnType::CommonName,
            format!("authority {:x}", u64::from_le_bytes(*key.public_key_raw().last_chunk().unwrap())),
        );
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Returns a certificate and its key, as PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Returns what accepts connections that present a certificate of this authority.
    pub(crate) fn acceptor(&self, name: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsAcceptor {
        use rustls_pki_types::pem::PemObject;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer};

        let (certificate, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Writes the authority, and a certificate with its key, into a folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        let (certificate, key) = self.issue(name);
        std::fs::write(folder.join("ca.pem"), &self.pem).unwrap();
        std::fs::write(folder.join("certificate.pem"), certificate).unwrap();
        std::fs::write(folder.join("key.pem"), key).unwrap();
    }
}
