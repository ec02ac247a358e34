//! A link that is cut in the midst of a command: the consumer's gateway finds out what became of it.

mod given_up;

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

/// The exchange of the last command that the trust's gateway has taken.
fn taken(homes: &Homes) -> String {
    let records = homes.federation.member(TRUST).records();
    let last = records.iter().rfind(|record| step(record) == CommandStep::Taken).unwrap();
    last.exchange().unwrap().to_string()
}

/// Waits until the council's log says how an exchange ended, and returns the one record that does.
async fn ended(homes: &Homes, exchange: &str) -> records::Record {
    let council = homes.federation.member(COUNCIL);
    let settled = eventually("the consumer's log says how it ended", 30, async || {
        let records = council.records_of(exchange);
        let settled: Vec<_> = records.into_iter().filter(records::Record::settles).collect();
        (!settled.is_empty()).then_some(settled)
    })
    .await;
    assert_eq!(settled.len(), 1);
    settled.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_killed_after_it_had_sent_a_command_finds_out_how_it_ended() {
    let mut homes = Homes::started().await;
    let held = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    let exchange = taken(&homes);
    // Killed twice, so that what the first start began to ask the second asks again; the command is still under way.
    for _ in 0..2 {
        homes.federation.take(COUNCIL).kill();
        homes.federation.restart(COUNCIL);
    }
    assert!(call.await.is_err(), "the caller was told something by a gateway that is dead");
    let council = homes.federation.member(COUNCIL);
    assert_eq!(council.open_exchanges().into_iter().collect::<Vec<_>>(), [exchange.as_str()], "nobody knows yet");
    held.let_go().await;
    // As complete as if nothing had happened, though no caller ever asked again.
    let outcome = ended(&homes, &exchange).await;
    let opened = outcome.opened.as_ref().unwrap();
    assert_eq!((outcome.kind(), opened.status(), opened.messages()), (Kind::Outcome, 0, 1));
    let (leaf, provider) = (opened.shared.provider_closing_leaf.as_ref(), homes.federation.member(TRUST));
    let promised = provider.records_of(&exchange).last().unwrap().index;
    assert_eq!((leaf.map(|leaf| leaf.index), opened.shared.provider_closing_seal.is_some()), (Some(promised), true));
    for id in [COUNCIL, TRUST] {
        let folder = &homes.federation.member(id).folder;
        process::succeed(folder, ["log", "verify", "--data", "data", "--directory", "directory.note"]);
    }
    let root = homes.federation.root();
    let compared = process::succeed(root, ["log", "compare", "council.example/data", "trust.example/data"]);
    assert!(!compared.contains("UNEXPLAINED"), "{compared}");
    // Who asks again has the answer, and nothing is done twice.
    assert_eq!(homes.answer(&homes.book(Some("booking-1"), "1 High Street").await)["number"], "1");
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_killed_before_a_command_arrived_records_that_nothing_was_done() {
    let (mut homes, way) = behind_a_way().await;
    homes.answer(&homes.book(Some("booking-0"), "2 High Street").await);
    way.hold_up(true);
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    let council = homes.federation.member(COUNCIL);
    let exchange = eventually("the consumer's intent", 20, async || council.open_exchanges().into_iter().next()).await;
    homes.federation.take(COUNCIL).kill();
    assert!(call.await.is_err());
    way.cut();
    way.hold_up(false);
    homes.federation.restart(COUNCIL);
    let record = ended(&homes, &exchange).await;
    let opened = record.opened.as_ref().unwrap();
    assert_eq!((record.kind(), opened.refusal(), opened.status()), (Kind::Refusal, "LINK_DOWN", 14));
    assert!(opened.private.detail.contains("nothing was done, and will not be"), "{}", opened.private.detail);
    assert_eq!(homes.booked("1 High Street").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_command_that_neither_gateway_lived_through_its_database_says() {
    let mut homes = Homes::started().await;
    let held = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    let exchange = taken(&homes);
    for id in [COUNCIL, TRUST] {
        homes.federation.take(id).kill();
    }
    assert!(call.await.is_err());
    // The consumer's is the first to come back, and has nobody to ask.
    homes.federation.restart(COUNCIL);
    homes.federation.restart(TRUST);
    assert_eq!(steps(&homes, &exchange).last(), Some(&(Kind::Refusal, CommandStep::Unknown)));
    held.let_go().await;
    let record = ended(&homes, &exchange).await;
    let opened = record.opened.as_ref().unwrap();
    assert_eq!((record.kind(), opened.refusal(), opened.status()), (Kind::Refusal, "LINK_DOWN", 14));
    assert_eq!(homes.booked("1 High Street").await, 0);
    homes.answer(&homes.book(Some("booking-1"), "1 High Street").await);
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_begun_when_its_gateway_was_killed_is_done_once_when_it_is_asked_for_again() {
    let mut homes = Homes::started().await;
    let held = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    homes.federation.take(TRUST).kill();
    homes.federation.restart(TRUST);
    held.let_go().await;
    let reply = call.await.unwrap();
    assert_eq!((reply.status.code, reply.reason()), (14, Some(Reason::LinkDown)), "{:?}", reply.status);
    assert_eq!(homes.booked("1 High Street").await, 0, "it was said not to be done");
    let provider = steps(&homes, &reply.exchange());
    assert_eq!(provider, [(Kind::Intent, CommandStep::Taken), (Kind::Refusal, CommandStep::Unknown)]);
    let again = homes.book(Some("booking-1"), "1 High Street").await;
    homes.answer(&again);
    // A session of before the restart may have been refused first.
    let provider = steps(&homes, &again.exchange());
    assert!(
        provider.ends_with(&[(Kind::Intent, CommandStep::Taken), (Kind::Outcome, CommandStep::Done)]),
        "{provider:?}"
    );
    homes.answer(&homes.book(Some("booking-1"), "1 High Street").await);
    assert_eq!(homes.booked("1 High Street").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_database_cannot_say_a_command_stays_unknown_and_what_it_says_then_holds() {
    let mut homes = Homes::started().await;
    let Held(mut database) = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    let exchange = taken(&homes);
    homes.federation.take(TRUST).kill();
    homes.federation.restart(TRUST);
    let again = homes.book(Some("booking-1"), "1 High Street").await;
    assert_eq!((again.status.code, again.reason()), (2, Some(Reason::Unanswered)), "{:?}", again.status);
    // As if the gateway had been killed when it had committed.
    let intent = homes.federation.member(TRUST).records_of(&exchange).into_iter().next().unwrap();
    let key = intent.opened.unwrap().private.command_key;
    let key = key.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let leave = sqlx::query("INSERT INTO drawbridge_keys (key, exchange) VALUES (?1, ?2)").bind(key).bind(&exchange);
    leave.execute(&mut database).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut database).await.unwrap();
    let reply = call.await.unwrap();
    assert_eq!((reply.status.code, reply.reason()), (6, Some(Reason::AlreadyDone)), "{:?}", reply.status);
    for restart in [false, true] {
        if restart {
            homes.federation.take(TRUST).kill();
            homes.federation.restart(TRUST);
        }
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        assert_eq!((again.status.code, again.reason()), (6, Some(Reason::AlreadyDone)), "{:?}", again.status);
    }
    assert_eq!(homes.booked("1 High Street").await, 0, "nothing was carried out but what was there");
}

/// A back end remembers nothing that a gateway could ask for.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_back_end_that_was_begun_when_its_gateway_was_killed_is_unknown_and_never_tried_again() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let federation = TestFederation::without_agreement().await;
    federation.agree(&Agreement { grants: GRANTS.to_owned(), ..Agreement::default() });
    federation.member(TRUST).configure(&format!(
        "\n[[binding]]\nmethod = \"{BOOK}\"\nconnector = {{ kind = \"grpc\", address = \"http://{}\", dangerous_plaintext = true }}\n",
        silent.local_addr().unwrap()
    ));
    federation.member(TRUST).reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    let mut homes = Homes { federation: federation.start() };
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    homes.federation.take(TRUST).kill();
    homes.federation.restart(TRUST);
    let reply = call.await.unwrap();
    assert_eq!((reply.status.code, reply.reason()), (2, Some(Reason::Unanswered)), "{:?}", reply.status);
    for _ in 0..2 {
        let again = homes.book(Some("booking-1"), "1 High Street").await;
        assert_eq!((again.status.code, again.reason()), (2, Some(Reason::Unanswered)));
    }
    // Of the two records on each side the second says that nobody knows.
    let provider = steps(&homes, &reply.exchange());
    assert_eq!(provider, [(Kind::Intent, CommandStep::Taken), (Kind::Refusal, CommandStep::Unknown)]);
}
