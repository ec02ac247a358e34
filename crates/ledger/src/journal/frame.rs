//! Batches and frames, byte for byte. All numbers are big-endian.
//!
//! A batch begins on a sector boundary and never shares a sector with another, so rewriting the sector that the last batch
//! ends in cannot harm what was acknowledged before.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::{Hash, Leaf, Seal};

/// The unit in which disks write: what is lost in a power cut is lost in whole sectors.
pub(crate) const SECTOR: usize = 512;

/// Length of a batch header: magic 8, first index 8, count 4, length 4, salt 4, CRC-32 4.
pub(crate) const BATCH_HEADER: usize = 32;

/// Largest batch with its header, in bytes.
pub(crate) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Length of a frame without seal and body.
pub(crate) const FRAME_HEADER: usize = 152;

/// Length of what AES-GCM adds to a body.
pub(crate) const TAG_LEN: usize = 16;

const BATCH_MAGIC: [u8; 8] = *b"DBbatch1";
const SEALED: u8 = 1;

/// What a batch header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Index of the first frame.
    pub first: u64,
    /// Number of frames, at least 1.
    pub count: u32,
    /// Header and frames, in bytes, without the zeros up to the next sector.
    pub length: u32,
    /// Random; part of every nonce of the batch, so that an index that is written again after a batch was torn does not use a
    /// nonce again.
    pub salt: [u8; 4],
}

impl BatchHeader {
    pub fn encode(&self) -> [u8; BATCH_HEADER] {
        let mut bytes = [0; BATCH_HEADER];
        bytes[..8].copy_from_slice(&BATCH_MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.length.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.salt);
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a header; `None` when it is not one, or not whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<BATCH_HEADER>()?;
        let (covered, crc) = header.split_at(BATCH_HEADER - 4);
        if Fields(crc).u32()? != crc32fast::hash(covered) {
            return None;
        }
        let mut fields = Fields(covered);
        if *fields.take::<8>()? != BATCH_MAGIC {
            return None;
        }
        let header = Self { first: fields.u64()?, count: fields.u32()?, length: fields.u32()?, salt: *fields.take()? };
        let least = BATCH_HEADER + FRAME_HEADER;
        let length = header.length as usize;
        (header.count >= 1 && (least..=MAX_BATCH_BYTES).contains(&length)).then_some(header)
    }

    /// The batch's length on disk: up to the next sector.
    pub fn padded(&self) -> usize {
        (self.length as usize).next_multiple_of(SECTOR)
    }
}

/// A frame as it lies in the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub index: u64,
    pub leaf: Leaf,
    /// Hash chain: SHA-256(link of the frame before || leaf hash || body digest).
    pub link: Hash,
    /// SHA-256 of the encrypted body: it says nothing about an erased body, and can be checked without the key.
    pub body_digest: Hash,
    seal: Option<&'a [u8]>,
    /// AES-256-GCM ciphertext with its tag at the end.
    pub body: &'a [u8],
    /// Length of the whole frame, in bytes.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// Reads the frame at the beginning of `bytes`. The checksum is verified; the chain and the digest are the caller's.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadFrame> {
        Self::fields(bytes).ok_or(BadFrame::Shape).and_then(|(crc, frame, covered)| {
            if crc32fast::hash(covered) == crc { Ok(frame?) } else { Err(BadFrame::Checksum) }
        })
    }

    /// Reads a frame whose checksum was verified already.
    pub fn parse_checked(bytes: &'a [u8]) -> Result<Self, BadFrame> {
        Self::fields(bytes).ok_or(BadFrame::Shape)?.1
    }

    /// The length that the frame at the beginning of `bytes` claims to have, if it is possible.
    pub fn claimed_length(bytes: &[u8]) -> Option<usize> {
        let mut fields = Fields(bytes);
        fields.u32()?;
        let length = fields.u32()? as usize;
        (length >= FRAME_HEADER && length <= bytes.len()).then_some(length)
    }

    fn fields(bytes: &'a [u8]) -> Option<(u32, Result<Self, BadFrame>, &'a [u8])> {
        let length = Self::claimed_length(bytes)?;
        let frame = bytes.get(..length)?;
        let covered = frame.get(4..)?;
        let mut fields = Fields(frame);
        let crc = fields.u32()?;
        fields.u32()?;
        let index = fields.u64()?;
        let [flags, zeros @ ..] = *fields.take::<4>()?;
        let body_length = fields.u32()? as usize;
        let leaf = Leaf { shared: fields.hash()?, private: fields.hash()? };
        let (link, body_digest) = (fields.hash()?, fields.hash()?);
        let Some((seal, body)) = fields.0.len().checked_sub(body_length).and_then(|at| fields.0.split_at_checked(at))
        else {
            return Some((crc, Err(BadFrame::Shape), covered));
        };
        let sealed = flags & SEALED != 0;
        let parsed = if flags & !SEALED != 0 || zeros != [0; 3] {
            Err(BadFrame::Flags)
        } else if sealed == seal.is_empty() || body_length < TAG_LEN {
            Err(BadFrame::Shape)
        } else {
            Ok(Self { index, leaf, link, body_digest, seal: sealed.then_some(seal), body, length })
        };
        Some((crc, parsed, covered))
    }

    /// Reads the seal. `Err` when there is one that is malformed.
    pub fn seal(&self) -> Result<Option<Seal>, BadFrame> {
        self.seal.map(Seal::from_bytes).transpose().map_err(|_| BadFrame::Seal)
    }

    /// Computes what the link of this frame must be.
    pub fn expected_link(&self, before: &Hash) -> Hash {
        link(before, &self.leaf.hash(), &self.body_digest)
    }

    /// Decrypts the body.
    pub fn open(&self, key: &SegmentKey, salt: [u8; 4]) -> Result<Vec<u8>, BadFrame> {
        key.open(self.index, &self.leaf, salt, self.body).ok_or(BadFrame::Body)
    }
}

