//! What SQLite has of its own: how it is opened, described, asked and stopped.
//!
//! A statement runs on the connection's own thread, which the driver keeps. Two things stop it: its rows are not taken, then
//! the thread waits; or its guard says so, which SQLite asks every [`guard::STEPS`] instructions.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, ConnectOptions, Executor, Row as _, SqlSafeStr, Statement as _, ValueRef};

use crate::error::Rule;
use crate::sql::cell::{Cell, Class, Column, Slot};
use crate::sql::command::{make_table, no_table};
use crate::sql::engine::{Engine, Fault, Pace, Prepared, PreparedCommand, Question, Run};
use crate::sql::plan;
use crate::sql::rows::Rows;
use crate::sql::statement::Statement;
use crate::sql::turns::Turns;
use crate::{Asker, ConnectorError, Failure, Misfit};

pub(crate) use pool::Pool;

mod command;
mod guard;
mod pool;
mod rows;

/// How long a statement waits for a database that another program holds, unless configured.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections, unless configured.
const CONNECTIONS: u16 = 4;

/// How many rows the driver may make before the first is taken.
///
/// With a batch of [`Rows`] it bounds what a stream holds in memory, whatever its length.
const ROWS_AHEAD: usize = 64;

/// Reads the schema.
const SCHEMA: &str = "SELECT count(*) FROM sqlite_schema";

/// Whether each key is taken once: `key` is the table's primary key alone, or has an index of its own that is unique and whole.
const UNIQUE: &str = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) GROUP BY 1 = 1 \
    HAVING sum(pk > 0) = 1 AND sum(name = 'key' AND pk = 1) = 1) \
    OR EXISTS (SELECT 1 FROM pragma_index_list(?1) AS i WHERE i.\"unique\" = 1 AND i.partial = 0 \
    AND (SELECT group_concat(name) FROM pragma_index_info(i.name)) = 'key')";

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
        let example =
            "write it as in `sqlite:legacy.db`, `sqlite:///srv/legacy.db` or `postgres://role@host:5432/database`";
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
    pool: Arc<Pool>,
    /// The one connection that may write, and the table of keys, where commands may be carried out.
    commands: Option<(Arc<Pool>, String)>,
}

impl Database {
    /// Makes the pool. Nothing is opened yet.
    pub(crate) fn new(
        url: DatabaseUrl,
        (connections, patience): (Option<u16>, Option<Duration>),
        lock_timeout: Option<Duration>,
        commands: Option<String>,
    ) -> Self {
        // The driver keeps milliseconds in an i32.
        let lock_timeout = lock_timeout.unwrap_or(LOCK_TIMEOUT).min(Duration::from_hours(1));
        let options = url.options.busy_timeout(lock_timeout);
        let connections = usize::from(connections.unwrap_or(CONNECTIONS).max(1));
        let writer = options.clone().read_only(false).pragma("query_only", "OFF");
        let commands =
            commands.map(|table| (Arc::new(Pool::new(writer, url.file.clone(), Turns::new(1, patience))), table));
        Self { pool: Arc::new(Pool::new(options, url.file, Turns::new(connections, patience))), commands }
    }

    /// Returns the connections.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn prepare_work(&self, statements: &[Statement]) -> Result<PreparedCommand, Fault> {
        let (pool, table) = self.commands.as_ref().ok_or_else(no_table)?;
        self.look_at(table).await.map_err(|what| Fault::Keys { what, help: make_table(table) })?;
        let mut columns = Vec::new();
        for (at, statement) in statements.iter().enumerate() {
            columns = self.describe(statement, true).await.map_err(|text| Fault::Statement(at, text))?;
        }
        let script = command::Script {
            pool: Arc::clone(pool),
            table: table.clone(),
            statements: statements.iter().map(|statement| statement.sql.as_str().into()).collect(),
        };
        let slots = statements.iter().flat_map(|statement| &statement.parameters).map(|_| Slot::anything()).collect();
        Ok(PreparedCommand { columns, slots, work: Arc::new(script) })
    }

    /// Tries whether the table of keys is there, takes what it has to, and takes it once.
    async fn look_at(&self, table: &str) -> Result<(), String> {
        let sql = format!("INSERT INTO {table} (key, exchange) VALUES (?1, ?2)");
        self.describe(&Statement { sql, parameters: Vec::new() }, true).await?;
        let deadline = Instant::now() + HEALTH_TIMEOUT;
        let mut lease = self
            .pool
            .lease(Some(deadline), (&Asker::default(), Pace::Whole))
            .await
            .map_err(|error| error.to_string())?;
        let connection = lease.connection().map_err(|error| error.to_string())?;
        let name = table.rsplit('.').next().unwrap_or(table);
        let row = sqlx::query(UNIQUE).bind(name).fetch_one(connection).await.map_err(|error| driver_text(&error))?;
        lease.finish();
        let unique: bool = row.try_get(0).map_err(|error| driver_text(&error))?;
        if unique { Ok(()) } else { Err(format!("`{table}` does not take each `key` once")) }
    }

    /// Returns what the statement's columns are. Only one of a command may write.
    async fn describe(&self, statement: &Statement, command: bool) -> Result<Vec<Column>, String> {
        let deadline = Instant::now() + HEALTH_TIMEOUT;
        let mut lease = self
            .pool
            .lease(Some(deadline), (&Asker::default(), Pace::Whole))
            .await
            .map_err(|error| error.to_string())?;
        let connection = lease.connection().map_err(|error| error.to_string())?;
        let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
        let prepared = connection.prepare(sql).await.map_err(|error| driver_text(&error))?;
        let mut columns = Vec::new();
        for column in prepared.columns() {
            let declared = match column.origin().table_column() {
                Some(origin) => declared_type(connection, &origin.table, &origin.name).await,
                None => None,
            };
            let class = declared.as_deref().map_or(Class::Unknown, class);
            let declared = declared.filter(|declared| !declared.is_empty());
            columns.push(Column::new(column.name(), declared, class));
        }
        if !command && writes(connection, statement).await? {
            return Err(Failure::ReadOnly.to_string());
        }
        lease.finish();
        Ok(columns)
    }
}

