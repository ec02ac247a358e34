//! Opening a ledger: reading everything back, and telling a write that was cut short from damage.
//!
//! The journal is the truth. Tiles are derived from it and rebuilt where they are missing; a tile, checkpoint or key file that
//! contradicts it is damage, and so is a journal that ends before what the checkpoint covers.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use note::{Note, VerifierKey};
use thiserror::Error;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::files::{
    Damage, StorageError, TEMPORARY, Unreadable, first_difference, make_folder, on, read_if_there, sync_folder,
    write_whole,
};
use crate::folder::Folder;
use crate::journal::frame::{SECTOR, SegmentKey};
use crate::journal::scan::{Chain, Scan};
use crate::journal::segment::{Blank, Segment, missing_key, read_key};
use crate::journal::tail::End;
use crate::ledger::CheckpointState;
use crate::places::Places;
use crate::publisher::Tlog;
use crate::tiles::Edge;
use crate::{Hash, merkle};

/// First line of a file with a batch that was cut short.
const TORN_FORMAT: &str = "drawbridge.torn-batch/v1";

/// Length of the first segment, in bytes, where [`Config::segment_bytes`] allows it.
pub(crate) const FIRST_SEGMENT: u64 = 256 << 10;

/// What opening a ledger found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Number of leaves in the log.
    pub size: u64,
    /// Number of leaves that the last checkpoint did not cover: those of the last moments before the ledger was closed or
    /// killed.
    pub uncovered: u64,
    /// Number of full tiles that were missing and were made again from the journal.
    pub rebuilt: u64,
    /// The batch that was being written when the gateway was killed or lost power, if there was one.
    pub torn: Option<TornBatch>,
}

/// A batch that was cut short, moved to a file beside the journal. None of its leaves was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornBatch {
    /// The segment that it was in.
    pub segment: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The file that holds it now.
    pub moved_to: PathBuf,
    /// Its length up to the last byte that was written.
    pub bytes: u64,
    /// The index that its first leaf would have had; the next leaf has it now.
    pub at: u64,
}

/// Why a ledger cannot be opened.
#[derive(Debug, Clone, Error)]
pub enum OpenError {
    /// A setting is outside its range.
    #[error("the ledger cannot be opened: {what}")]
    Config {
        /// Which, and how.
        what: String,
    },
    /// Another gateway has it open.
    #[error("`{}` is in use by another gateway: stop it first, or give this one a data folder of its own", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file does not hold what was written to it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A file of a later format.
    #[error("`{}` has format `{format}`, which is newer than this program; it reads `{reads}`: install a newer Drawbridge", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it names.
        format: String,
        /// The format this program reads.
        reads: &'static str,
    },
    /// The folder belongs to another log, or the log has another key.
    #[error("`{}` belongs to `{found}`, not to `{expected}`: check which data folder and log key are configured", path.display())]
    OtherLog {
        /// The file that says so.
        path: PathBuf,
        /// The origin or key there.
        found: String,
        /// The origin or key that is configured.
        expected: String,
    },
}

impl OpenError {
    /// What to do about it, where the message does not say.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Damaged(_) => Some(Damage::HELP),
            Self::Config { .. }
            | Self::Locked { .. }
            | Self::Storage(_)
            | Self::Newer { .. }
            | Self::OtherLog { .. } => None,
        }
    }
}

impl From<Unreadable> for OpenError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Storage(error) => Self::Storage(error),
            Unreadable::Damaged(damage) => Self::Damaged(damage),
            Unreadable::Newer { path, format, reads } => Self::Newer { path, format, reads },
        }
    }
}

/// A ledger ready to be appended to.
#[derive(Debug)]
pub(crate) struct Opened {
    pub folder: Folder,
    /// Held as long as the ledger is open.
    pub lock: File,
    pub segment: Segment,
    pub key: SegmentKey,
    /// Where the next batch goes.
    pub offset: u64,
    pub chain: Chain,
    pub places: Places,
    pub tlog: Tlog,
    pub checkpoint: CheckpointState,
    pub recovery: Recovery,
}

