//! The harness of the end-to-end tests: real gateway processes, real TLS, real databases.
//!
//! A [`TestFederation`] has two members: `council.example` asks, `trust.example` answers. Each is a folder as
//! `drawbridge init` makes it, which a test may change before [`TestFederation::start`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a harness fails by panicking"
)]

pub mod client;
pub mod collector;
pub mod faults;
pub mod federation;
pub mod node;
pub mod page;
pub mod ports;
pub mod process;
pub mod python;
pub mod raw;
pub mod stand_in;
pub mod watch;

pub use client::{Client, Reply};
pub use federation::{Agreement, CASE, COUNCIL, Member, POLICE, PURPOSE, TRUST, TestFederation};
pub use process::Gateway;
pub use stand_in::StandIn;

/// Text that a test puts into requests, answers and metadata, and that must be found in no log, metric or error.
pub const CANARY: &str = "canary-7f3a";

/// Waits until `condition` gives something, looking again and again; fails loudly after `seconds`.
pub async fn eventually<T>(what: &str, seconds: u64, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(std::time::Instant::now() < deadline, "{what}: not within {seconds} s");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
