//! One segment file: its header, its key, its making.
//!
//! A segment is written full of zeros before it is used, so that a sync of what is appended later has no metadata to write. Its
//! header says how long it was made: no crash makes a file shorter, so a shorter one is damaged.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::frame::{SECTOR, SegmentKey};
use crate::Hash;
use crate::files::{
    Damage, StorageError, Unreadable, first_difference, on, read_if_there, sync_folder, temporary, write_whole,
};
use crate::folder::Folder;
use crate::leaf::newer;

/// First line of a segment.
pub(crate) const JOURNAL_FORMAT: &str = "drawbridge.journal/v1";
/// First line of a segment's key file.
const KEY_FORMAT: &str = "drawbridge.segment-key/v1";

/// Length of a segment's header, in bytes: one sector.
pub(crate) const SEGMENT_HEADER: u64 = SECTOR as u64;

/// Longest origin, in bytes, so that the header fits its sector.
pub(crate) const MAX_ORIGIN: usize = 200;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// What a segment's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub origin: String,
    /// Index of its first frame; also its name.
    pub first: u64,
    /// Length of the file as it was made, in bytes.
    pub length: u64,
    /// Link of the last frame before this segment.
    pub link: Hash,
    /// SHA-256 of the key: tells a damaged key file from the right one.
    pub key: Hash,
}

impl SegmentHeader {
    fn encode(&self) -> [u8; SECTOR] {
        let Self { origin, first, length, link, key } = self;
        let text = format!(
            "{JOURNAL_FORMAT}\norigin {origin}\nfirst {first}\nlength {length}\nlink {}\nkey {}\n",
            link.to_base64(),
            key.to_base64()
        );
        let text = format!("{text}crc {:08x}\n", crc32fast::hash(text.as_bytes()));
        let mut bytes = [0; SECTOR];
        for (byte, written) in bytes.iter_mut().zip(text.bytes()) {
            *byte = written;
        }
        bytes
    }

    /// Reads the header of the segment at `path`.
    pub fn read(path: &Path, file: &File) -> Result<Self, Unreadable> {
        let mut bytes = [0; SECTOR];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, filled as u64).map_err(on("read", path))? {
                0 => break,
                count => filled += count,
            }
        }
        let damaged = |what: &str| Unreadable::from(Damage::new(path, what).at(0));
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(damaged("its header is not text"));
        };
        let mut lines = text.split('\n');
        let format = lines.next().unwrap_or_default();
        if let Some(format) = newer(format, JOURNAL_FORMAT) {
            return Err(Unreadable::Newer { path: path.to_owned(), format, reads: JOURNAL_FORMAT });
        }
        let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let header = (|| {
            Some(Self {
                origin: value("origin")?.to_owned(),
                first: value("first")?.parse().ok()?,
                length: value("length")?.parse().ok()?,
                link: Hash::from_base64(value("link")?)?,
                key: Hash::from_base64(value("key")?)?,
            })
        })();
        // Written again it must come out the same, checksum and zeros included.
        match header {
            Some(header) if header.encode() == bytes => Ok(header),
            Some(header) => {
                let at = first_difference(&header.encode(), &bytes).unwrap_or(0);
                Err(Damage::new(path, "its header does not fit its checksum").at(at).into())
            }
            None => Err(damaged("it does not begin with the header of a segment")),
        }
    }
}

