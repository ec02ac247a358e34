//! Public keys in the form that C2SP calls a vkey, and how key ids follow from them.
//!
//! The id of a key depends on its name as well as its bytes: the same bytes under another name are another key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Algorithm byte of Ed25519 in keys and key ids.
///
/// Source: <https://c2sp.org/signed-note>, "Signature types".
pub(crate) const ED25519_TYPE: u8 = 0x01;

/// A public Ed25519 key with its name.
///
/// Written `<name>+<id>+<base64(0x01 || key)>`: the id in 8 lower-case hexadecimal digits, base64 with padding. Cheap to clone.
///
/// Source: <https://c2sp.org/signed-note>, "Verifier keys".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierKey {
    name: Arc<str>,
    id: u32,
    public: [u8; 32],
}

impl VerifierKey {
    /// Joins a name and the 32 bytes of an Ed25519 public key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`] when the name is empty or holds a space, a control character or `+`; [`KeyError::Weak`] for one of
    /// the few keys under which anyone can sign.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        check_name(name)?;
        if is_small_order(&public) {
            return Err(KeyError::Weak);
        }
        Ok(Self { name: name.into(), id: ed25519_id(name, &public), public })
    }

    /// Returns the name, for example `county.example/log/main`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the id that stands before each signature by this key.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns the Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Verifies a raw Ed25519 signature (64 bytes) over `message`.
    ///
    /// # Errors
    ///
    /// [`BadSignature`], which names the key and nothing of the message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message, signature)
            .map_err(|_| BadSignature { key: self.name.to_string(), id: self.id })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = [ED25519_TYPE; 33];
        data[1..].copy_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(data))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, data) = split_key(text, KeyError::NotVerifier)?;
        let [algorithm, public @ ..] = data.as_slice() else {
            return Err(KeyError::NotVerifier);
        };
        if *algorithm != ED25519_TYPE {
            return Err(KeyError::Algorithm { algorithm: *algorithm });
        }
        let public: [u8; 32] = public.try_into().map_err(|_| KeyError::NotVerifier)?;
        let key = Self::new(name, public)?;
        if key.id != id {
            return Err(KeyError::Id { written: id, computed: key.id });
        }
        Ok(key)
    }
}

impl TryFrom<&str> for VerifierKey {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl Serialize for VerifierKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifierKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A key's text could not be read, or no key could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The name cannot stand in a note.
    #[error("`{name}` cannot name a key: a name is not empty and holds no spaces, control characters or `+`")]
    Name {
        /// The name as given.
        name: String,
    },
    /// Not a verifier key at all.
    #[error("not a verifier key: expected `<name>+<8 hexadecimal digits>+<base64>`")]
    NotVerifier,
    /// Not a key file of Drawbridge. What it holds is not repeated, since it may be somebody's secret.
    #[error("not a key file: line 1 must be `{format}`, line 2 `PRIVATE+KEY+<name>+<8 hexadecimal digits>+<base64>`", format = crate::KEY_FORMAT)]
    NotSigning,
    /// A key file of a later format.
    #[error("the key file has format `{format}`, which is newer than this program; it reads `{reads}`: install a newer Drawbridge", reads = crate::KEY_FORMAT)]
    Newer {
        /// The format it names.
        format: String,
    },
    /// An algorithm other than Ed25519.
    #[error("algorithm {algorithm:#04x} is not known; keys are Ed25519 (0x01)")]
    Algorithm {
        /// The algorithm byte of the key.
        algorithm: u8,
    },
    /// The id does not follow from name and key: a character was lost or changed.
    #[error("the key says its id is {written:08x}, but name and key give {computed:08x}: copy it again, whole")]
    Id {
        /// The id in the text.
        written: u32,
        /// The id that follows from name and key.
        computed: u32,
    },
    /// A point of small order: anyone can make signatures that it accepts.
    #[error("the key is one of the few under which anyone can sign: its owner must make a new one")]
    Weak,
    /// The operating system's random numbers failed, or the seed was refused.
    #[error("could not make an Ed25519 key")]
    Unmade,
}

/// A signature does not fit its key and message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the signature by `{key}` ({id:08x}) is wrong")]
pub struct BadSignature {
    /// The name of the key that was to verify it.
    pub key: String,
    /// The id of that key.
    pub id: u32,
}

/// Computes a key id: the first four bytes of SHA-256(name || 0x0a || algorithm byte || public key), big-endian.
///
/// Source: <https://c2sp.org/signed-note>, "Signatures".
#[must_use]
pub fn key_id(name: &str, algorithm: u8, public: &[u8]) -> u32 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(name.as_bytes());
    context.update(b"\n");
    context.update(&[algorithm]);
    context.update(public);
    context.finish().as_ref().iter().take(4).fold(0, |id, byte| (id << 8) | u32::from(*byte))
}

pub(crate) fn ed25519_id(name: &str, public: &[u8; 32]) -> u32 {
    key_id(name, ED25519_TYPE, public)
}

/// Refuses a name that could not stand in a signature line.
pub(crate) fn check_name(name: &str) -> Result<(), KeyError> {
    if is_name(name) { Ok(()) } else { Err(KeyError::Name { name: name.to_owned() }) }
}

/// Says whether `name` can stand in a signature line: not empty, no Unicode space, no control character, no `+`.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// Splits `<name>+<id>+<base64>`; `otherwise` is the error when it has another shape.
pub(crate) fn split_key(text: &str, otherwise: KeyError) -> Result<(&str, u32, zeroize::Zeroizing<Vec<u8>>), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(otherwise);
    };
    let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if id.len() != 8 || !id.bytes().all(hexadecimal) {
        return Err(otherwise);
    }
    match (u32::from_str_radix(id, 16), STANDARD.decode(data)) {
        (Ok(id), Ok(data)) => Ok((name, id, data.into())),
        _ => Err(otherwise),
    }
}

/// Says whether a public key is a point of small order (in any of its encodings): with such a key, signatures can be made
/// that verify for messages nobody signed, and a member could deny what it signed.
///
/// Source: the list in libsodium's `ge25519_has_small_order`, the sign bit left aside.
fn is_small_order(public: &[u8; 32]) -> bool {
    const EIGHT_A: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const EIGHT_B: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    let [first, middle @ .., last] = public;
    let last = last & 0x7f;
    let low = *first <= 1 && middle.iter().all(|byte| *byte == 0) && last == 0;
    let high = (0xec..=0xee).contains(first) && middle.iter().all(|byte| *byte == 0xff) && last == 0x7f;
    let masked = {
        let mut masked = *public;
        masked[31] = last;
        masked
    };
    low || high || masked == EIGHT_A || masked == EIGHT_B
}
