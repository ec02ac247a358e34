//! What `drawbridge doctor` finds, and that each finding says what mends it.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, ports::free_ports, process::run};
use federation::authority::{Authority, Flavour};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the doctor found in a member's folder, and its exit code.
fn examine(folder: &Path) -> (Vec<Value>, i32) {
    let output = run(folder, ["doctor", "--config", "gateway.toml", "--json"]);
    let err = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!(report["format"], "drawbridge.doctor/v1");
    let findings = report["findings"].as_array().unwrap().clone();
    for finding in &findings {
        assert_eq!(finding["cure"].is_null(), finding["severity"] == "fine", "{finding}");
    }
    (findings, output.status.code().unwrap())
}

/// The one finding of a check that says `what`, of this severity.
fn found<'f>(findings: &'f [Value], severity: &str, check: &str, what: &str) -> &'f Value {
    let fits = |finding: &&Value| {
        finding["severity"] == severity && finding["check"] == check && finding["what"].as_str().unwrap().contains(what)
    };
    findings.iter().find(fits).unwrap_or_else(|| panic!("no {severity} of {check} says `{what}`: {findings:#?}"))
}

fn errors(findings: &[Value]) -> Vec<&Value> {
    findings.iter().filter(|finding| finding["severity"] == "error").collect()
}

#[tokio::test]
async fn two_gateways_that_run_are_in_order() {
    let federation = TestFederation::new().await.start();
    let (council, code) = examine(&federation.member(COUNCIL).folder);
    assert_eq!((errors(&council), code), (Vec::new(), 0));
    found(&council, "fine", "gateway", "and serves");
    for setting in ["links.listen", "clients.listen", "operations.listen"] {
        let port = council.iter().find(|finding| finding["where"] == setting).unwrap();
        assert!(port["what"].as_str().unwrap().contains("held by the running gateway"), "{port}");
    }
    let peer = found(&council, "fine", "peers", "reached in");
    assert!(peer["where"].as_str().unwrap().starts_with("trust.example/main (127.0.0.1:"), "{peer}");
    found(&council, "fine", "key exchange", "X25519MLKEM768");
    found(&council, "fine", "clock", "this machine's");
    found(&council, "fine", "certificates", "the certificate of `council.example/main` ends in 89 days");
    found(&council, "fine", "files", "only its owner can read the key");
    // The harness leaves the member's keys where a member should not.
    found(&council, "warning", "files", "the member's own keys lie on this machine");
    let (trust, code) = examine(&federation.member(TRUST).folder);
    assert_eq!((errors(&trust), code), (Vec::new(), 0));
    let answers: Vec<&str> = trust
        .iter()
        .filter(|finding| finding["check"] == "legacy system" && finding["what"] == "answers")
        .map(|finding| finding["where"].as_str().unwrap())
        .collect();
    assert_eq!(answers.len(), 4, "{trust:#?}");
    assert!(answers.contains(&"test.v1.Records/Find (sql)"), "{answers:?}");
    let table = run(&federation.member(TRUST).folder, ["doctor", "--config", "gateway.toml"]);
    let table = String::from_utf8_lossy(&table.stdout);
    assert!(table.contains("= help: ") && table.contains("no errors") && !table.contains("fine"), "{table}");
}

#[tokio::test]
async fn a_peer_that_does_not_run_is_an_error_to_whom_asks_and_a_warning_to_whom_is_asked() {
    let federation = TestFederation::new().await;
    let (findings, code) = examine(&federation.member(COUNCIL).folder);
    assert_eq!(code, 1);
    let peer = found(&findings, "error", "peers", "nothing listens at this address");
    assert!(peer["cure"].as_str().unwrap().contains("check address and port"), "{peer}");
    found(&findings, "fine", "ports", "is free; no gateway runs");
    let (findings, code) = examine(&federation.member(TRUST).folder);
    found(&findings, "warning", "peers", "nothing listens at this address");
    assert_eq!((errors(&findings), code), (Vec::new(), 0));
}

