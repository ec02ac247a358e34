//! Serves the streams of one connection.
//!
//! The surprising fact: it ends in one place. Orders, age, a dead peer and a broken rule all lead to the end of [`Connection::serve`], and
//! what depended on the connection is dropped there.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::connections::{Admitted, Caller};
use super::workers::Load;
use super::{Event, Shared, count};
use crate::body::Incoming;
use crate::coalesce::CoalescedWrites;
use crate::guard::{Breach, Guarded, Pulse};
use crate::http2::spare_the_table;
use crate::pump::Pump;
use crate::upkeep::{Finding, OpenStream, Order, Times, Upkeep};

/// Time in which a connection that is closed may still say why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Time without a stream after which a connection that was asked to end, and did not, is closed.
const LINGER: Duration = Duration::from_secs(30);

/// A connection whose peer is known.
pub(super) struct Connection<P> {
    pub(super) shared: Arc<Shared<P>>,
    pub(super) admitted: Admitted<P>,
    /// Time in which the peer has to take something of an answer that waits for it.
    stall: Duration,
    _load: Load,
}

impl<P: Send + Sync + 'static> Connection<P> {
    pub(super) fn new(shared: Arc<Shared<P>>, admitted: Admitted<P>, load: Load) -> Self {
        let stall = shared.limits().http2.stall;
        Self { shared, admitted, stall, _load: load }
    }

    pub(super) async fn serve<IO, S, F, B>(self, io: IO, service: S)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        S: Fn(Arc<Caller<P>>, Request<Incoming>) -> F,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let pulse = Arc::new(Pulse::default());
        let ended = self.drive(io, service, &pulse).await;
        let caller = &self.admitted.caller;
        let (address, name) = (caller.address, Arc::clone(&caller.name));
        let by_h2 = ended.as_ref().err().filter(|error| error.is_go_away() && error.is_library());
        let by_h2 = by_h2.and_then(h2::Error::reason).map(Breach::Rules);
        if let Some(breach) = pulse.breach().or(by_h2) {
            count(&self.shared.counters.breached);
            (self.shared.observe)(Event::Breached { address, name, breach });
        } else if let Err(cause) = ended {
            (self.shared.observe)(Event::Broken { address, name, cause: cause.into() });
        }
    }

    async fn drive<IO, S, F, B>(&self, io: IO, service: S, pulse: &Arc<Pulse>) -> Result<(), h2::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        S: Fn(Arc<Caller<P>>, Request<Incoming>) -> F,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limits = self.shared.limits();
        let control = &self.admitted.control;
        let io = CoalescedWrites::new(Guarded::server(io, &limits.http2, Arc::clone(pulse)));
        let mut handshake = limits.http2.server().handshake(io);
        // The guard gives the peer `header_timeout` to begin.
        let h2 = poll_fn(|context| {
            if control.listen(context) == Order::Close {
                return Poll::Ready(None);
            }
            Pin::new(&mut handshake).poll(context).map(Some)
        });
        let Some(h2) = h2.await.transpose()? else {
            return Ok(());
        };
        let times = Times::of(&limits.http2, limits.connection_age, limits.idle);
        let mut driver = Driver::new(h2, self, times, Arc::clone(pulse));
        poll_fn(move |context| driver.poll(context, &service)).await
    }

    fn begin<F, B>(
        &self,
        service: &impl Fn(Arc<Caller<P>>, Request<Incoming>) -> F,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) where
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        count(&self.shared.counters.streams);
        let open = self.admitted.control.begin_stream();
        let bodiless = request.method() == Method::HEAD;
        // Boxed at once: a task moves its future when it starts and when it ends, and this one may be of several KiB.
        let answer = Box::pin(service(Arc::clone(&self.admitted.caller), request.map(Incoming::new)));
        tokio::spawn(serve_stream(answer, (respond, bodiless), (self.stall, open)));
    }
}

struct Driver<'a, IO, P> {
    h2: h2::server::Connection<IO, Bytes>,
    connection: &'a Connection<P>,
    upkeep: Upkeep,
    draining: bool,
    /// The connection is closed, and when it is let go although the peer does not take our last words.
    closing: Option<Pin<Box<Sleep>>>,
}

impl<'a, IO, P> Driver<'a, IO, P>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    P: Send + Sync + 'static,
{
    fn new(
        mut h2: h2::server::Connection<IO, Bytes>,
        connection: &'a Connection<P>,
        times: Times,
        pulse: Arc<Pulse>,
    ) -> Self {
        let ping = h2.ping_pong();
        let control = Arc::clone(&connection.admitted.control);
        Self { upkeep: Upkeep::new(control, pulse, ping, times), h2, connection, draining: false, closing: None }
    }

    fn poll<F, B>(
        &mut self,
        context: &mut Context<'_>,
        service: &impl Fn(Arc<Caller<P>>, Request<Incoming>) -> F,
    ) -> Poll<Result<(), h2::Error>>
    where
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match self.connection.admitted.control.listen(context) {
            Order::Serve => {}
            Order::Drain => self.drain(),
            Order::Close => self.close(),
        }
        while let Poll::Ready(finding) = self.upkeep.poll(context) {
            match finding {
                Finding::Dead => return Poll::Ready(Ok(())),
                Finding::Retire if self.draining => {
                    self.close();
                    break;
                }
                Finding::Retire => self.drain(),
            }
        }
        if let Some(patience) = &mut self.closing {
            if patience.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            return self.h2.poll_closed(context).map(|_| Ok(()));
        }
        loop {
            match ready!(self.h2.poll_accept(context)) {
                Some(Ok((request, respond))) => self.connection.begin(service, request, respond),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.upkeep.linger(LINGER);
            self.h2.graceful_shutdown();
        }
    }

    fn close(&mut self) {
        if self.closing.is_none() {
            self.draining = true;
            self.closing = Some(Box::pin(tokio::time::sleep(LAST_WORDS)));
            self.h2.abrupt_shutdown(Reason::NO_ERROR);
        }
    }
}

/// Runs what the service returned, and sends what it answers: its head alone where that has to be without a body, as for `HEAD`. Ends early
/// when the peer resets the stream.
async fn serve_stream<F, B>(
    mut answer: Pin<Box<F>>,
    (mut respond, bodiless): (SendResponse<Bytes>, bool),
    (stall, _open): (Duration, OpenStream),
) where
    F: Future<Output = Response<B>>,
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let response = poll_fn(|context| {
        if let Poll::Ready(response) = answer.as_mut().poll(context) {
            return Poll::Ready(Some(response));
        }
        respond.poll_reset(context).map(|_| None)
    })
    .await;
    drop(answer);
    let Some(response) = response else { return };
    let (mut head, body) = response.into_parts();
    spare_the_table(&mut head.headers);
    let whole = bodiless || body.is_end_stream();
    let stream = match respond.send_response(Response::from_parts(head, ()), whole) {
        Ok(stream) => stream,
        Err(error) => {
            // The peer has gone, or the head breaks a rule of HTTP/2.
            tracing::debug!(cause = &error as &dyn Error, "answer not sent");
            return respond.send_reset(Reason::INTERNAL_ERROR);
        }
    };
    if !whole {
        let sent = Pump::new(body, stream, Reason::INTERNAL_ERROR).patient_for(stall).await;
        if let Err(error) = sent {
            tracing::trace!(cause = &error as &dyn Error, "answer not sent to its end");
        }
    }
}
