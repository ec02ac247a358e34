//! What a database engine does for this kind, whichever it is.
//!
//! An [`Engine`] opens connections and prepares statements; a [`Run`] asks one of them. All that becomes of columns, codes and
//! arguments is shared, so an engine knows values and rows only.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use futures_core::future::BoxFuture;

use crate::ConnectorError;
use crate::sql::cell::{Argument, Column, Slot};
use crate::sql::plan::Plan;
use crate::sql::rows::Rows;
use crate::sql::statement::Statement;

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

    /// Lets the database compile a statement.
    ///
    /// # Errors
    ///
    /// What the database says about it. Nothing is bound, so the text holds no data.
    fn prepare<'s>(&'s self, statement: &'s Statement) -> BoxFuture<'s, Result<Prepared, String>>;
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
}

/// How the rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// All of them, soon: they become one message.
    Whole,
    /// As their reader pulls them, for as long as that takes.
    Pulled,
}
