//! The end-to-end tests: gateway processes, clients, databases, as they are used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod agreements;
mod backup;
mod cli;
mod doctor;
mod exchange;
mod faults;
mod ledger;
mod liar;
mod limits;
mod links;
mod privacy;
mod python;
mod receipts;
mod restart;
mod status;
