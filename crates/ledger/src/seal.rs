//! Seals: one signature for all the claims that waited.
//!
//! The claims that are to be signed at one moment become the leaves of a small Merkle tree, and its root is signed. Each
//! signer gets the signature and its own audit path. Verifying is the dear half of Ed25519, so a verifier remembers the roots
//! that it has verified: the signatures of one batch cost it one verification.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use note::{SigningKey, VerifierKey};
use thiserror::Error;

use crate::Hash;
use crate::leaf::Promise;
use crate::merkle::{self, BadProof};

const SEAL_TAG: &[u8; 19] = b"drawbridge.seal/v1\n";

/// Most signers in one batch. With it a path has at most 16 hashes, and a seal fits into a header.
pub(crate) const MAX_BATCH: usize = 1 << 16;

/// Length of a seal's bytes without its path.
const FIXED_LEN: usize = 64 + 4 + 4;

/// Number of verified batch roots that a verifier remembers, each 100 bytes.
///
/// A batch's seals arrive within moments of one another; this covers several seconds of batches at full speed.
const REMEMBERED: usize = 4096;

/// One signer's part of a batch signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Ed25519 over `drawbridge.seal/v1`, a newline, the size as 4 bytes big-endian, the root of the batch.
    pub signature: [u8; 64],
    /// Number of leaves in the batch; 1 at rest.
    pub size: u32,
    /// This signer's leaf, counted from 0.
    pub index: u32,
    /// Audit path from this leaf to the root (RFC 9162).
    pub path: Vec<Hash>,
}

impl Seal {
    /// Writes signature, size, index (both 4 bytes, big-endian) and path one after the other: 72 bytes for a batch of one,
    /// and 32 for each doubling.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.write_to(&mut bytes);
        bytes
    }

    /// Reads what [`Seal::to_bytes`] writes. The length of the path must be the one that size and index imply.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let (signature, rest) = bytes.split_first_chunk::<64>().ok_or(SealError::Malformed)?;
        let (size, rest) = rest.split_first_chunk::<4>().ok_or(SealError::Malformed)?;
        let (index, rest) = rest.split_first_chunk::<4>().ok_or(SealError::Malformed)?;
        let (hashes, left_over) = rest.as_chunks::<32>();
        let seal = Self {
            signature: *signature,
            size: u32::from_be_bytes(*size),
            index: u32::from_be_bytes(*index),
            path: hashes.iter().map(|hash| Hash(*hash)).collect(),
        };
        let fits = left_over.is_empty()
            && merkle::root_from_inclusion(Hash::ZERO, seal.index.into(), seal.size.into(), &seal.path).is_ok();
        if fits { Ok(seal) } else { Err(SealError::Malformed) }
    }

    pub(crate) fn encoded_len(&self) -> usize {
        FIXED_LEN + 32 * self.path.len()
    }

    pub(crate) fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.signature);
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend_from_slice(&self.index.to_be_bytes());
        for hash in &self.path {
            bytes.extend_from_slice(&hash.0);
        }
    }
}

/// A seal does not fit its claims.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The bytes are not a seal.
    #[error("not a seal: expected a signature, size, index and the path that they imply")]
    Malformed,
    /// Size, index and path do not fit one another.
    #[error("the seal's path does not fit its size and index")]
    Path(#[source] BadProof),
    /// The signature is not by this key over this batch: claims, promise, tag, path or signature were changed.
    #[error("the seal is not by `{key}` over these claims")]
    Signature {
        /// The name of the key that was to verify it.
        key: String,
    },
}

/// Verifies the seals of one key, and remembers the batches that it has verified.
#[derive(Debug)]
pub struct SealVerifier {
    key: VerifierKey,
    verified: Mutex<Verified>,
}