#[tokio::test]
async fn each_thing_that_is_wrong_on_this_machine_is_found_with_its_cure() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    let closed = free_ports::<2>();
    trust.reconfigure("[operations]", "[clients.unknown]\n[operations]");
    let (findings, code) = examine(&trust.folder);
    assert_eq!(code, 1);
    let unknown = found(&findings, "error", "configuration", "unknown");
    assert!(unknown["where"].as_str().unwrap().contains("gateway.toml:"), "{unknown}");
    // The rest is examined all the same.
    found(&findings, "fine", "gateway", "and serves");
    found(&findings, "fine", "peers", "reached in");
    found(&findings, "fine", "legacy system", "answers");
    trust.reconfigure("[clients.unknown]\n", "");
    // A key that others can read, a port that another holds, a back end that is not there, a method that nothing answers.
    fs::set_permissions(trust.folder.join("tls/gateway.key.pem"), Permissions::from_mode(0o644)).unwrap();
    let held = std::net::TcpListener::bind(closed[0]).unwrap();
    trust.reconfigure(&format!("listen = \"{}\"", trust.operations), &format!("listen = \"{}\"", closed[0]));
    trust.configure(&format!(
        "\n[[binding]]\nmethod = \"test.v1.Echo/Say\"\nconnector = {{ kind = \"grpc\", address = \"http://{}\", dangerous_plaintext = true }}\n",
        closed[1]
    ));
    trust.reconfigure("gateway = \"main\"", "gateway = \"main\"\ndevelopment = true");
    let (findings, code) = examine(&trust.folder);
    assert_eq!(code, 1);
    let key = found(&findings, "error", "files", "others can use the private key (mode 644)");
    assert!(key["cure"].as_str().unwrap().contains("chmod 600"), "{key}");
    let port = found(&findings, "warning", "ports", &format!("listens on {}, not on {}", trust.operations, closed[0]));
    assert_eq!(port["where"], "operations.listen");
    let legacy = found(&findings, "error", "legacy system", "cannot reach the legacy system");
    assert_eq!(legacy["where"], "test.v1.Echo/Say (grpc)");
    found(&findings, "warning", "configuration", "which no binding answers here");
    found(&findings, "warning", "configuration", "development mode");
    drop(held);
}

#[tokio::test]
async fn a_back_end_whose_certificate_is_not_trusted_is_told_with_what_names_its_authority() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    // A server whose certificate another authority issued: it stands in for a back end.
    let other = federation.member(COUNCIL).clients.port();
    trust.configure(&format!(
        "\n[[binding]]\nmethod = \"test.v1.Echo/Say\"\nconnector = {{ kind = \"grpc\", address = \"https://localhost:{other}\", ca = \"offline/authority.pem\" }}\n"
    ));
    let (findings, code) = examine(&trust.folder);
    let legacy = found(&findings, "error", "legacy system", "is not trusted: its certificate is not accepted");
    assert_eq!((legacy["where"].as_str(), code), (Some("test.v1.Echo/Say (grpc)"), 1));
    let cure = legacy["cure"].as_str().unwrap();
    assert!(cure.contains("the authority that issued its certificate as `ca`") && !cure.contains("runs"), "{cure}");
}

