//! Keeps a peer within the limits that HTTP/2 itself does not set.
//!
//! The surprising fact: it stands below h2 and sees bytes only. h2 bounds streams, header sizes and memory, but it waits for ever for the
//! rest of a header block, and answers any number of pings.

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::frames::{Frame, FrameWalker, Kind};
use crate::http2::Http2;

/// A limit that a peer went beyond, and for which its connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It began something and did not finish it in [`Http2::header_timeout`].
    #[error("the peer did not complete a header block in time")]
    Trickle,
    /// It sent more frames without work than [`Http2::idle_frames`] allows.
    #[error("the peer sent too many frames that ask for nothing")]
    IdleFrames,
    /// It reset more streams than [`Http2::resets`] allows.
    #[error("the peer reset too many streams")]
    Resets,
    /// It broke a rule or a limit that HTTP/2 itself keeps: header blocks without end, streams beyond all bounds, frames that make no sense.
    #[error("the peer kept to no rule of HTTP/2: {0}")]
    Rules(h2::Reason),
}

impl Breach {
    fn into_io(self) -> io::Error {
        let kind = match self {
            Self::Trickle => io::ErrorKind::TimedOut,
            Self::IdleFrames | Self::Resets | Self::Rules(_) => io::ErrorKind::QuotaExceeded,
        };
        io::Error::new(kind, self)
    }
}

/// What the guard tells those who look after the connection; h2 keeps no more of an I/O error than its text.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    frames: AtomicU64,
    breach: OnceLock<Breach>,
    /// Whether there ever was one of `long`.
    any_long: AtomicBool,
    /// Streams that brought more of a header block than [`Http2::header_block`].
    long: Mutex<HashSet<u32>>,
}

impl Pulse {
    /// Frames that the peer has sent.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// The limit that the peer went beyond.
    pub(crate) fn breach(&self) -> Option<Breach> {
        self.breach.get().copied()
    }

    /// Whether the peer sent more of a header block on this stream than [`Http2::header_block`]. It is told once.
    pub(crate) fn take_long(&self, stream: u32) -> bool {
        self.any_long.load(Ordering::SeqCst) && self.lock().remove(&stream)
    }

