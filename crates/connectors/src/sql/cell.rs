//! The small set of values that every database comes down to.

use std::sync::Arc;

/// A value of a row, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'r str),
    Blob(&'r [u8]),
    /// Text that is not UTF-8.
    Garbled,
}

impl Cell<'_> {
    /// Says how the value is stored, for error messages.
    pub(crate) fn stored(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) | Self::Garbled => "text",
            Self::Blob(_) => "blob",
        }
    }
}

/// A value bound to a parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// What is known of a column before it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: Arc<str>,
    /// The type in the words of the table's definition; `None` for an expression.
    pub(crate) declared: Option<String>,
    pub(crate) class: Class,
}

impl Column {
    /// Names the column and its type as a message says it.
    pub(crate) fn describe(&self) -> String {
        match &self.declared {
            Some(declared) => format!("column `{}` ({declared})", self.name),
            None => format!("column `{}`", self.name),
        }
    }
}

/// What a column may be expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Integer,
    Real,
    Text,
    Blob,
    /// A number of any kind, or a date: whatever the declaration says, the value decides.
    Numeric,
    /// Nothing is known: an expression, or a column without a type.
    Unknown,
}
