//! What a note, a key and a key file refuse, and what they say then.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use drawbridge_note::{
    KeyError, KeyFileError, MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, SigningKey, VerifierKey,
};
use zeroize::Zeroizing;

fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, Zeroizing::new([seed; 32])).unwrap()
}

#[test]
fn two_members_sign_one_text_and_both_are_found() {
    let (county, trust, other) =
        (key("county.example/member", 1), key("trust.example/member", 2), key("x.example/member", 3));
    let mut note = Note::sign("agreement\n\nwith a blank line\n", &[&county]).unwrap();
    assert!(note.cosign(&trust));
    assert!(note.cosign(&trust), "signing again changes nothing");
    assert_eq!(note.signatures().len(), 2);

    let note = Note::parse(&note.to_string()).unwrap();
    assert_eq!(note.text(), "agreement\n\nwith a blank line\n");
    let known = [other.verifier(), trust.verifier(), county.verifier(), trust.verifier()];
    let signers: Vec<&str> = note.verified_by(&known).unwrap().into_iter().map(VerifierKey::name).collect();
    assert_eq!(signers, ["trust.example/member", "county.example/member"]);
    assert!(note.verified_by(&[other.verifier()]).unwrap().is_empty());
}

#[test]
fn signature_lines_of_unknown_algorithms_are_kept_as_they_are() {
    let county = key("county.example/member", 1);
    let mut text = Note::sign("text\n", &[&county]).unwrap().to_string();
    // An ML-DSA-44 signature is 2420 bytes long; here an id and some bytes stand for it.
    text.push_str("\u{2014} witness.example/w1 BBBBBBBBBBBBBBBBBBBBBBBB\n");
    let note = Note::parse(&text).unwrap();
    assert_eq!(note.to_string(), text);
    assert_eq!(note.verified_by(&[county.verifier()]).unwrap().len(), 1);
}

#[test]
fn a_wrong_signature_by_a_known_key_is_an_error_and_not_an_unknown_one() {
    let county = key("county.example/member", 1);
    let note = Note::sign("ten rows\n", &[&county]).unwrap();
    let forged = Note::parse(&note.to_string().replace("ten", "all")).unwrap();
    let error = forged.verified_by(&[county.verifier()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the signature by `county.example/member` ({:08x}) is wrong", county.verifier().id())
    );
}

#[test]
fn a_good_signature_does_not_hide_a_wrong_one_beside_it() {
    let county = key("county.example/member", 1);
    let good = Note::sign("text\n", &[&county]).unwrap();
    let other = Note::sign("other\n", &[&county]).unwrap();
    let both = Note::parse(&format!("{good}{}\n", other.signatures()[0])).unwrap();
    assert!(matches!(both.verified_by(&[county.verifier()]), Err(NoteError::Signature(_))));
}

#[test]
fn what_cannot_stand_in_a_note_is_refused_with_its_place() {
    let county = key("county.example/member", 1);
    let sign = |text: &str| Note::sign(text, &[&county]).unwrap_err();
    assert_eq!(sign("no newline"), NoteError::NoNewline);
    assert_eq!(sign(""), NoteError::NoNewline);
    assert_eq!(sign("a\nb\tc\n"), NoteError::Control { line: 2, character: 9 });
    assert_eq!(sign("a\r\n"), NoteError::Control { line: 1, character: 13 });
    assert_eq!(sign(&format!("{}\n", "a".repeat(MAX_NOTE_BYTES))), NoteError::TooLarge);
    assert_eq!(
        sign(&format!("{}\n", "a".repeat(MAX_NOTE_BYTES - 2))),
        NoteError::TooLarge,
        "no room for the signature"
    );
    assert_eq!(Note::sign("text\n", &[]), Err(NoteError::Unsigned));

    let parse = |text: &str| Note::parse(text).unwrap_err();
    assert_eq!(parse("text\n"), NoteError::NoBlankLine);
    assert_eq!(parse("text\n\n"), NoteError::Unsigned);
    assert_eq!(parse("text\n\n\u{2014} a AAAAAAA="), NoteError::NoNewline);
    assert_eq!(parse("text\n\n\u{2014} a AAAAAAA=\nnot one\n"), NoteError::SignatureLine { line: 4 });
    assert_eq!(parse("text\n\n- a AAAAAAA=\n"), NoteError::SignatureLine { line: 3 });
    assert_eq!(parse("text\n\n\u{2014} a+b AAAAAAA=\n"), NoteError::SignatureLine { line: 3 });
    assert_eq!(parse("text\n\n\u{2014} a AAAA\n"), NoteError::SignatureLine { line: 3 }, "an id and no signature");
    assert_eq!(parse(&" ".repeat(MAX_NOTE_BYTES + 1)), NoteError::TooLarge);
    let many = format!("text\n\n{}", "\u{2014} a AAAAAAA=\n".repeat(MAX_SIGNATURES + 1));
    assert_eq!(parse(&many), NoteError::TooManySignatures);
}

#[test]
fn a_note_full_of_signatures_takes_no_more_and_stays_readable() {
    let mut note = Note::parse(&format!("text\n\n{}", "\u{2014} a AAAAAAA=\n".repeat(MAX_SIGNATURES))).unwrap();
    let before = note.clone();
    assert!(!note.cosign(&key("county.example/member", 1)));
    assert_eq!(note, before);
    let keys: Vec<SigningKey> = (0..=100).map(|seed| key(&format!("k{seed}"), seed)).collect();
    let keys: Vec<&SigningKey> = keys.iter().collect();
    assert_eq!(Note::sign("text\n", &keys), Err(NoteError::TooManySignatures));
    assert_eq!(Note::sign("text\n", &keys[1..]).unwrap().signatures().len(), MAX_SIGNATURES);
}

#[test]
fn a_signature_by_this_key_that_was_wrong_is_replaced() {
    let county = key("county.example/member", 1);
    let wrong = Note::sign("other\n", &[&county]).unwrap().signatures()[0].to_string();
    let mut note = Note::parse(&format!("text\n\n{wrong}\n")).unwrap();
    assert!(note.cosign(&county));
    assert_eq!(note, Note::sign("text\n", &[&county]).unwrap());
}

#[test]
fn names_that_a_note_cannot_carry_make_no_key() {
    for name in ["", "a b", "a+b", "a\u{a0}b", "a\nb", "a\u{2003}b", "a\u{1}b"] {
        assert_eq!(SigningKey::generate(name).unwrap_err(), KeyError::Name { name: name.to_owned() });
    }
}

#[test]
fn a_key_under_which_anyone_can_sign_is_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut order_two = [0xff; 32];
    (order_two[0], order_two[31]) = (0xec, 0x7f);
    for public in [[0; 32], identity, order_two] {
        assert_eq!(VerifierKey::new("weak.example/member", public), Err(KeyError::Weak));
    }
    assert!(VerifierKey::new("sound.example/member", *key("k", 7).verifier().public()).is_ok());
}