impl SealVerifier {
    /// Makes a verifier for the seals of `key`.
    #[must_use]
    pub fn new(key: VerifierKey) -> Self {
        Self { key, verified: Mutex::default() }
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Verifies that the key's holder sealed these very claims under this tag, together with this promise or none.
    ///
    /// # Errors
    ///
    /// [`SealError::Path`] or [`SealError::Signature`].
    pub fn verify(&self, tag: &str, claims: &[u8], promise: Option<&Promise>, seal: &Seal) -> Result<(), SealError> {
        let promise = promise.map(Promise::encode);
        let leaf = seal_leaf(tag, claims, promise.as_deref().unwrap_or_default());
        let root = merkle::root_from_inclusion(leaf, seal.index.into(), seal.size.into(), &seal.path)
            .map_err(SealError::Path)?;
        let batch = Batch { root, size: seal.size, signature: seal.signature };
        if self.lock().batches.contains(&batch) {
            return Ok(());
        }
        self.key
            .verify(&signed_bytes(seal.size, &root), &seal.signature)
            .map_err(|_| SealError::Signature { key: self.key.name().to_owned() })?;
        self.lock().remember(batch);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Verified> {
        // Nothing panics while it is held, and a set half changed only forgets.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Verified {
    batches: HashSet<Batch>,
    in_order: VecDeque<Batch>,
}

impl Verified {
    fn remember(&mut self, batch: Batch) {
        if !self.batches.insert(batch) {
            return;
        }
        self.in_order.push_back(batch);
        if self.in_order.len() > REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.batches.remove(&oldest);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Batch {
    root: Hash,
    size: u32,
    signature: [u8; 64],
}

/// Signs `leaves` at once; the seals come in their order. At most [`MAX_BATCH`] leaves.
pub(crate) fn seal_batch(key: &SigningKey, leaves: &[Hash]) -> Vec<Seal> {
    if let [leaf] = leaves {
        return vec![seal_alone(key, *leaf)];
    }
    let size = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
    // All levels of the tree, the leaves first; an odd last node rises as it is.
    let mut levels = vec![leaves.to_vec()];
    while let Some(level) = levels.last().filter(|level| level.len() > 1) {
        let next = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => merkle::node_hash(left, right),
                odd => odd.first().copied().unwrap_or(Hash::ZERO),
            })
            .collect();
        levels.push(next);
    }
    let root = levels.last().and_then(|top| top.first()).copied().unwrap_or_else(merkle::empty_root);
    let signature = key.sign(&signed_bytes(size, &root));
    (0..size)
        .map(|index| {
            let mut at = index as usize;
            let mut path = Vec::with_capacity(levels.len());
            for level in &levels {
                // A node without a sibling adds nothing to its path.
                path.extend(level.get(at ^ 1).filter(|_| level.len() > 1));
                at >>= 1;
            }
            Seal { signature, size, index, path }
        })
        .collect()
}

/// Signs one leaf: a batch of one, whose root is the leaf.
pub(crate) fn seal_alone(key: &SigningKey, leaf: Hash) -> Seal {
    Seal { signature: key.sign(&signed_bytes(1, &leaf)), size: 1, index: 0, path: Vec::new() }
}

/// The leaf of a batch: SHA-256(0x00 || tag || 0x0a || length of claims || claims || promise).
pub(crate) fn seal_leaf(tag: &str, claims: &[u8], promise: &[u8]) -> Hash {
    let length = u32::try_from(claims.len()).unwrap_or(u32::MAX).to_be_bytes();
    Hash::of_parts(&[&[0], tag.as_bytes(), b"\n", &length, claims, promise])
}

/// What the key signs.
fn signed_bytes(size: u32, root: &Hash) -> [u8; 55] {
    let mut bytes = [0; 55];
    let (tag, rest) = bytes.split_at_mut(SEAL_TAG.len());
    let (number, hash) = rest.split_at_mut(4);
    tag.copy_from_slice(SEAL_TAG);
    number.copy_from_slice(&size.to_be_bytes());
    hash.copy_from_slice(&root.0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn key() -> SigningKey {
        SigningKey::from_seed("county.example/gateway/main", Zeroizing::new([7; 32])).unwrap()
    }

    fn leaves(size: usize) -> Vec<Hash> {
        (0..size).map(|index| seal_leaf("drawbridge.test", &index.to_be_bytes(), b"")).collect()
    }

    #[test]
    fn every_seal_of_every_batch_up_to_70_verifies_with_the_path_of_rfc_9162() {
        let verifier = SealVerifier::new(key().verifier());
        for size in 1..=70 {
            let leaves = leaves(size);
            for (index, seal) in seal_batch(&key(), &leaves).into_iter().enumerate() {
                assert_eq!(seal.path, merkle::inclusion_path(leaves.as_slice(), index as u64, size as u64).unwrap());
                assert_eq!(verifier.verify("drawbridge.test", &index.to_be_bytes(), None, &seal), Ok(()));
                assert_eq!(Seal::from_bytes(&seal.to_bytes()), Ok(seal));
            }
        }
    }

    #[test]
    fn a_seal_is_for_its_claims_tag_promise_and_key_alone() {
        let promise = Promise { origin: "county.example/log/main".into(), index: 3, leaf: Hash([3; 32]) };
        let leaf = seal_leaf("tag", b"claims", &promise.encode());
        let [seal] = seal_batch(&key(), &[leaf]).try_into().unwrap();
        let verifier = SealVerifier::new(key().verifier());
        assert_eq!(verifier.verify("tag", b"claims", Some(&promise), &seal), Ok(()));

        let wrong = Err(SealError::Signature { key: "county.example/gateway/main".into() });
        assert_eq!(verifier.verify("tag", b"claim", Some(&promise), &seal), wrong);
        assert_eq!(verifier.verify("tags", b"claims", Some(&promise), &seal), wrong);
        assert_eq!(verifier.verify("tag", b"claims", None, &seal), wrong);
        let other = Promise { index: 4, ..promise.clone() };
        assert_eq!(verifier.verify("tag", b"claims", Some(&other), &seal), wrong);
        // The promise cannot be moved into the claims.
        let moved = [b"claims".as_slice(), &promise.encode()].concat();
        assert_eq!(verifier.verify("tag", &moved, None, &seal), wrong);
        let stranger = SealVerifier::new(SigningKey::generate("county.example/gateway/main").unwrap().verifier());
        assert_eq!(stranger.verify("tag", b"claims", Some(&promise), &seal), wrong);
    }

    #[test]
    fn what_was_verified_is_remembered_with_its_signature_and_never_beyond_the_bound() {
        let verifier = SealVerifier::new(key().verifier());
        let seals = seal_batch(&key(), &leaves(2));
        verifier.verify("drawbridge.test", &0usize.to_be_bytes(), None, &seals[0]).unwrap();
        let mut forged = seals[1].clone();
        forged.signature[0] ^= 1;
        assert!(verifier.verify("drawbridge.test", &1usize.to_be_bytes(), None, &forged).is_err());
        assert_eq!(verifier.lock().batches.len(), 1);
        for number in 0..REMEMBERED + 10 {
            let leaf = seal_leaf("t", &number.to_be_bytes(), b"");
            let [seal] = seal_batch(&key(), &[leaf]).try_into().unwrap();
            verifier.lock().remember(Batch { root: leaf, size: 1, signature: seal.signature });
        }
        assert_eq!(verifier.lock().batches.len(), REMEMBERED);
        assert_eq!(verifier.lock().in_order.len(), REMEMBERED);
    }

    proptest! {
        #[test]
        fn a_changed_bit_anywhere_in_a_seal_is_noticed(size in 1usize..20, which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let index = which.index(size);
            let seal = seal_batch(&key(), &leaves(size)).swap_remove(index);
            let mut bytes = seal.to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let verified = Seal::from_bytes(&bytes)
                .and_then(|seal| SealVerifier::new(key().verifier()).verify("drawbridge.test", &index.to_be_bytes(), None, &seal));
            prop_assert!(verified.is_err());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(seal) = Seal::from_bytes(&bytes) {
                prop_assert_eq!(seal.to_bytes(), bytes);
            }
        }
    }
}
