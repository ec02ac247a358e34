//! What the ledger does when nothing goes wrong.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{TAG, append, body, claims, config, entry, gateway_key, leaf, log_key, open, refused};
use drawbridge_ledger::{
    AppendError, Checkpoint, Config, Entry, Hash, Ledger, OpenError, ProofError, ReadError, Reader, SealVerifier,
    merkle,
};

#[tokio::test]
async fn an_append_returns_its_index_a_promise_and_a_seal_over_both() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, recovery) = open(folder.path());
    assert_eq!((recovery.size, recovery.torn), (0, None));
    let verifier = SealVerifier::new(gateway_key().verifier());
    let appends: Vec<_> = (0..50).map(|number| ledger.append(entry(number))).collect();
    for (number, append) in (0..).zip(appends) {
        let appended = append.await.unwrap();
        assert_eq!(appended.index, number);
        assert_eq!(appended.promise.origin, "county.example/log/main");
        assert_eq!((appended.promise.index, appended.promise.leaf), (number, leaf(number).hash()));
        assert_eq!(appended.seal.is_some(), number % 2 == 0);
        if let Some(seal) = appended.seal {
            verifier.verify(TAG, &claims(number), Some(&appended.promise), &seal).unwrap();
            assert_eq!(ledger.read(number).unwrap().seal, Some(seal));
        }
    }
    ledger.close().await;
}

#[tokio::test]
async fn what_was_appended_reads_back_now_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    append(&ledger, 0, 700, 40).await;
    assert_eq!(ledger.size(), 700);
    let check = |ledger: &Ledger| {
        for number in [0, 1, 39, 40, 255, 256, 511, 698, 699] {
            let stored = ledger.read(number).unwrap();
            assert_eq!((stored.index, stored.leaf, stored.body), (number, leaf(number), Some(body(number))));
        }
        assert!(matches!(ledger.read(700), Err(ReadError::NotThere { index: 700, size: 700 })));
    };
    check(&ledger);
    ledger.close().await;
    let (ledger, recovery) = open(folder.path());
    assert_eq!((recovery.size, recovery.uncovered, recovery.rebuilt), (700, 0, 0));
    check(&ledger);
    append(&ledger, 700, 710, 1).await;
    ledger.close().await;

    let reader = Reader::open(folder.path()).unwrap();
    let stored: Vec<_> = reader.entries().map(Result::unwrap).collect();
    assert_eq!(stored.len(), 710);
    for (number, stored) in (0..).zip(&stored) {
        assert_eq!(
            (stored.index, stored.leaf, stored.body.as_deref()),
            (number, leaf(number), Some(body(number).as_slice()))
        );
    }
    assert_eq!(
        reader.entries_from(705).map(|stored| stored.unwrap().index).collect::<Vec<_>>(),
        [705, 706, 707, 708, 709]
    );
    assert_eq!(reader.get(333).unwrap(), stored[333]);
    assert!(matches!(reader.get(710), Err(ReadError::NotThere { index: 710, size: 710 })));
    assert_eq!(reader.entries_from(710).count(), 0);
}

#[tokio::test]
async fn a_checkpoint_covers_every_leaf_within_the_interval_and_proofs_verify_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    assert_eq!(ledger.checkpoint().size, 0);
    assert_eq!(ledger.checkpoint().root, merkle::empty_root());
    let mut watch = ledger.watch_checkpoints();
    append(&ledger, 0, 600, 64).await;
    let state = watch.wait_for(|state| state.size == 600).await.unwrap().clone();

    let note = note::Note::parse(&state.note).unwrap();
    assert_eq!(note.verified_by(&[log_key().verifier()]).unwrap().len(), 1);
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (600, state.root));
    let leaves: Vec<Hash> = (0..600).map(|number| leaf(number).hash()).collect();
    for index in [0, 1, 255, 256, 300, 511, 512, 599] {
        for size in [1, 2, 256, 257, 300, 512, 599, 600] {
            if index < size {
                let path = ledger.inclusion(index, size).unwrap();
                let root = merkle::root(&leaves[..usize::try_from(size).unwrap()]);
                merkle::verify_inclusion(leaf(index).hash(), index, size, &path, root).unwrap();
            }
        }
    }
    for (old, new) in [(0, 600), (1, 600), (255, 256), (256, 600), (511, 599), (600, 600)] {
        let path = ledger.consistency(old, new).unwrap();
        let root = |size: u64| merkle::root(&leaves[..usize::try_from(size).unwrap()]);
        merkle::verify_consistency(old, new, root(old), root(new), &path).unwrap();
    }
    assert!(matches!(ledger.inclusion(0, 601), Err(ProofError::NotCovered { size: 601, covered: 600 })));
    assert!(matches!(ledger.inclusion(600, 600), Err(ProofError::OutOfRange { .. })));
    assert!(matches!(ledger.consistency(600, 599), Err(ProofError::OutOfRange { .. })));
    ledger.close().await;
}

