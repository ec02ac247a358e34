//! What is made behind the hot path: tiles, checkpoints, and the next blank segment.
//!
//! A checkpoint is written only after its tiles are on disk, and leaves reach this thread only after they are durable in the
//! journal: so a checkpoint never covers what a crash could take back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use note::{Note, SigningKey};

use crate::append::AppendError;
use crate::checkpoint::Checkpoint;
use crate::files::{
    Damage, StorageError, Unreadable, first_difference, make_folder, on, read_if_there, sync_folder, write_whole,
};
use crate::folder::Folder;
use crate::journal::segment::Blank;
use crate::ledger::{CheckpointState, Shared};
use crate::tiles::{Edge, Kind, Sink, TileName, WIDTH};
use crate::{Hash, Leaf};

/// The folder that C2SP lays out, and the edge of the tree in it.
#[derive(Debug)]
pub(crate) struct Tlog {
    folder: Folder,
    key: SigningKey,
    origin: String,
    edge: Edge,
    /// Compare tiles that are there instead of writing them: while the journal is read back.
    compares: bool,
    rebuilt: u64,
    /// Folders in which something was written since they were last synced.
    unsynced: BTreeSet<PathBuf>,
    /// Folders of partial tiles that a full one has replaced.
    replaced: Vec<PathBuf>,
}

impl Tlog {
    /// Begins by comparing; [`Tlog::start`] begins to write.
    pub fn new(folder: Folder, key: SigningKey, origin: String) -> Self {
        Self {
            folder,
            key,
            origin,
            edge: Edge::default(),
            compares: true,
            rebuilt: 0,
            unsynced: BTreeSet::new(),
            replaced: Vec::new(),
        }
    }

    /// From here on leaves are appended.
    pub fn start(&mut self, edge: Edge) {
        self.edge = edge;
        self.compares = false;
    }

    /// Number of full tiles that were missing.
    pub fn rebuilt(&self) -> u64 {
        self.rebuilt
    }

    /// Adds leaves and publishes the tree with them.
    fn append(&mut self, leaves: &[Leaf]) -> Result<CheckpointState, Unreadable> {
        let mut edge = std::mem::take(&mut self.edge);
        let pushed = leaves.iter().try_for_each(|leaf| edge.push(leaf, self));
        self.edge = edge;
        pushed?;
        let edge = self.edge.clone();
        Ok(self.publish(&edge)?)
    }

    /// Writes the partial tiles of `edge`, waits until all tiles are on disk, then writes the checkpoint.
    pub fn publish(&mut self, edge: &Edge) -> Result<CheckpointState, StorageError> {
        for (name, bytes) in edge.partials() {
            self.write(&name, &bytes)?;
        }
        self.sync()?;
        let root = edge.root();
        let text = self.checkpoint(edge.size(), root)?;
        let path = self.folder.checkpoint();
        make_folder(&self.folder.tlog(), 0o755)?;
        write_whole(&path, text.as_bytes(), 0o644)?;
        sync_folder(&self.folder.tlog())?;
        // Only now: until the checkpoint is there, the one before it may need them.
        for partials in self.replaced.drain(..) {
            match fs::remove_dir_all(&partials) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(on("remove", &partials)(error)),
            }
        }
        Ok(CheckpointState { size: edge.size(), root, note: text.into() })
    }

    /// Writes the signed checkpoint of a tree.
    pub fn checkpoint(&self, size: u64, root: Hash) -> Result<String, StorageError> {
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let note = Note::sign(&checkpoint.to_text(), &[&self.key]);
        note.map(|note| note.to_string())
            .map_err(|error| on("sign", &self.folder.checkpoint())(std::io::Error::other(error)))
    }

    /// Compares the partial tiles that are there with the tree's right edge.
    pub fn check_edge(&self, edge: &Edge) -> Result<(), Unreadable> {
        let partials = edge.partials();
        let tlog = self.folder.tlog();
        let deepest = partials.iter().filter_map(|(name, _)| level(name.kind)).max().unwrap_or(0);
        for kind in (0..=deepest + 1).map(Kind::Hashes).chain([Kind::Entries]) {
            let shift = (level(kind).unwrap_or(0) + 1) * crate::tiles::HEIGHT;
            let number = edge.size().checked_shr(shift).unwrap_or(0);
            let expected = partials.iter().find(|(name, _)| name.kind == kind).map_or(&[][..], |(_, bytes)| bytes);
            let full = TileName { kind, number, width: WIDTH };
            if let Some(bytes) = read_if_there(&full.within(&tlog))? {
                let at = first_difference(&bytes, expected).unwrap_or(0);
                return Err(Damage::new(&full.within(&tlog), "it covers leaves that the journal does not have")
                    .at(at)
                    .into());
            }
            let folder = tlog.join(full.partials());
            for (width, path) in widths(&folder)? {
                let bytes = read_if_there(&path)?.unwrap_or_default();
                let item = if kind == Kind::Entries { crate::ENTRY_LEN + 2 } else { 32 };
                let expected = expected.get(..width.saturating_mul(item)).unwrap_or(expected);
                if let Some(at) = first_difference(&bytes, expected) {
                    return Err(Damage::new(&path, "it does not fit the journal").at(at).into());
                }
            }
        }
        Ok(())
    }

    /// Says whether all partial tiles of the right edge are there.
    pub fn has_edge(&self, edge: &Edge) -> Result<bool, StorageError> {
        let tlog = self.folder.tlog();
        let there = |name: TileName| read_if_there(&name.within(&tlog)).map(|bytes| bytes.is_some());
        edge.partials().into_iter().try_fold(true, |all, (name, _)| Ok(all && there(name)?))
    }

    fn write(&mut self, name: &TileName, bytes: &[u8]) -> Result<(), StorageError> {
        let path = name.within(&self.folder.tlog());
        if let Some(parent) = path.parent()
            && !self.unsynced.contains(parent)
        {
            self.make_folders(parent)?;
        }
        write_whole(&path, bytes, 0o644)
    }

    /// Makes a folder and those above it, and remembers to sync all of them.
    fn make_folders(&mut self, folder: &Path) -> Result<(), StorageError> {
        let new = !folder.exists();
        make_folder(folder, 0o755)?;
        self.unsynced.insert(folder.to_owned());
        let root = self.folder.path();
        let above = folder.ancestors().skip(1).take_while(|above| new && above.starts_with(root));
        self.unsynced.extend(above.map(Path::to_owned));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        // Deepest first: a folder's name is durable only with the folder above it.
        while let Some(folder) = self.unsynced.pop_last() {
            sync_folder(&folder)?;
        }
        Ok(())
    }
}

