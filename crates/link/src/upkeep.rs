//! Looks after one connection, whichever end opened it: signs of life, age, idleness, and orders to end.
//!
//! The surprising fact: there is one timer for all of it, and a busy connection never resets it. What has happened since is looked up when
//! it fires.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use crate::guard::Pulse;
use crate::http2::{Http2, Keepalive};

/// What others may see of a connection, and ask of it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    order: AtomicU8,
    driver: AtomicWaker,
    open_streams: AtomicUsize,
    all_streams: AtomicU64,
}

/// What a connection is asked to do, from the mildest to the harshest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// Take no new stream, and end with the last one.
    Drain,
    /// End now.
    Close,
}

impl Control {
    /// Gives an order. A milder one than the last changes nothing.
    pub(crate) fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
        self.driver.wake();
    }

    pub(crate) fn order(&self) -> Order {
        match self.order.load(Ordering::SeqCst) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }

    /// Arranges that `context` hears of the next order, and returns the present one.
    pub(crate) fn listen(&self, context: &Context<'_>) -> Order {
        self.driver.register(context.waker());
        self.order()
    }

    pub(crate) fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::SeqCst)
    }

    /// Whether it was asked to end and has no stream. Whoever counts a stream and then sees [`Order::Serve`] is safe from it.
    pub(crate) fn is_drained(&self) -> bool {
        self.order() != Order::Serve && self.open_streams() == 0
    }

    /// Counts a stream until what it returns is dropped.
    pub(crate) fn begin_stream(self: &Arc<Self>) -> OpenStream {
        self.open_streams.fetch_add(1, Ordering::SeqCst);
        self.all_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }
}

/// A stream that is under way.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Control>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.open_streams.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.order() != Order::Serve {
            self.0.driver.wake();
        }
    }
}

/// What the upkeep finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The connection is old, or nothing has used it for long.
    Retire,
    /// The peer gives no sign of life.
    Dead,
}

/// The times that a connection is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub keepalive: Keepalive,
    /// After this long it retires.
    pub age: Option<Duration>,
    /// After this long without a stream it retires.
    pub idle: Option<Duration>,
    /// Whether the peer is asked for signs of life while there is no stream.
    pub unused_too: bool,
}

impl Times {
    /// Those of a connection that is asked for signs of life at all times.
    pub(crate) fn of(http2: &Http2, age: Option<Duration>, idle: Option<Duration>) -> Self {
        Self { keepalive: http2.keepalive, age, idle, unused_too: true }
    }
}

pub(crate) struct Upkeep {
    control: Arc<Control>,
    pulse: Arc<Pulse>,
    ping: Option<PingPong>,
    times: Times,
    sleep: Pin<Box<Sleep>>,
    retires: Option<Instant>,
    /// Frames seen when the timer last fired.
    frames: u64,
    /// When the peer is asked for a sign of life, or has to have given it.
    life: Instant,
    asked: bool,
    /// Streams seen when the timer last fired, and since when there is none.
    streams: u64,
    unused: Instant,
}

impl Upkeep {
    pub(crate) fn new(control: Arc<Control>, pulse: Arc<Pulse>, ping: Option<PingPong>, times: Times) -> Self {
        let now = Instant::now();
        let retires = times.age.map(|age| now + age);
        let life = now + times.keepalive.interval;
        let mut upkeep = Self {
            control,
            pulse,
            ping,
            times,
            sleep: Box::pin(tokio::time::sleep_until(now)),
            retires,
            frames: 0,
            life,
            asked: false,
            streams: 0,
            unused: now,
        };
        let next = upkeep.next();
        upkeep.sleep.as_mut().reset(next);
        upkeep
    }

    /// Looks whether something is due. Pending: the connection goes on.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Finding> {
        if self.asked
            && let Some(ping) = &mut self.ping
            && let Poll::Ready(answer) = ping.poll_pong(context)
        {
            self.asked = false;
            if answer.is_ok() {
                self.life = Instant::now() + self.times.keepalive.interval;
                let next = self.next();
                self.sleep.as_mut().reset(next);
            }
        }
        while self.sleep.as_mut().poll(context).is_ready() {
            if let Some(finding) = self.tick(Instant::now()) {
                return Poll::Ready(finding);
            }
            let next = self.next();
            self.sleep.as_mut().reset(next);
            if self.asked
                && let Some(ping) = &mut self.ping
            {
                // Registers for the answer, which cannot be here yet.
                let _ = ping.poll_pong(context);
            }
        }
        Poll::Pending
    }

    /// Finds [`Finding::Retire`] next when there has been no stream for `idle`.
    pub(crate) fn linger(&mut self, idle: Duration) {
        self.retires = None;
        self.times.idle = Some(idle);
        self.unused = Instant::now();
        let next = self.next();
        self.sleep.as_mut().reset(next);
    }

    fn tick(&mut self, now: Instant) -> Option<Finding> {
        let frames = self.pulse.frames();
        if frames != self.frames {
            self.frames = frames;
            self.asked = false;
            self.life = now + self.times.keepalive.interval;
        } else if now >= self.life && !self.asked && !self.times.unused_too && self.control.open_streams() == 0 {
            self.life = now + self.times.keepalive.interval;
        } else if now >= self.life {
            if self.asked {
                return Some(Finding::Dead);
            }
            // Fails when the last one is unanswered, and when the connection has ended: the time-out is right for both.
            let _ = self.ping.as_mut().map(|ping| ping.send_ping(Ping::opaque()));
            self.asked = true;
            self.life = now + self.times.keepalive.timeout;
        }
        if self.retires.is_some_and(|retires| now >= retires) {
            return Some(Finding::Retire);
        }
        let streams = self.control.all_streams.load(Ordering::Relaxed);
        if streams != self.streams || self.control.open_streams() > 0 {
            self.streams = streams;
            self.unused = now;
        } else if self.times.idle.is_some_and(|idle| now >= self.unused + idle) {
            return Some(Finding::Retire);
        }
        None
    }

    fn next(&self) -> Instant {
        let idle = self.times.idle.map(|idle| self.unused + idle);
        [self.retires, idle].into_iter().flatten().fold(self.life, Instant::min)
    }
}
