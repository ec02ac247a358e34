//! Accepts connections and serves their streams, on the links' port and the clients' port alike.
//!
//! The surprising fact: when all places for handshakes are taken, a new connection takes the place of an old one. A peer that stalls keeps
//! its place only while nobody wants it; one that means it is through in milliseconds.
//!
//! A gateway runs one current-thread runtime per core. Each of them takes one of the [`listeners`] of the same address and calls [`Server::serve`];
//! the kernel spreads connections over the listeners by chance, and the server evens that out by handing a new connection to the runtime that
//! has fewest. From then on nothing of the connection leaves its runtime.
//!
//! What bounds a peer:
//!
//! | | limit | answer |
//! |---|---|---|
//! | handshakes that stall | [`Handshakes::timeout`], [`Handshakes::at_once`] | closed |
//! | connections, in all and of one peer | [`Limits::connections`], [`Limits::connections_of_one`] | closed |
//! | a header block that trickles in | [`Http2::header_timeout`] | closed |
//! | header lists that are long, or unpack to long ones | [`Http2::header_bytes`], [`Http2::told_header_bytes`] | the service's; 431; beyond four times, `GOAWAY` |
//! | `CONTINUATION` without end | what the header list needs and a quarter more (h2) | `GOAWAY` |
//! | streams at once | [`Http2::streams`] | `REFUSED_STREAM`; after 1,024 of them `GOAWAY` |
//! | streams opened and reset | [`Http2::resets`] | closed |
//! | pings, settings, window updates, unknown frames | [`Http2::idle_frames`] | closed |
//! | empty data, unread small data | a hundred (h2); [`Http2::small_frames`] | `GOAWAY` |
//! | frames beyond the announced size | [`Http2::frame_bytes`] | `GOAWAY` |
//! | data that nobody reads | windows | it waits |
//! | answers that it does not take | windows and [`Http2::send_buffer`]; [`Http2::stall`] | it waits; the stream is reset |
//! | HTTP/1.1 where it is allowed ([`Limits::http1`]): heads that trickle or are long, answers that are not taken | [`Http2::header_timeout`], [`Http2::header_bytes`], [`Http2::told_header_bytes`], [`Http2::stall`] | closed; the service's; 431; closed |
//! | a connection that has gone dead, old, or unused | [`Http2::keepalive`], [`Limits::connection_age`], [`Limits::idle`] | closed; `GOAWAY` |

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use crate::body::Incoming;
use crate::guard::Breach;
use crate::http2::Http2;
use handshakes::Places;
use workers::Workers;

mod accept;
mod connection;
mod connections;
mod handshakes;
mod http1;
mod listener;
mod workers;

pub use connections::{Caller, Connections, Drained};
pub use listener::{Sharing, listener, listeners};

/// What a server allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Limits of one connection.
    pub http2: Http2,
    /// Limits of connections that nobody is known on yet.
    pub handshakes: Handshakes,
    /// Connections at once, whosever they are. Default: 1,024.
    pub connections: usize,
    /// Connections at once of peers with one name (see [`Identified::name`]). Default: 64, eight cores with eight each.
    pub connections_of_one: usize,
    /// Age at which a connection is asked to end with its last stream (`GOAWAY`), so that certificates are looked at anew and load spreads.
    /// Default: 1 h. None: never.
    pub connection_age: Option<Duration>,
    /// Time without a stream after which a connection is asked to end. Default: 10 min. None: never.
    pub idle: Option<Duration>,
    /// Whether HTTP/1.1 is spoken too: with peers that choose it by ALPN, and with those that do not know ALPN. Not over
    /// [`Transport::Plain`]. Default: false.
    pub http1: bool,
}

/// Limits of connections that nobody is known on yet.
#[derive(Clone, Copy, Debug)]
pub struct Handshakes {
    /// Time for the TLS handshake. Default: 5 s.
    pub timeout: Duration,
    /// Handshakes at once. Default: 64. One more ends the oldest of the address that has most.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http2: Http2::default(),
            handshakes: Handshakes { timeout: Duration::from_secs(5), at_once: 64 },
            connections: 1_024,
            connections_of_one: 64,
            connection_age: Some(Duration::from_hours(1)),
            idle: Some(Duration::from_mins(10)),
            http1: false,
        }
    }
}

