//! One file of kept answers, with the key that they are encrypted under.
//!
//! `<number>.answers` begins with `drawbridge.answers/v1` and a newline. Then follow entries: 16 bytes of the command's key, the time
//! in milliseconds since the Unix epoch (64 bits), the number of bytes that follow (32 bits), all big-endian; then a nonce of 12 bytes,
//! and the answer by AES-256-GCM with what stands before it as additional data. `<number>.key` holds the key's 32 bytes. The number is
//! the time of the first entry, in 20 digits.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use records::CommandKey;

const MAGIC: &[u8] = b"drawbridge.answers/v1\n";
/// Bytes before the nonce.
const HEAD: usize = 28;

/// Half of a command's key tells them apart.
pub(super) fn short(key: &CommandKey) -> [u8; 16] {
    array(&key.0)
}

/// Makes a folder that nobody else may look into.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Returns the numbers of the segments in a folder, in order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let of = path.file_stem().and_then(|name| name.to_str()).filter(|name| name.len() == 20);
        if let Some(number) = of.and_then(|name| name.parse().ok()).filter(|number| !numbers.contains(number)) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes a segment: its key first.
pub(super) fn delete(folder: &Path, number: u64) {
    for path in [file(folder, number, "key"), file(folder, number, "answers")] {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "kept answers of commands cannot be deleted");
        }
    }
}

fn file(folder: &Path, number: u64, end: &str) -> PathBuf {
    folder.join(format!("{number:020}.{end}"))
}

/// A file of answers.
pub(super) struct Segment {
    pub(super) number: u64,
    file: File,
    key: RandomizedNonceKey,
    bytes: u64,
    newest: u64,
    places: HashMap<[u8; 16], Place>,
}

/// Where an answer lies.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    length: u32,
    time: u64,
}

impl Segment {
    /// Makes an empty segment with a fresh key.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(file(folder, number, "key"))?.write_all(&secret)?;
        let mut file = options.open(file(folder, number, "answers"))?;
        file.write_all(MAGIC)?;
        Ok(Self {
            number,
            file,
            key: sealing_key(&secret)?,
            bytes: MAGIC.len() as u64,
            newest: number,
            places: HashMap::new(),
        })
    }

    /// Reads what a file holds. Whatever comes after its last whole entry was never kept.
    pub(super) fn read(folder: &Path, number: u64) -> io::Result<Self> {
        let key = sealing_key(&fs::read(file(folder, number, "key"))?)?;
        let mut file = File::open(file(folder, number, "answers"))?;
        let mut magic = vec![0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::other("it is of another format than this version reads"));
        }
        let size = file.metadata()?.len();
        let mut segment = Self { number, file, key, bytes: MAGIC.len() as u64, newest: number, places: HashMap::new() };
        let mut head = [0; HEAD];
        while segment.bytes.saturating_add(HEAD as u64) <= size {
            segment.file.seek(SeekFrom::Start(segment.bytes))?;
            segment.file.read_exact(&mut head)?;
            let (key, time, length) = parts(&head);
            let at = segment.bytes;
            let end = at.saturating_add(HEAD as u64).saturating_add(u64::from(length));
            if end > size {
                break;
            }
            segment.note(key, Place { at, length, time }, end);
        }
        Ok(segment)
    }

    /// Returns how large it is, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns when the last answer came, in milliseconds since the Unix epoch.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8; 16]> {
        self.places.keys()
    }

    /// Adds an answer. The system's memory holds it when this returns: it outlives the process, and a loss of power may take it.
    pub(super) fn append(&mut self, key: &[u8; 16], time: u64, answer: &[u8]) -> io::Result<()> {
        let too_large = || io::Error::other("the answer is too large");
        let length = answer.len().checked_add(NONCE_LEN + AES_256_GCM.tag_len()).ok_or_else(too_large)?;
        let length = u32::try_from(length).map_err(|_| too_large())?;
        let mut entry = [&key[..], &time.to_be_bytes(), &length.to_be_bytes()].concat();
        let mut sealed = answer.to_vec();
        let failed = |_| io::Error::other("it cannot be encrypted");
        let nonce = self.key.seal_in_place_append_tag(Aad::from(&entry), &mut sealed).map_err(failed)?;
        entry.extend_from_slice(nonce.as_ref());
        entry.append(&mut sealed);
        // Written over whatever a write that failed has left.
        self.file.write_all_at(&entry, self.bytes)?;
        let (at, end) = (self.bytes, self.bytes.saturating_add(entry.len() as u64));
        self.note(*key, Place { at, length, time }, end);
        Ok(())
    }

    /// Returns the answer of a key, unless it came before `oldest`.
    pub(super) fn find(&self, key: &[u8; 16], oldest: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = self.places.get(key).filter(|place| place.time > oldest) else { return Ok(None) };
        let length = HEAD.saturating_add(usize::try_from(place.length).unwrap_or(usize::MAX));
        let mut entry = vec![0; length];
        self.file.read_exact_at(&mut entry, place.at)?;
        let changed = || io::Error::other("it was changed, or its key was");
        let (head, sealed) = entry.split_at_mut_checked(HEAD).ok_or_else(changed)?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN).ok_or_else(changed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let opened = self.key.open_in_place(nonce, Aad::from(head), sealed).map_err(|_| changed())?;
        Ok(Some(opened.to_vec()))
    }

    fn note(&mut self, key: [u8; 16], place: Place, end: u64) {
        self.newest = self.newest.max(place.time);
        self.bytes = end;
        self.places.insert(key, place);
    }
}

fn sealing_key(secret: &[u8]) -> io::Result<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, secret).map_err(|_| io::Error::other("its key is malformed"))
}

fn parts(head: &[u8; HEAD]) -> ([u8; 16], u64, u32) {
    let (key, rest) = head.split_at(16);
    let (time, length) = rest.split_at(8);
    (array(key), u64::from_be_bytes(array(time)), u32::from_be_bytes(array(length)))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}
