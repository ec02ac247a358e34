//! A provider's gateway of one's own making. It stands in for a member's own: the member's certificate, gateway key and log key,
//! and nothing of the shipped gateway but the formats on the wire. It answers honestly, but for what an [`Answer`] changes.

mod log;

use std::{collections::VecDeque, convert::Infallible, io, sync::Arc, time::SystemTime};

use bytes::Bytes;
use exchange::{Hop, Reason, Refusal, Status, digests, framing, headers, headers::Signed, millis};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use note::SigningKey;
use prost::Message;
use proto::{
    link::{
        CallShape, ConsumerClaims, LeafOpening, OpenResponse, ProveRequest, ProviderClosing, ProviderOpening,
        Seal as WireSeal,
    },
    records::{Kind, Shared, Side},
};
use records::{ExchangeId, half_hash, provider_leaf_of, provider_shared, receipt};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

pub use self::log::Log;
use crate::Member;

type Body = UnsyncBoxBody<Bytes, io::Error>;
/// What a test changes of something that the stand-in would send.
type Change<T> = Option<Box<dyn Fn(&mut T) + Send + Sync>>;

/// The stand-in. Its connections end when it is dropped.
pub struct StandIn {
    desk: Arc<Desk>,
    server: JoinHandle<()>,
}

/// What it knows and does, shared by its connections.
struct Desk {
    gateway: federation::GatewayId,
    key: SigningKey,
    log: Mutex<Log>,
    next: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<ConsumerClaims>>,
}

/// How one question is answered. The default is an honest answer without any message.
#[derive(Default)]
pub struct Answer {
    /// The messages, without prefix.
    pub messages: Vec<Bytes>,
    /// The paths that the agreement releases, and those that it withholds.
    pub fields: (Vec<String>, Vec<String>),
    /// Refuses instead.
    pub refusal: Option<Reason>,
    /// Changes the opening claims of a stream before they are signed.
    pub opening: Change<ProviderOpening>,
    /// Changes the promise that is signed with them.
    pub opening_promise: Change<Option<LeafOpening>>,
    /// Changes the closing claims before they are recorded and signed.
    pub closing: Change<ProviderClosing>,
    /// Changes the promise that is signed with them, and what opens its leaf.
    pub promise: Change<Option<LeafOpening>>,
    /// Signs instead of the gateway's key.
    pub key: Option<SigningKey>,
    /// Changes what goes out, after all of it was signed. Where the request is streamed, the headers have gone already.
    pub wire: Change<Wire>,
    /// Answers a streamed request without having read any of it.
    pub early: bool,
    /// Never answers at all.
    pub silent: bool,
    /// Changes the log once the answer's own leaves are in it.
    pub log: Change<Log>,
}

/// A reply as it goes out.
pub struct Wire {
    /// HTTP's own status.
    pub status: StatusCode,
    /// The reply's headers.
    pub headers: HeaderMap,
    /// The body, with prefixes; each piece is a frame.
    pub body: Vec<Bytes>,
    /// The trailers. `None` ends the stream without any.
    pub trailers: Option<HeaderMap>,
    /// Resets the stream after the body.
    pub reset: bool,
}

impl Wire {
    /// The map that the closing claims stand in.
    pub fn closing(&mut self) -> &mut HeaderMap {
        self.trailers.as_mut().unwrap_or(&mut self.headers)
    }
}

