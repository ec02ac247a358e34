//! Limits that an agreement sets: counted by both gateways, durable, and told with the time to come back.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use drawbridge_tests::{
    Agreement, COUNCIL, Client, Member, TRUST, TestFederation, client::Reply, eventually, federation::standard,
    process::succeed,
};
use exchange::{Reason, millis};
use http::HeaderValue;
use note::SigningKey;
use policy::AgreementFile;
use prost::Message as _;
use proto::link::ConsumerClaims;
use records::{Draft, ExchangeId, Kind, Private, Records, Shared, Side};

const FIND: &str = "/test.v1.Records/Find";
const LIST: &str = "/test.v1.Records/List";

/// An agreement by which `revenues` may ask one method for one purpose, within limits.
fn limited(id: &str, method: &str, purpose: &str, limits: &str) -> Agreement {
    let grants = format!(
        "[[grant]]\nservice = \"test.v1.Records\"\ndigest = \"@digest:test.v1.Records@\"\nmethods = [\"{method}\"]\nsystems = [\"revenues\"]\npurposes = [\"{purpose}\"]\nfields = [\"id\"]\n[grant.limits]\n{limits}\n"
    );
    let purposes = format!("[purpose.{purpose}]\nlegal_basis = \"Children Act 2004, section 11\"\n");
    Agreement { id: id.to_owned(), grants, purposes, ..Agreement::default() }
}

async fn federation(agreements: &[Agreement]) -> TestFederation {
    let federation = TestFederation::without_agreement().await;
    for agreement in agreements {
        federation.agree(agreement);
    }
    federation.start()
}

async fn find(federation: &TestFederation) -> Reply {
    federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await
}

/// Asks for so many rows.
async fn list(federation: &TestFederation, count: u64) -> Reply {
    federation.call("test.v1.Records/List", &format!("{{\"count\": \"{count}\"}}")).await
}

#[track_caller]
fn answered(reply: &Reply) {
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
}

/// The reply is refused at `hop` for this limit.
#[track_caller]
fn reached(reply: &Reply, limit: &str, hop: &str) {
    let told = (reply.reason(), reply.status.code, reply.status.limit());
    assert_eq!(told, (Some(Reason::QuotaExceeded), 8, Some(limit.to_owned())), "{}", reply.status.message);
    assert_eq!(reply.trailers["drawbridge-hop"], hop, "{}", reply.status.message);
}

/// The reply says to come back at midnight, by UTC.
#[track_caller]
fn until_midnight(reply: &Reply) {
    let day = Duration::from_hours(24).as_secs();
    let left = day - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % day;
    let told = reply.status.retry_after().expect("it says when to come back").as_secs();
    assert!(told.abs_diff(left) <= 60, "{told} s are told, and {left} s are left of the day");
}

