//! Digests of what passed, keyed with the exchange's nonce.
//!
//! A bare hash of a short request is reversed by trying every identifier there is; a keyed one is not, and once the nonce
//! is erased with its record it says nothing. The formats are in `FORMATS.md`.

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;

use crate::refusal::Status;

/// A running HMAC-SHA-256 over length-prefixed messages.
#[derive(Clone)]
pub struct Running(hmac::Context);

impl Running {
    /// Starts a digest of what is said under `nonce`.
    #[must_use]
    pub fn new(nonce: &[u8]) -> Self {
        Self(hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, nonce)))
    }

    /// Adds bytes as they crossed: prefixes and messages.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of what has passed so far.
    #[must_use]
    pub fn so_far(&self) -> [u8; 32] {
        bytes_of(self.0.clone().sign().as_ref())
    }

    /// Adds how the call ended and returns the digest of the whole answer.
    ///
    /// After the messages follow 0xff, the code, and message and details each with their length, all as 32 bits
    /// big-endian. No message starts with 0xff, so an answer never reads as another's end.
    #[must_use]
    pub fn close(mut self, status: &Status) -> [u8; 32] {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.0.update(&[0xff]);
        self.0.update(&status.code.to_be_bytes());
        self.0.update(&length(status.message.as_bytes()));
        self.0.update(status.message.as_bytes());
        self.0.update(&length(&status.details));
        self.0.update(&status.details);
        bytes_of(self.0.sign().as_ref())
    }
}

/// Returns the digest of one request, as it crossed with its prefix.
#[must_use]
pub fn of_request(nonce: &[u8], framed: &[u8]) -> [u8; 32] {
    bytes_of(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, nonce), framed).as_ref())
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