impl StandIn {
    /// Listens where the member's gateway would.
    pub async fn start(member: &Member) -> Self {
        let log_key = SigningKey::read_file(&member.folder.join("keys/log.key")).unwrap();
        let desk = Arc::new(Desk {
            gateway: member.gateway.clone(),
            key: member.gateway_key.clone(),
            log: Mutex::new(Log::new(log_key)),
            next: Mutex::default(),
            asked: Mutex::default(),
        });
        let acceptor = acceptor(member);
        let listener = TcpListener::bind(member.links).await.unwrap();
        let serving = desk.clone();
        let server = tokio::spawn(async move {
            // Its connections end with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serving.clone().connection(stream, acceptor.clone()));
            }
        });
        Self { desk, server }
    }

    /// Says how one of the next questions is answered, in their order.
    pub async fn answers(&self, answer: Answer) {
        self.desk.next.lock().await.push_back(answer);
    }

    /// The claims of all that was asked so far.
    pub async fn asked(&self) -> Vec<ConsumerClaims> {
        self.desk.asked.lock().await.clone()
    }

    /// Its log, to be looked at or forged.
    pub async fn log(&self) -> tokio::sync::MutexGuard<'_, Log> {
        self.desk.log.lock().await
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn acceptor(member: &Member) -> TlsAcceptor {
    let (certificate, key) = member.gateway_tls();
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

impl Desk {
    async fn connection(self: Arc<Self>, stream: TcpStream, acceptor: TlsAcceptor) {
        stream.set_nodelay(true).unwrap();
        // A handshake that fails is the asker's to tell.
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let service = service_fn(|request| {
            let desk = self.clone();
            async move { Ok::<_, Infallible>(desk.serve(request).await) }
        });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if !parts.uri.path().starts_with("/drawbridge.link.") {
            return self.exchange(&parts.headers, body).await;
        }
        let Ok(body) = body.collect().await else { return status(StatusCode::BAD_REQUEST) };
        let body = body.to_bytes();
        match parts.uri.path() {
            "/drawbridge.link.v1/Open" => message(&OpenResponse {
                protocol: 1,
                session: vec![7; 16].into(),
                window: 4096,
                time: millis(SystemTime::now()),
            }),
            "/drawbridge.link.v1/Prove" => match self.log.lock().await.prove(&ProveRequest::decode(body).unwrap()) {
                Some(response) => message(&response),
                None => status(StatusCode::SERVICE_UNAVAILABLE),
            },
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    async fn exchange(self: Arc<Self>, headers: &HeaderMap, body: Incoming) -> Response<Body> {
        let asked = Signed::read(headers).expect("the consumer's gateway signs its claims");
        let claims = ConsumerClaims::decode(asked.claims.clone()).unwrap();
        self.asked.lock().await.push(claims.clone());
        let answer = self.next.lock().await.pop_front().unwrap_or_default();
        if answer.silent {
            return std::future::pending().await;
        }
        if matches!(claims.shape(), CallShape::ClientStream | CallShape::Bidirectional) && answer.refusal.is_none() {
            return self.converse((asked, claims), answer, body).await;
        }
        let _ = body.collect().await;
        let mut log = self.log.lock().await;
        let mut wire = Reply { desk: &self, asked: &asked, claims: &claims, answer: &answer, log: &mut log }.wire();
        if let Some(change) = &answer.log {
            change(&mut log);
        }
        drop(log);
        if let Some(change) = &answer.wire {
            change(&mut wire);
        }
        send(wire)
    }

    /// Opens the reply first, since nothing of a streamed request comes before; then reads the request, and answers.
    async fn converse(
        self: Arc<Self>,
        (asked, claims): (Signed, ConsumerClaims),
        answer: Answer,
        body: Incoming,
    ) -> Response<Body> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        let opening = {
            let mut log = self.log.lock().await;
            Reply { desk: &self, asked: &asked, claims: &claims, answer: &answer, log: &mut log }.open(&mut headers)
        };
        let frames = async move {
            let read = if answer.early { Read::nothing(&claims) } else { Read::all(&claims, body).await };
            let mut log = self.log.lock().await;
            let mut reply = Reply { desk: &self, asked: &asked, claims: &claims, answer: &answer, log: &mut log };
            let body: Vec<Bytes> = answer.messages.iter().map(|message| framing::framed(message)).collect();
            let trailers = Some(reply.close(&opening, &body, &read));
            let mut wire = Wire { status: StatusCode::OK, headers: HeaderMap::new(), body, trailers, reset: false };
            if let Some(change) = &answer.wire {
                change(&mut wire);
            }
            stream::iter(frames_of(wire))
        };
        let mut response = Response::new(StreamBody::new(stream::once(frames).flatten()).boxed_unsync());
        *response.headers_mut() = headers;
        response
    }
}

/// What was read of a streamed request.
struct Read {
    digest: digests::Running,
    messages: u64,
    /// The consumer's closing claims.
    closing: Option<Signed>,
}

impl Read {
    fn nothing(claims: &ConsumerClaims) -> Self {
        Self { digest: digests::Running::new(&claims.nonce), messages: 0, closing: None }
    }

    async fn all(claims: &ConsumerClaims, mut body: Incoming) -> Self {
        let mut read = Self::nothing(claims);
        let mut walker = framing::MessageWalker::new(1 << 20);
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => {
                    walker.feed(&data).unwrap();
                    read.digest.update(&data);
                }
                Err(frame) => read.closing = frame.trailers_ref().and_then(Signed::read),
            }
        }
        read.messages = walker.messages();
        read
    }

    /// The digest over it; empty where the request was no stream.
    fn digest(&self) -> Vec<u8> {
        if self.closing.is_none() && self.messages == 0 { Vec::new() } else { self.digest.so_far().to_vec() }
    }
}

