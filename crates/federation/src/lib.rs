//! Who is asking, and where are they? Members, their identities, certificates and the directory that lists them.
//!
//! Nothing here opens a socket or a file, reads the clock or permits anything: texts and times are arguments, and the
//! answers are identities. Roots of different members are never merged: a certificate is verified only against the roots
//! of the member that it names.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests"))]

pub mod authority;
pub mod certificate;
pub mod trust;

mod address;
mod directory;
mod entry;
mod identity;
mod ids;
mod snapshot;
#[cfg(test)]
mod testing;
mod time;

pub use address::{Address, AddressError};
pub use directory::{Change, DIRECTORY_FORMAT, Directory, MAX_DIRECTORY_BYTES, MAX_MEMBERS};
pub use entry::{
    ENTRY_FORMAT, Entry, EntryDraft, EntryError, FormerKey, GatewayEntry, MAX_CONTRACTS, MAX_ENTRY_BYTES,
    MAX_FORMER_KEYS, MAX_GATEWAYS, MAX_ROOTS,
};
pub use identity::{Identity, IdentityError, Kind};
pub use ids::{AuditorId, GatewayId, IdError, MAX_MEMBER_ID_BYTES, MAX_NAME_BYTES, MemberId, SystemId};
pub use snapshot::{Federation, Warning};
