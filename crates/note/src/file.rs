//! Key files: written for their owner's eyes only, and refused when others can read them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{KeyError, SigningKey};

/// Largest key file that is read, in bytes. A key takes about 100 beside its name.
const MAX_KEY_FILE_BYTES: usize = 4096;

impl SigningKey {
    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Exposed`] when group or others have any permission on it, [`KeyFileError::Key`] when it is not a key
    /// file, [`KeyFileError::Io`] when it cannot be read.
    pub fn read_file(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), verb: "read", source };
        let mut file = File::open(path).map_err(io)?;
        // The open file is asked, not the path, so that what is checked is what is read.
        let metadata = file.metadata().map_err(io)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
        let key = |source| KeyFileError::Key { path: path.to_owned(), source };
        if !metadata.is_file() || metadata.len() > MAX_KEY_FILE_BYTES as u64 {
            return Err(key(KeyError::NotSigning));
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES));
        match (&mut file).take(MAX_KEY_FILE_BYTES as u64).read_to_string(&mut text) {
            Ok(_) => Self::parse(&text).map_err(key),
            Err(source) if source.kind() == io::ErrorKind::InvalidData => Err(key(KeyError::NotSigning)),
            Err(source) => Err(io(source)),
        }
    }

    /// Writes a key file with mode 0600 and waits until it is on disk. A file that is there already stays as it is.
    ///
    /// # Errors
    ///
    /// [`KeyFileError::Exists`] when there is a file of that name, [`KeyFileError::Io`] when it cannot be written.
    pub fn write_file(&self, path: &Path) -> Result<(), KeyFileError> {
        let io = |source: io::Error| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::AlreadyExists {
                KeyFileError::Exists { path }
            } else {
                KeyFileError::Io { path, verb: "write", source }
            }
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(self.to_text().as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
    }
}

/// A key file could not be read or written.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// Others than the owner can read the key.
    #[error("others can use the private key `{}` (mode {mode:03o}): run `chmod 600 {}`, and if they may have read it, make a new one", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key is never overwritten.
    #[error("`{}` is there already; a key is never overwritten: move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It was read, and is not a key.
    #[error("`{}` does not hold a private key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The operating system refused.
    #[error("cannot {verb} the private key `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        verb: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}
