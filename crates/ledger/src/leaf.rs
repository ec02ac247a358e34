//! Leaves, and the promise that one of them is in the log.
//!
//! A leaf commits to two halves, one that a receipt discloses and one that stays. The ledger never sees what they are.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::Hash;

const ENTRY_TAG: &[u8; 19] = b"drawbridge.leaf/v1\n";
const PROMISE_TAG: &str = "drawbridge.promise/v1";

/// Length of a log entry, in bytes.
pub const ENTRY_LEN: usize = ENTRY_TAG.len() + 64;

/// The salted commitment that stands in the tree for a record.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Commits to what a receipt discloses: already salted and hashed.
    pub shared: Hash,
    /// Commits to what stays with this gateway: already salted and hashed.
    pub private: Hash,
}

impl Leaf {
    /// Returns the log entry: `drawbridge.leaf/v1`, a newline, the shared hash, the private hash. It is what
    /// `tile/entries` holds.
    #[must_use]
    pub fn entry(&self) -> [u8; ENTRY_LEN] {
        let mut entry = [0; ENTRY_LEN];
        let (tag, hashes) = entry.split_at_mut(ENTRY_TAG.len());
        let (shared, private) = hashes.split_at_mut(32);
        tag.copy_from_slice(ENTRY_TAG);
        shared.copy_from_slice(&self.shared.0);
        private.copy_from_slice(&self.private.0);
        entry
    }

    /// Returns the hash of the leaf in the tree: SHA-256(0x00 || entry).
    ///
    /// Source: RFC 9162, section 2.1.1.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut bytes = [0; ENTRY_LEN + 1];
        bytes[1..].copy_from_slice(&self.entry());
        Hash::of(&bytes)
    }
}

/// What is appended: a leaf, the body kept beside it, and what is to be sealed with it.
pub struct Entry {
    /// The commitment.
    pub leaf: Leaf,
    /// The record's bytes, kept encrypted. At most [`crate::Config::body_max`].
    pub body: Vec<u8>,
    /// What the gateway key shall sign together with the promise of this leaf.
    pub seal: Option<SealInput>,
}

/// What is kept is for nobody's debug output: it may tell of persons.
impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaf, body, seal } = self;
        formatter.debug_struct("Entry").field("leaf", leaf).field("bytes", &body.len()).field("seal", seal).finish()
    }
}

/// Claims to be signed, with the tag that says what they are.
pub struct SealInput {
    /// The domain: claims under one tag cannot be taken for claims under another. Holds no newline.
    pub tag: &'static str,
    /// The very bytes that are sent.
    pub claims: Vec<u8>,
}

impl fmt::Debug for SealInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, claims } = self;
        formatter.debug_struct("SealInput").field("tag", tag).field("bytes", &claims.len()).finish()
    }
}

/// A gateway's word that the leaf with this hash is in its log at this index. It is signed by a [`crate::Seal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The log.
    pub origin: String,
    /// Counted from 0.
    pub index: u64,
    /// The hash of the leaf in the tree, see [`Leaf::hash`].
    pub leaf: Hash,
}

impl Promise {
    /// Writes the promise: four lines, `drawbridge.promise/v1`, origin, index in decimal, leaf hash in base64.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_promise(&self.origin, self.index, &self.leaf)
    }

    /// Reads what [`Promise::encode`] writes, and nothing else.
    ///
    /// # Errors
    ///
    /// [`PromiseError::Newer`] for a later version, [`PromiseError::Malformed`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, PromiseError> {
        let text = std::str::from_utf8(bytes).map_err(|_| PromiseError::Malformed)?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(PromiseError::Malformed);
        let (tag, origin, index, leaf) = (line()?, line()?, line()?, line()?);
        if tag != PROMISE_TAG {
            return Err(match newer(tag, PROMISE_TAG) {
                Some(format) => PromiseError::Newer { format },
                None => PromiseError::Malformed,
            });
        }
        let promise = Self {
            origin: origin.to_owned(),
            index: index.parse().map_err(|_| PromiseError::Malformed)?,
            leaf: Hash::from_base64(leaf).ok_or(PromiseError::Malformed)?,
        };
        // Only the canonical text is a promise: the signature covers these very bytes.
        if promise.encode() == bytes && !origin.is_empty() { Ok(promise) } else { Err(PromiseError::Malformed) }
    }
}

/// A promise could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PromiseError {
    /// A later format.
    #[error("the promise has format `{format}`, which is newer than this program; it reads `{PROMISE_TAG}`")]
    Newer {
        /// The format it names.
        format: String,
    },
    /// Not a promise.
    #[error("not a promise: expected four lines, `{PROMISE_TAG}`, origin, index and leaf hash")]
    Malformed,
}

/// Writes a promise from its parts.
pub(crate) fn encode_promise(origin: &str, index: u64, leaf: &Hash) -> Vec<u8> {
    format!("{PROMISE_TAG}\n{origin}\n{index}\n{}\n", STANDARD.encode(leaf.0)).into_bytes()
}

/// Returns the format named by `line` when it is a later version of `format` (`<name>/v<number>`).
pub(crate) fn newer(line: &str, format: &str) -> Option<String> {
    let name = format.trim_end_matches(|c: char| c.is_ascii_digit());
    let own: u32 = format.get(name.len()..)?.parse().ok()?;
    let version: u32 = line.strip_prefix(name).filter(|version| !version.starts_with(['+', '0']))?.parse().ok()?;
    (version > own).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;

    fn leaf() -> Leaf {
        Leaf { shared: Hash([1; 32]), private: Hash([2; 32]) }
    }

    #[test]
    fn the_entry_names_its_format_and_its_hash_is_the_trees() {
        let entry = leaf().entry();
        assert_eq!(entry[..19], *b"drawbridge.leaf/v1\n");
        assert_eq!(entry[19..51], [1; 32]);
        assert_eq!(entry[51..], [2; 32]);
        assert_eq!(leaf().hash(), leaf_hash(&entry));
    }

    #[test]
    fn a_promise_reads_back_and_only_in_its_canonical_form() {
        let promise = Promise { origin: "county.example/log/main".into(), index: 18_204, leaf: leaf().hash() };
        let bytes = promise.encode();
        assert_eq!(Promise::parse(&bytes), Ok(promise.clone()));
        let text = String::from_utf8(bytes).unwrap();
        for changed in [
            text.replace("18204", "018204"),
            text.replace("18204", "+18204"),
            text.replace("18204", "18446744073709551616"),
            text.replace("county.example/log/main", ""),
            text.replace('=', ""),
            format!("{text}\n"),
            text.trim_end().to_owned(),
            text.replace("promise", "promises"),
            String::new(),
        ] {
            assert_eq!(Promise::parse(changed.as_bytes()), Err(PromiseError::Malformed), "{changed:?}");
        }
        assert_eq!(
            Promise::parse(text.replace("/v1", "/v2").as_bytes()),
            Err(PromiseError::Newer { format: "drawbridge.promise/v2".into() })
        );
    }

    #[test]
    fn only_a_later_number_is_a_newer_format() {
        assert_eq!(newer("a/v2", "a/v1"), Some("a/v2".into()));
        assert_eq!(newer("a/v10", "a/v9"), Some("a/v10".into()));
        for line in ["a/v1", "a/v0", "a/v", "a/v02", "a/v+2", "b/v2", "a/v2x", ""] {
            assert_eq!(newer(line, "a/v1"), None, "{line}");
        }
    }
}