/// What lies between TCP and HTTP/2.
#[derive(Clone)]
pub enum Transport {
    /// TLS. The function is asked once for each connection, so that new settings hold from the next one on. They must offer `h2`
    /// by ALPN ([`ALPN`]), and behind it [`ALPN_HTTP1`] where [`Limits::http1`] is set.
    Tls(Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>),
    /// Nothing: HTTP/2 with prior knowledge, in plain text. Dangerous; for loopback in development.
    Plain,
}

/// The protocol that is spoken on a connection. Source: RFC 9113, section 3.2.
pub const ALPN: &[u8] = b"h2";
/// The other protocol, where it is allowed. Source: RFC 7301, section 6.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "Tls",
            Self::Plain => "Plain",
        })
    }
}

/// Who is at the other end, as the function handed to [`Server::new`] finds from the certificates.
#[derive(Clone, Debug)]
pub struct Identified<P> {
    /// Handed to the service with each request.
    pub peer: P,
    /// The name under which connections are counted, and which events carry; of a member rather than of one of its gateways.
    pub name: Arc<str>,
}

/// Looks at the certificates of a connection (leaf first; none where the transport is plain) and says who it is.
type Identify<P> =
    dyn Fn(&[CertificateDer<'static>]) -> Result<Identified<P>, Box<dyn Error + Send + Sync>> + Send + Sync;

/// A server for one port, shared by the runtimes that serve it.
pub struct Server<P> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    limits: RwLock<Arc<Limits>>,
    transport: Transport,
    identify: Box<Identify<P>>,
    observe: Box<dyn Fn(Event) + Send + Sync>,
    connections: Connections<P>,
    places: Arc<Places>,
    workers: Workers,
    counters: Counters,
    stop: watch::Sender<bool>,
}

impl<P: Send + Sync + 'static> Server<P> {
    /// Makes a server that nobody serves yet.
    ///
    /// `identify` runs on the runtime of the connection and must not block. A connection that it turns down is closed. Where trust can
    /// change, it verifies the certificates against the present one: the handshake may have begun under an earlier one.
    pub fn new<I>(limits: Limits, transport: Transport, identify: I) -> Self
    where
        I: Fn(&[CertificateDer<'static>]) -> Result<Identified<P>, Box<dyn Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        Self::observed(limits, transport, identify, log)
    }

    /// Makes a server that hands what happens beside exchanges to `observe`, which must not block.
    pub fn observed<I, O>(limits: Limits, transport: Transport, identify: I, observe: O) -> Self
    where
        I: Fn(&[CertificateDer<'static>]) -> Result<Identified<P>, Box<dyn Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
        O: Fn(Event) + Send + Sync + 'static,
    {
        let places = Arc::new(Places::new(limits.handshakes.at_once));
        Self {
            shared: Arc::new(Shared {
                connections: Connections::new(limits.connections, limits.connections_of_one),
                limits: RwLock::new(Arc::new(limits)),
                transport,
                identify: Box::new(identify),
                observe: Box::new(observe),
                places,
                workers: Workers::default(),
                counters: Counters::default(),
                stop: watch::Sender::new(false),
            }),
        }
    }

    /// Serves `listener` on the current runtime until [`Server::stop`] or [`Server::drain`].
    ///
    /// Call it once on each runtime. `service` is called for each request, on the runtime of its connection; what it returns runs in a task
    /// of its own, and is dropped when the peer resets the stream or the connection ends.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the listener. Errors of single connections are events.
    pub async fn serve<S, F, B>(&self, listener: std::net::TcpListener, service: S) -> std::io::Result<()>
    where
        S: Fn(Arc<Caller<P>>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        accept::serve(Arc::clone(&self.shared), listener, service).await
    }

    /// Changes what is allowed. It holds for the connections that come from now on; open ones keep what they began with.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.connections.set_most(limits.connections, limits.connections_of_one);
        self.shared.places.set_most(limits.handshakes.at_once);
        *self.shared.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> &Connections<P> {
        &self.shared.connections
    }

    /// What has been counted since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// Accepts no further connection; those that are open go on.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Accepts no further connection, lets the streams that are open end for as long as `patience`, then closes what is left.
    pub async fn drain(&self, patience: Duration) -> Drained {
        self.stop();
        self.shared.connections.drain(patience).await
    }
}

impl<P> Shared<P> {
    /// What is allowed now.
    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P> Clone for Server<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("transport", &self.shared.transport)
            .field("connections", &self.shared.connections.len())
            .finish_non_exhaustive()
    }
}

/// Something that happened beside exchanges, mostly a peer that was turned away.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A handshake failed: no certificate, a wrong one, no common version, no `h2`, or the time was up.
    HandshakeFailed {
        /// Where it came from.
        address: SocketAddr,
        /// What went wrong; names from the certificate may be in it.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The certificates verify, but whose they are has no business here.
    Unidentified {
        /// Where it came from.
        address: SocketAddr,
        /// What the function handed to [`Server::new`] said.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// There are as many connections as may be.
    Crowded {
        /// Where it came from.
        address: SocketAddr,
        /// The name it would have been counted under.
        name: Arc<str>,
        /// Whether the limit was that of one name, or that of all.
        of_one: bool,
    },
    /// A peer went beyond a limit of a connection.
    Breached {
        /// Where it came from.
        address: SocketAddr,
        /// The name it is counted under.
        name: Arc<str>,
        /// The limit.
        breach: Breach,
    },
    /// A connection broke, or its peer broke the rules of HTTP.
    Broken {
        /// Where it came from.
        address: SocketAddr,
        /// The name it is counted under.
        name: Arc<str>,
        /// What went wrong.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The system gave no connection, mostly for want of file descriptors. The server goes on in 100 ms.
    AcceptFailed {
        /// What went wrong.
        cause: std::io::Error,
    },
}

fn log(event: Event) {
    match event {
        Event::HandshakeFailed { address, cause } => {
            tracing::info!(%address, cause = &*cause as &dyn Error, "handshake failed");
        }
        Event::Unidentified { address, cause } => {
            tracing::warn!(%address, cause = &*cause as &dyn Error, "connection turned away");
        }
        Event::Crowded { address, name, of_one } => {
            tracing::warn!(%address, peer = %name, of_one, "too many connections");
        }
        Event::Breached { address, name, breach } => {
            tracing::warn!(%address, peer = %name, breach = &breach as &dyn Error, "connection closed");
        }
        Event::Broken { address, name, cause } => {
            tracing::debug!(%address, peer = %name, cause = &*cause as &dyn Error, "connection broke");
        }
        Event::AcceptFailed { cause } => {
            tracing::error!(cause = &cause as &dyn Error, "cannot accept connections");
        }
    }
}

/// What a server has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted, whatever became of them.
    pub accepted: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Handshakes that made room for newer ones.
    pub handshakes_displaced: u64,
    /// Connections whose certificates verify but name nobody who has business here.
    pub unidentified: u64,
    /// Connections turned away because there were too many.
    pub crowded: u64,
    /// Connections ended for going beyond a limit.
    pub breached: u64,
    /// Streams begun.
    pub streams: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    handshakes_failed: AtomicU64,
    handshakes_displaced: AtomicU64,
    unidentified: AtomicU64,
    crowded: AtomicU64,
    breached: AtomicU64,
    streams: AtomicU64,
}

impl Counters {
    fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            handshakes_failed: read(&self.handshakes_failed),
            handshakes_displaced: read(&self.handshakes_displaced),
            unidentified: read(&self.unidentified),
            crowded: read(&self.crowded),
            breached: read(&self.breached),
            streams: read(&self.streams),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
