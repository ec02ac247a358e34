use insta::assert_snapshot;
use note::VerifierKey;

use super::*;
use crate::EndNote;
use crate::testing::{at, both_sign, key, key_number, keys, member, now, parse, signed, text, told};

fn nobody(_: &MemberId) -> Vec<VerifierKey> {
    Vec::new()
}

#[test]
fn an_agreement_goes_from_draft_to_signed_by_both() {
    let mut file = parse(&text());
    let state = |file: &AgreementFile| {
        let signatures = file.signatures(&keys).unwrap();
        (file.signed(&keys).unwrap().is_some(), file.state(signatures, &[], now()).to_string())
    };
    assert_eq!(state(&file), (false, "draft, not signed".to_owned()));
    assert_eq!(file.to_string(), text());

    assert_eq!(file.sign(&key("council.example")).unwrap(), member("council.example"));
    assert_eq!(state(&file), (false, "signed by council.example, not yet by trust.example".to_owned()));

    let mut file = AgreementFile::parse("agreement.note", &file.to_string()).unwrap();
    assert_eq!(file.sign(&key("trust.example")).unwrap(), member("trust.example"));
    assert_eq!(state(&file), (true, "in force until 2027-11-01 00:00 UTC".to_owned()));
    assert!(file.to_string().starts_with(&text()));
}

#[test]
fn the_state_follows_the_time_and_end_notes() {
    let file = both_sign(&text());
    let signatures = file.signatures(&keys).unwrap();
    let end = EndNote::sign(file.agreement(), &key("trust.example"), now(), Some("no longer needed"))
        .unwrap()
        .verified(&keys)
        .unwrap();
    let cases = [
        ("2026-10-31T23:59:59Z", "signed, in force from 2026-11-01 00:00 UTC"),
        ("2026-11-01T00:00:00Z", "in force until 2027-11-01 00:00 UTC"),
        ("2027-10-31T23:59:59Z", "in force until 2027-11-01 00:00 UTC"),
        ("2027-11-01T00:00:00Z", "expired at 2027-11-01 00:00 UTC"),
    ];
    for (time, expected) in cases {
        assert_eq!(file.state(signatures, &[], at(time)).to_string(), expected, "{time}");
    }
    let ended = file.state(signatures, &[end], at("2026-10-01T00:00:00Z"));
    assert_eq!(ended.to_string(), "ended by trust.example at 2027-01-15 12:00 UTC: no longer needed");
}

#[test]
fn only_the_member_keys_of_the_two_sign() {
    let mut file = parse(&text());
    let wrong = [key("police.example"), SigningKey::generate("council.example/gateway/main").unwrap()];
    let told: Vec<String> = wrong.iter().map(|key| file.sign(key).unwrap_err().to_string()).collect();
    assert_snapshot!(told.join("\n"));
    assert_eq!(file.signatures(&keys).unwrap(), Signatures::default());
}

#[test]
fn a_former_key_keeps_an_agreement_valid() {
    let file = both_sign(&text());
    let rotated = |member: &MemberId| vec![key_number(member.as_str(), 2).verifier(), key(member.as_str()).verifier()];
    assert!(file.signed(&rotated).unwrap().is_some());
}

#[test]
fn one_member_never_signs_for_another() {
    // Both signatures are the consumer's, the second in the provider's name.
    let mut file = parse(&text());
    file.sign(&key("council.example")).unwrap();
    let impostor = key_number("trust.example", 9);
    file.sign(&impostor).unwrap();
    // Even a directory that mixes members up does not help.
    let mixed = |_: &MemberId| vec![key("council.example").verifier()];
    assert!(file.signed(&keys).is_err());
    assert!(file.signed(&mixed).is_err());
}

#[test]
fn problems_of_signatures_are_told() {
    let file = both_sign(&text());
    let changed = AgreementFile::parse("changed.note", &file.to_string().replace("6 years", "7 years")).unwrap();
    let other_key = |member: &MemberId| vec![key_number(member.as_str(), 2).verifier()];
    let cases = [
        ("text changed", changed.signatures(&keys).unwrap_err()),
        ("nobody is known", file.signatures(&nobody).unwrap_err()),
        ("other keys are known", file.signatures(&other_key).unwrap_err()),
        (
            "a signature line is damaged",
            AgreementFile::parse(
                "damaged.note",
                &file.to_string().replace("trust.example/member ", "trust.example/member !"),
            )
            .unwrap_err(),
        ),
        ("a tab", AgreementFile::parse("tab.toml", &text().replace("retention = ", "retention\t= ")).unwrap_err()),
        ("carriage returns", AgreementFile::parse("windows.toml", &text().replace('\n', "\r\n")).unwrap_err()),
        ("no TOML", AgreementFile::parse("empty.toml", "format =\n").unwrap_err()),
    ];
    let told: Vec<String> = cases.iter().map(|(name, problems)| format!("## {name}\n{}\n", told(problems))).collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn unknown_signatures_are_kept_and_change_nothing() {
    let mut note = Note::parse(&both_sign(&text()).to_string()).unwrap();
    note.cosign(&key("police.example"));
    let file = AgreementFile::parse("agreement.note", &note.to_string()).unwrap();
    assert!(file.signed(&keys).unwrap().is_some());
    assert_eq!(file.to_string(), note.to_string());
}

#[test]
fn a_signed_agreement_is_the_text_that_was_signed() {
    let agreement = signed(&text());
    assert_eq!(agreement.agreement().text(), text());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn one_changed_byte_of_the_text_is_never_accepted(place in 0_usize..1500, byte in 0x20_u8..0x7f) {
        let mut bytes = both_sign(&text()).to_string().into_bytes();
        let length = text().len();
        let place = place % length;
        proptest::prop_assume!(bytes[place] != byte && bytes[place] != b'\n');
        bytes[place] = byte;
        let outcome = AgreementFile::parse("a.note", std::str::from_utf8(&bytes).unwrap()).and_then(|file| file.signed(&keys));
        proptest::prop_assert!(!matches!(outcome, Ok(Some(_))));
    }
}

/// Notes that were made once and are kept: what two members have signed stays valid in every later version.
#[test]
fn notes_of_earlier_versions_still_verify() {
    let note = include_str!("../../tests/golden/agreement.note");
    let file = AgreementFile::parse("agreement.note", note).unwrap();
    let agreement = file.signed(&keys).unwrap().unwrap();
    let agreement = agreement.agreement();
    assert_eq!(
        agreement.digest().to_string(),
        "sha256:acb49f7fb995ffca20ad8e41311352f257897f2dd725edbd4ed593fb3575d6e0"
    );
    assert_eq!((agreement.id(), agreement.grants().len()), ("council-trust-2026-1", 2));
    assert_eq!(file.to_string(), note);

    let end = EndNote::parse("end.note", include_str!("../../tests/golden/end.note")).unwrap().verified(&keys).unwrap();
    assert!(end.ends(agreement));
    assert_eq!(agreement.file_name(), "council-trust-2026-1-acb49f7f.note");
}
