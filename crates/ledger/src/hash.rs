//! A SHA-256 hash, and the ways of computing one that the ledger uses.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A SHA-256 hash. `Display` and `Debug` write 64 lower-case hexadecimal digits; `FromStr` reads them.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// 32 zero bytes: what a chain of hashes starts from.
    pub const ZERO: Self = Self([0; 32]);

    /// Hashes `bytes` with SHA-256.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(&digest::digest(&digest::SHA256, bytes))
    }

    /// Hashes each of `inputs`, side by side where the processor can.
    pub(crate) fn of_each(inputs: &[&[u8]]) -> Vec<Self> {
        sha256::each(inputs).into_iter().map(Self).collect()
    }

    /// Hashes the concatenation of `parts` with SHA-256.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        Self::from_digest(&context.finish())
    }

    /// Writes the hash in base64 with padding, 44 characters, as checkpoints have it.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] writes; `None` for anything else.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    fn from_digest(digest: &digest::Digest) -> Self {
        let mut hash = Self::ZERO;
        hash.0.copy_from_slice(digest.as_ref());
        hash
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let mut hash = Self::ZERO;
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
            return Err(NotAHash);
        }
        for (byte, digits) in hash.0.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NotAHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAHash)?;
        }
        Ok(hash)
    }
}

/// The text is not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hash: expected 64 lower-case hexadecimal digits")]
pub struct NotAHash;
