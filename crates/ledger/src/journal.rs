//! The journal: segment files of batches of frames, each frame one leaf with its body.
//!
//! `frame` knows bytes, `segment` knows one file's header and key, `scan` reads files back, `tail` tells a write that was cut
//! short from damage.

pub(crate) mod frame;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod tail;
