//! A member's entry in the directory: its roots, keys, gateways and offered contracts, signed by its own member key.
//!
//! An entry is signed by the very key that it names, so the signature alone makes nobody a member: it proves that the entry
//! is whole and that one key stands behind it. What makes an entry trusted is that an operator, having compared the key with
//! the member by other means, put it into the directory of this gateway. From then on only that key can change the entry.

mod draft;
mod read;

use std::path::PathBuf;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use note::{Note, NoteError, VerifierKey};
use problem::Problem;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;

use crate::{Address, GatewayId, MemberId, certificate, time};

pub use draft::EntryDraft;
pub(crate) use read::check_format;

/// First line of an entry, as `format`.
pub const ENTRY_FORMAT: &str = "drawbridge.entry/v1";

/// Largest entry, in bytes with its signatures. One with a gateway and a root has some 2,000.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

/// Most roots of a member. Two are enough to change from one to the next.
pub const MAX_ROOTS: usize = 8;

/// Most gateways of a member, retired ones included.
pub const MAX_GATEWAYS: usize = 64;

/// Most former keys in one list.
pub const MAX_FORMER_KEYS: usize = 32;

/// Most contracts that a member offers.
pub const MAX_CONTRACTS: usize = 512;

/// What the directory says of one member. Its own signature is verified; see the module for what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The member.
    pub member: MemberId,
    /// The member's name for people: 1 to 200 characters, no control characters.
    pub display_name: String,
    /// Counts up from 1 with every change.
    pub version: u64,
    /// Until when others go by this entry. Chosen generously: its end cuts every link with the member.
    pub valid_until: SystemTime,
    /// The roots of the member's certificates; at least one.
    pub roots: Vec<CertificateDer<'static>>,
    /// The key that signs the member's agreements and this entry.
    pub member_key: VerifierKey,
    /// Keys that were the member key before; what they signed stays valid.
    pub former_member_keys: Vec<FormerKey>,
    /// The member's gateways, the preferred one first; at least one.
    pub gateways: Vec<GatewayEntry>,
    /// Services that the member offers, each with the digest of its contract (`sha256:` and 64 hexadecimal digits).
    pub contracts: Vec<(String, String)>,
    note: Note,
}

/// One gateway of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayEntry {
    /// Its id.
    pub id: GatewayId,
    /// Where it listens for links. `None` when it only asks.
    pub address: Option<Address>,
    /// The host name to send in TLS where it differs from the address, for a balancer in front. It takes no part in trust.
    pub server_name: Option<String>,
    /// The key that signs claims.
    pub gateway_key: VerifierKey,
    /// Keys that were the gateway key before; old receipts verify with them.
    pub former_gateway_keys: Vec<FormerKey>,
    /// The name of its log: `<member>/log/<gateway>`.
    pub log_origin: String,
    /// The key that signs the log's checkpoints.
    pub log_key: VerifierKey,
    /// Keys that were the log key before; old checkpoints verify with them.
    pub former_log_keys: Vec<FormerKey>,
    /// When it is taken out of service. From then on its certificate is not accepted; its keys still verify what it signed before.
    pub retired: Option<SystemTime>,
}

/// A key that is no longer in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerKey {
    /// The key.
    pub key: VerifierKey,
    /// When it was last in use: what it signed later does not count.
    pub until: SystemTime,
}

impl Entry {
    /// Reads an entry's signed note and verifies its own signature. `file` is for messages only; nothing is read from disk.
    ///
    /// # Errors
    ///
    /// Every problem found in it. Problems of the note as a whole (malformed, a wrong signature) stand alone.
    pub fn parse(file: impl Into<PathBuf>, text: &str) -> Result<Self, Vec<Problem>> {
        read::entry(file.into(), text)
    }

    /// Returns the signed note, byte for byte.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Returns `sha256:` and the SHA-256 of the note with its signatures, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(digest(&SHA256, self.note.to_string().as_bytes())))
    }

    /// Returns the current member key, then the former ones.
    #[must_use]
    pub fn member_keys(&self) -> Vec<VerifierKey> {
        current_and_former(&self.member_key, &self.former_member_keys)
    }

    /// Returns the gateway of that name, retired or not.
    #[must_use]
    pub fn gateway(&self, name: &str) -> Option<&GatewayEntry> {
        self.gateways.iter().find(|gateway| gateway.id.name() == name)
    }

    /// Says whether one of the roots is not for production.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.roots.iter().any(certificate::is_development)
    }

    /// Says whether others still go by this entry at `now`.
    #[must_use]
    pub fn is_current(&self, now: SystemTime) -> bool {
        time::seconds(now) <= time::seconds(self.valid_until)
    }

    /// Decides whether this entry may take the place of `previous`, the one known so far of the same member.
    ///
    /// The same entry may; so may one with a higher version that is signed by the member key of `previous`: by the key
    /// itself where it stays, by the old key beside the new one where it changes. What a member cannot do alone is to
    /// change its key without the old one; then the operator removes the known entry first, which is a decision.
    ///
    /// # Errors
    ///
    /// [`EntryError`] says why it may not.
    pub fn check_succession(&self, previous: &Entry) -> Result<(), EntryError> {
        if self.member != previous.member {
            return Err(EntryError::Member { known: previous.member.clone(), offered: self.member.clone() });
        }
        let member = &self.member;
        if self.version < previous.version {
            return Err(EntryError::Rollback {
                member: member.clone(),
                known: previous.version,
                offered: self.version,
            });
        }
        if self.version == previous.version {
            let same = self.note.text() == previous.note.text();
            return if same { Ok(()) } else { Err(EntryError::Fork { member: member.clone(), version: self.version }) };
        }
        let known = [previous.member_key.clone()];
        match self.note.verified_by(&known) {
            Ok(signers) if !signers.is_empty() => Ok(()),
            Ok(_) => Err(EntryError::KeyChanged {
                member: member.clone(),
                known: previous.member_key.id(),
                offered: self.member_key.id(),
            }),
            Err(source) => Err(EntryError::Signature { member: member.clone(), source }),
        }
    }
}

