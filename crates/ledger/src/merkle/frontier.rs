//! A tree that is followed without being kept: the roots of its complete subtrees, largest first.
//!
//! Whoever is handed every new leaf computes each later root from at most 64 hashes, which proves at once that the log
//! continues and that a leaf is in it; no audit path is needed.

use super::{empty_root, node_hash};
use crate::Hash;

/// The complete subtrees of the first `size` leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    complete: Vec<Hash>,
}

impl Frontier {
    /// Makes the frontier of a tree of `size` leaves from the roots of its complete subtrees, largest first. `None` when
    /// their number does not fit the size.
    ///
    /// Nothing is trusted by this: hold [`Frontier::root`] against a signed one.
    #[must_use]
    pub fn new(size: u64, complete: Vec<Hash>) -> Option<Self> {
        (u32::try_from(complete.len()) == Ok(size.count_ones())).then_some(Self { size, complete })
    }

    /// Returns the number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the roots of the complete subtrees, largest first.
    #[must_use]
    pub fn complete(&self) -> &[Hash] {
        &self.complete
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.complete.push(leaf);
        for _ in 0..self.size.trailing_ones() {
            if let (Some(right), Some(left)) = (self.complete.pop(), self.complete.pop()) {
                self.complete.push(node_hash(&left, &right));
            }
        }
        self.size = self.size.saturating_add(1);
    }

    /// Returns the root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.complete.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{leaf_hash, root};
    use super::*;

    #[test]
    fn a_followed_tree_has_the_same_root_at_every_size() {
        let leaves: Vec<Hash> = (0..130_u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), root(&leaves[..size]));
            let again = Frontier::new(frontier.size(), frontier.complete().to_vec());
            assert_eq!(again, Some(frontier.clone()));
            frontier.push(*leaf);
        }
    }

    #[test]
    fn a_frontier_of_another_size_is_none() {
        assert_eq!(Frontier::new(3, vec![Hash([0; 32])]), None);
        assert_eq!(Frontier::new(0, vec![Hash([0; 32])]), None);
    }
}