#[test]
fn verifier_keys_order_and_compare_by_all_they_hold() {
    let (a, b) = (key("a", 1).verifier(), key("b", 1).verifier());
    assert!(a < b && a != b && a == a.to_string().parse().unwrap());
    assert_ne!(a.id(), b.id(), "the id depends on the name");
    assert_eq!(serde_json::from_str::<VerifierKey>(&serde_json::to_string(&a).unwrap()).unwrap(), a);
    assert!(serde_json::from_str::<VerifierKey>("\"a+00000000+AQ==\"").is_err());
}

#[test]
fn keys_of_other_kinds_and_versions_are_told_apart() {
    let text = key("county.example/log/main", 1).to_text();
    let newer = text.replace("key/v1", "key/v2");
    let error = SigningKey::parse(&newer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key file has format `drawbridge.key/v2`, which is newer than this program; it reads `drawbridge.key/v1`: install a newer Drawbridge"
    );
    assert_eq!(SigningKey::parse("-----BEGIN PRIVATE KEY-----\nMII\n").unwrap_err(), KeyError::NotSigning);
    assert_eq!(SigningKey::parse(&text.replace("+AQ", "+BA")).unwrap_err(), KeyError::Algorithm { algorithm: 4 });
    assert!(matches!(SigningKey::parse(&text.replace("log/main", "log/mein")).unwrap_err(), KeyError::Id { .. }));
    assert_eq!(
        SigningKey::parse(&text.replace('\n', "\r\n")).unwrap().verifier(),
        key("county.example/log/main", 1).verifier()
    );
    let verifier = key("a", 1).verifier().to_string();
    assert_eq!(
        verifier.replace("+A", "+B").parse::<VerifierKey>().unwrap_err(),
        KeyError::Algorithm { algorithm: 0x05 }
    );
    assert_eq!("a+0000000G+AQ==".parse::<VerifierKey>().unwrap_err(), KeyError::NotVerifier);
}

#[test]
fn nothing_that_is_printed_holds_the_seed() {
    let key = key("county.example/log/main", 42);
    let text = key.to_text();
    let secret = text.trim_end().rsplit('+').next().unwrap();
    assert!(!format!("{key:?}").contains(secret));
    let broken = text.replace("PRIVATE+KEY+", "PRIVATE+KEY");
    let error = SigningKey::parse(&broken).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn a_key_file_is_the_owners_alone_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.key");
    let key = key("county.example/log/main", 1);
    key.write_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SigningKey::read_file(&path).unwrap().verifier(), key.verifier());
    assert!(matches!(key.write_file(&path), Err(KeyFileError::Exists { .. })));

    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = SigningKey::read_file(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "others can use the private key `{0}` (mode {mode:03o}): run `chmod 600 {0}`, and if they may have read it, make a new one",
                path.display()
            )
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(SigningKey::read_file(&path).is_ok());
}

#[test]
fn what_is_not_a_key_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.key");
    assert!(matches!(SigningKey::read_file(&path), Err(KeyFileError::Io { .. })));
    for bytes in [&b"hello\n"[..], b"\xff\xfe", &[b'a'; 5000]] {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(SigningKey::read_file(&path), Err(KeyFileError::Key { source: KeyError::NotSigning, .. })));
    }
}