/// Why a frame is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("the frame's lengths do not fit")]
    Shape,
    #[error("the frame's checksum does not fit its bytes")]
    Checksum,
    #[error("the frame has flags that this version does not know")]
    Flags,
    #[error("the frame's seal is malformed")]
    Seal,
    #[error("the frame's body does not decrypt")]
    Body,
}

/// What goes into a frame.
#[derive(Debug)]
pub(crate) struct NewFrame<'a> {
    pub index: u64,
    pub leaf: &'a Leaf,
    pub leaf_hash: &'a Hash,
    pub seal: Option<&'a Seal>,
    pub body: &'a [u8],
}

impl NewFrame<'_> {
    /// Length of the frame in the journal, in bytes.
    pub fn length(&self) -> usize {
        frame_length(self.seal.map_or(0, Seal::encoded_len), self.body.len())
    }

    /// Appends the frame to `buffer`, but for the digest of its body and what hangs on that. `None` when the cryptographic library
    /// refuses.
    pub fn write(&self, buffer: &mut Vec<u8>, key: &SegmentKey, salt: [u8; 4]) -> Option<Unlinked> {
        let start = buffer.len();
        let body_length = self.body.len() + TAG_LEN;
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&u32::try_from(self.length()).ok()?.to_be_bytes());
        buffer.extend_from_slice(&self.index.to_be_bytes());
        buffer.extend_from_slice(&[if self.seal.is_some() { SEALED } else { 0 }, 0, 0, 0]);
        buffer.extend_from_slice(&u32::try_from(body_length).ok()?.to_be_bytes());
        buffer.extend_from_slice(&self.leaf.shared.0);
        buffer.extend_from_slice(&self.leaf.private.0);
        let hashes = buffer.len();
        buffer.extend_from_slice(&[0; 64]);
        if let Some(seal) = self.seal {
            seal.write_to(buffer);
        }
        let body = buffer.len();
        buffer.extend_from_slice(self.body);
        let tag = key.seal(self.index, self.leaf, salt, buffer.get_mut(body..)?)?;
        buffer.extend_from_slice(&tag);
        Some(Unlinked { leaf_hash: *self.leaf_hash, start, hashes, body: body..buffer.len() })
    }
}

/// Where in a buffer a frame lies that has no link yet: a batch's bodies are digested together first.
#[derive(Debug)]
pub(crate) struct Unlinked {
    leaf_hash: Hash,
    start: usize,
    hashes: usize,
    body: Range<usize>,
}

impl Unlinked {
    /// Returns the encrypted body, whose digest [`Unlinked::link`] wants.
    pub fn body<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.body.clone()).unwrap_or_default()
    }

    /// Completes the frame in the buffer that it was written to, and returns its link.
    pub fn link(&self, buffer: &mut [u8], digest: &Hash, before: &Hash) -> Option<Hash> {
        let link = link(before, &self.leaf_hash, digest);
        let (start, hashes) = (self.start, self.hashes);
        buffer.get_mut(hashes..hashes + 32)?.copy_from_slice(&link.0);
        buffer.get_mut(hashes + 32..hashes + 64)?.copy_from_slice(&digest.0);
        let crc = crc32fast::hash(buffer.get(start + 4..self.body.end)?);
        buffer.get_mut(start..start + 4)?.copy_from_slice(&crc.to_be_bytes());
        Some(link)
    }
}

