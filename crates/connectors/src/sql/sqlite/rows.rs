//! The rows of a statement as encoded messages, made as the reader pulls them.
//!
//! The statement, its connection and the loop over its rows are one future, which this stream polls itself. So nothing runs
//! beside the reader but SQLite's thread, which waits when its channel is full, and dropping the stream stops all of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Either, Executor};
use tokio::time::Sleep;

use super::failed;
use super::pool::{Lease, Pool};
use crate::sql::cell::Argument;
use crate::sql::plan::Plan;
use crate::{ConnectorError, Failure};

/// How many rows are encoded before the reader gets the first of them.
const BATCH_ROWS: usize = 64;

/// How many bytes are encoded before the reader gets the first of them.
const BATCH_BYTES: usize = 64 * 1024;

/// One statement with everything it needs to run.
pub(crate) struct Query {
    pub(crate) sql: Arc<str>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) plan: Arc<Plan>,
    /// Largest message, in bytes.
    pub(crate) limit: usize,
    pub(crate) deadline: Option<Instant>,
    /// How many bytes to allocate at a time for encoded rows.
    pub(crate) arena: usize,
}

/// The encoded rows.
pub(crate) struct Rows {
    /// `None` once the statement has ended.
    pump: Option<BoxFuture<'static, Result<(), ConnectorError>>>,
    batch: Arc<Batch>,
    ready: VecDeque<Bytes>,
    error: Option<ConnectorError>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Rows {
    /// Takes a connection and starts the statement.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::lease`], and arguments that SQLite does not take.
    pub(crate) async fn start(pool: &Pool, query: Query) -> Result<Self, ConnectorError> {
        if query.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(ConnectorError::Timeout);
        }
        let arguments = bound(query.arguments)?;
        let lease = pool.lease(query.deadline).await?;
        let batch = Arc::new(Batch::default());
        let timer = query.deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        let encoding = Encoding { plan: query.plan, limit: query.limit, arena: BytesMut::with_capacity(query.arena) };
        let pump = pump(lease, query.sql, arguments, encoding, Arc::clone(&batch));
        Ok(Self { pump: Some(Box::pin(pump)), batch, ready: VecDeque::new(), error: None, timer })
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready())
    }
}

impl Stream for Rows {
    type Item = Result<Bytes, ConnectorError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(message) = this.ready.pop_front() {
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(pump) = this.pump.as_mut() {
            if let Poll::Ready(result) = pump.as_mut().poll(context) {
                this.pump = None;
                this.error = result.err();
            }
            this.batch.swap(&mut this.ready);
        }
        if let Some(message) = this.ready.pop_front() {
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(error) = this.error.take() {
            // SQLite may have looked at the clock before our own timer fired.
            let late = error == ConnectorError::Cancelled && this.timer.is_some();
            return Poll::Ready(Some(Err(if late { ConnectorError::Timeout } else { error })));
        }
        if this.pump.is_none() {
            return Poll::Ready(None);
        }
        if this.is_late(context) {
            this.pump = None;
            return Poll::Ready(Some(Err(ConnectorError::Timeout)));
        }
        Poll::Pending
    }
}

/// How rows become messages.
struct Encoding {
    plan: Arc<Plan>,
    limit: usize,
    /// Messages are cut off its front, and it allocates for many at once.
    arena: BytesMut,
}

impl Encoding {
    fn row(&mut self, row: &SqliteRow) -> Result<Bytes, ConnectorError> {
        self.plan.encode(row, &mut self.arena)?;
        if self.arena.len() > self.limit {
            return Err(ConnectorError::TooLarge { limit: self.limit });
        }
        Ok(self.arena.split().freeze())
    }
}

/// Runs the statement and encodes its rows, a batch at a time.
async fn pump(
    mut lease: Lease,
    sql: Arc<str>,
    arguments: SqliteArguments,
    mut encoding: Encoding,
    batch: Arc<Batch>,
) -> Result<(), ConnectorError> {
    let result = {
        let mut rows = lease.connection()?.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments));
        loop {
            match rows.next().await {
                Some(Ok(Either::Right(row))) => {
                    if batch.push(encoding.row(&row)?) {
                        // The reader takes the batch and polls again when it wants more.
                        pause().await;
                    }
                }
                // The statement's own end; the stream ends after it.
                Some(Ok(Either::Left(_))) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        }
    };
    match result {
        Ok(()) => {
            lease.finish();
            Ok(())
        }
        Err(sqlx::Error::WorkerCrashed) => {
            lease.discard();
            Err(ConnectorError::Failed { why: Failure::Internal })
        }
        Err(error) => {
            // It has ended, by itself or because its guard said so.
            lease.finish();
            Err(failed(&error))
        }
    }
}

fn bound(arguments: Vec<Argument>) -> Result<SqliteArguments, ConnectorError> {
    let mut bound = SqliteArguments::default();
    for argument in arguments {
        let added = match argument {
            Argument::Null => bound.add(None::<i64>),
            Argument::Integer(value) => bound.add(value),
            Argument::Real(value) => bound.add(value),
            Argument::Text(value) => bound.add(value),
            Argument::Blob(value) => bound.add(value),
        };
        added.map_err(|_| ConnectorError::Failed { why: Failure::Limit })?;
    }
    Ok(bound)
}

/// Waits until it is polled once more. Whoever polls does so without being woken.
async fn pause() {
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
struct Batch(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Batch {
    /// Adds a message, and says whether that is enough for now.
    fn push(&self, message: Bytes) -> bool {
        let mut waiting = self.lock();
        waiting.bytes += message.len();
        waiting.messages.push_back(message);
        waiting.messages.len() >= BATCH_ROWS || waiting.bytes >= BATCH_BYTES
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
