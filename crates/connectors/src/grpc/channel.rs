//! A few HTTP/2 connections to one back end, opened when they are needed and again when they are lost.
//!
//! A question is sent once. Only where HTTP/2 itself says that the back end never saw it is it sent again, at once: a back end that
//! retires a connection costs nobody any time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{Request, Response, Uri};
use link::client::{Ending, LinkError, Single, SingleError};
use link::{Body, BodyError, Http2, Incoming, Keepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle};
use tokio::sync::watch;

use crate::bindings::Complaint;
use crate::grpc::config::{Files, GrpcBinding};
use crate::grpc::noting::Noting;
use crate::grpc::patience::Patience;
use crate::grpc::status;
use crate::grpc::tls::{self, Tls};
use crate::{ConnectorError, Failure};

/// How long opening a connection may take, beside the question's own deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a silent connection with calls on it goes unasked. Servers of gRPC's C core close on more than one ping in five minutes.
const KEEPALIVE: Duration = Duration::from_mins(5);

/// How long a ping may go unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How soon TCP itself asks a silent peer.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// How long TCP waits for what it sent to be acknowledged.
#[cfg(target_os = "linux")]
const TCP_UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// How much a back end may send on one stream before its reader reads: what a stalled stream holds in memory.
const STREAM_WINDOW: u32 = 128 * 1024;

/// As [`STREAM_WINDOW`], for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Largest header block that is looked into, in bytes as it is sent: Huffman's code makes no text longer than 30 bits a byte, so what is
/// longer than this holds more than is accepted. Source: RFC 7541, appendix B.
const BLOCK: usize = 4 * status::LARGEST;

/// Largest header list that HTTP/2 takes, in bytes. It leaves out of trailers the field that goes beyond it and all behind, and says
/// nothing; but of a block that is looked into, what comes before that field is still more than is accepted. For the field has at most
/// 8/5 of the block's bytes (Huffman's shortest code has 5 bits), and 4 KiB that come from the compression table.
const HEADERS: u32 = 256 * 1024;
const _: () = assert!(HEADERS as usize - BLOCK / 5 * 8 - 4 * 1024 > status::LARGEST, "what is cut is still too long");

/// How long a lost connection's own reason is waited for.
const REASON_TIMEOUT: Duration = Duration::from_millis(500);

/// What HTTP/2 itself finds wrong, on one stream or with the whole connection.
const BROKEN: ConnectorError =
    ConnectorError::Malformed { what: "it breaks a rule of HTTP/2, or goes beyond what the gateway takes" };

const INTERNAL: ConnectorError = ConnectorError::Failed { why: Failure::Internal };

/// The channels of a gateway. Bindings to the same back end share one.
#[derive(Default)]
pub(crate) struct Channels {
    known: Vec<Arc<Channel>>,
    /// Those of earlier bindings, to be taken up again.
    before: Vec<Arc<Channel>>,
}

impl Channels {
    /// Returns no channels, but takes up those of `previous` that are asked for and whose files are the same.
    pub(crate) fn after(previous: &Self) -> Self {
        Self { known: Vec::new(), before: previous.known.clone() }
    }

    /// Returns the channels, and lets go of those that nobody asked for.
    pub(crate) fn settled(self) -> Self {
        Self { known: self.known, before: Vec::new() }
    }

    /// Returns the channel for a binding, and makes it if it is the first.
    pub(crate) fn get(&mut self, binding: GrpcBinding) -> Result<Arc<Channel>, Vec<Complaint>> {
        if let Some(channel) = self.known.iter().find(|known| known.binding == binding) {
            return Ok(Arc::clone(channel));
        }
        // Before they are read: a file that changes meanwhile is then another the next time.
        let files = binding.files();
        let kept = self.before.iter().find(|known| known.binding == binding && known.files == files).cloned();
        let channel = if let Some(kept) = kept {
            kept
        } else {
            let tls = Tls::read(&binding)?;
            let (slots, next) = (RwLock::default(), AtomicUsize::new(0));
            Arc::new(Channel { binding, files, tls, slots, next })
        };
        self.known.push(Arc::clone(&channel));
        Ok(channel)
    }
}

/// The connections to one back end.
pub(crate) struct Channel {
    binding: GrpcBinding,
    /// Its PEM files as they were read.
    files: Files,
    tls: Option<Tls>,
    /// Each runtime has its own: a question that crossed to another thread and back would cost two wake-ups.
    slots: RwLock<HashMap<runtime::Id, Slots>>,
    next: AtomicUsize,
}

