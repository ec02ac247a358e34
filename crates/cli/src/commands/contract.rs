//! `drawbridge contract`: what can be asked, before a gateway loads it.

mod diff;

use clap::Subcommand;

use crate::failure::Outcome;

/// Looks at contracts
#[derive(Debug, Subcommand)]
pub(crate) enum Contract {
    Diff(diff::Diff),
}

impl Contract {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Diff(diff) => diff.run(),
        }
    }
}
