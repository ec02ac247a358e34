//! Versions of contracts, held against each other.

use serde_json::Value;

use crate::support::{CONTRACT, Place};

/// A place with the contract in `old`, and another version of it in `new`.
fn place(changed: &str) -> Place {
    let place = Place::new();
    place.write("old/housing/v1/tenancies.proto", CONTRACT);
    place.write("new/housing/v1/tenancies.proto", changed);
    place
}

/// Returns the line, from 1, that holds `text`.
fn line_of(contract: &str, text: &str) -> usize {
    contract.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn additions_are_compatible_and_are_listed_with_their_lines() {
    let later = CONTRACT.replace("\nmessage FindTenancyRequest {", "\nmessage FindTenancyRequest {\n  bool ended = 2;");
    let place = place(&later);
    let said = place.does(["contract", "diff", "old", "new"]);
    let line = line_of(&later, "bool ended");
    assert_eq!(
        said,
        format!(
            "housing.v1.Tenancies: compatible, with 1 addition\n  fits    `housing.v1.FindTenancyRequest.ended` is added: field 2, \
             implicit bool  (new/housing/v1/tenancies.proto:{line})\n"
        )
    );
    let json: Value = serde_json::from_str(&place.does(["contract", "diff", "--json", "old", "new"])).unwrap();
    assert_eq!(json["compatible"], true);
    let change = &json["services"][0]["changes"][0];
    assert_eq!((&change["breaks"], &change["line"], &change["version"]), (&false.into(), &line.into(), &"new".into()));
    // The other way round it is a removal.
    let back = place.run(["contract", "diff", "new", "old"]);
    assert_eq!(back.code, 1);
    assert!(back.out.contains("breaks  `housing.v1.FindTenancyRequest.ended` is removed"), "{}", back.out);
}

#[test]
fn what_breaks_is_named_and_is_the_exit_code() {
    let later = CONTRACT.replace("CLASSIFICATION_PERSONAL", "CLASSIFICATION_PUBLIC");
    let place = place(&later);
    let ran = place.run(["contract", "diff", "old", "new"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let told = "breaks  `housing.v1.Tenancy.tenant` has `(drawbridge.options.v1.field).classification` changed from \
                CLASSIFICATION_PERSONAL to CLASSIFICATION_PUBLIC";
    assert!(ran.out.contains(told), "{}", ran.out);
    let ran = place.run(["contract", "diff", "--json", "old", "new"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["compatible"]), (1, &false.into()));
    assert_ne!(json["services"][0]["old"], json["services"][0]["new"]);
}

#[test]
fn a_service_may_come_and_may_not_go() {
    let place = place(&CONTRACT.replace("service Tenancies", "service Leases"));
    let ran = place.run(["contract", "diff", "old", "new"]);
    let told = "housing.v1.Leases: a new service\nhousing.v1.Tenancies: NOT compatible: the service is removed\n";
    assert_eq!((ran.code, ran.out.as_str()), (1, told));
    assert_eq!(place.does(["contract", "diff", "old", "old"]), "housing.v1.Tenancies: the same\n");
}

#[test]
fn one_file_of_a_contract_is_no_contract() {
    let said = place(CONTRACT).misuses(["contract", "diff", "old", "new/housing/v1/tenancies.proto"]);
    assert!(said.contains("name the folder"), "{said}");
}