type Slots = Arc<[Arc<Slot>]>;

impl Channel {
    /// Returns the URI of a method on this back end.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.binding.scheme())
            .authority(self.binding.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// Sends what `next` makes and returns the head of the response. Dropping the future resets the stream.
    ///
    /// `next` is asked again where HTTP/2 says that the back end never saw what it made; it refuses where that cannot be made twice.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Unreachable`] and [`ConnectorError::Credentials`] if nothing was done, else [`ConnectorError::Failed`] or
    /// [`ConnectorError::Malformed`].
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut next: impl FnMut() -> Result<Request<Body>, ConnectorError>,
    ) -> Result<Reply, ConnectorError> {
        let slot = self.slot()?;
        let mut patience = Patience::default();
        let mut request = next()?;
        loop {
            let mut live = self.live(&slot).await?;
            match live.connection.send(request).await {
                Ok(response) => return Ok(Reply { response, connection: live.end }),
                // It never left. Why the connection ends is not waited for: it may still answer what it has.
                Err(SingleError::Ended) => match live.end.known() {
                    Some(refused @ ConnectorError::Credentials { .. }) => return Err(refused),
                    _ => patience.retired(&live.connection)?,
                },
                Err(SingleError::Failed(LinkError::Refused(cause))) if cause.is_go_away() => {
                    patience.retired(&live.connection)?;
                }
                Err(SingleError::Failed(LinkError::Refused(_))) => patience.refused().await?,
                Err(SingleError::Failed(LinkError::LongHead)) => return Err(status::TOO_LONG),
                Err(SingleError::Failed(LinkError::Lost(cause))) if cause.is_library() => return Err(BROKEN),
                Err(SingleError::Failed(error)) => {
                    // A reset, by whom ever, concerns one stream, and its connection lives on.
                    let lost = matches!(&error, LinkError::Lost(cause) if !cause.is_reset());
                    return Err(live.end.explain(!lost).await);
                }
            }
            request = next()?;
        }
    }

    /// Returns the next of the slots of the runtime that asks.
    fn slot(&self) -> Result<Arc<Slot>, ConnectorError> {
        let runtime = Handle::try_current().map_err(|_| INTERNAL)?.id();
        let known = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&runtime).cloned();
        let slots = known.unwrap_or_else(|| {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = || (0..self.binding.connections).map(|_| Arc::default()).collect();
            slots.entry(runtime).or_insert_with(fresh).clone()
        });
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(slots.len()).and_then(|at| slots.get(at)).cloned().ok_or(INTERNAL)
    }

    /// Returns the open connection of a slot, opening it if there is none.
    async fn live(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Live, ConnectorError> {
        if let Some(live) = slot.open() {
            return Ok(live);
        }
        let (channel, slot) = (Arc::clone(self), Arc::clone(slot));
        // In a task of its own: a question that cannot wait so long leaves the connection to the next one.
        let opened = tokio::spawn(async move { slot.fill(&channel).await });
        opened.await.unwrap_or(Err(INTERNAL))
    }

    async fn connect(&self) -> Result<Live, ConnectorError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connect_in_time()).await {
            Ok(live) => live,
            Err(_) => Err(ConnectorError::Unreachable { why: "no connection could be opened in time".into() }),
        }
    }

    async fn connect_in_time(&self) -> Result<Live, ConnectorError> {
        let tcp = TcpStream::connect((self.binding.host.as_str(), self.binding.port))
            .await
            .map_err(|error| unreachable(&error))?;
        // Without it a small request waits for the acknowledgement of the one before.
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        watch_over(&tcp).map_err(|error| unreachable(&error))?;
        match &self.tls {
            None => handshake(tcp, self.binding.address()).await,
            Some(tls) => {
                let stream = tls
                    .connector
                    .connect(tls.name.clone(), tcp)
                    .await
                    .map_err(|error| tls::failed(&error).unwrap_or_else(|| unreachable(&error)))?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(ConnectorError::Unreachable { why: "it does not offer HTTP/2".into() });
                }
                handshake(stream, self.binding.address()).await
            }
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("binding", &self.binding).finish_non_exhaustive()
    }
}

/// The head of a response, and the connection it came by.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: End,
}

/// How a connection ended, once it has.
#[derive(Clone)]
pub(crate) struct End(watch::Receiver<Option<ConnectorError>>);

