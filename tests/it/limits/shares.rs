//! What members share of a gateway that they ask: one that floods does not keep another out.

use drawbridge_tests::{COUNCIL, Client, POLICE, TRUST, TestFederation, client, eventually, federation::standard};
use exchange::{Reason, headers};
use http_body_util::BodyExt as _;

const FIND: &str = "/test.v1.Records/Find";
const LIST: &str = "/test.v1.Records/List";

/// Three members, and so many places at the one that is asked.
async fn federation(places: usize) -> TestFederation {
    let federation = TestFederation::of_three().await;
    let trust = federation.member(TRUST);
    trust.reconfigure("[limits]\n", &format!("[limits]\nexchanges = {places}\n"));
    // As many statements at once as places, and two that streams leave to others: nothing else is to hold a call up.
    trust.reconfigure("legacy.db\"\n", &format!("legacy.db\"\nconnections = {}\n", places + 2));
    federation.start()
}

async fn finds(client: &mut Client, request: &[u8]) -> client::Reply {
    client.call(FIND, &standard(), request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_one_member_that_nobody_reads_leave_room_for_another() {
    let federation = federation(8).await;
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let list = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
    let mut police = federation.member(POLICE).connect("revenues").await.unwrap();
    assert_eq!(finds(&mut police, &find).await.status.code, 0);
    // The answers are never read, so each holds its place; on a connection of its own, lest one fills the window of all.
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 8, "one member has every place");
        let mut council = federation.member(COUNCIL).connect_with_window("revenues", 64 * 1024).await;
        let (_, mut body) = council.open(LIST, &standard(), &list, None).await.unwrap();
        match body.frame().await.unwrap().unwrap().into_trailers() {
            Ok(trailers) => break trailers,
            Err(_) => held.push((council, body)),
        }
    };
    assert_eq!(held.len(), 7);
    let status = headers::read_status(&refused).unwrap();
    assert_eq!(status.reason(), Some(Reason::Overloaded), "{}", status.message);
    assert_eq!(refused["drawbridge-hop"], "provider");
    assert!(status.retry_after().is_some());
    for _ in 0..20 {
        let reply = finds(&mut police, &find).await;
        assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    }
    drop(held);
    let mut council = federation.member(COUNCIL).connect("revenues").await.unwrap();
    eventually("the council is served again", 20, async || {
        (finds(&mut council, &find).await.status.code == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_an_honest_member_is_answered_while_another_floods() {
    let federation = federation(16).await;
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut police = federation.member(POLICE).connect("revenues").await.unwrap();
    assert_eq!(finds(&mut police, &find).await.status.code, 0);
    let council = federation.member(COUNCIL).connect("revenues").await.unwrap();
    let (over, until) = tokio::sync::watch::channel(false);
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (mut council, find, until) = (council.clone(), find.clone(), until.clone());
        flood.spawn(async move {
            let mut seen = Vec::new();
            while !*until.borrow() {
                seen.push(finds(&mut council, &find).await.reason());
            }
            seen
        });
    }
    eventually("the flood is turned away", 20, async || {
        federation.member(TRUST).metrics().contains("drawbridge_exchange_shed_total").then_some(())
    })
    .await;
    for _ in 0..50 {
        let reply = finds(&mut police, &find).await;
        assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    }
    over.send(true).unwrap();
    let seen: Vec<Option<Reason>> = flood.join_all().await.into_iter().flatten().collect();
    let count = |of: Option<Reason>| seen.iter().filter(|reason| **reason == of).count();
    let (answered, refused) = (count(None), count(Some(Reason::Overloaded)));
    assert!(answered > 0 && refused > 0 && answered + refused == seen.len(), "{answered}, {refused}, {}", seen.len());
}
