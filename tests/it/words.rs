//! What people read in their own tools where a gateway turns them away before there is an exchange.

use std::process::Command;

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, client, federation::standard, process::run, python};
use exchange::{Hop, Reason};
use http::HeaderValue;

/// Runs curl against the council's clients' port with these credentials, and returns its exit code and what it complains about.
fn curl(federation: &TestFederation, more: &[&str]) -> (Option<i32>, String) {
    let council = federation.member(COUNCIL);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
        .args(["--cacert", &council.folder.join("offline/authority.pem").display().to_string()])
        .args(more)
        .arg(format!("https://localhost:{}/openapi.json", council.clients.port()))
        .output()
        .expect("curl is needed: on Debian, `apt-get install curl`");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn curl_prints_why_a_certificate_is_turned_down() {
    let federation = TestFederation::new().await.start();
    let trust = federation.member(TRUST);
    let file = |name: &str| trust.folder.join(name).display().to_string();
    let (certificate, key) = (file("systems/discharge.pem"), file("systems/discharge.key.pem"));
    let foreign = ["--cert", certificate.as_str(), "--key", key.as_str()];
    // More than once: whether the alert outruns the end of the connection was a matter of luck.
    for _ in 0..10 {
        for version in ["--http2", "--http1.1"] {
            let (code, said) = curl(&federation, &[version]);
            assert!(code != Some(0) && said.contains("certificate required"), "{version}: {code:?}: {said}");
            let (code, said) = curl(&federation, &[&[version], &foreign[..]].concat());
            assert!(code != Some(0) && said.contains("access denied"), "{version}: {code:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_partner_in_python_reads_why_a_certificate_is_turned_down() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    let folders = [COUNCIL, TRUST].map(|member| federation.member(member).folder.to_str().unwrap().to_owned());
    let arguments =
        ["turned_down", "--clients", &council.clients.to_string(), "--folder", &folders[0], "--other", &folders[1]];
    let output = python::command("client.py").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Its status has no room for the alert; the library names it on standard error, once for each attempt.
    for alert in ["ALERT_CERTIFICATE_REQUIRED", "ALERT_ACCESS_DENIED"] {
        assert!(said.matches(alert).count() >= 10, "{alert}: {said}");
    }
}

#[tokio::test]
async fn a_call_with_the_certificate_of_another_member_names_both_members() {
    let federation = TestFederation::new().await.start();
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    let file = |name: &str| trust.folder.join(name).display().to_string();
    let (certificate, key) = (file("systems/discharge.pem"), file("systems/discharge.key.pem"));
    let call = ["call", TRUST, "test.v1.Records/Find", r#"{"id": "1"}"#, "--purpose", "safeguarding"];
    let call = [&call[..], &["--config", "gateway.toml", "--certificate", &certificate, "--key", &key]].concat();
    let output = run(&council.folder, call);
    let said = String::from_utf8_lossy(&output.stderr);
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.contains("this port takes certificates of systems of `council.example`"), "{said}");
    assert!(words.contains("is for a system of `trust.example`"), "{said}");
    assert!(words.contains("ask through a gateway of `trust.example`"), "{said}");
}

#[tokio::test]
async fn metadata_that_is_too_long_is_refused_in_the_words_of_grpc() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    for (length, told) in [(15_000, false), (17_000, true), (30_000, true), (60_000, true)] {
        let mut given = standard();
        given.insert("x-long", HeaderValue::from_str(&"v".repeat(length)).unwrap());
        let reply = client.call("/test.v1.Records/Find", &given, &find).await.unwrap();
        if told {
            assert_eq!((reply.reason(), reply.status.hop()), (Some(Reason::TooLarge), Some(Hop::Consumer)), "{length}");
            assert!(reply.status.message.contains("this gateway takes 16384"), "{}", reply.status.message);
        } else {
            assert_ne!(reply.reason(), Some(Reason::TooLarge), "{length}: {}", reply.status.message);
        }
    }
    // The connection lives on.
    let reply = client.call("/test.v1.Records/Find", &standard(), &find).await.unwrap();
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let long = client::metadata(&[("x-long", &"v".repeat(250_000))]);
    assert!(client.call("/test.v1.Records/Find", &long, &find).await.is_err());
    let header = format!("x-long: {}", "v".repeat(30_000));
    let (status, version, body) = crate::rest::curl(&federation, "/test.v1.Records/Find", &["--http2", "-H", &header]);
    assert_eq!((status.as_str(), version.as_str()), ("431", "2"), "{body}");
    assert!(body.contains("\"status\":431") && body.contains("this gateway takes 16384"), "{body}");
    let (status, version, body) =
        crate::rest::curl(&federation, "/test.v1.Records/Find", &["--http1.1", "-H", &header]);
    assert_eq!((status.as_str(), version.as_str()), ("431", "1.1"), "{body}");
    assert!(body.contains("\"status\":431") && body.contains("this gateway takes 16384"), "{body}");
    let connect = ["--http2", "-H", &header, "-H", "Connect-Protocol-Version: 1", "--data", r#"{"id": "1"}"#];
    let (_, _, body) = crate::rest::curl(&federation, "/test.v1.Records/Find", &connect);
    let error: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(error["code"], "resource_exhausted", "{body}");
    assert!(error["message"].as_str().unwrap().contains("this gateway takes 16384"), "{body}");
}

#[tokio::test]
async fn a_partner_in_python_reads_that_its_metadata_is_too_long() {
    let federation = TestFederation::new().await.start();
    let council = federation.member(COUNCIL);
    let folder = council.folder.to_str().unwrap();
    python::run("client.py", &["too_long", "--clients", &council.clients.to_string(), "--folder", folder]);
}