impl End {
    /// Says why the body of a response broke off.
    pub(crate) async fn explain_body(&mut self, error: &BodyError) -> ConnectorError {
        match error {
            BodyError::LongTrailers => status::TOO_LONG,
            BodyError::Lost(cause) if cause.is_library() => BROKEN,
            BodyError::Lost(_) => self.explain(false).await,
            BodyError::Reset(_) | BodyError::Other(_) | BodyError::TooLong { .. } => self.explain(true).await,
        }
    }

    /// Says why a question failed that the back end may have seen. `stream_only`: its connection lives on.
    async fn explain(&mut self, stream_only: bool) -> ConnectorError {
        let reason = if stream_only { None } else { self.reason().await };
        match reason {
            Some(error @ ConnectorError::Credentials { .. }) => error,
            _ => ConnectorError::Failed { why: Failure::ConnectionLost },
        }
    }

    /// Returns the connection's own reason to have ended, if it has.
    fn known(&self) -> Option<ConnectorError> {
        self.0.borrow().clone()
    }

    /// Waits a little for the connection's own reason to have ended.
    async fn reason(&mut self) -> Option<ConnectorError> {
        match tokio::time::timeout(REASON_TIMEOUT, self.0.wait_for(Option::is_some)).await {
            Ok(Ok(reason)) => reason.clone(),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// Room for one connection.
#[derive(Default)]
struct Slot {
    live: Mutex<Option<Live>>,
    /// Held while a connection is opened. It holds when that last failed, and how.
    opening: tokio::sync::Mutex<Option<(Instant, ConnectorError)>>,
}

impl Slot {
    async fn fill(&self, channel: &Channel) -> Result<Live, ConnectorError> {
        let since = Instant::now();
        let mut opening = self.opening.lock().await;
        if let Some(live) = self.open() {
            return Ok(live);
        }
        // Whoever waited while an attempt failed shares its failure, so that a crowd does not queue for one attempt each.
        if let Some((at, error)) = opening.as_ref()
            && *at >= since
        {
            return Err(error.clone());
        }
        match channel.connect().await {
            Ok(live) => {
                *opening = None;
                *self.lock() = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                *opening = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn open(&self) -> Option<Live> {
        self.lock().as_ref().filter(|live| live.connection.is_open()).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection.
#[derive(Clone)]
struct Live {
    connection: Single,
    end: End,
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    back_end: String,
) -> Result<Live, ConnectorError> {
    let stream = Noting::around(stream);
    let noted = stream.noted();
    let opened = Single::open(stream, &limits()).await;
    let (connection, driven) = opened.map_err(|ended| {
        let told = match ended {
            Some(error) if !error.is_io() => "it does not speak HTTP/2",
            _ => "it closes the connection before it says anything",
        };
        noted.get().cloned().unwrap_or_else(|| ConnectorError::Unreachable { why: told.into() })
    })?;
    let (ended, end) = watch::channel(None);
    // The connection is driven by a task of its own, which ends with it, or when the last sender is dropped.
    tokio::spawn(async move {
        let why = match driven.await {
            None => "it closed the connection",
            Some(ending) => {
                complain(&back_end, &ending);
                "the connection was lost"
            }
        };
        let reason = noted.get().cloned().unwrap_or(ConnectorError::Unreachable { why: why.into() });
        tracing::debug!(back_end, %reason, "connection to a back end ended");
        ended.send_replace(Some(reason));
    });
    Ok(Live { connection, end: End(end) })
}

/// Logs that a back end broke a rule of HTTP/2 or went beyond a limit. What it says itself is not logged.
fn complain(back_end: &str, ending: &Ending) {
    match ending {
        Ending::Breach(breach) => {
            tracing::warn!(back_end, %breach, "a back end went beyond a limit, and its connection was closed");
        }
        Ending::Broken(cause) if cause.is_library() => {
            tracing::warn!(back_end, %cause, "a back end broke a rule of HTTP/2 or went beyond what the gateway takes, and its connection was closed");
        }
        Ending::Broken(_) => {}
    }
}

/// What a back end may do.
fn limits() -> Http2 {
    Http2 {
        header_bytes: HEADERS,
        header_block: Some(BLOCK),
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        keepalive: Keepalive { interval: KEEPALIVE, timeout: KEEPALIVE_TIMEOUT },
        ..Http2::default()
    }
}

/// Has TCP itself notice a peer that is gone: one that is silent, and one that acknowledges nothing.
fn watch_over(tcp: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(tcp);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_UNACKNOWLEDGED))?;
    Ok(())
}

fn unreachable(error: &std::io::Error) -> ConnectorError {
    // The kind alone: a resolver's text names what was asked.
    ConnectorError::Unreachable { why: error.kind().to_string().into() }
}
