//! Backups of the data folder: what a whole copy is good for, and what an old one does.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use drawbridge_tests::{COUNCIL, TRUST, TestFederation, eventually, federation::standard, process::run};
use records::Kind;

/// Copies a data folder in the order in which that of a running gateway has to be: what refers to something is copied before it.
fn copy(data: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for inner in ["ledger/tlog", "ledger/journal", "ledger/keys"] {
        all(&data.join(inner), &to.join(inner));
    }
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut paths: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            all(&path, &target);
        } else if let Err(error) = fs::copy(&path, &target) {
            // A file that is on its way to its name has another one by now.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

/// Whether a copy of the data folder of the member whose folder this is verifies, and what was said.
fn verify(folder: &Path, data: &str) -> Result<String, String> {
    let output = run(folder, ["log", "verify", "--data", data, "--directory", "directory.note"]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

async fn ask(federation: &TestFederation) -> String {
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    reply.exchange()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_goes_on_from_a_copy_that_was_made_while_it_was_stopped() {
    let mut federation = TestFederation::new().await.start();
    let before = ask(&federation).await;
    assert!(federation.take(TRUST).terminate());
    let trust = federation.member(TRUST);
    copy(&trust.data(), &trust.folder.join("elsewhere"));
    fs::remove_dir_all(trust.data()).unwrap();
    verify(&trust.folder, "elsewhere").unwrap();
    trust.configure("\n[data]\nfolder = \"elsewhere\"\n");
    federation.restart(TRUST);
    let after = ask(&federation).await;
    let (trust, council) = (federation.member(TRUST), federation.member(COUNCIL));
    eventually("the promise is checked", 20, async || (council.metric("drawbridge_promise_kept") >= 2).then_some(()))
        .await;
    assert_eq!(council.metric("drawbridge_promise_broken"), 0);
    verify(&trust.folder, "elsewhere").unwrap();
    let reader = ledger::Reader::open(trust.folder.join("elsewhere/ledger")).unwrap();
    let records: Vec<_> = reader.entries().map(|stored| records::Record::open(stored.unwrap()).unwrap()).collect();
    for exchange in [before, after] {
        let found = records.iter().filter(|record| record.exchange().is_some_and(|id| id.to_string() == exchange));
        // The first question after a start may meet a session that is no longer known, which is recorded too.
        let answered = found.filter(|record| record.kind() == Kind::Outcome);
        assert_eq!(answered.count(), 1, "{exchange}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_running_gateway_verifies_when_it_is_made_in_order() {
    let federation = TestFederation::new().await.start();
    let settled = ask(&federation).await;
    let done = Arc::new(AtomicBool::new(false));
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let stop = done.clone();
    let load = tokio::spawn(async move {
        let mut asked = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let reply = client.call("/test.v1.Records/Find", &standard(), &find).await.unwrap();
            assert_eq!(reply.status.code, 0, "{}", reply.status.message);
            asked += 1;
        }
        asked
    });
    let trust = federation.member(TRUST);
    let backup = trust.folder.join("backup");
    // A batch that is written while the copy passes over it spoils the copy, which `verify` tells: then it is made again.
    eventually("a copy verifies", 60, async || {
        copy(&trust.data(), &backup);
        verify(&trust.folder, "backup").ok()
    })
    .await;
    done.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 0);
    let reader = ledger::Reader::open(backup.join("ledger")).unwrap();
    let records: Vec<_> = reader.entries().map_while(Result::ok).collect();
    let found = records.into_iter().map(|stored| records::Record::open(stored).unwrap());
    let found = found.filter(|record| record.exchange().is_some_and(|id| id.to_string() == settled));
    assert_eq!(found.count(), 1, "what was answered before the copy is in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_on_from_an_old_copy_is_found_out_by_its_peers() {
    let mut federation = TestFederation::new().await.start();
    ask(&federation).await;
    assert!(federation.take(TRUST).terminate());
    let (data, old) = (federation.member(TRUST).data(), federation.member(TRUST).folder.join("old"));
    copy(&data, &old);
    federation.restart(TRUST);
    let mut lost = Vec::new();
    for _ in 0..5 {
        lost.push(ask(&federation).await);
    }
    eventually("the promises are checked", 20, async || {
        (federation.member(COUNCIL).metric("drawbridge_promise_kept") >= 6).then_some(())
    })
    .await;
    federation.take(TRUST).kill();
    copy(&old, &data);
    federation.restart(TRUST);
    // It verifies in itself, and exchanges go on: only who saw more of it before can tell.
    ask(&federation).await;
    let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
    eventually("the council's gateway has noticed", 20, async || {
        (council.metric("drawbridge_promise_broken") > 0).then_some(())
    })
    .await;
    verify(&trust.folder, "data").unwrap();
    for exchange in &lost {
        assert_eq!((trust.records_of(exchange).len(), council.records_of(exchange).len()), (0, 1), "{exchange}");
    }
    let noted = council.records().into_iter().filter(|record| record.kind() == Kind::Event);
    let noted: Vec<String> = noted.map(|record| record.opened.unwrap().private.detail).collect();
    assert!(
        noted.iter().any(|what| what.starts_with("promise-broken") && what.contains("it was rewritten")),
        "{noted:?}"
    );
}
