//! `drawbridge agreement check`: everything that is wrong with an agreement.

use std::path::PathBuf;

use clap::Args;
use federation::MemberId;
use gateway::load;
use policy::{AgreementFile, Served, Standing, Told};

use super::{Known, read};
use crate::{
    failure::Outcome,
    moments,
    place::ConfigOption,
    terminal::{Out, warn},
};

/// Checks agreements: their text, and with a configuration the contracts, the members and the signatures
///
/// Of each it says how it stands: draft, in force, near its end, over, and whether it can be served with the contracts that are loaded
/// here. The exit code is 1 when something is wrong with one.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The agreements, drafts or signed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let known = Known::read_if_there(&self.config)?;
        if known.is_none() {
            warn(
                "without a configuration, contracts, members and signatures are not looked at; name one with `--config`",
            );
        }
        let mut problems = Vec::new();
        let mut out = Out::new();
        for path in &self.files {
            let agreement = match read(path) {
                Ok(agreement) => agreement,
                Err(failure) => {
                    problems.extend(failure.into_problems());
                    continue;
                }
            };
            let state = match &known {
                None => Some("its text is in order".to_owned()),
                Some(known) => {
                    problems.extend(known.problems(&agreement));
                    load::not_carried(agreement.agreement(), &known.contracts).iter().for_each(warn);
                    state(&agreement, known)?
                }
            };
            if let Some(state) = state {
                out.line(format_args!("{}: agreement {}, {state}", path.display(), agreement.agreement().id()))?;
            }
        }
        out.flush()?;
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}

/// Says how an agreement stands by signatures, time and contracts; nothing where its signatures are wrong.
fn state(agreement: &AgreementFile, known: &Known) -> Outcome<Option<String>> {
    let Ok(signatures) = agreement.signatures(&|member: &MemberId| known.keys(member)) else { return Ok(None) };
    let now = moments::now();
    let state = agreement.state(signatures, &super::ends(agreement, known)?, now);
    let served = Served::of(&Standing::of(agreement.agreement(), &known.contracts));
    Ok(Some(Told { state: &state, served, now }.to_string()))
}
