//! Partner systems that speak JSON over HTTP: curl, and Python with `requests`.

use std::{fs, process::Command};

use contract::{Contracts, Digest};
use drawbridge_tests::{
    Agreement, COUNCIL, Member, TRUST, TestFederation,
    python::{self, Backend, Dialogue},
};
use proto::records::Kind;
use records::Record;
use serde_json::Value;

use crate::connect::{gzipped, plain};

pub(crate) fn arguments(federation: &TestFederation, check: &str) -> Vec<String> {
    let council = federation.member(COUNCIL);
    let folder = |member: &Member| member.folder.to_str().unwrap().to_owned();
    vec![
        check.to_owned(),
        "--clients".to_owned(),
        council.clients.to_string(),
        "--folder".to_owned(),
        folder(council),
        "--other".to_owned(),
        folder(federation.member(TRUST)),
    ]
}

/// Runs a check of `rest.py` and returns what it found.
pub(crate) fn partner(federation: &TestFederation, check: &str) -> Value {
    let arguments = arguments(federation, check);
    let said = python::run("rest.py", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Outcome and last record of an exchange at one member.
fn settled(member: &Member, exchange: &str) -> (String, Record) {
    let record = member.records_of(exchange).into_iter().find(Record::settles).expect("it is recorded");
    (record.opened.as_ref().unwrap().private.outcome.clone(), record)
}

/// Runs curl as one of the council's systems; returns status, protocol and body.
pub(crate) fn curl(federation: &TestFederation, path: &str, more: &[&str]) -> (String, String, String) {
    let council = federation.member(COUNCIL);
    let file = |name: &str| council.folder.join(name).display().to_string();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
        .args(["--cacert", &file("offline/authority.pem")])
        .args(["--cert", &file("systems/revenues.pem"), "--key", &file("systems/revenues.key.pem")])
        .args(["--header", "Drawbridge-Provider: trust.example", "--header", "Drawbridge-Purpose: safeguarding"])
        .args(["--header", "Drawbridge-Case: case-1", "--header", "Content-Type: application/json"])
        .args(["--write-out", "\n%{http_code} %{http_version}"])
        .args(more)
        .arg(format!("https://localhost:{}{path}", council.clients.port()))
        .output()
        .expect("curl is needed: on Debian, `apt-get install curl`");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{complained}", output.status);
    let (body, end) = said.rsplit_once('\n').unwrap();
    let (status, version) = end.split_once(' ').unwrap();
    (status.to_owned(), version.to_owned(), body.to_owned())
}

#[tokio::test]
async fn curl_asks_over_both_versions_of_http() {
    let federation = TestFederation::new().await.start();
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let (status, spoken, body) = curl(&federation, "/test.v1.Records/Find", &[flag, "--data", r#"{"id": "1"}"#]);
        assert_eq!((status.as_str(), spoken.as_str()), ("200", version), "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer, serde_json::json!({"id": "1", "name": {"family": "Archer"}, "note": "checked"}));
        let (status, _, body) = curl(&federation, "/test.v1.Records/List", &[flag, "--data", r#"{"count": "3"}"#]);
        let ids: Vec<_> = body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
        assert_eq!((status.as_str(), ids), ("200", vec!["1".into(), "2".into(), "3".into()]), "{body}");
        let (status, _, body) = curl(&federation, "/test.v1.Records/Hidden", &[flag, "--data", "{}"]);
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_str(), problem["reason"].as_str()), ("403", Some("NO_AGREEMENT")), "{body}");
    }
    // Trailers say how a stream ended: always over HTTP/2, over HTTP/1.1 to whom asks for them.
    for flags in [&["--http2"][..], &["--http1.1", "--header", "TE: trailers"]] {
        let mut more = vec!["--data", r#"{"count": "3"}"#, "--dump-header", "-"];
        more.extend(flags);
        let (_, _, all) = curl(&federation, "/test.v1.Records/List", &more);
        assert!(all.contains("grpc-status: 0"), "{flags:?}: {all}");
    }
}

#[tokio::test]
async fn head_is_answered_like_get_and_without_a_body() {
    let federation = TestFederation::new().await;
    shelf(&federation);
    let federation = federation.start();
    for http in ["--http2", "--http1.1"] {
        for (path, expected) in
            [("/openapi.json", "200"), ("/v1/items/1", "200"), ("/test.v1.Records/Find", "405"), ("/nothing", "403")]
        {
            let (status, _, said) = curl(&federation, path, &[http, "--head"]);
            let said = said.to_ascii_lowercase();
            assert_eq!(status, expected, "{http} {path} {said}");
            assert!(said.contains("content-type: application/"), "{http} {path} {said}");
            assert_eq!(said.contains("drawbridge-exchange-id"), path == "/v1/items/1" || path == "/nothing", "{said}");
        }
        let (status, _, said) = curl(&federation, "/v1/items/1", &[http, "--request", "DELETE", "--dump-header", "-"]);
        assert!(status == "405" && said.to_ascii_lowercase().contains("allow: get, head"), "{said}");
    }
}

#[tokio::test]
async fn a_body_is_taken_as_gzip_and_in_no_way_that_is_not_known() {
    let federation = TestFederation::new().await.start();
    let ask = |path: &str, media_type: &str, body: &[u8], coding: &str| {
        plain(&federation, path, media_type, body, &["--header", &format!("Content-Encoding: {coding}")])
    };
    let (find, json) = ("/test.v1.Records/Find", "application/json");
    let question = br#"{"id": "1"}"#;
    let packed = gzipped(question);
    for (body, coding) in [(&question[..], "identity"), (&packed, "gzip"), (&packed, "x-gzip")] {
        let answer = ask(find, json, body, coding);
        assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some("1")), "{coding}");
    }
    for coding in ["br", "gzip, gzip", "deflate"] {
        let answer = ask(find, json, b"{}", coding);
        assert_eq!((answer.status, answer.header("accept-encoding")), (415, Some("gzip, identity")), "{coding}");
        assert_eq!(answer.json()["status"], 415, "{coding}");
    }
    let answer = ask(find, json, question, "gzip");
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (400, Some("MALFORMED")));
    let bomb = gzipped(&vec![b' '; 8 << 20]);
    let answer = ask(find, json, &bomb, "gzip");
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (413, Some("TOO_LARGE")));
}

#[tokio::test]
async fn a_partner_with_requests_has_answers_and_lines_recorded_by_both_sides() {
    let federation = TestFederation::new().await.start();
    let found = partner(&federation, "answers");
    for (name, messages) in [("unary", 1), ("stream", 2000), ("missing", 0)] {
        for member in [COUNCIL, TRUST] {
            let (outcome, record) = settled(federation.member(member), found[name].as_str().unwrap());
            assert_eq!(record.kind(), Kind::Outcome, "{name} {outcome}");
            assert_eq!(record.opened.unwrap().messages(), messages, "{name} {member}");
        }
    }
}

#[tokio::test]
async fn a_partner_with_requests_reads_refusals_as_problem_details_and_they_are_recorded() {
    let federation = TestFederation::new().await.start();
    let found = partner(&federation, "refusals");
    let refusals = found["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 16);
    for refusal in refusals {
        let (reason, exchange) = (refusal[0].as_str().unwrap(), refusal[1].as_str().unwrap());
        let (_, record) = settled(federation.member(COUNCIL), exchange);
        assert_eq!((record.kind(), record.opened.unwrap().refusal()), (Kind::Refusal, reason), "{refusal}");
    }
    let log = federation.member(COUNCIL).process().log();
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn whoever_has_no_certificate_of_an_own_system_gets_no_answer() {
    let federation = TestFederation::new().await.start();
    partner(&federation, "certificates");
}

#[tokio::test]
async fn the_document_is_valid_and_shows_what_the_system_may_use() {
    let federation = TestFederation::new().await;
    shelf(&federation);
    let federation = federation.start();
    let found = partner(&federation, "documents");
    let paths = [
        "/shelf.v1.Shelf/Find",
        "/test.v1.Echo/Repeat",
        "/test.v1.Echo/Say",
        "/test.v1.Records/Find",
        "/test.v1.Records/Hidden",
        "/test.v1.Records/List",
        "/test.v1.Records/Slow",
        "/test.v1.Records/Unbound",
        "/v1/items/{id}",
    ];
    assert_eq!(found["paths"], serde_json::json!(paths));
    let (outcome, _) = settled(federation.member(TRUST), found["exchange"].as_str().unwrap());
    assert_eq!(outcome, "answered");
}

#[tokio::test]
async fn routes_that_cannot_be_followed_keep_the_gateway_from_starting() {
    let federation = TestFederation::new().await;
    shelf(&federation);
    let file = federation.member(COUNCIL).folder.join("proto/shelf/v1/shelf.proto");
    let text = fs::read_to_string(&file).unwrap().replace("{id}", "{number}");
    fs::write(file, text).unwrap();
    let checked = drawbridge_tests::process::run(&federation.member(COUNCIL).folder, ["check", "gateway.toml"]);
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(!checked.status.success() && said.contains("`number` in `/v1/items/{number}`"), "{said}");
}

#[tokio::test]
async fn what_a_back_end_says_crosses_as_problem_details() {
    // Before the gateways' ports are chosen, so that it takes none of them.
    let backend = Backend::start(&[]);
    let federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    trust.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    for method in ["Say", "Repeat"] {
        let port = backend.port;
        trust.configure(&format!(
            "\n[[binding]]\nmethod = \"test.v1.Echo/{method}\"\nconnector = {{ kind = \"grpc\", address = \"http://127.0.0.1:{port}\", dangerous_plaintext = true }}\n"
        ));
    }
    partner(&federation.start(), "back_end");
}

#[tokio::test]
async fn a_partner_with_grpc_web_has_answers_streams_refusals_and_receipts_in_both_forms() {
    let federation = TestFederation::new().await.start();
    for form in ["web", "web_text"] {
        let found = partner(&federation, form);
        let (outcome, _) = settled(federation.member(TRUST), found["exchange"].as_str().unwrap());
        assert_eq!(outcome, "answered", "{form}");
        for refused in found["refused"].as_array().unwrap() {
            let (_, record) = settled(federation.member(COUNCIL), refused.as_str().unwrap());
            assert_eq!(record.opened.unwrap().refusal(), "MALFORMED", "{form}");
        }
    }
}

#[tokio::test]
async fn a_question_in_a_url_is_refused_as_its_client_can_read_it() {
    let federation = TestFederation::new().await.start();
    let connect = "/test.v1.Records/Find?connect=v1&encoding=json&message=%7B%22id%22%3A%22canary%22%7D";
    let version = ["--header", "Connect-Protocol-Version: 1"];
    for (path, more, expected) in [
        (connect, &[][..], "\"unimplemented\""),
        (connect, &version, "\"unimplemented\""),
        ("/test.v1.Records/Find?encoding=proto&base64=1&message=CAE", &[], "\"unimplemented\""),
        ("/test.v1.Records/Find?id=1", &[], "this path takes POST"),
    ] {
        for http in ["--http2", "--http1.1"] {
            let more = [&["--dump-header", "-", http], more].concat();
            let (status, _, said) = curl(&federation, path, &more);
            let (head, body) = said.rsplit_once("\r\n\r\n").unwrap();
            assert_eq!(status, "405", "{path} {said}");
            assert!(head.to_ascii_lowercase().contains("allow: post"), "{path} {head}");
            assert!(body.contains(expected) && !body.contains("canary"), "{path} {body}");
            assert_eq!(body.contains("URL"), expected.contains("unimplemented"), "{path} {body}");
        }
    }
    let log = federation.member(COUNCIL).process().log();
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_stream_that_is_cut_says_so_in_its_last_line() {
    let mut federation = TestFederation::new().await.start();
    let arguments = arguments(&federation, "cut");
    let mut reader = Dialogue::start("rest.py", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(reader.hear(), "begun");
    federation.take(TRUST).kill();
    reader.say("go on");
    let found: Value = serde_json::from_str(&reader.hear()).unwrap();
    reader.end();
    let (outcome, _) = settled(federation.member(COUNCIL), found["exchange"].as_str().unwrap());
    assert_eq!(outcome, "unanswered");
}

#[tokio::test]
async fn a_gateway_that_is_told_so_speaks_grpc_alone() {
    let federation = TestFederation::new().await;
    federation.member(COUNCIL).reconfigure("[clients]\n", "[clients]\nrest = false\n");
    let federation = federation.start();
    let (status, version, _) = curl(&federation, "/test.v1.Records/Find", &["--data", r#"{"id": "1"}"#]);
    assert_eq!((status.as_str(), version.as_str()), ("415", "2"));
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.status.code, 0);
}

/// Gives both members a contract with `google.api.http`, an agreement on it, and a binding.
fn shelf(federation: &TestFederation) {
    let shelf = r#"// What stands on a shelf.
syntax = "proto3";

package shelf.v1;

import "drawbridge/options/v1/options.proto";
import "google/api/annotations.proto";

// A shelf.
service Shelf {
  // One item of the shelf.
  rpc Find(FindRequest) returns (Item) {
    option (drawbridge.options.v1.method) = { kind: KIND_QUERY };
    option (google.api.http) = { get: "/v1/items/{id}" };
  }
}

message FindRequest {
  int64 id = 1;
}

message Item {
  int64 id = 1;
  string title = 2;
}
"#;
    let digest = annotated(federation, "shelf.v1.Shelf", "shelf/v1/shelf.proto", shelf);
    federation.agree(&Agreement {
        id: "shelf".to_owned(),
        grants: format!(
            "[[grant]]\nservice = \"shelf.v1.Shelf\"\ndigest = \"{digest}\"\nmethods = [\"Find\"]\nsystems = [\"revenues\"]\npurposes = [\"safeguarding\"]\nfields = \"all\"\n"
        ),
        ..Agreement::default()
    });
    federation.member(TRUST).configure(
        "\n[[binding]]\nmethod = \"shelf.v1.Shelf/Find\"\nconnector = { kind = \"sql\", database = \"legacy\", query = '''SELECT id, fm AS title FROM rec WHERE id = :id''' }\n",
    );
}

/// Gives both members the text of a contract that imports `google.api.http`, and returns the digest of a service in it.
pub(crate) fn annotated(federation: &TestFederation, service: &str, file: &str, text: &str) -> Digest {
    let fixtures = python::repository().join("crates/rest/tests/fixtures/google/api");
    for member in [COUNCIL, TRUST] {
        let folder = federation.member(member).folder.join("proto");
        fs::create_dir_all(folder.join("google/api")).unwrap();
        for file in ["annotations.proto", "http.proto"] {
            fs::copy(fixtures.join(file), folder.join("google/api").join(file)).unwrap();
        }
        fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }
    let source = gateway::load::contract_source(&federation.member(COUNCIL).folder.join("proto")).unwrap();
    Contracts::load(&[source]).unwrap().service(service).unwrap().digest
}
