//! Where the files of a ledger lie.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{StorageError, on};

/// The folder of one ledger.
///
/// ```text
/// lock                                   held by the gateway that has the ledger open
/// journal/00000000000000000000.seg       frames from that index on; written once
/// journal/torn-<index>-<time>.batch      a batch that was cut short, moved aside
/// keys/00000000000000000000.key          the key of that segment's bodies
/// tlog/checkpoint, tlog/log.vkey         the signed tree head, and the key that verifies it
/// tlog/tile/…                            C2SP tlog-tiles
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub fn tlog(&self) -> PathBuf {
        self.0.join("tlog")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.tlog().join("checkpoint")
    }

    pub fn vkey(&self) -> PathBuf {
        self.tlog().join("log.vkey")
    }

    pub fn segment(&self, first: u64) -> PathBuf {
        self.journal().join(format!("{first:020}.seg"))
    }

    pub fn key(&self, first: u64) -> PathBuf {
        self.keys().join(format!("{first:020}.key"))
    }

    /// The file that a batch cut short is moved to; `seconds` since 1970.
    pub fn torn(&self, index: u64, seconds: u64) -> PathBuf {
        self.journal().join(format!("torn-{index}-{seconds}.batch"))
    }

    /// First indices of the segments that are there, in order. Empty when there is no journal.
    pub fn segments(&self) -> Result<Vec<u64>, StorageError> {
        numbered(&self.journal(), ".seg")
    }

    /// First indices of the segments that have a key, in order.
    pub fn keyed(&self) -> Result<Vec<u64>, StorageError> {
        numbered(&self.keys(), ".key")
    }
}

/// The numbers of files called `<20 digits><end>` in a folder, in order; none when there is no folder.
fn numbered(folder: &Path, end: &str) -> Result<Vec<u64>, StorageError> {
    let mut numbers = Vec::new();
    match fs::read_dir(folder) {
        Ok(names) => {
            for name in names {
                let name = name.map_err(on("read", folder))?.file_name();
                let number = name.to_str().and_then(|name| name.strip_suffix(end)).filter(|digits| digits.len() == 20);
                numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(on("read", folder)(error)),
    }
    numbers.sort_unstable();
    Ok(numbers)
}
