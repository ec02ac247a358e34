//! What `check` finds, and how it tells it.

use crate::support::Place;

#[test]
fn several_problems_are_reported_at_once_with_place_and_cure() {
    let place = Place::with_two_members();
    let bindings = r#"
[database.housing]
url = "sqlite:missing.db"

[[binding]]
method = "housing.v1.Tenancies/Fnd"
connector = { kind = "sql", database = "housing", query = "SELECT 1 AS number" }

[[binding]]
method = "housing.v1.Tenancies/Find"
connector = { kind = "ldpa" }
"#;
    let settings = place
        .read("county/gateway.toml")
        .replace("[operations]\nlisten = \"127.0.0.1:0\"", "[operations]\nlisten = \"127.0.0.1:28443\"");
    place.write("county/gateway.toml", &format!("{settings}{bindings}"));
    place.write("county/agreements/broken.toml", "format = \"drawbridge.agreement/v1\"\nid = 7\n");
    let said = place.refuses(["check", "county/gateway.toml"]);
    insta::assert_snapshot!(said);
}

#[test]
fn a_type_error_is_shown_where_it_is() {
    let place = Place::with_two_members();
    place.change("county/gateway.toml", "# drain = \"30s\"", "drian = \"30s\"");
    let said = place.refuses(["check", "county/gateway.toml"]);
    assert!(
        said.contains("county/gateway.toml:")
            && said.contains("(limits.drian)")
            && said.contains("did you mean `drain`?"),
        "{said}"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    let place = Place::with_two_members();
    std::fs::set_permissions(place.path("county/keys/gateway.key"), Permissions::from_mode(0o640)).unwrap();
    for arguments in [["check", "--config", "county/gateway.toml"], ["run", "--config", "county/gateway.toml"]] {
        let said = place.refuses(arguments);
        assert!(said.contains("chmod 600") && said.contains("(keys.gateway)"), "{said}");
    }
}

#[test]
fn a_configuration_that_is_not_there_says_how_to_make_one() {
    let place = Place::new();
    let said = place.refuses(["check"]);
    insta::assert_snapshot!(said, @r"
    error: cannot read the configuration
     --> gateway.toml
      cause: No such file or directory (os error 2)
      = help: `drawbridge init` makes one
    ");
}

#[test]
fn the_environment_lies_over_the_file() {
    let place = Place::with_two_members();
    let ran = assert_cmd::cargo::cargo_bin_cmd!("drawbridge")
        .args(["check", "county/gateway.toml"])
        .current_dir(place.folder())
        .env("DRAWBRIDGE__KEYS__GATEWAY", "keys/none.key")
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8(ran.stderr).unwrap().contains("none.key"));
}

#[test]
fn what_would_hinder_the_start_is_told() {
    let place = Place::with_two_members();
    let config = place.read("county/gateway.toml");
    let refused = |from: &str, to: &str, told: &[&str]| {
        place.write("county/gateway.toml", &config);
        place.change("county/gateway.toml", from, to);
        let said = place.refuses(["check", "county/gateway.toml"]);
        for part in told {
            assert!(said.contains(part), "{to}: {part}: {said}");
        }
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let clients = "[clients]\nlisten = \"127.0.0.1:0\"";
    let listen = format!("[clients]\nlisten = \"{address}\"");
    refused(clients, &listen, &["(clients.listen)", "cannot listen on", "in use", "ss -ltnp"]);
    let said = place.refuses(["run", "--config", "county/gateway.toml"]);
    assert!(said.contains("(`clients.listen`)") && said.contains("help: `ss -ltnp` shows"), "{said}");
    let folder = "# folder = \"data\"";
    refused(folder, "folder = \"/proc/x\"", &["(data.folder)", "cannot be made by", "install -d -m 0700"]);
    let said = place.refuses(["run", "--config", "county/gateway.toml"]);
    assert!(said.contains("may write into `/proc/x`") && said.contains("`drawbridge check`"), "{said}");
    refused(folder, "folder = \"/proc\"", &["(data.folder)", "cannot be written by"]);
    refused(folder, "folder = \"gateway.toml\"", &["(data.folder)", "is not a folder"]);
    refused("# exchanges = 4096", "exchanges = 0", &["0 is too small", "from 1 to 1000000"]);
    refused("# message = \"4MiB\"", "message = \"400GiB\"", &["too large", "\"1GiB\""]);
    refused("# keep = \"24h\"", "keep = \"1000y\"", &["(commands.keep)", "too large"]);
    for wrong in ["inof", "info,drawbridge_link=debgu", "drawbridge_link"] {
        refused(
            "# level = \"info\"",
            &format!("level = \"{wrong}\""),
            &["(log.level)", "gateway.toml:", "`off`, `error`, `warn`"],
        );
        let said = place.refuses(["run", "--config", "county/gateway.toml"]);
        assert!(said.contains("(log.level)"), "{said}");
    }
    // What lies over the file is named instead of a place in it.
    place.write("county/gateway.toml", &config);
    let output = assert_cmd::cargo::cargo_bin_cmd!("drawbridge")
        .args(["check", "county/gateway.toml"])
        .current_dir(place.folder())
        .env("DRAWBRIDGE__LOG__LEVEL", "inof")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("`DRAWBRIDGE__LOG__LEVEL`") && said.contains("did you mean `info`"),
        "{said}"
    );
    place.does(["check", "county/gateway.toml"]);
}

#[test]
fn ports_that_cannot_be_listened_on_at_once_are_told() {
    let place = Place::with_two_members();
    let config = place.read("county/gateway.toml");
    for (links, clients) in [
        ("127.0.0.1:28443", "127.0.0.1:28443"),
        ("0.0.0.0:28443", "127.0.0.1:28443"),
        ("127.0.0.1:28443", "[::]:28443"),
    ] {
        place.write("county/gateway.toml", &config);
        let listen = |address: &str| format!("listen = \"{address}\"");
        place.change("county/gateway.toml", &listen("127.0.0.1:28443"), &listen(links));
        place.change(
            "county/gateway.toml",
            "[clients]\nlisten = \"127.0.0.1:0\"",
            &format!("[clients]\n{}", listen(clients)),
        );
        let said = place.refuses(["check", "county/gateway.toml"]);
        assert!(said.contains("(clients.listen)") && said.contains("`links.listen`"), "{links}, {clients}: {said}");
    }
}

#[test]
fn a_command_that_streams_is_warned_of_where_it_is_bound() {
    let place = Place::with_two_members();
    let import = "service Tenancies {\n  rpc Import(stream FindTenancyRequest) returns (Tenancy) {\n    option \
                  (drawbridge.options.v1.method) = { kind: KIND_COMMAND };\n  }\n";
    place.change("county/proto/housing/v1/tenancies.proto", "service Tenancies {\n", import);
    let bindings: String = ["Import", "Find"]
        .map(|method| {
            format!(
                "\n[[binding]]\nmethod = \"housing.v1.Tenancies/{method}\"\n\
                 connector = {{ kind = \"grpc\", address = \"http://127.0.0.1:9\", dangerous_plaintext = true }}\n"
            )
        })
        .concat();
    let config = place.read("county/gateway.toml");
    place.write("county/gateway.toml", &format!("{config}{bindings}"));
    let ran = place.run(["check", "county/gateway.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told = "the binding of `housing.v1.Tenancies/Import`: it is a command that streams its request or its answer \
                (`housing/v1/tenancies.proto`), which no gateway carries";
    assert!(ran.err.contains(told) && !ran.err.contains("Tenancies/Find"), "{}", ran.err);
}

#[test]
fn a_file_that_is_no_text_is_told_as_such() {
    let place = Place::with_two_members();
    let text = place.read("county/gateway.toml");
    std::fs::write(place.path("county/gateway.toml"), [text.as_bytes(), b"# caf\xe9\n"].concat()).unwrap();
    let said = place.refuses(["check", "county/gateway.toml"]);
    assert!(said.contains("not UTF-8") && said.contains("iconv") && !said.contains("init"), "{said}");
    assert!(said.contains(&format!("gateway.toml:{}:6", text.lines().count() + 1)), "{said}");
    let said = place.refuses(["check", "none.toml"]);
    assert!(said.contains("`drawbridge init` makes one"), "{said}");
}
