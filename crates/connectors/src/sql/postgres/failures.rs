//! Says what failed without the server's text, which may hold data.
//!
//! Source of the codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use crate::error::{Rule, SqlState};
use crate::{ConnectorError, Failure};

/// What became of a connection whose statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// The statement has ended, and the connection goes on.
    Usable,
    /// The connection is of no use any more. Nothing was done that another connection would do twice.
    Lost,
}

/// Says what a failed statement means, and what for its connection.
pub(super) fn failed(error: &sqlx::Error) -> (ConnectorError, Aftermath) {
    let Some(state) = state(error) else {
        let why = if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)) {
            Failure::ConnectionLost
        } else {
            Failure::Internal
        };
        return (ConnectorError::Failed { why }, Aftermath::Lost);
    };
    let class = state.get(..2).unwrap_or_default();
    if class == "23" || state == "P0001" {
        return (forbidden(error, &state), Aftermath::Usable);
    }
    let why = match (class, state.as_str()) {
        (_, "42501") => {
            return (credentials("its role may not read what the statement reads"), Aftermath::Usable);
        }
        // Cancelled by a limit of time, ours or the role's own.
        (_, "57014") => return (ConnectorError::Timeout, Aftermath::Usable),
        ("08", _) | (_, "57P01" | "57P02" | "57P03" | "57P05" | "25P03") => {
            return (ConnectorError::Failed { why: Failure::ConnectionLost }, Aftermath::Lost);
        }
        // A statement that was compiled before a table changed: a new connection compiles it anew.
        (_, "0A000" | "26000") => return (ConnectorError::Failed { why: Failure::SchemaChanged }, Aftermath::Lost),
        (_, "55P03") => Failure::Locked,
        (_, "25006") => Failure::ReadOnly,
        (_, "42P01" | "42703" | "42883" | "42704" | "3F000" | "42804" | "42P18") => Failure::SchemaChanged,
        (_, "22003") => Failure::Overflow,
        (_, "22032") => Failure::Json,
        ("53", _) => Failure::Resources,
        ("54", _) => Failure::Limit,
        ("58", _) => Failure::Storage,
        ("XX", "XX001" | "XX002") => Failure::Damaged,
        _ => Failure::State { state: SqlState::of(&state) },
    };
    (ConnectorError::Failed { why }, Aftermath::Usable)
}

/// Says which rule of the database does not allow it. The names of rules are the schema's, and no data.
fn forbidden(error: &sqlx::Error, state: &str) -> ConnectorError {
    let rule = match state {
        "23505" => Rule::Unique,
        "23503" | "23001" => Rule::Reference,
        "23514" => Rule::Check,
        "23502" => Rule::NotNull,
        "23P01" => Rule::Exclusion,
        _ => Rule::Other,
    };
    // What a trigger raises itself may be named after anything.
    let name = error.as_database_error().and_then(|error| error.constraint().or_else(|| error.table()));
    let name = name.filter(|_| rule != Rule::Other).map(Into::into);
    ConnectorError::Forbidden { rule, name }
}

/// The code of an error that may be about a value of the request: a data exception.
pub(super) fn data_exception(error: &ConnectorError) -> Option<SqlState> {
    let ConnectorError::Failed { why } = error else { return None };
    if *why == Failure::Overflow {
        return Some(SqlState::of("22003"));
    }
    if *why == Failure::Json {
        return Some(SqlState::of("22032"));
    }
    if let Failure::State { state } = why { Some(*state).filter(|state| state.class() == "22") } else { None }
}

/// Says that the values of the request are to blame for a data exception.
pub(super) fn unsuited(state: SqlState) -> ConnectorError {
    let what = match state.to_string().as_str() {
        "22P02" => "text that is none of the values of its type",
        "22003" => "a number outside the range",
        "22007" | "22008" => "text that is no date or time, or one outside the range",
        "22001" => "text that is too long",
        "22012" => "a division by zero",
        "22023" => "a value that is not allowed there",
        "22032" => "text that is no JSON",
        _ => "it cannot be calculated with",
    };
    ConnectorError::Unsuited { what, state }
}

/// Says why no connection can be opened.
pub(super) fn cannot_connect(error: &sqlx::Error) -> ConnectorError {
    let unreachable = |why: &'static str| ConnectorError::Unreachable { why: why.into() };
    if let Some(state) = state(error) {
        return match state.as_str() {
            "28P01" => credentials("the server refuses the role's password"),
            "28000" => credentials("the server refuses the role"),
            "3D000" => unreachable("the server has no database of this name"),
            "42501" => credentials("the role may not connect to the database"),
            "53300" => unreachable("the server has no connection left"),
            "57P03" => unreachable("the server is starting or stopping"),
            _ => ConnectorError::Unreachable {
                why: format!("the server refuses the connection (SQLSTATE {state})").into(),
            },
        };
    }
    if let sqlx::Error::Io(error) = error {
        let kind = error.kind();
        // So the driver tells of a certificate that is not good.
        return if kind == std::io::ErrorKind::InvalidData { no_tls(error) } else { no_connection(kind) };
    }
    if let sqlx::Error::Tls(error) = error {
        return no_tls(error);
    }
    if matches!(error, sqlx::Error::Configuration(_)) {
        return credentials("the certificate or key to present cannot be read");
    }
    unreachable("the server does not speak PostgreSQL's protocol as expected")
}

fn no_tls(error: &dyn std::fmt::Display) -> ConnectorError {
    let why = format!("no TLS with the server: {error}");
    // As rustls words every fault of the certificate of the other end; the driver keeps no more than the words.
    if why.contains("invalid peer certificate") {
        return ConnectorError::Untrusted { why: why.into() };
    }
    ConnectorError::Unreachable { why: why.into() }
}

fn no_connection(kind: std::io::ErrorKind) -> ConnectorError {
    ConnectorError::Unreachable { why: format!("no connection to the server: {kind}").into() }
}

/// The server's own text, for statements that were run without data only.
pub(super) fn driver_text(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |database| database.message().to_owned())
}

fn credentials(why: &'static str) -> ConnectorError {
    ConnectorError::Credentials { why: why.into() }
}

fn state(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}
