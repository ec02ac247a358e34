//! Agreements, from a draft through two signatures to an end note.

use crate::support::Place;

/// How the one that asks signs the draft, and then the other what the one has signed.
const COUNTY_SIGNS: [&str; 7] = signs("draft.toml", "county/offline/member.key", "county/gateway.toml");
const TRUST_SIGNS: [&str; 7] = signs("draft.note", "trust/offline/member.key", "trust/gateway.toml");

const fn signs<'a>(file: &'a str, key: &'a str, config: &'a str) -> [&'a str; 7] {
    ["agreement", "sign", file, "--key", key, "--config", config]
}

/// A place with a draft of what county.example may ask trust.example.
fn drafted() -> Place {
    let place = Place::with_two_members();
    let draft =
        ["agreement", "new", "--config", "county/gateway.toml", "--provider", "trust.example", "--id", "tenancies"];
    let what =
        ["--service", "housing.v1.Tenancies", "--system", "housing", "--purpose", "allocation", "-o", "draft.toml"];
    place.does(draft.iter().chain(&what));
    place
}

/// Fills in what people have to decide.
fn fill_in(place: &Place) {
    place.change("draft.toml", "legal_basis = \"\"", "legal_basis = \"Housing Act 1996, part 6\"");
    let text: Vec<String> = place
        .read("draft.toml")
        .lines()
        .map(|line| {
            if line.starts_with("valid_from") {
                "valid_from = 2024-01-01T00:00:00Z".to_owned()
            } else {
                line.to_owned()
            }
        })
        .collect();
    place.write("draft.toml", &(text.join("\n") + "\n"));
}

fn signed() -> Place {
    let place = drafted();
    fill_in(&place);
    place.does(COUNTY_SIGNS);
    place.does(TRUST_SIGNS);
    for folder in ["county", "trust"] {
        std::fs::copy(place.path("draft.note"), place.path(&format!("{folder}/agreements/tenancies.note"))).unwrap();
    }
    place
}

#[test]
fn what_to_type_after_a_draft_names_the_same_configuration() {
    let place = Place::with_two_members();
    let draft = ["agreement", "new", "--config", "county/gateway.toml", "--provider", "trust.example"];
    let said = place.does(draft.iter().chain(&["--service", "housing.v1.Tenancies", "-o", "draft.toml"]));
    assert!(said.contains("`drawbridge agreement check draft.toml --config county/gateway.toml`"), "{said}");
}

#[test]
fn a_draft_is_refused_until_it_is_filled_in() {
    let place = drafted();
    let said = place.refuses(["agreement", "check", "draft.toml", "--config", "county/gateway.toml"]);
    assert!(said.contains("draft.toml:") && said.contains("legal_basis"), "{said}");
    let said = place.refuses(COUNTY_SIGNS);
    assert!(said.contains("legal_basis"), "{said}");
    assert!(!place.path("draft.note").exists());
    fill_in(&place);
    let said = place.does(["agreement", "check", "draft.toml", "--config", "county/gateway.toml"]);
    assert_eq!(said, "draft.toml: agreement tenancies, draft, not signed\n");
}

#[test]
fn both_sign_one_after_the_other_and_it_is_in_force() {
    let place = drafted();
    fill_in(&place);
    let said = place.does(COUNTY_SIGNS);
    assert!(
        said.contains("signed draft.note for county.example") && said.contains("trust.example has not signed yet"),
        "{said}"
    );
    let said = place.does(["agreement", "check", "draft.note", "--config", "trust/gateway.toml"]);
    assert!(said.contains("signed by county.example, not yet by trust.example"), "{said}");
    let said = place.does(TRUST_SIGNS);
    assert!(said.contains("county.example and trust.example have signed"), "{said}");
    std::fs::copy(place.path("draft.note"), place.path("county/agreements/tenancies.note")).unwrap();
    let shown = place.does(["agreement", "show", "tenancies", "--config", "county/gateway.toml"]);
    assert!(
        shown.contains("in force until") && shown.contains("county.example/housing may ask housing.v1.Tenancies"),
        "{shown}"
    );
    assert!(shown.contains("withheld   tenant"), "{shown}");
    let list = place.does(["agreement", "list", "--config", "county/gateway.toml"]);
    assert!(list.contains("tenancies") && list.contains("housing.v1.Tenancies/Find"), "{list}");
    let checked = place.does(["check", "--config", "county/gateway.toml"]);
    assert!(checked.contains("1 agreement in force"), "{checked}");
}

