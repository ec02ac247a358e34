//! Signed notes and the Ed25519 keys that sign them.
//!
//! A note is text that people can read with signatures below it, as C2SP's signed-note defines it. Everything that a member
//! signs for others to keep (agreements, directory entries, checkpoints) is such a note, so tools that Drawbridge's authors
//! did not write verify them. A signature by a key that nobody here knows is kept and passed on, never judged.
//!
//! Source: <https://c2sp.org/signed-note>.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests"))]

mod envelope;
mod file;
mod signing;
mod verifier;

pub use envelope::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, Signature};
pub use file::KeyFileError;
pub use signing::{KEY_FORMAT, SigningKey};
pub use verifier::{BadSignature, KeyError, VerifierKey, key_id};
