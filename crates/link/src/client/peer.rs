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

#[derive(Default)]
struct Inner {
    connections: Vec<Arc<Connection>>,
    /// Somebody dials; closed when that has come to an end.
    dialling: Option<watch::Receiver<()>>,
    failure: Option<Failure>,
    /// How often connections have been looked at again.
    epoch: u64,
}

/// The last attempt failed.
struct Failure {
    address: Arc<str>,
    cause: Arc<DialError>,
    /// Attempts that failed in a row.
    times: u32,
    until: Instant,
}

enum Pick {
    Use(Place),
    Wait(watch::Receiver<()>),
}

impl Peer {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self { limits, inner: Mutex::default() }
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
        inner.forget_closed();
        let failure = inner.failure.as_ref();
        State {
            connections: inner.connections.len(),
            streams: inner.connections.iter().map(|one| one.streams()).sum(),
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
        inner.forget_closed();
        let Some(least) = inner.connections.iter().min_by_key(|one| one.streams()).cloned() else {
            if let Some(failure) = &inner.failure
                && let Some(again_in) = failure.until.checked_duration_since(Instant::now())
                && !again_in.is_zero()
            {
                return Err(failure.error(again_in));
            }
            let dialled = self.dialling(&mut inner, directions)?;
            return Ok(Pick::Wait(dialled));
        };
        let (streams, most) = (least.streams(), least.most_streams());
        if streams >= most / 4 * 3 && inner.connections.len() < self.limits.connections && inner.may_dial() {
            // One more would be good, and is no reason to refuse when it cannot be had.
            let dialled = self.dialling(&mut inner, directions);
            if let Ok(dialled) = dialled
                && streams >= most
            {
                return Ok(Pick::Wait(dialled));
            }
        }
        if streams >= most.saturating_add(self.limits.queue) {
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
        let attempt = Attempt {
            peer: Arc::clone(self),
            address: target.address.as_str().into(),
            epoch: inner.epoch,
            _done: done,
        };
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
    fn forget_closed(&mut self) {
        self.connections.retain(|connection| connection.is_open());
    }

    /// Whether somebody dials, or may.
    fn may_dial(&self) -> bool {
        let resting = |failure: &Failure| failure.until > Instant::now();
        self.dialling.is_some() || !self.failure.as_ref().is_some_and(resting)
    }
}

/// An attempt to dial. However it ends, others may dial after it.
struct Attempt {
    peer: Arc<Peer>,
    address: Arc<str>,
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
                let times = inner.failure.as_ref().map_or(0, |failure| failure.times) + 1;
                tracing::warn!(address = %self.address, times, cause = &cause as &dyn Error, "no link");
                inner.failure = Some(Failure {
                    address: Arc::clone(&self.address),
                    cause: Arc::new(cause),
                    times,
                    until: Instant::now() + self.peer.limits.backoff.after(times, chance()),
                });
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.peer.lock().dialling = None;
    }
}

impl Failure {
    fn error(&self, again_in: Duration) -> LinkError {
        LinkError::Down { address: Arc::clone(&self.address), cause: Arc::clone(&self.cause), again_in }
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
