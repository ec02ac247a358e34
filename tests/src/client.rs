//! A partner system in Rust: ordinary gRPC over HTTP/2 with a client certificate, bytes in and bytes out.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use exchange::{Reason, Status, framing, headers};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::client::TlsStream;

/// What a client sends after the head of its request.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A connection of a partner system, or of a gateway of one's own making.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Body>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// Initial metadata.
    pub headers: HeaderMap,
    /// The messages, without prefix.
    pub messages: Vec<Bytes>,
    /// Trailing metadata; that of the head where there was nothing else.
    pub trailers: HeaderMap,
    /// How it ended.
    pub status: Status,
}

impl Reply {
    /// The reason in the details.
    pub fn reason(&self) -> Option<Reason> {
        self.status.reason()
    }

    /// The exchange's id, as the client sees it.
    pub fn exchange(&self) -> String {
        self.headers.get("drawbridge-exchange-id").unwrap().to_str().unwrap().to_owned()
    }
}

impl Client {
    /// Connects to `address` with a certificate, trusting `root` alone.
    ///
    /// # Errors
    ///
    /// When TCP, TLS or HTTP/2 does not come about.
    pub async fn connect(address: SocketAddr, root: &str, certificate: &str, key: &str) -> anyhow::Result<Self> {
        Self::connect_with_window(address, root, certificate, key, None).await
    }

    /// As [`Client::connect`], but takes no more than `window` bytes that it has not read. Default: hyper's, 2 MiB.
    ///
    /// # Errors
    ///
    /// When TCP, TLS or HTTP/2 does not come about.
    pub async fn connect_with_window(
        address: SocketAddr,
        root: &str,
        certificate: &str,
        key: &str,
        window: Option<u32>,
    ) -> anyhow::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let config = trusting(root)?.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        Self::over(tls(address, config).await?, window).await
    }

    /// Connects to `address` with TLS and without any certificate.
    ///
    /// # Errors
    ///
    /// When TCP, TLS or HTTP/2 does not come about.
    pub async fn anonymous(address: SocketAddr, root: &str) -> anyhow::Result<Self> {
        Self::over(tls(address, trusting(root)?.with_no_client_auth()).await?, None).await
    }

    /// Connects to `address` in plain text.
    ///
    /// # Errors
    ///
    /// When TCP or HTTP/2 does not come about.
    pub async fn plain(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, None).await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        window: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut http2 = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        if let Some(window) = window {
            http2.initial_stream_window_size(window).initial_connection_window_size(window);
        }
        let (mut sender, connection) = http2.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        // TLS 1.3 turns a client certificate down only after the client has finished: the first ready tells.
        sender.ready().await?;
        Ok(Self { sender })
    }

    /// Calls a method with one message; returns the reply's head and its body.
    ///
    /// # Errors
    ///
    /// When the connection does not carry it.
    pub async fn open(
        &mut self,
        path: &str,
        metadata: &HeaderMap,
        message: &[u8],
        timeout: Option<Duration>,
    ) -> anyhow::Result<(HeaderMap, Incoming)> {
        self.open_raw(path, metadata, framing::framed(message), timeout).await
    }

    /// As [`Client::open`], with a body that is sent as it is.
    ///
    /// # Errors
    ///
    /// When the connection does not carry it.
    pub async fn open_raw(
        &mut self,
        path: &str,
        metadata: &HeaderMap,
        body: Bytes,
        timeout: Option<Duration>,
    ) -> anyhow::Result<(HeaderMap, Incoming)> {
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        self.open_body(path, metadata, body, timeout).await
    }

    /// As [`Client::open_raw`], with a body of one's own making, see [`frames`].
    ///
    /// # Errors
    ///
    /// When the connection does not carry it.
    pub async fn open_body(
        &mut self,
        path: &str,
        metadata: &HeaderMap,
        body: Body,
        timeout: Option<Duration>,
    ) -> anyhow::Result<(HeaderMap, Incoming)> {
        let mut request = Request::post(format!("https://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)?;
        request.headers_mut().extend(metadata.clone());
        if let Some(timeout) = timeout {
            request.headers_mut().insert("grpc-timeout", HeaderValue::try_from(format!("{}m", timeout.as_millis()))?);
        }
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        anyhow::ensure!(parts.status == http::StatusCode::OK, "HTTP status {}", parts.status);
        Ok((parts.headers, body))
    }

    /// Calls a method with one message and reads the reply to its end.
    ///
    /// # Errors
    ///
    /// When the connection does not carry it.
    pub async fn call(&mut self, path: &str, metadata: &HeaderMap, message: &[u8]) -> anyhow::Result<Reply> {
        let (head, body) = self.open(path, metadata, message, Some(Duration::from_secs(20))).await?;
        read(head, body).await
    }
}

/// Returns the certificate that is presented at `address`.
///
/// # Errors
///
/// When TCP or TLS does not come about.
pub async fn certificate_at(address: SocketAddr, root: &str) -> anyhow::Result<CertificateDer<'static>> {
    // The other end turns down who has none only after it has shown its own.
    let stream = tls(address, trusting(root)?.with_no_client_auth()).await?;
    let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    presented.ok_or_else(|| anyhow::anyhow!("no certificate was presented"))
}

fn trusting(root: &str) -> anyhow::Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root.as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.with_root_certificates(roots))
}

async fn tls(address: SocketAddr, config: ClientConfig) -> anyhow::Result<TlsStream<TcpStream>> {
    tls_speaking(address, config, "h2").await
}

async fn tls_speaking(
    address: SocketAddr,
    mut config: ClientConfig,
    protocol: &str,
) -> anyhow::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

/// Connects with a certificate and its key, speaking `protocol` (as ALPN has it), and leaves the rest to the caller.
pub(crate) async fn raw(
    address: SocketAddr,
    root: &str,
    (certificate, key): (&str, &str),
    protocol: &str,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let config = trusting(root)?.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    tls_speaking(address, config, protocol).await
}

/// Reads a reply to its end.
///
/// # Errors
///
/// When the stream is cut.
pub async fn read(head: HeaderMap, body: Incoming) -> anyhow::Result<Reply> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_else(|| head.clone());
    let mut rest = collected.to_bytes();
    let mut messages = Vec::new();
    while rest.len() >= framing::PREFIX {
        let prefix = rest.split_to(framing::PREFIX);
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if rest.len() < length {
            break;
        }
        messages.push(rest.split_to(length));
    }
    let status =
        headers::read_status(&trailers).ok_or_else(|| anyhow::anyhow!("the reply has no status: {trailers:?}"))?;
    anyhow::ensure!(status.code != 0 || rest.is_empty(), "the reply ends inside a message, and is called OK");
    Ok(Reply { headers: head, messages, trailers, status })
}

/// A body that is sent piece by piece, each in a frame of its own. An error resets the stream; a body without trailers ends without any.
pub fn frames(frames: Vec<io::Result<Frame<Bytes>>>) -> Body {
    // One frame a turn: what was handed over leaves before a reset.
    let frames = stream::iter(frames).then(|frame| async {
        tokio::task::yield_now().await;
        frame
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A body that goes on as long as there is something to say; dropping the sender ends it.
pub fn spoken() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async {
        let said = receiver.recv().await?;
        Some((Ok(Frame::data(said)), receiver))
    });
    (sender, StreamBody::new(frames.fuse()).boxed_unsync())
}

/// Makes metadata of pairs.
pub fn metadata(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(key, value)| (HeaderName::try_from(*key).unwrap(), HeaderValue::try_from(*value).unwrap()))
        .collect()
}
