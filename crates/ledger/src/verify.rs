//! Verifying a whole folder: everything that can be checked without knowing what a leaf means.

use note::VerifierKey;

use crate::files::{Damage, Unreadable, first_difference, read_if_there};
use crate::folder::Folder;
use crate::journal::segment::missing_key;
use crate::journal::tail::End;
use crate::publisher::widths;
use crate::reader::{LiveJournal, ReadError, Reader, Step, read_checkpoint};
use crate::tiles::{Edge, Kind, Sink, TileName};
use crate::{ENTRY_LEN, Hash};

/// What was verified, up to the first fault.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Frames whose checksum, chain, leaf, body digest and, with the key, body were checked.
    pub frames: u64,
    /// Segments read.
    pub segments: u64,
    /// Segments whose key is gone: what their records say cannot be read. The first of them is the fault, unless there is another.
    pub erased: u64,
    /// Tiles of hashes that were held against the journal, full and partial.
    pub hash_tiles: u64,
    /// Tiles of entries that were held against the journal, full and partial.
    pub entry_tiles: u64,
    /// Size of the checkpoint.
    pub size: u64,
    /// Root of the checkpoint, once it was found to be the journal's.
    pub root: Option<Hash>,
    /// What follows the last whole batch.
    pub tail: Tail,
    /// The first thing that is wrong. `None`: everything holds.
    pub fault: Option<Damage>,
}

/// What follows the last whole batch of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    #[default]
    Clean,
    /// A batch that is being written just now, or was cut short and will be moved aside at the next start.
    Unfinished {
        /// The segment.
        file: std::path::PathBuf,
        /// Where it begins, in bytes.
        offset: u64,
        /// How far it reaches, in bytes.
        bytes: u64,
    },
}

impl Reader {
    /// Verifies the folder: all frames, the chain of links, every tile of the checkpoint's tree, its root and its signature.
    ///
    /// `key` is the log's key from the directory; without it the one in the folder is used, and a folder that was forged as a
    /// whole verifies. Runs beside a gateway; what came after the checkpoint is checked except for tiles.
    ///
    /// # Errors
    ///
    /// When something cannot be read at all. What is wrong with what was read is [`Report::fault`].
    pub fn verify(&self, key: Option<&VerifierKey>) -> Result<Report, ReadError> {
        let mut report = Report::default();
        match self.verify_into(key, &mut report) {
            Ok(()) => {}
            Err(Unreadable::Damaged(damage)) => report.fault = Some(damage),
            Err(error) => return Err(error.into()),
        }
        Ok(report)
    }

    fn verify_into(&self, key: Option<&VerifierKey>, report: &mut Report) -> Result<(), Unreadable> {
        if let Some(key) = key.filter(|key| *key != self.key()) {
            let what = format!("it holds another key than `{}` with id {:08x}", key.name(), key.id());
            return Err(Damage::new(&self.folder.vkey(), what).into());
        }
        let (checkpoint, _) = read_checkpoint(&self.folder, self.key())?;
        report.size = checkpoint.size;
        let mut tree = Tree { folder: &self.folder, size: checkpoint.size, hash_tiles: 0, entry_tiles: 0 };
        let mut edge = Edge::default();
        let mut live = LiveJournal::new(self.folder.clone(), 0);
        let step = loop {
            let covered = tree.size;
            let step = live.next_batch(&mut |frame, key, salt, path, offset| {
                let damaged = |what: String| Damage::new(path, what).at(offset).leaf(frame.index);
                if Hash::of(frame.body) != frame.body_digest {
                    return Err(damaged("the body does not fit its digest".to_owned()).into());
                }
                if let Some(key) = key {
                    frame.open(key, salt).map_err(|bad| damaged(bad.to_string()))?;
                }
                frame.seal().map_err(|bad| damaged(bad.to_string()))?;
                report.frames += 1;
                if edge.size() < covered {
                    edge.push(&frame.leaf, &mut tree)?;
                }
                Ok(())
            });
            report.segments = live.segments;
            report.erased = live.erased;
            report.hash_tiles = tree.hash_tiles;
            report.entry_tiles = tree.entry_tiles;
            match step? {
                Step::Batch => {}
                Step::End(end) => break end,
            }
        };
        if let (End::Torn { bytes }, Some((file, offset))) = (step, live.place()) {
            report.tail = Tail::Unfinished { file: file.to_owned(), offset, bytes: bytes as u64 };
        }
        if edge.size() < checkpoint.size {
            let what =
                format!("the journal ends after {} leaves, but the checkpoint covers {}", edge.size(), checkpoint.size);
            let journal = self.folder.journal();
            let (file, offset) = live.place().unwrap_or((&journal, 0));
            return Err(Damage::new(file, what).at(offset).leaf(edge.size()).into());
        }
        for (name, bytes) in edge.partials() {
            tree.compare(name, &bytes)?;
            tree.compare_older(name, &bytes)?;
        }
        report.hash_tiles = tree.hash_tiles;
        report.entry_tiles = tree.entry_tiles;
        if edge.root() != checkpoint.root {
            let what = format!("its root of {} leaves is not the journal's", checkpoint.size);
            return Err(Damage::new(&self.folder.checkpoint(), what).into());
        }
        report.root = Some(checkpoint.root);
        // Last: whatever else is wrong says more.
        match live.keyless {
            Some(first) => Err(missing_key(&self.folder, first).into()),
            None => Ok(()),
        }
    }
}

