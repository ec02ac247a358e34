//! Streams of requests as JSON lines: curl, over both versions of HTTP, and a client that goes on once it was answered.

use bytes::Bytes;
use drawbridge_tests::{
    COUNCIL, TRUST, TestFederation,
    client::spoken,
    eventually,
    federation::standard,
    python::{Backend, repository},
};
use http::HeaderValue;
use http_body_util::BodyExt as _;
use records::Record;
use serde_json::{Value, json};

use crate::{
    connect::{Answered, enveloped, gzipped, plain},
    interop::{GRANTS, bind, interop},
    rest::{annotated, curl},
};

const TAKE: &str = "/grpc.testing.TestService/StreamingInputCall";
const TALK: &str = "/grpc.testing.TestService/FullDuplexCall";
const LINES: &str = "application/x-ndjson";

/// Every way in which curl sends a body: HTTP/1.1 with and without its length, and HTTP/2.
const WAYS: [&[&str]; 3] = [&["--http1.1"], &["--http1.1", "--header", "Transfer-Encoding: chunked"], &["--http2"]];

fn post(federation: &TestFederation, path: &str, body: &str, way: &[&str]) -> Answered {
    plain(federation, path, LINES, body.as_bytes(), way)
}

/// What is on record of an exchange at a member, once it is settled.
async fn settled(federation: &TestFederation, member: &str, exchange: &str) -> Record {
    eventually("the exchange is settled", 20, async || {
        federation.member(member).records_of(exchange).into_iter().find(Record::settles)
    })
    .await
}

/// How many messages passed each way; the provider keeps what the consumer signed of the whole request.
async fn proven(federation: &TestFederation, exchange: &str) -> (u64, u64) {
    let asked = settled(federation, COUNCIL, exchange).await.opened.unwrap().shared;
    let answered = settled(federation, TRUST, exchange).await.opened.unwrap().shared;
    assert!(!asked.consumer_closing.is_empty());
    assert_eq!(asked.consumer_closing, answered.consumer_closing);
    (asked.request_messages, asked.messages)
}

#[tokio::test]
async fn lines_are_not_taken_compressed() {
    let (federation, _backend) = interop().await;
    let answer = plain(&federation, TAKE, LINES, &gzipped(b"{}\n"), &["--header", "Content-Encoding: gzip"]);
    assert_eq!((answer.status, answer.header("accept-encoding")), (415, Some("identity")));
}

