use insta::assert_snapshot;

use super::*;
use crate::testing::{at, both_sign, key, key_number, keys, now, parse, text, told};

fn end_text(by: &str) -> String {
    EndNote::sign(parse(&text()).agreement(), &key(by), at("2027-01-15T12:00:00Z"), Some("the \"programme\" has ended"))
        .unwrap()
        .to_string()
}

#[test]
fn either_member_ends_an_agreement() {
    let agreement = both_sign(&text());
    for by in ["council.example", "trust.example"] {
        let note = EndNote::parse("end.note", &end_text(by)).unwrap();
        let end = note.verified(&keys).unwrap();
        assert!(end.ends(agreement.agreement()));
        assert_eq!(end.ended_by().as_str(), by);
        assert_eq!(end.ended_at(), now());
        assert_eq!(end.reason(), Some("the \"programme\" has ended"));
        assert_eq!(end.to_string(), note.to_string());
        assert_eq!(EndNote::parse("again.note", &end.to_string()).unwrap().verified(&keys).unwrap(), end);
    }
}

#[test]
fn an_end_note_is_as_it_was_agreed() {
    assert_snapshot!(end_text("council.example"));
}

#[test]
fn an_end_note_ends_one_text_and_no_other() {
    let end = EndNote::parse("end.note", &end_text("council.example")).unwrap().verified(&keys).unwrap();
    assert!(!end.ends(parse(&text().replace("6 years", "7 years")).agreement()));
}

#[test]
fn an_end_note_has_one_file_name_everywhere() {
    let name = |by: &str| EndNote::parse("x", &end_text(by)).unwrap().verified(&keys).unwrap().file_name();
    let (consumer, provider) = (name("council.example"), name("trust.example"));
    assert!(consumer.ends_with("-by-consumer.note") && provider.ends_with("-by-provider.note"));
    assert_eq!(consumer.strip_suffix("-by-consumer.note"), provider.strip_suffix("-by-provider.note"));
    assert!(consumer.len() < 64 && !consumer.contains(['/', '\\']));
}

#[test]
fn others_cannot_end_an_agreement() {
    let agreement = parse(&text());
    assert!(matches!(
        EndNote::sign(agreement.agreement(), &key("police.example"), now(), None),
        Err(SignError::NotAParty { .. })
    ));
    for reason in ["", "two\nlines", &"x".repeat(513)] {
        assert_eq!(
            EndNote::sign(agreement.agreement(), &key("trust.example"), now(), Some(reason)).unwrap_err(),
            SignError::Reason
        );
    }
}

#[test]
fn wrong_end_notes_are_refused_in_words() {
    let good = end_text("council.example");
    let forged = |text: &str| Note::sign(text, &[&key("police.example")]).unwrap().to_string();
    let unsigned = good.split("\n\n").next().unwrap().to_owned() + "\n";
    let refused = |text: &str| EndNote::parse("end.note", text).and_then(|note| note.verified(&keys)).unwrap_err();
    let cases = [
        ("not signed", refused(&unsigned)),
        ("too large", refused(&format!("{}{good}", "# \n".repeat(6000)))),
        ("hidden characters", refused(&forged(&unsigned.replace("the ", "the \u{200b}")))),
        ("signed by another member", refused(&forged(&unsigned))),
        ("another member ends it", refused(&forged(&unsigned.replace("ended_by = \"council", "ended_by = \"police")))),
        ("changed after signing", refused(&good.replace("programme", "project"))),
        (
            "everything wrong",
            refused(
                &good
                    .replace("trust.example\"", "Trust\"")
                    .replace("sha256:", "md5:")
                    .replace("12:00:00Z", "12:00:00")
                    .replace("the ", "\\n"),
            ),
        ),
        ("an unknown key", refused(&forged(&format!("{unsigned}scope = \"all\"\n")))),
        ("a newer format", refused(&forged(&unsigned.replace("end/v1", "end/v2")))),
        ("an agreement", refused(&both_sign(&text()).to_string())),
    ];
    let told: Vec<String> = cases.iter().map(|(name, problems)| format!("## {name}\n{}\n", told(problems))).collect();
    assert_snapshot!(told.join("\n"));
    let stranger = |member: &MemberId| vec![key_number(member.as_str(), 7).verifier()];
    assert!(EndNote::parse("end.note", &good).unwrap().verified(&stranger).is_err());
}