/// One reply in the making.
struct Reply<'a> {
    desk: &'a Desk,
    asked: &'a Signed,
    claims: &'a ConsumerClaims,
    answer: &'a Answer,
    log: &'a mut Log,
}

impl Reply<'_> {
    fn wire(mut self) -> Wire {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        let stream = self.claims.shape() == CallShape::ServerStream && self.answer.refusal.is_none();
        let opening = if stream { self.open(&mut headers) } else { Bytes::new() };
        let body: Vec<Bytes> = self.answer.messages.iter().map(|message| framing::framed(message)).collect();
        let ending = self.close(&opening, &body, &Read::nothing(self.claims));
        if body.is_empty() && !stream {
            headers.extend(ending);
            return Wire { status: StatusCode::OK, headers, body, trailers: None, reset: false };
        }
        Wire { status: StatusCode::OK, headers, body, trailers: Some(ending), reset: false }
    }

    /// Records the intent, and writes the signed opening claims.
    fn open(&mut self, headers: &mut HeaderMap) -> Bytes {
        let mut claims = ProviderOpening {
            exchange_id: self.claims.exchange_id.clone(),
            provider: self.desk.gateway.member().to_string(),
            provider_gateway: self.desk.gateway.name().to_owned(),
            consumer_claims_digest: digests::plain(&self.asked.claims).to_vec().into(),
            time: millis(SystemTime::now()),
        };
        if let Some(change) = &self.answer.opening {
            change(&mut claims);
        }
        let claims = Bytes::from(claims.encode_to_vec());
        let shared = Shared {
            kind: Kind::Intent.into(),
            side: Side::Provider.into(),
            exchange_id: self.claims.exchange_id.clone(),
            consumer_claims: self.asked.claims.clone(),
            consumer_seal: self.asked.seal.clone(),
            provider_opening: claims.clone(),
            ..Shared::default()
        };
        let mut leaf = Some(self.record(&shared));
        if let Some(change) = &self.answer.opening_promise {
            change(&mut leaf);
        }
        self.sign(receipt::PROVIDER_OPENING, claims.clone(), leaf).write(headers);
        claims
    }

    /// Records the outcome, and writes the status with the signed closing claims.
    fn close(&mut self, opening: &Bytes, body: &[Bytes], read: &Read) -> HeaderMap {
        let status = self.status();
        let mut digest = digests::Running::new(&self.claims.nonce);
        for message in body {
            digest.update(message);
        }
        let (released, withheld) = &self.answer.fields;
        let mut claims = ProviderClosing {
            exchange_id: self.claims.exchange_id.clone(),
            provider: self.desk.gateway.member().to_string(),
            provider_gateway: self.desk.gateway.name().to_owned(),
            consumer_claims_digest: digests::plain(&self.asked.claims).to_vec().into(),
            time: millis(SystemTime::now()),
            status: u32::try_from(status.code).unwrap(),
            refusal: self.answer.refusal.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
            response_digest: digest.close(&status).to_vec().into(),
            messages: body.len() as u64,
            released_digest: policy::fields_digest(released).0.to_vec().into(),
            withheld_digest: policy::fields_digest(withheld).0.to_vec().into(),
            request_closed: read.closing.is_some(),
            request_messages: read.messages,
            request_digest: read.digest().into(),
            ..ProviderClosing::default()
        };
        if let Some(change) = &self.answer.closing {
            change(&mut claims);
        }
        let kind = if self.answer.refusal.is_some() { Kind::Refusal } else { Kind::Outcome };
        let claims = Bytes::from(claims.encode_to_vec());
        let crossed = Shared {
            exchange_id: self.claims.exchange_id.clone(),
            consumer_claims: self.asked.claims.clone(),
            consumer_seal: self.asked.seal.clone(),
            provider_opening: opening.clone(),
            provider_closing: claims.clone(),
            consumer_closing: read.closing.as_ref().map(|closing| closing.claims.clone()).unwrap_or_default(),
            consumer_closing_seal: read.closing.as_ref().and_then(|closing| closing.seal.clone()),
            ..Shared::default()
        };
        let shared = provider_shared(kind, &crossed);
        let mut leaf = Some(self.record(&shared));
        if let Some(change) = &self.answer.promise {
            change(&mut leaf);
        }
        let mut trailers = HeaderMap::new();
        headers::write_status(&status, &mut trailers);
        self.sign(receipt::PROVIDER_CLOSING, claims, leaf).write(&mut trailers);
        trailers
    }

    fn status(&self) -> Status {
        let Some(reason) = self.answer.refusal else { return Status::OK };
        let exchange = ExchangeId::from_bytes(&self.claims.exchange_id).unwrap();
        Refusal::new(reason, Hop::Provider, "the stand-in declines").status(exchange)
    }

    /// Puts a record into the log; returns what opens its leaf.
    fn record(&mut self, shared: &Shared) -> LeafOpening {
        let index = self.log.leaves.len() as u64;
        // Nobody has to guess them here: other ones for each leaf are enough.
        let salt = |what: &[u8]| half_hash(what, &index.to_be_bytes()).0.to_vec().into();
        let mut opening = LeafOpening {
            origin: self.log.origin().to_owned(),
            index,
            leaf: Bytes::new(),
            salt: salt(b"salt"),
            private: salt(b"private half"),
        };
        let leaf = provider_leaf_of(shared, &opening).unwrap().hash();
        opening.leaf = leaf.0.to_vec().into();
        self.log.leaves.push(leaf);
        opening
    }

    fn sign(&self, tag: &str, claims: Bytes, leaf: Option<LeafOpening>) -> Signed {
        let promise = leaf.as_ref().and_then(receipt::promise_of);
        let key = self.answer.key.as_ref().unwrap_or(&self.desk.key);
        let seal = seal(key, tag, &claims, &promise.map(|promise| promise.encode()).unwrap_or_default());
        Signed { claims, seal: Some(seal), leaf }
    }
}

