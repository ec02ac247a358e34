//! What can go wrong between a connector and its legacy system.
//!
//! Neither `Display` nor `Debug` of anything here shows data: no value, no text of a driver, no message of a back end.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Why a legacy system gave no (further) answer.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorError {
    /// Nothing answers to the question. It is an answer, not a fault.
    #[error("the legacy system has nothing that answers to this")]
    NotFound,

    /// The deadline passed. The legacy system's work was stopped.
    #[error("the legacy system did not answer in time")]
    Timeout,

    /// Nothing was done: the legacy system cannot be reached, or turned the question away unseen.
    #[error("cannot reach the legacy system: {why}")]
    Unreachable {
        /// What was tried and failed, without data.
        why: Cow<'static, str>,
    },

    /// Nothing was sent: the certificate that the legacy system presents is not accepted.
    #[error("the legacy system is not trusted: {why}")]
    Untrusted {
        /// What is wrong with the certificate.
        why: Cow<'static, str>,
    },

    /// The legacy system does not accept what the gateway presents to be let in.
    #[error("the legacy system does not let the gateway in: {why}")]
    Credentials {
        /// What was refused, without data.
        why: Cow<'static, str>,
    },

    /// A value of the request does not fit the parameter of the statement.
    #[error("the request's `{parameter}` does not fit the statement: {why}")]
    Argument {
        /// Path of the field in the request.
        parameter: Arc<str>,
        /// What is wrong with it.
        why: Misfit,
    },

    /// What the statement makes of the request's values fails, whatever the tables hold.
    #[error("a value of the request does not fit the statement: {what} (SQLSTATE {state})")]
    Unsuited {
        /// What the database says of it, without the value.
        what: &'static str,
        /// The server's code.
        state: SqlState,
    },

    /// A rule of the database does not allow what the statement does. It is an answer, not a fault.
    #[error("a rule of the database does not allow it: {rule}{}", named(.name.as_deref()))]
    Forbidden {
        /// What kind of rule.
        rule: Rule,
        /// The name of the rule in the database, where it has one.
        name: Option<Arc<str>>,
    },

    /// A value in a row does not fit the field of the contract.
    #[error("column `{column}` (stored as {stored}) does not fit `{field}`: {why}")]
    Mapping {
        /// Name of the column in the statement.
        column: Arc<str>,
        /// Path of the field in the answer.
        field: Arc<str>,
        /// How the value is stored, as in `null`, `integer`, `text` or `blob`.
        stored: &'static str,
        /// What is wrong with it.
        why: Misfit,
    },

    /// More than one row answers a question that has one answer.
    #[error("more than one row answers a question that has one answer")]
    TooManyRows,

    /// A message is larger than the binding allows.
    #[error("the answer holds a message of more than {limit} bytes")]
    TooLarge {
        /// The binding's limit, in bytes.
        limit: usize,
    },

    /// The legacy system's answer breaks its own protocol.
    #[error("the legacy system's answer is malformed: {what}")]
    Malformed {
        /// What is wrong, without data.
        what: &'static str,
    },

    /// A gRPC back end answered with a status of its own, which crosses as it is.
    #[error("the legacy system answered with gRPC status {code}")]
    Status {
        /// The gRPC status code, as sent.
        code: i32,
        /// The back end's text. It may hold personal data, so it is for the caller alone and never for a log.
        message: String,
        /// The encoded `google.rpc.Status`, empty if there was none. As `message`.
        details: Bytes,
    },

    /// The legacy system failed while it answered, or the connection to it did.
    #[error("the legacy system failed: {why}")]
    Failed {
        /// How.
        why: Failure,
    },

    /// The question was taken back.
    #[error("the question was taken back")]
    Cancelled,

    /// The reader of the answer took nothing of it while others waited for the legacy system, which they have now.
    #[error("the reader took nothing while others waited for the legacy system")]
    Stalled,

    /// Of a command: it ended so, and nothing of it was done.
    #[error("{why}; nothing was done")]
    RolledBack {
        /// How it ended.
        why: Box<ConnectorError>,
    },

    /// Of a command: the database remembers its key, so it was carried out before.
    #[error("the database remembers that the command was carried out")]
    AlreadyDone,
}

