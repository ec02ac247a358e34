//! The end-to-end tests: gateway processes, clients, databases, as they are used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod agreements;
mod exchange;
mod liar;
mod links;
