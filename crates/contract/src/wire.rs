//! Walks over encoded messages: compiled once per contract, then no decoding and no allocation.
//!
//! Everything below this module reads bytes of a peer. It takes slices apart with `split_*` alone, so that no index and no
//! arithmetic can go wrong.

pub(crate) mod check;
pub(crate) mod plan;
pub(crate) mod reader;
pub(crate) mod table;

/// How many messages may lie within one another. Protobuf's own decoders (C++, Java, Go, prost) stop at the same number.
pub(crate) const MAX_DEPTH: u32 = 100;