/// The name of a rule, to stand behind its kind.
fn named(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" (`{name}`)"))
}

impl ConnectorError {
    /// Whether the same question may be answered later without anybody having mended anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Timeout
            | Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Credentials { .. }
            | Self::Cancelled
            | Self::Stalled => true,
            Self::Failed { why } => why.may_pass(),
            Self::RolledBack { why } => why.may_pass(),
            Self::NotFound
            | Self::Argument { .. }
            | Self::Unsuited { .. }
            | Self::Forbidden { .. }
            | Self::Mapping { .. }
            | Self::TooManyRows
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Status { .. }
            | Self::AlreadyDone => false,
        }
    }
}

#[cfg(feature = "sql")]
impl ConnectorError {
    /// Says of a command that nothing of it was done.
    pub(crate) fn rolled_back(self) -> Self {
        if matches!(self, Self::RolledBack { .. } | Self::AlreadyDone) {
            self
        } else {
            Self::RolledBack { why: Box::new(self) }
        }
    }
}

/// Shows what `Display` shows, so that no message of a back end gets out by `{:?}`.
impl fmt::Debug for ConnectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectorError({self})")
    }
}

/// How a legacy system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// Another program holds the database for too long.
    #[error("the database is locked by another program")]
    Locked,
    /// The statement would write, and the connection only reads.
    #[error("the statement would write, and the gateway only reads")]
    ReadOnly,
    /// The storage reported an error.
    #[error("its storage reported an error")]
    Storage,
    /// The database file is damaged.
    #[error("the database file is damaged")]
    Damaged,
    /// The tables changed since the statement was checked.
    #[error("its tables changed since the statement was checked; run `drawbridge check`")]
    SchemaChanged,
    /// A value, or the statement, exceeds a limit of the database.
    #[error("a limit of the database was exceeded")]
    Limit,
    /// The database has not enough of what it works with.
    #[error("the database has no memory, disk or connection left for it")]
    Resources,
    /// The statement calculates with numbers too large for it.
    #[error("integer overflow in the statement")]
    Overflow,
    /// The statement reads JSON where there is none.
    #[error("malformed JSON where the statement reads JSON")]
    Json,
    /// The statement failed for another reason. What the driver says is not passed on, since it may hold data.
    #[error("the statement failed (code {code})")]
    Statement {
        /// The extended result code of the database.
        code: i32,
    },
    /// The statement failed for another reason. What the server says is not passed on, since it may hold data.
    #[error("the statement failed (SQLSTATE {state})")]
    State {
        /// The server's code.
        state: SqlState,
    },
    /// The connection ended after the question was sent; whether it was worked on is not known.
    #[error("the connection ended before the answer was complete")]
    ConnectionLost,
    /// The back end says of itself that it does not serve now.
    #[error("it says that it does not serve now")]
    NotServing,
    /// The back end answered with something that is not gRPC.
    #[error("it answered with HTTP status {status}")]
    Http {
        /// The HTTP status code.
        status: u16,
    },
    /// Metadata that cannot be sent as a header.
    #[error("the metadata given for it cannot be sent as headers")]
    Metadata,
    /// The connector is at fault.
    #[error("the connector stopped unexpectedly")]
    Internal,
}

impl Failure {
    /// Whether the same question may be answered later without anybody having mended anything.
    fn may_pass(self) -> bool {
        match self {
            Self::Locked
            | Self::Storage
            | Self::Resources
            | Self::ConnectionLost
            | Self::NotServing
            | Self::Http { .. }
            | Self::Metadata
            | Self::Internal => true,
            // Serialization failures and deadlocks, states of other sessions, what an operator does to the server.
            Self::State { state } => ["08", "40", "53", "55", "57", "58"].contains(&state.class()),
            Self::ReadOnly
            | Self::Damaged
            | Self::SchemaChanged
            | Self::Limit
            | Self::Overflow
            | Self::Json
            | Self::Statement { .. } => false,
        }
    }
}

