//! Damage to every kind of file in a data folder: refused at the start and found by `log verify`, both with the file's name.
//! Only the journal's last batch may be cut short: it is moved aside and named, never cut in silence.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use drawbridge_tests::{
    COUNCIL, Reply, TRUST, TestFederation, eventually, faults::refused_start, federation::standard, process,
};
use proto::records::Kind;

use crate::ledger::head;

/// What a segment's batch begins with, and what it is aligned to.
const BATCH: &[u8] = b"DBbatch1";
const SECTOR: usize = 512;
const FIRST_SEGMENT: &str = "ledger/journal/00000000000000000000.seg";

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The files of a folder, by their paths in it.
fn files_of(folder: &Path) -> Files {
    let mut found = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for path in fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Puts `files` there and nothing else, as they were: keys for their owner alone.
fn restore(folder: &Path, files: &Files) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::remove_dir_all(folder).unwrap();
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

async fn find(federation: &TestFederation) -> Reply {
    federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await
}

async fn answered(federation: &TestFederation, count: usize) {
    let message = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    for _ in 0..count {
        let reply = client.call("/test.v1.Records/Find", &standard(), &message).await.unwrap();
        assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    }
}

/// Where a byte is flipped: the first, the last that was written, and some between.
fn places(bytes: &[u8]) -> Vec<usize> {
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let mut places = vec![0, last / 3, last / 2, last];
    places.dedup();
    places
}

/// Every file damaged in every way: what was done, the file, and the files then.
fn damages(whole: &Files) -> Vec<(String, PathBuf, Files)> {
    let mut damages = Vec::new();
    for (path, bytes) in whole.iter().filter(|(path, bytes)| !bytes.is_empty() && !path.ends_with("lock")) {
        let mut add = |what: String, changed: Vec<u8>| {
            let mut files = whole.clone();
            files.insert(path.clone(), changed);
            damages.push((what, path.clone(), files));
        };
        for at in places(bytes) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            add(format!("byte {at} flipped"), flipped);
        }
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for length in [0, last / 2, bytes.len() - 1] {
            add(format!("cut to {length} bytes"), bytes[..length].to_vec());
        }
    }
    damages
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_any_file_refuses_the_start_and_is_named() {
    let mut federation = TestFederation::new().await.start();
    answered(&federation, 300).await;
    let covered = async || (federation.member(TRUST).metric("drawbridge_ledger_leaves") >= 300).then_some(());
    eventually("a checkpoint covers them", 20, covered).await;
    answered(&federation, 30).await;
    assert!(federation.take(TRUST).terminate());
    let member = federation.member(TRUST);
    let whole = files_of(&member.data());
    // Those of an earlier checkpoint too.
    assert!(whole.keys().filter(|path| path.to_str().unwrap().contains("tile/0/001.p/")).count() > 1);
    // Closed and open segments, full and partial tiles of both levels: everything that there can be.
    let names: Vec<_> = whole.keys().map(|path| path.to_str().unwrap()).collect();
    for there in ["tile/0/000", "tile/1/000.p/1", "entries/000", "checkpoint", "log.vkey", "directory.accepted"] {
        assert!(names.iter().any(|name| name.ends_with(there)), "{there} is missing: {names:?}");
    }
    for folder in ["ledger/journal", "ledger/keys"] {
        assert!(names.iter().filter(|name| name.starts_with(folder)).count() > 1, "{names:?}");
    }
    for (what, path, files) in damages(&whole) {
        restore(&member.data(), &files);
        let name = path.to_str().unwrap();
        let refused = refused_start(&member.folder);
        let (code, said) = refused.unwrap_or_else(|said| panic!("{name}, {what}: it starts\n{said}"));
        assert_eq!(code, 1, "{name}, {what}: {said}");
        assert!(said.contains(name), "{name}, {what}, is not named: {said}");
        assert_eq!(files_of(&member.data()), files, "{name}, {what}: a refused start changed something");
        if path.starts_with("ledger") {
            let output = process::run(&member.folder, ["log", "verify", "--data", "data"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{name}, {what}: `log verify` did not mind");
            assert!(said.contains(name), "{name}, {what}: {said}");
        }
    }
    restore(&member.data(), &whole);
    federation.restart(TRUST);
    eventually("whole, it starts", 10, async || (find(&federation).await.status.code == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_missing_are_named_and_tiles_are_made_again() {
    let mut federation = TestFederation::new().await.start();
    answered(&federation, 330).await;
    assert!(federation.take(TRUST).terminate());
    let member = federation.member(TRUST);
    let whole = files_of(&member.data());
    for path in whole.keys().filter(|path| !path.ends_with("lock") && !path.ends_with("directory.accepted")) {
        let mut files = whole.clone();
        files.remove(path);
        restore(&member.data(), &files);
        let name = path.to_str().unwrap();
        // Of the contracts that are loaded files are made anew.
        let made_again = path.starts_with("ledger/tlog/tile") || path.starts_with("contracts");
        if made_again {
            let gateway = process::Gateway::start(&member.folder);
            assert!(gateway.terminate(), "{name}");
            process::succeed(&member.folder, ["log", "verify", "--data", "data"]);
        } else {
            let (code, said) = refused_start(&member.folder).expect(name);
            assert_eq!(code, 1, "{name}: {said}");
            let folder = path.parent().unwrap().to_str().unwrap();
            assert!(said.contains(folder), "{name}: {said}");
            let output = process::run(&member.folder, ["log", "verify", "--data", "data"]);
            assert_eq!(output.status.code(), Some(1), "{name}: `log verify` said otherwise");
            if path.starts_with("ledger/keys") {
                // What can be read is shown, and it is said that there is more.
                let listed = process::run(&member.folder, ["log", "list", "--data", "data", "--all-kinds"]);
                let (shown, said) = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
                assert!(shown.contains("unreadable") && said.contains("cannot be read"), "{name}: {shown}{said}");
            }
        }
    }
}

/// Where each batch of a segment begins, and where the last ends.
fn batches(segment: &[u8]) -> Vec<usize> {
    let mut at = SECTOR;
    let mut found = Vec::new();
    while segment[at..].starts_with(BATCH) {
        found.push(at);
        let length = u32::from_be_bytes(segment[at + 20..at + 24].try_into().unwrap());
        at += usize::try_from(length).unwrap().next_multiple_of(SECTOR);
    }
    found.push(at);
    found
}

/// A trust killed with its newest records not yet covered by a checkpoint; returns the exchanges of those.
async fn killed_uncovered(federation: &mut TestFederation) -> Vec<String> {
    answered(federation, 5).await;
    let ledger = federation.member(TRUST).ledger();
    let size = || ledger::Reader::open(&ledger).unwrap().entries().count() as u64;
    loop {
        eventually("a checkpoint", 5, async || (head(&ledger).size == size()).then_some(())).await;
        // The next checkpoint is a second away from this one: there is time for a call and a kill.
        let exchanges = vec![find(federation).await.exchange(), find(federation).await.exchange()];
        let copy = files_of(&federation.member(TRUST).data());
        federation.take(TRUST).kill();
        restore(&federation.member(TRUST).data(), &copy);
        if head(&ledger).size + 2 == size() {
            return exchanges;
        }
        federation.restart(TRUST);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_batch_that_was_cut_short_is_moved_aside_named_and_recorded() {
    let mut federation = TestFederation::new().await.start();
    let exchanges = killed_uncovered(&mut federation).await;
    let segment = federation.member(TRUST).data().join(FIRST_SEGMENT);
    let mut bytes = fs::read(&segment).unwrap();
    let places = batches(&bytes);
    let (start, end) = (places[places.len() - 2], places[places.len() - 1]);
    // As power failing in the middle of the write leaves it: the first sector is there, the others are not.
    bytes[start + SECTOR..end].fill(0);
    fs::write(&segment, &bytes).unwrap();
    let index = ledger::Reader::open(federation.member(TRUST).ledger()).unwrap().entries().count() as u64;
    let output = process::run(&federation.member(TRUST).folder, ["log", "verify", "--data", "data"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("cut short") && said.contains(FIRST_SEGMENT), "{said}");
    federation.restart(TRUST);
    let trust = federation.member(TRUST);
    let log = trust.process().log();
    let moved = fs::read_dir(trust.ledger().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let moved: Vec<_> = moved.filter(|path| path.extension().is_some_and(|end| end == "batch")).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    let name = moved[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("torn-{index}-")), "{name}");
    assert!(log.contains(name) && log.contains("was incomplete and was moved aside"), "{log}");
    let kept = fs::read(&moved[0]).unwrap();
    assert!(kept.starts_with(b"drawbridge.torn-batch/v1\n") && kept.windows(BATCH.len()).any(|w| w == BATCH));
    let events: Vec<_> = trust.records().into_iter().filter(|record| record.kind() == Kind::Event).collect();
    let torn = |record: &&records::Record| record.opened.as_ref().unwrap().private.detail.starts_with("torn-batch");
    assert_eq!(events.iter().filter(torn).count(), 1);
    // Here the batch had been acknowledged: the disk lied. The other side holds a promise, and finds out.
    assert!(trust.records_of(&exchanges[1]).is_empty());
    answered(&federation, 5).await;
    let council = federation.member(COUNCIL);
    eventually("the broken promise is noticed", 20, async || {
        (council.metric("drawbridge_promise_broken") == 1).then_some(())
    })
    .await;
    let broken =
        |record: &records::Record| record.opened.as_ref().unwrap().private.detail.starts_with("promise-broken");
    assert!(council.records().iter().any(broken), "and recorded");
    let output = process::run(federation.root(), [&"log".into(), &"compare".into(), &council.data(), &trust.data()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let line = said.lines().find(|line| line.contains(&exchanges[1])).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("UNEXPLAINED") && line.contains("only the consumer has it"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_cut_though_another_follows_or_a_checkpoint_covers_it_refuses_the_start() {
    let mut federation = TestFederation::new().await.start();
    killed_uncovered(&mut federation).await;
    let member = federation.member(TRUST);
    let whole = files_of(&member.data());
    let segment = &whole[Path::new(FIRST_SEGMENT)];
    let places = batches(segment);
    let covered = head(&member.ledger()).size;
    let mut cases = vec![("a batch before the last", places[places.len() - 3], places[places.len() - 2])];
    // Everything from the first batch on that the checkpoint covers.
    cases.push(("all that follows the start", places[0], places[places.len() - 1]));
    for (what, start, end) in cases {
        let mut files = whole.clone();
        files.get_mut(Path::new(FIRST_SEGMENT)).unwrap()[start + SECTOR..end].fill(0);
        restore(&member.data(), &files);
        let (code, said) = refused_start(&member.folder).expect(what);
        assert_eq!(code, 1, "{what}: {said}");
        assert!(said.contains(FIRST_SEGMENT) && said.contains("do not delete anything"), "{what}: {said}");
        assert!(covered > 0 && files_of(&member.data()) == files, "{what}: something was changed");
    }
}
