//! Proofs: three numbers of eight bytes, then hashes. Read as a seal too.

use ledger::{
    Hash, Seal, SealVerifier,
    merkle::{self, Frontier},
};

use crate::fixtures::CONSUMER;

/// Largest tree that is built in full.
const BUILT: u64 = 300;

/// Follows proofs that nobody made, and those of a small tree, changed.
pub fn run(input: &[u8]) {
    if let Ok(seal) = Seal::from_bytes(input) {
        assert_eq!(seal.to_bytes(), input);
        let forged = SealVerifier::new(CONSUMER.verifier()).verify("drawbridge.fuzz", b"claims", None, &seal);
        assert!(forged.is_err());
    }
    let Some((numbers, rest)) = input.split_first_chunk::<24>() else { return };
    let (numbers, _) = numbers.as_chunks::<8>();
    let [size, index, old] = [0, 1, 2].map(|at: usize| u64::from_be_bytes(numbers[at]));
    let (hashes, _) = rest.as_chunks::<32>();
    let hashes: Vec<Hash> = hashes.iter().copied().map(Hash).collect();
    let _ = merkle::root_from_inclusion(Hash::ZERO, index, size, &hashes);
    let _ = merkle::verify_consistency(old, size, Hash::ZERO, merkle::empty_root(), &hashes);
    if let Some(mut frontier) = Frontier::new(size, hashes.clone()) {
        let _ = frontier.root();
        frontier.push(Hash::ZERO);
        assert_eq!(frontier.size(), size.saturating_add(1));
    }
    built(size % BUILT, index, old, &hashes);
}

/// In a tree that there is, a proof holds, and no other does.
fn built(size: u64, index: u64, old: u64, forged: &[Hash]) {
    if size == 0 {
        return;
    }
    let leaves: Vec<Hash> = (0..size).map(|leaf| Hash::of(&leaf.to_be_bytes())).collect();
    let leaves = leaves.as_slice();
    let (root, index, old) = (merkle::root(leaves), index % size, old % (size + 1));
    let leaf = leaves[usize::try_from(index).unwrap()];
    let path = merkle::inclusion_path(leaves, index, size).unwrap();
    let holds = |path: &[Hash]| merkle::verify_inclusion(leaf, index, size, path, root).is_ok();
    assert!(holds(&path));
    assert!(forged == path || !holds(forged), "another path proves the same");
    let before = merkle::root(&leaves[..usize::try_from(old).unwrap()]);
    let path = merkle::consistency_path(leaves, old, size).unwrap();
    let holds = |path: &[Hash]| merkle::verify_consistency(old, size, before, root, path).is_ok();
    assert!(holds(&path));
    assert!(forged == path || !holds(forged), "another proof proves the same");
}
