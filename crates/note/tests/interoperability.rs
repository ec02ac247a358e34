//! Notes and keys of ours in the hands of the crate `signed_note`, and the other way round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, reason = "tests")]

use drawbridge_note::{Note, SigningKey, VerifierKey};
use proptest::prelude::*;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};

/// The key and note of C2SP's and Go's documentation.
const NEUMANN_PRIVATE: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const NEUMANN_PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NEUMANN_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn neumann() -> SigningKey {
    SigningKey::parse(&format!("drawbridge.key/v1\n{NEUMANN_PRIVATE}\n")).unwrap()
}

#[test]
fn the_published_key_and_note_come_out_the_same() {
    let key = neumann();
    assert_eq!(key.verifier().to_string(), NEUMANN_PUBLIC);
    assert_eq!(key.to_text().as_str(), format!("drawbridge.key/v1\n{NEUMANN_PRIVATE}\n"));

    let note = Note::parse(NEUMANN_NOTE).unwrap();
    assert_eq!(note.to_string(), NEUMANN_NOTE);
    assert_eq!(Note::sign(note.text(), &[&key]).unwrap(), note);
    let known = [NEUMANN_PUBLIC.parse::<VerifierKey>().unwrap()];
    assert_eq!(note.verified_by(&known).unwrap(), [&known[0]]);
}

fn theirs(key: &VerifierKey) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(&key.to_string()).unwrap())])
}

proptest! {
    #[test]
    fn they_verify_what_is_signed_here(text in "[ -~à-ÿ\n]{0,200}", name in "[a-z./]{1,40}") {
        let text = format!("{text}\n");
        let key = SigningKey::generate(&name).unwrap();
        let bytes = Note::sign(&text, &[&key]).unwrap().to_string();
        let note = signed_note::Note::from_bytes(bytes.as_bytes()).unwrap();
        prop_assert_eq!(note.text(), text.as_bytes());
        let (verified, unverified) = note.verify(&theirs(&key.verifier())).unwrap();
        prop_assert_eq!((verified.len(), unverified.len()), (1, 0));
    }

    #[test]
    fn what_they_sign_verifies_here(text in "[ -~à-ÿ\n]{0,200}", name in "[a-z./]{1,40}") {
        let text = format!("{text}\n");
        let ours = SigningKey::generate(&name).unwrap();
        let private = ours.to_text().lines().nth(1).unwrap().to_owned();
        let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        note.add_sigs(&[&StandardSigner::new(&private).unwrap()]).unwrap();
        let note = Note::parse(std::str::from_utf8(&note.to_bytes()).unwrap()).unwrap();
        prop_assert_eq!(note.text(), text);
        prop_assert_eq!(note.verified_by(&[ours.verifier()]).unwrap().len(), 1);
    }

    /// Any bytes at all: both accept, or both refuse, and what is accepted is written back as it was.
    #[test]
    fn both_agree_on_what_is_a_note(bytes in prop_oneof![
        "[ -~\n]{0,80}",
        "(a|\n|\t|\u{85}){0,4}\n\n(\u{2014} [a+ ]{1,3} (AAAAAAA=|AAAAAA==|AAAA|AAAAAAAA|AAAAAAB=)\n?){0,3}",
    ]) {
        let ours = Note::parse(&bytes);
        let theirs = signed_note::Note::from_bytes(bytes.as_bytes());
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        if let Ok(note) = ours {
            prop_assert_eq!(note.to_string(), bytes);
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let _ = Note::parse(&text);
        let _ = text.parse::<VerifierKey>();
        let _ = SigningKey::parse(&text);
        let _ = SigningKey::parse(&format!("drawbridge.key/v1\nPRIVATE+KEY+{text}"));
    }

    #[test]
    fn a_changed_character_in_a_verifier_key_is_noticed(at in 0usize..NEUMANN_PUBLIC.len(), with in "[A-Za-z0-9/]") {
        let mut text = NEUMANN_PUBLIC.to_owned();
        prop_assume!(text[at..=at] != with);
        text.replace_range(at..=at, &with);
        prop_assert!(text.parse::<VerifierKey>().is_err());
    }

    #[test]
    fn a_changed_byte_of_a_note_is_never_verified(at in 0usize..NEUMANN_NOTE.len(), with in 0u8..128) {
        let mut bytes = NEUMANN_NOTE.as_bytes().to_vec();
        prop_assume!(bytes[at] != with);
        bytes[at] = with;
        let known = [NEUMANN_PUBLIC.parse::<VerifierKey>().unwrap()];
        if let Ok(note) = String::from_utf8(bytes).map_err(drop).and_then(|text| Note::parse(&text).map_err(drop)) {
            // A changed name or id makes it a signature by somebody unknown; anything else is a wrong one.
            prop_assert!(note.verified_by(&known).map_or(true, |by| by.is_empty()));
        }
    }
}
