//! Private keys and their text.
//!
//! The seed is overwritten in memory when the last clone of a key is dropped; the copy that the cryptographic library holds is
//! that library's to overwrite, and it does.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::verifier::{ED25519_TYPE, KeyError, VerifierKey, check_name, split_key};

/// First line of a key file: format and version.
pub const KEY_FORMAT: &str = "drawbridge.key/v1";

const FORMAT_NAME: &str = "drawbridge.key/v";
const PRIVATE: &str = "PRIVATE+KEY+";

/// A private Ed25519 key with its name. Cheap to clone; `Debug` shows the public half only.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    verifier: VerifierKey,
}

impl SigningKey {
    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`] when `name` cannot stand in a note, [`KeyError::Unmade`] when there are no random numbers.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        check_name(name)?;
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut_slice()).map_err(|_| KeyError::Unmade)?;
        Self::from_seed(name, seed)
    }

    /// Makes the key that follows from a 32-byte seed (RFC 8032, section 5.1.5). For test vectors and for texts read back.
    ///
    /// # Errors
    ///
    /// [`KeyError::Name`] when `name` cannot stand in a note.
    pub fn from_seed(name: &str, seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| KeyError::Unmade)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Unmade)?;
        let verifier = VerifierKey::new(name, public)?;
        Ok(Self(Arc::new(Inner { pair, seed, verifier })))
    }

    /// Returns the name, for example `county.example/log/main`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.verifier.name()
    }

    /// Returns the public half.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.0.verifier.clone()
    }

    /// Signs `message` with Ed25519 (RFC 8032). The caller sees to it that messages of different meaning cannot be mistaken
    /// for each other; a note needs no tag, since its text says what it is.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.pair.sign(message).as_ref());
        signature
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    ///
    /// [`KeyError::Newer`] for a later format, [`KeyError::Id`] when a character was changed, [`KeyError::NotSigning`] for
    /// anything else that is not a key file. No error repeats what the file holds beyond the name and version of its format.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (format, rest) = text.split_once('\n').ok_or(KeyError::NotSigning)?;
        let format = format.strip_suffix('\r').unwrap_or(format);
        check_format(format)?;
        let key = rest.trim_end_matches(['\r', '\n']);
        let key = key.strip_prefix(PRIVATE).ok_or(KeyError::NotSigning)?;
        let (name, id, data) = split_key(key, KeyError::NotSigning)?;
        let [algorithm, seed @ ..] = data.as_slice() else {
            return Err(KeyError::NotSigning);
        };
        if *algorithm != ED25519_TYPE {
            return Err(KeyError::Algorithm { algorithm: *algorithm });
        }
        let mut bytes = Zeroizing::new([0; 32]);
        if seed.len() != bytes.len() {
            return Err(KeyError::NotSigning);
        }
        bytes.copy_from_slice(seed);
        let key = Self::from_seed(name, bytes)?;
        if key.0.verifier.id() != id {
            return Err(KeyError::Id { written: id, computed: key.0.verifier.id() });
        }
        Ok(key)
    }

    /// Writes the text of a key file: two lines, the format and the key as Go's `note` package writes it.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut data = Zeroizing::new([ED25519_TYPE; 33]);
        data[1..].copy_from_slice(self.0.seed.as_slice());
        let encoded = Zeroizing::new(STANDARD.encode(data.as_slice()));
        let (name, id) = (self.name(), self.0.verifier.id());
        // Reserved up front: a string that grows leaves copies of the secret behind.
        let mut text =
            Zeroizing::new(String::with_capacity(KEY_FORMAT.len() + PRIVATE.len() + name.len() + encoded.len() + 16));
        text.push_str(KEY_FORMAT);
        text.push('\n');
        text.push_str(PRIVATE);
        text.push_str(name);
        // Writing to a string does not fail.
        let _ = write!(text, "+{id:08x}+");
        text.push_str(&encoded);
        text.push('\n');
        text
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.0.verifier)
    }
}

/// Accepts the format of this version; tells a later one from something else altogether.
fn check_format(format: &str) -> Result<(), KeyError> {
    if format == KEY_FORMAT {
        return Ok(());
    }
    match format.strip_prefix(FORMAT_NAME) {
        Some(version) if !version.is_empty() && version.len() <= 9 && version.bytes().all(|b| b.is_ascii_digit()) => {
            Err(KeyError::Newer { format: format.to_owned() })
        }
        _ => Err(KeyError::NotSigning),
    }
}