/// Has the gateway of the council begin a new log, so that it knows nothing of what was asked.
fn forget(federation: &mut TestFederation) {
    federation.take(COUNCIL).kill();
    let data = federation.member(COUNCIL).folder.join("data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    federation.restart(COUNCIL);
}

#[tokio::test]
async fn the_calls_of_a_day_are_counted_by_both_sides_and_survive_a_kill() {
    let mut federation = federation(&[limited("daily", "Find", "safeguarding", "calls_per_day = 3")]).await;
    answered(&find(&federation).await);
    answered(&find(&federation).await);
    for member in [COUNCIL, TRUST] {
        federation.take(member).kill();
    }
    for member in [TRUST, COUNCIL] {
        federation.restart(member);
    }
    answered(&find(&federation).await);
    let early = find(&federation).await;
    reached(&early, "calls_per_day", "consumer");
    until_midnight(&early);
    // Refused early, it never crossed.
    assert!(federation.member(TRUST).records_of(&early.exchange()).is_empty());
    // What the consumer's gateway does not know any more, the provider's does.
    forget(&mut federation);
    let late = find(&federation).await;
    reached(&late, "calls_per_day", "provider");
    until_midnight(&late);
    for member in [COUNCIL, TRUST] {
        let record = &federation.member(member).records_of(&late.exchange())[0];
        assert_eq!((record.kind(), record.opened.as_ref().unwrap().refusal()), (Kind::Refusal, "QUOTA_EXCEEDED"));
        assert_eq!(record.opened.as_ref().unwrap().private.counted_grant, 0, "{member}");
    }
}

#[tokio::test]
async fn no_second_has_more_calls_than_agreed_and_the_next_has_room_again() {
    let federation = federation(&[limited("slow", "Find", "safeguarding", "calls_per_second = 2")]).await;
    let (client, request) = (federation.revenues().await, federation.request("test.v1.Records/Find", r#"{"id": "1"}"#));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (mut client, request): (Client, _) = (client.clone(), request.clone());
        calls.spawn(async move { client.call(FIND, &standard(), &request).await.unwrap() });
    }
    let replies = calls.join_all().await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status.code != 0).collect();
    assert!(!refused.is_empty(), "fifty calls at once took 25 seconds");
    for reply in refused {
        reached(reply, "calls_per_second", "consumer");
        assert!(reply.status.retry_after().unwrap() <= Duration::from_secs(1), "{:?}", reply.status.retry_after());
    }
    eventually("there is room again", 10, async || (find(&federation).await.status.code == 0).then_some(())).await;
    let mut seconds: HashMap<u64, u64> = HashMap::new();
    for record in federation.member(TRUST).records().iter().filter(|record| record.kind() == Kind::Outcome) {
        let claims = record.opened.as_ref().and_then(|opened| opened.claims.as_ref()).unwrap();
        *seconds.entry(claims.time / 1000).or_default() += 1;
    }
    assert!(seconds.values().all(|calls| *calls <= 2), "{seconds:?}");
}

#[tokio::test]
async fn a_stream_ends_at_the_rows_of_a_call_and_what_had_passed_is_settled_at_both() {
    let federation = federation(&[limited("short", "List", "safeguarding", "rows_per_call = 10")]).await;
    let exact = list(&federation, 10).await;
    answered(&exact);
    assert_eq!(exact.messages.len(), 10);
    let cut = list(&federation, 100_000).await;
    reached(&cut, "rows_per_call", "provider");
    assert_eq!(cut.messages.len(), 10);
    // The same question would end in the same place.
    assert_eq!(cut.status.retry_after(), None);
    for member in [COUNCIL, TRUST] {
        let records = federation.member(member).records_of(&cut.exchange());
        let settled = records.iter().find(|record| record.settles()).unwrap().opened.as_ref().unwrap();
        assert_eq!((settled.refusal(), settled.messages()), ("QUOTA_EXCEEDED", 10), "{member}");
    }
    answered(&list(&federation, 3).await);
}

#[tokio::test]
async fn the_rows_of_a_day_are_shared_by_its_calls_to_the_last_one() {
    let mut federation = federation(&[limited("rows", "List", "safeguarding", "rows_per_day = 15")]).await;
    answered(&list(&federation, 10).await);
    let cut = list(&federation, 10).await;
    reached(&cut, "rows_per_day", "provider");
    assert_eq!(cut.messages.len(), 5);
    until_midnight(&cut);
    reached(&list(&federation, 1).await, "rows_per_day", "consumer");
    federation.take(TRUST).kill();
    federation.restart(TRUST);
    forget(&mut federation);
    let refused = list(&federation, 1).await;
    reached(&refused, "rows_per_day", "provider");
    assert!(refused.messages.is_empty());
}

#[tokio::test]
async fn a_stream_that_was_cut_by_a_kill_counts_with_what_its_records_say_had_passed() {
    let mut federation =
        federation(&[limited("cut", "List", "safeguarding", "calls_per_day = 1\nrows_per_day = 100000000")]).await;
    let request = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
    let mut client = federation.revenues().await;
    let (head, body) = client.open(LIST, &standard(), &request, None).await.unwrap();
    let exchange = head["drawbridge-exchange-id"].to_str().unwrap().to_owned();
    let reading = tokio::spawn(http_body_util::BodyExt::collect(body));
    let progressed = eventually("a progress record is there", 20, async || {
        let records = federation.member(TRUST).records_of(&exchange);
        records.iter().any(|record| record.kind() == Kind::Progress).then_some(())
    });
    progressed.await;
    for member in [TRUST, COUNCIL] {
        federation.take(member).kill();
    }
    drop(reading.await);
    for member in [TRUST, COUNCIL] {
        federation.restart(member);
    }
    reached(&list(&federation, 1).await, "calls_per_day", "consumer");
    let settled = federation.member(TRUST).records_of(&exchange);
    let passed = settled.iter().find(|record| record.settles()).unwrap().opened.as_ref().unwrap().messages();
    assert!(passed > 0);
    assert_eq!(used(&federation, TRUST), [("calls_per_day".to_owned(), 1), ("rows_per_day".to_owned(), passed)]);
}

/// Writes calls of these times into a member's log, before its gateway begins.
async fn remember(member: &Member, side: Side, times: &[SystemTime]) {
    let read = |name: &str| std::fs::read_to_string(member.folder.join(name)).unwrap();
    let agreement = AgreementFile::parse("daily.note", &read("agreements/daily.note")).unwrap();
    let digest = agreement.agreement().digest();
    let log_key = SigningKey::parse(&read("keys/log.key")).unwrap();
    let config = ledger::Config::new(member.ledger(), member.gateway.log_origin(), log_key, member.gateway_key.clone());
    let (ledger, _) = ledger::Ledger::open(config).unwrap();
    let records = Records::open(ledger.clone(), member.ledger()).unwrap().records;
    for (at, time) in times.iter().enumerate() {
        let id = ExchangeId::new(*time, [u8::try_from(at).unwrap(); 10]);
        let claims = ConsumerClaims { time: millis(*time), ..ConsumerClaims::default() };
        let shared = Shared {
            kind: Kind::Outcome.into(),
            side: side.into(),
            exchange_id: id.as_bytes().to_vec().into(),
            consumer_claims: claims.encode_to_vec().into(),
            ..Shared::default()
        };
        let private = Private {
            time: millis(*time),
            agreement_digest: digest.0.to_vec().into(),
            counted_grant: 1,
            ..Private::default()
        };
        records.append(Draft { shared, private }, None).await.unwrap();
    }
    drop(records);
    ledger.close().await;
}

#[tokio::test]
async fn a_new_day_by_utc_has_room_again_and_what_the_log_has_of_today_counts() {
    let federation = TestFederation::without_agreement().await;
    federation.agree(&limited("daily", "Find", "safeguarding", "calls_per_day = 3"));
    let now = SystemTime::now();
    let yesterday = now - Duration::from_hours(24);
    for (member, side) in [(COUNCIL, Side::Consumer), (TRUST, Side::Provider)] {
        remember(federation.member(member), side, &[yesterday, yesterday, yesterday, now]).await;
    }
    let mut federation = federation.start();
    answered(&find(&federation).await);
    answered(&find(&federation).await);
    reached(&find(&federation).await, "calls_per_day", "consumer");
    forget(&mut federation);
    reached(&find(&federation).await, "calls_per_day", "provider");
}

#[tokio::test]
async fn two_agreements_count_apart() {
    let federation = federation(&[
        limited("one", "Find", "safeguarding", "calls_per_day = 1"),
        limited("other", "Find", "audit", "calls_per_day = 2"),
    ])
    .await;
    let request = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let mut audit = standard();
    audit.insert("drawbridge-purpose", HeaderValue::from_static("audit"));
    answered(&client.call(FIND, &standard(), &request).await.unwrap());
    reached(&client.call(FIND, &standard(), &request).await.unwrap(), "calls_per_day", "consumer");
    answered(&client.call(FIND, &audit, &request).await.unwrap());
    answered(&client.call(FIND, &audit, &request).await.unwrap());
    reached(&client.call(FIND, &audit, &request).await.unwrap(), "calls_per_day", "consumer");
}

#[tokio::test]
async fn what_was_refused_or_never_sent_does_not_count() {
    let mut federation =
        federation(&[limited("once", "Find", "safeguarding", "calls_per_day = 1\nrows_per_day = 1")]).await;
    let malformed = federation.revenues().await.call(FIND, &standard(), b"\xff").await.unwrap();
    assert_eq!(malformed.reason(), Some(Reason::Malformed));
    federation.take(TRUST).kill();
    assert_eq!(find(&federation).await.reason(), Some(Reason::LinkDown));
    federation.restart(TRUST);
    let reply = eventually("the link is up again", 20, async || {
        let reply = find(&federation).await;
        (reply.reason() != Some(Reason::LinkDown)).then_some(reply)
    });
    answered(&reply.await);
    reached(&find(&federation).await, "calls_per_day", "consumer");
}

/// What `drawbridge status` says is used.
fn used(federation: &TestFederation, member: &str) -> Vec<(String, u64)> {
    let told = succeed(&federation.member(member).folder, ["status", "--config", "gateway.toml", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let limits = told["agreements"]["limits"].as_array().unwrap();
    limits.iter().map(|one| (one["limit"].as_str().unwrap().to_owned(), one["used"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_is_used_of_a_limit() {
    let limits = "calls_per_day = 1000\nrows_per_day = 5000\nrows_per_call = 4";
    let federation = federation(&[limited("seen", "List", "safeguarding", limits)]).await;
    answered(&list(&federation, 3).await);
    list(&federation, 9).await;
    let expected = [("calls_per_day".to_owned(), 2), ("rows_per_day".to_owned(), 7)];
    for member in [COUNCIL, TRUST] {
        assert_eq!(used(&federation, member), expected, "{member}");
    }
    let table = succeed(&federation.member(TRUST).folder, ["status", "--config", "gateway.toml"]);
    for part in ["LIMIT OF AGREEMENT", "seen", "1: test.v1.Records", "1,000 calls", "5,000 rows"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}