impl Sink for Tlog {
    type Error = Unreadable;

    fn full(&mut self, name: TileName, bytes: &[u8]) -> Result<(), Unreadable> {
        if self.compares {
            let path = name.within(&self.folder.tlog());
            match read_if_there(&path)? {
                Some(found) => {
                    if let Some(at) = first_difference(&found, bytes) {
                        let damage = Damage::new(&path, "it does not fit the journal");
                        return Err(damage.at(at).into());
                    }
                    // Left behind when a crash came between the full tile and their removal.
                    let partials = self.folder.tlog().join(name.partials());
                    if partials.exists() {
                        self.replaced.push(partials);
                    }
                    return Ok(());
                }
                None => self.rebuilt += 1,
            }
        }
        self.write(&name, bytes)?;
        self.replaced.push(self.folder.tlog().join(name.partials()));
        Ok(())
    }
}

/// The files in a folder of partial tiles, by width; others are passed over.
pub(crate) fn widths(folder: &Path) -> Result<Vec<(usize, PathBuf)>, StorageError> {
    let mut widths = Vec::new();
    match fs::read_dir(folder) {
        Ok(names) => {
            for name in names {
                let path = name.map_err(on("read", folder))?.path();
                let width = path.file_name().and_then(|name| name.to_str()?.parse().ok());
                widths.extend(width.map(|width| (width, path)));
            }
            Ok(widths)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(widths),
        Err(error) => Err(on("read", folder)(error)),
    }
}

fn level(kind: Kind) -> Option<u32> {
    match kind {
        Kind::Entries => None,
        Kind::Hashes(level) => Some(level),
    }
}

/// The publisher thread: runs until the ledger closes, or a write fails.
pub(crate) fn run(shared: &Arc<Shared>, mut tlog: Tlog) {
    let mut due = Instant::now();
    loop {
        let work = shared.await_work(due);
        if let Some(length) = work.blank
            && !work.closing
        {
            // Not fatal here: the writer makes one itself when it comes to that, and fails then if it must.
            if let Ok(blank) = Blank::make(&shared.folder, length) {
                shared.offer_blank(blank);
            }
        }
        // After a failure nothing is written any more: the next start makes what is missing.
        if !work.leaves.is_empty() && shared.healthy().is_ok() {
            due = Instant::now() + shared.config.checkpoint_interval;
            match tlog.append(&work.leaves) {
                Ok(state) => shared.announce(state),
                Err(Unreadable::Storage(error)) => shared.fail(AppendError::Storage(error)),
                Err(Unreadable::Damaged(_) | Unreadable::Newer { .. }) => {
                    shared.fail(AppendError::Stopped);
                }
            }
        }
        if work.closing || shared.healthy().is_err() {
            if let Some(blank) = shared.take_blank(0) {
                blank.discard();
            }
            return;
        }
    }
}
