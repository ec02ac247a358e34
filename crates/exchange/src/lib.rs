//! The order in which one exchange happens, at the side that asks and at the side that answers.
//!
//! Start at [`Consumer::serve`] and [`Provider::serve`]: they read like the two columns of `crates/README.md`. What they need
//! of the outside comes through ports: [`ports::LegacySystem`] and [`ports::Peers`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests"))]

mod account;
mod application;
mod commands;
mod consumer;
pub mod deadline;
pub mod digests;
mod enquiries;
mod flood;
pub mod framing;
pub mod headers;
mod house;
mod intake;
mod metadata;
mod pipe;
pub mod ports;
mod progress;
mod provider;
mod quota;
mod refusal;
mod replay;
mod trace;
mod watch;

pub use account::{Account, OUTCOMES, Settled};
pub use application::{
    ApplicationMetadata, Heard, MAX_ANSWER_BYTES as MAX_ANSWER_METADATA_BYTES,
    MAX_REQUEST_BYTES as MAX_REQUEST_METADATA_BYTES, MAX_VALUES as MAX_METADATA_VALUES, Said, Unfit as UnfitMetadata,
};
pub use commands::claimed_key;
pub use consumer::{Answer, Asked, Consumer, Head, LeftOpen, Query, StreamAnswer, UnaryAnswer};
pub use enquiries::Enquiries;
pub use flood::Flood;
pub use house::{House, Limits, Rules, millis, moment};
pub use metadata::{CallMetadata, MAX_JUSTIFICATION_BYTES, MAX_REFERENCE_BYTES};
pub use progress::WINDOW_BYTES;
pub use provider::{Call, Provider, Reply, Stream, Whole};
pub use refusal::{Hop, Reason, Refusal, Retry, Status};
pub use replay::{NotTaken, Sessions, WINDOW as REPLAY_WINDOW};
pub use trace::{Sampling, Steps, Verb};
