//! Every parser of bytes that a peer, a client, a member or a disk hands in, as a target: a plain function over bytes.
//!
//! A target panics where a parser breaks a promise: not only by a panic of its own, but where what was read is written and does not
//! read back, where an allow-list lets something through, or where a short input takes much memory. The same targets run in two
//! ways: `tests/smoke.rs` replays the corpora and changes them a bounded number of times with any compiler, and `cargo xtask fuzz`
//! drives them with libFuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, reason = "a target fails by panicking")]

pub mod corpus;
pub mod dice;
pub mod mutate;
pub mod target;

mod fixtures;
mod targets;

pub use target::{TARGETS, Target};
