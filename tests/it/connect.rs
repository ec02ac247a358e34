//! The Connect protocol as curl speaks it: unary calls and streams of answers, in JSON and in protobuf.

use std::{
    io::{Read as _, Write as _},
    process::Command,
};

use drawbridge_tests::{Agreement, COUNCIL, TRUST, TestFederation, python::Backend};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use records::Record;
use serde_json::{Value, json};

/// What curl was answered.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The envelopes of a stream: flag and message.
    pub(crate) fn envelopes(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = self.body.as_slice();
        let mut found = Vec::new();
        while let Some((prefix, after)) = rest.split_first_chunk::<5>() {
            let [flag, length @ ..] = *prefix;
            let (message, after) = after.split_at(usize::try_from(u32::from_be_bytes(length)).unwrap());
            found.push((flag, message.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty(), "{rest:?}");
        found
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
    }
}

fn curl(federation: &TestFederation, path: &str, media_type: &str, body: &[u8], more: &[&str]) -> Answered {
    let version = ["--header", "Connect-Protocol-Version: 1"];
    plain(federation, path, media_type, body, &[&version[..], more].concat())
}

/// Without the protocol's own header.
pub(crate) fn plain(federation: &TestFederation, path: &str, media_type: &str, body: &[u8], more: &[&str]) -> Answered {
    let council = federation.member(COUNCIL);
    let file = |name: &str| council.folder.join(name).display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (asked, head, said) = (folder.path().join("asked"), folder.path().join("head"), folder.path().join("said"));
    std::fs::write(&asked, body).unwrap();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
        .args(["--cacert", &file("offline/authority.pem")])
        .args(["--cert", &file("systems/revenues.pem"), "--key", &file("systems/revenues.key.pem")])
        .args(["--header", "Drawbridge-Provider: trust.example", "--header", "Drawbridge-Purpose: safeguarding"])
        .args(["--header", "Drawbridge-Case: case-1"])
        .args(["--header", &format!("Content-Type: {media_type}"), "--data-binary", &format!("@{}", asked.display())])
        .args(["--dump-header", &head.display().to_string(), "--output", &said.display().to_string()])
        .args(["--write-out", "%{http_code}"])
        .args(more)
        .arg(format!("https://localhost:{}{path}", council.clients.port()))
        .output()
        .expect("curl is needed: on Debian, `apt-get install curl`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Answered {
        status: String::from_utf8_lossy(&output.stdout).parse().unwrap(),
        headers: std::fs::read_to_string(&head).unwrap().to_ascii_lowercase(),
        body: std::fs::read(&said).unwrap_or_default(),
    }
}

pub(crate) fn enveloped(message: &[u8]) -> Vec<u8> {
    flagged(0, message)
}

fn flagged(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

pub(crate) fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn unzipped(packed: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut message).unwrap();
    message
}

#[tokio::test]
async fn connect_asks_one_question_in_json_and_in_protobuf_over_both_versions_of_http() {
    let federation = TestFederation::new().await.start();
    let expected = json!({"id": "1", "name": {"family": "Archer"}, "note": "checked"});
    let find = "/test.v1.Records/Find";
    let question = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    for version in ["--http2", "--http1.1"] {
        let answer = curl(&federation, find, "application/json", br#"{"id": "1"}"#, &[version]);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json(), expected);
        let answer = curl(&federation, find, "application/proto", &question, &[version]);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/proto")));
        assert_eq!(federation.answer("test.v1.Records/Find", &answer.body), expected);
        let exchange = answer.header("drawbridge-exchange-id").unwrap();
        for member in [COUNCIL, TRUST] {
            assert!(federation.member(member).records_of(exchange).iter().any(Record::settles), "{member}");
        }
    }
    let missing = curl(&federation, find, "application/json", br#"{"id": "9"}"#, &[]);
    assert_eq!((missing.status, missing.json()["code"].clone()), (404, json!("not_found")));
    assert_eq!(missing.header("trailer-drawbridge-hop"), Some("legacy"), "{}", missing.headers);
    // Refusals are told in the protocol's own way, with the details that gRPC has, and are recorded.
    for (path, body, status, code) in [
        ("/test.v1.Records/Hidden", &b"{}"[..], 403, "permission_denied"),
        (find, br#"{"unheard": 1}"#, 400, "invalid_argument"),
        ("/test.v1.Records/NoSuch", b"{}", 501, "unimplemented"),
    ] {
        let refused = curl(&federation, path, "application/json", body, &[]);
        let error = refused.json();
        assert_eq!((refused.status, error["code"].as_str()), (status, Some(code)), "{path} {error}");
        let types: Vec<_> = error["details"].as_array().unwrap().iter().map(|detail| &detail["type"]).collect();
        assert!(types.contains(&&json!("google.rpc.ErrorInfo")), "{path} {error}");
        let exchange = refused.header("drawbridge-exchange-id").unwrap();
        assert_eq!(federation.member(COUNCIL).records_of(exchange).len(), 1, "{path}");
    }
    let late =
        curl(&federation, "/test.v1.Records/Slow", "application/json", b"{}", &["--header", "Connect-Timeout-Ms: 500"]);
    assert_eq!((late.status, late.json()["code"].clone()), (504, json!("deadline_exceeded")));
    let compressed = curl(&federation, find, "application/json", b"{}", &["--header", "Content-Encoding: br"]);
    assert_eq!((compressed.status, compressed.json()["code"].clone()), (501, json!("unimplemented")));
}

#[tokio::test]
async fn connect_reads_a_stream_and_its_end_in_json_and_in_protobuf() {
    let federation = TestFederation::new().await.start();
    let list = "/test.v1.Records/List";
    let json = curl(&federation, list, "application/connect+json", &enveloped(br#"{"count": "300"}"#), &[]);
    let (end, messages) = json.envelopes().split_last().map(|(end, rest)| (end.clone(), rest.to_vec())).unwrap();
    assert_eq!((json.status, messages.len(), end), (200, 300, (2, b"{}".to_vec())));
    let last: Value = serde_json::from_slice(&messages[299].1).unwrap();
    assert_eq!(last["id"], "300");
    let question = federation.request("test.v1.Records/List", r#"{"count": "300"}"#);
    let proto = curl(&federation, list, "application/connect+proto", &enveloped(&question), &[]);
    let envelopes = proto.envelopes();
    assert_eq!((envelopes.len(), envelopes[300].0), (301, 2));
    assert_eq!(federation.answer("test.v1.Records/List", &envelopes[299].1), last);
    // A stream that is refused, and one whose envelope is none: HTTP's status is 200 all the same.
    for (body, header) in [(enveloped(&question), "Drawbridge-Unheard: of"), (question.clone(), "Drawbridge-Actor: a")]
    {
        let refused = curl(&federation, list, "application/connect+proto", &body, &["--header", header]);
        let envelopes = refused.envelopes();
        assert_eq!((refused.status, envelopes.len(), envelopes[0].0), (200, 1, 2), "{header}");
        let end: Value = serde_json::from_slice(&envelopes[0].1).unwrap();
        assert_eq!(end["error"]["code"], "invalid_argument", "{end}");
        assert_eq!(end["metadata"]["drawbridge-hop"], json!(["consumer"]), "{end}");
    }
    for (path, media_type) in [(list, "application/json"), ("/test.v1.Records/Find", "application/connect+json")] {
        assert_eq!(curl(&federation, path, media_type, b"{}", &[]).status, 415, "{path}");
    }
}

#[tokio::test]
async fn metadata_that_the_agreement_names_crosses_for_json_and_for_connect_too() {
    let federation = TestFederation::without_agreement().await;
    let standard = Agreement::default();
    // The last grant of the standard agreement is the back end's.
    let grants = format!("{}application_metadata = [\"x-application\"]\n", standard.grants);
    federation.agree(&Agreement { grants, ..standard });
    let _backend = Backend::behind(&federation);
    let federation = federation.start();
    let given = ["--header", "X-Application: named", "--header", "X-Other: unnamed"];
    let answer = curl(&federation, "/test.v1.Echo/Say", "application/json", br#"{"text": "a"}"#, &given);
    assert_eq!(answer.header("trailer-x-application"), Some("named"), "{}", answer.headers);
    let seen = answer.json()["metadata"].to_string();
    assert!(seen.contains("x-application=named") && !seen.contains("unnamed"), "{seen}");
    // The same in JSON without the protocol: there both stand in the headers.
    let answer = plain(&federation, "/test.v1.Echo/Say", "application/json", br#"{"text": "a"}"#, &given);
    assert_eq!(answer.header("x-application"), Some("named"), "{}", answer.headers);
    let streamed = curl(
        &federation,
        "/test.v1.Echo/Repeat",
        "application/connect+json",
        &enveloped(br#"{"text": "a", "times": "2"}"#),
        &given,
    );
    let envelopes = streamed.envelopes();
    let end: Value = serde_json::from_slice(&envelopes[2].1).unwrap();
    assert_eq!(end["metadata"]["x-application"], json!(["named"]), "{end}");
}

#[tokio::test]
async fn connect_packs_and_unpacks_what_both_sides_take() {
    let federation = TestFederation::new().await;
    let _backend = Backend::behind(&federation);
    let federation = federation.start();
    let (say, repeat) = ("/test.v1.Echo/Say", "/test.v1.Echo/Repeat");
    let text = "long enough that it is compressed ".repeat(100);
    let asked = json!({"text": text, "times": "2"}).to_string();
    let proto = federation.request("test.v1.Echo/Say", &asked);
    let header = |name: &'static str| move |value: &str| vec!["--header".to_owned(), format!("{name}: {value}")];
    let (sent, taken) = (header("Content-Encoding"), header("Accept-Encoding"));
    let (streamed, streams) = (header("Connect-Content-Encoding"), header("Connect-Accept-Encoding"));
    let call = |path: &str, media_type: &str, body: &[u8], headers: Vec<String>| {
        curl(&federation, path, media_type, body, &headers.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for (kind, message) in [("json", asked.as_bytes()), ("proto", &proto)] {
        let said = |bytes: &[u8]| match kind {
            "json" => serde_json::from_slice(bytes).unwrap(),
            _ => federation.answer("test.v1.Echo/Say", bytes),
        };
        for (packs, headers, packed) in [
            (false, vec![], false),
            (true, sent("gzip"), true),
            (false, taken("br, gzip"), true),
            (true, [sent("gzip"), taken("identity")].concat(), false),
            (false, [sent("identity"), taken("br;q=1, gzip;q=0")].concat(), false),
        ] {
            let body = if packs { gzipped(message) } else { message.to_vec() };
            let answer = call(say, &format!("application/{kind}"), &body, headers.clone());
            assert_eq!(answer.header("content-encoding"), packed.then_some("gzip"), "{kind} {headers:?}");
            let bytes = if packed { unzipped(&answer.body) } else { answer.body.clone() };
            assert_eq!(answer.status, 200, "{kind} {headers:?}");
            assert!(said(&bytes)["text"].as_str().unwrap().starts_with(&text), "{kind} {headers:?}");
        }
        for (flag, headers, packed) in [
            (0, vec![], false),
            (1, streamed("gzip"), true),
            // Under an encoding a message may still come as it is.
            (0, streamed("gzip"), true),
            (0, streams("gzip, br"), true),
            (1, [streamed("gzip"), streams("br")].concat(), false),
        ] {
            let body = flagged(flag, &if flag == 1 { gzipped(message) } else { message.to_vec() });
            let answer = call(repeat, &format!("application/connect+{kind}"), &body, headers.clone());
            assert_eq!(answer.header("connect-content-encoding"), packed.then_some("gzip"), "{kind} {headers:?}");
            assert_eq!(answer.header("content-encoding"), None, "{kind} {headers:?}");
            let envelopes = answer.envelopes();
            assert_eq!((envelopes.len(), envelopes[2].0), (3, 2), "{kind} {headers:?}");
            for (flag, message) in &envelopes[..2] {
                assert_eq!(*flag == 1, packed, "{kind} {headers:?}");
                let bytes = if packed { unzipped(message) } else { message.clone() };
                assert!(said(&bytes)["text"].as_str().unwrap().starts_with(&text), "{kind} {headers:?}");
            }
        }
    }
    // What gains nothing stays as it is, and an empty body is not taken for gzip.
    let short = call(say, "application/json", b"", [sent("gzip"), taken("gzip")].concat());
    assert_eq!((short.status, short.header("content-encoding")), (200, None));
}

#[tokio::test]
async fn what_unpacks_beyond_the_limit_or_not_at_all_is_refused_and_recorded() {
    let federation = TestFederation::new().await.start();
    let bomb = gzipped(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 100_000);
    let whole = gzipped(br#"{"id": "1"}"#);
    for (body, encoding, status, code, reason) in [
        (bomb, "gzip", 429, "resource_exhausted", "TOO_LARGE"),
        (b"no gzip".to_vec(), "gzip", 400, "invalid_argument", "MALFORMED"),
        (whole[..whole.len() - 1].to_vec(), "gzip", 400, "invalid_argument", "MALFORMED"),
        ([&whole[..], b"x"].concat(), "gzip", 400, "invalid_argument", "MALFORMED"),
        (whole, "br", 501, "unimplemented", "MALFORMED"),
    ] {
        let sent = format!("Content-Encoding: {encoding}");
        let unary = curl(&federation, "/test.v1.Records/Find", "application/json", &body, &["--header", &sent]);
        assert_eq!((unary.status, unary.json()["code"].as_str()), (status, Some(code)), "{encoding}");
        let sent = format!("Connect-Content-Encoding: {encoding}");
        let streamed = curl(
            &federation,
            "/test.v1.Records/List",
            "application/connect+json",
            &flagged(1, &body),
            &["--header", &sent],
        );
        let envelopes = streamed.envelopes();
        let end: Value = serde_json::from_slice(&envelopes[0].1).unwrap();
        assert_eq!((envelopes.len(), end["error"]["code"].as_str()), (1, Some(code)), "{encoding}");
        for answer in [&unary, &streamed] {
            let exchange = answer.header("drawbridge-exchange-id").unwrap();
            let [record] = federation.member(COUNCIL).records_of(exchange).try_into().unwrap();
            assert_eq!(record.opened.unwrap().refusal(), reason, "{encoding}");
        }
    }
    let list = "/test.v1.Records/List";
    let unnamed = curl(&federation, list, "application/connect+json", &flagged(1, &gzipped(b"{}")), &[]);
    let end: Value = serde_json::from_slice(&unnamed.envelopes()[0].1).unwrap();
    assert_eq!(end["error"]["code"], "invalid_argument", "{end}");
    // Where JSON does not fit its places are in the details, as gRPC has them.
    let misfit =
        curl(&federation, "/test.v1.Records/Find", "application/json", br#"{"id": "canary-7f3a"}"#, &[]).json();
    let details = misfit["details"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["type"] == "google.rpc.BadRequest"), "{misfit}");
    assert!(!misfit.to_string().contains("canary"), "{misfit}");
}
