//! Contracts at run time: what can be asked, in which bytes, and which of an answer's fields may leave.
//!
//! Start at [`Contracts::load`]. It compiles `.proto` files or descriptor sets that were read elsewhere; a [`Method`]
//! then checks the bytes of requests and answers without decoding them, and the values of requests against the contract's
//! rules ([`Violations`]); a [`Projection`] takes from an answer what an agreement does not name. A [`Sampler`] makes up messages that
//! keep the rules. What gRPC itself says is in [`framing`] and [`status`]. The crate is pure: no files, no sockets, no clock.
//!
//! A digest covers what a service asks and answers and nothing of how its files are laid out; `DIGEST.md` beside this
//! crate describes it for other implementations.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic"))]

mod compare;
mod contracts;
mod descriptors;
mod digest;
pub mod framing;
mod json;
mod load;
mod malformed;
mod method;
mod misfit;
mod options;
mod projection;
mod rules;
mod sample;
pub mod status;
mod wire;

pub use compare::{Change, Place, Version};
pub use contracts::{Agreed, AsLoaded, Contracts, Kept, Service, Shown, Unusable, Why};
pub use digest::{Digest, InvalidDigest};
pub use json::{InJson, JsonProblem, Twice, UnreadableAnswer};
pub use load::Source;
pub use malformed::{Defect, Malformed};
pub use method::{Kind, Method, Operation, Shape};
pub use misfit::Misfit;
pub use options::{Classification, OPTIONS_PATH, OPTIONS_PROTO, classification, subject};
pub use projection::{Projection, Selector, SelectorError};
pub use rules::{Bounds, FieldRules, Format, Rule, ValueRules, Violation, Violations, field_rules};
pub use sample::{Gap, Sample, Sampler};