/// What kind of rule of a database does not allow something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rule {
    /// There is one such already.
    #[error("there is one already, and there may be one only")]
    Unique,
    /// What is named is not there, or is still named elsewhere.
    #[error("what it refers to is not there, or others still refer to it")]
    Reference,
    /// A condition that values have to meet.
    #[error("a value does not meet a condition of its table")]
    Check,
    /// A value has to be given.
    #[error("a value that has to be there is missing")]
    NotNull,
    /// Two that exclude one another.
    #[error("it overlaps with another, and may not")]
    Exclusion,
    /// Whatever else: a trigger, or a kind of constraint that is not told apart.
    #[error("a constraint or a trigger refuses it")]
    Other,
}

/// A code of the SQL standard for what failed: five capital letters or digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// Reads a code; anything else becomes `?????`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let code = text.as_bytes().try_into().ok();
        Self(code.filter(|code: &[u8; 5]| code.iter().all(u8::is_ascii_alphanumeric)).unwrap_or(*b"?????"))
    }

    /// Returns the first two characters, which say what kind of failure it is.
    #[must_use]
    pub fn class(&self) -> &str {
        std::str::from_utf8(&self.0).ok().and_then(|code| code.get(..2)).unwrap_or_default()
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// Why a value does not fit. It never holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Misfit {
    /// A required field cannot be left out.
    #[error("the field is required and there is no value")]
    Missing,
    /// The value is stored in another way than the mapping expects.
    #[error("a value stored so cannot be mapped")]
    WrongType,
    /// The number is outside the range of the field.
    #[error("the number is outside the range of the field")]
    OutOfRange,
    /// The text is not a number.
    #[error("the text is not a number")]
    NotANumber,
    /// The number has more decimals than the format keeps.
    #[error("the number has more decimals than the format keeps")]
    Inexact,
    /// The value is not a date or time in the format declared.
    #[error("it is not a date or time in the format declared")]
    NotAMoment,
    /// Clocks were put forward over it.
    #[error("there was no such time: clocks were put forward over it")]
    Skipped,
    /// Clocks were put back, so it came twice, and the binding does not say which is meant.
    #[error(
        "the time came twice, since clocks were put back; say which with `ambiguous = \"earlier\"` or `\"later\"` in the binding"
    )]
    Twice,
    /// It is before or after every date.
    #[error(
        "it is infinite, which no date or time of a contract is; leave it out in the statement, as in `NULLIF(…, 'infinity')`"
    )]
    Infinite,
    /// A time of day where there are dates alone.
    #[error("it has a time of day, and there is room for a date alone")]
    TimeOfDay,
    /// Parts of a second, or of a minute, that are not kept.
    #[error("it is finer than what is kept of a time there")]
    Finer,
    /// PostgreSQL's text holds every character but one.
    #[error("it has a character NUL, which PostgreSQL's text cannot hold")]
    Nul,
    /// The value is neither true nor false.
    #[error("it is neither of the two values declared")]
    NotABoolean,
    /// The code is not in the binding's `values`, nor in the contract.
    #[error("the code is neither in the binding's `values` nor in the contract")]
    UnknownCode,
    /// The text is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The text is not hexadecimal.
    #[error("the text is not hexadecimal")]
    NotHex,
    /// The text is not base64.
    #[error("the text is not base64")]
    NotBase64,
    /// A list holds nothing at one of its places, which a repeated field cannot.
    #[error("the list holds a null, which a repeated field cannot")]
    NullInList,
    /// Two columns fill fields of which only one may be set.
    #[error("another column already fills a field of the same oneof")]
    OneofTwice,
}