#[tokio::test]
async fn a_password_that_others_can_read_is_told_by_check_and_doctor() {
    let federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    fs::write(trust.folder.join("password"), "canary").unwrap();
    trust.configure("\n[database.other]\nurl = \"postgres://reader@127.0.0.1:1/none\"\npassword_file = \"password\"\n");
    for (mode, told) in [(0o644, true), (0o640, true), (0o600, false)] {
        fs::set_permissions(trust.folder.join("password"), Permissions::from_mode(mode)).unwrap();
        let (findings, _) = examine(&trust.folder);
        let found =
            findings.iter().find(|finding| finding["what"].as_str().unwrap().contains("others can read the password"));
        assert_eq!(found.is_some(), told, "{mode:o}: {findings:#?}");
        if let Some(found) = found {
            assert!(found["cure"].as_str().unwrap().contains("chmod 600") && found["severity"] == "warning", "{found}");
        }
        let checked = run(&trust.folder, ["check", "--config", "gateway.toml"]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(said.contains("`database.other.password_file`, mode"), told, "{mode:o}: {said}");
    }
}

#[tokio::test]
async fn a_configuration_that_no_gateway_starts_from_is_told_and_the_rest_is_examined_all_the_same() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    let (certificate, key) = ("tls/gateway.pem", "tls/gateway.key.pem");
    let long_ago = SystemTime::now() - Duration::from_hours(24 * 93);
    let expired = council.authority.issue_gateway(&council.gateway, &["localhost"], long_ago).unwrap();
    let impostor = Authority::create(&council.id, Flavour::Production, SystemTime::now()).unwrap();
    let foreign = impostor.issue_gateway(&council.gateway, &["localhost"], SystemTime::now()).unwrap();
    for (issued, here, there) in [
        (&expired, "expired 3 days ago", "this end's certificate has expired"),
        (&foreign, "was not issued under the roots", "not the root of this end's certificate"),
    ] {
        fs::write(council.folder.join(certificate), &issued.certificate_pem).unwrap();
        fs::write(council.folder.join(key), issued.key_pem.as_bytes()).unwrap();
        let (findings, code) = examine(&council.folder);
        assert_eq!(code, 1);
        let own = found(&findings, "error", "configuration", here);
        assert_eq!(
            here.contains("expired"),
            own["cure"].as_str().unwrap().contains("drawbridge certificate gateway"),
            "{own}"
        );
        assert!(own["where"].as_str().unwrap().contains("gateway.toml"), "{own}");
        // The reason of the other end, over a real handshake.
        // It may be asked by this member, which is known though no gateway starts.
        found(&findings, "error", "peers", there);
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_thing_hides_nothing_of_another() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    let [closed] = free_ports::<1>();
    // A back end that is not there, and elsewhere a statement that its database does not take.
    trust.configure(&format!(
        "\n[[binding]]\nmethod = \"test.v1.Echo/Say\"\nconnector = {{ kind = \"grpc\", address = \"http://{closed}\", dangerous_plaintext = true }}\n"
    ));
    trust.reconfigure("gateway = \"main\"", "gateway = \"main\"\ndevelopment = true");
    trust.reconfigure("FROM rec WHERE id = :id", "FROM nowhere WHERE id = :id");
    let (findings, code) = examine(&trust.folder);
    assert_eq!(code, 1);
    found(&findings, "error", "configuration", "does not take the statement");
    let dead = found(&findings, "error", "legacy system", "cannot reach the legacy system");
    assert_eq!(dead["where"], "test.v1.Echo/Say (grpc)");
    found(&findings, "fine", "legacy system", "answers");
    let unmade = found(&findings, "warning", "legacy system", "not examined: its binding cannot be used");
    assert_eq!(unmade["where"], "test.v1.Records/Find (sql)");
    // Without a certificate nobody is dialled, which is said.
    let council = federation.member(COUNCIL);
    fs::remove_file(council.folder.join("tls/gateway.pem")).unwrap();
    let (findings, _) = examine(&council.folder);
    let missing = found(&findings, "error", "configuration", "No such file");
    assert!(missing["cure"].as_str().unwrap().contains("drawbridge certificate gateway"), "{missing}");
    found(&findings, "warning", "peers", "not examined: the gateway has no certificate");
    found(&findings, "fine", "certificates", "of the entry");
}

#[tokio::test]
async fn a_peer_that_refuses_a_revoked_certificate_is_told_with_that_reason() {
    let federation = TestFederation::new().await.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    council.revoke(&council.gateway_tls().0, trust);
    drawbridge_tests::eventually("the peer has seen the list", 10, async || {
        let (findings, _) = examine(&council.folder);
        let refused = |finding: &Value| {
            finding["check"] == "peers"
                && finding["severity"] == "error"
                && finding["what"] == "the other end says that this end's certificate is revoked"
        };
        findings.iter().any(refused).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told() {
    let mut federation = TestFederation::new().await;
    // A name that never exists. Source: RFC 6761, section 6.4.
    federation.announce(TRUST, "gateway.invalid:8443", 2);
    let (findings, code) = examine(&federation.member(COUNCIL).folder);
    assert_eq!(code, 1);
    let name = found(&findings, "warning", "names", "does not resolve");
    assert_eq!(name["where"], "trust.example/main (gateway.invalid:8443)");
    found(&findings, "error", "peers", "its name does not resolve");
    // One's own: others dial it.
    let (findings, _) = examine(&federation.member(TRUST).folder);
    let own = found(&findings, "warning", "names", "does not resolve");
    assert!(own["cure"].as_str().unwrap().contains("others dial this one"), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_middlebox_that_drops_the_large_first_message_is_found_and_the_switch_helps() {
    let mut federation = TestFederation::new().await.start();
    let middlebox = middlebox(federation.member(TRUST).links).await;
    federation.announce(TRUST, &middlebox.to_string(), 2);
    let council = federation.member(COUNCIL);
    let (findings, code) = examine(&council.folder);
    assert_eq!(code, 1);
    let keys = found(&findings, "error", "key exchange", "drops the larger first message of TLS");
    assert!(keys["cure"].as_str().unwrap().contains("tls.post_quantum = false"), "{keys}");
    council.configure("\n[tls]\npost_quantum = false\n");
    let (findings, code) = examine(&council.folder);
    assert_eq!((errors(&findings), code), (Vec::new(), 0));
    found(&findings, "fine", "peers", "reached in");
    found(&findings, "fine", "key exchange", "keys are agreed by X25519; X25519MLKEM768 is switched off");
    // Without the middlebox the switch is not needed.
    let links = federation.member(TRUST).links.to_string();
    federation.announce(TRUST, &links, 3);
    let (findings, _) = examine(&federation.member(COUNCIL).folder);
    found(&findings, "warning", "key exchange", "gets through to this peer as well");
}

/// Passes connections on to `server`, but for those whose first message does not fit into one packet.
async fn middlebox(server: SocketAddr) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 4096];
                let length = client.read(&mut first).await?;
                if length > 1200 {
                    return Ok(());
                }
                let mut server = tokio::net::TcpStream::connect(server).await?;
                server.write_all(&first[..length]).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    address
}