#[test]
fn what_is_agreed_and_answered_by_nothing_is_warned_of() {
    let place = signed();
    let ran = place.run(["check", "--config", "trust/gateway.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let expected = "the agreement `tenancies` lets `county.example` ask `housing.v1.Tenancies/Find`, which no binding answers here";
    assert!(ran.err.contains(expected), "{}", ran.err);
    assert_eq!(place.run(["check", "--config", "county/gateway.toml"]).err, "");
}

#[test]
fn either_member_ends_it_with_its_own_key() {
    for (by, key) in [("county.example", "county/offline/member.key"), ("trust.example", "trust/offline/member.key")] {
        let place = signed();
        let end = ["agreement", "end", "tenancies", "--config", "county/gateway.toml", "--key", key];
        let said = place.does(end.iter().chain(&["--reason", "the houses are sold"]));
        assert!(said.contains("ended tenancies: wrote county/agreements/end-"), "{said}");
        let shown = place.does(["agreement", "show", "tenancies", "--config", "county/gateway.toml"]);
        assert!(shown.contains(&format!("ended by {by}")) && shown.contains("the houses are sold"), "{shown}");
        let again = place.does(end);
        assert!(again.contains("has been ended already"), "{again}");
        let checked = place.does(["check", "--config", "county/gateway.toml"]);
        assert!(checked.contains("no agreements in force"), "{checked}");
        // Where the agreement is named by its file, the end note lies beside it.
        place.does(["agreement", "end", "trust/agreements/tenancies.note", "--key", key]);
        let list = place.does(["agreement", "list", "--config", "trust/gateway.toml"]);
        assert!(list.contains(&format!("ended by {by}")), "{list}");
    }
}

#[test]
fn a_key_of_another_name_signs_and_ends_nothing() {
    let place = signed();
    place.does(["init", "--member", "other.example", "--development", "other"]);
    let before = place.read("draft.note");
    for key in ["other/offline/member.key", "county/keys/gateway.key"] {
        let said = place.refuses(signs("draft.note", key, "county/gateway.toml"));
        assert!(said.contains("is not a member key of this agreement"), "{said}");
        let said = place.refuses(["agreement", "end", "tenancies", "--key", key, "--config", "county/gateway.toml"]);
        assert!(said.contains("is not a member key of this agreement"), "{said}");
    }
    assert_eq!(place.read("draft.note"), before);
}

#[test]
fn a_key_that_the_directory_does_not_list_signs_nothing() {
    let place = drafted();
    fill_in(&place);
    place.does(["key", "new", "member", "--config", "county/gateway.toml", "-o", "unlisted.key"]);
    let said = place.refuses(signs("draft.toml", "unlisted.key", "county/gateway.toml"));
    assert!(said.contains("is not the member key that the directory lists for `county.example`"), "{said}");
    let said =
        place.refuses(["agreement", "end", "draft.toml", "--key", "unlisted.key", "--config", "county/gateway.toml"]);
    assert!(said.contains("directory does not list"), "{said}");
}

#[test]
fn a_key_that_others_can_read_signs_nothing() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    let place = drafted();
    fill_in(&place);
    std::fs::set_permissions(place.path("county/offline/member.key"), Permissions::from_mode(0o640)).unwrap();
    let said = place.refuses(COUNTY_SIGNS);
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn a_text_that_was_changed_after_signing_is_found() {
    let place = signed();
    place.change("county/agreements/tenancies.note", "Housing Act 1996", "Housing Act 1997");
    let said =
        place.refuses(["agreement", "check", "county/agreements/tenancies.note", "--config", "county/gateway.toml"]);
    assert!(said.contains("does not fit the text"), "{said}");
    let ran = place.run(["agreement", "list", "--config", "county/gateway.toml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("does not fit the text"), "{}", ran.err);
}

#[test]
fn a_contract_that_changed_since_is_named() {
    let place = signed();
    place.change("county/proto/housing/v1/tenancies.proto", "string tenant = 2", "string tenants = 2");
    let said =
        place.refuses(["agreement", "check", "county/agreements/tenancies.note", "--config", "county/gateway.toml"]);
    assert!(said.contains("digest"), "{said}");
}

#[test]
fn files_that_are_there_are_not_overwritten() {
    let place = drafted();
    let before = place.read("draft.toml");
    let arguments = [
        "agreement",
        "new",
        "--config",
        "county/gateway.toml",
        "--provider",
        "trust.example",
        "--service",
        "housing.v1.Tenancies",
    ];
    place.refuses(arguments.iter().chain(&["-o", "draft.toml"]));
    assert_eq!(place.read("draft.toml"), before);
    fill_in(&place);
    place.write("draft.note", "something else");
    place.refuses(COUNTY_SIGNS);
    assert_eq!(place.read("draft.note"), "something else");
}

#[test]
fn what_no_contract_has_is_not_agreed_on() {
    let place = Place::with_two_members();
    let new = ["agreement", "new", "--config", "county/gateway.toml", "--provider", "trust.example"];
    let said =
        place.refuses(new.iter().chain(&["--service", "housing.v1.Tenancis", "--method", "housing.v1.Tenancies/Fnd"]));
    assert!(
        said.contains("did you mean `housing.v1.Tenancies`?")
            && said.contains("did you mean `housing.v1.Tenancies/Find`?"),
        "{said}"
    );
    place.misuses(new);
    place.misuses(["agreement", "new", "--config", "county/gateway.toml", "--service", "housing.v1.Tenancies"]);
}
