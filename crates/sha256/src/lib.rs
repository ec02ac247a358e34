//! SHA-256 of many inputs at once.
//!
//! One hash is a chain of steps that each wait for the one before, so that a processor computes it with most of itself idle.
//! Sixteen of them, a step of each at a time, fill the registers of AVX-512: seven times as many bytes a second as one after another
//! on a processor that has no instructions for SHA-256. One that has them, and no AVX-512, computes one after another.
//!
//! The hashes are the same in any case: FIPS 180-4, "Secure Hash Standard".

#[cfg(target_arch = "x86_64")]
mod lanes;

use aws_lc_rs::digest::{SHA256, digest};

/// Bytes of a hash.
pub const HASH: usize = 32;

/// How many inputs are computed together where the processor can.
pub const TOGETHER: usize = 16;

/// Fewer than this many at once are not worth the empty places beside them.
#[cfg(target_arch = "x86_64")]
const WORTH: usize = 4;

/// Returns SHA-256 of each input, in their order.
///
/// Inputs of about one length are best: sixteen at a time take as long as the longest of them.
#[must_use]
pub fn each(inputs: &[&[u8]]) -> Vec<[u8; HASH]> {
    let mut hashes = Vec::with_capacity(inputs.len());
    for together in inputs.chunks(TOGETHER) {
        #[cfg(target_arch = "x86_64")]
        if together.len() >= WORTH
            && let Some(lanes) = lanes::Lanes::detect()
        {
            hashes.extend(lanes.hash(together).into_iter().take(together.len()));
            continue;
        }
        hashes.extend(together.iter().map(|input| one(input)));
    }
    hashes
}

/// Returns SHA-256 of `input`.
#[must_use]
pub fn one(input: &[u8]) -> [u8; HASH] {
    let mut hash = [0; HASH];
    hash.copy_from_slice(digest(&SHA256, input).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples that NIST publishes with FIPS 180-4, of one block and of two.
    #[test]
    fn published_examples_come_out() {
        let one_block: &[u8] = b"abc";
        let two_blocks: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let hashes = each(&[one_block, two_blocks, b"", one_block, two_blocks]);
        let expected = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ];
        assert_eq!(hashes.map_hex(), expected);
    }

    /// Padding begins another block where 55 bytes or more are left over.
    #[test]
    fn every_length_around_a_block_is_as_computed_alone() {
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        let inputs: Vec<&[u8]> = (0..=260).map(|length| &bytes[length % 40..length % 40 + length]).collect();
        let alone: Vec<[u8; HASH]> = inputs.iter().map(|input| one(input)).collect();
        for offset in 0..TOGETHER {
            assert_eq!(each(&inputs[offset..]), alone[offset..], "{offset}");
        }
    }

    proptest! {
        #[test]
        fn many_are_as_each_alone(inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..40)) {
            let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
            let alone: Vec<[u8; HASH]> = inputs.iter().map(|input| one(input)).collect();
            prop_assert_eq!(each(&inputs), alone);
        }
    }

    trait MapHex {
        fn map_hex(&self) -> Vec<String>;
    }

    impl MapHex for Vec<[u8; HASH]> {
        fn map_hex(&self) -> Vec<String> {
            self.iter().map(hex::encode).collect()
        }
    }
}
