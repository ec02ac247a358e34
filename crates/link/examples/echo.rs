//! Measures links on one machine: a server with one runtime, callers with another, mutual TLS over loopback.
//!
//! `cargo run --release -p drawbridge-link --example echo -- [seconds] [link|direct] [callers]`
//!
//! Prints calls a second and the CPU of both sides for each call, for one caller and for 64, and rows a second of a stream. The variant
//! `direct` writes to TLS as h2 asks, so that what [`drawbridge_link::CoalescedWrites`] saves can be read off.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use drawbridge_link::client::{self, Links, Target};
use drawbridge_link::server::{self, Caller, Identified, Server, Sharing, Transport, listener};
use drawbridge_link::{Body, Incoming};
use http::{HeaderMap, HeaderValue, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const ROWS: usize = 100_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(3, |text| text.parse().unwrap());
    let variant = arguments.next();
    let wanted = |name| variant.as_deref().is_none_or(|variant| variant == name);
    let callers = arguments.next().map(|text| text.parse().unwrap());
    let callers = callers.map_or_else(|| vec![1, 64, 512], |callers| vec![callers]);
    let window = Duration::from_secs(seconds);
    let (server, client) = settings();
    if wanted("link") {
        measure_link(Arc::clone(&server), &client, &callers, window);
    }
    if wanted("direct") {
        measure_directly(server, client, &callers, window);
    }
}

fn measure_link(server: Arc<ServerConfig>, client: &Arc<ClientConfig>, callers: &[usize], window: Duration) {
    let address = serve(server);
    runtime().block_on(async {
        let tls = Arc::clone(client);
        let links = Links::new(client::Limits::default(), move |()| {
            Ok(Target {
                address: address.to_string(),
                server_name: ServerName::try_from("gateway.example").unwrap(),
                tls: Arc::clone(&tls),
            })
        });
        for &callers in callers {
            let links = links.clone();
            let call = move || {
                let links = links.clone();
                async move {
                    let response = links.send(&(), request("/echo", 1024)).await.unwrap();
                    let answer = response.into_body().collect(4096).await.unwrap();
                    assert_eq!(answer.data.len(), 1024);
                }
            };
            calls("link", callers, window, call).await;
        }
        let (begun, cpu) = (Instant::now(), cpu());
        let response = links.send(&(), request("/rows", 0)).await.unwrap();
        let mut body = response.into_body();
        let mut received = 0;
        while let Some(chunk) = body.data().await {
            received += chunk.unwrap().len();
        }
        assert_eq!(received, ROWS * 1024);
        println!(
            "link    stream of 1 KiB rows: {:>9.0} rows/s  {:>6.2} µs CPU a row",
            ROWS as f64 / begun.elapsed().as_secs_f64(),
            micros(cpu_since(cpu)) / ROWS as f64,
        );
    });
}

fn measure_directly(server: Arc<ServerConfig>, client: Arc<ClientConfig>, callers: &[usize], window: Duration) {
    let address = serve_directly(server);
    runtime().block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("gateway.example").unwrap();
        let stream = TlsConnector::from(client).connect(name, stream).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for &callers in callers.iter().filter(|callers| **callers <= 100) {
            let requests = requests.clone();
            let call = move || {
                let mut requests = requests.clone();
                async move {
                    let (head, body) = request("/echo", 1024).into_parts();
                    let mut head = Request::from_parts(head, ());
                    *head.uri_mut() = "https://gateway/echo".parse().unwrap();
                    let (answer, mut sender) = requests.send_request(head, false).unwrap();
                    let data = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
                    sender.send_data(data, true).unwrap();
                    let mut body = answer.await.unwrap().into_body();
                    while let Some(chunk) = body.data().await {
                        let length = chunk.unwrap().len();
                        body.flow_control().release_capacity(length).unwrap();
                    }
                    body.trailers().await.unwrap();
                }
            };
            calls("direct", callers, window, call).await;
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Calls for a while, and prints what came of it.
async fn calls<C, F>(variant: &str, callers: usize, window: Duration, call: C)
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    call().await;
    let (begun, cpu) = (Instant::now(), cpu());
    let until = begun + window;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let call = call.clone();
            tokio::spawn(async move {
                let mut count = 0u64;
                while Instant::now() < until {
                    call().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    println!(
        "{variant:<7} {callers:>3} callers, 1 KiB: {:>9.0} calls/s  {:>6.1} µs CPU a call (both sides)  {:>6.0} µs a call",
        count as f64 / begun.elapsed().as_secs_f64(),
        micros(cpu_since(cpu)) / count as f64,
        micros(begun.elapsed()) * callers as f64 / count as f64,
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// CPU time of this process.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
        let nanos = stat.split(' ').next().unwrap_or_default();
        nanos.parse::<u64>().unwrap_or_default()
    });
    Duration::from_nanos(nanos.sum())
}

fn cpu_since(then: Duration) -> Duration {
    cpu().saturating_sub(then)
}

fn request(path: &str, size: usize) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::full(vec![1; size].into(), None))
        .unwrap()
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

async fn answer(_: Arc<Caller<()>>, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() == "/rows" {
        let (mut sender, body) = Body::channel(64 * 1024);
        tokio::spawn(async move {
            let row = Bytes::from(vec![1; 1024]);
            for _ in 0..ROWS {
                sender.send(row.clone()).await.unwrap();
            }
            sender.finish(Some(trailers()));
        });
        return Response::new(body);
    }
    let data = request.into_body().collect(4096).await.unwrap().data;
    Response::new(Body::full(data, Some(trailers())))
}

fn serve(settings: Arc<ServerConfig>) -> SocketAddr {
    let transport = Transport::Tls(Arc::new(move || Arc::clone(&settings)));
    let server = Server::new(server::Limits::default(), transport, |_| {
        Ok(Identified { peer: (), name: "asker.example".into() })
    });
    let listener = listener(([127, 0, 0, 1], 0).into(), Sharing::Shared).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || runtime().block_on(server.serve(listener, answer)));
    address
}

/// Serves without holding writes: what the same protocol costs as h2 writes it.
fn serve_directly(settings: Arc<ServerConfig>) -> SocketAddr {
    let listener = listener(([127, 0, 0, 1], 0).into(), Sharing::Alone).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = TlsAcceptor::from(settings).accept(stream).await.unwrap();
            let mut h2 = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = h2.accept().await {
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    let mut data = Bytes::new();
                    while let Some(chunk) = body.data().await {
                        data = chunk.unwrap();
                        body.flow_control().release_capacity(data.len()).unwrap();
                    }
                    let mut sender = respond.send_response(Response::new(()), false).unwrap();
                    sender.send_data(data, false).unwrap();
                    sender.send_trailers(trailers()).unwrap();
                });
            }
        });
    });
    address
}

fn settings() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = parameters.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(parameters, key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (vec![certificate], PrivateKeyDer::from(key))
    };
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let roots = Arc::new(roots);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build().unwrap();
    let (certificates, key) = issue("gateway.example");
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .unwrap();
    server.alpn_protocols = vec![server::ALPN.to_vec()];
    let (certificates, key) = issue("asker.example");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .unwrap();
    client.alpn_protocols = vec![server::ALPN.to_vec()];
    (Arc::new(server), Arc::new(client))
}
