//! Texts that somebody signed, and the keys that they are signed with.

use ledger::{Checkpoint, Hash, Promise};
use note::{Note, SigningKey, VerifierKey};

use crate::fixtures::{CONSUMER, FEDERATION};

/// Reads the text as each of these.
pub fn run(input: &[u8]) {
    if let Ok(promise) = Promise::parse(input) {
        assert_eq!(promise.encode(), input);
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text, "a note is written as it was read");
        checkpoint(note.text());
        for keys in [vec![CONSUMER.verifier()], FEDERATION.log_keys("trust.example/log/main")] {
            let _ = note.verified_by(&keys);
        }
        let mut signed = note.clone();
        if signed.cosign(&CONSUMER) {
            assert_eq!(Note::parse(&signed.to_string()).as_ref(), Ok(&signed));
            let key = CONSUMER.verifier();
            assert_eq!(signed.verified_by(std::slice::from_ref(&key)), Ok(vec![&key]));
        }
    }
    checkpoint(text);
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse::<VerifierKey>().as_ref(), Ok(&key));
    }
    if let Ok(key) = SigningKey::parse(text) {
        assert_eq!(SigningKey::parse(&key.to_text()).unwrap().verifier(), key.verifier());
    }
    if let Some(hash) = Hash::from_base64(text) {
        assert_eq!(hash.to_base64(), text);
    }
}

fn checkpoint(text: &str) {
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.to_text()).as_ref(), Ok(&checkpoint));
    }
}
