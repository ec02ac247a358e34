//! Reading a ledger's folder, also while a gateway writes it.
//!
//! A reader takes no lock. It sees the whole batches that are there, in order, and stops where one is being written.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use note::{Note, VerifierKey};
use thiserror::Error;

use crate::checkpoint::Checkpoint;
use crate::files::{Damage, StorageError, Unreadable, read_if_there};
use crate::folder::Folder;
use crate::journal::frame::{Frame, SegmentKey};
use crate::journal::scan::{Chain, Scan};
use crate::journal::segment::read_key;
use crate::journal::tail::End;
use crate::places::Place;
use crate::proof::{ProofError, Proofs};
use crate::{Hash, Leaf, Seal};

/// How often what looks like damage at the end of a journal is looked at again, since a gateway may be writing there.
const LOOKS: u32 = 5;
/// Time between two looks. A batch is copied into the page cache in far less.
const BETWEEN_LOOKS: Duration = Duration::from_millis(4);

/// A leaf read back.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the log.
    pub index: u64,
    /// The commitment.
    pub leaf: Leaf,
    /// The signature over claims and promise, if there was one.
    pub seal: Option<Seal>,
    /// The record's bytes; `None` once they are erased.
    pub body: Option<Vec<u8>>,
}

/// What is kept is for nobody's debug output: it may tell of persons.
impl fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, leaf, seal, body } = self;
        let bytes = body.as_ref().map(Vec::len);
        let mut shown = formatter.debug_struct("Stored");
        shown.field("index", index).field("leaf", leaf).field("seal", seal).field("bytes", &bytes).finish()
    }
}

impl Stored {
    fn from_frame(
        frame: &Frame<'_>,
        key: Option<&SegmentKey>,
        salt: [u8; 4],
        at: &Path,
        offset: u64,
    ) -> Result<Self, Damage> {
        let damaged = |what: String| Damage::new(at, what).at(offset).leaf(frame.index);
        if Hash::of(frame.body) != frame.body_digest {
            return Err(damaged("the body does not fit its digest".to_owned()));
        }
        let body = key.map(|key| frame.open(key, salt)).transpose().map_err(|bad| damaged(bad.to_string()))?;
        let seal = frame.seal().map_err(|bad| damaged(bad.to_string()))?;
        Ok(Self { index: frame.index, leaf: frame.leaf, seal, body })
    }
}

/// Why a folder cannot be read.
#[derive(Debug, Clone, Error)]
pub enum ReadError {
    /// There is no ledger here.
    #[error("`{}` holds no ledger: expected `journal/` and `tlog/` in it", folder.display())]
    NoLedger {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The log does not reach so far.
    #[error("there is no leaf {index}; the log has {size}")]
    NotThere {
        /// The leaf asked for.
        index: u64,
        /// The number of leaves.
        size: u64,
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
        path: std::path::PathBuf,
        /// The format it names.
        format: String,
        /// The format this program reads.
        reads: &'static str,
    },
}

impl From<Unreadable> for ReadError {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Storage(error) => Self::Storage(error),
            Unreadable::Damaged(damage) => Self::Damaged(damage),
            Unreadable::Newer { path, format, reads } => Self::Newer { path, format, reads },
        }
    }
}

/// A read-only view of a ledger's folder.
#[derive(Debug)]
pub struct Reader {
    pub(crate) folder: Folder,
    key: VerifierKey,
    proofs: Proofs,
}

