//! Carries out the statements of a command in one transaction of SQLite, on the one connection that may write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Either, Executor, Row as _, SqliteConnection};

use super::pool::{Lease, Pool};
use super::rows::bound;
use super::{attempt, failed};
use crate::sql::engine::{Order, Pace, Work};
use crate::{Asker, CommandId, ConnectorError};

/// How long it may take to find out whether a key is there.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The statements of one command.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) pool: Arc<Pool>,
    /// The table of keys.
    pub(super) table: String,
    pub(super) statements: Vec<Arc<str>>,
}

/// A lease in whose transaction something may be left undone: dropped in the middle, its connection is closed, which rolls back.
struct Writing {
    lease: Lease,
    done: bool,
}

impl Writing {
    /// Says that the transaction has ended by itself.
    fn done(mut self) {
        self.lease.finish();
        self.done = true;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.done {
            self.lease.discard();
        }
    }
}

impl Script {
    async fn carry_out(&self, order: Order) -> Result<Bytes, ConnectorError> {
        if order.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(ConnectorError::Timeout.rolled_back());
        }
        let arguments = order.arguments.into_iter().map(bound).collect::<Result<Vec<_>, _>>();
        let arguments = arguments.map_err(ConnectorError::rolled_back)?;
        let lease =
            self.pool.lease(order.deadline, (&order.asker, Pace::Whole)).await.map_err(ConnectorError::rolled_back)?;
        let mut writing = Writing { lease, done: false };
        let connection = writing.lease.connection().map_err(ConnectorError::rolled_back)?;
        let prepared = async {
            run(connection, "BEGIN IMMEDIATE").await?;
            self.leave_key(connection, &order.id).await?;
            let mut rows = Vec::new();
            for (sql, arguments) in self.statements.iter().zip(arguments) {
                rows = all(connection, Arc::clone(sql), arguments).await?;
            }
            order.reply.of(&rows)
        };
        // SQLite's waiting for a lock looks at no deadline.
        let answer = in_time(order.deadline, prepared).await.map_err(|error| late(error).rolled_back())?;
        match run(connection, "COMMIT").await {
            Ok(()) => {
                writing.done();
                Ok(answer)
            }
            Err(error) => {
                // Closed first, which takes back whatever did not become durable.
                drop(writing);
                match self.is_left(&order.id).await {
                    Ok(true) => Ok(answer),
                    Ok(false) => Err(late(error).rolled_back()),
                    Err(_) => Err(error),
                }
            }
        }
    }

    async fn leave_key(&self, connection: &mut SqliteConnection, id: &CommandId) -> Result<(), ConnectorError> {
        let sql = format!("INSERT INTO {} (key, exchange) VALUES (?1, ?2)", self.table);
        let insert = sqlx::query(AssertSqlSafe(sql)).bind(&id.key).bind(&id.exchange);
        match insert.execute(connection).await {
            Ok(_) => Ok(()),
            Err(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) => {
                Err(ConnectorError::AlreadyDone)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Whether the key of a command is there, once nobody else writes: a transaction that leaves it may not have ended yet.
    async fn remembered(&self, id: &CommandId) -> Result<bool, ConnectorError> {
        let deadline = Instant::now().checked_add(LONGEST_LOOK);
        let lease = self.pool.lease(deadline, (&Asker::default(), Pace::Whole)).await?;
        let mut writing = Writing { lease, done: false };
        let connection = writing.lease.connection()?;
        run(connection, "BEGIN IMMEDIATE").await?;
        let left = match self.leave_key(connection, id).await {
            Ok(()) => false,
            Err(ConnectorError::AlreadyDone) => true,
            Err(error) => return Err(error),
        };
        run(connection, "ROLLBACK").await?;
        writing.done();
        Ok(left)
    }

    /// Whether the key of a command is there.
    async fn is_left(&self, id: &CommandId) -> Result<bool, ConnectorError> {
        let mut lease = self.pool.lease(None, (&Asker::default(), Pace::Whole)).await?;
        let sql = format!("SELECT count(*) FROM {} WHERE key = ?1", self.table);
        let row = sqlx::query(AssertSqlSafe(sql)).bind(&id.key).fetch_one(lease.connection()?).await;
        lease.finish();
        let count: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))?;
        Ok(count > 0)
    }
}

impl Work for Script {
    fn carry_out(&self, order: Order) -> BoxFuture<'_, Result<Bytes, ConnectorError>> {
        Box::pin(Script::carry_out(self, order))
    }

    fn remembers(&self, id: CommandId) -> BoxFuture<'_, Result<bool, ConnectorError>> {
        let deadline = Instant::now().checked_add(LONGEST_LOOK);
        Box::pin(async move { in_time(deadline, self.remembered(&id)).await.map_err(late) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        let plans = self.statements.iter().map(|sql| format!("EXPLAIN {sql}")).collect();
        Box::pin(attempt(&self.pool, plans))
    }
}

/// Ends what takes longer than the deadline.
async fn in_time<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, ConnectorError>>,
) -> Result<T, ConnectorError> {
    match deadline {
        None => work.await,
        Some(end) => tokio::time::timeout_at(end.into(), work).await.unwrap_or(Err(ConnectorError::Timeout)),
    }
}

/// What the guard stops is stopped by the deadline: nobody else takes a command back.
fn late(error: ConnectorError) -> ConnectorError {
    if error == ConnectorError::Cancelled { ConnectorError::Timeout } else { error }
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), ConnectorError> {
    connection.execute(sql).await.map(drop).map_err(|error| failed(&error))
}

/// Runs a statement to its end, and returns its rows.
async fn all(
    connection: &mut SqliteConnection,
    sql: Arc<str>,
    arguments: SqliteArguments,
) -> Result<Vec<SqliteRow>, ConnectorError> {
    let mut rows = Vec::new();
    let mut steps = connection.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments));
    while let Some(step) = steps.next().await {
        if let Either::Right(row) = step.map_err(|error| failed(&error))? {
            rows.push(row);
        }
    }
    Ok(rows)
}
