//! Agreements come and go while gateways run.

use std::time::{Duration, Instant, SystemTime};

use drawbridge_tests::{Agreement, COUNCIL, TRUST, TestFederation, eventually, federation::standard};
use exchange::Reason;
use http_body_util::BodyExt as _;

#[tokio::test]
async fn a_new_agreement_is_noticed_by_a_gateway_that_runs() {
    let federation = TestFederation::without_agreement().await.start();
    let before = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(before.reason(), Some(Reason::NoAgreement));
    federation.agree(&Agreement::default());
    eventually("the call is answered", 5, async || {
        (federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.status.code == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agreement_that_only_the_consumer_has_permits_nothing_and_tells_nothing() {
    let federation = TestFederation::without_agreement().await;
    federation.agree_at(&Agreement::default(), federation.member(COUNCIL));
    let federation = federation.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.reason(), Some(Reason::NoAgreement));
    assert_eq!(reply.trailers["drawbridge-hop"], "provider");
    assert!(!reply.status.message.contains("test.v1"), "{}", reply.status.message);
    // Refused by the provider, and both have it.
    for member in [COUNCIL, TRUST] {
        assert_eq!(federation.member(member).records_of(&reply.exchange()).len(), 1, "{member}");
    }
}

#[tokio::test]
async fn an_agreement_whose_time_is_over_is_refused_as_ended() {
    let federation = TestFederation::without_agreement().await;
    let now = SystemTime::now();
    let hour = Duration::from_hours(1);
    federation.agree(&Agreement { from: now - 3 * hour, until: now - hour, ..Agreement::default() });
    let federation = federation.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.reason(), Some(Reason::AgreementEnded), "{}", reply.status.message);
}

#[tokio::test]
async fn ending_an_agreement_closes_its_open_streams_on_both_sides_within_seconds() {
    for by in [COUNCIL, TRUST] {
        let federation = TestFederation::without_agreement().await;
        // The end note names the very text, times included.
        let agreement = Agreement::default();
        federation.agree(&agreement);
        let federation = federation.start();
        let list = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
        let mut client = federation.revenues().await;
        let (head, mut body) = client.open("/test.v1.Records/List", &standard(), &list, None).await.unwrap();
        let exchange = head["drawbridge-exchange-id"].to_str().unwrap().to_owned();
        body.frame().await.unwrap().unwrap();
        federation.end(&agreement, by);
        let ended = Instant::now();
        let trailers = loop {
            let frame = body.frame().await.expect("trailers come").unwrap();
            if let Ok(trailers) = frame.into_trailers() {
                break trailers;
            }
        };
        let status = exchange::headers::read_status(&trailers).unwrap();
        assert_eq!(status.reason(), Some(Reason::AgreementEnded), "{by}: {}", status.message);
        assert!(ended.elapsed() < Duration::from_secs(10), "{by}: {:?}", ended.elapsed());
        for member in [COUNCIL, TRUST] {
            eventually("it is settled", 5, async || {
                federation.member(member).records_of(&exchange).iter().any(records::Record::settles).then_some(())
            })
            .await;
            // The end note reaches the other side, and new calls are refused there too.
            let folder = federation.member(member).folder.join("agreements");
            eventually("the end note is there", 10, async || {
                std::fs::read_dir(&folder)
                    .unwrap()
                    .any(|f| std::fs::read_to_string(f.unwrap().path()).is_ok_and(|t| t.contains("drawbridge.end/v1")))
                    .then_some(())
            })
            .await;
        }
    }
}
