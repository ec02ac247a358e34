//! What PostgreSQL has of its own: how it is reached, described, asked and stopped.
//!
//! A session only reads: the role's rights aside, its transactions are read only by default, and a stream's by its own word. Only
//! [`command`] opens transactions that write.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;

use crate::ConnectorError;
use crate::config::DatabaseConfig;
use crate::sql::Misconfigured;
use crate::sql::engine::{Engine, Fault, Prepared, PreparedCommand};
use crate::sql::statement::Statement;
use crate::sql::turns::Turns;

use address::Address;
use pool::Pool;

mod address;
mod bind;
mod command;
mod compile;
mod failures;
mod pool;
mod prose;
mod run;
mod types;
mod values;

/// What the URL of a server begins with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// How long a statement waits for what another holds locked, unless configured.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections, unless configured.
const CONNECTIONS: u16 = 4;

/// Whether a URL is that of a PostgreSQL server.
pub(super) fn is_postgres(url: &str) -> bool {
    SCHEMES.iter().any(|scheme| url.starts_with(scheme))
}

/// One database of a server and its connections.
#[derive(Debug)]
pub(super) struct Database {
    pool: Arc<Pool>,
    /// Counts the statements, each of which has a cursor of its own name.
    statements: AtomicU64,
    /// The table of keys, where commands may be carried out.
    commands: Option<String>,
}

impl Database {
    /// Reads the table, or says everything that is wrong with it. Nothing is opened yet.
    pub(super) fn open(config: &DatabaseConfig, folder: &Path) -> Result<Self, Vec<Misconfigured>> {
        let address = Address::read(config, folder)?;
        // The server keeps milliseconds in an i32.
        let lock_timeout = config.lock_timeout.map_or(LOCK_TIMEOUT, crate::Timeout::duration);
        let connections = config.connections.map_or(CONNECTIONS, std::num::NonZeroU16::get);
        let pool = Pool::new(
            address,
            lock_timeout.min(Duration::from_hours(1)),
            Turns::new(usize::from(connections), config.patience.map(crate::Timeout::duration)),
        );
        Ok(Self { pool: Arc::new(pool), statements: AtomicU64::new(0), commands: config.commands.clone() })
    }
}

impl Engine for Database {
    fn probe(&self) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async {
            tokio::time::timeout(prose::HEALTH_TIMEOUT, self.pool.beside())
                .await
                .unwrap_or(Err(ConnectorError::Timeout))
                .map(drop)
        })
    }

    fn cure(&self, error: &ConnectorError) -> String {
        if matches!(error, ConnectorError::Credentials { .. }) {
            "check the role in `url`, `password_file`, and what the server's `pg_hba.conf` lets in".into()
        } else {
            "start the server, or correct host, port and database in `url`; `ca` names who may have signed its certificate".into()
        }
    }

    fn dangerous_plaintext(&self) -> bool {
        self.pool.address().plaintext
    }

    fn forget(&self) {
        self.pool.forget();
    }

    fn prepare<'s>(&'s self, statement: &'s Statement) -> BoxFuture<'s, Result<Prepared, String>> {
        let number = self.statements.fetch_add(1, Ordering::Relaxed);
        Box::pin(prose::Compiled::prepare(&self.pool, statement, number))
    }

    fn prepare_command<'s>(&'s self, statements: &'s [Statement]) -> BoxFuture<'s, Result<PreparedCommand, Fault>> {
        Box::pin(compile::command(&self.pool, self.commands.as_deref(), statements))
    }
}
