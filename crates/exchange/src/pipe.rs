//! The body of a streamed request on its way to another gateway.
//!
//! Dropped without [`Sender::finish`], it resets the stream: a request that was cut short never looks whole.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::ports::{Broken, Gone};

/// Chunks that wait before the writer does. Each is a piece of a body, at most a message long.
const CHUNKS: usize = 2;

/// Returns the two ends of a new body.
pub(crate) fn pipe() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (Sender(sender), Receiver { frames: receiver, ended: false })
}

/// The writing end.
pub(crate) struct Sender(mpsc::Sender<Frame<Bytes>>);

impl Sender {
    /// Hands a chunk over once there is room.
    pub(crate) async fn send(&self, chunk: Bytes) -> Result<(), Gone> {
        self.0.send(Frame::data(chunk)).await.map_err(|_| Gone)
    }

    /// Ends the body with trailers.
    pub(crate) async fn finish(self, trailers: HeaderMap) -> Result<(), Gone> {
        self.0.send(Frame::trailers(trailers)).await.map_err(|_| Gone)
    }

    /// Waits until nobody reads any more.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// The body.
pub(crate) struct Receiver {
    frames: mpsc::Receiver<Frame<Bytes>>,
    ended: bool,
}

impl Body for Receiver {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(self.frames.poll_recv(context));
        self.ended = frame.as_ref().is_none_or(Frame::is_trailers);
        Poll::Ready(Some(frame.ok_or(Broken::Withdrawn)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
