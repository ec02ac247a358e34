//! Follows the frames in a stream of HTTP/2 bytes without decoding them.
//!
//! The surprising fact: it never holds a payload. Nine bytes of each frame's head are enough to see a header block that is not finished,
//! and to count what a peer sends without asking anything.

/// The client's first bytes. Source: RFC 9113, section 3.4.
pub(crate) const PREFACE_LENGTH: usize = 24;

const HEAD_LENGTH: usize = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// What a frame is, as far as the guard asks. Source: RFC 9113, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `DATA`.
    Data,
    /// `HEADERS`.
    Headers,
    /// `RST_STREAM`.
    Reset,
    /// `CONTINUATION`.
    Continuation,
    /// `GOAWAY`.
    GoAway,
    /// `PRIORITY`, `SETTINGS`, `PING`, `WINDOW_UPDATE`, `PUSH_PROMISE` and whatever else: frames that ask for no work.
    Other,
}

/// The head of a frame that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The stream that it belongs to; 0 for the connection itself.
    pub stream: u32,
    /// Bytes of its payload.
    pub bytes: usize,
    /// It has no payload.
    pub empty: bool,
    /// It ends its stream.
    pub end_stream: bool,
}

/// Follows one direction of a connection.
#[derive(Debug)]
pub struct FrameWalker {
    /// Bytes to pass over before the next head: of the preface, then of a payload.
    skip: usize,
    head: [u8; HEAD_LENGTH],
    /// Bytes of `head` that have arrived.
    have: usize,
    current: Option<Frame>,
    /// A header block has begun, and its last frame has not come.
    block: bool,
    completed: u64,
}

impl FrameWalker {
    /// Follows a direction that opens with the client's preface.
    #[must_use]
    pub fn with_preface() -> Self {
        Self { skip: PREFACE_LENGTH, ..Self::without_preface() }
    }

    /// Follows a direction that opens with a frame.
    #[must_use]
    pub fn without_preface() -> Self {
        Self { skip: 0, head: [0; HEAD_LENGTH], have: 0, current: None, block: false, completed: 0 }
    }

    /// Frames that have arrived whole.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Whether the peer owes the rest of something that has to come in time: its first frame, a head, a header block, or any frame
    /// but `DATA`. (The rest of a `DATA` frame may wait for its sender; the keepalive looks after that.)
    #[must_use]
    pub fn owes(&self) -> bool {
        self.completed == 0 || self.block || self.have > 0 || self.current.is_some_and(|frame| frame.kind != Kind::Data)
    }

    /// Passes over `bytes` and hands each frame that is thereby whole to `seen`.
    ///
    /// # Errors
    ///
    /// What `seen` returns. The walker is of no use after it.
    pub fn walk<E>(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame) -> Result<(), E>) -> Result<(), E> {
        loop {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            if self.skip > 0 {
                return Ok(());
            }
            if let Some(frame) = self.current.take() {
                self.completed += 1;
                seen(frame)?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            bytes = self.take_head(bytes);
        }
    }

    /// Takes what `bytes` hold of a frame's head, and returns the rest.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = HEAD_LENGTH - self.have;
        let (taken, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        if let Some(room) = self.head.get_mut(self.have..self.have + taken.len()) {
            room.copy_from_slice(taken);
        }
        self.have += taken.len();
        if self.have == HEAD_LENGTH {
            self.have = 0;
            self.begin();
        }
        rest
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        let kind = match kind {
            0x0 => Kind::Data,
            0x1 => Kind::Headers,
            0x3 => Kind::Reset,
            0x7 => Kind::GoAway,
            0x9 => Kind::Continuation,
            _ => Kind::Other,
        };
        if matches!(kind, Kind::Headers | Kind::Continuation) {
            self.block = flags & END_HEADERS == 0;
        }
        self.current = Some(Frame {
            kind,
            // The first bit is reserved. Source: RFC 9113, section 4.1.
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            bytes: self.skip,
            empty: self.skip == 0,
            end_stream: matches!(kind, Kind::Data | Kind::Headers) && flags & END_STREAM != 0,
        });
    }
}

#[cfg(test)]
mod tests;
