//! The initial metadata of a streamed answer: a frame of its own before the first message.
//!
//! A reply over a link opens before the back end is asked, so what the back end opens its answer with cannot stand in the reply's
//! headers.

use bytes::{Buf, Bytes, BytesMut};
use contract::framing::{PREFIX, prefixed};

use super::{ApplicationMetadata, MAX_ANSWER_BYTES};

/// What the frame begins with, where a message begins with 0.
const FLAG: u8 = 0x40;

/// Returns the frame.
pub(crate) fn framed(metadata: &ApplicationMetadata) -> Bytes {
    prefixed(FLAG, &metadata.encode())
}

/// Takes the frame off the beginning of a body, wherever that is cut.
#[derive(Debug, Default)]
pub(crate) struct Prelude {
    begun: BytesMut,
}

/// The frame is not one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Prelude {
    /// Takes the next chunk. `None` while more is needed; then what the frame holds, and what follows it. A body may begin without
    /// one.
    pub(crate) fn feed(&mut self, mut chunk: Bytes) -> Result<Option<(ApplicationMetadata, Bytes)>, Malformed> {
        if self.begun.is_empty() && chunk.first() != Some(&FLAG) {
            return Ok((!chunk.is_empty()).then(|| (ApplicationMetadata::default(), chunk)));
        }
        self.take(PREFIX, &mut chunk);
        let Some([_, length @ ..]) = self.begun.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_ANSWER_BYTES {
            return Err(Malformed);
        }
        let whole = PREFIX.saturating_add(length);
        self.take(whole, &mut chunk);
        if self.begun.len() < whole {
            return Ok(None);
        }
        let mut block = self.begun.split().freeze();
        block.advance(PREFIX.min(block.len()));
        let metadata = ApplicationMetadata::decode(&block, MAX_ANSWER_BYTES).ok_or(Malformed)?;
        Ok(Some((metadata, chunk)))
    }

    /// Moves bytes of the chunk until `wanted` are there.
    fn take(&mut self, wanted: usize, chunk: &mut Bytes) {
        let missing = wanted.saturating_sub(self.begun.len()).min(chunk.len());
        self.begun.extend_from_slice(&chunk.split_to(missing));
    }
}
