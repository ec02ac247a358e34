use insta::assert_snapshot;

use super::*;
use crate::EndNote;
use crate::testing::{both_sign, contracts, key, keys, newer_contracts, now, parse, text};

fn summary(file: &AgreementFile, contracts: &Contracts) -> String {
    Summary::of(file, file.signatures(&keys).unwrap(), &[], contracts, now()).to_string()
}

#[test]
fn a_signed_agreement_is_summed_up() {
    assert_snapshot!(summary(&both_sign(&text()), &contracts()));
}

#[test]
fn a_draft_against_another_contract_is_summed_up() {
    assert_snapshot!(summary(&parse(&text()), &newer_contracts()));
}

#[test]
fn a_summary_without_contracts_names_what_the_text_names() {
    let none = Contracts::load(&[]).unwrap();
    let text = summary(&parse(&text()), &none);
    assert!(text.contains("which is not loaded") && text.contains("NOT SERVED   no loaded contract has the service"));
    assert!(text.contains("  fields       id, name.family, addresses.postcode"));
    assert!(text.contains("  fields       all official fields"));
}

#[test]
fn an_ended_agreement_says_who_ended_it() {
    let file = both_sign(&text());
    let end = EndNote::sign(file.agreement(), &key("council.example"), now(), Some("merged"))
        .unwrap()
        .verified(&keys)
        .unwrap();
    let summary = Summary::of(&file, file.signatures(&keys).unwrap(), &[end], &contracts(), now());
    assert!(summary.to_string().contains("state        ended by council.example at 2027-01-15 12:00 UTC: merged"));
}

#[test]
fn a_long_list_is_wrapped_under_its_beginning() {
    struct List(Vec<String>);
    impl fmt::Display for List {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            wrapped(f, "released", &self.0)
        }
    }
    let list = List((0..40).map(|n| format!("field_{n}")).collect()).to_string();
    assert!(list.lines().count() > 2);
    assert!(list.lines().all(|line| line.chars().count() <= 102));
    assert!(list.lines().skip(1).all(|line| line.starts_with("               field_")));
    assert_eq!(List(Vec::new()).to_string(), "");
}
