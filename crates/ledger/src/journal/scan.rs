//! Reads one segment from its first batch on, checking checksums, indices and the chain of links.
//!
//! A scan stops at the first batch that is not whole and says why. Whether that is the end, a write that was cut short or damage
//! is for `tail` to tell: a batch is yielded whole or not at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{BATCH_HEADER, BadFrame, BatchHeader, Frame, SECTOR};
use super::segment::{SEGMENT_HEADER, SegmentHeader};
use crate::files::{Damage, StorageError, Unreadable, on};
use crate::{Hash, folder::Folder};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Bytes read at once where only one leaf is wanted.
const SPARSE: usize = 16 << 10;

/// Where a journal stands: what the next frame must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub next: u64,
    pub link: Hash,
}

impl Chain {
    pub const START: Self = Self { next: 0, link: Hash::ZERO };
}

/// Reads a segment batch by batch.
#[derive(Debug)]
pub(crate) struct Scan {
    pub path: PathBuf,
    pub header: SegmentHeader,
    window: Window,
    /// Where the next batch begins, or where what follows is no batch.
    pub offset: u64,
    pub chain: Chain,
    /// Why the scan stopped; `None` before it did, or when there is nothing but zeros in the next header's place.
    pub fault: Option<Fault>,
}

impl Scan {
    /// Opens the segment that begins at `first`, which must follow `chain`.
    pub fn open(folder: &Folder, first: u64, chain: Chain) -> Result<Self, Unreadable> {
        let path = folder.segment(first);
        let file = File::open(&path).map_err(on("open", &path))?;
        let header = SegmentHeader::read(&path, &file)?;
        let length = file.metadata().map_err(on("read", &path))?.len();
        if length != header.length {
            let what = format!("it has {length} bytes, but was made with {}", header.length);
            return Err(Damage::new(&path, what).at(length.min(header.length)).into());
        }
        if header.first != first || header.first != chain.next {
            let what = format!("it begins with leaf {}, but leaf {} comes next", header.first, chain.next);
            return Err(Damage::new(&path, what).at(0).leaf(chain.next).into());
        }
        if header.link != chain.link {
            return Err(Damage::new(&path, "it does not follow from the segment before it")
                .at(0)
                .leaf(chain.next)
                .into());
        }
        Ok(Self { path, header, window: Window::new(file), offset: SEGMENT_HEADER, chain, fault: None })
    }

    /// Opens a segment alone, taking for granted what it follows.
    pub fn open_alone(folder: &Folder, first: u64) -> Result<Self, Unreadable> {
        let path = folder.segment(first);
        let file = File::open(&path).map_err(on("open", &path))?;
        let header = SegmentHeader::read(&path, &file)?;
        let chain = Chain { next: header.first, link: header.link };
        Self::open(folder, first, chain)
    }

