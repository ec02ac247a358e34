//! Digests of what passed, keyed with the exchange's nonce.
//!
//! A bare hash of a short request is reversed by trying every identifier there is; a keyed one is not, and once the nonce
//! is erased with its record it says nothing. The formats are in `FORMATS.md`.

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;

use crate::refusal::Status;

/// Bytes of a block.
const BLOCK: usize = 2048;

/// What is gathered, so that its blocks are hashed together.
const GATHERED: usize = BLOCK * sha256::TOGETHER;

/// Comes before the hashes of blocks. No message, and no end of an answer, begins with it.
const IN_BLOCKS: u8 = 0x01;

/// A running digest over length-prefixed messages. It holds on to at most 32 KiB of them.
#[derive(Clone)]
pub struct Running {
    keyed: Keyed,
    pending: Vec<u8>,
}

impl Running {
    /// Starts a digest of what is said under `nonce`.
    #[must_use]
    pub fn new(nonce: &[u8]) -> Self {
        Self { keyed: Keyed::new(nonce), pending: Vec::new() }
    }

    /// Adds bytes as they crossed: prefixes and messages.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while self.pending.len() + bytes.len() >= GATHERED {
            let (now, later) = bytes.split_at(GATHERED - self.pending.len());
            if self.pending.is_empty() {
                self.keyed.add_blocks(now);
            } else {
                self.pending.extend_from_slice(now);
                self.keyed.add_blocks(&self.pending);
                self.pending.clear();
            }
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Returns the digest of what has passed so far.
    #[must_use]
    pub fn so_far(&self) -> [u8; 32] {
        self.keyed.clone().close(&self.pending)
    }

    /// Adds how the call ended and returns the digest of the whole answer.
    ///
    /// After the messages follow 0xff, the code, and message and details each with their length, all as 32 bits
    /// big-endian. No message starts with 0xff, so an answer never reads as another's end.
    #[must_use]
    pub fn close(mut self, status: &Status) -> [u8; 32] {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.update(&[0xff]);
        self.update(&status.code.to_be_bytes());
        self.update(&length(status.message.as_bytes()));
        self.update(status.message.as_bytes());
        self.update(&length(&status.details));
        self.update(&status.details);
        self.keyed.close(&self.pending)
    }
}

/// HMAC-SHA-256 over bytes, or, where there are more than [`BLOCK`], over [`IN_BLOCKS`] and the SHA-256 of each block of them: one
/// HMAC over everything leaves most of a processor idle, blocks are computed side by side.
#[derive(Clone)]
struct Keyed {
    context: hmac::Context,
    in_blocks: bool,
}

impl Keyed {
    fn new(nonce: &[u8]) -> Self {
        Self { context: hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, nonce)), in_blocks: false }
    }

    /// Adds blocks, of which only the last of all may be a short one.
    fn add_blocks(&mut self, bytes: &[u8]) {
        if !self.in_blocks {
            self.in_blocks = true;
            self.context.update(&[IN_BLOCKS]);
        }
        let blocks: Vec<&[u8]> = bytes.chunks(BLOCK).collect();
        self.context.update(sha256::each(&blocks).as_flattened());
    }

    /// Adds what is left and returns the digest of everything.
    fn close(mut self, rest: &[u8]) -> [u8; 32] {
        if self.in_blocks || rest.len() > BLOCK {
            self.add_blocks(rest);
        } else {
            self.context.update(rest);
        }
        bytes_of(self.context.sign().as_ref())
    }
}

/// Returns the digest of one request, as it crossed with its prefix.
#[must_use]
pub fn of_request(nonce: &[u8], framed: &[u8]) -> [u8; 32] {
    Keyed::new(nonce).close(framed)
}

/// Returns the digest of the application's metadata of a request, by the block that crossed. Empty where there is none.
#[must_use]
pub fn of_request_metadata(nonce: &[u8], block: &[u8]) -> Bytes {
    if block.is_empty() {
        return Bytes::new();
    }
    of_metadata(nonce, &[b"drawbridge.metadata.request/v1\n", block])
}

/// Returns the digest of the application's metadata of an answer, by the block that opened it and the one beside its status. Empty
/// where there is none.
#[must_use]
pub fn of_answer_metadata(nonce: &[u8], initial: &[u8], trailing: &[u8]) -> Bytes {
    if initial.is_empty() && trailing.is_empty() {
        return Bytes::new();
    }
    let length = u32::try_from(initial.len()).unwrap_or(u32::MAX).to_be_bytes();
    of_metadata(nonce, &[b"drawbridge.metadata.answer/v1\n", &length, initial, trailing])
}

/// No message and no end of an answer begins with a letter.
fn of_metadata(nonce: &[u8], parts: &[&[u8]]) -> Bytes {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, nonce));
    for part in parts {
        context.update(part);
    }
    Bytes::copy_from_slice(context.sign().as_ref())
}

/// Returns SHA-256 over `bytes`.
#[must_use]
pub fn plain(bytes: &[u8]) -> [u8; 32] {
    bytes_of(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Takes the 32 bytes of a SHA-256 hash or tag.
pub(crate) fn bytes_of(slice: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(slice).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, b| format!("{text}{b:02x}"))
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_request_digest_is_hmac_sha_256() {
        let digest = of_request(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    /// FORMATS, "digests", word for word.
    fn by_the_book(nonce: &[u8], bytes: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, nonce);
        if bytes.len() <= 2048 {
            return bytes_of(hmac::sign(&key, bytes).as_ref());
        }
        let mut hashes = vec![0x01];
        for block in bytes.chunks(2048) {
            hashes.extend_from_slice(&plain(block));
        }
        bytes_of(hmac::sign(&key, &hashes).as_ref())
    }

    /// In whatever pieces they come, and at whatever length one looks.
    #[test]
    fn more_than_a_block_is_digested_by_the_hashes_of_blocks() {
        let nonce = [7; 32];
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * GATHERED + 77).collect();
        for piece in [1000, BLOCK, 5000, GATHERED - 1, GATHERED, GATHERED + 1, bytes.len()] {
            let mut running = Running::new(&nonce);
            let mut so_far = 0;
            for bytes_now in bytes.chunks(piece) {
                running.update(bytes_now);
                so_far += bytes_now.len();
                assert_eq!(running.so_far(), by_the_book(&nonce, &bytes[..so_far]), "{piece}, {so_far}");
                assert!(running.pending.len() < GATHERED, "held back: {}", running.pending.len());
            }
        }
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, GATHERED, GATHERED + 1] {
            assert_eq!(of_request(&nonce, &bytes[..length]), by_the_book(&nonce, &bytes[..length]), "{length}");
        }
    }

    #[test]
    fn an_answer_and_its_status_are_both_in_the_digest() {
        let digest = |messages: &[u8], status: &Status| {
            let mut running = Running::new(&[1; 32]);
            running.update(messages);
            running.close(status)
        };
        let failed = Status { code: 5, message: "none".into(), ..Status::OK };
        let all = [digest(b"a", &Status::OK), digest(b"b", &Status::OK), digest(b"a", &failed)];
        assert!(all[0] != all[1] && all[0] != all[2]);
        assert_eq!(digest(b"a", &failed), digest(b"a", &failed.clone()));
    }
}