/// A segment made ahead: a file of zeros, durable, without a header or a name of its own yet.
#[derive(Debug)]
pub(crate) struct Blank {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Blank {
    /// Writes a file of `length` zeros and waits until it is on disk.
    pub fn make(folder: &Folder, length: u64) -> Result<Self, StorageError> {
        // Each has a name of its own: two threads make them, and one may be in use while the next is made.
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("blank-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let path = temporary(&folder.journal().join(name));
        // A disk that filled up keeps no half of it.
        Self::write(path.clone(), length).inspect_err(|_| drop(fs::remove_file(&path)))
    }

    fn write(path: PathBuf, length: u64) -> Result<Self, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(on("create", &path))?;
        let mut at = 0;
        while at < length {
            let chunk = ZEROS.get(..usize::try_from(length - at).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            file.write_all_at(chunk, at).map_err(on("write", &path))?;
            at += chunk.len() as u64;
        }
        file.sync_all().map_err(on("sync", &path))?;
        Ok(Self { path, file, length })
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Removes it: it is not going to be used.
    pub fn discard(self) {
        // What stays behind is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }

    /// Makes it the segment that begins at `first`, with a new key. Everything is on disk when this returns: the key before
    /// the segment, so that no frame is ever without its key.
    pub fn become_segment(
        self,
        folder: &Folder,
        origin: &str,
        first: u64,
        link: Hash,
    ) -> Result<(Segment, SegmentKey), StorageError> {
        let key = make_key(folder, first)?;
        let header =
            SegmentHeader { origin: origin.to_owned(), first, length: self.length, link, key: Hash::of(key.bytes()) };
        self.file.write_all_at(&header.encode(), 0).map_err(on("write", &self.path))?;
        self.file.sync_all().map_err(on("sync", &self.path))?;
        let path = folder.segment(first);
        fs::rename(&self.path, &path).map_err(on("rename to", &path))?;
        sync_folder(&folder.journal())?;
        Ok((Segment { path, file: self.file, length: self.length }, key))
    }
}

/// An open segment that is appended to.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub file: File,
    /// In bytes, as made.
    pub length: u64,
}

fn make_key(folder: &Folder, first: u64) -> Result<SegmentKey, StorageError> {
    let path = folder.key(first);
    let refused = || on("make a key for", &path)(io::Error::other("no random numbers"));
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| refused())?;
    let text = key_text(&bytes);
    write_whole(&path, text.as_bytes(), 0o600)?;
    sync_folder(&folder.keys())?;
    SegmentKey::new(bytes).ok_or_else(refused)
}

fn key_text(key: &[u8; 32]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key));
    let mut text = Zeroizing::new(String::with_capacity(KEY_FORMAT.len() + encoded.len() + 2));
    for part in [KEY_FORMAT, "\n", &encoded, "\n"] {
        text.push_str(part);
    }
    text
}

/// Says that the key of a segment is not there. Nothing erases records yet, so it was lost or taken away.
pub(crate) fn missing_key(folder: &Folder, first: u64) -> Damage {
    let what =
        format!("it is missing, and without it nothing can be read of the records from {first} on to the next segment");
    Damage::new(&folder.key(first), what)
}

/// Reads the key of a segment; `None` when there is no file, and its bodies cannot be read.
pub(crate) fn read_key(folder: &Folder, header: &SegmentHeader) -> Result<Option<SegmentKey>, Unreadable> {
    let path = folder.key(header.first);
    let Some(text) = read_if_there(&path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&text).ok().and_then(|text| text.split('\n').next()).unwrap_or_default();
    if let Some(format) = newer(line, KEY_FORMAT) {
        return Err(Unreadable::Newer { path, format, reads: KEY_FORMAT });
    }
    let decode = || {
        let encoded =
            std::str::from_utf8(&text).ok()?.strip_prefix(KEY_FORMAT)?.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut bytes = Zeroizing::new([0; 32]);
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        bytes.copy_from_slice(decoded.get(..32).filter(|_| decoded.len() == 32)?);
        Some(bytes)
    };
    let Some(bytes) = decode() else {
        return Err(Damage::new(&path, "it is not the key file of a segment").at(0).into());
    };
    if Hash::of(bytes.as_slice()) != header.key {
        return Err(Damage::new(&path, "it is not the key that its segment was made with")
            .at(KEY_FORMAT.len() as u64 + 1)
            .into());
    }
    match SegmentKey::new(bytes) {
        Some(key) => Ok(Some(key)),
        None => Err(Damage::new(&path, "the key is refused").into()),
    }
}
