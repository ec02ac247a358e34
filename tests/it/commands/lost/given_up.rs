//! A command that a gateway left open, and whose end nobody tells it: it stops asking after an hour, and says so.
//!
//! The surprising fact: the gateway that asks runs within the test, which has no hour to wait and gives it a clock that can be turned on.

use std::{
    sync::atomic::AtomicU64,
    time::{Instant, SystemTime},
};

use gateway::{ConfigFile, Gateway, Prepared};

use super::*;

/// By how many seconds the clock of the gateway in this test is ahead.
static AHEAD: AtomicU64 = AtomicU64::new(0);

fn clock() -> Instant {
    Instant::now() + Duration::from_secs(AHEAD.load(Ordering::SeqCst))
}

/// Starts the gateway in this folder within this process.
async fn started(folder: &std::path::Path) -> Gateway {
    let file = ConfigFile::read(&folder.join("gateway.toml"), []).unwrap();
    let mut prepared = Box::pin(Prepared::load(file, SystemTime::now())).await.unwrap();
    prepared.clock = clock;
    Box::pin(Gateway::start(prepared)).await.unwrap()
}

/// In the place of the gateway that knows: hangs up on whoever dials, and counts how often that is.
async fn hanging_up(address: SocketAddr) -> (watch::Receiver<u32>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (count, dialled) = watch::channel(0);
    let task = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.send_modify(|count| *count += 1);
        }
    });
    (dialled, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_end_nobody_tells_for_an_hour_is_recorded_as_unknown() {
    let mut homes = Homes::started().await;
    let held = homes.hold().await;
    let call = asked(&homes, homes.federation.revenues().await, "booking-1");
    homes.begun().await;
    let exchange = taken(&homes);
    homes.federation.take(COUNCIL).kill();
    assert!(call.await.is_err());
    held.let_go().await;
    let trust = homes.federation.member(TRUST);
    eventually("it is carried out", 20, async || trust.open_exchanges().is_empty().then_some(())).await;
    let address = trust.links;
    homes.federation.take(TRUST).kill();
    let (mut dialled, task) = hanging_up(address).await;
    let council = homes.federation.member(COUNCIL);
    let asking = started(&council.folder).await;
    // For all of the hour it goes on asking. The first that is seen may have begun before the clock was turned on.
    AHEAD.store(59 * 60, Ordering::SeqCst);
    for _ in 0..2 {
        dialled.mark_unchanged();
        dialled.changed().await.unwrap();
    }
    assert_eq!(council.open_exchanges().into_iter().collect::<Vec<_>>(), [exchange.as_str()]);
    AHEAD.store(60 * 60, Ordering::SeqCst);
    let record = ended(&homes, &exchange).await;
    let opened = record.opened.as_ref().unwrap();
    // No retry policy may take it for undone: it was done.
    assert_eq!((record.kind(), opened.refusal(), opened.status()), (Kind::Refusal, "UNANSWERED", 2));
    assert_eq!((opened.private.outcome.as_str(), opened.messages()), ("unanswered", 0));
    assert!(opened.shared.provider_closing.is_empty() && opened.shared.provider_closing_leaf.is_none());
    let intent = council.records_of(&exchange).first().unwrap().index;
    let told = format!("after the intent at index {intent}; `trust.example/main`, which alone knows, did not say");
    assert!(opened.private.detail.contains(&told), "{}", opened.private.detail);
    Box::pin(asking.stop()).await;
    task.abort();
    let _ = task.await;
    // The next start has nothing to ask about, and who asks again is told what was done.
    homes.federation.restart(TRUST);
    homes.federation.restart(COUNCIL);
    assert_eq!(homes.answer(&homes.book(Some("booking-1"), "1 High Street").await)["number"], "1");
    assert_eq!(homes.booked("1 High Street").await, 1);
    assert_eq!(ended(&homes, &exchange).await.index, record.index);
    let root = homes.federation.root();
    let compared = process::succeed(root, ["log", "compare", "council.example/data", "trust.example/data"]);
    assert!(!compared.contains("UNEXPLAINED"), "{compared}");
}
