//! Why a call is not permitted. What is told here is for the systems of one's own member; what crosses a link, the exchange decides.

use std::fmt;
use std::time::SystemTime;

use contract::Digest;
use federation::{MemberId, SystemId};
use thiserror::Error;

use crate::agreement::is_purpose;
use crate::agreements::Ask;
use crate::grant::MetadataKey;
use crate::time::shown;

/// Why a call is not permitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// No agreement between the two members is about the method.
    #[error("no agreement lets {0}")]
    NoAgreement(Box<Asked>),
    /// An agreement is about the method, and it names other systems. Across a link this is told as [`Denial::NoAgreement`].
    #[error("no agreement lets {asked}; agreements name these systems: {}", list(systems))]
    WrongSystem {
        /// What was asked.
        asked: Box<Asked>,
        /// The systems that are named, sorted.
        systems: Vec<SystemId>,
    },
    /// An agreement is about the method and the system, and it names other purposes.
    #[error("the agreement does not let {asked}; it names these purposes: {}", list(purposes))]
    WrongPurpose {
        /// What was asked.
        asked: Box<Asked>,
        /// The purposes that are named, sorted.
        purposes: Vec<String>,
    },
    /// Both members have signed, and the time has not come. Across a link this is told as [`Denial::NoAgreement`].
    #[error("the agreement `{agreement}` is in force from {}, not yet", shown(*from))]
    NotYetInForce {
        /// The agreement's id.
        agreement: String,
        /// When its time comes.
        from: SystemTime,
    },
    /// The agreement is over.
    #[error("the agreement `{agreement}` {ended}")]
    AgreementEnded {
        /// The agreement's id.
        agreement: String,
        /// How and when it ended.
        ended: Ended,
    },
    /// The agreement asks for metadata that did not come with the call.
    #[error("the agreement `{agreement}` asks for metadata that is missing: {}", list(keys))]
    MissingMetadata {
        /// The agreement's id.
        agreement: String,
        /// The keys that are missing, in the order of [`MetadataKey::ALL`].
        keys: Vec<MetadataKey>,
    },
    /// The agreement was made against another contract than the one that is loaded, which is not known to be backward compatible with it.
    #[error(
        "the agreement `{agreement}` was made against {pinned} of the contract `{service}`, and {loaded} is loaded"
    )]
    ContractMismatch {
        /// The agreement's id.
        agreement: String,
        /// The service.
        service: String,
        /// The digest in the agreement.
        pinned: Digest,
        /// The digest of the loaded contract.
        loaded: Digest,
    },
}

impl Denial {
    /// Returns how the caller's own member can mend it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Denial::NoAgreement(asked) | Denial::WrongSystem { asked, .. } => {
                format!(
                    "`drawbridge agreement new --provider {} --method {}` drafts one",
                    asked.provider,
                    asked.method()
                )
            }
            Denial::WrongPurpose { .. } => {
                "set `drawbridge-purpose` to the purpose that the call is made for, if the agreement has it".to_owned()
            }
            Denial::NotYetInForce { .. } => "call again then".to_owned(),
            Denial::AgreementEnded { .. } => "a new agreement has to be made and signed by both members".to_owned(),
            Denial::MissingMetadata { .. } => "send them as gRPC metadata with the call".to_owned(),
            Denial::ContractMismatch { .. } => {
                "`drawbridge check` says why that one does not do; load a contract that is backward compatible with the one that the \
                 agreement names, or make a new agreement"
                    .to_owned()
            }
        }
    }
}

/// What was asked, as far as it is fit to be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The system that asked.
    pub system: SystemId,
    /// The member that was asked.
    pub provider: MemberId,
    /// The path of the method, as in `/health.v1.Patients/Find`.
    pub path: String,
    /// The purpose. `None` when it is not the name of one: what a caller writes there by mistake is not repeated.
    pub purpose: Option<String>,
}

impl Asked {
    pub(crate) fn of(ask: &Ask<'_>) -> Self {
        Self {
            system: ask.system.clone(),
            provider: ask.provider.clone(),
            path: ask.method.to_owned(),
            purpose: is_purpose(ask.purpose).then(|| ask.purpose.to_owned()),
        }
    }

    /// Returns the method as people write it, without the first slash.
    #[must_use]
    pub fn method(&self) -> &str {
        self.path.strip_prefix('/').unwrap_or(&self.path)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` call `{}` of `{}`", self.system, self.method(), self.provider)?;
        match &self.purpose {
            Some(purpose) => write!(f, " for the purpose `{purpose}`"),
            None => f.write_str(" for this purpose"),
        }
    }
}

/// How an agreement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Its time is over.
    Expired {
        /// Since when.
        at: SystemTime,
    },
    /// A member ended it.
    ByNote {
        /// Which one.
        by: MemberId,
        /// When, as the end note says.
        at: SystemTime,
    },
}

impl Ended {
    /// Returns when it ended.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        match self {
            Ended::Expired { at } | Ended::ByNote { at, .. } => *at,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Expired { at } => write!(f, "expired at {}", shown(*at)),
            Ended::ByNote { by, at } => write!(f, "was ended by `{by}` at {}", shown(*at)),
        }
    }
}

fn list<T: fmt::Display>(words: &[T]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
