//! What a database engine does for this kind, whichever it is.
//!
//! An [`Engine`] opens connections and prepares statements; a [`Run`] asks one of them. All that becomes of columns, codes and
//! arguments is shared, so an engine knows values and rows only.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_core::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::sql::cell::{Argument, Column, Slot};
use crate::sql::plan::{Plan, Row};
use crate::sql::rows::Rows;
use crate::sql::statement::Statement;
use crate::{Asker, CommandId, ConnectorError};

/// One database and its connections.
pub(crate) trait Engine: fmt::Debug + Send + Sync {
    /// Tries whether the database can be used.
    ///
    /// # Errors
    ///
    /// Why a question would fail now.
    fn probe(&self) -> BoxFuture<'_, Result<(), ConnectorError>>;

    /// What a person does about a database that cannot be used.
    fn cure(&self, error: &ConnectorError) -> String;

    /// Whether questions cross a network in plain text.
    fn dangerous_plaintext(&self) -> bool;

    /// Lets go of what connections remember of statements and types: the tables have changed.
    fn forget(&self) {}

    /// Lets the database compile a statement, and describe it as its tables are now.
    ///
    /// # Errors
    ///
    /// What the database says about it. Nothing is bound, so the text holds no data.
    fn prepare<'s>(&'s self, statement: &'s Statement) -> BoxFuture<'s, Result<Prepared, String>>;

    /// Lets the database compile the statements of a command. Nothing is carried out.
    ///
    /// # Errors
    ///
    /// What the database says about one of them, or about the table of keys.
    fn prepare_command<'s>(&'s self, statements: &'s [Statement]) -> BoxFuture<'s, Result<PreparedCommand, Fault>>;
}

/// Why the statements of a command cannot be prepared.
pub(crate) enum Fault {
    /// The database has no table of keys that does what it is for.
    Keys {
        /// What is wrong.
        what: String,
        /// How to mend it.
        help: String,
    },
    /// The database does not take the statement at this place, from 0.
    Statement(usize, String),
}

/// The statements of a command that their database has compiled.
pub(crate) struct PreparedCommand {
    /// Of the last statement.
    pub(crate) columns: Vec<Column>,
    /// What each parameter takes, of all statements one after the other.
    pub(crate) slots: Vec<Slot>,
    pub(crate) work: Arc<dyn Work>,
}

/// Carries out the statements of a command.
pub(crate) trait Work: fmt::Debug + Send + Sync {
    /// Runs all statements in one transaction that leaves the key, and returns the answer once it is committed.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::RolledBack`] where nothing was done, [`ConnectorError::AlreadyDone`] where the key is there; any other where
    /// nobody can say.
    ///
    /// # Cancel safety
    ///
    /// Before the commit, dropping the future rolls back.
    fn carry_out(&self, order: Order) -> BoxFuture<'_, Result<Bytes, ConnectorError>>;

    /// Says whether the key of a command is in its table. Waits for the end of a transaction that leaves it there, and changes nothing.
    ///
    /// # Errors
    ///
    /// Why the database cannot say.
    fn remembers(&self, id: CommandId) -> BoxFuture<'_, Result<bool, ConnectorError>>;

    /// Tries the path of a command without one.
    ///
    /// # Errors
    ///
    /// Why a command would fail now.
    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>>;
}

/// One asking of a command.
pub(crate) struct Order {
    /// Of each statement, in the order of its parameters.
    pub(crate) arguments: Vec<Vec<Argument>>,
    pub(crate) reply: Reply,
    pub(crate) deadline: Option<Instant>,
    pub(crate) id: CommandId,
    pub(crate) asker: Asker,
}

/// What the rows of a command's last statement become.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// `None` where it has no columns: the answer is empty.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Whether all rows become one message; else there has to be one.
    pub(crate) gathered: bool,
    /// Largest message, in bytes.
    pub(crate) limit: usize,
}

impl Reply {
    /// Makes the answer, while the transaction can still be taken back.
    pub(crate) fn of<R: Row>(&self, rows: &[R]) -> Result<Bytes, ConnectorError> {
        let Some(plan) = &self.plan else { return Ok(Bytes::new()) };
        if !self.gathered && rows.is_empty() {
            return Err(ConnectorError::NotFound);
        }
        if !self.gathered && rows.len() > 1 {
            return Err(ConnectorError::TooManyRows);
        }
        let mut message = BytesMut::new();
        for row in rows {
            plan.encode(row, &mut message)?;
            if message.len() > self.limit {
                return Err(ConnectorError::TooLarge { limit: self.limit });
            }
        }
        Ok(message.freeze())
    }
}

/// A statement that its database has compiled.
pub(crate) struct Prepared {
    pub(crate) columns: Vec<Column>,
    /// What each parameter takes; none if the database lets the value decide.
    pub(crate) slots: Vec<Slot>,
    pub(crate) run: Arc<dyn Run>,
}

/// Asks one statement.
pub(crate) trait Run: fmt::Debug + Send + Sync {
    /// Takes a connection and starts the statement.
    ///
    /// # Errors
    ///
    /// [`ConnectorError`]; the same may come later, out of the rows.
    fn start(&self, question: Question) -> BoxFuture<'_, Result<Rows, ConnectorError>>;

    /// Tries the path of a question without one, on a connection of its own: that questions take all others is no ill health.
    ///
    /// # Errors
    ///
    /// Why a question would fail now.
    fn health(&self) -> BoxFuture<'_, Result<(), ConnectorError>>;
}

/// What one asking of a statement needs.
pub(crate) struct Question {
    /// In the order of the statement's parameters.
    pub(crate) arguments: Vec<Argument>,
    pub(crate) plan: Arc<Plan>,
    /// Largest message, in bytes.
    pub(crate) limit: usize,
    pub(crate) deadline: Option<Instant>,
    pub(crate) pace: Pace,
    pub(crate) asker: Asker,
    /// Fires once its connection is taken from the reader.
    pub(crate) stalled: Option<CancellationToken>,
}

/// How the rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All of them, soon: they become one message.
    Whole,
    /// As their reader pulls them, for as long as that takes.
    Pulled,
}
