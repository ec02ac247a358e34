//! `drawbridge agreement show`: who may ask what, for which purpose, and what they get.

use clap::Args;
use federation::MemberId;
use policy::Summary;

use super::{Known, ends, find};
use crate::{failure::Outcome, moments, place::ConfigOption, terminal::Out};

/// Shows an agreement: how it stands, who may ask what, for which purpose, and which fields are withheld
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The agreement's file; or its id or digest, where it lies in the gateway's folder of agreements
    #[arg(value_name = "FILE|ID")]
    agreement: String,
    #[command(flatten)]
    config: ConfigOption,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        let known = Known::read(&self.config)?;
        let agreement = find(&self.agreement, Some(&known))?;
        let signatures = agreement.signatures(&|member: &MemberId| known.keys(member))?;
        let ends = ends(&agreement, &known)?;
        let summary = Summary::of(&agreement, signatures, &ends, &known.contracts, moments::now());
        Out::new().text(&summary.to_string())
    }
}