impl Engine for Database {
    /// Opens the file and reads its schema. The connection that may write comes first: it takes back what a transaction left that was
    /// killed in its midst, which one that only reads cannot.
    fn probe(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async {
            if let Some((writer, _)) = &self.commands {
                attempt(writer, vec![SCHEMA.to_owned()]).await?;
            }
            attempt(&self.pool, vec![SCHEMA.to_owned()]).await
        })
    }

    fn cure(&self, _: &ConnectorError) -> String {
        "check the path, which is relative to this file, and that the gateway may read it".into()
    }

    fn dangerous_plaintext(&self) -> bool {
        false
    }

    fn prepare<'s>(&'s self, statement: &'s Statement) -> BoxFuture<'s, Result<Prepared, String>> {
        Box::pin(async move {
            let columns = self.describe(statement, false).await?;
            let run = Prose { pool: Arc::clone(&self.pool), sql: statement.sql.as_str().into() };
            Ok(Prepared { columns, slots: Vec::new(), run: Arc::new(run) })
        })
    }

    fn prepare_command<'s>(&'s self, statements: &'s [Statement]) -> BoxFuture<'s, Result<PreparedCommand, Fault>> {
        Box::pin(self.prepare_work(statements))
    }
}

/// A statement. The driver compiles its text once on each connection.
#[derive(Debug)]
struct Prose {
    pool: Arc<Pool>,
    sql: Arc<str>,
}

impl Run for Prose {
    fn start(&self, question: Question) -> BoxFuture<'_, Result<Rows, ConnectorError>> {
        Box::pin(rows::start(&self.pool, Arc::clone(&self.sql), question))
    }

    /// Reads the database's schema, and lets SQLite compile the statement once more.
    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(attempt(&self.pool, vec![SCHEMA.to_owned(), format!("EXPLAIN {}", self.sql)]))
    }
}

/// Runs statements for what they say about the database. Without arguments SQLite takes every parameter for `NULL`.
async fn attempt(pool: &Pool, statements: Vec<String>) -> Result<(), ConnectorError> {
    let deadline = Instant::now() + HEALTH_TIMEOUT;
    let run = async {
        let mut connection = pool.beside(deadline).await?;
        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    };
    tokio::time::timeout_at(deadline.into(), run).await.unwrap_or(Err(ConnectorError::Timeout))
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
            Some(b'T') => decode(value).map_or(Cell::Unfit { stored: "text", why: Misfit::NotUtf8 }, Cell::Text),
            _ => decode(value).map_or(Cell::Null, Cell::Blob),
        }
    }

    fn elements(&self, _: usize) -> impl Iterator<Item = Cell<'_>> {
        std::iter::empty()
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
        7 | 13 => Failure::Resources,
        18 => Failure::Limit,
        19 => return ConnectorError::Forbidden { rule: rule(code), name: None },
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

/// Which rule a violated constraint is, by its extended code.
fn rule(code: i32) -> Rule {
    match code >> 8 {
        // CHECK; FOREIGN KEY; NOT NULL; PRIMARY KEY, UNIQUE and the row's number.
        1 => Rule::Check,
        3 => Rule::Reference,
        5 => Rule::NotNull,
        6 | 8 | 10 => Rule::Unique,
        _ => Rule::Other,
    }
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
