//! The connections that are open, so that they can be looked at again, drained and closed.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::sync::Notify;

use crate::upkeep::{Control, Order};

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Caller<P> {
    /// What the function handed to [`Server::new`](super::Server::new) made of the certificates.
    pub peer: P,
    /// The name under which its connections are counted.
    pub name: Arc<str>,
    /// Its certificates, leaf first; empty where the transport is plain.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Where it comes from.
    pub address: SocketAddr,
}

/// The connections of one server.
pub struct Connections<P> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    state: Mutex<State<P>>,
    changed: Notify,
}

struct State<P> {
    most: usize,
    most_of_one: usize,
    open: HashMap<u64, Open<P>>,
    by_name: HashMap<Arc<str>, usize>,
    next: u64,
    /// How often connections have been looked at again.
    epoch: u64,
    /// What new connections are told from the start.
    order: Order,
}

struct Open<P> {
    caller: Arc<Caller<P>>,
    control: Arc<Control>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be closed with streams open.
    pub closed: usize,
}

impl<P> Connections<P> {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    most,
                    most_of_one,
                    open: HashMap::new(),
                    by_name: HashMap::new(),
                    next: 0,
                    epoch: 0,
                    order: Order::Serve,
                }),
                changed: Notify::new(),
            }),
        }
    }

    /// Changes how many may be open, in all and of one name. Those that are open stay.
    pub(super) fn set_most(&self, most: usize, most_of_one: usize) {
        let mut state = self.shared.lock();
        (state.most, state.most_of_one) = (most, most_of_one);
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many streams are open on all of them.
    #[must_use]
    pub fn streams(&self) -> usize {
        let state = self.shared.lock();
        state.open.values().map(|open| open.control.open_streams()).sum()
    }

    /// Returns who is at the other end of each, and how many streams are open on it.
    #[must_use]
    pub fn callers(&self) -> Vec<(Arc<Caller<P>>, usize)> {
        let state = self.shared.lock();
        state.open.values().map(|open| (Arc::clone(&open.caller), open.control.open_streams())).collect()
    }

    /// Closes at once every connection that `keep` does not want, and returns how many.
    ///
    /// Streams on them end as if the connection was lost. May be called from any thread; `keep` must not call back. Connections that are
    /// on their way in are identified once more, so that none slips through: change what `identify` goes by first.
    pub fn retain(&self, mut keep: impl FnMut(&Caller<P>) -> bool) -> usize {
        let mut state = self.shared.lock();
        state.epoch += 1;
        let unwanted = state.open.values().filter(|open| !keep(&open.caller));
        unwanted.map(|open| open.control.give(Order::Close)).count()
    }

    /// Asks every connection to end with its last stream, waits for that as long as `patience`, then closes what is left.
    pub async fn drain(&self, patience: Duration) -> Drained {
        self.order(Order::Drain);
        let in_time = tokio::time::timeout(patience, self.until_empty()).await;
        if in_time.is_ok() {
            return Drained { closed: 0 };
        }
        let closed = self.busy();
        self.order(Order::Close);
        self.until_empty().await;
        Drained { closed }
    }

    /// How many have a stream open. One whose peer only does not answer any more is closed without loss.
    fn busy(&self) -> usize {
        let state = self.shared.lock();
        state.open.values().filter(|open| open.control.open_streams() > 0).count()
    }

    fn order(&self, order: Order) {
        let mut state = self.shared.lock();
        state.order = state.order.max(order);
        state.open.values().for_each(|open| open.control.give(order));
    }

    async fn until_empty(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if self.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// How often connections have been looked at again.
    pub(super) fn epoch(&self) -> u64 {
        self.shared.lock().epoch
    }

    /// Adds a connection that was identified in `epoch`, unless there are too many.
    pub(super) fn add(&self, caller: Caller<P>, epoch: u64) -> Result<Admitted<P>, NotAdded<P>> {
        let mut state = self.shared.lock();
        if state.epoch != epoch {
            return Err(NotAdded::Outdated(caller));
        }
        if state.open.len() >= state.most {
            return Err(NotAdded::Full { of_one: false });
        }
        let most_of_one = state.most_of_one;
        let of_one = state.by_name.entry(Arc::clone(&caller.name)).or_default();
        if *of_one >= most_of_one {
            return Err(NotAdded::Full { of_one: true });
        }
        *of_one += 1;
        let (caller, control) = (Arc::new(caller), Arc::new(Control::default()));
        control.give(state.order);
        let id = state.next;
        state.next += 1;
        state.open.insert(id, Open { caller: Arc::clone(&caller), control: Arc::clone(&control) });
        Ok(Admitted { shared: Arc::clone(&self.shared), id, caller, control })
    }
}

impl<P> fmt::Debug for Connections<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.len()).finish_non_exhaustive()
    }
}

/// Why a connection was not added.
pub(super) enum NotAdded<P> {
    /// There are as many as may be, of one peer or in all.
    Full { of_one: bool },
    /// Connections have been looked at again since it was identified.
    Outdated(Caller<P>),
}

/// The place of a connection among the open ones, until it is dropped.
pub(super) struct Admitted<P> {
    shared: Arc<Shared<P>>,
    id: u64,
    pub caller: Arc<Caller<P>>,
    pub control: Arc<Control>,
}

impl<P> Drop for Admitted<P> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.open.remove(&self.id);
        if let Some(of_one) = state.by_name.get_mut(&self.caller.name) {
            *of_one -= 1;
            if *of_one == 0 {
                state.by_name.remove(&self.caller.name);
            }
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

impl<P> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
