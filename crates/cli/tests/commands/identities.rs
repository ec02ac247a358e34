//! Directory, entries, certificates and keys.

use crate::support::Place;

#[test]
fn members_are_added_shown_and_removed() {
    let place = Place::with_two_members();
    let list = place.does(["directory", "show", "--directory", "county/directory.note"]);
    assert!(list.contains("county.example") && list.contains("trust.example"), "{list}");
    let one = place.does(["directory", "show", "--config", "county/gateway.toml", "trust.example"]);
    assert!(one.contains("main") && one.contains("127.0.0.1:28444"), "{one}");
    let again = place.does(["directory", "add", "--config", "county/gateway.toml", "trust/entry.note"]);
    assert_eq!(again, "trust.example: version 1 is there already\n");
    place.does(["directory", "remove", "--config", "county/gateway.toml", "trust.example"]);
    let said = place.refuses(["directory", "show", "--config", "county/gateway.toml", "trust.example"]);
    assert!(said.contains("has no member `trust.example`"), "{said}");
}

#[test]
fn a_forged_or_foreign_entry_is_refused_and_changes_nothing() {
    let place = Place::with_two_members();
    let before = place.read("county/directory.note");
    place.change("trust/entry.note", "127.0.0.1:28444", "127.0.0.1:28445");
    place.refuses(["directory", "add", "--config", "county/gateway.toml", "trust/entry.note"]);
    // Somebody else who calls himself trust.example.
    place.does(["init", "--member", "trust.example", "--development", "stranger"]);
    let said = place.refuses(["directory", "add", "--config", "county/gateway.toml", "stranger/entry.note"]);
    assert!(said.contains("two different entries of `trust.example`"), "{said}");
    place.refuses(["directory", "add", "--config", "county/gateway.toml", "county/gateway.toml"]);
    assert_eq!(place.read("county/directory.note"), before);
}

#[test]
fn an_entry_is_renewed_and_taken_by_others() {
    let place = Place::with_two_members();
    let sign = ["entry", "sign", "--config", "trust/gateway.toml", "--key", "trust/offline/member.key"];
    let said = place.does(sign.iter().chain(&["--address", "gw.trust.example:8443", "--name", "An NHS trust"]));
    assert!(said.contains("version 2"), "{said}");
    let taken = place.does(["directory", "add", "--config", "county/gateway.toml", "trust/entry.note"]);
    assert_eq!(taken, "trust.example: version 2 in the place of version 1, signed by the key known so far\n");
    let shown = place.does(["entry", "show", "trust/entry.note"]);
    assert!(shown.contains("An NHS trust") && shown.contains("gw.trust.example:8443"), "{shown}");
    place.does(["check", "--config", "trust/gateway.toml"]);
}

#[test]
fn keys_are_rotated_without_breaking_what_was_signed() {
    let place = Place::with_two_members();
    // The gateway key.
    place.does(["key", "new", "gateway", "--config", "trust/gateway.toml", "--output", "trust/new.key"]);
    std::fs::rename(place.path("trust/new.key"), place.path("trust/keys/gateway.key")).unwrap();
    let said = place.refuses(["check", "--config", "trust/gateway.toml"]);
    assert!(said.contains("(keys.gateway)"), "{said}");
    place.does(["entry", "sign", "--config", "trust/gateway.toml", "--key", "trust/offline/member.key"]);
    place.does(["check", "--config", "trust/gateway.toml"]);
    let shown = place.does(["entry", "show", "trust/entry.note"]);
    assert_eq!(shown.matches("trust.example/gateway/main+").count(), 2, "{shown}");
    // The member key.
    place.does(["key", "new", "member", "--config", "trust/gateway.toml", "-o", "trust/offline/member2.key"]);
    let sign = ["entry", "sign", "--config", "trust/gateway.toml", "--key", "trust/offline/member2.key"];
    let said = place.misuses(sign);
    assert!(said.contains("--former-key"), "{said}");
    place.does(sign.iter().chain(&["--former-key", "trust/offline/member.key"]));
    let taken = place.does(["directory", "add", "--config", "county/gateway.toml", "trust/entry.note"]);
    assert!(taken.contains("version 3 in the place of version 1"), "{taken}");
    let said =
        place.refuses(["key", "new", "member", "--config", "trust/gateway.toml", "-o", "trust/offline/member2.key"]);
    assert!(said.contains("never overwritten"), "{said}");
    let vkey = place.does(["key", "show", "trust/offline/member2.key"]);
    assert!(
        vkey.starts_with("trust.example/member+") && place.read("trust/entry.note").contains(vkey.trim()),
        "{vkey}"
    );
}

