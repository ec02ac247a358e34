//! How a legacy system answers: one binding ties one method to one legacy system.
//!
//! A [`Connector`] gets the method, the request's bytes and a deadline. It returns a stream of encoded messages that its
//! reader pulls, or a [`ConnectorError`]. It holds no authority: whoever calls it has been permitted and recorded before.
//!
//! Every kind is a Cargo feature and has the same four files, `config`, `connector`, `healthcheck` and `tests`; the suite
//! in `tests/conformance.rs` holds for each of them but `mock`, which has no legacy system:
//!
//! | kind | feature | the legacy system |
//! |---|---|---|
//! | `sql` | `sql` | a database: SQLite or PostgreSQL |
//! | `grpc` | `grpc` | a back end that serves the contract itself |
//! | `mock` | `mock` | none: answers are made up, for development |
//!
//! What no connector does: decide who may ask, look into an agreement, write to a log what a person is or has.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

#[cfg(not(any(feature = "grpc", feature = "mock", feature = "sql")))]
compile_error!("a gateway needs at least one kind of connector: enable the feature `grpc`, `mock` or `sql`");

pub use bindings::{Binding, BindingProblem, Bindings, Setup};
pub use config::{BindingConfig, ConnectorConfig, DatabaseConfig, Size, Timeout};
pub use connector::{Answer, Ask, Asker, CommandId, Connector, Listener, Requests, Withdrawn};
pub use error::{ConnectorError, Failure, Misfit, Rule, SqlState};

mod bindings;
mod config;
mod connector;
mod error;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "mock")]
mod mock;
#[cfg(feature = "sql")]
mod sql;