impl Reader {
    /// Opens a ledger's folder.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoLedger`] when there is none, [`ReadError::Damaged`] when its `log.vkey` is not a key.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, ReadError> {
        let folder = Folder::new(folder.as_ref());
        let path = folder.vkey();
        let Some(bytes) = read_if_there(&path)? else {
            return Err(if folder.segments()?.is_empty() {
                ReadError::NoLedger { folder: folder.path().to_owned() }
            } else {
                Damage::new(&path, "it is missing").into()
            });
        };
        let key = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
        let key = key.ok_or_else(|| Damage::new(&path, "it does not hold the log's key").at(0))?;
        Ok(Self { proofs: Proofs::new(folder.tlog()), folder, key })
    }

    /// Returns the log's key as the folder has it. Whether it is the right one only the directory can say.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Returns the log's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// Returns the latest checkpoint, verified by the key in the folder, and the note that it came in.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`] when it is missing, malformed or not signed by that key.
    pub fn checkpoint(&self) -> Result<(Checkpoint, Note), ReadError> {
        Ok(read_checkpoint(&self.folder, &self.key)?)
    }

    /// Returns all leaves in order, up to the last that is whole.
    ///
    /// After an error there is nothing more.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.entries_from(0)
    }

    /// Returns the leaves from `index` on. Those before it in its segment are read and checked on the way.
    #[must_use]
    pub fn entries_from(&self, index: u64) -> Entries {
        Entries {
            live: LiveJournal::new(self.folder.clone(), index),
            from: index,
            ready: Vec::new().into_iter(),
            over: false,
        }
    }

    /// Reads one leaf.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotThere`] when the log does not reach so far, or what is wrong with the file.
    pub fn get(&self, index: u64) -> Result<Stored, ReadError> {
        let segments = self.folder.segments()?;
        let after = segments.partition_point(|first| *first <= index);
        let Some(first) = after.checked_sub(1).and_then(|at| segments.get(at)) else {
            return Err(ReadError::NotThere { index, size: 0 });
        };
        let place = Place { segment: *first, index: *first, offset: crate::journal::segment::SEGMENT_HEADER };
        read_at(&self.folder, place, index)
    }

    /// Returns the audit path of the leaf at `index` in the tree of `size` leaves, from the tiles in the folder.
    ///
    /// # Errors
    ///
    /// As [`crate::Ledger::inclusion`].
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.proofs.inclusion(index, size, self.covered()?)
    }

    /// Returns the proof that `old` leaves are a prefix of `new` ones, from the tiles in the folder.
    ///
    /// # Errors
    ///
    /// As [`crate::Ledger::consistency`].
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofError> {
        self.proofs.consistency(old, new, self.covered()?)
    }

    fn covered(&self) -> Result<u64, ProofError> {
        match read_checkpoint(&self.folder, &self.key) {
            Ok((checkpoint, _)) => Ok(checkpoint.size),
            Err(Unreadable::Storage(error)) => Err(error.into()),
            Err(Unreadable::Damaged(damage)) => Err(damage.into()),
            Err(Unreadable::Newer { path, format, .. }) => {
                Err(Damage::new(&path, format!("it has format `{format}`")).into())
            }
        }
    }
}

/// Reads the checkpoint in a folder, which `key` must have signed.
pub(crate) fn read_checkpoint(folder: &Folder, key: &VerifierKey) -> Result<(Checkpoint, Note), Unreadable> {
    let path = folder.checkpoint();
    let damaged = |what: String| Damage::new(&path, what).at(0);
    let bytes = read_if_there(&path)?.ok_or_else(|| Damage::new(&path, "it is missing"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("it is not text".to_owned()))?;
    let note = Note::parse(text).map_err(|error| damaged(error.to_string()))?;
    let signed = note.verified_by(std::slice::from_ref(key)).map_err(|error| damaged(error.to_string()))?;
    if signed.is_empty() {
        return Err(damaged(format!("it is not signed by `{}`", key.name())).into());
    }
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| damaged(error.to_string()))?;
    if checkpoint.origin != key.name() {
        return Err(damaged(format!("it is of the log `{}`, not of `{}`", checkpoint.origin, key.name())).into());
    }
    Ok((checkpoint, note))
}

/// Reads a leaf, beginning to look at a batch at or before it.
pub(crate) fn read_at(folder: &Folder, place: Place, index: u64) -> Result<Stored, ReadError> {
    let mut scan = Scan::open_alone(folder, place.segment)?;
    scan.read_sparsely();
    scan.chain.next = place.index;
    scan.offset = place.offset;
    loop {
        let offset = scan.offset;
        let Some(header) = scan.skip()? else {
            return Err(ReadError::NotThere { index, size: scan.chain.next });
        };
        if index >= scan.chain.next {
            continue;
        }
        let key = read_key(folder, &scan.header)?;
        let path = scan.path.clone();
        let damaged = |offset: u64, what: &str| Damage::new(&path, what).at(offset).leaf(index);
        let batch = scan.batch_at(offset)?.ok_or_else(|| damaged(offset, "the batch is not whole"))?;
        for (offset, frame) in batch.frames() {
            let frame = frame.map_err(|bad| damaged(offset, &bad.to_string()))?;
            if frame.index == index {
                return Ok(Stored::from_frame(&frame, key.as_ref(), header.salt, &path, offset)?);
            }
        }
        return Err(damaged(offset, "the batch does not hold the leaf").into());
    }
}

/// Leaves in order. See [`Reader::entries`].
#[derive(Debug)]
pub struct Entries {
    live: LiveJournal,
    from: u64,
    ready: std::vec::IntoIter<Stored>,
    over: bool,
}

