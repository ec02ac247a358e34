//! `drawbridge agreement check`: everything that is wrong with an agreement.

use std::path::PathBuf;

use clap::Args;
use federation::MemberId;

use super::{Known, read};
use crate::{
    failure::Outcome,
    moments,
    place::ConfigOption,
    terminal::{Out, warn},
};

/// Checks agreements: their text, and with a configuration the contracts, the members and the signatures
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
        let mut fine = Vec::new();
        for path in &self.files {
            match read(path) {
                Err(failure) => problems.extend(failure.into_problems()),
                Ok(agreement) => {
                    let found = known.as_ref().map(|known| known.problems(&agreement)).unwrap_or_default();
                    if found.is_empty() {
                        fine.push((path, agreement));
                    }
                    problems.extend(found);
                }
            }
        }
        let mut out = Out::new();
        for (path, agreement) in fine {
            let state = match &known {
                None => "its text is in order".to_owned(),
                Some(known) => {
                    let signatures = agreement.signatures(&|member: &MemberId| known.keys(member))?;
                    agreement.state(signatures, &super::ends(&agreement, known)?, moments::now()).to_string()
                }
            };
            out.line(format_args!("{}: agreement {}, {state}", path.display(), agreement.agreement().id()))?;
        }
        out.flush()?;
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}
