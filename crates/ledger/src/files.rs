//! Files: written whole or not at all, and errors that name them.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// The operating system refused to read or write a file.
#[derive(Debug, Clone, Error)]
#[error("cannot {verb} `{}`", path.display())]
pub struct StorageError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was to be done: `read`, `write`, `sync`, ….
    pub verb: &'static str,
    /// What the operating system said.
    pub source: Arc<io::Error>,
}

/// Names the path and the verb in an I/O error.
pub(crate) fn on<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StorageError + 'a {
    move |source| StorageError { path: path.to_owned(), verb, source: Arc::new(source) }
}

/// A file of the ledger does not hold what was written to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it, counted from 0; `None` when the file as a whole is missing or wrong.
    pub offset: Option<u64>,
    /// The leaf concerned, where it is known.
    pub index: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    /// What to do about it.
    pub const HELP: &'static str = "stop; do not delete anything; copy the folder, run `drawbridge log verify` on the copy, and restore from a backup";

    pub(crate) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), offset: None, index: None, what: what.into() }
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn leaf(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is damaged", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(index) = self.index {
            write!(f, " (leaf {index})")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why a file of the ledger cannot be used.
#[derive(Debug, Clone, Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("newer format")]
    Newer { path: PathBuf, format: String, reads: &'static str },
}

/// Writes a file so that after a crash it is there whole, or the one before it is. The folder is not synced; see
/// [`sync_folder`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StorageError> {
    let temporary = temporary(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(on("create", &temporary))?;
    file.write_all(bytes).map_err(on("write", &temporary))?;
    file.sync_all().map_err(on("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(on("rename to", path))
}

/// The name under which a file is written before it is renamed.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(TEMPORARY);
    path.with_file_name(name)
}

/// The end of the name of a file that is being written.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Makes a folder with this mode if it is not there.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), StorageError> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(on("make the folder", path))
}

/// Waits until the names in a folder are on disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(on("sync", path))
}

/// Reads a file; `None` when there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(on("read", path)(error)),
    }
}

/// The first offset at which two byte strings differ, if they do.
pub(crate) fn first_difference(left: &[u8], right: &[u8]) -> Option<u64> {
    let at = left.iter().zip(right).position(|(left, right)| left != right);
    let at = at.or((left.len() != right.len()).then_some(left.len().min(right.len())))?;
    u64::try_from(at).ok()
}
