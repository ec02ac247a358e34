//! One grant of an agreement: which methods of one service, for which systems and purposes, and which fields of the answers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use contract::{Digest, Kind, Selector};
use federation::SystemId;

/// One grant. Nothing in it is checked against a contract yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The full name of the service, such as `health.v1.Patients`.
    pub service: Arc<str>,
    /// The digest of the contract that the two members looked at.
    pub digest: Digest,
    /// Names of methods of the service, as the agreement orders them. Never empty.
    pub methods: Vec<Arc<str>>,
    /// The consumer's systems that may ask. Never empty.
    pub systems: Arc<BTreeSet<SystemId>>,
    /// Names of purposes of the agreement. Never empty.
    pub purposes: Vec<Arc<str>>,
    /// The fields of the answers that leave the provider.
    pub fields: Selector,
    /// Metadata that must come with the call.
    pub required: Required,
    /// What the methods do, where the contract does not say it.
    pub kind: Option<Kind>,
    /// Keys of the application's metadata that may cross, in lower case.
    pub application_metadata: Arc<BTreeSet<String>>,
    /// How much may be asked.
    pub limits: Limits,
}

/// A piece of metadata that an agreement may ask for, since the two members want it in their exchange logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataKey {
    /// Who acts, as the consumer's system asserts it.
    Actor,
    /// The case that the call belongs to.
    Case,
    /// Why the call is made, in free text.
    Justification,
}

impl MetadataKey {
    /// All of them, in the order in which they are told.
    pub const ALL: [MetadataKey; 3] = [MetadataKey::Actor, MetadataKey::Case, MetadataKey::Justification];

    /// Returns the word that an agreement uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            MetadataKey::Actor => "actor",
            MetadataKey::Case => "case",
            MetadataKey::Justification => "justification",
        }
    }
}

/// Writes the gRPC metadata key, such as `drawbridge-actor`.
impl fmt::Display for MetadataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drawbridge-{}", self.word())
    }
}

/// The metadata that a grant asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// `drawbridge-actor`.
    pub actor: bool,
    /// `drawbridge-case`.
    pub case: bool,
    /// `drawbridge-justification`.
    pub justification: bool,
}

impl Required {
    /// Returns whether `key` is asked for.
    #[must_use]
    pub fn asks_for(self, key: MetadataKey) -> bool {
        match key {
            MetadataKey::Actor => self.actor,
            MetadataKey::Case => self.case,
            MetadataKey::Justification => self.justification,
        }
    }

    /// Returns the keys asked for, in the order of [`MetadataKey::ALL`].
    pub fn keys(self) -> impl Iterator<Item = MetadataKey> {
        MetadataKey::ALL.into_iter().filter(move |key| self.asks_for(*key))
    }

    pub(crate) fn add(&mut self, key: MetadataKey) {
        match key {
            MetadataKey::Actor => self.actor = true,
            MetadataKey::Case => self.case = true,
            MetadataKey::Justification => self.justification = true,
        }
    }
}

/// How much may be asked under a grant. `None` is no limit. Each is at least 1. [`crate::Meter`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls in one second, by UTC.
    pub calls_per_second: Option<u64>,
    /// Calls in one day, by UTC.
    pub calls_per_day: Option<u64>,
    /// Messages of answers in one day, by UTC.
    pub rows_per_day: Option<u64>,
    /// Messages of one answer.
    pub rows_per_call: Option<u64>,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.calls_per_second, "calls a second"),
            (self.calls_per_day, "calls a day"),
            (self.rows_per_day, "rows a day"),
            (self.rows_per_call, "rows a call"),
        ];
        let told: Vec<String> =
            all.into_iter().filter_map(|(limit, of)| limit.map(|limit| format!("{limit} {of}"))).collect();
        if told.is_empty() { f.write_str("none") } else { f.write_str(&told.join(", ")) }
    }
}
