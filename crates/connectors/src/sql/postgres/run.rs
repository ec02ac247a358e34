//! Runs one statement: for a whole answer at once, for a stream through a cursor of the server.
//!
//! A cursor lets the server rest while the reader does, and between two commands nothing of the answer is on its way, so a reader
//! who leaves costs a rollback only. The first command asks for one row; more are asked for at once as long as they come quickly.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Either, Executor, Row as _, SqlSafeStr as _};

use super::pool::{Lease, in_time};
use super::prose::{Prose, blamed};
use super::types::{Known, Sort};
use super::values::Typed;
use crate::sql::engine::{Pace, Question};
use crate::sql::rows::{BATCH_BYTES, Batch, Encoding, Rows, pause};
use crate::{ConnectorError, Failure};

/// How many rows one command asks for at most.
const MOST_ROWS: usize = 256;

/// Rows that take no longer than this are asked for in larger numbers.
const QUICK: Duration = Duration::from_millis(10);

/// Rows that take longer than this are asked for in smaller numbers.
const SLOW: Duration = Duration::from_millis(100);

/// Takes a connection and starts the statement.
pub(super) async fn start(prose: &Arc<Prose>, question: Question) -> Result<Rows, ConnectorError> {
    let deadline = question.deadline;
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(ConnectorError::Timeout);
    }
    let arguments = prose.bound(&question.arguments)?;
    let mut lease = prose.pool.lease(deadline, (&question.asker, question.pace)).await?;
    let (seat, batch) = (lease.seat(&question), Arc::new(Batch::default()));
    let mut pump =
        Pump { prose: Arc::clone(prose), encoding: Encoding::of(&question), batch: Arc::clone(&batch), checked: false };
    let (blaming, given) = (Arc::clone(prose), arguments.clone());
    let pump = match question.pace {
        Pace::Whole => futures_util::future::Either::Left(async move { pump.whole(lease, arguments, deadline).await }),
        Pace::Pulled => {
            if let Err(error) = in_time(deadline, pump.open(&mut lease, &arguments, deadline)).await {
                drop(lease);
                return Err(blamed(&prose.pool, &prose.sql, Ok(arguments), error).await);
            }
            futures_util::future::Either::Right(async move { pump.pulled(lease).await })
        }
    };
    let pump = async move {
        match pump.await {
            Ok(()) => Ok(()),
            Err(error) => Err(blamed(&blaming.pool, &blaming.sql, Ok(given), error).await),
        }
    };
    Ok(Rows::of(Box::pin(pump), seat, batch, deadline))
}

/// Turns rows into messages.
struct Pump {
    prose: Arc<Prose>,
    encoding: Encoding,
    batch: Arc<Batch>,
    /// Whether the first row had the columns that the plan was made for.
    checked: bool,
}

impl Pump {
    /// Runs the statement by itself.
    async fn whole(
        &mut self,
        mut lease: Lease,
        arguments: PgArguments,
        deadline: Option<Instant>,
    ) -> Result<(), ConnectorError> {
        loop {
            let sql = AssertSqlSafe(Arc::clone(&self.prose.sql));
            match self.rows(&mut lease, sqlx::query_with(sql, arguments.clone())).await {
                Ok(_) => {
                    lease.finish();
                    return Ok(());
                }
                // Only reading is done here, so it may be done again.
                Err(error) if self.checked || !lease.renewed(deadline).await? => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Opens a transaction and the cursor in it.
    async fn open(
        &self,
        lease: &mut Lease,
        arguments: &PgArguments,
        deadline: Option<Instant>,
    ) -> Result<(), ConnectorError> {
        loop {
            match self.declare(lease, arguments.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if !lease.renewed(deadline).await? => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn declare(&self, lease: &mut Lease, arguments: PgArguments) -> Result<(), ConnectorError> {
        // So a connection knows the types of the columns. It asks the server for those that it does not know yet, and with the first
        // FETCH it could not: its questions would take the place of that statement, which has no name.
        let known = lease.running()?.prepare(AssertSqlSafe(Arc::clone(&self.prose.sql)).into_sql_str()).await;
        known.map_err(|error| lease.failed(&error))?;
        let begun = lease.running()?.execute("BEGIN READ ONLY").await.map(drop);
        let declared = match begun {
            Ok(()) => {
                let sql = AssertSqlSafe(Arc::clone(&self.prose.declare));
                lease.running()?.execute(sqlx::query_with(sql, arguments)).await.map(drop)
            }
            Err(error) => Err(error),
        };
        declared.map_err(|error| lease.failed(&error))?;
        lease.rest();
        Ok(())
    }

    /// Fetches from the cursor as the reader pulls.
    async fn pulled(&mut self, mut lease: Lease) -> Result<(), ConnectorError> {
        let mut wanted = 1_usize;
        loop {
            let since = Instant::now();
            let sql = AssertSqlSafe(format!("FETCH {wanted} FROM {}", self.prose.cursor));
            // The first is described anew, so that a table that has changed shows.
            let query = sqlx::query_with(sql, PgArguments::default()).persistent(wanted > 1);
            let got = self.rows(&mut lease, query).await?;
            lease.rest();
            if got < wanted {
                break;
            }
            let took = since.elapsed();
            if self.batch.waits() {
                pause().await;
            }
            if took <= QUICK {
                wanted = (wanted * 4).min(MOST_ROWS);
            } else if took >= SLOW {
                wanted = (wanted / 4).max(1);
            }
        }
        if let Err(error) = lease.running()?.execute("COMMIT").await {
            return Err(lease.failed(&error));
        }
        lease.finish();
        Ok(())
    }

    /// Reads the rows of one command, and says how many there were. The command has ended when this returns no error.
    async fn rows(
        &mut self,
        lease: &mut Lease,
        query: sqlx::query::Query<'_, sqlx::Postgres, PgArguments>,
    ) -> Result<usize, ConnectorError> {
        let mut count = 0;
        let failure = {
            let mut rows = pin!(lease.running()?.fetch_many(query));
            loop {
                match rows.next().await {
                    Some(Ok(Either::Right(row))) => {
                        count += 1;
                        if self.take(&row)? {
                            pause().await;
                        }
                    }
                    Some(Ok(Either::Left(_))) => {}
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            }
        };
        match failure {
            None => Ok(count),
            Some(error) => Err(lease.failed(&error)),
        }
    }

    /// Encodes one row, and says whether the reader should take what there is.
    fn take(&mut self, row: &PgRow) -> Result<bool, ConnectorError> {
        if !self.checked {
            if !fits(row, &self.prose.sorts) {
                return Err(ConnectorError::Failed { why: Failure::SchemaChanged });
            }
            self.checked = true;
        }
        let message = self.encoding.row(&Typed { row, sorts: &self.prose.sorts })?;
        // The rows of one command are few, so their number is no reason to wait in its midst.
        let (_, bytes) = self.batch.push(message);
        Ok(bytes >= BATCH_BYTES)
    }
}

/// Whether the row's columns are of the types that the plan was made for.
pub(super) fn fits(row: &PgRow, sorts: &[Sort]) -> bool {
    let columns = row.columns();
    columns.len() == sorts.len()
        && columns.iter().zip(sorts).all(|(column, sort)| Known::of(column.type_info()).sort == *sort)
}
