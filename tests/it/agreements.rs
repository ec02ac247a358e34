//! Agreements come and go while gateways run.

use std::time::{Duration, SystemTime};

use drawbridge_tests::{Agreement, COUNCIL, Member, TRUST, TestFederation, eventually, federation::standard};
use exchange::{Reason, Status, millis};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

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

/// What is promised: from when an end note has reached a gateway until its open streams are closed, in milliseconds.
const CLOSED_WITHIN: u64 = 2_000;

/// When the end note reached a member's gateway: when it came to lie in its folder. Milliseconds since the Unix epoch.
async fn reached(member: &Member) -> u64 {
    eventually("the end note is there", 10, async || {
        let files = std::fs::read_dir(member.folder.join("agreements")).unwrap().map(|file| file.unwrap().path());
        let mut notes =
            files.filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("drawbridge.end/v1")));
        let changed = notes.next()?.metadata().unwrap().modified().unwrap();
        Some(millis(changed))
    })
    .await
}

/// When an exchange was settled at a member, by its log, and the reason there.
async fn closed(member: &Member, exchange: &str) -> (u64, String) {
    eventually("it is settled", 10, async || {
        let record = member.records_of(exchange).into_iter().find(records::Record::settles)?;
        let opened = record.opened.unwrap();
        Some((opened.private.time, opened.refusal().to_owned()))
    })
    .await
}

/// Reads on to the status.
async fn ending(body: &mut Incoming) -> Status {
    loop {
        let frame = body.frame().await.expect("trailers come").unwrap();
        if let Ok(trailers) = frame.into_trailers() {
            return exchange::headers::read_status(&trailers).unwrap();
        }
    }
}

/// Ends the agreement under an open stream, and holds what both logs say of it against the promise.
async fn ends_in_time(by: &str, reading: bool) {
    let federation = TestFederation::without_agreement().await;
    // The end note names the very text, times included.
    let agreement = Agreement::default();
    federation.agree(&agreement);
    let federation = federation.start();
    let list = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
    let mut client = federation.member(COUNCIL).connect_with_window("revenues", 64 * 1024).await;
    let (head, mut body) = client.open("/test.v1.Records/List", &standard(), &list, None).await.unwrap();
    let exchange = head["drawbridge-exchange-id"].to_str().unwrap().to_owned();
    body.frame().await.unwrap().unwrap();
    federation.end(&agreement, by);
    let mut status = None;
    if reading {
        status = Some(ending(&mut body).await);
    }
    let first = reached(federation.member(by)).await;
    for member in [COUNCIL, TRUST] {
        let (closed, reason) = closed(federation.member(member), &exchange).await;
        let reached = reached(federation.member(member)).await;
        // Where the reader reads, whoever ends it ends it for both; held back by a reader, each gateway sees to itself.
        let since = if reading { first } else { reached };
        let took = closed.saturating_sub(since);
        eprintln!("{member}, ended by {by}, reading {reading}: {took} ms, {reason}");
        assert!(took <= CLOSED_WITHIN, "{member} closed it {took} ms after the end note by {by}, reading: {reading}");
        let own = reason == Reason::AgreementEnded.as_str();
        assert!(own || member != by && reason == Reason::Cancelled.as_str(), "{member}, ended by {by}: {reason}");
    }
    let status = match status {
        Some(status) => status,
        None => ending(&mut body).await,
    };
    assert_eq!(status.reason(), Some(Reason::AgreementEnded), "{by}: {}", status.message);
    let again = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(again.reason(), Some(Reason::AgreementEnded), "{by}: {}", again.status.message);
}

#[tokio::test]
async fn ending_an_agreement_closes_its_open_streams_on_both_sides_within_two_seconds() {
    for by in [COUNCIL, TRUST] {
        ends_in_time(by, true).await;
    }
}

#[tokio::test]
async fn a_stream_whose_reader_pauses_is_closed_as_fast() {
    for by in [COUNCIL, TRUST] {
        ends_in_time(by, false).await;
    }
}

/// Nobody can hand it an end note, and of two agreements on the same thing the one that is over may not keep it from the other.
#[tokio::test]
async fn a_gateway_that_nobody_can_dial_asks_which_agreements_are_ended() {
    let mut federation = TestFederation::without_agreement().await;
    federation.hide(COUNCIL, 2);
    let (first, second) = (
        Agreement { id: "a-first".to_owned(), ..Agreement::default() },
        Agreement { id: "b-second".to_owned(), ..Agreement::default() },
    );
    federation.agree(&first);
    federation.agree(&second);
    let federation = federation.start();
    let asked = async || federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(asked().await.status.code, 0);
    federation.end(&first, TRUST);
    eventually("it has asked for the end note", 30, async || {
        let folder = std::fs::read_dir(federation.member(COUNCIL).folder.join("agreements")).unwrap();
        let mut names = folder.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.any(|name| name.contains("end")).then_some(())
    })
    .await;
    eventually("the other agreement is used", 10, async || (asked().await.status.code == 0).then_some(())).await;
    federation.end(&second, TRUST);
    eventually("it knows of both", 30, async || {
        let reply = asked().await;
        (reply.reason() == Some(Reason::AgreementEnded) && reply.trailers["drawbridge-hop"] == "consumer").then_some(())
    })
    .await;
}