#[tokio::test]
async fn closing_writes_what_waits_and_covers_it() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Config { checkpoint_interval: Duration::from_hours(1), ..config(folder.path()) };
    let (ledger, _) = Ledger::open(slow).unwrap();
    append(&ledger, 0, 10, 1).await;
    let waiting: Vec<_> = (10..30).map(|number| ledger.append(entry(number))).collect();
    let other = ledger.clone();
    ledger.close().await;
    for append in waiting {
        append.await.unwrap();
    }
    assert!(matches!(other.append(entry(30)).await, Err(AppendError::Closed)));
    assert_eq!(other.checkpoint().size, 30);
    // The folder is free although a clone is still there.
    let (ledger, recovery) = open(folder.path());
    assert_eq!((recovery.size, recovery.uncovered), (30, 0));
    ledger.close().await;
}

#[tokio::test]
async fn dropping_an_append_does_not_take_the_leaf_back() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    drop(ledger.append(entry(0)));
    assert_eq!(ledger.append(entry(1)).await.unwrap().index, 1);
    drop(ledger);
    assert_eq!(Reader::open(folder.path()).unwrap().entries().count(), 2);
}

#[tokio::test]
async fn two_gateways_cannot_open_one_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let error = refused(folder.path());
    assert!(matches!(&error, OpenError::Locked { path } if path == &folder.path().join("lock")), "{error}");
    ledger.close().await;
    open(folder.path()).0.close().await;
}

#[tokio::test]
async fn a_full_queue_and_a_large_body_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let small = Config {
        queue_max: 4,
        body_max: 1000,
        pace_hold: Duration::from_hours(1),
        pace_from: 1,
        pace_until: 1000,
        ..config(folder.path())
    };
    let (ledger, _) = Ledger::open(small).unwrap();
    // With one caller announced the writer holds the commit, so the queue fills.
    let caller = ledger.caller();
    let waiting: Vec<_> = (0..4).map(|number| ledger.append(entry(number))).collect();
    assert!(matches!(ledger.append(entry(4)).await, Err(AppendError::Overloaded { waiting: 4 })));
    let large = Entry { body: vec![0; 1001], ..entry(4) };
    assert!(matches!(ledger.append(large).await, Err(AppendError::TooLarge { bytes: 1001, limit: 1000 })));
    drop(caller);
    ledger.close().await;
    for append in waiting {
        append.await.unwrap();
    }
}

#[tokio::test]
async fn bodies_up_to_the_limit_fit_whatever_the_segment() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    for number in 0..3 {
        let large = Entry { body: vec![7; 1 << 20], ..entry(number) };
        assert_eq!(ledger.append(large).await.unwrap().index, number);
        assert_eq!(ledger.read(number).unwrap().body.unwrap().len(), 1 << 20);
    }
    ledger.close().await;
    let (ledger, recovery) = open(folder.path());
    assert_eq!(recovery.size, 3);
    ledger.close().await;
}

