//! The note itself: text, a blank line, signature lines.
//!
//! The blank line that counts is the last one, so a text may hold blank lines of its own.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::verifier::is_name;
use crate::{BadSignature, SigningKey, VerifierKey};

/// Largest note that is read or made, in bytes with its signatures.
///
/// Source: C2SP leaves the limit to implementations; Go's `note` package takes 1 MB.
pub const MAX_NOTE_BYTES: usize = 1024 * 1024;

/// Most signatures on a note that is read or made.
///
/// Source: <https://c2sp.org/signed-note>, "Format" names 100 as an example; Go's `note` package takes it.
pub const MAX_SIGNATURES: usize = 100;

const DASH: &str = "\u{2014} ";

/// A signed note. `Display` writes it, byte for byte as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Signs `text` with each of `keys`, in their order. A key that occurs twice signs once.
    ///
    /// # Errors
    ///
    /// [`NoteError::Unsigned`] without a key; [`NoteError::Control`] and [`NoteError::NoNewline`] for a text that cannot stand
    /// in a note; [`NoteError::TooLarge`] and [`NoteError::TooManySignatures`] beyond the limits.
    pub fn sign(text: &str, keys: &[&SigningKey]) -> Result<Self, NoteError> {
        check_text(text)?;
        let mut note = Self { text: text.to_owned(), signatures: Vec::with_capacity(keys.len()) };
        for key in keys {
            if !note.cosign(key) {
                return Err(if note.signatures.len() >= MAX_SIGNATURES {
                    NoteError::TooManySignatures
                } else {
                    NoteError::TooLarge
                });
            }
        }
        if note.signatures.is_empty() { Err(NoteError::Unsigned) } else { Ok(note) }
    }

    /// Parses a note. Nothing is verified yet.
    ///
    /// # Errors
    ///
    /// What makes it malformed, with the number of the line where there is one.
    pub fn parse(bytes: &str) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLarge);
        }
        check_control(bytes)?;
        let (text, signatures) =
            bytes.rfind("\n\n").and_then(|at| bytes.split_at_checked(at + 1)).ok_or(NoteError::NoBlankLine)?;
        check_text(text)?;
        // What follows is the blank line's newline, then the signatures.
        let Some(lines) = signatures.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n')) else {
            return Err(if signatures == "\n" { NoteError::Unsigned } else { NoteError::NoNewline });
        };
        let first = text.bytes().filter(|byte| *byte == b'\n').count() + 2;
        let mut parsed = Vec::new();
        for (number, line) in (first..).zip(lines.split('\n')) {
            if parsed.len() == MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            parsed.push(Signature::parse(line).ok_or(NoteError::SignatureLine { line: number })?);
        }
        Ok(Self { text: text.to_owned(), signatures: parsed })
    }

    /// Returns the text that is signed, with its final newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns all signatures, verified or not, in the order of their lines.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature by `key`; one that was there under the same name and id is replaced. Returns whether the note now
    /// carries it: `false` leaves the note as it was, because it already has [`MAX_SIGNATURES`] or would exceed
    /// [`MAX_NOTE_BYTES`].
    pub fn cosign(&mut self, key: &SigningKey) -> bool {
        let verifier = key.verifier();
        let signature = Signature {
            name: verifier.name().to_owned(),
            id: verifier.id(),
            bytes: key.sign(self.text.as_bytes()).to_vec(),
        };
        let is_by_key = |other: &Signature| other.name == signature.name && other.id == signature.id;
        if let Some(own) = self.signatures.iter_mut().find(|other| is_by_key(other)) {
            if own.bytes.len() == signature.bytes.len() {
                own.bytes = signature.bytes;
                return true;
            }
            self.signatures.retain(|other| !is_by_key(other));
        }
        if self.signatures.len() >= MAX_SIGNATURES || self.encoded_len() + signature.encoded_len() > MAX_NOTE_BYTES {
            return false;
        }
        self.signatures.push(signature);
        true
    }

    /// Returns those of `keys` that have signed, in the order of `keys`, each once. Signatures by other keys are ignored, so
    /// the result may be empty: the caller decides whose signature it needs.
    ///
    /// # Errors
    ///
    /// [`NoteError::Signature`] when a signature under the name and id of one of `keys` is wrong; [`NoteError::Ambiguous`]
    /// when two different keys among `keys` have the same name and id.
    pub fn verified_by<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut verified: Vec<&VerifierKey> = Vec::new();
        for key in keys {
            if verified.contains(&key) {
                continue;
            }
            let mut signed = false;
            for signature in self.signatures.iter().filter(|one| one.name == key.name() && one.id == key.id()) {
                if keys.iter().any(|other| other.id() == key.id() && other.name() == key.name() && other != key) {
                    return Err(NoteError::Ambiguous { key: key.name().to_owned(), id: key.id() });
                }
                key.verify(self.text.as_bytes(), &signature.bytes)?;
                signed = true;
            }
            if signed {
                verified.push(key);
            }
        }
        Ok(verified)
    }

    fn encoded_len(&self) -> usize {
        self.text.len() + 1 + self.signatures.iter().map(Signature::encoded_len).sum::<usize>()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// One signature line. `Display` writes it without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name of the key.
    pub name: String,
    /// The id of the key.
    pub id: u32,
    /// The signature without the key id: 64 bytes for Ed25519, any number from 1 for algorithms unknown here.
    pub bytes: Vec<u8>,
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = decoded.split_first_chunk::<4>()?;
        if !is_name(name) || bytes.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
    }

    fn encoded_len(&self) -> usize {
        DASH.len() + self.name.len() + 1 + (self.bytes.len() + 4).div_ceil(3) * 4 + 1
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = self.id.to_be_bytes().to_vec();
        data.extend_from_slice(&self.bytes);
        write!(f, "{DASH}{} {}", self.name, STANDARD.encode(data))
    }
}

/// A note is malformed, or a signature on it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("the note is larger than {MAX_NOTE_BYTES} bytes")]
    TooLarge,
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A control character other than a newline.
    #[error(
        "line {line} of the note holds the control character {character:#04x}: use spaces instead of tabs, and bare newlines"
    )]
    Control {
        /// Counted from 1.
        line: usize,
        /// The character's code.
        character: u32,
    },
    /// The text, or the last signature, does not end in a newline.
    #[error("the note does not end in a newline")]
    NoNewline,
    /// There is no blank line, hence no place for signatures.
    #[error("not a signed note: no blank line parts the text from its signatures")]
    NoBlankLine,
    /// There is no signature at all.
    #[error("the note is not signed")]
    Unsigned,
    /// A line below the blank line is not a signature.
    #[error("line {line} of the note is not a signature: expected an em dash, a name and base64")]
    SignatureLine {
        /// Counted from 1.
        line: usize,
    },
    /// A signature by a known key is wrong: the text or the signature was changed.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// Two of the keys to verify with are not the same, yet have one name and id.
    #[error("two different keys are called `{key}` with id {id:08x}: one of them must be made anew")]
    Ambiguous {
        /// The name that they share.
        key: String,
        /// The id that they share.
        id: u32,
    },
}

/// Refuses a text that cannot stand in a note.
fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLarge);
    }
    check_control(text)?;
    if text.ends_with('\n') { Ok(()) } else { Err(NoteError::NoNewline) }
}

fn check_control(text: &str) -> Result<(), NoteError> {
    match text.find(|c: char| c < ' ' && c != '\n') {
        None => Ok(()),
        Some(at) => {
            let (before, rest) = text.split_at(at);
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            Err(NoteError::Control { line, character: rest.chars().next().map_or(0, u32::from) })
        }
    }
}
