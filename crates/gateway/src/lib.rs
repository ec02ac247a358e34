//! One gateway process: reads its files, starts its ports, and keeps them in order.
//!
//! It composes and does not decide: what may be asked is `policy`'s, how an exchange goes is `exchange`'s. Start at
//! [`Gateway::start`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod accepted;
pub mod access;
mod answers;
mod calls;
mod clients;
mod compression;
pub mod config;
mod dialling;
pub mod doctor;
mod ends;
mod gateway;
pub mod lifeline;
mod lingering;
mod links;
mod listening;
pub mod load;
pub mod logging;
mod observe;
pub mod obstacles;
mod operations;
mod places;
mod ports;
mod promises;
mod recovery;
mod reloads;
mod rest;
pub mod running;
mod security;
mod services;
mod settings;
pub mod status;
pub mod telemetry;
mod upkeep;
pub mod web;
pub mod when;
mod workers;

pub use config::{Config, ConfigFile, Salvaged};
pub use ends::write_atomically;
pub use gateway::{Gateway, Serving, StartError};
pub use load::Prepared;
pub use reloads::Reloaded;
