//! Random bytes for salts, nonces and ids, drawn from the cryptographic library's generator a page at a time.
//!
//! The surprising fact: the library asks the processor for fresh entropy at each draw, whose cost is the same for 16 bytes as for
//! thousands; an exchange draws some six times. Bytes are given out once, and wiped as they are.

use std::cell::RefCell;

use aws_lc_rs::rand;
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that are drawn at once by each thread.
const PAGE: usize = 4096;

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

struct Page {
    bytes: Zeroizing<Vec<u8>>,
    /// Of them, from the front: not given out yet.
    left: usize,
}

thread_local! {
    static PAGE_OF_THREAD: RefCell<Page> = RefCell::new(Page::new());
}

/// Fills `target` with random bytes.
///
/// # Errors
///
/// [`NoRandomness`] when the system gives none.
pub fn fill(target: &mut [u8]) -> Result<(), NoRandomness> {
    if target.len() > PAGE / 4 {
        return rand::fill(target).map_err(|_| NoRandomness);
    }
    PAGE_OF_THREAD.with_borrow_mut(|page| page.give(target))
}

impl Page {
    fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::new()), left: 0 }
    }

    fn give(&mut self, target: &mut [u8]) -> Result<(), NoRandomness> {
        if self.left < target.len() {
            self.left = 0;
            self.bytes.resize(PAGE, 0);
            rand::fill(&mut self.bytes).map_err(|_| NoRandomness)?;
            self.left = PAGE;
        }
        let first = self.left - target.len();
        let given = self.bytes.get_mut(first..self.left).ok_or(NoRandomness)?;
        target.copy_from_slice(given);
        given.zeroize();
        self.left = first;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_twice_over_many_pages_and_lengths() {
        let mut seen = HashSet::new();
        for length in (16..600).cycle().take(2000) {
            let mut bytes = vec![0; length];
            fill(&mut bytes).unwrap();
            for piece in bytes.as_chunks::<16>().0 {
                assert!(seen.insert(*piece), "16 bytes came twice");
            }
        }
    }

    #[test]
    fn what_was_given_is_wiped() {
        let mut page = Page::new();
        let mut bytes = [0; 100];
        page.give(&mut bytes).unwrap();
        assert_ne!(bytes, [0; 100]);
        assert_eq!(page.left, PAGE - 100);
        assert_eq!(page.bytes[PAGE - 100..], [0; 100]);
        assert_ne!(page.bytes[..100], [0; 100]);
    }

    #[test]
    fn more_than_a_page_is_drawn_at_once() {
        let mut bytes = vec![0; 3 * PAGE];
        fill(&mut bytes).unwrap();
        assert!(bytes.as_chunks::<64>().0.iter().all(|piece| *piece != [0; 64]));
    }
}
