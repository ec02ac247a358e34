//! From a port to a connection whose peer is known.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::{Caller, NotAdded};
use super::handshakes::Place;
use super::workers::{Load, Worker, Workers};
use super::{ALPN, ALPN_HTTP1, Event, Identified, Shared, Transport, connection, count};
use crate::body::Incoming;

/// Bytes that are read from a socket at once. rustls alone asks for 4 KiB, which costs a busy connection a system call for every few
/// frames, and one more to learn that nothing is left.
pub(crate) const READ_AT_ONCE: usize = 32 * 1024;

/// Time that a peer has to read why it is refused.
const PARTING: Duration = Duration::from_secs(2);
/// What such a peer may still send, in bytes: the requests that it was about to make.
const MOST_READ_ON: u64 = 1024 * 1024;

/// Time without accepting after the system gave no connection.
const BREATHER: Duration = Duration::from_millis(100);

pub(super) async fn serve<P, S, F, B>(
    shared: Arc<Shared<P>>,
    listener: std::net::TcpListener,
    service: S,
) -> io::Result<()>
where
    P: Send + Sync + 'static,
    S: Fn(Arc<Caller<P>>, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut stop = shared.stop.subscribe();
    let (worker, mut inbox) = shared.workers.join();
    let _membership = Membership { workers: &shared.workers, worker: Arc::clone(&worker) };
    let (arriving, here) = (Arc::clone(&shared), Arc::clone(&worker));
    let begin = move |stream, address| {
        count(&arriving.counters.accepted);
        let arrival = Arrival {
            place: arriving.places.take(SocketAddr::ip(&address)),
            load: here.charge(),
            address,
            shared: Arc::clone(&arriving),
        };
        tokio::spawn(arrival.serve(stream, service.clone()));
    };
    loop {
        tokio::select! {
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let Some(better) = shared.workers.better(&worker) else {
                        begin(stream, address);
                        continue;
                    };
                    let Ok(stream) = stream.into_std() else { continue };
                    if let Err((stream, address)) = better.hand((stream, address))
                        && let Ok(stream) = TcpStream::from_std(stream)
                    {
                        begin(stream, address);
                    }
                }
                Err(cause) if is_of_connection(&cause) => {}
                Err(cause) => {
                    (shared.observe)(Event::AcceptFailed { cause });
                    tokio::time::sleep(BREATHER).await;
                }
            },
            Some((stream, address)) = inbox.recv() => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    begin(stream, address);
                }
            }
        }
    }
}

/// What a peer chose to speak.
enum Protocol {
    Http2,
    Http1,
}

/// Whether the error is that of a connection which went away before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// The place of a runtime among those that serve a port, until it is dropped.
struct Membership<'a> {
    workers: &'a Workers,
    worker: Arc<Worker>,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.workers.leave(&self.worker);
    }
}

/// A connection that nobody is known on yet.
struct Arrival<P> {
    shared: Arc<Shared<P>>,
    address: SocketAddr,
    place: Place,
    load: Load,
}

impl<P: Send + Sync + 'static> Arrival<P> {
    async fn serve<S, F, B>(self, stream: TcpStream, service: S)
    where
        S: Fn(Arc<Caller<P>>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // Without it a small answer waits for the acknowledgement of the last one, 40 ms.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let stream = BufReader::with_capacity(READ_AT_ONCE, stream);
        match &self.shared.transport {
            Transport::Plain => {
                if let Some(connection) = self.admit(Vec::new()) {
                    connection.serve(stream, service).await;
                }
            }
            Transport::Tls(settings) => {
                let acceptor = TlsAcceptor::from(settings());
                let Some((stream, certificates, protocol)) = self.shake_hands(acceptor, stream).await else {
                    return;
                };
                match (self.admit(certificates), protocol) {
                    (Some(connection), Protocol::Http2) => connection.serve(stream, service).await,
                    (Some(connection), Protocol::Http1) => connection.serve_http1(stream, service).await,
                    (None, _) => {}
                }
            }
        }
    }

    async fn shake_hands(
        &self,
        acceptor: TlsAcceptor,
        stream: BufReader<TcpStream>,
    ) -> Option<(TlsStream<BufReader<TcpStream>>, Vec<CertificateDer<'static>>, Protocol)> {
        let limits = self.shared.limits();
        let handshake = tokio::time::timeout(limits.handshakes.timeout, acceptor.accept(stream).into_fallible());
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = poll_fn(|context| self.place.poll_lost(context)) => {
                count(&self.shared.counters.handshakes_displaced);
                return None;
            }
        };
        let mut refused = None;
        let cause: Box<dyn Error + Send + Sync> = match outcome {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let protocol = match session.alpn_protocol() {
                    Some(ALPN) => Some(Protocol::Http2),
                    Some(ALPN_HTTP1) | None if limits.http1 => Some(Protocol::Http1),
                    _ => None,
                };
                if let Some(protocol) = protocol {
                    let certificates = session.peer_certificates().unwrap_or_default();
                    let certificates = certificates.iter().cloned().map(CertificateDer::into_owned);
                    let certificates = certificates.collect();
                    return Some((stream, certificates, protocol));
                }
                "the peer does not speak `h2`".into()
            }
            Ok(Err((error, stream))) => {
                refused = Some(stream);
                error.into()
            }
            Err(late) => late.into(),
        };
        count(&self.shared.counters.handshakes_failed);
        (self.shared.observe)(Event::HandshakeFailed { address: self.address, cause });
        if let Some(stream) = refused {
            self.part(stream).await;
        }
        None
    }

    /// Lets a peer read the alert that says why it is refused.
    ///
    /// With TLS 1.3 a client has finished the handshake by the time that its certificate, or that it has none, is turned down, and goes on to
    /// send its first requests. To close a connection on unread data resets it, and what a client has not read by then is lost to it, the
    /// alert among it: so all is read on until the client ends, which it does once it has read the alert. As a handshake, it makes room for
    /// newer ones.
    async fn part(&self, mut stream: BufReader<TcpStream>) {
        let ended = async {
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(MOST_READ_ON), &mut tokio::io::sink()).await
        };
        tokio::select! {
            _ = tokio::time::timeout(PARTING, ended) => {}
            () = poll_fn(|context| self.place.poll_lost(context)) => {}
        }
    }

    /// Finds out whose the connection is, and whether there is room for it.
    fn admit(self, certificates: Vec<CertificateDer<'static>>) -> Option<connection::Connection<P>> {
        let Self { shared, address, place, load } = self;
        drop(place);
        let mut certificates = certificates;
        loop {
            let epoch = shared.connections.epoch();
            let Identified { peer, name } = match (shared.identify)(&certificates) {
                Ok(identified) => identified,
                Err(cause) => {
                    count(&shared.counters.unidentified);
                    (shared.observe)(Event::Unidentified { address, cause });
                    return None;
                }
            };
            let caller = Caller { peer, name: Arc::clone(&name), certificates, address };
            match shared.connections.add(caller, epoch) {
                Ok(admitted) => {
                    return Some(connection::Connection::new(shared, admitted, load));
                }
                Err(NotAdded::Outdated(caller)) => certificates = caller.certificates,
                Err(NotAdded::Full { of_one }) => {
                    count(&shared.counters.crowded);
                    (shared.observe)(Event::Crowded { address, name, of_one });
                    return None;
                }
            }
        }
    }
}
