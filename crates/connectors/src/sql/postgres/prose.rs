//! One statement that a server has compiled: its text, what it is given and what it gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, Executor, Row as _, SqlSafeStr, Statement as _};

use super::bind::{self, Parameter};
use super::failures::{data_exception, driver_text, failed, unsuited};
use super::pool::Pool;
use super::run;
use super::types::{Known, Sort};
use crate::sql::cell::{Argument, Column, Slot};
use crate::sql::connector::MULTIRANGE;
use crate::sql::engine::{Pace, Prepared, Question, Run};
use crate::sql::rows::Rows;
use crate::sql::statement::Statement;
use crate::{Asker, ConnectorError, Failure};

/// How long the health check waits.
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// A compiled statement.
#[derive(Debug)]
pub(super) struct Prose {
    pub(super) pool: Arc<Pool>,
    pub(super) sql: Arc<str>,
    /// Opens the cursor over the statement.
    pub(super) declare: Arc<str>,
    /// The cursor's name, which no other statement has: what a connection remembers of its rows holds for this one alone.
    pub(super) cursor: String,
    names: Vec<Arc<str>>,
    parameters: Vec<Parameter>,
    pub(super) sorts: Vec<Sort>,
}

/// A statement of a connector. The handle that it starts from.
#[derive(Clone, Debug)]
pub(super) struct Compiled(pub(super) Arc<Prose>);

impl Compiled {
    /// Lets the server compile the statement, and say what it would do. The error is for the person who wrote it.
    pub(super) async fn prepare(pool: &Arc<Pool>, statement: &Statement, number: u64) -> Result<Prepared, String> {
        let deadline = Instant::now() + HEALTH_TIMEOUT;
        let mut lease =
            pool.lease(Some(deadline), (&Asker::default(), Pace::Whole)).await.map_err(|error| error.to_string())?;
        let connection = lease.running().map_err(|error| error.to_string())?;
        let compiling = async {
            // What the connection remembers of the statement may be older than its tables are.
            connection.clear_cached_statements().await.map_err(|error| driver_text(&error))?;
            let described = describe(connection, statement).await?;
            if described.columns.is_empty() {
                return Err("it returns no columns".to_owned());
            }
            explain(connection, &statement.sql, &described.parameters).await.map_err(|error| match error {
                Explained::Error(error) => driver_text(&error),
                Explained::Writes => Failure::ReadOnly.to_string(),
            })?;
            Ok(described)
        };
        let compiled = tokio::time::timeout_at(deadline.into(), compiling);
        let Described { columns, sorts, slots, parameters } =
            compiled.await.map_err(|_| ConnectorError::Timeout.to_string())??;
        lease.finish();
        let cursor = format!("drawbridge_{number}");
        let prose = Prose {
            pool: Arc::clone(pool),
            sql: statement.sql.as_str().into(),
            declare: format!("DECLARE {cursor} NO SCROLL CURSOR FOR {}", statement.sql).into(),
            cursor,
            names: statement.parameters.iter().map(|name| name.as_str().into()).collect(),
            parameters,
            sorts,
        };
        Ok(Prepared { columns, slots, run: Arc::new(Self(Arc::new(prose))) })
    }
}

impl Prose {
    /// Writes the arguments in the types of the statement's parameters.
    pub(super) fn bound(&self, arguments: &[Argument]) -> Result<PgArguments, ConnectorError> {
        bound(&self.parameters, &self.names, arguments)
    }
}

/// Says of a statement that failed whether the request is to blame for it: then the server comes upon the same when it only plans the
/// statement with these arguments, where it calculates what follows from them alone and reads no row.
pub(super) async fn blamed(
    pool: &Pool,
    sql: &str,
    arguments: Result<PgArguments, ConnectorError>,
    error: ConnectorError,
) -> ConnectorError {
    let (Some(state), Ok(arguments)) = (data_exception(&error), arguments) else { return error };
    let planning = Box::pin(async {
        let mut connection = pool.beside().await.ok()?;
        let explain = AssertSqlSafe(format!("EXPLAIN {sql}"));
        connection.execute(sqlx::query_with(explain, arguments).persistent(false)).await.err()
    });
    let planned = tokio::time::timeout(HEALTH_TIMEOUT, planning).await.ok().flatten();
    let same = planned.is_some_and(|planned| data_exception(&failed(&planned).0) == Some(state));
    if same { unsuited(state) } else { error }
}

