//! Damage of every kind of file: refused and named, or, in a batch that was cut short, moved aside and named. Never shorter
//! in silence.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drawbridge_ledger::{Config, Ledger, OpenError, Reader, Recovery};

use crate::common::{append, config, files, leaf, log_key, open, refused, restore};

const SEGMENT: &str = "journal/00000000000000000000.seg";
const SECTOR: usize = 512;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A small log of two segments and all kinds of tiles, closed in order.
async fn small_log() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(folder.path());
    append(&ledger, 0, 300, 10).await;
    ledger.close().await;
    let files = files(folder.path());
    assert!(files.keys().filter(|path| path.starts_with("journal")).count() >= 2);
    files
}

/// The same with leaves behind the checkpoint, as a kill leaves it: batches of 3 leaves up to 12, covered up to `covered`.
async fn killed_log(covered: u64) -> Files {
    let folder = tempfile::tempdir().unwrap();
    append_in_threes(folder.path(), 0, covered).await;
    let before = files(folder.path());
    append_in_threes(folder.path(), covered, 12).await;
    let mut after = files(folder.path());
    after.retain(|path, _| !path.starts_with("tlog"));
    after.extend(before.into_iter().filter(|(path, _)| path.starts_with("tlog")));
    assert_eq!(batches(&after[Path::new(SEGMENT)]).len(), 4 + 1);
    after
}

async fn append_in_threes(folder: &Path, from: u64, to: u64) {
    let held = Config { pace_from: 1, pace_until: 3, pace_hold: Duration::from_hours(1), ..config(folder) };
    let (ledger, _) = Ledger::open(held).unwrap();
    let _callers = [ledger.caller(), ledger.caller(), ledger.caller()];
    append(&ledger, from, to, 3).await;
    ledger.close().await;
}

/// Offset at which each batch begins, and after the last.
fn batches(segment: &[u8]) -> Vec<usize> {
    let mut at = SECTOR;
    let mut found = vec![];
    while segment[at..].starts_with(b"DBbatch1") {
        found.push(at);
        let length = u32::from_be_bytes(segment[at + 20..at + 24].try_into().unwrap());
        at += usize::try_from(length).unwrap().next_multiple_of(SECTOR);
    }
    found.push(at);
    found
}

fn named(error: &OpenError) -> (PathBuf, Option<u64>) {
    match error {
        OpenError::Damaged(damage) => (damage.file.clone(), damage.offset),
        OpenError::Newer { path, .. } | OpenError::OtherLog { path, .. } => (path.clone(), None),
        OpenError::Config { .. } | OpenError::Locked { .. } | OpenError::Storage(_) => {
            panic!("{error}")
        }
    }
}

fn check_whole(folder: &Path, size: u64) {
    let report = Reader::open(folder).unwrap().verify(Some(&log_key().verifier())).unwrap();
    assert_eq!((report.fault, report.frames), (None, size));
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_refuses_the_start_and_names_the_file() {
    let files = small_log().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    restore(&folder, &files);
    for (path, bytes) in files.iter().filter(|(path, bytes)| !bytes.is_empty() && !path.ends_with("lock")) {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        // Every byte of small files, and some twenty-five of large ones, the first and the last among them.
        let step = (used / 25).max(1);
        for at in (0..used).step_by(step).chain([used - 1]) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            fs::write(folder.join(path), flipped).unwrap();
            let Err(error) = Ledger::open(config(&folder)) else {
                panic!("byte {at} of {} was changed, and nobody minds", path.display());
            };
            let (file, offset) = named(&error);
            assert_eq!(file, folder.join(path), "byte {at}: {error}");
            if let (Some(offset), true) = (offset, path.starts_with("tlog/tile")) {
                assert_eq!(offset, at as u64, "{error}");
            }
            if is_current(path)
                && let Ok(reader) = Reader::open(&folder)
            {
                // The reader refuses what the gateway refuses, and names the same file.
                match reader.verify(Some(&log_key().verifier())) {
                    Ok(report) => {
                        let fault =
                            report.fault.unwrap_or_else(|| panic!("{} byte {at} is passed over", path.display()));
                        assert_eq!(fault.file, folder.join(path), "byte {at}: {fault}");
                    }
                    Err(error) => assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}"),
                }
            }
        }
        fs::write(folder.join(path), bytes).unwrap();
    }
}

