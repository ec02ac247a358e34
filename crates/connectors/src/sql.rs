//! Connector kind `sql`: a statement answers a method.
//!
//! What a database has of its own lives in one file per database below ([`sqlite`]); the rest knows columns, cells and
//! arguments only. At prepare a statement becomes a plan, and rows go straight from cells to wire bytes.

pub(crate) use config::SqlBinding;
pub(crate) use connector::SqlConnector;
pub(crate) use sqlite::{Database, DatabaseUrl};

mod cell;
mod codes;
mod config;
mod connector;
mod encode;
mod healthcheck;
mod moment;
mod number;
mod parameters;
mod plan;
mod sqlite;
mod statement;
#[cfg(test)]
mod tests;
