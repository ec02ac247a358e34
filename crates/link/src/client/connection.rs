//! One connection to a peer.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{PingPong, Reason};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::{Ending, LinkError};
use crate::body::{Body, Incoming};
use crate::guard::Pulse;
use crate::http2::spare_the_table;
use crate::pump::Pump;
use crate::upkeep::{Control, Finding, OpenStream, Order, Times, Upkeep};

/// A connection, for as long as anybody holds it. It ends with its last stream once nobody does.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    control: Arc<Control>,
    pulse: Arc<Pulse>,
    life: Arc<Life>,
    certificates: Vec<CertificateDer<'static>>,
    key_exchange: Option<&'static str>,
}

/// What became of a connection.
#[derive(Debug, Default)]
struct Life {
    /// A request was answered on it.
    answered: AtomicBool,
    /// It ended without our doing.
    cut: AtomicBool,
}

/// A request that was not sent.
pub(super) enum Unsent {
    /// The connection takes no more.
    Ended(Box<Request<Body>>),
    /// No connection would take it.
    Unfit(h2::Error),
}

impl Connection {
    /// Returns the connection, and the future that has to run for it; that returns why it ended, if not in order.
    pub(super) fn new<IO>(
        requests: SendRequest<Bytes>,
        h2: h2::client::Connection<IO, Bytes>,
        ping: Option<PingPong>,
        pulse: Arc<Pulse>,
        times: Times,
    ) -> (Self, impl Future<Output = Option<Ending>> + Send + use<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let control = Arc::new(Control::default());
        let mut driver = Driver {
            h2,
            upkeep: Upkeep::new(Arc::clone(&control), Arc::clone(&pulse), ping, times),
            control: Arc::clone(&control),
        };
        let life = Arc::new(Life::default());
        let (ending, conduct) = (Arc::clone(&life), Arc::clone(&pulse));
        let driven = async move {
            let ended = poll_fn(|context| driver.poll(context)).await;
            if driver.control.order() == Order::Serve {
                ending.cut.store(true, Ordering::SeqCst);
            }
            // Whoever still holds it sees that it has ended.
            driver.control.give(Order::Close);
            conduct.breach().map(Ending::Breach).or(ended.err().map(Ending::Broken))
        };
        (Self { requests, control, pulse, life, certificates: Vec::new(), key_exchange: None }, driven)
    }

    /// Notes whom its peer showed itself to be.
    pub(super) fn shown(mut self, certificates: Vec<CertificateDer<'static>>) -> Self {
        self.certificates = certificates;
        self
    }

    /// Notes by which key exchange its keys were agreed.
    pub(super) fn agreed_by(mut self, key_exchange: Option<&'static str>) -> Self {
        self.key_exchange = key_exchange;
        self
    }

    /// By which key exchange its keys were agreed, as TLS names it.
    pub(super) fn key_exchange(&self) -> Option<&'static str> {
        self.key_exchange
    }

    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether a request was answered on it.
    pub(super) fn has_answered(&self) -> bool {
        self.life.answered.load(Ordering::SeqCst)
    }

    /// Whether it ended without our doing and without an answer.
    pub(super) fn was_in_vain(&self) -> bool {
        self.life.cut.load(Ordering::SeqCst) && !self.has_answered()
    }

    /// Lets it take no more requests; it ends with its last stream.
    pub(super) fn retire(&self) {
        self.control.give(Order::Drain);
    }

    pub(super) fn close(&self) {
        self.control.give(Order::Close);
    }

    /// Whether it takes requests, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.control.order() == Order::Serve
    }

    pub(super) fn streams(&self) -> usize {
        self.control.open_streams()
    }

    /// Streams that the peer allows at once.
    pub(super) fn most_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Takes a place for one stream.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        Place { connection: Arc::clone(self), stream: self.control.begin_stream() }
    }
}

