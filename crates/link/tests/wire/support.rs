//! Servers, links and certificates for the tests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use drawbridge_link::client::{self, Links, Target};
use drawbridge_link::server::{self, Caller, Event, Identified, Server, Sharing, Transport, listener};
use drawbridge_link::{Body, Incoming};
use http::{HeaderMap, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// Long enough for anything that happens, short enough for a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

/// An authority and what it has issued.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub root: CertificateDer<'static>,
}

/// A certificate with its key.
pub struct Credentials {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let root = parameters.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(parameters, key), root }
    }

    pub fn issue(&self, name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    /// Settings of a server that wants a certificate of this authority.
    pub fn server(&self, credentials: &Credentials) -> ServerConfig {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider()).build().unwrap();
        let mut settings = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![credentials.certificate.clone()], credentials.key.clone_key())
            .unwrap();
        settings.alpn_protocols = vec![server::ALPN.to_vec()];
        settings
    }

    /// Settings of a client that wants a server of this authority.
    pub fn client(&self, credentials: Option<&Credentials>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots());
        let mut settings = match credentials {
            Some(credentials) => builder
                .with_client_auth_cert(vec![credentials.certificate.clone()], credentials.key.clone_key())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        settings.alpn_protocols = vec![server::ALPN.to_vec()];
        settings
    }
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Two gateways' worth of certificates under one authority.
pub struct Pair {
    pub authority: Authority,
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

impl Pair {
    pub fn new() -> Self {
        let authority = Authority::new("county.example");
        let server = authority.server(&authority.issue("gateway.example"));
        let client = authority.client(Some(&authority.issue("asker.example")));
        Self { authority, server: Arc::new(server), client: Arc::new(client) }
    }

    pub fn transport(&self) -> Transport {
        let settings = Arc::clone(&self.server);
        Transport::Tls(Arc::new(move || Arc::clone(&settings)))
    }

    pub fn links(&self, address: SocketAddr, limits: client::Limits) -> Links<()> {
        links(address, Arc::clone(&self.client), limits)
    }
}

pub fn links(address: SocketAddr, tls: Arc<ClientConfig>, limits: client::Limits) -> Links<()> {
    Links::new(limits, move |()| {
        Ok(Target {
            address: address.to_string(),
            server_name: ServerName::try_from("gateway.example").unwrap(),
            tls: Arc::clone(&tls),
        })
    })
}

/// A server, where it listens, and what it has reported.
pub struct Serving {
    pub server: Server<()>,
    pub address: SocketAddr,
    pub events: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    /// Serves on a free port of the current runtime.
    pub fn start<S, F, B>(limits: server::Limits, transport: Transport, service: S) -> Self
    where
        S: Fn(Arc<Caller<()>>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::start_at(([127, 0, 0, 1], 0).into(), limits, transport, service)
    }

    pub fn start_at<S, F, B>(address: SocketAddr, limits: server::Limits, transport: Transport, service: S) -> Self
    where
        S: Fn(Arc<Caller<()>>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let server = Server::observed(
            limits,
            transport,
            |_| Ok(Identified { peer: (), name: "asker.example".into() }),
            move |event: Event| seen.lock().unwrap().push(format!("{event:?}")),
        );
        let listener = listener(address, Sharing::Alone).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(listener, service).await.unwrap() });
        Self { server, address, events }
    }

    /// Whether an event was reported whose text has `part` in it.
    pub fn reported(&self, part: &str) -> bool {
        let events = self.events.lock().unwrap();
        events.iter().any(|event| event.contains(part))
    }

    pub async fn until_empty(&self) {
        soon(async {
            while !self.server.connections().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Gives back what it was sent, with `grpc-status` in the trailers.
pub async fn echo(_: Arc<Caller<()>>, request: Request<Incoming>) -> Response<Body> {
    let collected = request.into_body().collect(16 * 1024 * 1024).await;
    Response::new(Body::full(collected.unwrap_or_default().data, Some(ok())))
}

pub fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    trailers
}

pub fn question(data: impl Into<Bytes>) -> Request<Body> {
    Request::post("/health.v1.Patients/Find")
        .header("content-type", "application/grpc")
        .body(Body::full(data.into(), None))
        .unwrap()
}

/// Asks, and reads the whole answer.
pub async fn ask(links: &Links<()>, data: impl Into<Bytes>) -> (Bytes, Option<HeaderMap>) {
    let response = soon(links.send(&(), question(data))).await.unwrap();
    let answer = soon(response.into_body().collect(16 * 1024 * 1024)).await.unwrap();
    (answer.data, answer.trailers)
}
