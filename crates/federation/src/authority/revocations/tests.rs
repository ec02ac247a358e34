use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::authority::{Authority, Flavour, LIST_VALIDITY};
use crate::time::moment;
use crate::trust::RevocationList;

fn member() -> MemberId {
    "county.example".parse().unwrap()
}

fn parse(text: &str) -> Result<Revocations, Vec<Problem>> {
    Revocations::parse(&TomlFile::parse("revocations.toml", text).unwrap())
}

fn filled() -> Revocations {
    let mut revocations = Revocations::new(member());
    let identity = "spiffe://county.example/system/housing".parse().unwrap();
    assert_eq!(revocations.revoke("00:0A:1b", Some(identity), Reason::KeyCompromise, moment(1_800_000_000)), Ok(true));
    assert_eq!(revocations.revoke("ff", None, Reason::Unspecified, moment(1_800_000_060)), Ok(true));
    revocations
}

#[test]
fn revocations_are_written_and_read_back() {
    let revocations = filled();
    assert_snapshot!(revocations.to_text());
    assert_eq!(parse(&revocations.to_text()).unwrap(), revocations);
    assert_eq!(revocations.all()[0].serial, "0a1b");
}

#[test]
fn a_certificate_is_taken_back_once() {
    let mut revocations = filled();
    let before = revocations.clone();
    assert_eq!(revocations.revoke("0a1b", None, Reason::Superseded, moment(1_900_000_000)), Ok(false));
    assert_eq!(revocations, before);
}

#[test]
fn what_is_not_a_serial_number_is_refused() {
    for text in ["", "0", "xyz", "0a 1b", &"ab".repeat(22)] {
        assert_eq!(filled().revoke(text, None, Reason::Superseded, moment(0)), Err(RevocationError::Serial), "{text}");
    }
}

#[test]
fn every_reason_has_one_word() {
    for reason in Reason::ALL {
        assert_eq!(reason.to_string().parse(), Ok(reason));
        let mut revocations = Revocations::new(member());
        revocations.revoke("01", None, reason, moment(1)).unwrap();
        assert_eq!(parse(&revocations.to_text()).unwrap().all()[0].reason, reason);
    }
    assert_eq!("lost".parse::<Reason>(), Err(RevocationError::Reason));
}

#[test]
fn each_list_has_a_number_of_its_own_and_all_revocations() {
    let authority = Authority::create(&member(), Flavour::Production, moment(1_800_000_000)).unwrap();
    let mut revocations = filled();
    let mut lists = Vec::new();
    for _ in 0..2 {
        let pem = authority.revocation_list(&mut revocations, moment(1_800_000_000), LIST_VALIDITY).unwrap();
        lists.extend(RevocationList::parse_all(&member(), "county.example.crl.pem", &pem).unwrap());
    }
    assert!(revocations.to_text().contains("number = 2"));
    assert_eq!(lists.iter().map(RevocationList::revoked).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(lists[0].ends(), Some(moment(1_800_000_000) + LIST_VALIDITY));
}

#[test]
fn each_problem_is_told_with_its_place() {
    let good = filled().to_text();
    let all = good
        .replace("member = \"county.example\"", "member = \"county\"")
        .replace("serial = \"ff\"", "serial = \"zz\"")
        .replace("at = 2027-01-15T08:00:00Z", "at = 2027-01-15")
        .replace("/system/", "/workload/");
    assert_snapshot!(Problem::render_all(&parse(&all).unwrap_err(), false));
    assert!(parse(&good.replace("superseded", "lost").replace("key-compromise", "lost")).is_err());
    assert!(parse(&good.replace("/v1", "/v2")).unwrap_err()[0].what.contains("newer"));
}

proptest! {
    #[test]
    fn any_serial_number_comes_back(bytes in proptest::collection::vec(any::<u8>(), 1..20)) {
        let mut revocations = Revocations::new(member());
        revocations.revoke(&hex::encode(&bytes), None, Reason::Superseded, moment(5)).unwrap();
        prop_assert_eq!(parse(&revocations.to_text()).unwrap(), revocations);
    }
}
