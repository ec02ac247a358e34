//! Carries out the statements of a command in one transaction of PostgreSQL.
//!
//! What became of a commit whose answer is lost the table of keys says: to put the key there once more waits for the end of the
//! transaction that did so first, and then succeeds or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor};

use super::bind::Parameter;
use super::failures::failed;
use super::pool::{Lease, Pool, in_time};
use super::prose::{HEALTH_TIMEOUT, blamed, bound, planned};
use super::run::fits;
use super::types::Sort;
use super::values::Typed;
use crate::sql::cell::Argument;
use crate::sql::engine::{Order, Pace, Work};
use crate::{CommandId, ConnectorError, Failure};

/// How long the answer to a commit is waited for, and how long it is then asked what became of it.
const LONGEST_COMMIT: Duration = Duration::from_secs(5);

/// Between two times of asking.
const PAUSE: Duration = Duration::from_millis(100);

/// The statements of one command.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) pool: Arc<Pool>,
    /// The table of keys.
    pub(super) table: String,
    pub(super) statements: Vec<Part>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) sql: Arc<str>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) parameters: Vec<Parameter>,
    /// Of its columns.
    pub(super) sorts: Vec<Sort>,
}

impl Script {
    async fn carry_out(&self, order: Order) -> Result<Bytes, ConnectorError> {
        let deadline = order.deadline;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(ConnectorError::Timeout.rolled_back());
        }
        let mut lease =
            self.pool.lease(deadline, (&order.asker, Pace::Whole)).await.map_err(ConnectorError::rolled_back)?;
        // Until the commit is sent, whatever ends this rolls back: at the latest the server does, when the connection is gone.
        let prepared = Box::pin(in_time(deadline, self.statements(&mut lease, &order))).await;
        let answer = prepared.map_err(ConnectorError::rolled_back)?;
        let committing = async { lease.running()?.execute("COMMIT").await.map_err(|error| lease.failed(&error)) };
        match tokio::time::timeout(LONGEST_COMMIT, committing).await {
            Ok(Ok(_)) => {
                lease.finish();
                Ok(answer)
            }
            lost => {
                drop(lease);
                match self.is_left(&order.id).await {
                    Some(true) => Ok(answer),
                    Some(false) => {
                        let why = lost.ok().and_then(Result::err).unwrap_or(ConnectorError::Timeout);
                        Err(why.rolled_back())
                    }
                    None => Err(ConnectorError::Failed { why: Failure::ConnectionLost }),
                }
            }
        }
    }

    /// Opens the transaction, leaves the key, and runs the statements.
    async fn statements(&self, lease: &mut Lease, order: &Order) -> Result<Bytes, ConnectorError> {
        loop {
            let begun = lease.running()?.execute("BEGIN READ WRITE").await;
            match begun {
                Ok(_) => break,
                // A kept connection may have been gone; nothing was sent on it.
                Err(error) => {
                    let error = lease.failed(&error);
                    if !lease.renewed(order.deadline).await? {
                        return Err(error);
                    }
                }
            }
        }
        lease.rest();
        if let Err(error) = leave_key(lease.running()?, &self.table, &order.id).await {
            let unique = error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
            let error = lease.failed(&error);
            return Err(if unique { ConnectorError::AlreadyDone } else { error });
        }
        lease.rest();
        let (mut rows, mut sorts) = (Vec::new(), &[][..]);
        for (part, arguments) in self.statements.iter().zip(&order.arguments) {
            rows = match part.run(lease, arguments).await {
                Ok(rows) => rows,
                Err(error) => return Err(part.blamed(&self.pool, arguments, error).await),
            };
            sorts = &part.sorts;
            lease.rest();
        }
        let rows: Vec<_> = rows.iter().map(|row| Typed { row, sorts }).collect();
        order.reply.of(&rows)
    }

    /// Whether the key of a command whose commit has no answer is there. `None` where the server does not say in time.
    async fn is_left(&self, id: &CommandId) -> Option<bool> {
        let asking = async {
            loop {
                if let Ok(mut connection) = self.pool.beside().await
                    && let Some(said) = self.probe(&mut connection, id).await
                {
                    return said;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(LONGEST_COMMIT, asking).await.ok()
    }

    async fn probe(&self, connection: &mut PgConnection, id: &CommandId) -> Option<bool> {
        let wait = format!("SET lock_timeout = {}", LONGEST_COMMIT.as_millis());
        connection.execute(AssertSqlSafe(wait)).await.ok()?;
        connection.execute("BEGIN READ WRITE").await.ok()?;
        let left = match leave_key(connection, &self.table, id).await {
            Ok(()) => Some(false),
            Err(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) => {
                Some(true)
            }
            Err(_) => None,
        };
        connection.execute("ROLLBACK").await.ok()?;
        left
    }

    async fn try_out(&self) -> Result<(), ConnectorError> {
        let mut connection = self.pool.beside().await?;
        for part in &self.statements {
            planned(&mut connection, &part.sql, &part.parameters).await.map_err(|error| failed(&error).0)?;
        }
        connection.close().await.map_err(|error| failed(&error).0)
    }
}

impl Part {
    async fn blamed(&self, pool: &Pool, arguments: &[Argument], error: ConnectorError) -> ConnectorError {
        blamed(pool, &self.sql, bound(&self.parameters, &self.names, arguments), error).await
    }

    /// Runs the statement to its end, and returns its rows.
    async fn run(&self, lease: &mut Lease, arguments: &[Argument]) -> Result<Vec<PgRow>, ConnectorError> {
        let arguments = bound(&self.parameters, &self.names, arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&self.sql)), arguments);
        let mut rows = Vec::new();
        let failure = {
            let mut steps = lease.running()?.fetch_many(query);
            loop {
                match steps.next().await {
                    Some(Ok(Either::Right(row))) => rows.push(row),
                    Some(Ok(Either::Left(_))) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            }
        };
        if let Some(error) = failure {
            return Err(lease.failed(&error));
        }
        if rows.first().is_some_and(|row| !fits(row, &self.sorts)) {
            // The statement has ended: a rollback is all that is left to do.
            lease.rest();
            return Err(ConnectorError::Failed { why: Failure::SchemaChanged });
        }
        Ok(rows)
    }
}

impl Work for Script {
    fn carry_out(&self, order: Order) -> BoxFuture<'_, Result<Bytes, ConnectorError>> {
        Box::pin(Script::carry_out(self, order))
    }

    fn remembers(&self, id: CommandId) -> BoxFuture<'_, Result<bool, ConnectorError>> {
        Box::pin(async move { self.is_left(&id).await.ok_or(ConnectorError::Timeout) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async {
            tokio::time::timeout(HEALTH_TIMEOUT, self.try_out()).await.unwrap_or(Err(ConnectorError::Timeout))
        })
    }
}

async fn leave_key(connection: &mut PgConnection, table: &str, id: &CommandId) -> Result<(), sqlx::Error> {
    let sql = format!("INSERT INTO {table} (key, exchange) VALUES ($1, $2)");
    let insert = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(&id.key).bind(&id.exchange);
    connection.execute(insert).await.map(drop)
}
