//! Contracts as a gateway uses them: loaded, compared, checked, cut and shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "random values may wrap"
)]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests match on what they are about")]

mod contract {
    pub mod changes;
    pub mod digest;
    pub mod fixtures;
    pub mod generate;
    pub mod json;
    pub mod load;
    pub mod lookup;
    pub mod misuse;
    pub mod projection;
    pub mod rules;
    pub mod sample;
    pub mod wire;
}
