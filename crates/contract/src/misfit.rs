//! Why a request may not be asked: its bytes are not of the contract's form, or its values break the contract's rules.

use crate::malformed::Malformed;
use crate::rules::Violations;

/// A request that the contract does not allow. It never holds a value, so it may be shown and logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The bytes are not a message of the contract: the first defect met. Rules are not looked at then.
    #[error(transparent)]
    Form(#[from] Malformed),
    /// The form is right, and values in it break rules: all of them.
    #[error(transparent)]
    Values(#[from] Violations),
}

impl Misfit {
    /// Returns the defect of the form, where that is what is wrong.
    #[must_use]
    pub fn form(&self) -> Option<&Malformed> {
        match self {
            Self::Form(malformed) => Some(malformed),
            Self::Values(_) => None,
        }
    }

    /// Returns the rules that are broken, where that is what is wrong.
    #[must_use]
    pub fn violations(&self) -> Option<&Violations> {
        match self {
            Self::Form(_) => None,
            Self::Values(violations) => Some(violations),
        }
    }
}
