//! What happened: the meaning of each leaf in a gateway's log.
//!
//! The crate `ledger` proves that leaves are there and knows nothing of exchanges; here a leaf becomes an intent, a
//! progress, an outcome or a refusal, and a receipt that a third party can check.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod commands;
mod compare;
mod draft;
mod filter;
mod id;
pub mod receipt;
mod record;
mod store;
mod usage;

pub use commands::{Command, CommandKey, Commands, Taken};
pub use compare::{Comparison, Difference, compare};
pub use draft::{Draft, Prepared, half_hash, provider_leaf_of, provider_shared};
pub use filter::Filter;
pub use id::{ExchangeId, NotAnExchangeId};
pub use receipt::{FORMAT as RECEIPT_FORMAT, Fault as ReceiptFault, Verified as VerifiedReceipt};
pub use record::{Halves, Record, Unreadable};
pub use store::{
    FindError, Found, Opened, Recorded, Records, STARTED, STOPPED, Unsettled, checked_before, promises_checked,
};
pub use usage::Usage;

/// The kinds and sides as they lie on disk.
pub use proto::records::{CommandStep, Kind, Private, Shared, Side};