impl GatewayEntry {
    /// Returns a gateway without former keys. Its log origin follows from its id.
    #[must_use]
    pub fn new(id: GatewayId, address: Option<Address>, gateway_key: VerifierKey, log_key: VerifierKey) -> Self {
        Self {
            log_origin: id.log_origin(),
            id,
            address,
            server_name: None,
            gateway_key,
            former_gateway_keys: Vec::new(),
            log_key,
            former_log_keys: Vec::new(),
            retired: None,
        }
    }

    /// Returns the current gateway key, then the former ones.
    #[must_use]
    pub fn gateway_keys(&self) -> Vec<VerifierKey> {
        current_and_former(&self.gateway_key, &self.former_gateway_keys)
    }

    /// Returns the current log key, then the former ones.
    #[must_use]
    pub fn log_keys(&self) -> Vec<VerifierKey> {
        current_and_former(&self.log_key, &self.former_log_keys)
    }

    /// Says whether it is out of service at `now`.
    #[must_use]
    pub fn is_retired(&self, now: SystemTime) -> bool {
        self.retired.is_some_and(|retired| time::seconds(now) >= time::seconds(retired))
    }

    /// Returns the name to send in TLS when dialling it. `None` when it only asks.
    #[must_use]
    pub fn server_name(&self) -> Option<ServerName<'static>> {
        let named = self.server_name.as_ref().and_then(|name| ServerName::try_from(name.clone()).ok());
        named.or_else(|| self.address.as_ref().map(Address::server_name))
    }
}

/// An entry may not take the place of the one known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The two are of different members.
    #[error("the entry is of `{offered}`, not of `{known}`")]
    Member {
        /// Whose entry is known.
        known: MemberId,
        /// Whose entry is offered.
        offered: MemberId,
    },
    /// An older entry than the one known.
    #[error("the entry of `{member}` has version {offered}, but version {known} is known")]
    Rollback {
        /// The member.
        member: MemberId,
        /// The version known.
        known: u64,
        /// The version offered.
        offered: u64,
    },
    /// Two entries with one version.
    #[error("there are two different entries of `{member}` with version {version}")]
    Fork {
        /// The member.
        member: MemberId,
        /// The version that both have.
        version: u64,
    },
    /// Another member key, and no signature by the one known.
    #[error(
        "the entry of `{member}` has another member key ({offered:08x}), and the key known so far ({known:08x}) did not sign it"
    )]
    KeyChanged {
        /// The member.
        member: MemberId,
        /// The id of the member key known.
        known: u32,
        /// The id of the member key offered.
        offered: u32,
    },
    /// A signature in the name of the known key is wrong.
    #[error("the entry of `{member}` has a wrong signature")]
    Signature {
        /// The member.
        member: MemberId,
        /// What is wrong.
        source: NoteError,
    },
}

impl EntryError {
    /// Returns how to mend it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Member { .. } => "use the entry of the member in question".to_owned(),
            Self::Rollback { member, .. } => {
                format!("ask `{member}` for its present entry; somebody may be offering an old one on purpose")
            }
            Self::Fork { member, .. } => {
                format!("ask `{member}` which one is right; each change must count `version` up")
            }
            Self::KeyChanged { member, known, .. } => format!(
                "`{member}` must sign the entry with the key {known:08x} as well; if that key is lost, compare the new one with them by other means, remove their entry and add this one"
            ),
            Self::Signature { member, .. } => {
                format!("the entry was changed after it was signed; ask `{member}` for it again")
            }
        }
    }

    /// Returns it as a problem of `file`.
    #[must_use]
    pub fn problem(&self, file: impl Into<PathBuf>) -> Problem {
        let problem = Problem::new(file, self.to_string()).help(self.help());
        match std::error::Error::source(self) {
            Some(source) => problem.cause(source.to_string()),
            None => problem,
        }
    }
}

impl FormerKey {
    /// Says whether a signature made at `when` counts.
    #[must_use]
    pub fn covers(&self, when: SystemTime) -> bool {
        time::seconds(when) <= time::seconds(self.until)
    }
}

fn current_and_former(current: &VerifierKey, former: &[FormerKey]) -> Vec<VerifierKey> {
    std::iter::once(current).chain(former.iter().map(|former| &former.key)).cloned().collect()
}

#[cfg(test)]
pub(crate) mod tests;