impl Iterator for Entries {
    type Item = Result<Stored, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stored) = self.ready.next() {
                return Some(Ok(stored));
            }
            if self.over {
                return None;
            }
            let from = self.from;
            let mut batch = Vec::new();
            let step = self.live.next_batch(&mut |frame, key, salt, path, offset| {
                if frame.index >= from {
                    batch.push(Stored::from_frame(frame, key, salt, path, offset)?);
                }
                Ok(())
            });
            self.ready = batch.into_iter();
            match step {
                Ok(Step::Batch) => {}
                Ok(Step::End(_)) => self.over = true,
                Err(error) => {
                    self.over = true;
                    self.ready = Vec::new().into_iter();
                    return Some(Err(error.into()));
                }
            }
        }
    }
}

/// Called for each frame: with the segment's key, if it is there, the batch's salt, the file and the offset in it.
pub(crate) type EachFrame<'a> =
    dyn FnMut(&Frame<'_>, Option<&SegmentKey>, [u8; 4], &Path, u64) -> Result<(), Unreadable> + 'a;

/// What reading one batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Batch,
    End(End),
}

/// A journal read from segment to segment while it may grow.
#[derive(Debug)]
pub(crate) struct LiveJournal {
    folder: Folder,
    /// Where to begin: the segment that holds this leaf.
    from: u64,
    at: Option<At>,
    pub segments: u64,
    pub erased: u64,
    /// The first leaf of the first segment without its key.
    pub keyless: Option<u64>,
}

#[derive(Debug)]
struct At {
    scan: Scan,
    key: Option<SegmentKey>,
}

impl LiveJournal {
    pub fn new(folder: Folder, from: u64) -> Self {
        Self { folder, from, at: None, segments: 0, erased: 0, keyless: None }
    }

    /// Where the reader stands.
    pub fn chain(&self) -> Chain {
        self.at.as_ref().map_or(Chain::START, |at| at.scan.chain)
    }

    /// The file and offset at which the reader stands.
    pub fn place(&self) -> Option<(&Path, u64)> {
        self.at.as_ref().map(|at| (at.scan.path.as_path(), at.scan.offset))
    }

    /// Reads the next whole batch.
    pub fn next_batch(&mut self, each: &mut EachFrame<'_>) -> Result<Step, Unreadable> {
        if self.at.is_none() {
            let segments = self.folder.segments()?;
            let after = segments.partition_point(|first| *first <= self.from).max(1);
            let Some(first) = segments.get(after - 1) else {
                return Ok(Step::End(End::Clean));
            };
            let scan = if after == 1 {
                Scan::open(&self.folder, *first, Chain::START)?
            } else {
                Scan::open_alone(&self.folder, *first)?
            };
            self.enter(scan)?;
        }
        let mut looks = 0;
        loop {
            if self.batch(each)? {
                return Ok(Step::Batch);
            }
            let chain = self.chain();
            let current = self.at.as_ref().map_or(0, |at| at.scan.header.first);
            let later = self.folder.segments()?.into_iter().find(|first| *first > current);
            // The segment may have grown between the look at its end and the look for a later one.
            if self.refreshed_batch(each)? {
                return Ok(Step::Batch);
            }
            let Some(at) = &mut self.at else {
                return Ok(Step::End(End::Clean));
            };
            match (at.scan.end(later.is_none()), later) {
                (Ok(_), Some(first)) => {
                    let scan = Scan::open(&self.folder, first, chain)?;
                    self.enter(scan)?;
                }
                (Ok(end), None) => return Ok(Step::End(end)),
                (Err(Unreadable::Damaged(_)), None) if looks < LOOKS => {
                    looks += 1;
                    thread::sleep(BETWEEN_LOOKS);
                    at.scan.refresh();
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    fn enter(&mut self, scan: Scan) -> Result<(), Unreadable> {
        let key = read_key(&self.folder, &scan.header)?;
        self.segments += 1;
        if key.is_none() {
            self.erased += 1;
            self.keyless.get_or_insert(scan.header.first);
        }
        self.at = Some(At { scan, key });
        Ok(())
    }

    fn refreshed_batch(&mut self, each: &mut EachFrame<'_>) -> Result<bool, Unreadable> {
        if let Some(at) = &mut self.at {
            at.scan.refresh();
        }
        self.batch(each)
    }

    fn batch(&mut self, each: &mut EachFrame<'_>) -> Result<bool, Unreadable> {
        let Some(At { scan, key }) = &mut self.at else {
            return Ok(false);
        };
        let path = scan.path.clone();
        let Some(batch) = scan.next()? else {
            return Ok(false);
        };
        for (offset, frame) in batch.frames() {
            let frame = frame.map_err(|bad| Damage::new(&path, bad.to_string()).at(offset))?;
            each(&frame, key.as_ref(), batch.header.salt, &path, offset)?;
        }
        Ok(true)
    }
}
