//! The end-to-end tests: gateway processes, clients, databases, as they are used.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod abuse;
mod agreements;
mod back_ends;
mod backup;
mod cli;
mod clients;
mod commands;
mod compression;
mod connect;
mod contracts;
mod demo;
mod doctor;
mod exchange;
mod faults;
mod interop;
mod ledger;
mod liar;
mod limits;
mod lines;
mod links;
mod lying_provider;
mod mock;
mod node;
mod postgresql;
mod privacy;
mod python;
mod receipts;
mod reload;
mod rest;
mod restart;
mod rotation;
mod rules;
mod status;
mod telemetry;
mod words;