#[tokio::test]
async fn a_byte_where_nothing_was_written_is_not_taken_for_the_end() {
    let files = small_log().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    let (path, bytes) = files.iter().find(|(path, _)| path.ends_with("00000000000000000000.seg")).unwrap();
    let mut stray = files.clone();
    *stray.get_mut(path).unwrap().last_mut().unwrap() = 1;
    restore(&folder, &stray);
    let error = refused(&folder);
    assert_eq!(named(&error), (folder.join(path), Some(bytes.len() as u64 - 1)), "a closed segment: {error}");
}

#[tokio::test]
async fn a_file_cut_at_any_length_refuses_the_start_and_names_the_file() {
    let files = killed_log(6).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    for (path, bytes) in files.iter().filter(|(path, bytes)| !bytes.is_empty() && !path.ends_with("lock")) {
        restore(&folder, &files);
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let step = (last / 60).max(1);
        for length in (0..last).step_by(step).chain([bytes.len() - 1]) {
            fs::write(folder.join(path), &bytes[..length]).unwrap();
            let Err(error) = Ledger::open(config(&folder)) else {
                panic!("{} was cut to {length} bytes, and nobody minds", path.display());
            };
            let (file, _) = named(&error);
            assert_eq!(file, folder.join(path), "cut to {length}: {error}");
        }
    }
}

#[tokio::test]
async fn a_missing_file_is_rebuilt_when_it_is_a_tile_and_named_otherwise() {
    let files = small_log().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    for path in files.keys().filter(|path| !path.ends_with("lock")) {
        let mut without = files.clone();
        without.remove(path);
        restore(&folder, &without);
        if path.starts_with("tlog/tile") {
            let (ledger, recovery) = Ledger::open(config(&folder)).unwrap();
            assert_eq!(recovery.size, 300);
            ledger.close().await;
            check_whole(&folder, 300);
            if is_current(path) {
                assert_eq!(fs::read(folder.join(path)).unwrap(), files[path], "{}", path.display());
            }
        } else {
            let error = refused(&folder);
            let (file, _) = named(&error);
            let segment = path.starts_with("journal");
            assert!(
                file == folder.join(path) || (segment && file.starts_with(folder.join("journal"))),
                "{}: {error}",
                path.display()
            );
        }
    }
}

/// Partial tiles of earlier checkpoints are kept as they are, and not made again.
fn is_current(tile: &Path) -> bool {
    !tile.to_string_lossy().contains(".p/")
        || tile.ends_with("000.p/1") && tile.starts_with("tlog/tile/1")
        || tile.ends_with("001.p/44")
}

fn reopened(folder: &Path, files: &Files) -> Result<Recovery, OpenError> {
    restore(folder, files);
    let (ledger, recovery) = Ledger::open(config(folder))?;
    drop(ledger);
    Ok(recovery)
}

#[tokio::test]
async fn a_last_batch_cut_short_is_moved_aside_and_named_and_its_indices_are_used_again() {
    let files = killed_log(6).await;
    let places = batches(&files[Path::new(SEGMENT)]);
    let (start, end) = (places[places.len() - 2], places[places.len() - 1]);
    assert!(end - start >= 3 * SECTOR);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    // A write that ends anywhere, by sectors or in the middle of one.
    for written in (start + 1..end - SECTOR).step_by(97).chain((start..end - SECTOR).step_by(SECTOR).skip(1)) {
        let mut torn = files.clone();
        let segment = torn.get_mut(Path::new(SEGMENT)).unwrap();
        segment[written..].fill(0);
        let left = segment[start..written].iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let recovery = reopened(&folder, &torn).unwrap();
        let batch = recovery.torn.expect("it is named");
        assert_eq!(
            (recovery.size, batch.at, batch.offset, batch.bytes),
            (9, 9, start as u64, left as u64),
            "written to {written}"
        );
        assert_eq!(batch.segment, folder.join(SEGMENT));
        let moved = fs::read(&batch.moved_to).unwrap();
        assert!(moved.starts_with(b"drawbridge.torn-batch/v1\n"));
        assert!(moved.ends_with(&files[Path::new(SEGMENT)][start..start + left]));

        let (ledger, again) = open(&folder);
        assert_eq!((again.size, again.torn), (9, None));
        append(&ledger, 9, 15, 2).await;
        ledger.close().await;
        check_whole(&folder, 15);
    }
}

