//! Runs one statement of SQLite. Its own thread waits when the channel of its rows is full.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, Either, Executor};

use super::failed;
use super::pool::{Lease, Pool};
use crate::sql::cell::Argument;
use crate::sql::engine::Question;
use crate::sql::rows::{BATCH_BYTES, BATCH_ROWS, Batch, Encoding, Rows, pause};
use crate::{ConnectorError, Failure};

/// Takes a connection and starts the statement.
///
/// # Errors
///
/// Those of [`Pool::lease`], and arguments that SQLite does not take.
pub(super) async fn start(pool: &Pool, sql: Arc<str>, mut question: Question) -> Result<Rows, ConnectorError> {
    let deadline = question.deadline;
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(ConnectorError::Timeout);
    }
    let encoding = Encoding::of(&question);
    let arguments = bound(std::mem::take(&mut question.arguments))?;
    let lease = pool.lease(deadline, (&question.asker, question.pace)).await?;
    let (seat, batch) = (lease.seat(&question), Arc::new(Batch::default()));
    let pump = pump(lease, sql, arguments, encoding, Arc::clone(&batch));
    Ok(Rows::of(Box::pin(pump), seat, batch, deadline))
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
                    let (rows, bytes) = batch.push(encoding.row(&row)?);
                    if rows >= BATCH_ROWS || bytes >= BATCH_BYTES {
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

pub(super) fn bound(arguments: Vec<Argument>) -> Result<SqliteArguments, ConnectorError> {
    let mut bound = SqliteArguments::default();
    for argument in arguments {
        let added = match argument {
            // Lists are bound as JSON text, which the form of the parameter has made of them.
            Argument::Null | Argument::List(_) => bound.add(None::<i64>),
            Argument::Bool(value) => bound.add(i64::from(value)),
            Argument::Integer(value) => bound.add(value),
            Argument::Real(value) => bound.add(value),
            Argument::Text(value) => bound.add(value),
            Argument::Blob(value) => bound.add(value),
            Argument::Date { date, .. } => bound.add(date.to_string()),
            Argument::Instant { instant, .. } => bound.add(instant.to_string()),
        };
        added.map_err(|_| ConnectorError::Failed { why: Failure::Limit })?;
    }
    Ok(bound)
}
