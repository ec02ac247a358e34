//! Reads the lengths in front of gRPC's messages, wherever the chunks that carry them are cut.
//!
//! The surprising fact: [`MessageWalker`] keeps five bytes. A body that is passed on is neither copied nor framed anew; it is only
//! counted on the way.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Length of what stands in front of a message: one byte of flags, four of length.
///
/// Source: "gRPC over HTTP2", section "Length-Prefixed-Message".
const PREFIX: usize = 5;

/// Counts and checks the messages of a body that is passed on.
#[derive(Clone, Debug)]
pub struct MessageWalker {
    limit: u32,
    compression: Compression,
    prefix: [u8; PREFIX],
    have: usize,
    /// Bytes of the current message that have not come.
    missing: u32,
    inside: bool,
    messages: u64,
    compressed: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Refused,
    Allowed,
}

impl MessageWalker {
    /// Counts messages of at most `limit` bytes each (without the prefix), none of them compressed.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            compression: Compression::Refused,
            prefix: [0; PREFIX],
            have: 0,
            missing: 0,
            inside: false,
            messages: 0,
            compressed: 0,
            bytes: 0,
        }
    }

    /// Lets compressed messages pass too; the limit then counts the compressed bytes.
    #[must_use]
    pub fn allowing_compression(mut self) -> Self {
        self.compression = Compression::Allowed;
        self
    }

    /// Passes over `chunk`.
    ///
    /// # Errors
    ///
    /// [`FramingError`], as soon as the prefix of a message shows it. The walker is of no use after it.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), FramingError> {
        while !chunk.is_empty() {
            if self.inside {
                let passed = usize::try_from(self.missing).map_or(chunk.len(), |missing| missing.min(chunk.len()));
                chunk = chunk.get(passed..).unwrap_or_default();
                self.missing = self.missing.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
                self.settle();
                continue;
            }
            let (taken, rest) = chunk.split_at_checked(PREFIX.saturating_sub(self.have)).unwrap_or((chunk, &[]));
            for (room, byte) in self.prefix.iter_mut().skip(self.have).zip(taken) {
                *room = *byte;
            }
            self.have = self.have.saturating_add(taken.len());
            chunk = rest;
            if self.have == PREFIX {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    ///
    /// [`FramingError::CutShort`] when a message has not come to its end.
    pub fn finish(&self) -> Result<(), FramingError> {
        if self.is_between() { Ok(()) } else { Err(FramingError::CutShort) }
    }

    /// Whether every message that began has come to its end.
    #[must_use]
    pub fn is_between(&self) -> bool {
        !self.inside && self.have == 0
    }

    /// Messages that have come to their end.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Messages among them that were compressed.
    #[must_use]
    pub fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Bytes of messages, without their prefixes, that have been announced so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn begin(&mut self) -> Result<(), FramingError> {
        self.have = 0;
        let prefix = Prefix::read(self.prefix, self.limit, self.compression)?;
        self.inside = true;
        self.missing = prefix.length;
        self.bytes = self.bytes.saturating_add(u64::from(prefix.length));
        self.compressed = self.compressed.saturating_add(u64::from(prefix.compressed));
        self.settle();
        Ok(())
    }

    /// Counts the current message once nothing of it is missing.
    fn settle(&mut self) {
        if self.inside && self.missing == 0 {
            self.inside = false;
            self.messages = self.messages.saturating_add(1);
        }
    }
}

/// Takes the messages out of a body, without their prefixes.
///
/// A message that lies within one chunk is not copied. What it holds is bounded by one message and the chunks pushed and not taken.
#[derive(Debug)]
pub struct MessageSplitter {
    limit: u32,
    chunks: VecDeque<Bytes>,
    /// Bytes in `chunks`.
    held: usize,
    /// The length of the message that is being put together, once its prefix is known.
    expected: Option<usize>,
}

impl MessageSplitter {
    /// Takes out messages of at most `limit` bytes each, none of them compressed.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit, chunks: VecDeque::new(), held: 0, expected: None }
    }

    /// Adds a chunk of the body.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.held = self.held.saturating_add(chunk.len());
            self.chunks.push_back(chunk);
        }
    }

    /// Takes the next message, if it is there whole.
    ///
    /// # Errors
    ///
    /// [`FramingError`], as soon as a prefix shows it.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FramingError> {
        let length = match self.expected {
            Some(length) => length,
            None if self.held < PREFIX => return Ok(None),
            None => {
                let mut prefix = [0; PREFIX];
                self.take(PREFIX).copy_to_slice(&mut prefix);
                let prefix = Prefix::read(prefix, self.limit, Compression::Refused)?;
                let length = usize::try_from(prefix.length).unwrap_or(usize::MAX);
                self.expected = Some(length);
                length
            }
        };
        if self.held < length {
            return Ok(None);
        }
        self.expected = None;
        Ok(Some(self.take(length)))
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    ///
    /// [`FramingError::CutShort`] when something is left that is not a whole message.
    pub fn finish(&self) -> Result<(), FramingError> {
        if self.held == 0 && self.expected.is_none() { Ok(()) } else { Err(FramingError::CutShort) }
    }

    /// Takes the first `length` bytes of what is held; the caller has looked that they are there.
    fn take(&mut self, length: usize) -> Bytes {
        self.held = self.held.saturating_sub(length);
        if let Some(first) = self.chunks.front_mut()
            && first.len() >= length
        {
            let taken = first.split_to(length);
            if first.is_empty() {
                self.chunks.pop_front();
            }
            return taken;
        }
        let mut joined = BytesMut::with_capacity(length);
        while let Some(mut chunk) = self.chunks.pop_front() {
            let missing = length.saturating_sub(joined.len());
            if chunk.len() > missing {
                joined.extend_from_slice(&chunk.split_to(missing));
                self.chunks.push_front(chunk);
                break;
            }
            joined.extend_from_slice(&chunk);
        }
        joined.freeze()
    }
}

/// What is wrong with the frames of messages in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A message is too long.
    #[error("a message of {length} bytes, where at most {limit} are allowed")]
    TooLong {
        /// What its prefix says, in bytes.
        length: u32,
        /// The limit, in bytes.
        limit: u32,
    },
    /// A message is compressed where none may be.
    #[error("a compressed message, where only plain ones are allowed")]
    Compressed,
    /// The first byte of a prefix is neither 0 nor 1.
    #[error("a message begins with the unknown flags {0:#04x}")]
    Flags(u8),
    /// The body ended within a message.
    #[error("the body ended within a message")]
    CutShort,
}

struct Prefix {
    compressed: bool,
    length: u32,
}

impl Prefix {
    fn read(bytes: [u8; PREFIX], limit: u32, compression: Compression) -> Result<Self, FramingError> {
        let [flags, a, b, c, d] = bytes;
        let compressed = match flags {
            0 => false,
            1 if compression == Compression::Refused => return Err(FramingError::Compressed),
            1 => true,
            flags => return Err(FramingError::Flags(flags)),
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        if length > limit {
            return Err(FramingError::TooLong { length, limit });
        }
        Ok(Self { compressed, length })
    }
}

#[cfg(test)]
mod tests;
