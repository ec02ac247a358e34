//! The rows of a statement as encoded messages, made as the reader pulls them.
//!
//! The statement, its connection and the loop over its rows are one future, the pump, which this stream polls itself. So nothing
//! runs beside the reader, and dropping the stream stops all of it. The pump has a seat, which it loses while its reader takes nothing and
//! others wait for the connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::time::Sleep;

use crate::ConnectorError;
use crate::sql::engine::{Pace, Question};
use crate::sql::plan::{Plan, Row};
use crate::sql::turns::{Pump, Seat};

/// How many rows are encoded before the reader gets the first of them.
pub(crate) const BATCH_ROWS: usize = 64;

/// How many bytes are encoded before the reader gets the first of them.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// Bytes allocated at a time for one message.
const ARENA_WHOLE: usize = 1024;

/// Bytes allocated at a time for the messages of a stream.
const ARENA_PULLED: usize = 64 * 1024;

/// The encoded rows.
pub(crate) struct Rows {
    /// Where the pump is.
    seat: Arc<Seat>,
    /// Whether the statement has not ended yet, as far as the reader has heard.
    runs: bool,
    batch: Arc<Batch>,
    ready: VecDeque<Bytes>,
    error: Option<ConnectorError>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Rows {
    /// The rows that `pump`, from its seat, puts into `batch`. At the deadline the pump is dropped.
    pub(crate) fn of(pump: Pump, seat: Arc<Seat>, batch: Arc<Batch>, deadline: Option<Instant>) -> Self {
        seat.set(pump);
        let timer = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        Self { seat, runs: true, batch, ready: VecDeque::new(), error: None, timer }
    }

    fn next_ready(&mut self) -> Option<Bytes> {
        let message = self.ready.pop_front()?;
        self.seat.rests();
        Some(message)
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready())
    }
}

impl Stream for Rows {
    type Item = Result<Bytes, ConnectorError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(message) = this.next_ready() {
            return Poll::Ready(Some(Ok(message)));
        }
        if this.runs {
            if let Poll::Ready(result) = this.seat.poll(context) {
                this.runs = false;
                this.error = result.err();
            }
            this.batch.swap(&mut this.ready);
        }
        if let Some(message) = this.next_ready() {
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(error) = this.error.take() {
            // The database may have looked at the clock before our own timer fired.
            let late = error == ConnectorError::Cancelled && this.timer.is_some();
            return Poll::Ready(Some(Err(if late { ConnectorError::Timeout } else { error })));
        }
        if !this.runs {
            return Poll::Ready(None);
        }
        if this.is_late(context) {
            this.runs = false;
            this.seat.stop();
            return Poll::Ready(Some(Err(ConnectorError::Timeout)));
        }
        Poll::Pending
    }
}

/// How rows become messages.
pub(crate) struct Encoding {
    plan: Arc<Plan>,
    limit: usize,
    /// Messages are cut off its front, and it allocates for many at once.
    arena: BytesMut,
}

impl Encoding {
    pub(crate) fn of(question: &Question) -> Self {
        let arena = match question.pace {
            Pace::Whole => ARENA_WHOLE,
            Pace::Pulled => ARENA_PULLED,
        };
        Self { plan: Arc::clone(&question.plan), limit: question.limit, arena: BytesMut::with_capacity(arena) }
    }

    /// Makes the message of one row.
    pub(crate) fn row<R: Row>(&mut self, row: &R) -> Result<Bytes, ConnectorError> {
        self.plan.encode(row, &mut self.arena)?;
        if self.arena.len() > self.limit {
            return Err(ConnectorError::TooLarge { limit: self.limit });
        }
        Ok(self.arena.split().freeze())
    }
}

/// Lets the reader take what there is. The pump goes on when the reader wants more, without being woken.
pub(crate) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|_| {
        if paused {
            return Poll::Ready(());
        }
        paused = true;
        Poll::Pending
    })
    .await;
}

/// What the pump has encoded and the reader has not taken.
#[derive(Default)]
pub(crate) struct Batch(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Batch {
    /// Adds a message, and says how many rows and bytes wait now.
    pub(crate) fn push(&self, message: Bytes) -> (usize, usize) {
        let mut waiting = self.lock();
        waiting.bytes += message.len();
        waiting.messages.push_back(message);
        (waiting.messages.len(), waiting.bytes)
    }

    /// Whether the reader has something to take.
    pub(crate) fn waits(&self) -> bool {
        !self.lock().messages.is_empty()
    }

    /// Gives the messages for an empty queue.
    fn swap(&self, empty: &mut VecDeque<Bytes>) {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        std::mem::swap(&mut waiting.messages, empty);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