/// Opens the ledger at `config.folder`, or makes it.
pub(crate) fn open(config: &Config) -> Result<Opened, OpenError> {
    if let Some(what) = config.fault() {
        return Err(OpenError::Config { what });
    }
    let folder = Folder::new(&config.folder);
    make_folder(folder.path(), 0o700)?;
    let lock = lock(&folder)?;
    let segments = folder.segments()?;
    if segments.is_empty() {
        for path in [folder.checkpoint(), folder.vkey()] {
            if path.exists() {
                return Err(
                    Damage::new(&folder.journal(), format!("it is empty, but `{}` is there", path.display())).into()
                );
            }
        }
        make_folder(&folder.journal(), 0o700)?;
        make_folder(&folder.keys(), 0o700)?;
        sync_folder(folder.path())?;
        if let Some(parent) = folder.path().parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The folder itself is new: what is written into it is durable only once its name is.
            sync_folder(parent)?;
        }
        let length = FIRST_SEGMENT.min(config.segment_bytes);
        Blank::make(&folder, length)?.become_segment(&folder, &config.origin, 0, Hash::ZERO)?;
        return Recoverer::new(config, folder)?.recover(lock, &[0]);
    }
    Recoverer::new(config, folder)?.recover(lock, &segments)
}

/// Returns whether a process has the log in `folder` open, as far as this user may see that.
#[must_use]
pub fn in_use(folder: &std::path::Path) -> bool {
    let Ok(lock) = File::open(Folder::new(folder).lock()) else { return false };
    matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

fn lock(folder: &Folder) -> Result<File, OpenError> {
    let path = folder.lock();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(on("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
        Err(fs::TryLockError::Error(error)) => Err(on("lock", &path)(error).into()),
    }
}

/// What is gathered while the journal is read.
struct Recoverer<'a> {
    config: &'a Config,
    folder: Folder,
    written: WrittenCheckpoint,
    edge: Edge,
    tlog: Tlog,
    places: Places,
    chain: Chain,
    /// The root of the tree that the checkpoint on disk speaks of, once the journal has been read so far.
    root_at_checkpoint: Option<Hash>,
}

impl<'a> Recoverer<'a> {
    fn new(config: &'a Config, folder: Folder) -> Result<Self, OpenError> {
        let written = WrittenCheckpoint::read(&folder.checkpoint())?;
        let mut recoverer = Self {
            config,
            written,
            edge: Edge::default(),
            tlog: Tlog::new(folder.clone(), config.log_key.clone(), config.origin.clone()),
            places: Places::default(),
            chain: Chain::START,
            root_at_checkpoint: None,
            folder,
        };
        recoverer.note_root();
        Ok(recoverer)
    }

    fn recover(mut self, lock: File, segments: &[u64]) -> Result<Opened, OpenError> {
        let mut torn = None;
        let mut last = None;
        for (number, first) in (1..).zip(segments) {
            let is_last = number == segments.len();
            let (scan, key, end) = self.segment(*first, is_last)?;
            if is_last {
                torn = match end {
                    End::Clean => None,
                    End::Torn { bytes } => Some(bytes),
                };
                last = Some((scan, key));
            }
        }
        let Some((mut scan, key)) = last else {
            return Err(Damage::new(&self.folder.journal(), "it is empty").into());
        };
        self.check_log_key()?;
        self.check_checkpoint(&scan)?;
        self.tlog.check_edge(&self.edge)?;
        // Nothing has been changed up to here except for tiles made again; from here on it is certain that the journal is sound.
        let torn = torn.map(|bytes| self.move_aside(&mut scan, bytes)).transpose()?;
        self.tidy(scan.header.first)?;
        let covered = self.written.size.filter(|_| self.written.note.is_some());
        let checkpoint = if covered == Some(self.chain.next) && self.tlog.has_edge(&self.edge)? {
            self.written.state(self.edge.root())
        } else {
            self.tlog.publish(&self.edge)?
        };
        let recovery = Recovery {
            size: self.chain.next,
            uncovered: self.chain.next - covered.unwrap_or(0),
            rebuilt: self.tlog.rebuilt(),
            torn,
        };
        let file = OpenOptions::new().read(true).write(true).open(&scan.path).map_err(on("open", &scan.path))?;
        let segment = Segment { path: scan.path.clone(), file, length: scan.header.length };
        self.tlog.start(self.edge);
        Ok(Opened {
            folder: self.folder,
            lock,
            segment,
            key,
            offset: scan.offset,
            chain: self.chain,
            places: self.places,
            tlog: self.tlog,
            checkpoint,
            recovery,
        })
    }

    /// Reads one segment to its end.
    fn segment(&mut self, first: u64, last: bool) -> Result<(Scan, SegmentKey, End), OpenError> {
        let mut scan = Scan::open(&self.folder, first, self.chain)?;
        if scan.header.origin != self.config.origin {
            return Err(OpenError::OtherLog {
                path: scan.path,
                found: scan.header.origin,
                expected: self.config.origin.clone(),
            });
        }
        // Who starts without has lost what it did: which commands were carried out, and what of its agreements' limits is used.
        let Some(key) = read_key(&self.folder, &scan.header)? else {
            return Err(missing_key(&self.folder, first).into());
        };
        self.places.begin(first);
        let path = scan.path.clone();
        while let Some(batch) = scan.next()? {
            self.places.mark(batch.header.first, batch.offset);
            for (offset, frame) in batch.frames() {
                let frame = frame.map_err(|bad| Damage::new(&path, bad.to_string()).at(offset))?;
                self.edge.push(&frame.leaf, &mut self.tlog)?;
                self.note_root();
            }
        }
        self.chain = scan.chain;
        let end = scan.end(last)?;
        Ok((scan, key, end))
    }

    fn note_root(&mut self) {
        if self.written.size == Some(self.edge.size()) {
            self.root_at_checkpoint = Some(self.edge.root());
        }
    }

    /// `log.vkey` must hold the configured key; it is written when the ledger is new.
    fn check_log_key(&self) -> Result<(), OpenError> {
        let path = self.folder.vkey();
        let expected = format!("{}\n", self.config.log_key.verifier());
        match read_if_there(&path)? {
            Some(bytes) if bytes == expected.as_bytes() => Ok(()),
            Some(bytes) => {
                let found =
                    std::str::from_utf8(&bytes).ok().and_then(|text| text.trim_end().parse::<VerifierKey>().ok());
                let expected_key = self.config.log_key.verifier();
                if let Some(found) = found.filter(|found| *found != expected_key) {
                    let (found, expected) = (found.to_string(), expected_key.to_string());
                    return Err(OpenError::OtherLog { path, found, expected });
                }
                let at = first_difference(&bytes, expected.as_bytes()).unwrap_or(0);
                Err(Damage::new(&path, "it does not hold the log's key").at(at).into())
            }
            None if self.chain.next == 0 => {
                make_folder(&self.folder.tlog(), 0o755)?;
                write_whole(&path, expected.as_bytes(), 0o644)?;
                Ok(sync_folder(&self.folder.tlog())?)
            }
            None => Err(Damage::new(&path, "it is missing").into()),
        }
    }

    /// The checkpoint on disk must be signed by the log's key and be a state that the journal has been in.
    fn check_checkpoint(&self, scan: &Scan) -> Result<(), OpenError> {
        let path = self.folder.checkpoint();
        let written = &self.written;
        let Some(bytes) = &written.bytes else {
            // Written before the first leaf is taken, so only a ledger without leaves can be without it.
            return if self.chain.next == 0 { Ok(()) } else { Err(Damage::new(&path, "it is missing").into()) };
        };
        let keys = [self.config.log_key.verifier()];
        let signed = written.note.as_ref().is_some_and(|note| note.verified_by(&keys).is_ok_and(|by| !by.is_empty()));
        let checkpoint = written.note.as_ref().and_then(|note| Checkpoint::parse(note.text()).ok());
        let (Some(checkpoint), true) = (checkpoint, signed) else {
            // Signatures are deterministic, so what should be there can be made again and held against it.
            let root = self.root_at_checkpoint.unwrap_or_else(merkle::empty_root);
            let expected = self.tlog.checkpoint(written.size.unwrap_or(0), root)?;
            let at = first_difference(bytes, expected.as_bytes()).unwrap_or(0);
            return Err(Damage::new(&path, "it is not signed by the log's key").at(at).into());
        };
        if checkpoint.origin != self.config.origin {
            return Err(OpenError::OtherLog { path, found: checkpoint.origin, expected: self.config.origin.clone() });
        }
        match self.root_at_checkpoint {
            Some(root) if root == checkpoint.root => Ok(()),
            Some(_) => {
                Err(Damage::new(&path, format!("its root of {} leaves is not the journal's", checkpoint.size)).into())
            }
            None => {
                let what =
                    format!("it ends after {} leaves, but the checkpoint covers {}", self.chain.next, checkpoint.size);
                Err(Damage::new(&scan.path, what).at(scan.offset).leaf(self.chain.next).into())
            }
        }
    }

    /// Moves a batch that was cut short to a file of its own, then makes its place zeros again.
    fn move_aside(&self, scan: &mut Scan, bytes: usize) -> Result<TornBatch, OpenError> {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (offset, at, segment) = (scan.offset, self.chain.next, scan.path.clone());
        let moved_to = (seconds..=u64::MAX)
            .map(|seconds| self.folder.torn(at, seconds))
            .find(|path| !path.exists())
            .unwrap_or_default();
        let name = segment.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut moved =
            format!("{TORN_FORMAT}\nsegment {name}\noffset {offset}\nindex {at}\nbytes {bytes}\n\n").into_bytes();
        moved.extend_from_slice(scan.peek(offset, bytes)?);
        write_whole(&moved_to, &moved, 0o600)?;
        sync_folder(&self.folder.journal())?;
        let file = OpenOptions::new().write(true).open(&segment).map_err(on("open", &segment))?;
        let zeros = vec![0; bytes.next_multiple_of(SECTOR)];
        file.write_all_at(&zeros, offset).map_err(on("write", &segment))?;
        file.sync_all().map_err(on("sync", &segment))?;
        Ok(TornBatch { segment, offset, moved_to, bytes: bytes as u64, at })
    }

    /// Removes what a crash may have left: files not yet renamed, and keys made for a segment that never came to be.
    fn tidy(&self, last: u64) -> Result<(), StorageError> {
        for folder in [self.folder.journal(), self.folder.keys(), self.folder.tlog()] {
            for name in fs::read_dir(&folder).map_err(on("read", &folder))? {
                let path = name.map_err(on("read", &folder))?.path();
                if path.as_os_str().as_encoded_bytes().ends_with(TEMPORARY.as_bytes()) {
                    fs::remove_file(&path).map_err(on("remove", &path))?;
                }
            }
        }
        for orphan in self.folder.keyed()?.into_iter().filter(|first| *first > last) {
            let path = self.folder.key(orphan);
            fs::remove_file(&path).map_err(on("remove", &path))?;
        }
        Ok(())
    }
}

/// The checkpoint as it was found.
struct WrittenCheckpoint {
    bytes: Option<Vec<u8>>,
    note: Option<Note>,
    /// The size it names, signed or not.
    size: Option<u64>,
}

impl WrittenCheckpoint {
    fn read(path: &Path) -> Result<Self, OpenError> {
        let bytes = read_if_there(path)?;
        let text = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let note = text.and_then(|text| Note::parse(text).ok());
        let size = text.and_then(|text| text.split('\n').nth(1)?.parse().ok());
        Ok(Self { bytes, note, size })
    }

    fn state(&self, root: Hash) -> CheckpointState {
        let note = self.note.as_ref().map(ToString::to_string).unwrap_or_default();
        CheckpointState { size: self.size.unwrap_or(0), root, note: note.into() }
    }
}
