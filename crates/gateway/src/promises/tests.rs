//! A log in memory that keeps its word, or does not.

use std::{cell::Cell, future::ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use ledger::{Checkpoint, merkle};
use note::{Note, SigningKey, VerifierKey};
use proto::link::Inclusion;

use super::*;

const ORIGIN: &str = "trust.example/log/main";

struct Peer {
    key: SigningKey,
    /// The key that the directory lists.
    listed: VerifierKey,
    leaves: Vec<Hash>,
}

impl Peer {
    fn with(leaves: usize) -> Self {
        let leaves = (0..leaves).map(leaf).collect();
        let key = SigningKey::generate(ORIGIN).unwrap();
        Self { listed: key.verifier(), key, leaves }
    }

    fn signer(&self) -> Signer {
        Signer { origin: ORIGIN.to_owned(), keys: vec![self.listed.clone()] }
    }

    fn promise(&self, index: usize) -> Promise {
        Promise { origin: ORIGIN.to_owned(), index: index as u64, leaf: self.leaves[index] }
    }

    fn answer(&self, question: &Question) -> ProveResponse {
        let indexes = question.singly.iter().map(|(index, _)| *index).collect();
        self.respond(&ProveRequest { indexes, known_size: question.known.size(), follow: question.follow })
    }

    fn respond(&self, request: &ProveRequest) -> ProveResponse {
        let (size, known) = (self.leaves.len() as u64, request.known_size);
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: merkle::root(&self.leaves) };
        let bytes = |path: Vec<Hash>| path.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect::<Vec<_>>();
        let mut response = ProveResponse {
            checkpoint: Note::sign(&checkpoint.to_text(), &[&self.key]).unwrap().to_string(),
            ..ProveResponse::default()
        };
        if request.follow && known <= size {
            let since = usize::try_from(known).unwrap();
            response.leaves = self.leaves[since..].iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>().into();
        } else {
            if known > 0 && known <= size {
                response.consistency = bytes(merkle::consistency_path(self.leaves.as_slice(), known, size).unwrap());
            }
            let mut frontier = Frontier::default();
            for leaf in &self.leaves {
                frontier.push(*leaf);
            }
            response.frontier = bytes(frontier.complete().to_vec());
        }
        for index in request.indexes.iter().filter(|index| **index < size) {
            let path = bytes(merkle::inclusion_path(self.leaves.as_slice(), *index, size).unwrap());
            response.inclusions.push(Inclusion { index: *index, path });
        }
        response
    }

    /// Looks at the log until nothing more is settled; returns what was kept and broken.
    fn check(&self, log: &mut Log, now: Instant) -> (u64, Vec<String>) {
        let (mut kept, mut broken) = (0, Vec::new());
        while let Some(question) = log.question() {
            let response = self.answer(&question);
            let settled = log.settle(view::verify(&self.signer(), &question.singly, &response, &question.known), now);
            broken.extend(settled.broken);
            kept += settled.kept;
            if settled.kept == 0 {
                break;
            }
        }
        (kept, broken)
    }
}

fn leaf(number: usize) -> Hash {
    merkle::leaf_hash(&number.to_be_bytes())
}

#[test]
fn kept_promises_are_found_one_by_one_and_by_following() {
    let mut peer = Peer::with(600);
    let (mut log, now) = (Log::default(), Instant::now());
    // More than one request's worth, before anything is known of the log.
    (0..560).for_each(|index| log.made(&peer.promise(index), now));
    assert_eq!(peer.check(&mut log, now), (560, vec![]));

    peer.leaves.extend((600..900).map(leaf));
    // Some of what it knew already, and many that are new.
    (590..900).for_each(|index| log.made(&peer.promise(index), now));
    assert!(log.question().unwrap().follow);
    assert_eq!(peer.check(&mut log, now), (310, vec![]));

    // A late one is among the leaves that were handed over: nothing needs to be proven.
    log.made(&peer.promise(700), now);
    assert!(log.question().unwrap().singly.is_empty());
    assert_eq!(peer.check(&mut log, now), (1, vec![]));
    assert!(log.question().is_none());
}

#[test]
fn a_promise_that_the_log_does_not_keep_is_named_and_the_others_are_still_checked() {
    for before in [0, 100] {
        let mut peer = Peer::with(100);
        let (mut log, now) = (Log::default(), Instant::now());
        (0..before).for_each(|index| log.made(&peer.promise(index), now));
        peer.check(&mut log, now);
        peer.leaves.extend((100..200).map(leaf));
        (120..180).for_each(|index| log.made(&peer.promise(index), now));
        log.made(&Promise { leaf: leaf(7777), ..peer.promise(190) }, now);
        let (kept, broken) = peer.check(&mut log, now);
        assert_eq!(kept, 60, "known before: {before}");
        assert_eq!(broken, ["its log does not hold at index 190 the leaf that it promised"]);
    }
}

