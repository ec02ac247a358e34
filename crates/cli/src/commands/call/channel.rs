//! One HTTP/2 connection to the own gateway, and gRPC on it: a request of one message, an answer of any number.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use contract::framing::PREFIX;
use exchange::{Status, headers};
use federation::{
    Identity, MemberId,
    trust::{Explanation, explain_io},
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use problem::Problem;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig};

use crate::failure::{Failure, Outcome};

/// Time for a connection to be there, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Silence of the gateway after which it is asked for a sign of life, and how long it then has. However slow an exchange is, its gateway
/// answers that at once.
const SILENCE: Duration = Duration::from_secs(10);
/// Bytes that may be on their way to this program at once. What is not read holds the gateway back.
const WINDOW: u32 = 256 * 1024;

/// Where a gateway takes clients.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// None for plain text.
    pub(super) tls: Option<Tls>,
    /// Who asks whom, as far as certificates say so.
    pub(super) parties: Option<Parties>,
}

/// Whose certificate is presented, and whose gateway is asked.
#[derive(Clone, Debug)]
pub(super) struct Parties {
    pub(super) presented: Identity,
    pub(super) own: MemberId,
}

impl Parties {
    /// Says why a gateway turns the certificate down, where that shows on this side already.
    fn explain(&self) -> Option<Explanation> {
        let Self { presented, own } = self;
        let member = presented.member();
        let whose = match presented {
            Identity::System(_) if member == own => return None,
            Identity::System(_) => format!("is for a system of `{member}`"),
            Identity::Gateway(_) | Identity::Auditor(_) => format!("is for {}", presented.kind().with_article()),
        };
        let elsewhere = match presented {
            Identity::System(_) => format!("; with this one, ask through a gateway of `{member}`"),
            Identity::Gateway(_) | Identity::Auditor(_) => String::new(),
        };
        Some(Explanation {
            cause: format!(
                "this port takes certificates of systems of `{own}`, and `{presented}`, which is presented, {whose}"
            ),
            help: format!(
                "present one of a system of `{own}`, with `--system` or with `--certificate` and `--key`{elsewhere}"
            ),
        })
    }
}

/// How TLS is spoken with it.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// A connection to the own gateway.
pub(super) struct Channel {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<Result<(), hyper::Error>>,
    address: SocketAddr,
    scheme: &'static str,
    refused: Refused,
    parties: Option<Parties>,
}

/// What TLS said when it broke, which HTTP/2 does not pass on.
type Refused = Arc<Mutex<Option<tokio_rustls::rustls::Error>>>;

/// An answer while it comes.
pub(super) struct Reply {
    head: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
    trailers: HeaderMap,
    limit: usize,
    over: bool,
}

impl Channel {
    /// Connects.
    pub(super) async fn open(target: &Target) -> Outcome<Self> {
        let address = target.address;
        let refused = Refused::default();
        let opened = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            match &target.tls {
                None => Self::over(stream, address, "http").await,
                Some(tls) => {
                    let stream = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), stream).await?;
                    Self::over(Watched { stream, refused: refused.clone() }, address, "https").await
                }
            }
        };
        match tokio::time::timeout(CONNECT, opened).await {
            Ok(Ok(channel)) => Ok(Self { refused, parties: target.parties.clone(), ..channel }),
            Ok(Err(error)) => Err(unreachable(address, &error, target.parties.as_ref())),
            Err(_) => Err(unreachable(address, &io::ErrorKind::TimedOut.into(), None)),
        }
    }

    async fn over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        stream: S,
        address: SocketAddr,
        scheme: &'static str,
    ) -> io::Result<Self> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .timer(TokioTimer::new())
            .keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| io_of(&error))?;
        let driver = tokio::spawn(connection);
        Ok(Self { sender, driver, address, scheme, refused: Refused::default(), parties: None })
    }

    /// Asks with one message, and returns the answer as soon as it begins.
    pub(super) async fn ask(
        &mut self,
        path: &str,
        metadata: HeaderMap,
        message: Bytes,
        limit: usize,
    ) -> Outcome<Reply> {
        let request = self.request(path, metadata, &message)?;
        let response = match self.sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.broken(error).await),
        };
        reply(response, limit)
    }

    fn request(&self, path: &str, metadata: HeaderMap, message: &[u8]) -> Outcome<Request<Full<Bytes>>> {
        let Ok(length) = u32::try_from(message.len()) else {
            return Err(Problem::new("", "the request is larger than gRPC can carry").into());
        };
        let body = Bytes::from([&[0][..], &length.to_be_bytes(), message].concat());
        let mut request =
            Request::post(format!("{}://{}{path}", self.scheme, self.address)).body(Full::new(body)).map_err(
                |error| Problem::new("", "the method's name cannot stand in a request").cause(error.to_string()),
            )?;
        *request.headers_mut() = metadata;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("drawbridge/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }

    /// Says why a connection broke. With TLS 1.3 a certificate that the other end refuses shows only now.
    async fn broken(&mut self, error: hyper::Error) -> Failure {
        let ended = tokio::time::timeout(Duration::from_secs(1), &mut self.driver).await;
        let error = match ended {
            Ok(Ok(Err(cause))) => cause,
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => error,
        };
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        match refused {
            Some(tls) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, tls);
                unreachable(self.address, &error, self.parties.as_ref())
            }
            None => unreachable(self.address, &io_of(&error), None),
        }
    }
}

