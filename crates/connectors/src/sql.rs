//! Connector kind `sql`: a statement answers a method.
//!
//! What a database has of its own lives behind [`engine`], in one folder per database ([`sqlite`], [`postgres`]); the rest knows
//! columns, cells and arguments only. At prepare a statement becomes a plan, and rows go straight from cells to wire bytes.

use std::path::Path;
use std::sync::Arc;

use crate::config::DatabaseConfig;

pub(crate) use command::SqlCommand;
pub(crate) use config::{Script, SqlBinding};
pub(crate) use connector::SqlConnector;
pub(crate) use engine::Engine;
pub(crate) use statement::Dialect;

mod anew;
mod cell;
mod codes;
mod command;
mod config;
mod connector;
mod encode;
mod engine;
mod healthcheck;
mod moment;
mod number;
mod parameters;
mod plan;
mod point;
mod postgres;
mod rows;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;
mod turns;

/// What is wrong with a table `[database.<name>]`.
#[derive(Debug)]
pub(crate) struct Misconfigured {
    /// The key at fault.
    pub(crate) key: &'static str,
    pub(crate) what: String,
    pub(crate) help: String,
}

impl Misconfigured {
    fn new(key: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { key, what: what.into(), help: help.into() }
    }
}

/// Says whose SQL a database takes. One that the gateway does not know is taken for SQLite's.
pub(crate) fn dialect(config: &DatabaseConfig) -> Dialect {
    if postgres::is_postgres(&config.url) { Dialect::Postgres } else { Dialect::Sqlite }
}

/// Reads the table of a database. Nothing is opened yet.
pub(crate) fn open(config: &DatabaseConfig, folder: &Path) -> Result<Arc<dyn Engine>, Vec<Misconfigured>> {
    if let Some(wrong) = config.commands.as_deref().and_then(command::unfit_table) {
        return Err(vec![wrong]);
    }
    if postgres::is_postgres(&config.url) {
        return Ok(Arc::new(postgres::Database::open(config, folder)?));
    }
    let mut wrong: Vec<_> = [
        ("password_file", config.password_file.is_some()),
        ("ca", config.ca.is_some()),
        ("certificate", config.certificate.is_some()),
        ("key", config.key.is_some()),
        ("dangerous_plaintext", config.dangerous_plaintext.is_some()),
    ]
    .into_iter()
    .filter(|(_, present)| *present)
    .map(|(key, _)| Misconfigured::new(key, format!("a SQLite database has no key `{key}`"), "leave it out"))
    .collect();
    match sqlite::DatabaseUrl::parse(&config.url, folder) {
        Ok(url) if wrong.is_empty() => {
            let lock_timeout = config.lock_timeout.map(crate::Timeout::duration);
            let connections = config.connections.map(std::num::NonZeroU16::get);
            let patience = config.patience.map(crate::Timeout::duration);
            Ok(Arc::new(sqlite::Database::new(url, (connections, patience), lock_timeout, config.commands.clone())))
        }
        Ok(_) => Err(wrong),
        Err((what, help)) => {
            wrong.push(Misconfigured::new("url", what, help));
            Err(wrong)
        }
    }
}
