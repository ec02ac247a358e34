//! Merkle trees as RFC 9162 defines them: hashing, proofs, and verifying them.
//!
//! The same tree serves the log and the seals. Everything here is arithmetic on hashes; where a proof is made, a [`Nodes`]
//! supplies the roots of complete subtrees, from memory or from tiles.
//!
//! Source: RFC 9162, section 2.1.

mod frontier;

use thiserror::Error;

pub use frontier::Frontier;

use crate::Hash;

#[cfg(test)]
mod tests;

/// Supplies roots of complete subtrees.
pub trait Nodes {
    /// Why a node could not be had.
    type Error;

    /// Returns the root of the complete subtree over the leaves `index << level .. (index + 1) << level`.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Leaf hashes in memory.
impl Nodes for [Hash] {
    type Error = BadProof;

    fn node(&self, level: u32, index: u64) -> Result<Hash, BadProof> {
        let width = 1usize.checked_shl(level).ok_or(BadProof::OutOfRange)?;
        let first =
            usize::try_from(index).ok().and_then(|index| index.checked_mul(width)).ok_or(BadProof::OutOfRange)?;
        let end = first.checked_add(width).ok_or(BadProof::OutOfRange)?;
        self.get(first..end).map(root).ok_or(BadProof::OutOfRange)
    }
}

/// Returns the hash of a leaf: SHA-256(0x00 || entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash::of_parts(&[&[0], entry])
}

/// Returns the hash of an inner node: SHA-256(0x01 || left || right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash::of(&bytes)
}

/// Returns the root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash::of(&[])
}

/// Returns the root over leaf hashes in memory.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    // The largest complete subtrees from the left, as on a binary counter, then joined from the right.
    let mut complete: Vec<Hash> = Vec::with_capacity(64);
    for (before, leaf) in leaves.iter().enumerate() {
        complete.push(*leaf);
        for _ in 0..before.trailing_ones() {
            if let (Some(right), Some(left)) = (complete.pop(), complete.pop()) {
                complete.push(node_hash(&left, &right));
            }
        }
    }
    complete.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
}

/// Returns the audit path of the leaf at `index` in the tree of the first `size` leaves, from the leaf upwards.
///
/// # Errors
///
/// What `nodes` returns. `index` must be below `size`, otherwise the path is empty.
pub fn inclusion_path<N: Nodes + ?Sized>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    while low <= index && index < high && high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Returns the proof that the tree of the first `old` leaves is a prefix of the tree of the first `new` ones.
///
/// # Errors
///
/// What `nodes` returns. `old` must not exceed `new`; for `old` of 0 or `new` the proof is empty.
pub fn consistency_path<N: Nodes + ?Sized>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut low, mut high, mut known) = (0, new, true);
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(range_root(nodes, middle, high)?);
            high = middle;
        } else {
            path.push(range_root(nodes, low, middle)?);
            low = middle;
            known = false;
        }
    }
    if !known {
        path.push(range_root(nodes, low, high)?);
    }
    path.reverse();
    Ok(path)
}

/// Returns the root over the leaves `low .. high`, where `low` starts a complete subtree at least as large as the range.
///
/// # Errors
///
/// What `nodes` returns.
pub fn range_root<N: Nodes + ?Sized>(nodes: &N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let mut complete = Vec::new();
    let mut at = low;
    while at < high {
        let level = (high - at).ilog2();
        complete.push(nodes.node(level, at >> level)?);
        at += 1 << level;
    }
    Ok(complete.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
}

/// Computes the root that an audit path leads to.
///
/// Source: RFC 9162, section 2.1.3.2.
///
/// # Errors
///
/// [`BadProof::OutOfRange`] when `index` is not below `size`, [`BadProof::Length`] when the path is too short or too long.
pub fn root_from_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, BadProof> {
    if index >= size {
        return Err(BadProof::OutOfRange);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return Err(BadProof::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(hash) } else { Err(BadProof::Length) }
}

/// Verifies that the leaf with this hash is at `index` in the tree of `size` leaves with this root.
///
/// # Errors
///
/// [`BadProof::Root`] when the path leads elsewhere, otherwise as [`root_from_inclusion`].
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> Result<(), BadProof> {
    if root_from_inclusion(leaf, index, size, path)? == root { Ok(()) } else { Err(BadProof::Root) }
}

/// Verifies that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves with `new_root`.
///
/// Source: RFC 9162, section 2.1.4.2, and an empty proof for equal trees. The empty tree is a prefix of every tree.
///
/// # Errors
///
/// [`BadProof::OutOfRange`] when `old` exceeds `new`, [`BadProof::Length`] when the path is too short or too long,
/// [`BadProof::Root`] when it leads to other roots.
pub fn verify_consistency(old: u64, new: u64, old_root: Hash, new_root: Hash, path: &[Hash]) -> Result<(), BadProof> {
    if old > new {
        return Err(BadProof::OutOfRange);
    }
    if old == 0 || old == new {
        let fits = if old == new { old_root == new_root } else { old_root == empty_root() };
        let fits = fits && (old != 0 || old_root == empty_root());
        return match (path.is_empty(), fits) {
            (false, _) => Err(BadProof::Length),
            (true, true) => Ok(()),
            (true, false) => Err(BadProof::Root),
        };
    }
    let (first, path) =
        if old.is_power_of_two() { (&old_root, path) } else { path.split_first().ok_or(BadProof::Length)? };
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut in_old, mut in_new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return Err(BadProof::Length);
        }
        if node & 1 == 1 || node == last {
            in_old = node_hash(sibling, &in_old);
            in_new = node_hash(sibling, &in_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            in_new = node_hash(&in_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last == 0, in_old == old_root && in_new == new_root) {
        (false, _) => Err(BadProof::Length),
        (true, true) => Ok(()),
        (true, false) => Err(BadProof::Root),
    }
}

/// A proof does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadProof {
    /// The leaf or tree it speaks of is not within the tree.
    #[error("the proof speaks of something outside the tree")]
    OutOfRange,
    /// It has too few or too many hashes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Returns the largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}
