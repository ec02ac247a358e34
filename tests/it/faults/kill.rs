//! SIGKILL, again and again, at moments that a seed chooses, while calls and a stream are under way. Whatever a caller was told
//! must be in the logs afterwards, and the gateway must come up by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use drawbridge_tests::{
    COUNCIL, TRUST, TestFederation, client, eventually, faults::Random, federation::standard, process,
};
use exchange::{Reason, headers};
use http_body_util::BodyExt as _;
use proto::records::Kind;
use records::{Record, compare};

use crate::ledger::{Head, head, verified_by_others};

/// How often a gateway is killed.
const KILLS: u64 = 200;
/// How often everything is verified, not only what the last round did.
const VERIFY_EACH: u64 = 20;
/// Callers of a unary method at once.
const CALLERS: usize = 4;
/// What of a stream may pass beyond its last durable record, in bytes.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
const FIND: &str = "/test.v1.Records/Find";
const LIST: &str = "/test.v1.Records/List";

/// What a caller was told of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// An answer, complete and with status OK.
    Answered,
    /// A refusal.
    Refused(Reason),
}

/// What callers were told in one round, by exchange.
#[derive(Default)]
struct Acknowledged {
    told: Mutex<BTreeMap<String, Told>>,
    /// The stream: its exchange, and the messages and bytes that reached the reader.
    stream: Mutex<Option<(String, u64, u64)>>,
}

impl Acknowledged {
    fn note(&self, exchange: String, status: &exchange::Status) {
        let told = match status.reason() {
            Some(reason) => Told::Refused(reason),
            None if status.code == 0 => Told::Answered,
            None => panic!("status {} without a reason: {}", status.code, status.message),
        };
        self.told.lock().unwrap().insert(exchange, told);
    }
}

/// Calls one after another until it is told to stop, or its connection is gone.
async fn call(mut client: client::Client, message: Vec<u8>, stop: Arc<AtomicBool>, heard: Arc<Acknowledged>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(reply) = client.call(FIND, &standard(), &message).await else { return };
        heard.note(reply.exchange(), &reply.status);
    }
}

/// Reads a stream that would go on for long, until it ends or its connection is gone.
async fn stream(mut client: client::Client, message: Vec<u8>, heard: Arc<Acknowledged>) {
    let Ok((head, mut body)) = client.open(LIST, &standard(), &message, None).await else { return };
    let exchange = head["drawbridge-exchange-id"].to_str().unwrap().to_owned();
    if let Some(status) = headers::read_status(&head) {
        heard.note(exchange, &status);
        return;
    }
    let mut walker = exchange::framing::MessageWalker::new(1 << 20);
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => {
                walker.feed(&data).unwrap();
                bytes += data.len() as u64;
                *heard.stream.lock().unwrap() = Some((exchange.clone(), walker.messages(), bytes));
            }
            Err(frame) => {
                let status = headers::read_status(&frame.into_trailers().unwrap()).unwrap();
                heard.note(exchange, &status);
                return;
            }
        }
    }
}

/// What is known of a member's log, read bit by bit.
#[derive(Default)]
struct Log {
    read: u64,
    settled: BTreeMap<String, Kind>,
    open: BTreeSet<String>,
    heads: Vec<Head>,
}

impl Log {
    /// Reads what has come since the last look. The log only grows.
    fn look(&mut self, federation: &TestFederation, member: &str) -> Vec<Record> {
        let records = federation.member(member).records_from(self.read);
        for record in &records {
            assert_eq!(record.index, self.read, "{member}: the log has every index once");
            self.read += 1;
            let opened = record.opened.as_ref().unwrap();
            assert!(!opened.private.detail.starts_with("promise-broken"), "{member}: {}", opened.private.detail);
            let Some(exchange) = record.exchange().map(|id| id.to_string()) else { continue };
            if record.settles() {
                self.open.remove(&exchange);
                self.settled.insert(exchange, record.kind());
            } else {
                self.open.insert(exchange);
            }
        }
        records
    }
}

