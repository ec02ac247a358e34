//! One exchange between two gateways, seen from the system that asks and from both logs.

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, client::metadata, federation::standard};
use exchange::{Hop, Reason};
use proto::records::Kind;

#[tokio::test]
async fn an_answer_comes_minimised_and_is_in_both_logs() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let answer = federation.answer("test.v1.Records/Find", &reply.messages[0]);
    assert_eq!(answer, serde_json::json!({"id": "1", "name": {"family": "Archer"}, "note": "checked"}));
    assert!(reply.headers["drawbridge-withheld"].to_str().unwrap().starts_with("sha256:"));
    for member in [COUNCIL, TRUST] {
        let records = federation.member(member).records_of(&reply.exchange());
        assert_eq!(records.iter().map(records::Record::kind).collect::<Vec<_>>(), [Kind::Outcome], "{member}");
        let private = &records[0].opened.as_ref().unwrap().private;
        assert_eq!((private.outcome.as_str(), private.case_reference.as_str()), ("answered", "case-1"));
    }
}

#[tokio::test]
async fn every_row_of_a_stream_passes_and_both_sides_count_the_same() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/List", r#"{"count": "50000"}"#).await;
    assert_eq!((reply.status.code, reply.messages.len()), (0, 50_000), "{}", reply.status.message);
    let last = federation.answer("test.v1.Records/List", &reply.messages[49_999]);
    assert_eq!(last["id"], "50000");
    assert!(last.get("secret").is_none() && last.get("name").is_none(), "{last}");
    for member in [COUNCIL, TRUST] {
        let records = federation.member(member).records_of(&reply.exchange());
        let kinds: Vec<_> = records.iter().map(records::Record::kind).collect();
        assert_eq!((kinds[0], kinds[kinds.len() - 1]), (Kind::Intent, Kind::Outcome), "{member}");
        assert!(kinds.contains(&Kind::Progress), "{member}: {kinds:?}");
        let closing = records.last().unwrap().opened.as_ref().unwrap().closing.as_ref().unwrap();
        assert_eq!(closing.messages, 50_000);
    }
}

#[tokio::test]
async fn an_empty_stream_is_an_answer() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/List", r#"{"count": "0"}"#).await;
    assert_eq!((reply.status.code, reply.messages.len()), (0, 0), "{}", reply.status.message);
    // It opens as every stream does, and says what it withholds of the rows that there are not.
    assert!(!reply.headers.contains_key("grpc-status") && reply.headers.contains_key("drawbridge-withheld"));
    for member in [COUNCIL, TRUST] {
        let records = federation.member(member).records_of(&reply.exchange());
        assert_eq!(records.iter().map(records::Record::kind).collect::<Vec<_>>(), [Kind::Intent, Kind::Outcome]);
        let closing = records[1].opened.as_ref().unwrap().closing.as_ref().unwrap();
        assert_eq!((closing.messages, closing.status, closing.refusal.as_str()), (0, 0, ""), "{member}");
    }
}

#[tokio::test]
async fn what_is_not_found_is_an_answer_with_a_receipt() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "99"}"#).await;
    assert_eq!((reply.status.code, reply.reason()), (5, None));
    let records = federation.member(TRUST).records_of(&reply.exchange());
    assert_eq!(records[0].kind(), Kind::Outcome);
    assert_eq!(records[0].opened.as_ref().unwrap().closing.as_ref().unwrap().status, 5);
}

