//! gRPC's length-prefixed messages, walked across whatever frames they arrive in.
//!
//! Bytes are passed on as they came; the walk counts messages and holds them to their limit.
//! Source: gRPC over HTTP/2, "Length-Prefixed-Message".

use bytes::{Bytes, BytesMut};
pub use contract::framing::PREFIX;
use contract::framing::{prefixed, write_prefixed};

/// The flag of a message that is not compressed.
const PLAIN: u8 = 0;

/// A body is not a sequence of gRPC messages that the link takes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The compression flag is set: the link carries messages as they are, and what a client compresses with gzip is unpacked before.
    #[error("a message is compressed in a way that is not taken here")]
    Compressed,
    /// A message is above the limit.
    #[error("a message has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body ended inside a message.
    #[error("the body ends inside a message")]
    Truncated,
    /// Another number of messages than the method has.
    #[error("the body has {count} messages, one is expected")]
    NotOne {
        /// How many there are.
        count: u64,
    },
}

/// Walks messages across chunks.
#[derive(Clone, Debug)]
pub struct MessageWalker {
    limit: usize,
    prefix: [u8; PREFIX],
    prefix_len: usize,
    left: usize,
    started: u64,
}

impl MessageWalker {
    /// Starts at a message boundary; no message may be longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; PREFIX], prefix_len: 0, left: 0, started: 0 }
    }

    /// Walks over `chunk`.
    ///
    /// # Errors
    ///
    /// [`FramingError`] at the first message that may not pass.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), FramingError> {
        while !chunk.is_empty() {
            if self.left > 0 {
                let step = self.left.min(chunk.len());
                self.left = self.left.saturating_sub(step);
                chunk = chunk.get(step..).unwrap_or_default();
                continue;
            }
            let take = PREFIX.saturating_sub(self.prefix_len).min(chunk.len());
            let (head, rest) = chunk.split_at(take);
            for byte in head {
                if let Some(slot) = self.prefix.get_mut(self.prefix_len) {
                    *slot = *byte;
                }
                self.prefix_len = self.prefix_len.saturating_add(1);
            }
            chunk = rest;
            if self.prefix_len == PREFIX {
                let [flag, a, b, c, d] = self.prefix;
                if flag != 0 {
                    return Err(FramingError::Compressed);
                }
                let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                if size > self.limit {
                    return Err(FramingError::TooLarge { size, limit: self.limit });
                }
                self.left = size;
                self.prefix_len = 0;
                self.started = self.started.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Returns how many messages have begun to pass.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.started
    }

    /// Returns how many messages have passed whole.
    #[must_use]
    pub fn messages(&self) -> u64 {
        if self.left > 0 { self.started.saturating_sub(1) } else { self.started }
    }

    /// Returns whether the walk stands between two messages.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.left == 0 && self.prefix_len == 0
    }
}

/// Cuts a body into messages, each with its prefix, across whatever pieces they arrive in.
///
/// A message that lies within one piece is a slice of it; only one that is spread over several is copied.
#[derive(Clone, Debug)]
pub struct Cutter {
    limit: usize,
    piece: Bytes,
    /// The beginning of a message whose rest is to come.
    begun: BytesMut,
}

impl Cutter {
    /// Starts at a message boundary; no message may be longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, piece: Bytes::new(), begun: BytesMut::new() }
    }

    /// Takes the next piece, once [`Cutter::cut`] has returned `None`.
    pub fn push(&mut self, piece: Bytes) {
        self.piece = piece;
    }

    /// Returns whether no message is begun.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.piece.is_empty() && self.begun.is_empty()
    }

    /// Cuts off the next message; `None` when more is needed.
    ///
    /// # Errors
    ///
    /// [`FramingError`] at a message that may not pass, as soon as its prefix is there.
    pub fn cut(&mut self) -> Result<Option<Bytes>, FramingError> {
        if self.begun.is_empty() {
            let Some(whole) = self.whole(&self.piece)? else {
                self.keep(usize::MAX);
                return Ok(None);
            };
            if self.piece.len() >= whole {
                return Ok(Some(self.piece.split_to(whole)));
            }
        }
        self.keep(PREFIX.saturating_sub(self.begun.len()));
        let Some(whole) = self.whole(&self.begun)? else { return Ok(None) };
        self.keep(whole.saturating_sub(self.begun.len()));
        Ok((self.begun.len() == whole).then(|| self.begun.split().freeze()))
    }

    /// Moves up to so many bytes of the piece to the message begun.
    fn keep(&mut self, bytes: usize) {
        let kept = self.piece.split_to(bytes.min(self.piece.len()));
        self.begun.extend_from_slice(&kept);
    }

    /// Returns how long the message is that begins with these bytes, with its prefix; `None` when that is not known yet.
    fn whole(&self, bytes: &[u8]) -> Result<Option<usize>, FramingError> {
        let Some([flag, length @ ..]) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        if *flag != 0 {
            return Err(FramingError::Compressed);
        }
        let size = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if size > self.limit {
            return Err(FramingError::TooLarge { size, limit: self.limit });
        }
        Ok(Some(size.saturating_add(PREFIX)))
    }
}

