//! Keeps a few full connections to every gateway that this one asks, and sends requests on them.
//!
//! The surprising fact: fewer connections are faster. Frames of many streams leave together in one write, so a second connection is dialled only
//! when the first is nearly full.
//!
//! A gateway has one [`Links`] for each of its runtimes, and nothing of a request leaves the runtime it was made on.
//!
//! **When a connection is dialled.** The first request to a peer dials, and every request until that is done waits for it. Another
//! connection is dialled, beside the requests that go on, when the least used one carries three quarters of the streams that the peer
//! allows, up to [`Limits::connections`]; when that one is full, requests wait for the new one. **When dialling fails**, requests are refused at once, with what went wrong, until a time that
//! doubles from [`Backoff::first`] to [`Backoff::longest`], each a fifth longer or shorter by chance (so that gateways do not come back in
//! step); the next request after it dials again. A peer that takes connections and ends them before it answers is left alone in the same way,
//! from the second time on.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::body::{Body, Incoming};
use crate::http2::Http2;
use peer::Peer;

mod connection;
mod dial;
mod error;
mod peer;
mod single;

pub use dial::refusal;
pub use error::{DialError, Ending, LinkError};
pub use single::{Single, SingleError};

/// What a client allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Limits of one connection. Default: 1,280 streams at once where the peer allows them, with room for the windows of all, so that
    /// readers that pause do not stop the others; the rest as [`Http2::default`].
    pub http2: Http2,
    /// Connections at once to one peer. Default: 4.
    pub connections: usize,
    /// Requests that may wait for a place on a connection, beyond what the peer allows at once. Default: 256 for each connection.
    pub queue: usize,
    /// Time to connect: name resolution, TCP, TLS and the peer's first word. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a peer that could not be reached is left alone.
    pub backoff: Backoff,
    /// Age after which a connection takes no new request. Default: 50 min, less than the server's, so that the side that would use a
    /// connection is the one that ends it.
    pub age: Option<Duration>,
    /// Time without a stream after which a connection is closed. Default: 5 min, less than the server's.
    pub idle: Option<Duration>,
}

/// How long a peer that could not be reached is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure. Default: 100 ms.
    pub first: Duration,
    /// At most. Default: 5 s.
    pub longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http2: Http2 { streams: STREAMS, ..Http2::default() }.with_room_for_all(),
            connections: 4,
            queue: 256,
            connect_timeout: Duration::from_secs(5),
            backoff: Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5) },
            age: Some(Duration::from_mins(50)),
            idle: Some(Duration::from_mins(5)),
        }
    }
}

/// Streams that a gateway opens at once on one connection: what a peer allows by default, and those that wait for a place.
const STREAMS: u32 = 1_024 + 256;

/// How to reach a peer, and how to know that it is the right one.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The name sent in the handshake (SNI).
    pub server_name: ServerName<'static>,
    /// TLS, with a verifier that accepts this peer alone, our certificate, and `h2` offered by ALPN ([`ALPN`](crate::server::ALPN)).
    pub tls: Arc<rustls::ClientConfig>,
}

/// Says how to reach a peer now; asked for each connection, so that a change of directory or trust holds from the next one on.
type Directions<K> = dyn Fn(&K) -> Result<Target, Box<dyn Error + Send + Sync>> + Send + Sync;

/// The links of one runtime to the peers that `K` names.
pub struct Links<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    limits: Arc<Limits>,
    directions: Box<Directions<K>>,
    peers: Mutex<HashMap<K, Arc<Peer>>>,
}

/// Connections that are tried for one request when each of them ends before it is sent.
const ATTEMPTS: usize = 3;

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Links<K> {
    /// Makes links that nothing is dialled for yet.
    pub fn new<D>(limits: Limits, directions: D) -> Self
    where
        D: Fn(&K) -> Result<Target, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    {
        Self {
            shared: Arc::new(Shared {
                limits: Arc::new(limits),
                directions: Box::new(directions),
                peers: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// Sends a request to `peer`, and waits for the head of its answer.
    ///
    /// The body is sent meanwhile, and goes on being sent after that for as long as the answer is held. The URI needs a path only. A
    /// request whose peer retires the connection without having looked at it is sent once more on another one, if its body is whole.
    ///
    /// # Errors
    ///
    /// [`LinkError`]; [`LinkError::nothing_done`] tells whether the peer can have seen the request.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream; whether the peer has seen the request is then unknown. Dropping the answer's body before its
    /// end resets the stream as well.
    pub async fn send(&self, peer: &K, request: Request<Body>) -> Result<Response<Incoming>, LinkError> {
        let link = self.peer(peer);
        let mut request = request;
        for _ in 0..ATTEMPTS {
            let place = link.acquire(|| (self.shared.directions)(peer)).await?;
            let copy = copy(&request);
            let sent = match place.send(request).await {
                Ok(sent) => sent,
                // The connection had ended before anything was sent; the next one is as good.
                Err(connection::Unsent::Ended(unsent)) => {
                    request = *unsent;
                    continue;
                }
                Err(connection::Unsent::Unfit(cause)) => return Err(LinkError::Request(cause)),
            };
            match (sent.answer().await, copy) {
                (Err(LinkError::Refused(cause)), Some(copy)) if cause.is_go_away() => {
                    request = copy;
                }
                (answer, _) => return answer,
            }
        }
        Err(LinkError::Fleeting)
    }

    /// Sees to it that there is a connection to `peer`.
    ///
    /// # Errors
    ///
    /// [`LinkError`], as for a request.
    pub async fn connect(&self, peer: &K) -> Result<(), LinkError> {
        let link = self.peer(peer);
        link.acquire(|| (self.shared.directions)(peer)).await?;
        Ok(())
    }

    /// How things stand with every peer that was ever asked.
    #[must_use]
    pub fn states(&self) -> Vec<(K, State)> {
        let peers = self.shared.lock();
        peers.iter().map(|(key, peer)| (key.clone(), peer.state())).collect()
    }

    /// Closes at once every connection that `keep` does not want, and returns how many.
    ///
    /// `keep` is given the peer and its certificates, leaf first. May be called from any thread; `keep` must not call back. Change
    /// what is dialled with first.
    pub fn retain(&self, mut keep: impl FnMut(&K, &[CertificateDer<'static>]) -> bool) -> usize {
        let peers = self.shared.lock();
        peers.iter().map(|(key, peer)| peer.retain(|certificates| keep(key, certificates))).sum()
    }

    /// Lets go of a peer: open streams end by themselves, the next request dials without waiting for a backoff to pass.
    pub fn forget(&self, peer: &K) {
        self.shared.lock().remove(peer);
    }

    fn peer(&self, key: &K) -> Arc<Peer> {
        let mut peers = self.shared.lock();
        if let Some(peer) = peers.get(key) {
            return Arc::clone(peer);
        }
        let peer = Arc::new(Peer::new(Arc::clone(&self.shared.limits)));
        peers.insert(key.clone(), Arc::clone(&peer));
        peer
    }
}

/// Copies a request whose body is whole. The body is shared, and the head costs two allocations.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = request.body().copy()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for Links<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for Links<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// How things stand with a peer.
#[derive(Clone, Debug)]
pub struct State {
    /// Open connections.
    pub connections: usize,
    /// Streams on them.
    pub streams: usize,
    /// By which key exchange the keys of its first connection were agreed, as TLS names it: `X25519MLKEM768`. `None` without a connection.
    pub key_exchange: Option<&'static str>,
    /// Why it cannot be reached at present, if so.
    pub down: Option<Arc<DialError>>,
}