#[tokio::test]
async fn what_may_not_be_asked_is_refused_with_its_reason_and_recorded() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let (provider, purpose, case) =
        (("drawbridge-provider", TRUST), ("drawbridge-purpose", "safeguarding"), ("drawbridge-case", "c"));
    let cases: Vec<(&str, Vec<(&str, &str)>, &[u8], Reason, i32)> = vec![
        ("/test.v1.Records/Hidden", vec![provider, purpose, case], &find, Reason::NoAgreement, 7),
        ("/test.v1.Nothing/Find", vec![provider, purpose, case], &find, Reason::NoAgreement, 7),
        ("/test.v1.Records/Nothing", vec![provider, purpose, case], &find, Reason::UnknownMethod, 12),
        (
            "/test.v1.Records/Find",
            vec![provider, ("drawbridge-purpose", "curiosity"), case],
            &find,
            Reason::WrongPurpose,
            7,
        ),
        (
            "/test.v1.Records/Find",
            vec![("drawbridge-provider", "police.example"), purpose, case],
            &find,
            Reason::NoAgreement,
            7,
        ),
        ("/test.v1.Records/Find", vec![provider, purpose], &find, Reason::Metadata, 3),
        ("/test.v1.Records/Find", vec![provider, case], &find, Reason::Metadata, 3),
        ("/test.v1.Records/Find", vec![purpose, case], &find, Reason::Metadata, 3),
        (
            "/test.v1.Records/Find",
            vec![provider, purpose, case, ("drawbridge-consumer", "x")],
            &find,
            Reason::Metadata,
            3,
        ),
        ("/test.v1.Records/Find", vec![provider, purpose, case], b"\x08", Reason::Malformed, 3),
        ("/test.v1.Records/Find", vec![provider, purpose, case], b"\x98\x06\x01", Reason::Malformed, 3),
        ("/test.v1.Records/Unbound", vec![provider, purpose, case], &find, Reason::NoAgreement, 7),
    ];
    let mut client = federation.revenues().await;
    for (path, pairs, message, reason, code) in cases {
        let reply = client.call(path, &metadata(&pairs), message).await.unwrap();
        assert_eq!(
            (reply.reason(), reply.status.code),
            (Some(reason), code),
            "{path} {pairs:?}: {}",
            reply.status.message
        );
        let records = federation.member(COUNCIL).records_of(&reply.exchange());
        assert_eq!(records.len(), 1, "{path} {pairs:?}");
        assert_eq!(records[0].opened.as_ref().unwrap().shared.refusal, reason.as_str());
        let hop = if path.ends_with("Unbound") { Hop::Provider } else { Hop::Consumer };
        assert_eq!(reply.trailers["drawbridge-hop"], hop.as_str(), "{path}");
    }
}

#[tokio::test]
async fn a_system_that_the_agreement_does_not_name_is_refused() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut planning = federation.member(COUNCIL).connect("planning").await.unwrap();
    let reply = planning.call("/test.v1.Records/Find", &standard(), &find).await.unwrap();
    assert_eq!(reply.reason(), Some(Reason::NoAgreement), "{}", reply.status.message);
}

#[tokio::test]
async fn a_deadline_stops_the_statement_and_the_answer_says_so() {
    let federation = TestFederation::new().await.start();
    let slow = federation.request("test.v1.Records/Slow", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let (head, body) = client
        .open("/test.v1.Records/Slow", &standard(), &slow, Some(std::time::Duration::from_millis(800)))
        .await
        .unwrap();
    let reply = drawbridge_tests::client::read(head, body).await.unwrap();
    assert_eq!((reply.reason(), reply.status.code), (Some(Reason::ConnectorTimeout), 4), "{}", reply.status.message);
    let exchange = reply.exchange();
    let record = &federation.member(TRUST).records_of(&exchange)[0];
    assert_eq!(record.opened.as_ref().unwrap().shared.side(), proto::records::Side::Provider);
    // The statement no longer uses the processor: the provider's gateway comes to rest.
    federation.member(TRUST).at_rest().await;
}

#[tokio::test]
async fn a_caller_that_leaves_stops_the_statement_and_both_sides_say_cancelled() {
    let federation = TestFederation::new().await.start();
    let slow = federation.request("test.v1.Records/Slow", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let call =
        tokio::spawn(async move { client.open("/test.v1.Records/Slow", &standard(), &slow, None).await.map(drop) });
    drawbridge_tests::eventually("the statement runs", 10, async || {
        (federation.member(TRUST).metrics().contains("drawbridge_link_streams{otel_scope_name=\"drawbridge\"} 1"))
            .then_some(())
    })
    .await;
    call.abort();
    for member in [COUNCIL, TRUST] {
        drawbridge_tests::eventually("the exchange is settled as cancelled", 10, async || {
            let records = federation.member(member).records();
            records
                .iter()
                .any(|r| r.settles() && r.opened.as_ref().unwrap().private.outcome == "cancelled")
                .then_some(())
        })
        .await;
    }
    federation.member(TRUST).at_rest().await;
}
