//! Gateways that start again, or that should not start at all.

use std::collections::HashMap;

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, eventually, faults::refused_start, federation::standard};
use records::{Kind, STARTED, STOPPED};

#[tokio::test(flavor = "multi_thread")]
async fn promises_that_were_not_checked_before_a_kill_are_checked_after_it() {
    let mut federation = TestFederation::new().await.start();
    let exchange = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.exchange();
    // The provider goes before it can prove anything, so the promise is open when the consumer's gateway is killed.
    federation.take(TRUST).kill();
    let kept = federation.member(COUNCIL).metric("drawbridge_promise_kept");
    federation.take(COUNCIL).kill();
    federation.restart(COUNCIL);
    assert_eq!(federation.member(COUNCIL).metric("drawbridge_promise_kept"), 0, "nothing was checked yet");
    federation.restart(TRUST);
    if kept == 0 {
        eventually("the promise is checked", 20, async || {
            (federation.member(COUNCIL).metric("drawbridge_promise_kept") == 1).then_some(())
        })
        .await;
    }
    assert_eq!(federation.member(COUNCIL).metric("drawbridge_promise_broken"), 0);
    for member in [COUNCIL, TRUST] {
        assert_eq!(federation.member(member).records_of(&exchange).len(), 1, "{member}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_each_session_is_opened_anew_once_and_no_caller_hears_of_it() {
    let federation = TestFederation::new().await;
    federation.member(COUNCIL).reconfigure("drain = \"2s\"", "drain = \"2s\"\nworkers = 2");
    let mut federation = federation.start();
    let request = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    // So many connections that each worker has some; a worker has a session of its own.
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(federation.revenues().await);
    }
    let metadata = standard();
    for restarted in [false, true] {
        if restarted {
            federation.restart(TRUST);
        }
        for client in &mut clients {
            let reply = client.call("/test.v1.Records/Find", &metadata, &request).await.unwrap();
            assert_eq!((reply.status.code, reply.messages.len()), (0, 1), "{}", reply.status.message);
        }
    }
    // One after another each session was found stale once, by the call that opened it anew.
    let mut stale: HashMap<Vec<u8>, u32> = HashMap::new();
    for record in federation.member(TRUST).records() {
        let Some(opened) = record.opened.filter(|opened| opened.refusal() == "STALE_SESSION") else { continue };
        *stale.entry(opened.claims.unwrap().session.to_vec()).or_default() += 1;
    }
    assert!((1..=2).contains(&stale.len()) && stale.values().all(|times| *times == 1), "{stale:?}");

    // All at once, so that many find the same session stale.
    federation.restart(TRUST);
    let calls = clients.iter_mut().map(|client| client.call("/test.v1.Records/Find", &metadata, &request));
    for reply in futures_util::future::join_all(calls).await {
        let reply = reply.unwrap();
        assert_eq!((reply.status.code, reply.messages.len()), (0, 1), "{}", reply.status.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_tells_which_runs_ended_in_order() {
    let mut federation = TestFederation::new().await.start();
    assert!(federation.take(TRUST).terminate());
    federation.restart(TRUST);
    federation.take(TRUST).kill();
    federation.restart(TRUST);
    let records = federation.member(TRUST).records();
    let events = records.iter().filter(|record| record.kind() == Kind::Event);
    let told: Vec<_> = events.map(|record| record.opened.as_ref().unwrap().private.detail.as_str()).collect();
    assert_eq!(told, [STARTED, STOPPED, STARTED, STARTED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_the_same_data_is_refused_and_the_first_goes_on() {
    let federation = TestFederation::new().await.start();
    let (code, said) = refused_start(&federation.member(TRUST).folder).expect("two gateways write one log");
    assert!(code == 1 && said.contains("data/ledger/lock") && said.contains("in use by another gateway"), "{said}");
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_refuses_the_start_with_the_setting_and_the_address() {
    let federation = TestFederation::new().await;
    let member = federation.member(TRUST);
    for (address, setting) in
        [(member.links, "links.listen"), (member.clients, "clients.listen"), (member.operations, "operations.listen")]
    {
        let taken = std::net::TcpListener::bind(address).unwrap();
        let (code, said) = refused_start(&member.folder).expect(setting);
        assert!(code == 1 && said.contains(setting) && said.contains(&address.to_string()), "{setting}: {said}");
        drop(taken);
    }
}
