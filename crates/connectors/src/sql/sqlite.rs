//! What SQLite has of its own: how it is opened, described, asked and stopped.
//!
//! A statement runs on the connection's own thread, which the driver keeps. Two things stop it: its rows are not taken, then
//! the thread waits; or its guard says so, which SQLite asks every [`guard::STEPS`] instructions.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions, Executor, Row as _, SqlSafeStr, Statement as _, ValueRef};

use crate::sql::cell::{Cell, Class, Column};
use crate::sql::plan;
use crate::sql::statement::Statement;
use crate::{ConnectorError, Failure};

pub(crate) use pool::Pool;
pub(crate) use rows::{Query, Rows};

mod guard;
mod pool;
mod rows;

/// How long a statement waits for a database that another program holds, unless configured.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections, unless configured.
const CONNECTIONS: u16 = 4;

/// How many rows the driver may make before the first is taken.
///
/// With the batch of [`rows`] it bounds what a stream holds in memory, whatever its length.
const ROWS_AHEAD: usize = 64;

/// How long the health check waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a database is.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseUrl {
    options: SqliteConnectOptions,
    file: PathBuf,
}

impl DatabaseUrl {
    /// Reads `sqlite:file.db`. The error is what is wrong and how to mend it.
    pub(crate) fn parse(url: &str, folder: &Path) -> Result<Self, (String, String)> {
        let example = "write it as in `sqlite:legacy.db` or `sqlite:///srv/legacy.db`";
        let Some(rest) = url.strip_prefix("sqlite:") else {
            let scheme = url.split(':').next().unwrap_or_default();
            return Err((format!("`{scheme}` is not a database that the gateway knows"), example.into()));
        };
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        if path == ":memory:" || options.split('&').any(|option| option.starts_with("mode=")) {
            return Err((
                "the gateway opens a database file to read, whatever its URL says".into(),
                "leave `mode` and `:memory:` out".into(),
            ));
        }
        if path.trim_start_matches('/').is_empty() {
            return Err(("the URL names no file".into(), example.into()));
        }
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| (format!("the URL cannot be read: {error}"), example.into()))?;
        let file = folder.join(options.get_filename());
        let options = options
            .filename(&file)
            .read_only(true)
            .create_if_missing(false)
            .pragma("query_only", "ON")
            .row_buffer_size(ROWS_AHEAD)
            .statement_cache_capacity(256)
            .thread_name(|number| format!("sqlite-{number}"))
            // The driver would log statements; the gateway has its own log.
            .disable_statement_logging();
        Ok(Self { options, file })
    }
}

/// One database and its connections.
#[derive(Debug)]
pub(crate) struct Database {
    pool: Pool,
}

impl Database {
    /// Makes the pool. Nothing is opened yet.
    pub(crate) fn new(url: DatabaseUrl, connections: Option<u16>, lock_timeout: Option<Duration>) -> Self {
        // The driver keeps milliseconds in an i32.
        let lock_timeout = lock_timeout.unwrap_or(LOCK_TIMEOUT).min(Duration::from_hours(1));
        let options = url.options.busy_timeout(lock_timeout);
        Self { pool: Pool::new(options, url.file, usize::from(connections.unwrap_or(CONNECTIONS).max(1))) }
    }

    /// Returns the connections.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Opens the file and reads its schema.
    pub(crate) async fn probe(&self) -> Result<(), ConnectorError> {
        self.run(&["SELECT count(*) FROM sqlite_schema".to_owned()]).await
    }

    /// Returns what the statement's columns are.
    ///
    /// The error is for the person who wrote the statement. Nothing is bound, so the driver's text holds no data.
    pub(crate) async fn describe(&self, statement: &Statement) -> Result<Vec<Column>, String> {
        let deadline = Instant::now() + HEALTH_TIMEOUT;
        let mut lease = self.pool.lease(Some(deadline)).await.map_err(|error| error.to_string())?;
        let connection = lease.connection().map_err(|error| error.to_string())?;
        let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
        let prepared = connection.prepare(sql).await.map_err(|error| driver_text(&error))?;
        let mut columns = Vec::new();
        for column in prepared.columns() {
            let declared = match column.origin().table_column() {
                Some(origin) => declared_type(connection, &origin.table, &origin.name).await,
                None => None,
            };
            columns.push(Column {
                name: column.name().into(),
                class: declared.as_deref().map_or(Class::Unknown, class),
                declared: declared.filter(|declared| !declared.is_empty()),
            });
        }
        if writes(connection, statement).await? {
            return Err(Failure::ReadOnly.to_string());
        }
        lease.finish();
        Ok(columns)
    }

    /// Reads the database's schema, and lets SQLite compile the statement once more.
    pub(crate) async fn health(&self, statement: &Statement) -> Result<(), ConnectorError> {
        self.run(&["SELECT count(*) FROM sqlite_schema".to_owned(), format!("EXPLAIN {}", statement.sql)]).await
    }