    fn note_long(&self, stream: u32) {
        self.lock().insert(stream);
        self.any_long.store(true, Ordering::SeqCst);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        self.long.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transport of a connection with the peer's conduct watched.
#[derive(Debug)]
pub(crate) struct Guarded<IO> {
    io: IO,
    received: FrameWalker,
    sent: FrameWalker,
    conduct: Conduct,
    blocks: Blocks,
    pulse: Arc<Pulse>,
    header_timeout: Duration,
    /// When what the peer owes must be here, and the number of frames completed when it began to owe it.
    due: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<IO> Guarded<IO> {
    /// Watches a connection that the peer opened.
    pub(crate) fn server(io: IO, limits: &Http2, pulse: Arc<Pulse>) -> Self {
        let (received, sent) = (FrameWalker::with_preface(), FrameWalker::without_preface());
        Self::new(io, limits, pulse, received, sent)
    }

    /// Watches a connection that this end opened.
    pub(crate) fn client(io: IO, limits: &Http2, pulse: Arc<Pulse>) -> Self {
        let (received, sent) = (FrameWalker::without_preface(), FrameWalker::with_preface());
        Self::new(io, limits, pulse, received, sent)
    }

    fn new(io: IO, limits: &Http2, pulse: Arc<Pulse>, received: FrameWalker, sent: FrameWalker) -> Self {
        Self {
            io,
            received,
            sent,
            conduct: Conduct::new(limits, Instant::now()),
            blocks: Blocks { most: limits.header_block.unwrap_or(usize::MAX), bytes: 0 },
            pulse,
            header_timeout: limits.header_timeout,
            due: None,
        }
    }

    fn look(&mut self, bytes: &[u8]) -> Result<(), Breach> {
        let Self { received, conduct, blocks, pulse, .. } = self;
        received.walk(bytes, |frame| {
            if blocks.exceeded_by(frame) {
                pulse.note_long(frame.stream);
            }
            conduct.received(frame)
        })?;
        self.pulse.frames.store(self.received.completed(), Ordering::Relaxed);
        Ok(())
    }

    fn stop(&self, breach: Breach) -> io::Error {
        let _first = self.pulse.breach.set(breach);
        breach.into_io()
    }

    /// Looks whether what the peer owes is late. Nothing is owed on most polls, and then no timer is touched.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<Breach> {
        if !self.received.owes() {
            return Poll::Pending;
        }
        let completed = self.received.completed();
        let timeout = self.header_timeout;
        let (sleep, since) = self.due.get_or_insert_with(|| (Box::pin(tokio::time::sleep(timeout)), completed));
        if *since != completed {
            *since = completed;
            sleep.as_mut().reset(Instant::now() + timeout);
        }
        sleep.as_mut().poll(context).map(|()| Breach::Trickle)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                let looked = self.look(new);
                Poll::Ready(looked.map_err(|breach| self.stop(breach)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let breach = ready!(self.poll_due(context));
                Poll::Ready(Err(self.stop(breach)))
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        let this = &mut *self;
        let conduct = &mut this.conduct;
        let sent = bytes.get(..written).unwrap_or(bytes);
        let Ok(()) = this.sent.walk(sent, |frame| {
            conduct.sent(frame);
            Ok::<(), std::convert::Infallible>(())
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Measures header blocks as they come.
#[derive(Debug)]
struct Blocks {
    most: usize,
    /// Of the block that is being sent, or was last.
    bytes: usize,
}

impl Blocks {
    /// Whether the block of this frame is longer with it than it may be.
    fn exceeded_by(&mut self, frame: Frame) -> bool {
        match frame.kind {
            Kind::Headers => self.bytes = frame.bytes,
            Kind::Continuation => self.bytes = self.bytes.saturating_add(frame.bytes),
            Kind::Data | Kind::Reset | Kind::GoAway | Kind::Other => return false,
        }
        self.bytes > self.most
    }
}

/// What a peer may still do, and what earns it more.
#[derive(Debug)]
struct Conduct {
    idle_frames: Allowance,
    resets: Allowance,
}

/// What the frames of one exchange earn: Envoy's ratio of `WINDOW_UPDATE` to `DATA`.
const EARNED_BY_WORK: u32 = 10;
/// What a second earns.
const IDLE_FRAMES_PER_SECOND: u32 = 100;
/// Seconds in which all resets are earned anew: nghttp2's default of 33 a second for 1,000.
const RESETS_REFILL: u32 = 30;

impl Conduct {
    fn new(limits: &Http2, now: Instant) -> Self {
        Self {
            idle_frames: Allowance::new(limits.idle_frames, IDLE_FRAMES_PER_SECOND, now),
            resets: Allowance::new(limits.resets, (limits.resets / RESETS_REFILL).max(1), now),
        }
    }

    fn received(&mut self, frame: Frame) -> Result<(), Breach> {
        match frame.kind {
            Kind::Reset if !self.resets.spend(Instant::now()) => Err(Breach::Resets),
            Kind::Headers => {
                self.idle_frames.earn(EARNED_BY_WORK);
                Ok(())
            }
            Kind::Data if !frame.empty || frame.end_stream => {
                self.idle_frames.earn(EARNED_BY_WORK);
                Ok(())
            }
            Kind::Data | Kind::Other | Kind::Continuation if !self.idle_frames.spend(Instant::now()) => {
                Err(Breach::IdleFrames)
            }
            Kind::Data | Kind::Other | Kind::Continuation | Kind::Reset | Kind::GoAway => Ok(()),
        }
    }

    fn sent(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Headers | Kind::Data => self.idle_frames.earn(EARNED_BY_WORK),
            Kind::Reset | Kind::Continuation | Kind::GoAway | Kind::Other => {}
        }
        if frame.end_stream {
            self.resets.earn(1);
        }
    }
}

/// A bucket of tokens, filled when it is empty.
#[derive(Debug)]
struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    filled: Instant,
}

impl Allowance {
    fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self { left: most, most, per_second, filled: now }
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    fn spend(&mut self, now: Instant) -> bool {
        if self.left == 0 {
            self.refill(now);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let earned = passed * u128::from(self.per_second) / 1_000;
        if earned > 0 {
            self.filled = now;
            self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, empty: bool, end_stream: bool) -> Frame {
        Frame { kind, stream: 1, bytes: usize::from(!empty), empty, end_stream }
    }

    #[test]
    fn a_peer_that_only_pings_is_stopped_and_one_that_works_is_not() {
        let limits = Http2::default();
        let mut conduct = Conduct::new(&limits, Instant::now());
        for _ in 0..limits.idle_frames {
            assert_eq!(conduct.received(frame(Kind::Other, false, false)), Ok(()));
        }
        let one_more = conduct.received(frame(Kind::Other, false, false));
        assert_eq!(one_more, Err(Breach::IdleFrames));

        let mut conduct = Conduct::new(&limits, Instant::now());
        for _ in 0..10 * limits.idle_frames {
            assert_eq!(conduct.received(frame(Kind::Other, false, false)), Ok(()));
            conduct.sent(frame(Kind::Data, false, false));
        }
    }

    #[test]
    fn resets_are_earned_by_streams_that_were_answered() {
        let limits = Http2::default();
        let mut conduct = Conduct::new(&limits, Instant::now());
        for _ in 0..limits.resets {
            assert_eq!(conduct.received(frame(Kind::Reset, false, false)), Ok(()));
        }
        let one_more = conduct.received(frame(Kind::Reset, false, false));
        assert_eq!(one_more, Err(Breach::Resets));
        conduct.sent(frame(Kind::Headers, false, true));
        assert_eq!(conduct.received(frame(Kind::Reset, false, false)), Ok(()));
    }

    #[test]
    fn an_allowance_refills_with_time() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(2, 100, begun);
        assert!(allowance.spend(begun) && allowance.spend(begun));
        assert!(!allowance.spend(begun + Duration::from_millis(9)));
        assert!(allowance.spend(begun + Duration::from_millis(10)));
        assert!(!allowance.spend(begun + Duration::from_millis(19)));
        let later = begun + Duration::from_secs(1_000);
        assert!(allowance.spend(later) && allowance.spend(later));
        assert!(!allowance.spend(later));
    }

    #[test]
    fn a_header_block_is_as_long_as_all_of_its_frames() {
        let mut blocks = Blocks { most: 100, bytes: 0 };
        let mut exceeded = |kind, bytes| blocks.exceeded_by(Frame { bytes, ..frame(kind, false, false) });
        assert!(!exceeded(Kind::Headers, 100));
        assert!(!exceeded(Kind::Data, 1_000));
        assert!(!exceeded(Kind::Headers, 60));
        assert!(!exceeded(Kind::Continuation, 40));
        assert!(exceeded(Kind::Continuation, 1));
        assert!(!exceeded(Kind::Headers, 1));
        assert!(exceeded(Kind::Headers, 101));
        assert!(exceeded(Kind::Continuation, usize::MAX));
    }

    #[test]
    fn an_empty_data_frame_is_work_only_when_it_ends_its_stream() {
        let limits = Http2 { idle_frames: 1, ..Http2::default() };
        let mut conduct = Conduct::new(&limits, Instant::now());
        assert_eq!(conduct.received(frame(Kind::Data, true, false)), Ok(()));
        assert_eq!(conduct.received(frame(Kind::Data, true, true)), Ok(()));
        assert_eq!(conduct.received(frame(Kind::Data, true, false)), Ok(()));
        let second = conduct.received(frame(Kind::Data, true, false));
        assert_eq!(second, Err(Breach::IdleFrames));
    }
}
