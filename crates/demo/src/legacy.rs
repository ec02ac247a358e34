//! Builds the three legacy systems: databases as a supplier left them thirty years ago, filled from the public data.
//!
//! Their schemas (`members/*/legacy.sql`) are not shaped for a gateway: terse names, codes, padded keys, dates as text, blanks
//! for "none". What it takes to serve them is in the bindings.

mod council;
mod police;
mod trust;

use std::path::Path;

use sqlx::{
    AssertSqlSafe, Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions, sqlite::SqliteSynchronous,
};

use crate::data::DataError;

pub use {council::build as council, police::build as police, trust::build as trust};

/// Why a legacy system could not be built.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// An embedded file is not as expected.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An embedded row holds something that the legacy schema has no place for.
    #[error("the public data holds `{value}`, which the column {column} has no code for")]
    Code {
        /// The legacy column.
        column: &'static str,
        /// What the public data says.
        value: String,
    },
    /// The database refused.
    #[error("cannot build the legacy database")]
    Database(#[from] sqlx::Error),
}

/// A value of a legacy column.
enum Cell {
    Null,
    Number(i64),
    Text(String),
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// A database being filled, in one transaction.
struct Load {
    connection: SqliteConnection,
}

impl Load {
    /// Makes the file with `schema`. A file that is there already is an error: nothing is ever overwritten.
    async fn begin(file: &Path, schema: &'static str) -> Result<Load, LegacyError> {
        if file.exists() {
            let exists = std::io::Error::new(std::io::ErrorKind::AlreadyExists, file.display().to_string());
            return Err(sqlx::Error::Io(exists).into());
        }
        let options =
            SqliteConnectOptions::new().filename(file).create_if_missing(true).synchronous(SqliteSynchronous::Off);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        connection.execute("BEGIN").await?;
        connection.execute(schema).await?;
        Ok(Load { connection })
    }

    async fn row<const N: usize>(&mut self, table: &str, cells: [Cell; N]) -> Result<(), LegacyError> {
        let marks = vec!["?"; N].join(", ");
        let sql = format!("INSERT INTO {table} VALUES ({marks})");
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for cell in cells {
            insert = match cell {
                Cell::Null => insert.bind(None::<String>),
                Cell::Number(number) => insert.bind(number),
                Cell::Text(text) => insert.bind(text),
            };
        }
        insert.execute(&mut self.connection).await?;
        Ok(())
    }

    async fn finish(mut self) -> Result<(), LegacyError> {
        self.connection.execute("COMMIT").await?;
        self.connection.execute("ANALYZE").await?;
        self.connection.close().await?;
        Ok(())
    }
}

/// `2014-10-06` as `20141006`.
fn compact(date: &str) -> String {
    date.replace('-', "")
}

/// `2014-10-06` as `06/10/2014`.
fn slashed(date: &str) -> String {
    date.splitn(3, '-').collect::<Vec<_>>().iter().rev().copied().collect::<Vec<_>>().join("/")
}

/// `2023-01-27T16:17:47Z` as `27/01/2023` and `161747`.
fn slashed_with_time(timestamp: &str) -> (String, String) {
    let (date, time) = timestamp.split_once('T').unwrap_or((timestamp, "00:00:00Z"));
    (slashed(date), time.trim_end_matches('Z').replace(':', ""))
}

/// `text`, or nothing when it is empty.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `217232.0`, as spreadsheets write whole numbers.
fn whole(text: &str) -> Option<i64> {
    text.trim_end_matches(".0").parse().ok()
}

/// The code in `codes` for what the public data says in words.
fn code<'c>(column: &'static str, value: &str, codes: &[(&str, &'c str)]) -> Result<&'c str, LegacyError> {
    let found = codes.iter().find(|(word, _)| *word == value);
    found.map(|(_, code)| *code).ok_or_else(|| LegacyError::Code { column, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_legacy_systems_write_them() {
        assert_eq!(compact("2014-10-06"), "20141006");
        assert_eq!(slashed("2014-10-06"), "06/10/2014");
        assert_eq!(slashed_with_time("2023-01-27T16:17:47Z"), ("27/01/2023".to_owned(), "161747".to_owned()));
    }

    #[test]
    fn a_word_without_a_code_is_named() {
        let error = code("SEX_CD", "X", &[("M", "1")]).unwrap_err();
        assert_eq!(error.to_string(), "the public data holds `X`, which the column SEX_CD has no code for");
    }
}
