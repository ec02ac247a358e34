//! The published reference tree, and every proof of every small tree against the definition.

use proptest::prelude::*;

use super::*;

/// The eight leaves of the reference tree in Google's certificate-transparency repository (`merkletree`), and its roots.
const INPUTS: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/// Its published audit paths: index and size from 1 and the path.
const PATHS: [(u64, u64, &[&str]); 4] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
];
/// Its published consistency proofs: old size, new size, path.
const CONSISTENCY: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn reference_leaves() -> Vec<Hash> {
    INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect()
}

/// Leaf hashes that differ from one another.
fn leaves(size: usize) -> Vec<Hash> {
    (0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// The definition of the tree hash, RFC 9162, section 2.1.1, word for word.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            node_hash(&defined_root(left), &defined_root(right))
        }
    }
}

#[test]
fn the_empty_tree_has_the_hash_of_nothing() {
    let expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty_root(), expected.parse().unwrap());
    assert_eq!(root(&[]), empty_root());
}

#[test]
fn the_published_roots_come_out() {
    let leaves = reference_leaves();
    for (size, expected) in (1..).zip(hashes(&ROOTS)) {
        assert_eq!(root(&leaves[..size]), expected, "size {size}");
    }
}

#[test]
fn the_published_audit_paths_come_out() {
    let leaves = reference_leaves();
    for (index, size, expected) in PATHS {
        assert_eq!(inclusion_path(leaves.as_slice(), index, size).unwrap(), hashes(expected), "{index} of {size}");
    }
}

#[test]
fn the_published_consistency_proofs_come_out() {
    let leaves = reference_leaves();
    for (old, new, expected) in CONSISTENCY {
        assert_eq!(consistency_path(leaves.as_slice(), old, new).unwrap(), hashes(expected), "{old} to {new}");
    }
}

#[test]
fn every_leaf_of_every_tree_up_to_130_is_proven_and_nothing_else_is() {
    let leaves = leaves(131);
    for size in 1..=130u64 {
        let tree = &leaves[..usize::try_from(size).unwrap()];
        let expected = defined_root(tree);
        assert_eq!(root(tree), expected);
        for (index, leaf) in (0..).zip(tree) {
            let path = inclusion_path(tree, index, size).unwrap();
            assert_eq!(verify_inclusion(*leaf, index, size, &path, expected), Ok(()));
            assert!(verify_inclusion(leaves[130], index, size, &path, expected).is_err(), "another leaf");
            assert!(verify_inclusion(*leaf, index + 1, size, &path, expected).is_err(), "another index");
            let mut longer = path.clone();
            longer.push(*leaf);
            assert!(verify_inclusion(*leaf, index, size, &longer, expected).is_err(), "a longer path");
            if let Some((_, shorter)) = path.split_last() {
                assert!(verify_inclusion(*leaf, index, size, shorter, expected).is_err(), "a shorter path");
            }
        }
    }
}

#[test]
fn every_tree_up_to_130_is_a_prefix_of_every_larger_one_and_of_no_other() {
    let leaves = leaves(130);
    let roots: Vec<Hash> = (0..=130).map(|size| root(&leaves[..size])).collect();
    let at = |size: u64| roots[usize::try_from(size).unwrap()];
    for new in 0..=130 {
        for old in 0..=new {
            let path = consistency_path(leaves.as_slice(), old, new).unwrap();
            assert_eq!(verify_consistency(old, new, at(old), at(new), &path), Ok(()), "{old} to {new}");
            assert!(verify_consistency(old, new, Hash::ZERO, at(new), &path).is_err(), "another old root");
            if old > 0 {
                assert!(verify_consistency(old, new, at(old), Hash::ZERO, &path).is_err(), "another new root");
            }
            let mut longer = path.clone();
            longer.push(Hash::ZERO);
            assert!(verify_consistency(old, new, at(old), at(new), &longer).is_err(), "a longer path");
        }
        assert_eq!(verify_consistency(new + 1, new, at(new), at(new), &[]), Err(BadProof::OutOfRange));
    }
}

proptest! {
    #[test]
    fn a_proof_with_one_changed_bit_proves_nothing(size in 2usize..300, at in any::<prop::sample::Index>(), bit in 0usize..256, which in any::<prop::sample::Index>()) {
        let leaves = leaves(size);
        let (index, size) = (at.index(size), size as u64);
        let mut path = inclusion_path(leaves.as_slice(), index as u64, size).unwrap();
        let which = which.index(path.len());
        path[which].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_inclusion(leaves[index], index as u64, size, &path, root(&leaves)), Err(BadProof::Root));
    }

    #[test]
    fn no_numbers_make_the_verifiers_panic(old in any::<u64>(), new in any::<u64>(), length in 0usize..130) {
        let path = leaves(length);
        let _ = root_from_inclusion(Hash::ZERO, old, new, &path);
        let _ = verify_consistency(old, new, Hash::ZERO, Hash::ZERO, &path);
    }
}