#[tokio::test]
async fn a_ledger_of_another_log_or_key_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    append(&ledger, 0, 3, 1).await;
    ledger.close().await;
    let other_key = note::SigningKey::generate("county.example/log/main").unwrap();
    let error = Ledger::open(Config { log_key: other_key, ..config(folder.path()) }).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::OtherLog { path, .. } if path.ends_with("tlog/log.vkey")), "{error}");
    let other = note::SigningKey::generate("trust.example/log/main").unwrap();
    let error =
        Ledger::open(Config { log_key: other, origin: "trust.example/log/main".into(), ..config(folder.path()) })
            .map(|_| ())
            .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` belongs to `county.example/log/main`, not to `trust.example/log/main`: check which data folder and log key are configured",
            folder.path().join("journal/00000000000000000000.seg").display()
        )
    );
    let error = Ledger::open(Config { origin: "x".into(), ..config(folder.path()) }).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Config { .. }));
}

#[tokio::test]
async fn a_reader_sees_a_consistent_prefix_while_the_ledger_grows() {
    const ROUNDS: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let rounds = Arc::new(AtomicU64::new(0));
    let path = folder.path().to_owned();
    let reads = tokio::task::spawn_blocking({
        let rounds = Arc::clone(&rounds);
        move || {
            let reader = Reader::open(&path).unwrap();
            let mut last = 0;
            for round in 1..=ROUNDS {
                let mut count = 0;
                for stored in reader.entries() {
                    let stored = stored.unwrap();
                    assert_eq!((stored.index, stored.leaf), (count, leaf(count)));
                    count += 1;
                }
                assert!(count >= last, "{count} after {last}");
                last = count;
                let report = reader.verify(None).unwrap();
                assert_eq!(report.fault, None);
                assert!(report.frames >= last && report.size <= report.frames);
                rounds.store(round, Ordering::Relaxed);
            }
        }
    });
    let mut size = 0;
    loop {
        let round = rounds.load(Ordering::Relaxed);
        // The log grows while it is read, and no faster than it is read.
        if size <= (round + 1) * 400 {
            append(&ledger, size, size + 7, 7).await;
            size += 7;
        } else if round == ROUNDS || reads.is_finished() {
            break;
        } else {
            tokio::task::yield_now().await;
        }
    }
    reads.await.unwrap();
    ledger.close().await;
    let reader = Reader::open(folder.path()).unwrap();
    let report = reader.verify(Some(&log_key().verifier())).unwrap();
    assert_eq!((report.fault, report.frames, report.size), (None, size, size));
    let tiles = size.div_ceil(256);
    assert_eq!(report.entry_tiles, tiles);
    assert!(report.hash_tiles > tiles && report.segments > 3);
}

#[tokio::test]
async fn without_a_segments_key_its_bodies_are_gone_and_named_and_no_proof_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    append(&ledger, 0, 600, 20).await;
    ledger.close().await;
    std::fs::remove_file(folder.path().join("keys/00000000000000000000.key")).unwrap();

    let reader = Reader::open(folder.path()).unwrap();
    let report = reader.verify(Some(&log_key().verifier())).unwrap();
    let fault = report.fault.clone().unwrap();
    assert_eq!(fault.file, folder.path().join("keys/00000000000000000000.key"));
    assert_eq!((report.frames, report.erased, report.root.is_some()), (600, 1, true));
    let erased = reader.get(0).unwrap();
    assert_eq!((erased.leaf, erased.body), (leaf(0), None));
    assert_eq!(reader.get(599).unwrap().body, Some(body(599)));
    let (checkpoint, _) = reader.checkpoint().unwrap();
    let path = reader.inclusion(0, checkpoint.size).unwrap();
    merkle::verify_inclusion(leaf(0).hash(), 0, checkpoint.size, &path, checkpoint.root).unwrap();
    // A ledger that goes on without would not know what it did.
    let OpenError::Damaged(damage) = refused(folder.path()) else { panic!("it is damaged") };
    assert_eq!(damage, fault);
}

#[test]
fn the_ledger_serves_callers_on_any_runtime_and_on_none() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let ledger = ledger.clone();
            std::thread::spawn(move || {
                // Two runtimes on one thread, one after the other, the first still alive.
                let first = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let appended = first.block_on(ledger.append(entry(thread))).unwrap();
                let second = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let later = second.block_on(async {
                    let tasks: Vec<_> = (0..40).map(|number| tokio::spawn(ledger.append(entry(number)))).collect();
                    let mut last = 0;
                    for task in tasks {
                        last = task.await.unwrap().unwrap().index;
                    }
                    last
                });
                assert!(later > appended.index);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(ledger.size(), 4 * 41);
}

/// Nanoseconds that the ledger's writing thread has run, by the kernel's count. Only one ledger is open in this process.
fn work_of_the_writer() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mut writers = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap() == "ledger-write\n");
    let ran = std::fs::read_to_string(writers.next().unwrap().join("schedstat")).unwrap();
    assert!(writers.next().is_none(), "one ledger");
    ran.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

async fn append_lonely_and_in_company(folder: &Path) {
    /// Nanoseconds: 200 commits, with their hashing and encryption, take ten times as long.
    const LITTLE: u64 = 100_000;
    let (ledger, _) = Ledger::open(Config { segment_bytes: 64 << 20, ..config(folder) }).unwrap();
    // The thread has its name once it runs.
    append(&ledger, 0, 1, 1).await;
    let mut number = 1;
    let each = async |number: &mut u64| {
        let before = work_of_the_writer();
        for _ in 0..200 {
            assert_eq!(ledger.append_and_wait(entry(*number)).await.unwrap().index, *number);
            *number += 1;
        }
        work_of_the_writer() - before
    };
    let lone = ledger.caller();
    // Once the disk is known to be quick the thread has nothing to do; a busy machine may need a while for it.
    while each(&mut number).await > LITTLE {
        assert!(number < 100_000, "a lone caller does not write for himself");
    }
    assert_eq!(ledger.size(), number);
    for written in number - 2..number {
        let stored = ledger.read(written).unwrap();
        assert_eq!((stored.leaf, stored.body), (leaf(written), Some(body(written))));
    }

    // With a second one, and where the caller has more to do, it is left to the thread; the order is kept.
    let second = ledger.caller();
    // More than once: a new segment is made by the thread in any case.
    for _ in 0..5 {
        assert!(each(&mut number).await > LITTLE, "one of two callers wrote alone");
    }
    drop(second);
    let several: Vec<_> = (number..number + 20).map(|number| ledger.append(entry(number))).collect();
    let last = ledger.append_and_wait(entry(number + 20));
    for (number, append) in (number..).zip(several) {
        assert_eq!(append.await.unwrap().index, number);
    }
    assert_eq!(last.await.unwrap().index, number + 20);
    drop(lone);
    ledger.close().await;
    let verified = Reader::open(folder).unwrap().verify(None).unwrap();
    assert_eq!((verified.fault, verified.size), (None, number + 21));
}

#[tokio::test]
async fn a_lone_caller_writes_for_himself_and_two_do_not() {
    const CHILD: &str = "DRAWBRIDGE_LEDGER_LONE";
    if let Some(folder) = std::env::var_os(CHILD) {
        return append_lonely_and_in_company(Path::new(&folder)).await;
    }
    // In memory, where a sync is quick; in a process of its own, whose threads can be told apart.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["behaviour::a_lone_caller_writes_for_himself_and_two_do_not", "--exact", "--nocapture"])
        .env(CHILD, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// The ledger may be closed by one while another writes for himself.
#[test]
fn who_writes_for_himself_is_waited_for_at_the_end() {
    for _ in 0..20 {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (ledger, _) = open(folder.path());
        let busy = ledger.clone();
        let started = Arc::new(AtomicU64::new(0));
        let count = started.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _lone = busy.caller();
            (0..).find_map(|number| {
                count.store(number, Ordering::Release);
                runtime.block_on(busy.append_and_wait(entry(number))).err().map(|error| (number, error))
            })
        });
        while started.load(Ordering::Acquire) < 50 {
            std::thread::yield_now();
        }
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ledger.close());
        // The folder is free at once, and what was acknowledged is in it.
        let (again, recovery) = open(folder.path());
        let (refused, error) = thread.join().unwrap().unwrap();
        assert!(matches!(error, AppendError::Closed), "{error}");
        assert_eq!((recovery.size, recovery.torn), (refused, None));
        drop(again);
    }
}
