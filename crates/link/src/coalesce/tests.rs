#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    near: CoalescedWrites<DuplexStream>,
    far: DuplexStream,
    wakes: Arc<Wakes>,
}

impl Bench {
    /// The peer has room for `room` bytes that it has not read.
    fn new(room: usize) -> Self {
        let (near, far) = duplex(room);
        Self { near: CoalescedWrites::new(near), far, wakes: Arc::default() }
    }

    fn with<T>(&mut self, act: impl FnOnce(Pin<&mut CoalescedWrites<DuplexStream>>, &mut Context<'_>) -> T) -> T {
        let waker = Arc::clone(&self.wakes).into();
        act(Pin::new(&mut self.near), &mut Context::from_waker(&waker))
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<usize> {
        let written = self.with(|near, context| near.poll_write(context, bytes));
        written.map(Result::unwrap)
    }

    fn flush(&mut self) {
        let flushed = self.with(AsyncWrite::poll_flush);
        assert!(matches!(flushed, Poll::Ready(Ok(()))));
    }

    /// Reads, as h2 does at each poll, and finds nothing.
    fn read(&mut self) {
        let mut room = [0; 16];
        let read = self.with(|near, context| near.poll_read(context, &mut ReadBuf::new(&mut room)));
        assert!(read.is_pending());
    }

    /// What the peer has been sent since it was last asked.
    fn arrived(&mut self) -> Vec<u8> {
        let mut arrived = Vec::new();
        let mut room = [0; 4096];
        loop {
            let waker = Arc::clone(&self.wakes).into();
            let mut buffer = ReadBuf::new(&mut room);
            let read = Pin::new(&mut self.far).poll_read(&mut Context::from_waker(&waker), &mut buffer);
            if read.is_pending() || buffer.filled().is_empty() {
                return arrived;
            }
            arrived.extend_from_slice(buffer.filled());
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

#[test]
fn writes_are_held_through_flushes_until_the_next_read() {
    let mut bench = Bench::new(1024);
    assert_eq!(bench.write(b"head "), Poll::Ready(5));
    bench.flush();
    assert_eq!(bench.write(b"data "), Poll::Ready(5));
    bench.flush();
    let slices = [IoSlice::new(b"trail"), IoSlice::new(b"ers")];
    let written = bench.with(|near, context| near.poll_write_vectored(context, &slices));
    assert!(matches!(written, Poll::Ready(Ok(8))));
    assert_eq!(bench.wakes(), 1, "one further poll is asked for, not one for each write");
    assert!(bench.arrived().is_empty());
    bench.read();
    assert_eq!(bench.arrived(), b"head data trailers");
}

#[test]
fn a_poll_is_asked_for_again_after_what_was_held_has_left() {
    let mut bench = Bench::new(1024);
    let _ = bench.write(b"one");
    bench.read();
    let before = bench.wakes();
    let _ = bench.write(b"two");
    assert_eq!(bench.wakes(), before + 1);
    bench.read();
    assert_eq!(bench.arrived(), b"onetwo");
}

#[test]
fn a_full_buffer_leaves_without_a_read() {
    let mut bench = Bench::new(1024 * 1024);
    let bytes = vec![1; MOST_HELD];
    assert_eq!(bench.write(&bytes), Poll::Ready(MOST_HELD));
    assert!(bench.arrived().is_empty());
    assert_eq!(bench.write(b"x"), Poll::Ready(1));
    assert_eq!(bench.arrived().len(), MOST_HELD);
}

#[test]
fn a_write_beyond_the_buffer_is_taken_in_part() {
    let mut bench = Bench::new(16);
    let bytes = vec![1; MOST_HELD + 100];
    assert_eq!(bench.write(&bytes), Poll::Ready(MOST_HELD));
    let slices = [IoSlice::new(&[2; 10]), IoSlice::new(&[3; 20])];
    // 16 bytes fit the peer's room, so 16 are taken again.
    let written = bench.with(|near, context| near.poll_write_vectored(context, &slices));
    assert!(matches!(written, Poll::Ready(Ok(16))));
}

#[test]
fn a_peer_that_takes_nothing_holds_its_writer_and_not_the_reader() {
    let mut bench = Bench::new(16);
    let bytes = vec![1; MOST_HELD];
    assert_eq!(bench.write(&bytes), Poll::Ready(MOST_HELD));
    assert_eq!(bench.write(&[1; 16]), Poll::Ready(16));
    assert!(bench.write(b"x").is_pending());
    bench.read();
    // The peer reads some, and the writer hears of it.
    let before = bench.wakes();
    assert_eq!(bench.arrived().len(), 16);
    assert!(bench.wakes() > before);
    bench.read();
    assert_eq!(bench.write(b"x"), Poll::Ready(1));
}

#[tokio::test]
async fn what_is_held_leaves_before_the_end() {
    let mut bench = Bench::new(1024);
    let _ = bench.write(b"goodbye");
    let ended = bench.with(AsyncWrite::poll_shutdown);
    assert!(matches!(ended, Poll::Ready(Ok(()))));
    let mut text = String::new();
    bench.far.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "goodbye");
}

#[test]
fn an_error_of_a_held_write_comes_out_of_the_next_read() {
    let mut bench = Bench::new(1024);
    let _ = bench.write(b"x");
    let (_, other) = duplex(1);
    drop(std::mem::replace(&mut bench.far, other));
    let mut room = [0; 16];
    let read = bench.with(|near, context| near.poll_read(context, &mut ReadBuf::new(&mut room)));
    assert!(matches!(read, Poll::Ready(Err(_))));
}