    /// Reads the next batch, or `None` at the end of what is whole.
    pub fn next(&mut self) -> Result<Option<Batch<'_>>, StorageError> {
        let offset = self.offset;
        match self.check()? {
            Ok(None) => Ok(None),
            Err(fault) => {
                self.fault = Some(fault);
                Ok(None)
            }
            Ok(Some((header, chain))) => {
                self.chain = chain;
                self.offset += header.padded() as u64;
                let bytes = self.window.get(&self.path, offset, header.length as usize)?;
                Ok(Some(Batch { header, offset, bytes, checked: true }))
            }
        }
    }

    /// Skips the batch that comes next by its header alone; returns the header, or `None` at the end.
    pub fn skip(&mut self) -> Result<Option<BatchHeader>, StorageError> {
        let bytes = self.window.get(&self.path, self.offset, BATCH_HEADER)?;
        let Some(header) = BatchHeader::parse(bytes).filter(|header| header.first == self.chain.next) else {
            return Ok(None);
        };
        self.offset += header.padded() as u64;
        self.chain.next += u64::from(header.count);
        Ok(Some(header))
    }

    /// Steps back to a batch whose place is known. The link before it is not, so [`Scan::next`] cannot be used after.
    pub fn batch_at(&mut self, offset: u64) -> Result<Option<Batch<'_>>, StorageError> {
        let bytes = self.window.get(&self.path, offset, BATCH_HEADER)?;
        let Some(header) = BatchHeader::parse(bytes) else {
            return Ok(None);
        };
        let bytes = self.window.get(&self.path, offset, header.length as usize)?;
        Ok((bytes.len() == header.length as usize).then_some(Batch { header, offset, bytes, checked: false }))
    }

    /// Forgets what was read ahead, so that the next read sees what has been written since.
    pub fn refresh(&mut self) {
        self.window.bytes.clear();
        self.fault = None;
    }

    /// Reads small pieces from here on: for one leaf, not for all.
    pub fn read_sparsely(&mut self) {
        self.window.ahead = SPARSE;
    }

    /// Reads bytes for a closer look; fewer than `length` at the end of the file.
    pub fn peek(&mut self, offset: u64, length: usize) -> Result<&[u8], StorageError> {
        self.window.get(&self.path, offset, length)
    }

    /// Checks the batch at `offset`; `Ok(None)` when only zeros are there.
    fn check(&mut self) -> Result<Result<Option<(BatchHeader, Chain)>, Fault>, StorageError> {
        let (offset, end) = (self.offset, self.header.length);
        let bytes = self.window.get(&self.path, offset, BATCH_HEADER)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Ok(None));
        }
        let next = self.chain.next;
        let fault = |at: u64, index: u64, kind: Kind| Ok(Err(Fault { offset: at, index, kind }));
        let Some(header) = BatchHeader::parse(bytes) else {
            return fault(offset, next, Kind::Header);
        };
        if header.first != next {
            return fault(offset, next, Kind::Order { found: header.first });
        }
        if offset + header.padded() as u64 > end {
            return fault(offset, next, Kind::Frame(BadFrame::Shape));
        }
        let bytes = self.window.get(&self.path, offset, header.padded())?;
        let (frames, padding) = bytes.split_at_checked(header.length as usize).unwrap_or((bytes, &[]));
        let mut chain = self.chain;
        let mut at = BATCH_HEADER;
        for _ in 0..header.count {
            let place = offset + at as u64;
            let frame = match Frame::parse(frames.get(at..).unwrap_or_default()) {
                Ok(frame) => frame,
                Err(bad) => return fault(place, chain.next, Kind::Frame(bad)),
            };
            if frame.index != chain.next {
                return fault(place, chain.next, Kind::Order { found: frame.index });
            }
            if frame.expected_link(&chain.link) != frame.link {
                return fault(place, chain.next, Kind::Link);
            }
            chain = Chain { next: chain.next + 1, link: frame.link };
            at += frame.length;
        }
        if at != frames.len() {
            return fault(offset + at as u64, chain.next, Kind::Frame(BadFrame::Shape));
        }
        if let Some(stray) = padding.iter().position(|byte| *byte != 0) {
            return fault(offset + (at + stray) as u64, chain.next - 1, Kind::Padding);
        }
        Ok(Ok(Some((header, chain))))
    }
}

/// A batch that is whole.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    pub header: BatchHeader,
    pub offset: u64,
    bytes: &'a [u8],
    /// Its checksums were verified already.
    checked: bool,
}

impl<'a> Batch<'a> {
    /// Its frames, each with its place in the file.
    pub fn frames(&self) -> impl Iterator<Item = (u64, Result<Frame<'a>, BadFrame>)> + use<'a> {
        let (mut at, offset, bytes) = (BATCH_HEADER, self.offset, self.bytes);
        let (mut left, checked) = (self.header.count, self.checked);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let place = offset + at as u64;
            let bytes = bytes.get(at..).unwrap_or_default();
            let frame = if checked { Frame::parse_checked(bytes) } else { Frame::parse(bytes) };
            match &frame {
                Ok(frame) => at += frame.length,
                Err(_) => left = 0,
            }
            Some((place, frame))
        })
    }
}

/// Why a batch is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub offset: u64,
    pub index: u64,
    pub kind: Kind,
}

impl Fault {
    pub fn damage(&self, path: &Path) -> Damage {
        let what = match self.kind {
            Kind::Header => "a batch header does not fit its checksum".to_owned(),
            Kind::Order { found } => {
                format!("leaf {found} stands where leaf {} comes next", self.index)
            }
            Kind::Frame(bad) => bad.to_string(),
            Kind::Link => "the frame does not follow from the one before it".to_owned(),
            Kind::Padding => "there are bytes between two batches".to_owned(),
        };
        Damage::new(path, what).at(self.offset).leaf(self.index)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Header,
    Order { found: u64 },
    Frame(BadFrame),
    Link,
    Padding,
}

/// A file read in large pieces.
#[derive(Debug)]
struct Window {
    file: File,
    start: u64,
    bytes: Vec<u8>,
    /// How much is read at once, in bytes.
    ahead: usize,
}

impl Window {
    fn new(file: File) -> Self {
        Self { file, start: 0, bytes: Vec::new(), ahead: CHUNK }
    }

    /// Returns `length` bytes from `offset`, or fewer at the end of the file.
    fn get(&mut self, path: &Path, offset: u64, length: usize) -> Result<&[u8], StorageError> {
        let held = offset
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok())
            .filter(|from| from.checked_add(length).is_some_and(|end| end <= self.bytes.len()));
        if held.is_none() {
            self.fill(offset, length.max(self.ahead)).map_err(on("read", path))?;
        }
        let from = held.unwrap_or(0);
        let end = (from + length).min(self.bytes.len());
        Ok(self.bytes.get(from..end).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.start = offset;
        self.bytes.resize(length, 0);
        let mut filled = 0;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

const _: () = assert!(SECTOR.is_power_of_two() && SECTOR >= BATCH_HEADER);
