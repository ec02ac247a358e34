//! Contracts as JSON over HTTP: where a method is found, what its messages look like, how failures are told, and a document that
//! says all of it.
//!
//! Everything here is a function of contracts and bytes: no sockets, no clock, no permission. Start at [`Routes::of`]; a
//! [`Matched`] route makes the request's message, its [`Route`] shows the answer. The mapping is protobuf's own
//! (<https://protobuf.dev/programming-guides/json/>), the routes are `google.api.http`'s and the methods' own paths.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests may panic")
)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions))]

mod answer;
mod connect;
mod details;
mod diagnose;
mod lines;
mod openapi;
mod query;
mod request;
mod routes;
mod rule;
mod template;

pub use answer::{Lines, NoJson};
pub use details::{Failure, PROBLEM_JSON, http_status, status_name};
pub use diagnose::Violation;
pub use lines::{Line, LongLine, RequestLines};
pub use openapi::{Reason, Title, document};
pub use request::{MAX_DEPTH, Unfit};
pub use routes::{Body, Found, Matched, Route, Routes};
