//! Lets the server compile the statements of a command, and looks at its table of keys. Nothing is carried out.

use std::sync::Arc;
use std::time::Instant;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::command::{Part, Script};
use super::failures::driver_text;
use super::pool::Pool;
use super::prose::{Described, HEALTH_TIMEOUT, describe, planned};
use crate::ConnectorError;
use crate::sql::command::{make_table, no_table};
use crate::sql::engine::{Fault, PreparedCommand};
use crate::sql::statement::Statement;

/// Whether each key is taken once: an index over the column `key` alone that is unique and whole.
const UNIQUE: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a \
    ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indisvalid \
    AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = 'key')";

/// Prepares the statements of a command.
pub(super) async fn command(
    pool: &Arc<Pool>,
    table: Option<&str>,
    statements: &[Statement],
) -> Result<PreparedCommand, Fault> {
    let table = table.ok_or_else(no_table)?;
    let deadline = Instant::now() + HEALTH_TIMEOUT;
    let unreachable = |error: &ConnectorError| Fault::Keys {
        what: error.to_string(),
        help: "try the database's own shell from this machine".to_owned(),
    };
    let mut connection = pool.beside().await.map_err(|error| unreachable(&error))?;
    let compiling = async {
        look_at(&mut connection, table).await?;
        let mut prepared = (Vec::new(), Vec::new(), Vec::new());
        for (at, statement) in statements.iter().enumerate() {
            let fault = |text| Fault::Statement(at, text);
            let Described { columns, sorts, slots, parameters } =
                describe(&mut connection, statement).await.map_err(fault)?;
            let explained = planned(&mut connection, &statement.sql, &parameters).await;
            explained.map_err(|error| fault(driver_text(&error)))?;
            let names = statement.parameters.iter().map(|name| name.as_str().into()).collect();
            prepared.0 = columns;
            prepared.1.extend(slots);
            prepared.2.push(Part { sql: statement.sql.as_str().into(), names, parameters, sorts });
        }
        Ok(prepared)
    };
    let compiled = tokio::time::timeout_at(deadline.into(), compiling).await;
    let (columns, slots, statements) = compiled.unwrap_or_else(|_| Err(unreachable(&ConnectorError::Timeout)))?;
    let work = Arc::new(Script { pool: Arc::clone(pool), table: table.to_owned(), statements });
    Ok(PreparedCommand { columns, slots, work })
}

/// Tries whether the table of keys is there, takes what it has to, and takes it once.
async fn look_at(connection: &mut PgConnection, table: &str) -> Result<(), Fault> {
    let fault = |what: String| Fault::Keys { what, help: make_table(table) };
    let insert = Statement {
        sql: format!("INSERT INTO {table} (key, exchange) VALUES ($1, $2)"),
        parameters: vec!["key".to_owned(), "exchange".to_owned()],
    };
    let described = describe(connection, &insert).await.map_err(fault)?;
    let explained = planned(connection, &insert.sql, &described.parameters).await;
    explained.map_err(|error| fault(driver_text(&error)))?;
    let unique = sqlx::query(AssertSqlSafe(UNIQUE)).persistent(false).bind(table).fetch_one(connection).await;
    let unique: bool = unique.and_then(|row| row.try_get(0)).map_err(|error| fault(driver_text(&error)))?;
    if unique { Ok(()) } else { Err(fault(format!("`{table}` does not take each `key` once"))) }
}