fn reply(response: Response<Incoming>, limit: usize) -> Outcome<Reply> {
    let (parts, body) = response.into_parts();
    let is_grpc =
        parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if parts.status != http::StatusCode::OK || !is_grpc {
        let what = format!("the answer is not gRPC: HTTP status {}", parts.status);
        return Err(Problem::new("", what)
            .help("the clients' port of a gateway is meant; another program may be listening there")
            .into());
    }
    Ok(Reply { head: parts.headers, body, buffer: BytesMut::new(), trailers: HeaderMap::new(), limit, over: false })
}

impl Reply {
    /// Metadata that came before the answer.
    pub(super) fn head(&self) -> &HeaderMap {
        &self.head
    }

    /// Returns the next message; none at the end.
    pub(super) async fn message(&mut self) -> Outcome<Option<Bytes>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.over {
                // A status that is not OK explains why a message was cut off.
                let cut = !self.buffer.is_empty() && self.status().code == 0;
                return if cut { Err(Problem::new("", "the answer ends inside a message").into()) } else { Ok(None) };
            }
            match self.body.frame().await {
                None => self.over = true,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.trailers = trailers;
                        }
                    }
                },
                Some(Err(error)) => {
                    let explanation = explain_io(&io_of(&error));
                    return Err(Problem::new(
                        "",
                        "the connection to the own gateway broke in the middle of the answer",
                    )
                    .cause(explanation.cause)
                    .help(explanation.help)
                    .into());
                }
            }
        }
    }

    /// Whether the next message has come already.
    pub(super) fn has_message(&self) -> bool {
        self.length().is_some_and(|length| self.buffer.len() >= length.saturating_add(PREFIX))
    }

    /// Takes the next message, once all of it is there.
    fn take(&mut self) -> Outcome<Option<Bytes>> {
        if self.buffer.first().is_some_and(|flag| *flag != 0) {
            return Err(Problem::new("", "the answer is compressed, though nobody asked for that").into());
        }
        let Some(length) = self.length() else { return Ok(None) };
        if length > self.limit {
            let what = format!("a message of the answer has {length} bytes, and the limit is {}", self.limit);
            return Err(Problem::new("", what).help("`limits.message` of the configuration sets it").into());
        }
        if !self.has_message() {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn length(&self) -> Option<usize> {
        let prefix: [u8; 4] = self.buffer.get(1..PREFIX)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(prefix)).ok()
    }

    /// Returns how the call ended: in the trailers, or in the head where there was nothing else.
    pub(super) fn status(&self) -> Status {
        let missing =
            || Status { code: 2, message: "the answer ended without a status".to_owned(), details: Bytes::new() };
        headers::read_status(&self.trailers).or_else(|| headers::read_status(&self.head)).unwrap_or_else(missing)
    }

    /// Returns where it failed, as the gateway says.
    pub(super) fn hop(&self) -> Option<String> {
        let hop = self.trailers.get(headers::HOP).or_else(|| self.head.get(headers::HOP))?;
        hop.to_str().ok().map(str::to_owned)
    }
}

/// `parties` are given where the certificate may be the reason.
fn unreachable(address: SocketAddr, error: &io::Error, parties: Option<&Parties>) -> Failure {
    let turned_down = error.get_ref().and_then(|inner| inner.downcast_ref::<tokio_rustls::rustls::Error>());
    let turned_down = matches!(turned_down, Some(tokio_rustls::rustls::Error::AlertReceived(_)));
    let explained = parties.filter(|_| turned_down).and_then(Parties::explain);
    let explanation = explained.unwrap_or_else(|| explain_io(error));
    Problem::new("", format!("cannot ask the own gateway at {address}"))
        .cause(explanation.cause)
        .help(explanation.help)
        .into()
}

/// Finds the error of the operating system or of TLS in one of hyper's.
fn io_of(error: &hyper::Error) -> io::Error {
    if error.is_timeout() {
        return io::ErrorKind::TimedOut.into();
    }
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = source {
        if let Some(found) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(found.kind(), found.to_string());
        }
        source = inner.source();
    }
    io::ErrorKind::ConnectionAborted.into()
}

/// A TLS stream that keeps what TLS says when reading fails.
struct Watched<S> {
    stream: S,
    refused: Refused,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read
            && let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<tokio_rustls::rustls::Error>())
        {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(tls.clone());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
