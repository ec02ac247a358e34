//! A link that is cut in the midst of a command: the consumer's gateway finds out what became of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use drawbridge_tests::ports::free_ports;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::*;

/// A way to the provider's gateway that a test can cut, and hold up.
struct Way {
    address: SocketAddr,
    cut: watch::Sender<u32>,
    held: Arc<AtomicBool>,
}

impl Way {
    async fn to(target: SocketAddr) -> Self {
        let [address] = free_ports();
        let listener = TcpListener::bind(address).await.unwrap();
        let (cut, held) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let way = Self { address, cut: cut.clone(), held: held.clone() };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut cuts, held) = (cut.subscribe(), held.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let (mut from_near, mut to_near) = near.into_split();
                    let (mut from_far, mut to_far) = far.into_split();
                    let there = async {
                        let mut buffer = vec![0; 16 * 1024];
                        while let Ok(length @ 1..) = from_near.read(&mut buffer).await {
                            // What is held up never arrives.
                            if !held.load(Ordering::SeqCst) && to_far.write_all(&buffer[..length]).await.is_err() {
                                return;
                            }
                        }
                    };
                    let back = async { tokio::io::copy(&mut from_far, &mut to_near).await };
                    tokio::select! { () = there => {}, _ = back => {}, _ = cuts.changed() => {} }
                });
            }
        });
        way
    }

    /// Cuts every connection that is open.
    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// What comes from here on never arrives, until the way is let go.
    fn hold_up(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }
}

async fn behind_a_way() -> (Homes, Way) {
    let mut homes = Homes::prepared().await;
    let way = Way::to(homes.federation.member(TRUST).links).await;
    homes.federation.announce(TRUST, &way.address.to_string(), 2);
    // One worker, and so one session.
    homes.federation.member(COUNCIL).reconfigure("drain = \"2s\"", "drain = \"2s\"\nworkers = 1");
    (Homes { federation: homes.federation.start() }, way)
}

/// Asks in a task of its own.
fn asked(homes: &Homes, mut client: drawbridge_tests::Client, key: &str) -> tokio::task::JoinHandle<Reply> {
    let (request, key) = (homes.federation.request(BOOK, r#"{"home": "1 High Street"}"#), key.to_owned());
    tokio::spawn(async move { client.call(&format!("/{BOOK}"), &command(Some(&key)), &request).await.unwrap() })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_with_the_link_is_fetched_with_its_evidence() {
    let (homes, way) = behind_a_way().await;
    let held = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    way.cut();
    held.let_go().await;
    let reply = call.await.unwrap();
    assert_eq!(homes.answer(&reply)["number"], "1");
    assert_eq!(homes.booked("1 High Street").await, 1);
    // The consumer's record is as complete as if nothing had been cut.
    let records = homes.federation.member(COUNCIL).records_of(&reply.exchange());
    let outcome = records.last().unwrap();
    let opened = outcome.opened.as_ref().unwrap();
    assert_eq!(outcome.kind(), Kind::Outcome);
    assert!(opened.shared.provider_closing_leaf.is_some() && opened.shared.provider_closing_seal.is_some());
    for id in [COUNCIL, TRUST] {
        let folder = &homes.federation.member(id).folder;
        process::succeed(folder, ["log", "verify", "--data", "data", "--directory", "directory.note"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_never_arrived_is_not_done_and_said_so() {
    let (homes, way) = behind_a_way().await;
    // The session is open, and then nothing arrives any more.
    homes.answer(&homes.book(Some("booking-0"), "2 High Street").await);
    way.hold_up(true);
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    let council = homes.federation.member(COUNCIL);
    eventually("the consumer's intent", 20, async || (council.open_exchanges().len() == 1).then_some(())).await;
    way.hold_up(false);
    way.cut();
    let reply = call.await.unwrap();
    // Either the link knew that nothing was sent and sent it once more, or the provider said that nothing came.
    match (reply.status.code, reply.reason()) {
        (0, _) => assert_eq!(homes.booked("1 High Street").await, 1),
        (14, Some(Reason::LinkDown)) => assert_eq!(homes.booked("1 High Street").await, 0),
        other => panic!("{other:?}: {:?}", reply.status),
    }
    homes.answer(&homes.book(Some("booking-1"), "1 High Street").await);
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_begun_when_its_gateway_was_killed_is_unknown_and_never_tried_again() {
    let mut homes = Homes::started().await;
    let held = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    homes.federation.take(TRUST).kill();
    homes.federation.restart(TRUST);
    let reply = call.await.unwrap();
    assert_eq!((reply.status.code, reply.reason()), (2, Some(Reason::Unanswered)), "{:?}", reply.status);
    held.let_go().await;
    for _ in 0..2 {
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        assert_eq!((again.status.code, again.reason()), (2, Some(Reason::Unanswered)));
    }
    assert_eq!(homes.booked("1 High Street").await, 0);
    // Of the two records on each side the second says that nobody knows.
    let provider = steps(&homes, &reply.exchange());
    assert_eq!(provider, [(Kind::Intent, CommandStep::Taken), (Kind::Refusal, CommandStep::Unknown)]);
}
