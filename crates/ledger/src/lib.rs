//! One gateway's append-only Merkle log: can anyone prove that it happened?
//!
//! A [`Ledger`] keeps leaves in the order in which they came. An append returns when its leaf is on disk, with the index it has
//! for good, the [`Promise`] of that index, and, where asked, a [`Seal`]: a signature made together with those of everything
//! else that waited. Behind that the leaves become tiles and signed checkpoints in the C2SP formats, so that tools other than
//! this one verify them. What a leaf means is known to others; here it is two hashes and a body that can be erased.
//!
//! The life of a leaf: [`Ledger::append`] puts it into a bounded queue; the one writer thread takes all that waits, gives out
//! indices, seals, encrypts, writes one batch of frames to the journal and syncs once; every waiting append is answered; within
//! [`Config::checkpoint_interval`] the publisher thread writes tiles and a checkpoint that covers it.
//!
//! The surprising fact: after a failed write or sync nothing is tried again. The ledger refuses all appends until it is opened
//! anew, because a failed sync may have dropped what it says it could not write.
//!
//! `FORMAT.md` beside the sources describes every file byte for byte.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests"))]

mod append;
mod checkpoint;
mod config;
mod files;
mod folder;
mod hash;
mod journal;
mod leaf;
mod ledger;
pub mod merkle;
mod places;
mod proof;
mod publisher;
pub mod random;
mod reader;
mod recovery;
mod seal;
mod sealer;
mod tiles;
mod verify;
mod writer;

pub use append::{Append, AppendError, Appended, Caller};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use config::Config;
pub use files::{Damage, StorageError};
pub use hash::{Hash, NotAHash};
pub use leaf::{ENTRY_LEN, Entry, Leaf, Promise, PromiseError, SealInput};
pub use ledger::{CheckpointState, Ledger};
pub use proof::ProofError;
pub use reader::{Entries, ReadError, Reader, Stored};
pub use recovery::{OpenError, Recovery, TornBatch, in_use};
pub use seal::{Seal, SealError, SealVerifier};
pub use sealer::Sealer;
pub use verify::{Report, Tail};
