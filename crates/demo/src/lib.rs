//! Three sample members, each in front of a legacy system full of real public data, and the story they tell; and two members
//! around a mock of any contract.
//!
//! The data, contracts, bindings and agreements are embedded, so the one binary carries its demonstration with it. Nothing
//! here is used by a gateway that serves a real member.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

pub mod contracts;
pub mod data;
pub mod legacy;
pub mod members;
pub mod mock;
pub mod nhs;
pub mod story;
