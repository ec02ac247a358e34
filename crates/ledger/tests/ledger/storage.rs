//! A disk that refuses: everything stops, says so, and starts again once it is mended.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use drawbridge_ledger::{AppendError, Config, Entry, Ledger, OpenError, Reader};

use crate::common::{config, entry, leaf, open};

const CHILD: &str = "DRAWBRIDGE_LEDGER_FULL";
/// Largest file in the child, in blocks of 512 bytes: room for the first segment, not for the second.
const BLOCKS: &str = "600";

fn full_config(folder: &Path) -> Config {
    Config { segment_bytes: 64 << 20, ..config(folder) }
}

async fn append_until_refused(folder: &Path) {
    let (ledger, _) = Ledger::open(full_config(folder)).unwrap();
    let large = |number| Entry { leaf: leaf(number), body: vec![1; 5000], seal: None };
    let mut count = 0;
    let error = loop {
        // Three at a time: all that wait for the failed write are refused, and all behind them.
        let appends: Vec<_> = (0..3).map(|more| ledger.append(large(count + more))).collect();
        let mut refused = Vec::new();
        for append in appends {
            match append.await {
                Ok(appended) if refused.is_empty() => assert_eq!(appended.index, count),
                Ok(appended) => {
                    panic!("leaf {} was appended after one was refused", appended.index)
                }
                Err(error) => refused.push(error),
            }
            count += u64::from(refused.is_empty());
        }
        if let Some(error) = refused.pop() {
            break error;
        }
    };
    let AppendError::Storage(error) = error else { panic!("{error}") };
    assert_eq!(error.source.raw_os_error(), Some(27), "EFBIG");
    assert!(error.path.starts_with(folder), "{error}");
    assert!(matches!(ledger.healthy(), Err(AppendError::Storage(_))));
    assert!(matches!(ledger.append(large(count)).await, Err(AppendError::Storage(_))));
    assert_eq!(ledger.size(), count);
    assert!(ledger.read(count - 1).is_ok(), "what is on disk can still be read");
    ledger.close().await;
    std::fs::write(folder.join("count"), count.to_string()).unwrap();
}

/// A limit on the length of files stands for a full disk: the same calls fail, with `EFBIG` instead of `ENOSPC`.
#[tokio::test]
async fn a_refused_write_stops_everything_until_the_ledger_is_opened_again() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return append_until_refused(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", BLOCKS])
        .arg(std::env::current_exe().unwrap())
        .args(["storage::a_refused_write_stops_everything_until_the_ledger_is_opened_again", "--exact", "--nocapture"])
        .env(CHILD, folder.path())
        .process_group(0)
        .status()
        .unwrap();
    assert!(status.success());
    let count: u64 = std::fs::read_to_string(folder.path().join("count")).unwrap().parse().unwrap();
    assert!(count > 10);

    let (ledger, recovery) = Ledger::open(full_config(folder.path())).unwrap();
    assert_eq!(recovery.size, count);
    assert_eq!(ledger.append(entry(count)).await.unwrap().index, count);
    ledger.close().await;
    assert_eq!(Reader::open(folder.path()).unwrap().verify(None).unwrap().fault, None);
}

#[tokio::test]
async fn a_tile_that_cannot_be_written_stops_the_ledger_too() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    ledger.append(entry(0)).await.unwrap();
    ledger.watch_checkpoints().wait_for(|state| state.size == 1).await.unwrap();
    // A folder stands where the next checkpoint is to be written: a refusal that root meets as well.
    std::fs::create_dir(folder.path().join("tlog/checkpoint.tmp")).unwrap();
    let mut number = 1;
    let error = loop {
        match ledger.append(entry(number)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    let AppendError::Storage(error) = error else { panic!("{error}") };
    assert_eq!(error.to_string(), format!("cannot create `{}`", folder.path().join("tlog/checkpoint.tmp").display()));
    ledger.close().await;
    std::fs::remove_dir(folder.path().join("tlog/checkpoint.tmp")).unwrap();
    let (ledger, recovery) = open(folder.path());
    assert_eq!((recovery.size, ledger.checkpoint().size), (number, number));
    ledger.close().await;
}

/// What waits is refused when the ledger fails, and nothing is written after that: the next start finds a log that is whole.
#[tokio::test]
async fn a_commit_that_is_held_back_when_the_ledger_fails_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let held = Config {
        checkpoint_interval: Duration::from_millis(300),
        pace_from: 2,
        pace_until: 100,
        pace_hold: Duration::from_hours(1),
        ..config(folder.path())
    };
    let (ledger, _) = Ledger::open(held).unwrap();
    std::fs::create_dir(folder.path().join("tlog/checkpoint.tmp")).unwrap();
    ledger.append(entry(0)).await.unwrap();
    // Within the interval: two of three wait, and the thread holds their commit, until the checkpoint fails.
    let _callers = [ledger.caller(), ledger.caller(), ledger.caller()];
    let waiting = [ledger.append(entry(1)), ledger.append_and_wait(entry(2))];
    for append in waiting {
        let refused = append.await.unwrap_err();
        assert!(matches!(refused, AppendError::Storage(_)), "{refused}");
    }
    ledger.close().await;
    std::fs::remove_dir(folder.path().join("tlog/checkpoint.tmp")).unwrap();
    let (ledger, recovery) = open(folder.path());
    assert_eq!((recovery.size, recovery.torn), (1, None));
    assert_eq!(ledger.append(entry(1)).await.unwrap().index, 1);
    ledger.close().await;
    assert_eq!(Reader::open(folder.path()).unwrap().verify(None).unwrap().fault, None);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let error = Ledger::open(config(&file.join("ledger"))).map(|_| ()).unwrap_err();
    let OpenError::Storage(error) = error else { panic!("{error}") };
    assert_eq!(error.to_string(), format!("cannot make the folder `{}`", file.join("ledger").display()));
}
