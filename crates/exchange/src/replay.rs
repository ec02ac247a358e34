//! Sessions of links and their sequence numbers: what was used once is never taken again.
//!
//! Sessions live in memory only. A gateway that restarts knows none, refuses with `STALE_SESSION`, and whoever asks opens
//! anew; so nothing about replay has to be durable.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::rand;
use federation::GatewayId;

/// How far a sequence number may lie behind the highest one seen.
pub const WINDOW: u64 = 4096;
/// Sessions kept of one gateway; the oldest goes first.
const SESSIONS_EACH: usize = 64;
/// Words of the bitmap: one more than [`WINDOW`] fills, since a window that begins within a word ends within one too, and its oldest
/// number must not share a bit with its newest. Source: RFC 6479, section 3.
const WORDS: usize = 64 + 1;

/// The sessions that other gateways have opened.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<GatewayId, Vec<Session>>>,
}

struct Session {
    id: [u8; 16],
    highest: u64,
    seen: [u64; WORDS],
}

/// Why a sequence number was not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// This run of the gateway has given no such session to this peer.
    Unknown,
    /// The number was used, or lies too far back to tell.
    Used,
}

impl Sessions {
    /// Gives `peer` a new session. `None` when the system gives no random bytes.
    pub fn open(&self, peer: &GatewayId) -> Option<[u8; 16]> {
        let mut id = [0; 16];
        rand::fill(&mut id).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = open.entry(peer.clone()).or_default();
        if sessions.len() >= SESSIONS_EACH {
            sessions.remove(0);
        }
        sessions.push(Session { id, highest: 0, seen: [0; WORDS] });
        Some(id)
    }

    /// Returns whether `peer` has this session.
    #[must_use]
    pub fn knows(&self, peer: &GatewayId, session: &[u8]) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(peer).is_some_and(|sessions| sessions.iter().any(|s| s.id == session))
    }

    /// Takes a sequence number, once.
    ///
    /// # Errors
    ///
    /// [`NotTaken`] when the session is unknown or the number was used.
    pub fn take(&self, peer: &GatewayId, session: &[u8], sequence: u64) -> Result<(), NotTaken> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = open.get_mut(peer).ok_or(NotTaken::Unknown)?;
        let session = sessions.iter_mut().find(|s| s.id == session).ok_or(NotTaken::Unknown)?;
        if session.take(sequence) { Ok(()) } else { Err(NotTaken::Used) }
    }
}

impl Session {
    /// A sliding bitmap, as in RFC 6479: one bit for each of the last [`WINDOW`] numbers.
    fn take(&mut self, sequence: u64) -> bool {
        if sequence == 0 || sequence.saturating_add(WINDOW) <= self.highest {
            return false;
        }
        if sequence > self.highest {
            let (from, to) = (self.highest / 64, sequence / 64);
            let fresh = to.saturating_sub(from).min(WORDS as u64);
            for step in 0..fresh {
                *self.word(to.saturating_sub(step)) = 0;
            }
            self.highest = sequence;
        }
        let bit = 1_u64 << (sequence % 64);
        let word = self.word(sequence / 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    fn word(&mut self, number: u64) -> &mut u64 {
        let at = usize::try_from(number % WORDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
        &mut self.seen[at]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn peer() -> GatewayId {
        "council.example/main".parse().unwrap()
    }

    proptest! {
        /// Against the plain definition: a set of all that was used.
        #[test]
        fn no_number_is_taken_twice(numbers in proptest::collection::vec(1_u64..20_000, 1..400)) {
            let sessions = Sessions::default();
            let session = sessions.open(&peer()).unwrap();
            let (mut used, mut highest) = (HashSet::new(), 0);
            for n in numbers {
                let taken = sessions.take(&peer(), &session, n).is_ok();
                prop_assert!(!(taken && used.contains(&n)));
                if !used.contains(&n) && n + WINDOW > highest { prop_assert!(taken, "{n} of {highest}"); }
                if n + WINDOW <= highest { prop_assert!(!taken); }
                if taken { used.insert(n); highest = highest.max(n); }
            }
        }
    }

    #[test]
    fn the_oldest_number_of_the_window_does_not_stand_for_a_new_one() {
        let sessions = Sessions::default();
        let session = sessions.open(&peer()).unwrap();
        // 15793 and 19889 are 4,096 apart, and so have the same bit of a bitmap without a spare word.
        for number in [19_840, 15_793, 19_889] {
            assert_eq!(sessions.take(&peer(), &session, number), Ok(()), "{number}");
        }
        assert_eq!(sessions.take(&peer(), &session, 15_793), Err(NotTaken::Used));
    }

    #[test]
    fn a_session_belongs_to_one_peer_and_the_oldest_goes() {
        let sessions = Sessions::default();
        let first = sessions.open(&peer()).unwrap();
        let other: GatewayId = "police.example/main".parse().unwrap();
        assert_eq!(sessions.take(&other, &first, 1), Err(NotTaken::Unknown));
        assert_eq!(sessions.take(&peer(), &first, 1), Ok(()));
        assert_eq!(sessions.take(&peer(), &first, 1), Err(NotTaken::Used));
        for _ in 0..SESSIONS_EACH {
            sessions.open(&peer()).unwrap();
        }
        assert!(!sessions.knows(&peer(), &first));
    }
}
