//! The end-to-end tests: gateway processes, clients, databases, as they are used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod agreements;
mod backup;
mod cli;
mod demo;
mod doctor;
mod exchange;
mod faults;
mod interop;
mod ledger;
mod liar;
mod limits;
mod links;
mod lying_provider;
mod privacy;
mod python;
mod receipts;
mod reload;
mod rest;
mod restart;
mod rules;
mod status;