/// Waits until the peer has spoken: from then on it is known how many streams it allows.
///
/// # Errors
///
/// It ended before, in order if there is no [`h2::Error`].
pub(super) async fn first_word<IO>(
    h2: &mut h2::client::Connection<IO, Bytes>,
    pulse: &Pulse,
) -> Result<(), Option<h2::Error>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| match Pin::new(&mut *h2).poll(context) {
        _ if pulse.frames() > 0 => Poll::Ready(Ok(())),
        Poll::Ready(ended) => Poll::Ready(Err(ended.err())),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// A place for one stream on a connection.
#[derive(Debug)]
pub(super) struct Place {
    connection: Arc<Connection>,
    stream: OpenStream,
}

impl Place {
    /// Sends a request, and as much of its body as there is and the peer takes.
    pub(super) async fn send(self, request: Request<Body>) -> Result<Sent, Unsent> {
        let mut requests = self.connection.requests.clone();
        let open = poll_fn(|context| Poll::Ready(requests.poll_ready(context))).await;
        if !self.connection.is_open() || matches!(open, Poll::Ready(Err(_))) {
            self.connection.life.cut.store(true, Ordering::SeqCst);
            self.connection.control.give(Order::Drain);
            return Err(Unsent::Ended(Box::new(request)));
        }
        let (mut head, body) = request.into_parts();
        complete(&mut head.uri);
        spare_the_table(&mut head.headers);
        head.version = http::Version::HTTP_2;
        let whole = http_body::Body::is_end_stream(&body);
        let (response, stream) = requests.send_request(Request::from_parts(head, ()), whole).map_err(Unsent::Unfit)?;
        let mut sending = None;
        if !whole {
            let mut pump = Pump::new(body, stream, Reason::CANCEL);
            // Nearly every request leaves at the first poll, and needs no task.
            let sent = poll_fn(|context| Poll::Ready(Pin::new(&mut pump).poll(context))).await;
            if sent.is_pending() {
                let task = tokio::spawn(async move {
                    if let Err(error) = pump.await {
                        tracing::trace!(cause = &error as &dyn Error, "request not sent to its end");
                    }
                });
                sending = Some(StopOnDrop(task.abort_handle()));
            }
        }
        let (life, pulse) = (Arc::clone(&self.connection.life), Arc::clone(&self.connection.pulse));
        Ok(Sent { response, life, pulse, hold: Hold { _sending: sending, _stream: self.stream } })
    }
}

/// A request under way.
pub(super) struct Sent {
    response: ResponseFuture,
    life: Arc<Life>,
    pulse: Arc<Pulse>,
    hold: Hold,
}

impl Sent {
    pub(super) async fn answer(self) -> Result<Response<Incoming>, LinkError> {
        let Self { response, life, pulse, hold } = self;
        let stream = response.stream_id().as_u32();
        let response = response
            .await
            .map_err(|error| if pulse.take_long(stream) { LinkError::LongHead } else { LinkError::sent(error) })?;
        life.answered.store(true, Ordering::SeqCst);
        Ok(response.map(|stream| Incoming::holding(stream, hold).measured_by(pulse)))
    }
}

/// What lasts as long as somebody waits for the answer or reads it.
struct Hold {
    _sending: Option<StopOnDrop>,
    _stream: OpenStream,
}

struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Adds what HTTP/2 wants to a URI that is only a path. The peer is known by its certificate, not by this name.
fn complete(uri: &mut Uri) {
    if uri.authority().is_some() {
        return;
    }
    let mut parts = std::mem::take(uri).into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(Authority::from_static("gateway"));
    if let Ok(complete) = Uri::from_parts(parts) {
        *uri = complete;
    }
}

struct Driver<IO> {
    h2: h2::client::Connection<IO, Bytes>,
    upkeep: Upkeep,
    control: Arc<Control>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Poll::Ready(finding) = self.upkeep.poll(context) {
            match finding {
                Finding::Dead => return Poll::Ready(Ok(())),
                Finding::Retire => {
                    self.control.give(Order::Drain);
                    self.upkeep.linger(LINGER);
                }
            }
        }
        if self.control.listen(context) == Order::Close || self.control.is_drained() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.h2).poll(context)
    }
}

/// Time after which a connection that was to end is looked at again.
const LINGER: std::time::Duration = std::time::Duration::from_secs(30);
