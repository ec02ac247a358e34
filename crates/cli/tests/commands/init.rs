//! The folder of a member.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::Place;

#[test]
fn what_init_makes_can_be_run_at_once() {
    let place = Place::new();
    let said = place.does(["init", "--member", "county.example", "--address", "gw.county.example:8443", "county"]);
    assert!(said.contains("county/offline") && said.contains("drawbridge run --config county/gateway.toml"), "{said}");
    let checked = place.does(["check", "--config", "county/gateway.toml"]);
    assert_eq!(
        checked,
        "county/gateway.toml: county.example/main can start (1 member, no methods bound, no agreements in force)\n"
    );
    assert_eq!(place.does(["check", "--quiet", "county/gateway.toml"]), "");
}

#[test]
fn only_the_owner_reads_what_init_keeps_secret() {
    let place = Place::new();
    place.does(["init", "--member", "county.example", "--system", "housing", "county"]);
    for (name, mode) in [
        ("offline", 0o700),
        ("keys", 0o700),
        ("data", 0o700),
        ("offline/member.key", 0o600),
        ("offline/authority.key.pem", 0o600),
        ("keys/gateway.key", 0o600),
        ("keys/log.key", 0o600),
        ("tls/gateway.key.pem", 0o600),
        ("tls/systems/housing.key.pem", 0o600),
        ("entry.note", 0o644),
    ] {
        let found = std::fs::metadata(place.path(&format!("county/{name}"))).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name} has mode {found:o}");
    }
}

#[test]
fn what_comes_next_can_be_pasted_whatever_the_folder_is_called() {
    let place = Place::new();
    let said = place.does(["init", "--member", "county.example", "--development", "x 6"]);
    for command in ["directory add", "agreement new", "check", "run"] {
        assert!(said.contains(&format!("drawbridge {command} --config 'x 6/gateway.toml'")), "{command}: {said}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    place.does(["init", "--member", "county.example", "county"]);
    let key = place.read("county/offline/member.key");
    let said = place.refuses(["init", "--member", "county.example", "county"]);
    assert!(said.contains("nothing of it is overwritten: `gateway.toml`"), "{said}");
    assert_eq!(place.read("county/offline/member.key"), key);
    place.write("other/entry.note", "mine");
    place.refuses(["init", "--member", "county.example", "other"]);
    assert_eq!(place.read("other/entry.note"), "mine");
    assert!(!place.path("other/offline").exists());
}

#[test]
fn what_does_not_go_together_is_a_wrong_command_line() {
    let place = Place::new();
    for arguments in [
        vec!["init", "--member", "County", "county"],
        vec!["init", "--member", "county.example", "--gateway", "a/b", "county"],
        vec!["init", "--member", "county.example", "--system", "a b", "county"],
        vec!["init", "--member", "county.example", "--links", "0.0.0.0:8443", "county"],
        vec!["init", "county"],
    ] {
        place.misuses(arguments);
    }
    assert!(!place.path("county").exists());
}

#[test]
fn keys_for_development_are_refused_outside_of_it() {
    let place = Place::new();
    place.does(["init", "--member", "county.example", "--development", "county"]);
    place.does(["check", "county/gateway.toml"]);
    place.change("county/gateway.toml", "development = true", "development = false");
    let said = place.refuses(["check", "county/gateway.toml"]);
    assert!(said.contains("NOT FOR PRODUCTION"), "{said}");
}

#[test]
fn without_a_command_it_says_what_it_is() {
    let place = Place::new();
    let said = place.does::<&str>([]);
    assert!(said.starts_with("drawbridge: a gateway between your systems"), "{said}");
    assert!(place.does(["--version"]).starts_with("drawbridge "));
}