#[test]
fn certificates_are_issued_listed_and_taken_back() {
    let place = Place::with_two_members();
    let said = place.does(["certificate", "system", "revenues", "--config", "county/gateway.toml"]);
    assert!(said.contains("spiffe://county.example/system/revenues"), "{said}");
    let said = place.does(["certificate", "gateway", "--config", "county/gateway.toml"]);
    assert!(said.contains("the one before stays good until"), "{said}");
    place.does(["check", "--config", "county/gateway.toml"]);
    let said = place.does([
        "certificate",
        "revoke",
        "county/tls/systems/revenues.pem",
        "--reason",
        "key-compromise",
        "--config",
        "county/gateway.toml",
    ]);
    assert!(said.contains("spiffe://county.example/system/revenues: key-compromise"), "{said}");
    let list = place.does(["certificate", "list", "--config", "county/gateway.toml"]);
    let revoked = list.lines().find(|line| line.contains("/system/revenues")).unwrap();
    assert!(revoked.contains("revoked") && revoked.contains("key-compromise"), "{list}");
    assert!(list.lines().any(|line| line.contains("/system/housing") && !line.contains("revoked")), "{list}");
    // What was taken back does not stay good.
    let said = place.does(["certificate", "system", "revenues", "--config", "county/gateway.toml"]);
    assert!(said.contains("is revoked") && !said.contains("stays good"), "{said}");
    // A number that no authority gives is a slip of the pen; one of a certificate that lies elsewhere may be right.
    let revoke = |serial: &str| place.run(["certificate", "revoke", serial, "--config", "county/gateway.toml"]);
    for wrong in ["00", "revenues.pem", "4g"] {
        let ran = revoke(wrong);
        assert!(ran.code == 1 && ran.err.contains("neither a file nor the serial number"), "{wrong}: {}", ran.err);
    }
    let ran = revoke(&"4a:".repeat(16));
    assert!(ran.code == 0 && ran.err.contains("no certificate that lies beside"), "{}", ran.err);
    let housing = list.lines().find(|line| line.contains("/system/housing")).unwrap();
    let ran = revoke(&housing.split_whitespace().nth(1).unwrap().to_uppercase());
    assert!(ran.out.contains("spiffe://county.example/system/housing") && ran.err.is_empty(), "{}{}", ran.out, ran.err);
    assert!(place.read("county/revocation/county.example.crl.pem").starts_with("-----BEGIN X509 CRL-----"));
    // Others can take the list.
    std::fs::copy(
        place.path("county/revocation/county.example.crl.pem"),
        place.path("trust/revocation/county.example.crl.pem"),
    )
    .unwrap();
    place.does(["check", "--config", "trust/gateway.toml"]);
    // The gateway's own certificate, taken back, is found before anybody refuses it.
    place.does(["certificate", "revoke", "county/tls/gateway.pem", "--config", "county/gateway.toml"]);
    let said = place.refuses(["check", "--config", "county/gateway.toml"]);
    assert!(said.contains("(tls.certificate)"), "{said}");
}

#[test]
fn an_authority_that_is_away_is_asked_for() {
    let place = Place::with_two_members();
    std::fs::rename(place.path("county/offline"), place.path("medium")).unwrap();
    let said = place.refuses(["certificate", "gateway", "--config", "county/gateway.toml"]);
    assert!(said.contains("--authority"), "{said}");
    place.does(["certificate", "gateway", "--config", "county/gateway.toml", "--authority", "medium"]);
}

#[test]
fn public_files_can_be_read_by_all_and_keys_by_their_owner_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::with_two_members();
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    let program = assert_cmd::cargo::cargo_bin!("drawbridge");
    let closed = |arguments: &[&str]| {
        let script = "umask 077; exec \"$@\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, "sh"]).arg(program).args(arguments).current_dir(place.folder());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    closed(&["certificate", "gateway", "--config", "county/gateway.toml"]);
    closed(&["directory", "add", "--config", "county/gateway.toml", "trust/entry.note"]);
    closed(&["certificate", "system", "revenues", "--config", "county/gateway.toml"]);
    closed(&["certificate", "revoke", "county/tls/systems/revenues.pem", "--config", "county/gateway.toml"]);
    closed(&["entry", "sign", "--config", "county/gateway.toml", "--key", "county/offline/member.key"]);
    closed(&["init", "--member", "new.example", "--development", "deep/new"]);
    for public in [
        "county/tls/gateway.pem",
        "county/directory.note",
        "county/tls/systems/revenues.pem",
        "county/revocation/county.example.crl.pem",
        "county/entry.note",
        "deep/new/gateway.toml",
        "deep/new/tls/gateway.pem",
    ] {
        assert_eq!(mode(public), 0o644, "{public}");
    }
    for secret in ["county/tls/gateway.key.pem", "county/tls/systems/revenues.key.pem", "deep/new/keys/gateway.key"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    assert_eq!(
        [mode("deep"), mode("deep/new"), mode("deep/new/tls"), mode("deep/new/data")],
        [0o755, 0o755, 0o755, 0o700]
    );
}
