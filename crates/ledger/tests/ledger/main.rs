//! The ledger from outside: what it does, what it survives, and what other people's tools say about its files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

mod behaviour;
mod common;
mod faults;
mod interoperability;
mod kills;
mod storage;
mod vectors;
