//! How many exchanges there may be at once, on both ports together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// The places of one gateway.
#[derive(Debug)]
pub(crate) struct Places {
    most: AtomicUsize,
    taken: AtomicUsize,
    freed: Notify,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), taken: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Taken> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |taken: usize| (taken < most).then(|| taken.saturating_add(1));
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Taken { places: self.clone() })
    }

    /// Changes how many there are. Exchanges that go on keep their places.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Returns how many there are.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Returns how many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until none is taken.
    pub(crate) async fn until_free(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on no place is given back unnoticed.
            freed.as_mut().enable();
            if self.taken() == 0 {
                return;
            }
            freed.await;
        }
    }
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    places: Arc<Places>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_as_many_as_were_said_last_and_a_place_given_back_is_noticed() {
        let places = Arc::new(Places::new(2));
        let (one, two) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        places.set_most(1);
        drop(two);
        assert!(places.take().is_none() && places.taken() == 1);
        places.set_most(3);
        let three = places.take().unwrap();
        let free = places.until_free();
        tokio::pin!(free);
        assert!(futures_util::poll!(free.as_mut()).is_pending());
        drop((one, three));
        free.await;
        assert_eq!((places.taken(), places.most()), (0, 3));
    }
}