#[tokio::test]
async fn lines_of_requests_have_one_answer_in_json_and_are_proven_on_both_sides() {
    let (federation, _backend) = interop().await;
    // Empty lines mean nothing, and the last one needs no end.
    let body = "{\"payload\": {\"body\": \"AAAA\"}}\n\n{}\r\n{\"payload\": {\"body\": \"AAAAAAAA\"}}";
    for way in WAYS {
        let answer = post(&federation, TAKE, body, way);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{way:?}");
        assert_eq!(answer.json(), json!({"aggregatedPayloadSize": 9}), "{way:?}");
        let exchange = answer.header("drawbridge-exchange-id").unwrap();
        assert_eq!(proven(&federation, exchange).await, (3, 1), "{way:?}");
        // Nothing at all is a whole request too.
        assert_eq!(post(&federation, TAKE, "", way).json(), json!({}), "{way:?}");
        // Both directions.
        let talk =
            "{\"responseParameters\": [{\"size\": 3}]}\n{\"responseParameters\": [{\"size\": 6}, {\"size\": 9}]}\n";
        let answers = post(&federation, TALK, talk, way);
        assert_eq!((answers.status, answers.header("content-type")), (200, Some(LINES)), "{way:?}");
        let sizes: Vec<_> = answers
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<Value>(line).unwrap()["payload"]["body"].as_str().unwrap().len())
            .collect();
        assert_eq!(sizes, [4, 8, 12], "{way:?}");
    }
    let other = plain(&federation, TAKE, "application/jsonl", b"{}\n", &[]);
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_line_that_is_no_request_is_named_by_its_number_and_the_refusal_recorded() {
    let (federation, _backend) = interop().await;
    let long = format!("{{\"payload\": {{\"body\": \"{}\"}}}}", "A".repeat(4 * 1024 * 1024));
    let after = "{\"payload\": {\"body\": \"AAAA\"}}\n".repeat(20_000);
    for (line, status, reason, field) in [
        ("{\"canary-7f3a\": 1}", 400, "MALFORMED", Some("canary-7f3a")),
        ("{\"payload\": {\"body\": \"canary 7f3a\"}}", 400, "MALFORMED", Some("payload.body")),
        ("{\"payload\": canary-7f3a}", 400, "MALFORMED", Some("")),
        (long.as_str(), 413, "TOO_LARGE", None),
    ] {
        for way in WAYS {
            // What follows is more than a connection holds: it is still on its way when the call is refused.
            let answer = post(&federation, TAKE, &format!("{{}}\n\n{line}\n{after}"), way);
            let told = answer.json();
            assert_eq!((answer.status, told["reason"].as_str()), (status, Some(reason)), "{way:?} {told}");
            let detail = told["detail"].as_str().unwrap();
            assert!(detail.starts_with("line 3: "), "{way:?} {told}");
            assert!(!detail.contains("canary"), "{way:?} {told}");
            assert_eq!(told["violations"][0]["field"].as_str(), field, "{way:?} {told}");
            assert!(!told["violations"].to_string().contains("line 1"), "{way:?} {told}");
            let exchange = answer.header("drawbridge-exchange-id").unwrap();
            let opened = settled(&federation, COUNCIL, exchange).await.opened.unwrap();
            assert_eq!(opened.refusal(), reason, "{way:?}");
            // One message crossed, and never the word that it was all.
            assert_eq!(opened.shared.request_messages, 1, "{way:?}");
            assert!(opened.shared.consumer_closing.is_empty(), "{way:?}");
            let _ = settled(&federation, TRUST, exchange).await;
        }
    }
    // Where the answer has begun it ends with a line that says so.
    let talk = "{\"responseParameters\": [{\"size\": 3}]}\n".repeat(3) + "no\n";
    let answers = post(&federation, TALK, &talk, &["--http2"]);
    let last = answers.body.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    let last: Value = serde_json::from_slice(last).unwrap();
    let problem = if answers.status == 200 { &last["@problem"] } else { &last };
    assert!(problem["detail"].as_str().unwrap().starts_with("line 4: "), "{last}");
    let log = federation.member(COUNCIL).process().log();
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn lines_go_to_methods_that_take_streams_and_to_no_other() {
    let (federation, _backend) = interop().await;
    let unary = "/grpc.testing.TestService/UnaryCall";
    for (path, media_type, says) in [
        (TAKE, "application/json", "JSON lines"),
        (TAKE, "text/plain", "JSON lines"),
        (unary, LINES, "`application/json`"),
        (unary, "text/plain", "`application/json`"),
    ] {
        let refused = plain(&federation, path, media_type, b"{}", &[]);
        let told = refused.json();
        assert_eq!(refused.status, 415, "{path} {media_type} {told}");
        assert!(told["detail"].as_str().unwrap().contains(says), "{path} {media_type} {told}");
    }
    // What may not be asked is refused as ever, whatever is sent.
    let unheard = ["--header", "Drawbridge-Unheard: of"];
    for (path, more, reason) in [
        ("/test.v1.Nothing/Take", &[][..], "NO_AGREEMENT"),
        (TAKE, &unheard[..], "METADATA"),
        (&format!("{TAKE}?aggregated=1"), &[], "MALFORMED"),
    ] {
        let refused = plain(&federation, path, LINES, b"{}\n{\"x\": 1}\n", more);
        let told = refused.json();
        assert_eq!(told["reason"], reason, "{path} {told}");
        let exchange = refused.header("drawbridge-exchange-id").unwrap();
        assert_eq!(federation.member(COUNCIL).records_of(exchange).len(), 1, "{path}");
    }
}

/// Two gateways before grpcio's server, whose contract says where its streams of requests are.
async fn with_routes() -> (TestFederation, Backend) {
    let backend = Backend::of("interop_server.py", &[]);
    let federation = TestFederation::without_agreement().await;
    let mut text = std::fs::read_to_string(repository().join("tests/proto/interop/test.proto")).unwrap();
    text = text.replace("package grpc.testing;", "package grpc.testing;\nimport \"google/api/annotations.proto\";");
    for (method, rule) in [
        (
            "returns (StreamingInputCallResponse)",
            r#"post: "/v1/inputs" body: "*" response_body: "aggregated_payload_size" additional_bindings { put: "/v1/*/inputs" body: "*" }"#,
        ),
        (
            "rpc FullDuplexCall(stream StreamingOutputCallRequest) returns (stream StreamingOutputCallResponse)",
            r#"post: "/v1/talks" body: "*""#,
        ),
    ] {
        text = text.replace(&format!("{method};"), &format!("{method} {{ option (google.api.http) = {{ {rule} }}; }}"));
    }
    let digest = annotated(&federation, "grpc.testing.TestService", "interop/test.proto", &text);
    bind(&federation, backend.port, &GRANTS.replace("@digest:grpc.testing.TestService@", &digest.to_string()));
    (federation.start(), backend)
}

#[tokio::test]
async fn lines_go_to_the_routes_that_the_contract_names_as_to_the_methods_own_path() {
    let (federation, _backend) = with_routes().await;
    let body = "{\"payload\": {\"body\": \"AAAA\"}}\n{\"payload\": {\"body\": \"AAAAAAAA\"}}\n";
    for way in WAYS {
        let answer = post(&federation, "/v1/inputs", body, way);
        assert_eq!((answer.status, answer.json()), (200, json!(9)), "{way:?}");
        assert_eq!(proven(&federation, answer.header("drawbridge-exchange-id").unwrap()).await, (2, 1), "{way:?}");
        let put = [way, &["--request", "PUT"]].concat();
        let answer = post(&federation, "/v1/anything/inputs", body, &put);
        assert_eq!((answer.status, answer.json()), (200, json!({"aggregatedPayloadSize": 9})), "{way:?}");
        let answers = post(&federation, "/v1/talks", "{\"responseParameters\": [{\"size\": 3}]}\n", way);
        assert_eq!((answers.status, answers.header("content-type")), (200, Some(LINES)), "{way:?}");
        assert_eq!(answers.json(), json!({"payload": {"body": "AAAA"}}), "{way:?}");
    }
    let told = post(&federation, "/v1/inputs", "{}\n{\"x\": 1}\n", &[]).json();
    assert!(told["detail"].as_str().unwrap().starts_with("line 2: "), "{told}");
    assert_eq!(post(&federation, "/v1/inputs?payload.body=AAAA", body, &[]).json()["reason"], "MALFORMED");
    assert_eq!(plain(&federation, "/v1/inputs", "application/json", b"{}", &[]).status, 415);
    assert_eq!(post(&federation, "/v1/inputs", body, &["--request", "PUT"]).status, 405);
    let (_, _, document) = curl(&federation, "/openapi.json", &[]);
    let document: Value = serde_json::from_str(&document).unwrap();
    for (path, verb) in [("/v1/inputs", "post"), ("/v1/{segment}/inputs", "put"), ("/v1/talks", "post")] {
        let body = &document["paths"][path][verb]["requestBody"]["content"];
        assert!(body[LINES]["schema"].is_object(), "{path} {body}");
    }
}

#[tokio::test]
async fn a_client_reads_an_answer_before_it_writes_its_next_line() {
    let (federation, _backend) = interop().await;
    let mut headers = standard();
    headers.insert("content-type", HeaderValue::from_static(LINES));
    let mut client = federation.revenues().await;
    let (sender, body) = spoken();
    let line = |size: usize| Bytes::from(format!("{{\"responseParameters\": [{{\"size\": {size}}}]}}\n"));
    sender.send(line(3)).await.unwrap();
    let (head, mut answers) = client.open_body(TALK, &headers, body, None).await.unwrap();
    assert_eq!(head["content-type"], LINES);
    for size in [3, 6, 9] {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\n") {
            heard.extend_from_slice(&answers.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        let answer: Value = serde_json::from_slice(&heard).unwrap();
        assert_eq!(answer["payload"]["body"].as_str().unwrap().len(), size / 3 * 4, "{answer}");
        if size < 9 {
            sender.send(line(size + 3)).await.unwrap();
        }
    }
    drop(sender);
    let rest = answers.collect().await.unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
    let exchange = head["drawbridge-exchange-id"].to_str().unwrap();
    assert_eq!(proven(&federation, exchange).await, (3, 3));
}

#[tokio::test]
async fn connect_streams_requests_in_json_and_in_protobuf_packed_or_not() {
    let (federation, _backend) = interop().await;
    let message = br#"{"payload": {"body": "AAAA"}}"#;
    // The same message in protobuf.
    let proto = b"\x0a\x05\x12\x03\0\0\0";
    let packed = |message: &[u8]| {
        let packed = gzipped(message);
        [&[1][..], &u32::try_from(packed.len()).unwrap().to_be_bytes(), &packed].concat()
    };
    let gzip = ["--header", "Connect-Content-Encoding: gzip"];
    for (media_type, body, more) in [
        ("application/connect+json", [enveloped(message), enveloped(message)].concat(), &[][..]),
        ("application/connect+json", [packed(message), enveloped(message)].concat(), &gzip),
        ("application/connect+proto", [enveloped(proto), enveloped(proto)].concat(), &[]),
        ("application/connect+proto", [enveloped(proto), packed(proto)].concat(), &gzip),
    ] {
        for version in ["--http1.1", "--http2"] {
            let answer = plain(&federation, TAKE, media_type, &body, &[&[version], more].concat());
            let envelopes = answer.envelopes();
            assert_eq!((answer.status, envelopes.len(), envelopes[1].0), (200, 2, 2), "{media_type}");
            assert_eq!(envelopes[1].1, b"{}", "{media_type}");
            let expected: &[u8] =
                if media_type.ends_with("json") { br#"{"aggregatedPayloadSize":6}"# } else { b"\x08\x06" };
            assert_eq!(envelopes[0].1, expected, "{media_type}");
        }
    }
    for (media_type, body, code, says) in [
        (
            "application/connect+json",
            [enveloped(message), enveloped(b"{\"x\":1}")].concat(),
            "invalid_argument",
            "message 2: ",
        ),
        ("application/connect+json", enveloped(message)[..9].to_vec(), "invalid_argument", "ends inside a message"),
        ("application/connect+json", vec![0, 0xff, 0, 0, 0, 1], "resource_exhausted", "the limit is"),
        ("application/connect+json", packed(message), "unimplemented", "compressed"),
        ("application/connect+proto", [enveloped(proto), enveloped(b"\xff")].concat(), "invalid_argument", ""),
    ] {
        let refused = plain(&federation, TAKE, media_type, &body, &[]);
        let envelopes = refused.envelopes();
        let end: Value = serde_json::from_slice(&envelopes.last().unwrap().1).unwrap();
        assert_eq!((refused.status, end["error"]["code"].as_str()), (200, Some(code)), "{media_type} {end}");
        assert!(end["error"]["message"].as_str().unwrap().contains(says), "{media_type} {end}");
    }
}

#[tokio::test]
async fn a_partner_with_requests_sends_lines_as_the_document_says() {
    let (federation, _backend) = interop().await;
    let found = crate::rest::partner(&federation, "streams");
    assert_eq!(proven(&federation, found["exchange"].as_str().unwrap()).await, (1000, 1));
}
