//! The targets themselves.

pub mod certificate;
pub mod claims;
pub mod contract;
pub mod filter;
pub mod frames;
pub mod framing;
pub mod headers;
pub mod journal;
pub mod json;
pub mod note;
pub mod proofs;
pub mod request;
pub mod toml;
pub mod web;