/// Takes the one message out of a body that has to hold exactly one.
///
/// # Errors
///
/// [`FramingError`] when it is compressed, too large, cut off, or not exactly one.
pub fn single(body: &Bytes, limit: usize) -> Result<Bytes, FramingError> {
    let mut walker = MessageWalker::new(limit);
    walker.feed(body)?;
    if !walker.at_boundary() {
        return Err(FramingError::Truncated);
    }
    if walker.messages() != 1 {
        return Err(FramingError::NotOne { count: walker.messages() });
    }
    Ok(body.slice(PREFIX..))
}

/// Writes `message` with its prefix to `out`.
pub fn write_framed(out: &mut BytesMut, message: &[u8]) {
    write_prefixed(out, PLAIN, message);
}

/// Returns `message` with its prefix.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    prefixed(PLAIN, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(sizes in proptest::collection::vec(0_usize..300, 0..12), cuts in proptest::collection::vec(1_usize..50, 1..20)) {
            let mut all = BytesMut::new();
            for size in &sizes { write_framed(&mut all, &vec![9; *size]); }
            let mut walker = MessageWalker::new(300);
            let mut rest = &all[..];
            let mut cut = cuts.iter().cycle();
            while !rest.is_empty() {
                let n = (*cut.next().unwrap()).min(rest.len());
                walker.feed(&rest[..n]).unwrap();
                rest = &rest[n..];
            }
            prop_assert!(walker.at_boundary());
            prop_assert_eq!(walker.messages(), sizes.len() as u64);
        }

        #[test]
        fn messages_are_cut_out_however_they_arrive(sizes in proptest::collection::vec(0_usize..300, 0..12), cuts in proptest::collection::vec(1_usize..50, 1..20)) {
            let messages: Vec<Bytes> = sizes.iter().map(|size| framed(&vec![7; *size])).collect();
            let mut rest = Bytes::from(messages.concat());
            let (mut cutter, mut found) = (Cutter::new(300), Vec::new());
            let mut cut = cuts.iter().cycle();
            while !rest.is_empty() {
                cutter.push(rest.split_to((*cut.next().unwrap()).min(rest.len())));
                while let Some(message) = cutter.cut().unwrap() { found.push(message); }
            }
            prop_assert!(cutter.at_boundary());
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut cutter = Cutter::new(100);
            cutter.push(Bytes::from(bytes.clone()));
            while let Ok(Some(_)) = cutter.cut() {}
            let mut walker = MessageWalker::new(100);
            let _ = walker.feed(&bytes);
            let _ = single(&Bytes::from(bytes), 100);
        }
    }

    #[test]
    fn what_may_not_pass_is_named() {
        let check = |body: &[u8], expected| assert_eq!(single(&Bytes::copy_from_slice(body), 4).unwrap_err(), expected);
        check(&[1, 0, 0, 0, 0], FramingError::Compressed);
        check(&[0, 0, 0, 0, 5, 1, 2, 3, 4, 5], FramingError::TooLarge { size: 5, limit: 4 });
        let cut = |body: &[u8]| {
            let mut cutter = Cutter::new(4);
            cutter.push(Bytes::copy_from_slice(body));
            cutter.cut().unwrap_err()
        };
        // At the prefix: nothing of it is kept.
        assert_eq!(cut(&[0, 0, 0, 0, 5]), FramingError::TooLarge { size: 5, limit: 4 });
        assert_eq!(cut(&[1, 0, 0, 0, 0]), FramingError::Compressed);
        check(&[0, 0, 0, 0, 3, 1, 2], FramingError::Truncated);
        check(&[0, 0, 0], FramingError::Truncated);
        check(&[], FramingError::NotOne { count: 0 });
        check(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FramingError::NotOne { count: 2 });
        assert_eq!(single(&framed(b"abcd"), 4).unwrap(), "abcd");
    }
}