/// Writes arguments in the types of a statement's parameters, which have these names.
pub(super) fn bound(
    parameters: &[Parameter],
    names: &[Arc<str>],
    arguments: &[Argument],
) -> Result<PgArguments, ConnectorError> {
    bind::bound(parameters, arguments).map_err(|(at, why)| match names.get(at) {
        Some(name) => ConnectorError::Argument { parameter: Arc::clone(name), why },
        None => ConnectorError::Failed { why: Failure::Internal },
    })
}

/// What the server says of a statement.
pub(super) struct Described {
    pub(super) columns: Vec<Column>,
    pub(super) sorts: Vec<Sort>,
    pub(super) slots: Vec<Slot>,
    pub(super) parameters: Vec<Parameter>,
}

/// Lets the server compile a statement. The error is for the person who wrote it.
pub(super) async fn describe(connection: &mut PgConnection, statement: &Statement) -> Result<Described, String> {
    let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
    let compiled = connection.prepare(sql).await.map_err(|error| undescribed(&error))?;
    let (mut columns, mut sorts) = (Vec::new(), Vec::new());
    for column in compiled.columns() {
        let known = Known::of(column.type_info());
        columns.push(known.column(column.name(), column.type_info()));
        sorts.push(known.sort);
    }
    let (mut slots, mut parameters) = (Vec::new(), Vec::new());
    if let Some(Either::Left(types)) = compiled.parameters() {
        for info in types {
            slots.push(Known::of(info).slot(info));
            parameters.push(Parameter::of(info));
        }
    }
    Ok(Described { columns, sorts, slots, parameters })
}

/// Lets the server plan a statement that may write; nothing is carried out.
pub(super) async fn planned(
    connection: &mut PgConnection,
    sql: &str,
    parameters: &[Parameter],
) -> Result<(), sqlx::Error> {
    match explain(connection, sql, parameters).await {
        Ok(()) | Err(Explained::Writes) => Ok(()),
        Err(Explained::Error(error)) => Err(error),
    }
}

impl Run for Compiled {
    fn start(&self, question: Question) -> BoxFuture<'_, Result<Rows, ConnectorError>> {
        Box::pin(run::start(&self.0, question))
    }

    /// Opens a connection, and lets the server plan the statement once more.
    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        let prose = Arc::clone(&self.0);
        let attempt = async move {
            let mut connection = prose.pool.beside().await?;
            explain(&mut connection, &prose.sql, &prose.parameters).await.map_err(|error| match error {
                Explained::Error(error) => failed(&error).0,
                Explained::Writes => ConnectorError::Failed { why: Failure::ReadOnly },
            })
        };
        Box::pin(
            async move { tokio::time::timeout(HEALTH_TIMEOUT, attempt).await.unwrap_or(Err(ConnectorError::Timeout)) },
        )
    }
}

/// Why a plan is no good.
enum Explained {
    Error(sqlx::Error),
    /// It would write, or lock rows to write them.
    Writes,
}

/// Lets the server plan a statement, which also looks after the role's rights.
async fn explain(connection: &mut PgConnection, sql: &str, parameters: &[Parameter]) -> Result<(), Explained> {
    let sql = AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) {sql}"));
    let query = sqlx::query_with(sql, bind::nulls(parameters)).persistent(false);
    let row = match connection.fetch_one(query).await {
        Ok(row) => row,
        // Calculating with nulls, the planner may come upon what no question does: a division, a cast. That is not the plan's fault.
        Err(error) if data_exception(&failed(&error).0).is_some() => return Ok(()),
        Err(error) => return Err(Explained::Error(error)),
    };
    let plan = row.try_get_raw(0).map_err(Explained::Error)?;
    let plan = plan.as_str().unwrap_or_default();
    let writes = ["ModifyTable", "LockRows"].iter().any(|node| plan.contains(&format!("\"Node Type\": \"{node}\"")));
    if writes { Err(Explained::Writes) } else { Ok(()) }
}

/// What the driver says of a type that it does not know, with the type's kind: `m` is that of multiranges.
///
/// Source: <https://www.postgresql.org/docs/current/catalog-pg-type.html>, `typtype`.
const UNKNOWN_KIND: &str = "unknown type code 109";

/// Says why a statement cannot be described.
fn undescribed(error: &sqlx::Error) -> String {
    let text = driver_text(error);
    if text.contains(UNKNOWN_KIND) { MULTIRANGE.to_owned() } else { text }
}