struct Story {
    federation: TestFederation,
    random: Random,
    logs: BTreeMap<&'static str, Log>,
    find: Vec<u8>,
    list: Vec<u8>,
    answered: usize,
    refused: BTreeMap<&'static str, usize>,
    /// Exchanges whose intent was there and whose outcome was not when the gateway was killed.
    left_open: usize,
}

impl Story {
    async fn begin() -> Self {
        let federation = TestFederation::new().await.start();
        let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
        let list = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
        let random = Random::seeded("DRAWBRIDGE_KILL_SEED", 20_261_124);
        let logs = [COUNCIL, TRUST].map(|member| (member, Log::default())).into();
        Self { federation, random, logs, find, list, answered: 0, refused: BTreeMap::new(), left_open: 0 }
    }

    /// One kill: load, SIGKILL at some moment, start, and a look at what callers were told.
    async fn round(&mut self, number: u64) {
        let victim = if self.random.draw().is_multiple_of(2) { COUNCIL } else { TRUST };
        let delay = Duration::from_millis(self.random.within(5, 120));
        eprintln!("round {number}: {victim} after {delay:?}");
        self.works().await;
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Acknowledged::default()));
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let client = self.federation.revenues().await;
            load.spawn(call(client, self.find.clone(), stop.clone(), heard.clone()));
        }
        load.spawn(stream(self.federation.revenues().await, self.list.clone(), heard.clone()));
        tokio::time::sleep(delay).await;
        stop.store(true, Ordering::Relaxed);
        self.federation.take(victim).kill();
        tokio::time::timeout(Duration::from_secs(20), load.join_all())
            .await
            .expect("every call ends, one way or another");
        self.federation.restart(victim);
        let log = self.logs.get_mut(victim).unwrap();
        let mut records = log.look(&self.federation, victim);
        // Nothing that it had begun is open any more when it is ready.
        assert!(log.open.is_empty(), "{victim}: intents without outcome after the start: {:?}", log.open);
        let at_start =
            |r: &&Record| r.opened.as_ref().is_some_and(|o| o.private.detail.starts_with("the gateway stopped after"));
        self.left_open += records.iter().filter(at_start).count();
        let survivor = if victim == COUNCIL { TRUST } else { COUNCIL };
        let survivors = self.logs.get_mut(survivor).unwrap().look(&self.federation, survivor);
        if survivor == COUNCIL {
            records = survivors;
        }
        self.check(&heard, &records, victim);
    }

    /// The gateways have come up by themselves when a call is answered.
    async fn works(&self) {
        eventually("a call is answered", 20, async || {
            let mut client = self.federation.member(COUNCIL).connect("revenues").await.ok()?;
            let reply = client.call(FIND, &standard(), &self.find).await.ok()?;
            (reply.status.code == 0).then_some(())
        })
        .await;
    }

    /// What callers were told is in the consumer's log, and answers are in the provider's as well.
    fn check(&mut self, heard: &Acknowledged, records: &[Record], victim: &str) {
        let (council, trust) = (&self.logs[COUNCIL], &self.logs[TRUST]);
        for (exchange, told) in heard.told.lock().unwrap().iter() {
            let (ours, theirs) = (council.settled.get(exchange), trust.settled.get(exchange));
            match told {
                Told::Answered => {
                    assert_eq!((ours, theirs), (Some(&Kind::Outcome), Some(&Kind::Outcome)), "{exchange} was answered");
                    self.answered += 1;
                }
                Told::Refused(reason) => {
                    assert_eq!(ours, Some(&Kind::Refusal), "{exchange} was refused: {reason}");
                    assert!(
                        matches!(reason, Reason::LinkDown | Reason::Unanswered | Reason::StaleSession),
                        "{exchange} was refused for {reason}"
                    );
                    *self.refused.entry(reason.as_str()).or_default() += 1;
                }
            }
        }
        if let Some((exchange, messages, bytes)) = heard.stream.lock().unwrap().as_ref() {
            let of_stream = |r: &&Record| r.exchange().is_some_and(|id| id.to_string() == *exchange);
            let records: Vec<_> = records.iter().filter(of_stream).collect();
            check_stream(&records, *bytes, (victim == TRUST).then_some(*messages));
        }
    }

    /// Holds everything against everything, with our own tools and with other people's.
    async fn verify(&mut self) {
        for member in [COUNCIL, TRUST] {
            eventually("the other side has settled too", 10, async || {
                self.federation.member(member).open_exchanges().is_empty().then_some(())
            })
            .await;
        }
        let records = |member: &str| self.federation.member(member).records();
        let (ours, theirs) = (records(COUNCIL), records(TRUST));
        let compared = compare((COUNCIL, ours.iter()), (TRUST, theirs.iter()));
        let unexplained: Vec<_> = compared.differences.iter().filter(|d| !d.explained).collect();
        assert!(unexplained.is_empty(), "{unexplained:#?}");
        let alone = compared.differences.iter().filter(|d| d.what.contains("was killed at that time")).count();
        eprintln!(
            "{} told alike, {} differences, {alone} at the provider alone",
            compared.agreeing,
            compared.differences.len()
        );
        assert!(usize::try_from(compared.agreeing).unwrap() >= self.answered);
        for member in [COUNCIL, TRUST] {
            let folder = self.federation.member(member).folder.clone();
            let said = process::succeed(&folder, ["log", "verify", "--config", "gateway.toml"]);
            assert!(said.contains("is whole"), "{said}");
            let log = self.logs.get_mut(member).unwrap();
            log.heads.push(head(&folder.join("data/ledger")));
        }
    }

    /// After the last round: both stop in order, and every checkpoint that was ever seen leads to the last one.
    async fn end(mut self) {
        self.works().await;
        self.verify().await;
        let broken = self.federation.member(COUNCIL).metric("drawbridge_promise_broken");
        assert_eq!(broken, 0, "a promise was broken");
        for member in [COUNCIL, TRUST] {
            assert!(self.federation.take(member).terminate());
            let heads = std::mem::take(&mut self.logs.get_mut(member).unwrap().heads);
            let ledger = self.federation.member(member).ledger();
            verified_by_others(&ledger, &heads, &mut self.random);
        }
        let [ours, theirs] = [COUNCIL, TRUST].map(|member| self.federation.member(member).data());
        let said = process::succeed(self.federation.root(), [&"log".into(), &"compare".into(), &ours, &theirs]);
        assert!(!said.contains("UNEXPLAINED"), "{said}");
        eprintln!("answered: {}, refused: {:?}, left open by a kill: {}", self.answered, self.refused, self.left_open);
        assert!(self.answered > 1000 && self.left_open > 50, "the load was too small to show anything");
        assert!(self.refused.contains_key("UNANSWERED"), "no call was cut in the middle");
    }
}

/// What of a stream reached its reader is in the consumer's log; where that was killed itself, but for one window.
fn check_stream(records: &[&Record], bytes: u64, messages: Option<u64>) {
    assert_eq!(records[0].kind(), Kind::Intent, "an intent was durable before anything was asked");
    let opened = records.iter().filter_map(|record| record.opened.as_ref());
    let recorded = opened.map(|o| (o.messages(), o.private.bytes)).max().unwrap();
    let window = if messages.is_some() { 0 } else { WINDOW_BYTES };
    assert!(bytes <= recorded.1 + window, "{bytes} bytes passed, {} are recorded", recorded.1);
    assert!(messages.is_none_or(|m| m <= recorded.0), "{messages:?} messages passed, {} are recorded", recorded.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_under_load_lose_nothing_that_a_caller_was_told() {
    let mut story = Story::begin().await;
    let begun = std::time::Instant::now();
    for number in 1..=KILLS {
        story.round(number).await;
        if number % VERIFY_EACH == 0 {
            story.verify().await;
            eprintln!("{number} kills in {:?}", begun.elapsed());
        }
    }
    story.end().await;
}