/// Length of a frame with a seal of `seal` bytes (0 for none) and a body of `body` bytes.
pub(crate) fn frame_length(seal: usize, body: usize) -> usize {
    FRAME_HEADER + seal + body + TAG_LEN
}

/// The key that encrypts the bodies of one segment. Destroying it erases them.
pub(crate) struct SegmentKey {
    bytes: Zeroizing<[u8; 32]>,
    cipher: LessSafeKey,
}

impl fmt::Debug for SegmentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SegmentKey(hidden)")
    }
}

impl SegmentKey {
    /// `None` when the cryptographic library refuses, which it does not for 32 bytes.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_slice()).ok()?);
        Some(Self { bytes, cipher })
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Encrypts `body` in place and returns the tag.
    fn seal(&self, index: u64, leaf: &Leaf, salt: [u8; 4], body: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let tag = self.cipher.seal_in_place_separate_tag(nonce(index, salt), bound(index, leaf), body).ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, index: u64, leaf: &Leaf, salt: [u8; 4], body: &[u8]) -> Option<Vec<u8>> {
        let mut body = body.to_vec();
        let length = self.cipher.open_in_place(nonce(index, salt), bound(index, leaf), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// Salt of the batch, then the index: never used twice under one key.
fn nonce(index: u64, salt: [u8; 4]) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&salt);
    bytes[4..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// What a body is bound to: its index and its leaf.
fn bound(index: u64, leaf: &Leaf) -> Aad<[u8; 72]> {
    let mut bytes = [0; 72];
    bytes[..8].copy_from_slice(&index.to_be_bytes());
    bytes[8..40].copy_from_slice(&leaf.shared.0);
    bytes[40..].copy_from_slice(&leaf.private.0);
    Aad::from(bytes)
}

fn link(before: &Hash, leaf: &Hash, body_digest: &Hash) -> Hash {
    let mut bytes = [0; 96];
    bytes[..32].copy_from_slice(&before.0);
    bytes[32..64].copy_from_slice(&leaf.0);
    bytes[64..].copy_from_slice(&body_digest.0);
    Hash::of(&bytes)
}

/// Reads fixed fields off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn hash(&mut self) -> Option<Hash> {
        self.take().map(|bytes| Hash(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: [u8; 4] = [9; 4];

    fn key() -> SegmentKey {
        SegmentKey::new(Zeroizing::new([5; 32])).unwrap()
    }

    fn encoded(seal: Option<&Seal>, body: &[u8]) -> Vec<u8> {
        let leaf = Leaf { shared: Hash([1; 32]), private: Hash([2; 32]) };
        let frame = NewFrame { index: 7, leaf: &leaf, leaf_hash: &leaf.hash(), seal, body };
        let mut buffer = Vec::new();
        let unlinked = frame.write(&mut buffer, &key(), SALT).unwrap();
        let digest = Hash::of(unlinked.body(&buffer));
        unlinked.link(&mut buffer, &digest, &Hash([3; 32])).unwrap();
        assert_eq!(buffer.len(), frame.length());
        buffer
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(body in prop::collection::vec(any::<u8>(), 0..600), path in prop::option::of(0u32..4)) {
            let seal = path.map(|doublings| Seal { signature: [4; 64], size: 1 << doublings, index: 0, path: vec![Hash([6; 32]); doublings as usize] });
            let bytes = encoded(seal.as_ref(), &body);
            let frame = Frame::parse(&bytes).unwrap();
            prop_assert_eq!(frame.length, bytes.len());
            prop_assert_eq!(frame.expected_link(&Hash([3; 32])), frame.link);
            prop_assert_eq!(Hash::of(frame.body), frame.body_digest);
            prop_assert_eq!(frame.seal().unwrap(), seal);
            prop_assert_eq!(frame.open(&key(), SALT).unwrap(), body);
            prop_assert_eq!(frame.open(&key(), [8; 4]), Err(BadFrame::Body));
        }

        #[test]
        fn a_changed_byte_anywhere_in_a_frame_is_noticed(at in any::<prop::sample::Index>(), change in 1u8..) {
            let mut bytes = encoded(None, b"body");
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(Frame::parse(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::parse(&bytes);
            let _ = BatchHeader::parse(&bytes);
        }

        #[test]
        fn a_changed_byte_in_a_batch_header_is_noticed(at in 0usize..BATCH_HEADER, change in 1u8..) {
            let header = BatchHeader { first: 5, count: 2, length: 900, salt: SALT };
            let mut bytes = header.encode();
            prop_assert_eq!(BatchHeader::parse(&bytes), Some(header));
            bytes[at] ^= change;
            prop_assert_eq!(BatchHeader::parse(&bytes), None);
        }
    }
}