    /// Runs statements for what they say about the database, on a connection of their own: that questions take all others
    /// is no ill health. Without arguments SQLite takes every parameter for `NULL`.
    async fn run(&self, statements: &[String]) -> Result<(), ConnectorError> {
        let deadline = Instant::now() + HEALTH_TIMEOUT;
        let run = async {
            let mut connection = self.pool.beside(deadline).await?;
            for statement in statements {
                sqlx::raw_sql(AssertSqlSafe(statement.clone()))
                    .execute(&mut connection)
                    .await
                    .map_err(|error| failed(&error))?;
            }
            Ok(())
        };
        tokio::time::timeout_at(deadline.into(), run).await.unwrap_or(Err(ConnectorError::Timeout))
    }
}

impl plan::Row for SqliteRow {
    fn cell(&self, column: usize) -> Cell<'_> {
        let Ok(value) = self.try_get_raw(column) else {
            return Cell::Null;
        };
        if value.is_null() {
            return Cell::Null;
        }
        let type_info = value.type_info();
        let name = sqlx::TypeInfo::name(type_info.as_ref());
        match name.as_bytes().first() {
            Some(b'I') => decode(value).map_or(Cell::Null, Cell::Integer),
            Some(b'R') => decode(value).map_or(Cell::Null, Cell::Real),
            Some(b'T') => decode(value).map_or(Cell::Garbled, Cell::Text),
            _ => decode(value).map_or(Cell::Null, Cell::Blob),
        }
    }
}

fn decode<'r, T: sqlx::Decode<'r, sqlx::Sqlite>>(value: sqlx::sqlite::SqliteValueRef<'r>) -> Option<T> {
    T::decode(value).ok()
}

/// The type of a table's column in the words of `CREATE TABLE`.
async fn declared_type(connection: &mut sqlx::SqliteConnection, table: &str, column: &str) -> Option<String> {
    let sql = "SELECT type FROM pragma_table_xinfo(?1) WHERE name = ?2";
    let row = sqlx::query(sql).bind(table).bind(column).fetch_optional(&mut *connection).await;
    match row {
        Ok(Some(row)) => row.try_get(0).ok(),
        // The row's number, which every ordinary table has without declaring it.
        Ok(None) if ["rowid", "oid", "_rowid_"].contains(&column.to_ascii_lowercase().as_str()) => {
            Some("INTEGER".into())
        }
        Ok(None) | Err(_) => None,
    }
}

/// Source: <https://www.sqlite.org/datatype3.html>, section 3.1.
fn class(declared: &str) -> Class {
    let declared = declared.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    if declared.is_empty() || declared == "ANY" {
        Class::Unknown
    } else if has("INT") {
        Class::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Class::Text
    } else if has("BLOB") {
        Class::Blob
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Class::Real
    } else {
        Class::Numeric
    }
}

/// Whether running the statement would begin to write.
async fn writes(connection: &mut sqlx::SqliteConnection, statement: &Statement) -> Result<bool, String> {
    let sql = format!("EXPLAIN {}", statement.sql);
    let program = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(|error| driver_text(&error))?;
    Ok(program.iter().any(|step| {
        // `Transaction P1 P2`: P2 is not nought for one that writes. Source: <https://www.sqlite.org/opcode.html>.
        step.try_get::<&str, _>("opcode").is_ok_and(|opcode| opcode == "Transaction")
            && step.try_get::<i64, _>("p2").is_ok_and(|p2| p2 != 0)
    }))
}

/// The driver's own text, for statements that were run without data only.
fn driver_text(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |database| database.message().to_owned())
}

/// Says what failed without the driver's text, which may hold data.
///
/// Source of the codes: <https://www.sqlite.org/rescode.html>.
pub(crate) fn failed(error: &sqlx::Error) -> ConnectorError {
    let sqlx::Error::Database(database) = error else {
        return ConnectorError::Failed { why: Failure::Internal };
    };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let why = match code & 0xff {
        1 => match database.message() {
            "integer overflow" => Failure::Overflow,
            "malformed JSON" => Failure::Json,
            message if message.starts_with("no such ") => Failure::SchemaChanged,
            _ => Failure::Statement { code },
        },
        3 | 23 => {
            return ConnectorError::Credentials { why: "the database does not permit it".into() };
        }
        5 | 6 => Failure::Locked,
        7 | 13 | 18 => Failure::Limit,
        8 => Failure::ReadOnly,
        9 => return ConnectorError::Cancelled,
        10 => Failure::Storage,
        11 => Failure::Damaged,
        14 => {
            return ConnectorError::Unreachable { why: "the database file cannot be opened".into() };
        }
        17 => Failure::SchemaChanged,
        26 => {
            return ConnectorError::Credentials { why: "the file is encrypted, or is no SQLite database".into() };
        }
        _ => Failure::Statement { code },
    };
    ConnectorError::Failed { why }
}

/// Says why a file cannot be opened, more closely than SQLite does.
fn cannot_open(file: &Path, error: &sqlx::Error) -> ConnectorError {
    match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            ConnectorError::Credentials { why: "the gateway may not read the database file".into() }
        }
        Err(error) => {
            ConnectorError::Unreachable { why: format!("the database file cannot be opened: {}", error.kind()).into() }
        }
        Ok(_) => failed(error),
    }
}
