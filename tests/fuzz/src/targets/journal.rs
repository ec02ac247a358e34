//! A log's folder, damaged: each change says which file, where, and what is done to it.
//!
//! What opens holds the very leaves that were written. Checksums that no longer fit would hide all but the first check, so a change
//! can ask for them to be mended.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use ledger::{Config, Entry, Hash, Leaf, Ledger, Reader, SealInput};
use tempfile::TempDir;

use crate::fixtures::key;

/// Leaves of the log: more than a full tile has, in several segments.
const LEAVES: u64 = 270;
const ORIGIN: &str = "council.example/log/main";
/// Most changes that one input makes.
const CHANGES: usize = 16;
/// Lengths as `crates/ledger/FORMAT.md` has them.
const SECTOR: usize = 512;
const BATCH_HEADER: usize = 32;

/// A log as it was written.
struct Template {
    /// Every file but the lock, from the log's folder, sorted.
    files: Vec<(PathBuf, Vec<u8>)>,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::make);

/// Damages segments and their keys, and opens the log.
pub fn journal(input: &[u8]) {
    let log = Damaged::new(input, |path| !path.starts_with("tlog"));
    let read: Vec<Leaf> = log.reader().entries().map_while(Result::ok).map(|stored| stored.leaf).collect();
    assert!(read.len() as u64 <= LEAVES && read.iter().zip(0..).all(|(read, number)| *read == leaf(number)));
    let _ = log.reader().verify(None);
    log.opens();
}

/// Damages checkpoint, tiles and the log's key, and reads them.
pub fn tiles(input: &[u8]) {
    let log = Damaged::new(input, |path| path.starts_with("tlog"));
    if let Ok(reader) = Reader::open(log.folder.path()) {
        let _ = reader.checkpoint();
        for (index, size) in [(0, LEAVES), (255, 256), (269, LEAVES), (LEAVES, LEAVES), (3, u64::MAX)] {
            let _ = (reader.inclusion(index, size), reader.consistency(index, size));
        }
        let genuine = key(ORIGIN, 3).verifier();
        if reader.verify(Some(&genuine)).is_ok_and(|report| report.fault.is_none()) {
            log.unchanged("tlog");
        }
    }
    log.opens();
}

impl Template {
    fn make() -> Self {
        let folder = folder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (ledger, _) = Ledger::open(config(folder.path())).unwrap();
        for number in 0..LEAVES {
            let seal =
                number.is_multiple_of(5).then(|| SealInput { tag: "drawbridge.fuzz", claims: b"claims".to_vec() });
            let body = vec![u8::try_from(number % 251).unwrap(); usize::try_from(number % 97).unwrap()];
            // One by one, so that every batch lies where it lay the last time.
            runtime.block_on(ledger.append(Entry { leaf: leaf(number), body, seal })).unwrap();
        }
        runtime.block_on(ledger.close());
        let mut files = Vec::new();
        gather(folder.path(), folder.path(), &mut files);
        files.sort();
        Self { files }
    }
}

/// A log's folder after an input was done to it.
struct Damaged {
    folder: TempDir,
}

impl Damaged {
    fn new(input: &[u8], touched: impl Fn(&Path) -> bool) -> Self {
        let mut files = TEMPLATE.files.clone();
        let touched: Vec<usize> = (0..files.len()).filter(|at| touched(&files[*at].0)).collect();
        let mut removed = Vec::new();
        let mut rest = input;
        for _ in 0..CHANGES {
            let Some((&[how, which, a, b, c, length], after)) = rest.split_first_chunk::<6>() else { break };
            let (bytes, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
            rest = after;
            let at = touched[usize::from(which) % touched.len()];
            let file = &mut files[at].1;
            let offset = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap().min(file.len());
            match how & 3 {
                0 => {
                    let end = (offset + bytes.len()).min(file.len());
                    file[offset..end].copy_from_slice(&bytes[..end - offset]);
                }
                1 => file.truncate(offset),
                2 => drop(file.splice(offset..offset, bytes.iter().copied())),
                _ => removed.push(at),
            }
            if how & 0x80 != 0 {
                mend(file);
            }
        }
        let folder = folder();
        for (at, (path, bytes)) in files.iter().enumerate() {
            if !removed.contains(&at) {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
        Self { folder }
    }

    fn reader(&self) -> Reader {
        Reader::open(self.folder.path()).expect("the log's key was not touched")
    }

    /// A log that opens has every leaf that its checkpoint covers, and opens again.
    fn opens(&self) {
        let Ok((ledger, recovery)) = Ledger::open(config(self.folder.path())) else { return };
        assert!(recovery.size <= LEAVES);
        let whole = fs::read(self.folder.path().join("tlog/checkpoint")).is_ok();
        assert!(!whole || recovery.size == LEAVES, "a log of {LEAVES} leaves opens with {}", recovery.size);
        for number in 0..recovery.size {
            if let Ok(stored) = ledger.read(number) {
                assert_eq!(stored.leaf, leaf(number), "leaf {number} is another one");
            }
        }
        drop(ledger);
        let again = Ledger::open(config(self.folder.path())).map(|(_, recovery)| recovery.size);
        assert_eq!(again.ok(), Some(recovery.size), "a log that opened does not open again");
    }

    /// Holds what is there of a folder against the template.
    fn unchanged(&self, within: &str) {
        for (path, bytes) in TEMPLATE.files.iter().filter(|(path, _)| path.starts_with(within)) {
            if let Ok(found) = fs::read(self.folder.path().join(path)) {
                assert!(found == *bytes, "{} was changed, and verifies", path.display());
            }
        }
    }
}

/// Makes the checksums of every batch header and frame fit again, where lengths still say where they are.
fn mend(segment: &mut [u8]) {
    let mut at = SECTOR;
    while let Some(header) = segment.get(at..at + BATCH_HEADER).filter(|header| header.starts_with(b"DBbatch1")) {
        let length = usize::try_from(u32::from_be_bytes(header[20..24].try_into().unwrap())).unwrap();
        let crc = crc32fast::hash(&header[..28]).to_be_bytes();
        segment[at + 28..at + 32].copy_from_slice(&crc);
        let mut frame = at + BATCH_HEADER;
        let end = segment.len().min(at + length);
        while let Some(head) = segment.get(frame..frame + 8) {
            let length = usize::try_from(u32::from_be_bytes(head[4..8].try_into().unwrap())).unwrap();
            if length < 8 || frame + length > end {
                break;
            }
            let crc = crc32fast::hash(&segment[frame + 4..frame + length]).to_be_bytes();
            segment[frame..frame + 4].copy_from_slice(&crc);
            frame += length;
        }
        at += length.max(1).next_multiple_of(SECTOR);
    }
}

fn config(folder: &Path) -> Config {
    Config {
        segment_bytes: 64 << 10,
        checkpoint_interval: Duration::from_millis(5),
        ..Config::new(folder, ORIGIN, key(ORIGIN, 3), key("council.example/gateway/main", 1))
    }
}

fn leaf(number: u64) -> Leaf {
    Leaf { shared: Hash::of(&number.to_be_bytes()), private: Hash::of(b"private") }
}

/// In memory where the machine has a place for it: what is tried here is reading, not the disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("drawbridge-fuzz-").tempdir_in(place).unwrap()
}

fn gather(root: &Path, folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(root, &path, files);
        } else if !path.ends_with("lock") {
            files.push((path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap()));
        }
    }
}