/// A batch of one, by the words of `crates/ledger/FORMAT.md`: the root is the leaf, and the signature is over tag, size and root.
fn seal(key: &SigningKey, tag: &str, claims: &[u8], promise: &[u8]) -> WireSeal {
    let length = u32::try_from(claims.len()).unwrap().to_be_bytes();
    let root = ledger::merkle::leaf_hash(&[tag.as_bytes(), b"\n", &length, claims, promise].concat());
    let signed = [&b"drawbridge.seal/v1\n"[..], &1_u32.to_be_bytes(), &root.0].concat();
    WireSeal { signature: key.sign(&signed).to_vec().into(), size: 1, index: 0, path: vec![] }
}

fn send(mut wire: Wire) -> Response<Body> {
    let (status, headers) = (wire.status, std::mem::take(&mut wire.headers));
    // One frame a turn: what was handed over leaves before a reset.
    let frames = stream::iter(frames_of(wire)).then(|frame| async {
        tokio::task::yield_now().await;
        frame
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn frames_of(wire: Wire) -> Vec<io::Result<Frame<Bytes>>> {
    let Wire { body, trailers, reset, .. } = wire;
    let mut frames: Vec<io::Result<Frame<Bytes>>> = body.into_iter().map(|data| Ok(Frame::data(data))).collect();
    if reset {
        frames.push(Err(io::Error::other("the stand-in resets the stream")));
    } else {
        frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    }
    frames
}

fn message(message: &impl Message) -> Response<Body> {
    let data = Ok(Frame::data(message.encode_to_vec().into()));
    Response::new(StreamBody::new(stream::iter([data])).boxed_unsync())
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(stream::empty()).boxed_unsync());
    *response.status_mut() = status;
    response
}
