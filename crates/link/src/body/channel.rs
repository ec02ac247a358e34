//! A queue of bytes between one writer and the stream that sends them.
//!
//! The surprising fact: it counts bytes, not messages, and a reader takes all that waits at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::HeaderMap;
use http_body::Frame;

use super::BodyError;

/// Chunks up to this size are copied together; larger ones are passed on as they are.
const JOINED: usize = 4 * 1024;

pub(super) fn channel(capacity: usize) -> (Sender, Receiver) {
    let queue = Arc::new(Queue { capacity: capacity.max(1), state: Mutex::new(State::default()) });
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

/// The writing end of [`Body::channel`](crate::Body::channel).
///
/// Dropped without [`Sender::finish`], it resets the stream, so that a body that was cut short never looks whole.
#[derive(Debug)]
pub struct Sender(Arc<Queue>);

/// Nobody reads any more: the peer reset the stream, or the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes what is sent any more")]
pub struct Closed;

impl Sender {
    /// Hands over `data`, once there is room.
    ///
    /// # Errors
    ///
    /// [`Closed`], then and ever after.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, nothing was handed over.
    pub async fn send(&mut self, data: Bytes) -> Result<(), Closed> {
        self.ready().await?;
        self.push(data)
    }

    /// Waits until there is room for more, that is until less than the capacity waits.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub async fn ready(&mut self) -> Result<(), Closed> {
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }

    /// Looks whether there is room for more.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut state = self.0.lock();
        if state.reader_gone {
            return Poll::Ready(Err(Closed));
        }
        if state.waiting < self.0.capacity {
            return Poll::Ready(Ok(()));
        }
        keep(&mut state.writer, context);
        Poll::Pending
    }

    /// Hands over `data` whether there is room or not; for a caller that has looked.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn push(&mut self, data: Bytes) -> Result<(), Closed> {
        let mut state = self.0.lock();
        if state.reader_gone {
            return Err(Closed);
        }
        if data.is_empty() {
            return Ok(());
        }
        state.waiting += data.len();
        if data.len() <= JOINED {
            state.tail.extend_from_slice(&data);
        } else {
            state.close_tail();
            state.chunks.push_back(data);
        }
        state.wake_reader();
        Ok(())
    }

    /// Ends the body, with trailers if there are any.
    pub fn finish(self, trailers: Option<HeaderMap>) {
        self.end(End::Finished(trailers.map(Box::new)));
    }

    /// Gives the body up: the stream is reset with `reason`.
    pub fn reset(self, reason: Reason) {
        self.end(End::Reset(reason));
    }

    /// Waits until nobody reads any more.
    ///
    /// # Cancel safety
    ///
    /// It may be called again at any time.
    pub async fn closed(&mut self) {
        std::future::poll_fn(|context| self.poll_closed(context)).await;
    }

    /// Looks whether nobody reads any more.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.reader_gone {
            return Poll::Ready(());
        }
        keep(&mut state.watcher, context);
        Poll::Pending
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.lock().reader_gone
    }

    fn end(&self, end: End) {
        let mut state = self.0.lock();
        if matches!(state.end, End::Open) {
            state.end = end;
            state.wake_reader();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.end(End::Reset(Reason::INTERNAL_ERROR));
    }
}

#[derive(Debug)]
pub(super) struct Receiver(Arc<Queue>);

impl Receiver {
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.lock();
        // A reset overtakes what waits: what was cut short need not arrive.
        if let End::Reset(reason) = state.end {
            return Poll::Ready(Some(Err(BodyError::Reset(reason))));
        }
        if let Some(chunk) = state.take() {
            state.waiting -= chunk.len();
            if state.waiting < self.0.capacity
                && let Some(writer) = state.writer.take()
            {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut state.end {
            End::Finished(trailers) => Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers)))),
            End::Open | End::Reset(_) => {
                keep(&mut state.reader, context);
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end(&self) -> bool {
        let state = self.0.lock();
        state.waiting == 0 && matches!(state.end, End::Finished(None))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reader_gone = true;
        state.chunks = VecDeque::new();
        state.tail = BytesMut::new();
        let wakers = [state.writer.take(), state.watcher.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

#[derive(Debug)]
struct Queue {
    capacity: usize,
    state: Mutex<State>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Small chunks, joined; they follow `chunks`.
    tail: BytesMut,
    /// Bytes in `chunks` and `tail`.
    waiting: usize,
    end: End,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    Finished(Option<Box<HeaderMap>>),
    Reset(Reason),
}

impl State {
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.chunks.push_back(tail);
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Some(chunk);
        }
        (!self.tail.is_empty()).then(|| self.tail.split().freeze())
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn keep(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::pin::Pin;

    use http_body_util::BodyExt;

    use super::*;
    use crate::Body;

    async fn next(body: &mut Body) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn small_chunks_that_wait_leave_as_one_and_large_ones_uncopied() {
        let (mut sender, mut body) = Body::channel(64 * 1024);
        let large = Bytes::from(vec![7; JOINED + 1]);
        for chunk in [b"ab".as_slice().into(), b"cd".as_slice().into(), large.clone(), "ef".into()] {
            sender.send(chunk).await.unwrap();
        }
        sender.finish(None);
        // "ab" and "cd" were joined before the large one closed the row.
        assert_eq!(next(&mut body).await, "abcd");
        let passed = next(&mut body).await;
        assert_eq!(passed.as_ptr(), large.as_ptr());
        assert_eq!(next(&mut body).await, "ef");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_full_queue_makes_its_writer_wait_until_some_is_taken() {
        let (mut sender, mut body) = Body::channel(8);
        sender.send(Bytes::from_static(b"12345678")).await.unwrap();
        let mut send = tokio::spawn(async move {
            sender.send(Bytes::from_static(b"9")).await.unwrap();
            sender
        });
        tokio::task::yield_now().await;
        assert!(!send.is_finished());
        assert_eq!(next(&mut body).await, "12345678");
        let sender = (&mut send).await.unwrap();
        drop(sender);
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::Reset(Reason::INTERNAL_ERROR)), "{error}");
    }

    #[tokio::test]
    async fn trailers_follow_the_last_byte_and_end_the_body() {
        let (mut sender, mut body) = Body::channel(8);
        sender.push(Bytes::from_static(b"x")).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        sender.finish(Some(trailers));
        assert_eq!(next(&mut body).await, "x");
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_trailers().unwrap().len(), 1);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_writer_learns_that_nobody_reads() {
        let (mut sender, body) = Body::channel(1);
        sender.push(Bytes::from_static(b"x")).unwrap();
        let waiting = tokio::spawn(async move {
            let ready = sender.ready().await;
            sender.closed().await;
            ready
        });
        tokio::task::yield_now().await;
        drop(body);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }

    #[tokio::test]
    async fn the_end_is_known_without_another_poll_when_nothing_waits() {
        use http_body::Body as _;
        let (mut sender, mut body) = Body::channel(8);
        sender.push(Bytes::from_static(b"x")).unwrap();
        sender.finish(None);
        assert!(!body.is_end_stream());
        next(&mut body).await;
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn a_future_that_waits_on_pinned_state_is_polled_once_more() {
        // The waker of the last poll counts, not of the first.
        let (mut sender, mut body) = Body::channel(8);
        let mut first = Box::pin(async { body.frame().await });
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        let second = tokio::spawn(async move {
            sender.push(Bytes::from_static(b"x")).unwrap();
            sender.finish(None);
        });
        let frame = Pin::new(&mut first).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "x");
        second.await.unwrap();
    }
}
