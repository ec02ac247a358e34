//! The application's own metadata: what an agreement lets cross beside the messages, in both directions.
//!
//! The surprising fact: over a link it is one block of bytes and no headers, so that what is signed is what is sent, and no
//! HTTP library joins, splits or reorders it on the way. The encoding is in `FORMATS.md`.

mod heard;
mod prelude;

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use proto::link::ConsumerClaims;

pub use self::heard::{Heard, Said};
pub(crate) use self::prelude::{Prelude, framed};
use crate::{digests, headers};

/// Most values that cross one way.
pub const MAX_VALUES: usize = 32;
/// Largest block with a request, in bytes: 5.5 KiB of header in base64.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024;
/// Largest block with an answer, in bytes: one of initial metadata, one of trailing.
pub const MAX_ANSWER_BYTES: usize = 2 * 1024;

/// Bytes of the two lengths before a key and a value.
const LENGTHS: usize = 8;
/// What a key ends with whose values are bytes. Source: gRPC over HTTP/2, "Custom-Metadata".
const BINARY: &str = "-bin";

/// Keys with their values: sorted by key, in the order of the sender within a key.
///
/// A value is ASCII text, or, where the key ends in `-bin`, any bytes as they are before base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApplicationMetadata(Vec<(String, Bytes)>);

/// Metadata that cannot cross. Names the key, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A binary value is not base64.
    #[error("the metadata key `{0}` is not base64")]
    NotBase64(String),
    /// A value is not printable ASCII.
    #[error("the metadata key `{0}` is not printable ASCII; a key for other values ends in `-bin`")]
    NotText(String),
    /// There are too many values.
    #[error("the metadata key `{0}` is one too many; at most {MAX_VALUES} values of the application's metadata cross")]
    TooMany(String),
    /// They are too long together.
    #[error(
        "the metadata key `{key}` is too long; keys and values have {limit} bytes together, 8 of them for each value"
    )]
    TooLong {
        /// The key that goes beyond the limit.
        key: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl ApplicationMetadata {
    /// Takes the keys in `named` out of headers, held to the limits of a block of `limit` bytes. All else stays behind.
    ///
    /// # Errors
    ///
    /// [`Unfit`] for the first value that cannot cross.
    pub fn select(headers: &HeaderMap, named: &BTreeSet<String>, limit: usize) -> Result<Self, Unfit> {
        let mut selected = Self::default();
        let mut size = 0_usize;
        for key in named {
            for value in headers.get_all(key.as_str()) {
                for value in values(key, value)? {
                    size = size.saturating_add(LENGTHS).saturating_add(key.len()).saturating_add(value.len());
                    if selected.0.len() >= MAX_VALUES {
                        return Err(Unfit::TooMany(key.clone()));
                    }
                    if size > limit {
                        return Err(Unfit::TooLong { key: key.clone(), limit });
                    }
                    selected.0.push((key.clone(), value));
                }
            }
        }
        Ok(selected)
    }

    /// Reads what came with a request over a link, and holds it against the claims.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn of_request(headers: &HeaderMap, claims: &ConsumerClaims) -> Result<Self, &'static str> {
        let block = headers::read_block(headers, &headers::METADATA)
            .ok_or("the application's metadata stands more than once or cannot be read")?;
        if claims.metadata_digest != digests::of_request_metadata(&claims.nonce, &block) {
            return Err("the application's metadata is not what was signed");
        }
        Self::decode(&block, MAX_REQUEST_BYTES).ok_or("the application's metadata is malformed or above its limits")
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the keys, each once, for the record.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.0.iter().map(|(key, _)| key.clone()).collect();
        keys.dedup();
        keys
    }

    /// Returns the first key that is not in `named`.
    pub(crate) fn unnamed(&self, named: &BTreeSet<String>) -> Option<&str> {
        self.0.iter().map(|(key, _)| key.as_str()).find(|key| !named.contains(*key))
    }

    /// Returns the block that crosses a link. Empty where there is none.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut block = BytesMut::new();
        for (key, value) in &self.0 {
            for part in [key.as_bytes(), value] {
                block.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
                block.put_slice(part);
            }
        }
        block.freeze()
    }

    /// Reads a block. `None` where it is not the one encoding of what it says, or above the limits.
    pub(crate) fn decode(block: &Bytes, limit: usize) -> Option<Self> {
        if block.len() > limit {
            return None;
        }
        let mut rest = block.clone();
        let mut entries: Vec<(String, Bytes)> = Vec::new();
        while rest.has_remaining() {
            let key = part(&mut rest)?;
            let value = part(&mut rest)?;
            let key = std::str::from_utf8(&key).ok().filter(|key| is_key(key))?.to_owned();
            let sorted = entries.last().is_none_or(|(last, _)| *last <= key);
            if !sorted || entries.len() >= MAX_VALUES || !(key.ends_with(BINARY) || is_text(&value)) {
                return None;
            }
            entries.push((key, value));
        }
        Some(Self(entries))
    }

    /// Adds the headers of it, as gRPC writes metadata. They are marked as not to be kept by a header compressor.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (key, value) in self.headers() {
            headers.append(key, value);
        }
    }

    /// Returns names and values of headers, as gRPC writes metadata.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        self.headers().map(|(key, value)| (key.as_str().to_owned(), text(&value))).collect()
    }

    fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.0.iter().filter_map(|(key, value)| {
            let name = HeaderName::from_bytes(key.as_bytes()).ok()?;
            if key.ends_with(BINARY) {
                return Some((name, headers::binary(value)));
            }
            let mut value = HeaderValue::from_maybe_shared(value.clone()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        })
    }
}

impl std::fmt::Debug for ApplicationMetadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// Returns the values of one header: of a binary key several may be joined by commas.
fn values(key: &str, value: &HeaderValue) -> Result<Vec<Bytes>, Unfit> {
    let bytes = value.as_bytes();
    if key.ends_with(BINARY) {
        let decoded = bytes.split(|byte| *byte == b',').map(|one| headers::from_base64(one.trim_ascii()));
        return decoded.collect::<Option<_>>().ok_or_else(|| Unfit::NotBase64(key.to_owned()));
    }
    if is_text(bytes) { Ok(vec![Bytes::copy_from_slice(bytes)]) } else { Err(Unfit::NotText(key.to_owned())) }
}

/// Printable ASCII with spaces. Source: gRPC over HTTP/2, "ASCII-Value".
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

fn part(rest: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
    (rest.len() >= length).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests;
