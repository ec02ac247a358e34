//! The places for handshakes that are under way.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// All places of one server.
#[derive(Debug)]
pub(super) struct Places {
    most: AtomicUsize,
    /// In the order in which they were taken.
    taken: Mutex<Vec<Arc<Seat>>>,
}

#[derive(Debug)]
struct Seat {
    address: IpAddr,
    lost: AtomicBool,
    waker: AtomicWaker,
}

/// A place for one handshake, until it is dropped or lost.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most.max(1)), taken: Mutex::new(Vec::new()) }
    }

    /// Changes how many there are. Handshakes that are under way keep their places.
    pub(super) fn set_most(&self, most: usize) {
        self.most.store(most.max(1), Ordering::Relaxed);
    }

    /// Takes a place; if none is free, that of the oldest handshake of the address that has most of them.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Place {
        let seat = Arc::new(Seat { address, lost: AtomicBool::new(false), waker: AtomicWaker::new() });
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= self.most.load(Ordering::Relaxed) {
            let of = |address| taken.iter().filter(|seat| seat.address == address).count();
            // The first of equals is the oldest.
            let displaced =
                taken.iter().enumerate().rev().max_by_key(|(_, seat)| of(seat.address)).map(|(index, _)| index);
            if let Some(index) = displaced {
                let seat = taken.remove(index);
                seat.lost.store(true, Ordering::Release);
                seat.waker.wake();
            }
        }
        taken.push(Arc::clone(&seat));
        Place { places: Arc::clone(self), seat }
    }
}

impl Place {
    /// Ready when the place went to another.
    pub(super) fn poll_lost(&self, context: &Context<'_>) -> Poll<()> {
        self.seat.waker.register(context.waker());
        if self.seat.lost.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(place: &Place) -> bool {
        place.seat.lost.load(Ordering::Acquire)
    }

    #[test]
    fn the_oldest_of_the_address_with_most_makes_room() {
        let places = Arc::new(Places::new(3));
        let [crowd, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let alone = places.take(other);
        let first = places.take(crowd);
        let second = places.take(crowd);
        let third = places.take(crowd);
        assert!(lost(&first) && !lost(&second) && !lost(&third) && !lost(&alone));
    }

    #[test]
    fn among_equals_the_oldest_makes_room() {
        let places = Arc::new(Places::new(2));
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = places.take(one);
        let second = places.take(two);
        let third = places.take(three);
        assert!(lost(&first) && !lost(&second) && !lost(&third));
    }

    #[test]
    fn a_place_given_back_is_free() {
        let places = Arc::new(Places::new(1));
        let address = IpAddr::from([10, 0, 0, 1]);
        drop(places.take(address));
        let first = places.take(address);
        assert!(!lost(&first));
        assert_eq!(places.taken.lock().map(|taken| taken.len()).ok(), Some(1));
    }
}
