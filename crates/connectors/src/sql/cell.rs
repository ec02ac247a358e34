//! The small set of values that every database comes down to.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};

use crate::Misfit;
use crate::sql::number::Decimal;
use crate::sql::point::Point;

/// A value of a row, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Decimal(Decimal),
    Text(&'r str),
    Blob(&'r [u8]),
    Uuid([u8; 16]),
    Date(Date),
    Time(Time),
    /// A date with a time whose offset is not known.
    Local(DateTime),
    Instant(Point),
    /// Several values, which the row gives one by one.
    List,
    /// Something that is none of these, as text that is not UTF-8.
    Unfit {
        stored: &'static str,
        why: Misfit,
    },
}

impl Cell<'_> {
    /// Says how the value is stored, for error messages.
    pub(crate) fn stored(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Decimal(_) => "numeric",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
            Self::Uuid(_) => "uuid",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Local(_) | Self::Instant(_) => "timestamp",
            Self::List => "array",
            Self::Unfit { stored, .. } => stored,
        }
    }

    /// Says why the value cannot be read, once it is known that it cannot.
    pub(crate) fn misfit(&self) -> Misfit {
        if let Self::Unfit { why, .. } = self { *why } else { Misfit::WrongType }
    }
}

/// A value bound to a parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
    /// A date, and the instant of its midnight in the binding's time zone.
    Date {
        date: Date,
        midnight: Point,
    },
    /// An instant, and what the clocks of the binding's time zone say then; `None` beyond the last day of the calendar.
    Instant {
        instant: Point,
        local: Option<DateTime>,
    },
    List(Vec<Self>),
}

/// What is known of a column before it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: Arc<str>,
    /// The type in the words of the table's definition; `None` for an expression.
    pub(crate) declared: Option<String>,
    pub(crate) class: Class,
    /// Whether it holds several values of the class.
    pub(crate) list: bool,
    /// All the texts that it can hold, where the database names them.
    pub(crate) labels: Option<Arc<[String]>>,
    /// What to do about a column that no field can be filled from.
    pub(crate) refused: Option<String>,
}

impl Column {
    /// A column that holds one value.
    pub(crate) fn new(name: &str, declared: Option<String>, class: Class) -> Self {
        Self { name: name.into(), declared, class, list: false, labels: None, refused: None }
    }

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
    Bool,
    Integer,
    Real,
    Text,
    Blob,
    Uuid,
    /// A date, with a time or without.
    Moment,
    /// A time of day.
    Time,
    /// A number of any kind, or a date: whatever the declaration says, the value decides.
    Numeric,
    /// Nothing is known: an expression, or a column without a type.
    Unknown,
}

/// What is known of a parameter before it is bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    /// The type in the database's words.
    pub(crate) declared: Option<String>,
    pub(crate) takes: Takes,
    /// Whether it takes a list of such values.
    pub(crate) list: bool,
    /// All the texts that it can take, where the database names them.
    pub(crate) labels: Option<Arc<[String]>>,
}

impl Slot {
    /// A parameter of a database that lets the value decide.
    pub(crate) fn anything() -> Self {
        Self { declared: None, takes: Takes::Anything, list: false, labels: None }
    }
}

/// What can be bound to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Anything,
    Bool,
    Integer,
    Real,
    Decimal,
    Text,
    /// One of the labels of an enum.
    Label,
    Json,
    Uuid,
    Blob,
    /// A date without a time.
    Date,
    /// A date with a time.
    Moment,
    /// A time of day.
    Time,
    /// Nothing that a request holds.
    Nothing,
}

/// What a field of a request becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gives {
    Bool,
    Integer,
    Real,
    Text,
    Blob,
    Date,
    Instant,
}

impl Gives {
    /// The type of the values in SQL, for a cast.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Integer => "bigint",
            Self::Real => "float8",
            Self::Text => "text",
            Self::Blob => "bytea",
            Self::Date => "date",
            Self::Instant => "timestamptz",
        }
    }
}

impl Takes {
    /// Whether values of this sort can be bound. The value itself may still be out of range.
    pub(crate) fn fits(self, gives: Gives) -> bool {
        match self {
            Self::Anything => true,
            Self::Bool => gives == Gives::Bool,
            Self::Integer => matches!(gives, Gives::Integer | Gives::Bool),
            Self::Real => matches!(gives, Gives::Integer | Gives::Real),
            Self::Decimal => matches!(gives, Gives::Integer | Gives::Real | Gives::Text),
            Self::Text => matches!(gives, Gives::Text | Gives::Date | Gives::Instant),
            Self::Label | Self::Json | Self::Time => gives == Gives::Text,
            Self::Uuid => matches!(gives, Gives::Text | Gives::Blob),
            Self::Blob => gives == Gives::Blob,
            Self::Date | Self::Moment => matches!(gives, Gives::Date | Gives::Instant | Gives::Text),
            Self::Nothing => false,
        }
    }
}
