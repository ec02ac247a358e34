//! Readers that take nothing: a caller with hundreds of open streams leaves links, databases and memory to the others, and is let go.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use drawbridge_tests::{
    Agreement, COUNCIL, Client, TRUST, TestFederation, client, eventually, federation::standard, raw::Honest,
};
use exchange::{Reason, headers};
use http::HeaderMap;
use hyper::body::Incoming;

use super::{BOUND, FIND, cost, resident};

/// How long a stalled reader keeps a connection of the database that somebody waits for, as these tests configure it.
const PATIENCE: Duration = Duration::from_secs(1);
const LIST: &str = "/test.v1.Records/List";
/// More bytes than any buffer on the way, of rows of some hundred.
const MANY: &str = r#"{"count": "100000000"}"#;

/// A federation in which `planning` may list records too, with one worker at the asking gateway, so that all callers share its link.
async fn federation() -> TestFederation {
    let federation = TestFederation::without_agreement().await;
    let standard = Agreement::default();
    let grants = standard.grants.replace(
        "methods = [\"List\", \"Slow\"]\nsystems = [\"revenues\"]",
        "methods = [\"List\", \"Slow\"]\nsystems = [\"revenues\", \"planning\"]",
    );
    assert_ne!(grants, standard.grants);
    federation.agree(&Agreement { grants, ..standard });
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nworkers = 1\n");
    federation
}

/// Streams of one connection that nobody reads.
struct Stalled {
    exchanges: Vec<String>,
    bodies: Vec<Incoming>,
    _planning: Client,
}

/// Opens streams that nobody reads, on a connection that takes little.
async fn stall(federation: &TestFederation, count: usize) -> Stalled {
    let list = federation.request("test.v1.Records/List", MANY);
    let mut planning = federation.member(COUNCIL).connect_with_window("planning", 64 * 1024).await;
    let (mut exchanges, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (head, body) = planning.open(LIST, &standard(), &list, None).await.unwrap();
        assert!(headers::read_status(&head).is_none(), "{head:?}");
        exchanges.push(head["drawbridge-exchange-id"].to_str().unwrap().to_owned());
        bodies.push(body);
    }
    Stalled { exchanges, bodies, _planning: planning }
}

async fn honest(federation: &TestFederation) -> Honest {
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    Honest::asks(federation.revenues().await, FIND, find)
}

/// Has an honest stream read to its end.
async fn listed(federation: &TestFederation) {
    let reply = federation.call("test.v1.Records/List", r#"{"count": "2000"}"#).await;
    assert_eq!((reply.status.code, reply.messages.len()), (0, 2_000), "{}", reply.status.message);
}

/// Waits until no more exchanges are open at either gateway than these.
async fn until_open(federation: &TestFederation, most: usize) {
    for member in [COUNCIL, TRUST] {
        eventually("the stalled streams are closed", 60, async || {
            (federation.member(member).status().await.exchanges.now <= most).then_some(())
        })
        .await;
    }
}

/// Checks that both logs say of each how it ended, once, and for one of these reasons.
fn settled(federation: &TestFederation, exchanges: &[String], reasons: &[Reason]) {
    for member in [COUNCIL, TRUST] {
        let mut settled: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in federation.member(member).records() {
            let Some(exchange) = record.exchange().filter(|_| record.settles()) else { continue };
            let refusal = record.opened.as_ref().unwrap().refusal().to_owned();
            settled.entry(exchange.to_string()).or_default().push(refusal);
        }
        for exchange in exchanges {
            let ended = settled.get(exchange).map(Vec::as_slice).unwrap_or_default();
            let told = ended.len() == 1 && reasons.iter().any(|reason| reason.as_str() == ended[0]);
            assert!(told, "{exchange} at {member}: {ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_caller_that_nobody_reads_do_not_fill_the_link_for_the_others() {
    let federation = federation().await;
    let trust = federation.member(TRUST);
    // Not the database is to hold anything up, and rows of a kilobyte soon fill what there is.
    trust.reconfigure("legacy.db\"\n", "legacy.db\"\nconnections = 200\n");
    trust.reconfigure("'a note that makes the row a little longer than it would be'", "printf('%.*c', 1000, 'x')");
    let federation = federation.start();
    let before = resident(&federation);
    // More windows of 128 KiB than fill 16 MiB.
    let stalled = stall(&federation, 140).await;
    for member in [COUNCIL, TRUST] {
        federation.member(member).at_rest().await;
    }
    // All of them stand still, and will for a minute: who has to wait for them waits longer than a caller does.
    for _ in 0..3 {
        listed(&federation).await;
        let find = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
        assert_eq!(find.status.code, 0, "{}", find.status.message);
    }
    let now = federation.member(COUNCIL).status().await.exchanges.now;
    assert!(now >= stalled.exchanges.len(), "they were in the way all the while, but {now} are open");
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the streams took {} MiB", cost >> 20);
    // A shorter patience holds for them too.
    for member in [COUNCIL, TRUST] {
        federation.member(member).reconfigure("[limits]\n", "[limits]\nstream_idle = \"1s\"\n");
        federation.member(member).reload().await;
    }
    for member in [COUNCIL, TRUST] {
        eventually("all are settled", 30, async || federation.member(member).open_exchanges().is_empty().then_some(()))
            .await;
    }
    settled(&federation, &stalled.exchanges, &[Reason::Cancelled]);
    drop(stalled);
    until_open(&federation, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_leave_the_connections_of_a_database_to_whoever_waits() {
    let federation = federation().await;
    // Four connections, as by default.
    federation.member(TRUST).reconfigure("legacy.db\"\n", "legacy.db\"\npatience = \"1s\"\n");
    let federation = federation.start();
    let (before, honest) = (resident(&federation), honest(&federation).await);
    let mut first = stall(&federation, 1).await;
    let stalled = stall(&federation, 100).await;
    // The patience of the first has run out several times over by the end: a reader that is back before keeps its connection.
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || begun.elapsed() < 4 * PATIENCE {
        listed(&federation).await;
        rounds += 1;
    }
    assert!(honest.answered().await > 0);
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the streams took {} MiB", cost >> 20);
    // The first had a connection, which other streams of its own caller wanted. The provider says so at once, of what had passed.
    let exchange = first.exchanges[0].as_str();
    let trust = federation.member(TRUST);
    let provider = eventually("the provider has settled the first", 30, async || {
        trust.records_of(exchange).into_iter().find(records::Record::settles)
    })
    .await;
    let ours = federation.member(COUNCIL).records_of(exchange);
    assert!(!ours.iter().any(records::Record::settles), "its reader was not back");
    // Its reader has what was handed on, and learns how it ended when it is back.
    let read = client::read(HeaderMap::new(), first.bodies.remove(0));
    let reply = tokio::time::timeout(Duration::from_secs(30), read).await.expect("the stream ends").unwrap();
    assert_eq!(reply.reason(), Some(Reason::Cancelled), "{}", reply.status.message);
    assert!(reply.status.message.contains("while others waited"), "{}", reply.status.message);
    assert_eq!(reply.trailers["drawbridge-hop"], "provider");
    assert_eq!(provider.opened.unwrap().messages(), reply.messages.len() as u64);
    drop(stalled.bodies);
    until_open(&federation, 0).await;
    settled(&federation, &first.exchanges, &[Reason::Cancelled]);
    // Most never had a connection, and gave up waiting for one or were given up.
    settled(&federation, &stalled.exchanges, &[Reason::Cancelled, Reason::ConnectorTimeout]);
    listed(&federation).await;
}
