//! A partner system and a back end in Python, with stubs that `grpcio-tools` makes from the contracts and nothing of ours.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use drawbridge_tests::{
    Agreement, COUNCIL, Member, PURPOSE, StandIn, TRUST, TestFederation, eventually,
    faults::SmallDisk,
    federation::standard,
    python::{self, Backend, Dialogue},
    stand_in::Answer,
};
use exchange::{Reason, Status, digests};
use note::SigningKey;
use prost::Message as _;
use proto::records::Kind;
use records::Record;
use serde_json::Value;

/// The longest pause that a client makes before it acknowledges what it got, against the time of a direct call: 40 ms against
/// what one caller waits for a Python server on the same machine.
const STALLED: f64 = 40.0;

/// Runs a check of a script as a system of the council's, and returns what it found.
fn partner(federation: &TestFederation, script: &str, check: &str, more: &[&str]) -> Value {
    let said = python::run(script, &arguments(federation, check, more).iter().map(String::as_str).collect::<Vec<_>>());
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

fn arguments(federation: &TestFederation, check: &str, more: &[&str]) -> Vec<String> {
    let council = federation.member(COUNCIL);
    let folder = council.folder.to_str().unwrap().to_owned();
    let mut arguments =
        vec![check.to_owned(), "--clients".to_owned(), council.clients.to_string(), "--folder".to_owned(), folder];
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    arguments
}

fn talk(federation: &TestFederation, script: &str, check: &str) -> Dialogue {
    Dialogue::start(script, &arguments(federation, check, &[]).iter().map(String::as_str).collect::<Vec<_>>())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Outcome and last record of an exchange at one member.
fn settled(member: &Member, exchange: &str) -> Option<(String, Record)> {
    let record = member.records_of(exchange).into_iter().find(Record::settles)?;
    Some((record.opened.as_ref().unwrap().private.outcome.clone(), record))
}

/// Two gateways before a Python back end in plain text.
async fn plain() -> (TestFederation, Backend) {
    let federation = TestFederation::new().await;
    let backend = Backend::behind(&federation);
    (federation.start(), backend)
}

#[tokio::test]
async fn a_partner_in_python_has_answers_streams_and_receipts() {
    let federation = TestFederation::new().await.start();
    let found = partner(&federation, "client.py", "answers", &[]);
    for (exchange, messages) in [(text(&found["unary"]), 1), (text(&found["stream"]), 2000)] {
        for member in [COUNCIL, TRUST] {
            let (outcome, record) = settled(federation.member(member), exchange).unwrap();
            assert_eq!((outcome.as_str(), record.kind()), ("answered", Kind::Outcome), "{member}");
            assert_eq!(record.opened.unwrap().messages(), messages, "{member}");
        }
    }
}

#[tokio::test]
async fn a_partner_in_python_reads_every_refusal_with_its_standard_helpers() {
    let federation = TestFederation::new().await;
    let now = SystemTime::now();
    let past = Agreement {
        id: "past".to_owned(),
        grants: "[[grant]]\nservice = \"test.v1.Records\"\ndigest = \"@digest:test.v1.Records@\"\nmethods = [\"Hidden\"]\nsystems = [\"revenues\"]\npurposes = [\"safeguarding\"]\nfields = \"all\"\n".to_owned(),
        from: now - Duration::from_hours(2),
        until: now - Duration::from_hours(1),
        ..Agreement::default()
    };
    federation.agree(&past);
    let [nobody] = drawbridge_tests::ports::free_ports();
    federation
        .member(TRUST)
        .bind_echo(&format!("address = \"https://localhost:{}\", ca = \"offline/authority.pem\"", nobody.port()));
    federation.member(TRUST).reconfigure("\"test.v1.Records/Slow\"\n", "\"test.v1.Records/Slow\"\ntimeout = \"1s\"\n");
    let mut federation = federation.start();
    let found = partner(&federation, "client.py", "refusals", &[]);
    let refusals = found["refusals"].as_array().unwrap();
    let reasons: BTreeSet<&str> = refusals.iter().map(|refusal| text(&refusal[0])).collect();
    assert_eq!(reasons.len(), 9, "{reasons:?}");
    for refusal in refusals {
        let (reason, exchange) = (text(&refusal[0]), text(&refusal[1]));
        let (outcome, record) =
            settled(federation.member(COUNCIL), exchange).unwrap_or_else(|| panic!("{refusal} is not recorded"));
        let expected = if reason.starts_with("CONNECTOR") { "failed" } else { "refused" };
        assert_eq!((outcome.as_str(), record.kind()), (expected, Kind::Refusal), "{refusal}");
        assert_eq!(record.opened.unwrap().refusal(), reason, "{refusal}");
    }
    federation.take(TRUST).kill();
    let found = partner(&federation, "client.py", "link_down", &[]);
    let (outcome, _) = settled(federation.member(COUNCIL), text(&found["exchange"])).unwrap();
    assert_eq!(outcome, "failed");
}

#[tokio::test]
async fn a_partner_in_python_is_told_when_the_provider_holds_another_contract() {
    let federation = TestFederation::new().await;
    let file = federation.member(TRUST).folder.join("proto/test/v1/records.proto");
    let contract = std::fs::read_to_string(&file).unwrap();
    assert!(contract.contains("string note = 4"));
    std::fs::write(&file, contract.replace("string note = 4", "string note = 9")).unwrap();
    let federation = federation.start();
    let found = partner(&federation, "client.py", "mismatch", &[]);
    for member in [COUNCIL, TRUST] {
        let (_, record) = settled(federation.member(member), text(&found["exchange"])).unwrap();
        assert_eq!(record.opened.unwrap().refusal(), "CONTRACT_MISMATCH", "{member}");
    }
}

#[tokio::test]
async fn a_partner_in_python_cancels_in_the_middle_and_both_logs_say_so() {
    let federation = TestFederation::new().await.start();
    let mut script = talk(&federation, "client.py", "cancels");
    assert_eq!(script.hear(), "asked");
    running(&federation).await;
    script.say("go on");
    let found: Value = serde_json::from_str(&script.hear()).unwrap();
    script.end();
    for member in [COUNCIL, TRUST] {
        let member = federation.member(member);
        let (outcome, _) =
            eventually("the stream is settled", 10, async || settled(member, text(&found["stream"]))).await;
        assert_eq!(outcome, "cancelled");
        let both = eventually("both are settled", 10, async || {
            let records: Vec<_> = member.records().into_iter().filter(Record::settles).collect();
            (records.len() == 2).then_some(records)
        })
        .await;
        for record in both {
            let opened = record.opened.unwrap();
            assert_eq!(
                (opened.private.outcome.as_str(), opened.refusal()),
                ("cancelled", "CANCELLED"),
                "{}",
                member.id
            );
        }
    }
}

/// Waits until the trust's gateway has just one question under way.
async fn running(federation: &TestFederation) {
    let member = federation.member(TRUST);
    eventually("the statement runs", 10, async || (member.metric("drawbridge_link_streams") == 1).then_some(())).await;
}

#[tokio::test]
async fn a_deadline_of_python_holds_through_both_gateways_to_the_statement_and_the_back_end() {
    let (federation, backend) = plain().await;
    partner(&federation, "client.py", "deadline", &[]);
    let asked = backend.heard("asked", "deadline").await;
    let left = asked["left"].as_f64().expect("the back end knows the deadline");
    assert!(left > 0.0 && left < 1.0, "{left}");
    backend.heard("stopped", "deadline").await;
    // At the last moment the caller's own clock may win, and its leaving stops what the deadline would.
    for (id, stopped) in
        [(COUNCIL, &["CONNECTOR_TIMEOUT", "CANCELLED", "UNANSWERED"][..]), (TRUST, &["CONNECTOR_TIMEOUT", "CANCELLED"])]
    {
        for method in ["/test.v1.Records/Slow", "/test.v1.Records/List", "/test.v1.Echo/Say"] {
            let record = eventually(&format!("{id} has settled {method}"), 10, async || {
                federation.member(id).records().into_iter().find(|record| {
                    record.settles() && record.opened.as_ref().is_some_and(|opened| opened.private.method == method)
                })
            })
            .await;
            let opened = record.opened.unwrap();
            assert!(stopped.contains(&opened.refusal()), "{id} {method}: {}", opened.refusal());
            let took = opened.private.duration;
            assert!((500..5_000).contains(&took), "{id} {method}: {took} ms, and the deadline was one second");
        }
    }
    // Neither statement uses the processor any more.
    federation.member(TRUST).at_rest().await;
}

#[tokio::test]
async fn a_partner_in_python_is_told_to_come_back_when_there_is_no_room() {
    let federation = TestFederation::new().await;
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nexchanges = 2\n");
    partner(&federation.start(), "client.py", "overloaded", &[]);
}

#[tokio::test]
async fn a_partner_in_python_is_told_that_nothing_can_be_recorded() {
    for (member, hop) in [(COUNCIL, "consumer"), (TRUST, "provider")] {
        let federation = TestFederation::new().await;
        let disk = SmallDisk::mount(&federation.member(member).data(), 4096);
        let federation = federation.start();
        disk.fill();
        eventually("the gateway stops recording", 10, async || {
            federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
            (federation.member(member).metric("drawbridge_ledger_healthy") == 0).then_some(())
        })
        .await;
        partner(&federation, "client.py", "not_recorded", &["--hop", hop]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_in_python_whose_provider_is_killed_is_told_that_the_outcome_is_unknown() {
    let mut federation = TestFederation::new().await.start();
    let mut script = talk(&federation, "client.py", "unanswered");
    assert_eq!(script.hear(), "asked");
    let trust = federation.member(TRUST);
    eventually("both run", 10, async || (trust.metric("drawbridge_link_streams") == 2).then_some(())).await;
    federation.take(TRUST).kill();
    script.say("it is gone");
    let found: Value = serde_json::from_str(&script.hear()).unwrap();
    script.end();
    federation.restart(TRUST);
    for exchange in [text(&found["unary"]), text(&found["stream"])] {
        let (outcome, record) = settled(federation.member(COUNCIL), exchange).unwrap();
        assert_eq!((outcome.as_str(), record.opened.unwrap().refusal()), ("unanswered", "UNANSWERED"));
    }
    // A stream had an intent, which the next start settles; a query that was never answered left nothing to settle.
    let (outcome, _) = settled(federation.member(TRUST), text(&found["stream"])).unwrap();
    assert_eq!(outcome, "unanswered");
    assert!(settled(federation.member(TRUST), text(&found["unary"])).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_in_python_reads_every_reason_that_there_is_and_that_evidence_does_not_fit() {
    let mut federation = TestFederation::new().await;
    federation.restart(COUNCIL);
    let stand_in = StandIn::start(federation.member(TRUST)).await;
    let mut script = talk(&federation, "client.py", "declined");
    assert_eq!(script.hear(), "ready");
    for reason in Reason::ALL {
        // A stale session is asked about once more.
        for _ in 0..if *reason == Reason::StaleSession { 2 } else { 1 } {
            stand_in.answers(Answer { refusal: Some(*reason), ..Answer::default() }).await;
        }
        script.say(&format!("{reason} provider"));
        let (_, record) = settled(federation.member(COUNCIL), &script.hear()).unwrap();
        assert_eq!(record.opened.unwrap().refusal(), reason.as_str());
    }
    // The same refusal by somebody else's key: the consumer's gateway believes none of it.
    let key = SigningKey::generate("trust.example/gateway/main").unwrap();
    let refusal = Some(Reason::NoAgreement);
    stand_in.answers(Answer { refusal, key: Some(key), ..Answer::default() }).await;
    script.say("EVIDENCE_MISMATCH consumer");
    let (outcome, _) = settled(federation.member(COUNCIL), &script.hear()).unwrap();
    assert_eq!(outcome, "failed");
    script.say("");
    let known: Value = serde_json::from_str(&script.hear()).unwrap();
    script.end();
    assert_eq!(known["reasons"].as_array().unwrap().len(), Reason::ALL.len());
}

#[tokio::test]
async fn reflection_shows_a_system_the_contracts_that_it_may_use_and_no_other() {
    let federation = TestFederation::new().await.start();
    partner(&federation, "client.py", "reflection", &[]);
    partner(&federation, "client.py", "health", &[]);
}

#[tokio::test]
async fn a_partner_in_python_reads_which_fields_break_the_rules_of_a_contract() {
    let federation = TestFederation::without_agreement().await;
    federation.agree(&crate::rules::lookups());
    federation.member(TRUST).configure(crate::rules::BINDING);
    partner(&federation.start(), "client.py", "violations", &[]);
}

#[tokio::test]
async fn a_request_that_is_compressed_otherwise_is_refused_as_grpc_has_it() {
    let federation = TestFederation::new().await.start();
    partner(&federation, "client.py", "compressed", &[]);
    let refused: Vec<_> =
        federation.member(COUNCIL).records().into_iter().filter(|r| r.kind() == Kind::Refusal).collect();
    assert_eq!(refused.len(), 1);
    // grpcio hides what the gateway says it takes.
    let metadata = drawbridge_tests::client::metadata(&[
        ("grpc-encoding", "snappy"),
        ("drawbridge-provider", TRUST),
        ("drawbridge-purpose", PURPOSE),
    ]);
    let body = Bytes::from_static(b"\x01\x00\x00\x00\x01x");
    let (head, _) = federation.revenues().await.open_raw("/test.v1.Echo/Say", &metadata, body, None).await.unwrap();
    assert_eq!(head["grpc-accept-encoding"], "identity,gzip");
}

#[tokio::test]
async fn a_grpc_back_end_answers_and_learns_who_asks_and_nothing_else() {
    let (federation, _backend) = plain().await;
    let found = partner(&federation, "echo.py", "crosses", &[]);
    for (exchange, messages) in [(text(&found["unary"]), 1), (text(&found["stream"]), 3000)] {
        for member in [COUNCIL, TRUST] {
            let (_, record) = settled(federation.member(member), exchange).unwrap();
            let opened = record.opened.unwrap();
            assert_eq!((opened.private.outcome.as_str(), opened.messages()), ("answered", messages), "{member}");
            let conditions = &opened.private.conditions;
            assert_eq!(conditions.iter().any(|c| c == "plaintext-legacy"), member == TRUST, "{member}: {conditions:?}");
        }
    }
}

#[tokio::test]
async fn a_grpc_back_end_is_reached_over_tls_of_its_own_authority() {
    let federation = TestFederation::new().await;
    let trust = federation.member(TRUST);
    let issued = trust.authority.issue_gateway(&trust.gateway, &["localhost"], SystemTime::now()).unwrap();
    let [certificate, key] = ["backend.pem", "backend.key.pem"].map(|name| trust.folder.join(name));
    std::fs::write(&certificate, issued.certificate_pem).unwrap();
    std::fs::write(&key, issued.key_pem.as_bytes()).unwrap();
    let backend = Backend::start(&["--certificate", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()]);
    federation
        .member(TRUST)
        .bind_echo(&format!("address = \"https://localhost:{}\", ca = \"offline/authority.pem\"", backend.port));
    let mut federation = federation.start();
    partner(&federation, "echo.py", "crosses", &[]);
    // With another authority's certificate it is not asked at all.
    federation.member(TRUST).reconfigure("ca = \"offline/authority.pem\"", "ca = \"other.pem\"");
    let other = &federation.member(COUNCIL).authority;
    std::fs::write(federation.member(TRUST).folder.join("other.pem"), other.certificate_pem()).unwrap();
    federation.restart(TRUST);
    let before = backend.events().len();
    let reply = federation.call("test.v1.Echo/Say", r#"{"text": "never"}"#).await;
    assert_eq!(reply.reason(), Some(Reason::ConnectorFailed), "{}", reply.status.message);
    assert_eq!(backend.events().len(), before);
}

#[tokio::test]
async fn a_back_ends_own_status_crosses_unchanged_and_is_in_the_signed_digest() {
    let (federation, _backend) = plain().await;
    let found = partner(&federation, "echo.py", "fails", &[]);
    let exchanges = found["exchanges"].as_array().unwrap();
    assert_eq!(exchanges.len(), 6);
    for (at, failed) in exchanges.iter().enumerate() {
        let details = hex(text(&failed[1]));
        let status = tonic_status(&details);
        for member in [COUNCIL, TRUST] {
            let (outcome, record) = settled(federation.member(member), text(&failed[0])).unwrap();
            // A status of the back end's own is an answer: it declined, and the gateways did not.
            assert_eq!(outcome, "answered", "{member}");
            let opened = record.opened.unwrap();
            let (claims, closing) = (opened.claims.unwrap(), opened.closing.unwrap());
            assert_eq!((closing.status, closing.refusal.as_str()), (status.code.cast_unsigned(), ""), "{member}");
            // Unary: no message passed, so that the digest is over the status alone. A stream had none either.
            let expected = digests::Running::new(&claims.nonce).close(&status);
            assert_eq!(closing.response_digest.as_ref(), expected, "{member}, {at}");
        }
    }
}

/// The status that stands in the trailers, from the `google.rpc.Status` that the client read.
fn tonic_status(details: &[u8]) -> Status {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Rpc {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let rpc = Rpc::decode(details).unwrap();
    Status { code: rpc.code, message: rpc.message, details: details.to_vec().into() }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn what_a_back_end_answers_off_the_contract_is_no_answer() {
    let (federation, backend) = plain().await;
    let mut client = federation.revenues().await;
    let off = [("0a0561", "ends within a value"), ("0801", "wire type"), ("0a01ff", "UTF-8"), ("00", "tag")];
    for (raw, why) in off {
        for method in ["test.v1.Echo/Say", "test.v1.Echo/Repeat"] {
            // A stream has two good rows first.
            let request = federation.request(method, &format!("{{\"text\": \"raw:{raw}\", \"times\": \"2\"}}"));
            let reply = client.call(&format!("/{method}"), &standard(), &request).await.unwrap();
            let told = &reply.status.message;
            assert_eq!(
                (reply.reason(), reply.status.code),
                (Some(Reason::ConnectorFailed), 13),
                "{method} {raw}: {told}"
            );
            assert_eq!(reply.trailers["drawbridge-hop"], "legacy");
            assert!(!told.contains("contract"), "what the system answered is its own member's to know: {told}");
            assert_eq!(reply.messages.len(), if method.ends_with("Repeat") { 2 } else { 0 }, "{method} {raw}");
            for member in [COUNCIL, TRUST] {
                let (outcome, record) = settled(federation.member(member), &reply.exchange()).unwrap();
                let opened = record.opened.unwrap();
                assert_eq!((outcome.as_str(), opened.refusal()), ("failed", "CONNECTOR_FAILED"), "{member}");
                let detail = opened.private.detail;
                let named = detail.contains("not one of the contract's") && detail.contains(why);
                assert_eq!(named, member == TRUST, "{member} {raw}: {detail}");
            }
        }
    }
    // A field that the contract does not have is no fault in an answer; it does not leave the member.
    let request = federation.request("test.v1.Echo/Say", r#"{"text": "raw:0a0178980601"}"#);
    let reply = client.call("/test.v1.Echo/Say", &standard(), &request).await.unwrap();
    assert_eq!((reply.status.code, &reply.messages[0][..]), (0, &b"\x0a\x01x"[..]), "{}", reply.status.message);
    assert_eq!(backend.asked(), 9);
}

#[tokio::test]
async fn a_deadline_and_a_cancel_reach_the_back_end() {
    let (federation, backend) = plain().await;
    let mut script = talk(&federation, "echo.py", "stops");
    assert_eq!(script.hear(), "asked");
    let asked = backend.heard("asked", "deadline").await;
    let left = asked["left"].as_f64().expect("the back end knows the deadline");
    assert!(left > 0.0 && left < 1.0, "{left}");
    backend.heard("stopped", "deadline").await;
    backend.heard("asked", "cancelled").await;
    script.say("go on");
    backend.heard("stopped", "cancelled").await;
    backend.heard("asked", "stream").await;
    backend.heard("ended", "stream").await;
    script.hear();
    script.end();
}

#[tokio::test]
async fn one_caller_after_the_other_waits_for_no_delayed_acknowledgement() {
    let (federation, backend) = plain().await;
    let found = partner(&federation, "echo.py", "pace", &["--backend", &format!("127.0.0.1:{}", backend.port)]);
    let (direct, through) = (found["direct"].as_f64().unwrap(), found["through"].as_f64().unwrap());
    assert!(through < STALLED * direct, "a call takes {through} s through the gateways, {direct} s directly");
}
