use ledger::{Hash, Leaf};
use proto::{
    link::ConsumerClaims,
    records::{Private, Shared},
};

use super::*;

const COUNCIL: &str = "council.example";
const TRUST: &str = "trust.example";

fn id() -> ExchangeId {
    ExchangeId::new(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000), [7; 10])
}

fn record(index: u64, shared: Shared, private: Private, claims: Option<ConsumerClaims>) -> Record {
    let closing = None;
    let opened = Halves { shared_bytes: vec![], salt: [0; 32], shared, private, claims, closing };
    Record { index, leaf: Leaf { shared: Hash([1; 32]), private: Hash([2; 32]) }, seal: None, opened: Some(opened) }
}

fn event(time: u64, detail: &str) -> Record {
    let private = Private { time, detail: detail.to_owned(), ..Private::default() };
    record(0, Shared { kind: Kind::Event.into(), ..Shared::default() }, private, None)
}

/// What one side settled at `time`; the question was asked at `asked`.
fn settled(side: Side, asked: u64, time: u64, refusal: &str, closing: &'static [u8]) -> Record {
    let shared = Shared {
        kind: if refusal.is_empty() { Kind::Outcome } else { Kind::Refusal }.into(),
        side: side.into(),
        exchange_id: id().as_bytes().to_vec().into(),
        consumer_claims: asked.to_be_bytes().to_vec().into(),
        provider_closing: closing.to_vec().into(),
        refusal: refusal.to_owned(),
        ..Shared::default()
    };
    let private = Private { time, consumer: COUNCIL.to_owned(), provider: TRUST.to_owned(), ..Private::default() };
    record(0, shared, private, Some(ConsumerClaims { time: asked, ..ConsumerClaims::default() }))
}

/// Compares; returns whether each difference is explained.
fn check(council: &[Record], trust: &[Record], expected: &[bool]) {
    let compared = compare((COUNCIL, council.iter()), (TRUST, trust.iter()));
    let explained: Vec<_> = compared.differences.iter().map(|d| d.explained).collect();
    assert_eq!(explained, expected, "{compared:?}");
}

#[test]
fn an_answer_that_only_the_provider_has_is_explained_by_a_kill_of_the_consumers_gateway_at_that_time_alone() {
    let theirs = [settled(Side::Provider, 1_000_000, 1_000_100, "", b"closing")];
    check(&[], &theirs, &[false]);
    check(&[event(500_000, STARTED)], &theirs, &[false]);
    check(&[event(500_000, STARTED), event(1_000_050, "checked"), event(1_005_000, STARTED)], &theirs, &[true]);
    // It had stopped in order: what was open was settled.
    check(&[event(500_000, STARTED), event(1_004_000, STOPPED), event(1_005_000, STARTED)], &theirs, &[false]);
    // Killed before it can have asked, and long after it was answered.
    check(&[event(500_000, STARTED), event(900_000, STARTED)], &theirs, &[false]);
    let later = [event(500_000, STARTED), event(2_000_000, "checked"), event(2_000_001, STARTED)];
    check(&later, &theirs, &[false]);
}

#[test]
fn what_only_the_consumer_has_is_explained_when_nothing_was_handed_on() {
    check(&[settled(Side::Consumer, 1, 2, "LINK_DOWN", b"")], &[], &[true]);
    check(&[settled(Side::Consumer, 1, 2, "", b"closing")], &[], &[false]);
}

#[test]
fn refusals_that_the_provider_recorded_in_aggregate_are_explained_up_to_its_count_and_at_its_time() {
    let refused = |number: u8, asked: u64, refusal: &str| {
        let mut record = settled(Side::Consumer, asked, asked + 20, refusal, b"closing");
        let id = ExchangeId::new(std::time::UNIX_EPOCH + std::time::Duration::from_millis(asked), [number; 10]);
        record.opened.as_mut().unwrap().shared.exchange_id = id.as_bytes().to_vec().into();
        record
    };
    let aggregate = |consumer: &str, (since, until): (u64, u64), count: u64| {
        let (consumer, provider) = (consumer.to_owned(), TRUST.to_owned());
        let private = Private { time: until, since, count, consumer, provider, ..Private::default() };
        let kind = Shared { kind: Kind::Aggregate.into(), side: Side::Provider.into(), ..Shared::default() };
        record(0, kind, private, None)
    };
    let ours = [refused(1, 1_000_000, "NO_AGREEMENT"), refused(2, 1_000_001, "NO_AGREEMENT")];
    let time = (1_000_010, 1_001_000);
    check(&ours, &[], &[false, false]);
    check(&ours, &[aggregate(COUNCIL, time, 2)], &[true, true]);
    check(&ours, &[aggregate(COUNCIL, time, 1)], &[true, false]);
    check(&ours, &[aggregate(COUNCIL, time, 1), aggregate(COUNCIL, (1_001_500, 1_002_000), 1)], &[true, true]);
    check(&ours, &[aggregate("police.example", time, 2)], &[false, false]);
    // At another time, beyond what clocks may differ.
    check(&ours, &[aggregate(COUNCIL, (2_000_000, 2_001_000), 2)], &[false, false]);
    check(&ours, &[aggregate(COUNCIL, (1_000, 2_000), 2)], &[false, false]);
    // What was answered, and what the provider promised a record of, is no such refusal.
    check(&[refused(1, 1_000_000, "")], &[aggregate(COUNCIL, time, 2)], &[false]);
    let mut promised = refused(1, 1_000_000, "NO_AGREEMENT");
    promised.opened.as_mut().unwrap().shared.provider_closing_leaf = Some(proto::link::LeafOpening::default());
    check(&[promised], &[aggregate(COUNCIL, time, 2)], &[false]);
}

#[test]
fn a_session_that_was_not_known_is_no_answer_to_what_was_asked_after_it() {
    let stale = settled(Side::Provider, 1, 2, STALE_SESSION, b"stale");
    // Asked again with new claims, and cut: the provider has only the first.
    check(&[settled(Side::Consumer, 3, 9, "UNANSWERED", b"")], std::slice::from_ref(&stale), &[true]);
    // Asked again and answered.
    let theirs = [stale.clone(), settled(Side::Provider, 3, 4, "", b"closing")];
    check(&[settled(Side::Consumer, 3, 5, "", b"closing")], &theirs, &[]);
    // Nothing was asked.
    check(&[], &[stale], &[true]);
}

#[test]
fn other_claims_and_other_closings_are_not_explained() {
    let theirs = [settled(Side::Provider, 1, 2, "", b"closing")];
    check(&[settled(Side::Consumer, 9, 2, "", b"closing")], &theirs, &[false]);
    check(&[settled(Side::Consumer, 1, 2, "", b"another")], &theirs, &[false]);
    check(&[settled(Side::Consumer, 1, 2, "UNANSWERED", b"")], &theirs, &[true]);
}