#[tokio::test]
async fn sectors_that_never_reached_the_disk_are_a_cut_wherever_they_lie() {
    let files = killed_log(6).await;
    let places = batches(&files[Path::new(SEGMENT)]);
    let (start, end) = (places[places.len() - 2], places[places.len() - 1]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    let sectors = (end - start) / SECTOR;
    for missing in 1..(1 << sectors) - 1 {
        let mut torn = files.clone();
        let segment = torn.get_mut(Path::new(SEGMENT)).unwrap();
        for sector in (0..sectors).filter(|sector| missing >> sector & 1 == 1) {
            segment[start + sector * SECTOR..][..SECTOR].fill(0);
        }
        let recovery = reopened(&folder, &torn).unwrap();
        assert_eq!((recovery.size, recovery.torn.map(|batch| batch.at)), (9, Some(9)), "sectors missing: {missing:b}");
    }
}

#[tokio::test]
async fn a_flipped_byte_in_the_last_batch_is_damage_and_not_a_cut() {
    let files = killed_log(6).await;
    let places = batches(&files[Path::new(SEGMENT)]);
    let (start, end) = (places[places.len() - 2], places[places.len() - 1]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    restore(&folder, &files);
    for at in (start..end).step_by(5) {
        let mut flipped = files[Path::new(SEGMENT)].clone();
        flipped[at] ^= 1;
        fs::write(folder.join(SEGMENT), flipped).unwrap();
        let error = refused(&folder);
        assert_eq!(named(&error).0, folder.join(SEGMENT), "byte {at}: {error}");
    }
}

#[tokio::test]
async fn a_cut_before_a_whole_batch_or_below_the_checkpoint_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    let files = killed_log(6).await;
    let places = batches(&files[Path::new(SEGMENT)]);
    let mut hole = files.clone();
    hole.get_mut(Path::new(SEGMENT)).unwrap()[places[2] + SECTOR..places[3]].fill(0);
    let error = reopened(&folder, &hole).unwrap_err();
    assert!(error.to_string().contains("whole batches follow"), "{error}");

    let covered = killed_log(12).await;
    let places = batches(&covered[Path::new(SEGMENT)]);
    let mut torn = covered.clone();
    torn.get_mut(Path::new(SEGMENT)).unwrap()[places[3] + SECTOR..].fill(0);
    let error = reopened(&folder, &torn).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is damaged at byte {} (leaf 9): it ends after 9 leaves, but the checkpoint covers 12",
            folder.join(SEGMENT).display(),
            places[3]
        )
    );
    assert!(error.help().unwrap().contains("do not delete anything"));
    assert!(
        crate::common::files(&folder).keys().all(|path| !path.to_string_lossy().contains("torn")),
        "nothing was moved"
    );
}

#[tokio::test]
async fn what_a_crash_leaves_half_made_is_tidied_away() {
    let mut files = killed_log(6).await;
    files.insert("journal/next.tmp".into(), vec![0; 100]);
    files.insert("keys/00000000000000000009.key".into(), b"for a segment that never was".to_vec());
    files.insert("tlog/checkpoint.tmp".into(), b"half".to_vec());
    files.insert("tlog/tile/0/000.p/9.tmp".into(), b"half".to_vec());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    let recovery = reopened(&folder, &files).unwrap();
    assert_eq!((recovery.size, recovery.uncovered, recovery.torn), (12, 6, None));
    for gone in ["journal/next.tmp", "keys/00000000000000000009.key", "tlog/checkpoint.tmp"] {
        assert!(!folder.join(gone).exists(), "{gone}");
    }
    check_whole(&folder, 12);
    assert_eq!(Reader::open(&folder).unwrap().get(11).unwrap().leaf, leaf(11));
}

#[tokio::test]
async fn files_of_a_newer_program_are_refused_by_the_name_of_their_format() {
    let files = small_log().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ledger");
    for (path, format) in
        [(SEGMENT, "drawbridge.journal/v"), ("keys/00000000000000000000.key", "drawbridge.segment-key/v")]
    {
        let mut newer = files.clone();
        let bytes = newer.get_mut(Path::new(path)).unwrap();
        assert!(bytes.starts_with(format.as_bytes()));
        bytes[format.len()] = b'7';
        restore(&folder, &newer);
        let error = refused(&folder);
        let expected = format!(
            "`{}` has format `{format}7`, which is newer than this program; it reads `{format}1`",
            folder.join(path).display()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
