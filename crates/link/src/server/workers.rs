//! Spreads connections over the runtimes that serve one port.
//!
//! The surprising fact: `SO_REUSEPORT` spreads by a hash, so that two connections on two cores share one of them half of the time. A
//! connection that lands on the busier runtime is handed over before its first byte.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A connection that was accepted, on its way to a runtime.
pub(super) type Accepted = (TcpStream, SocketAddr);

#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<Vec<Arc<Worker>>>);

#[derive(Debug)]
pub(super) struct Worker {
    inbox: UnboundedSender<Accepted>,
    load: Arc<AtomicUsize>,
}

/// One connection on the account of a runtime.
#[derive(Debug)]
pub(super) struct Load(Arc<AtomicUsize>);

impl Workers {
    /// Adds the current runtime.
    pub(super) fn join(&self) -> (Arc<Worker>, UnboundedReceiver<Accepted>) {
        let (inbox, accepted) = unbounded_channel();
        let worker = Arc::new(Worker { inbox, load: Arc::default() });
        self.lock().push(Arc::clone(&worker));
        (worker, accepted)
    }

    pub(super) fn leave(&self, worker: &Arc<Worker>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, worker));
    }

    /// The runtime that should have the next connection, if it is another than `own`.
    pub(super) fn better(&self, own: &Arc<Worker>) -> Option<Arc<Worker>> {
        let workers = self.lock();
        let least = workers.iter().min_by_key(|worker| worker.load())?;
        (least.load() < own.load()).then(|| Arc::clone(least))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Worker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Counts a connection until what it returns is dropped.
    pub(super) fn charge(&self) -> Load {
        self.load.fetch_add(1, Ordering::AcqRel);
        Load(Arc::clone(&self.load))
    }

    /// Hands a connection over. It comes back when the runtime has gone.
    pub(super) fn hand(&self, accepted: Accepted) -> Result<(), Accepted> {
        self.inbox.send(accepted).map_err(|refused| refused.0)
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Acquire)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_runtime_with_fewest() {
        let workers = Workers::default();
        let (first, _inbox) = workers.join();
        let (second, _inbox) = workers.join();
        assert!(workers.better(&first).is_none(), "equals keep what they have");
        let load = first.charge();
        let better = workers.better(&first);
        assert!(better.is_some_and(|better| Arc::ptr_eq(&better, &second)));
        drop(load);
        assert!(workers.better(&first).is_none());
        let _load = first.charge();
        workers.leave(&second);
        assert!(workers.better(&first).is_none());
    }
}
