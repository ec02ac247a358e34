//! The connections to one peer, and what is known when there is none.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, Place};
use super::dial::dial;
use super::{Backoff, DialError, Limits, LinkError, State, Target};

pub(super) struct Peer {
    limits: Arc<Limits>,
    inner: Mutex<Inner>,
}

struct Inner {
    connections: Vec<Arc<Connection>>,
    /// Somebody dials; closed when that has come to an end.
    dialling: Option<watch::Receiver<()>>,
    failure: Option<Failure>,
    /// Attempts in a row that failed, or came to a connection on which nothing was answered.
    in_vain: u32,
    /// What was dialled last.
    address: Arc<str>,
    /// How often connections have been looked at again.
    epoch: u64,
}

/// The last attempt failed, or came to nothing.
struct Failure {
    cause: Arc<DialError>,
    until: Instant,
}

enum Pick {
    Use(Place),
    Wait(watch::Receiver<()>),
}

impl Peer {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let inner =
            Inner { connections: Vec::new(), dialling: None, failure: None, in_vain: 0, address: "".into(), epoch: 0 };
        Self { limits, inner: Mutex::new(inner) }
    }

    /// Finds a place for one stream, and dials where that is needed.
    pub(super) async fn acquire<D>(self: &Arc<Self>, directions: D) -> Result<Place, LinkError>
    where
        D: Fn() -> Result<Target, Box<dyn Error + Send + Sync>>,
    {
        loop {
            match self.pick(&directions)? {
                Pick::Use(place) => return Ok(place),
                // An error says that the dialling task is done, which is what is waited for.
                Pick::Wait(mut dialled) => drop(dialled.changed().await),
            }
        }
    }

    pub(super) fn state(&self) -> State {
        let mut inner = self.lock();
        inner.forget_closed(&self.limits);
        let failure = inner.failure.as_ref().filter(|_| inner.connections.is_empty());
        State {
            connections: inner.connections.len(),
            streams: inner.connections.iter().map(|one| one.streams()).sum(),
            key_exchange: inner.connections.first().and_then(|one| one.key_exchange()),
            down: failure.map(|failure| Arc::clone(&failure.cause)),
        }
    }

    pub(super) fn retain(&self, mut keep: impl FnMut(&[CertificateDer<'static>]) -> bool) -> usize {
        let mut inner = self.lock();
        inner.epoch += 1;
        let before = inner.connections.len();
        inner.connections.retain(|connection| {
            let kept = keep(connection.certificates());
            if !kept {
                connection.close();
            }
            kept
        });
        before - inner.connections.len()
    }

    fn pick<D>(self: &Arc<Self>, directions: &D) -> Result<Pick, LinkError>
    where
        D: Fn() -> Result<Target, Box<dyn Error + Send + Sync>>,
    {
        let mut inner = self.lock();
        inner.forget_closed(&self.limits);
        let Some(least) = inner.connections.iter().min_by_key(|one| one.streams()).cloned() else {
            if let Some((failure, again_in)) = inner.rest() {
                let (address, cause) = (Arc::clone(&inner.address), Arc::clone(&failure.cause));
                return Err(LinkError::Down { address, cause, again_in });
            }
            let dialled = self.dialling(&mut inner, directions)?;
            return Ok(Pick::Wait(dialled));
        };
        if least.has_answered() {
            inner.in_vain = 0;
        }
        // More streams than there is room for, each left unread, would stop all others.
        let room = usize::try_from(self.limits.http2.streams).unwrap_or(usize::MAX);
        let (streams, most) = (least.streams(), least.most_streams().min(room));
        if streams >= most / 4 * 3 && inner.connections.len() < self.limits.connections && inner.may_dial() {
            // One more would be good, and is no reason to refuse when it cannot be had.
            let dialled = self.dialling(&mut inner, directions);
            if let Ok(dialled) = dialled
                && streams >= most
            {
                return Ok(Pick::Wait(dialled));
            }
        }
        if streams >= most.saturating_add(self.limits.queue).min(room) {
            return Err(LinkError::Full);
        }
        Ok(Pick::Use(least.take()))
    }

    /// Dials, unless somebody does already.
    fn dialling<D>(self: &Arc<Self>, inner: &mut Inner, directions: &D) -> Result<watch::Receiver<()>, LinkError>
    where
        D: Fn() -> Result<Target, Box<dyn Error + Send + Sync>>,
    {
        if let Some(dialling) = &inner.dialling {
            return Ok(dialling.clone());
        }
        let target = directions().map_err(LinkError::Undialable)?;
        let (done, dialling) = watch::channel(());
        inner.dialling = Some(dialling.clone());
        inner.address = target.address.as_str().into();
        let attempt = Attempt { peer: Arc::clone(self), epoch: inner.epoch, _done: done };
        // A task of its own: whoever asked first may have no patience.
        tokio::spawn(async move {
            let dialled = dial(target, &attempt.peer.limits).await;
            attempt.settle(dialled);
        });
        Ok(dialling)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget_closed(&mut self, limits: &Limits) {
        let mut in_vain = false;
        self.connections.retain(|connection| {
            in_vain |= !connection.is_open() && connection.was_in_vain();
            connection.is_open()
        });
        // Once is no reason: a peer that retires connections may retire a new one.
        if in_vain {
            let rest = self.in_vain.min(1) * limits.backoff.after(self.in_vain, chance());
            self.fail(DialError::Closed(None), rest);
        }
    }

    /// Counts one more connection that came to nothing, and rests.
    fn fail(&mut self, cause: DialError, rest: Duration) {
        self.in_vain = self.in_vain.saturating_add(1);
        self.failure = Some(Failure { cause: Arc::new(cause), until: Instant::now() + rest });
    }

    fn rest(&self) -> Option<(&Failure, Duration)> {
        let failure = self.failure.as_ref()?;
        let rest = failure.until.checked_duration_since(Instant::now())?;
        (!rest.is_zero()).then_some((failure, rest))
    }

    /// Whether somebody dials, or may.
    fn may_dial(&self) -> bool {
        self.dialling.is_some() || self.rest().is_none()
    }
}

/// An attempt to dial. However it ends, others may dial after it.
struct Attempt {
    peer: Arc<Peer>,
    epoch: u64,
    _done: watch::Sender<()>,
}

impl Attempt {
    fn settle(self, dialled: Result<Connection, DialError>) {
        let mut inner = self.peer.lock();
        match dialled {
            // What it was verified against may be out of date. Whoever waits for it dials again.
            Ok(_) if self.epoch != inner.epoch => {}
            Ok(connection) => {
                inner.failure = None;
                inner.connections.push(Arc::new(connection));
            }
            Err(cause) => {
                let times = inner.in_vain.saturating_add(1);
                tracing::warn!(address = %inner.address, times, cause = &cause as &dyn Error, "no link");
                inner.fail(cause, self.peer.limits.backoff.after(times, chance()));
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.peer.lock().dialling = None;
    }
}

impl Backoff {
    /// The time to wait after so many failures in a row; `chance` is a fraction of 65,536.
    fn after(self, times: u32, chance: u16) -> Duration {
        let doubled = 1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
        let time = self.first.saturating_mul(doubled).min(self.longest);
        let spread = time.as_secs_f64() * 0.4 * (f64::from(chance) / 65_536.0 - 0.5);
        Duration::try_from_secs_f64(time.as_secs_f64() + spread).unwrap_or(time)
    }
}

/// A number by chance. The standard library seeds its hash maps so, and nothing secret hangs on it.
fn chance() -> u16 {
    let [high, low, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_a_peer_is_left_alone_doubles_up_to_the_longest_with_a_fifth_of_chance() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
        let check = |times, chance, expected| {
            let got = backoff.after(times, chance).as_millis();
            assert_eq!(got, expected, "{times} {chance}");
        };
        check(1, 0, 80);
        check(1, 32_768, 100);
        check(1, u16::MAX, 119);
        check(2, 32_768, 200);
        check(6, 32_768, 3_200);
        check(7, 32_768, 5_000);
        check(40, 32_768, 5_000);
        check(u32::MAX, 32_768, 5_000);
    }
}