/// The tiles of the checkpoint's tree.
struct Tree<'a> {
    folder: &'a Folder,
    size: u64,
    hash_tiles: u64,
    entry_tiles: u64,
}

impl Tree<'_> {
    fn compare(&mut self, name: TileName, expected: &[u8]) -> Result<(), Unreadable> {
        let tlog = self.folder.tlog();
        let path = name.within(&tlog);
        let full = TileName { width: crate::tiles::WIDTH, ..name }.within(&tlog);
        // A partial tile is removed once the full one is there, which then holds its hashes too.
        let (path, found) = match read_if_there(&path)? {
            Some(found) => (path, found),
            None => match read_if_there(&full)? {
                Some(mut found) => {
                    found.truncate(expected.len());
                    (full, found)
                }
                None => return Err(Damage::new(&path, "it is missing").into()),
            },
        };
        if let Some(at) = first_difference(&found, expected) {
            let damage = Damage::new(&path, "it does not fit the journal").at(at);
            return Err(self.with_leaf(damage, name, at).into());
        }
        match name.kind {
            Kind::Entries => self.entry_tiles += 1,
            Kind::Hashes(_) => self.hash_tiles += 1,
        }
        Ok(())
    }

    /// Holds the partial tiles of earlier checkpoints, which stay until the full one is there, against the same hashes.
    fn compare_older(&self, name: TileName, expected: &[u8]) -> Result<(), Unreadable> {
        let item = if name.kind == Kind::Entries { ENTRY_LEN + 2 } else { 32 };
        for (width, path) in widths(&self.folder.tlog().join(name.partials()))? {
            // A wider one belongs to a checkpoint that came after the one that is verified.
            let Some(expected) = expected.get(..width.saturating_mul(item)).filter(|_| width < name.width) else {
                continue;
            };
            let Some(found) = read_if_there(&path)? else { continue };
            if let Some(at) = first_difference(&found, expected) {
                let damage = Damage::new(&path, "it does not fit the journal").at(at);
                return Err(self.with_leaf(damage, name, at).into());
            }
        }
        Ok(())
    }

    /// Names the leaf at which a tile begins to differ.
    fn with_leaf(&self, damage: Damage, name: TileName, at: u64) -> Damage {
        let (level, item) = match name.kind {
            Kind::Entries => (0, ENTRY_LEN as u64 + 2),
            Kind::Hashes(level) => (level, 32),
        };
        let leaf = (name.number * crate::tiles::WIDTH as u64 + at / item).checked_shl(level * crate::tiles::HEIGHT);
        match leaf.filter(|leaf| *leaf < self.size) {
            Some(leaf) => damage.leaf(leaf),
            None => damage,
        }
    }
}

impl Sink for Tree<'_> {
    type Error = Unreadable;

    fn full(&mut self, name: TileName, bytes: &[u8]) -> Result<(), Unreadable> {
        self.compare(name, bytes)
    }
}