#[test]
fn two_leaves_promised_at_one_index_are_a_contradiction() {
    let peer = Peer::with(10);
    let (mut log, now) = (Log::default(), Instant::now());
    log.made(&peer.promise(3), now);
    log.made(&peer.promise(3), now);
    log.made(&Promise { leaf: leaf(99), ..peer.promise(3) }, now);
    assert_eq!(peer.check(&mut log, now), (1, vec!["it promised two different leaves at index 3".to_owned()]));
}

#[test]
fn a_checkpoint_that_never_comes_is_told_after_a_minute() {
    let peer = Peer::with(10);
    let (mut log, now) = (Log::default(), Instant::now());
    log.made(&Promise { origin: ORIGIN.to_owned(), index: 10, leaf: leaf(10) }, now);
    assert_eq!(peer.check(&mut log, now + OVERDUE / 2), (0, vec![]));
    let (_, broken) = peer.check(&mut log, now + OVERDUE);
    assert_eq!(broken, ["after 60 s no checkpoint covers the leaf promised at index 10"]);
    assert!(log.question().is_none());
}

#[test]
fn a_log_that_promises_more_than_its_share_takes_no_other_logs_room() {
    let ledgers = Ledgers::default();
    let [greedy, honest] = ["trust.example/main", "police.example/main"].map(|id| id.parse::<GatewayId>().unwrap());
    let promise = |index: usize| Promise { origin: ORIGIN.to_owned(), index: index as u64, leaf: Hash::ZERO };
    for index in 0..MAX_WAITING / SHARE + 3 {
        ledgers.made(&greedy, &promise(index));
    }
    assert_eq!((ledgers.logs()[&greedy].waiting.len(), ledgers.counts().2), (MAX_WAITING / SHARE, 3));
    ledgers.made(&honest, &promise(0));
    assert_eq!((ledgers.logs()[&honest].waiting.len(), ledgers.counts().2), (1, 3));
}

#[test]
fn a_log_that_shows_much_and_slowly_is_left_for_the_next_look() {
    let (peer, ledgers) = (Peer::with(CHUNK * 3), Ledgers::default());
    let gateway = "trust.example/main".parse::<GatewayId>().unwrap();
    (0..CHUNK * 3).for_each(|index| ledgers.made(&gateway, &peer.promise(index)));
    let clock = Cell::new(Instant::now());
    let look = || {
        let asked = Cell::new(0);
        let ask = |request: ProveRequest| {
            asked.set(asked.get() + 1);
            clock.set(clock.get() + ONE_LOOK / 2);
            ready(Some((peer.respond(&request), Some(peer.signer()))))
        };
        let broken = |what: String| -> std::future::Ready<()> { panic!("{what}") };
        ledgers.look(&gateway, || clock.get(), ask, broken).now_or_never().unwrap();
        asked.get()
    };
    // Each answer takes half of the time that there is: the rest waits, and nobody waits for it.
    assert_eq!((look(), ledgers.logs()[&gateway].waiting.len()), (2, CHUNK));
    assert_eq!((look(), look(), ledgers.counts().0), (1, 0, CHUNK as u64 * 3));
}

#[test]
fn a_log_that_was_rewritten_is_told() {
    let now = Instant::now();
    let check = |change: &dyn Fn(&mut Peer), promises: std::ops::Range<usize>, expected: &str| {
        let mut peer = Peer::with(100);
        let mut log = Log::default();
        log.made(&peer.promise(5), now);
        assert_eq!(peer.check(&mut log, now).0, 1);
        change(&mut peer);
        promises.for_each(|index| log.made(&peer.promise(index), now));
        let (kept, broken) = peer.check(&mut log, now);
        assert_eq!(kept, 0);
        assert!(broken.len() == 1 && broken[0].contains(expected), "{broken:?}");
        assert!(log.question().is_none());
    };
    let change = |peer: &mut Peer| {
        peer.leaves[50] = leaf(5050);
        peer.leaves.extend((100..200).map(leaf));
    };
    // Few promises: a proof of consistency. Many: the leaves themselves.
    check(&change, 150..153, "does not continue its log of 100: it was rewritten");
    check(&change, 110..190, "does not continue its log of 100: it was rewritten");
    check(&|peer| peer.leaves.truncate(60), 10..12, "has 60 leaves and had 100 before: it was rewritten");
    for name in ["other.example/log/main", ORIGIN] {
        let stranger = |peer: &mut Peer| peer.key = SigningKey::generate(name).unwrap();
        check(&stranger, 10..12, "is not signed by its log key");
    }
}
