//! A provider that promises what its log does not keep. Its answers are believed, for each is well signed; the next look at the
//! log finds it out, and the log of whoever asked has both: the promise, and that it was broken.

use drawbridge_tests::{
    COUNCIL, StandIn, TestFederation, eventually,
    stand_in::{Answer, Log},
};
use ledger::Hash;
use note::SigningKey;
use proto::records::Kind;

use super::{
    FIND, ask, federation,
    lies::{leaf, promise},
    record,
};

fn forged(answer: Answer, change: impl Fn(&mut Log) + Send + Sync + 'static) -> Answer {
    Answer { log: Some(Box::new(change)), ..answer }
}

async fn believed(federation: &TestFederation, stand_in: &StandIn, answer: Answer) {
    stand_in.answers(answer).await;
    let reply = ask(federation, FIND).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
}

/// The broken promises in the council's log.
fn broken(federation: &TestFederation) -> Vec<String> {
    let events = federation.member(COUNCIL).records().into_iter().filter(|record| record.kind() == Kind::Event);
    let details = events.map(|record| record.opened.unwrap().private.detail);
    details.filter(|detail| detail.starts_with("promise-broken")).collect()
}

/// Waits until the council's log says one more time that a promise was broken, and how.
async fn recorded(federation: &TestFederation, before: usize, how: &str) {
    let found = eventually(&format!("`{how}` is recorded"), 20, async || {
        let broken = broken(federation);
        (broken.len() > before).then_some(broken)
    })
    .await;
    assert_eq!(found.len(), before + 1, "{found:?}");
    let last = found.last().unwrap();
    assert!(last.starts_with("promise-broken: `trust.example/main`: ") && last.contains(how), "{how}: {last}");
    let council = federation.member(COUNCIL);
    eventually("it is counted", 5, async || {
        (council.metric("drawbridge_promise_broken") == found.len() as u64).then_some(())
    })
    .await;
}

async fn kept(federation: &TestFederation, number: u64) {
    let council = federation.member(COUNCIL);
    eventually(&format!("{number} promises are found kept"), 20, async || {
        (council.metric("drawbridge_promise_kept") == number).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_promise_that_is_kept_is_counted_and_no_record() {
    let (federation, stand_in) = federation().await;
    believed(&federation, &stand_in, record()).await;
    kept(&federation, 1).await;
    // A log that is away breaks nothing: what it promised waits.
    stand_in.log().await.away = true;
    believed(&federation, &stand_in, record()).await;
    believed(&federation, &stand_in, record()).await;
    stand_in.log().await.away = false;
    kept(&federation, 3).await;
    assert_eq!(broken(&federation), Vec::<String>::new());
}

#[tokio::test]
async fn a_promised_leaf_that_the_log_does_not_hold_is_recorded() {
    let (federation, stand_in) = federation().await;
    believed(&federation, &stand_in, record()).await;
    kept(&federation, 1).await;
    // Another leaf has taken its place.
    believed(&federation, &stand_in, forged(record(), |log| *log.leaves.last_mut().unwrap() = Hash([7; 32]))).await;
    recorded(&federation, 0, "its log does not hold at index 1 the leaf that it promised").await;
    // The log goes on, and so does what it keeps.
    believed(&federation, &stand_in, record()).await;
    kept(&federation, 2).await;
    // Two different leaves at one place; the log is away until both are promised, so that neither is looked up before.
    stand_in.log().await.away = true;
    believed(&federation, &stand_in, record()).await;
    believed(&federation, &stand_in, promise(record(), |opening| leaf(opening).index -= 1)).await;
    recorded(&federation, 1, "it promised two different leaves at index 3").await;
    stand_in.log().await.away = false;
    kept(&federation, 3).await;
}

#[tokio::test]
async fn a_log_that_was_rewritten_or_is_not_its_gateways_own_is_recorded() {
    let (federation, stand_in) = federation().await;
    believed(&federation, &stand_in, record()).await;
    believed(&federation, &stand_in, record()).await;
    kept(&federation, 2).await;
    let own = stand_in.log().await.key.clone();
    believed(
        &federation,
        &stand_in,
        forged(record(), |log| {
            log.key = SigningKey::generate("trust.example/log/main").unwrap();
        }),
    )
    .await;
    recorded(&federation, 0, "its checkpoint").await;
    stand_in.log().await.key = own;
    believed(&federation, &stand_in, forged(record(), |log| log.leaves.truncate(1))).await;
    recorded(&federation, 1, "its log has 1 leaves and had 2 before: it was rewritten").await;
    let longer = forged(record(), |log| log.leaves = (0..9).map(|at| Hash([at; 32])).collect());
    believed(&federation, &stand_in, longer).await;
    recorded(&federation, 2, "its log of 9 leaves does not continue its log of 2: it was rewritten").await;
}
