//! `drawbridge demo`: three members on this machine, and the story that they tell.

use std::path::PathBuf;

use clap::Args;
use demo::story::{self, Ending, Options};

use crate::failure::{Failure, Outcome, because};

/// Shows it: three members on this machine ask one another's systems
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the story; the exit code tells whether every step ended as told
    #[arg(long)]
    once: bool,
    /// Write the members' folders here, and keep them. Default: a temporary folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self) -> Outcome {
        let options = Options { once: self.once, keep: self.keep, binary: None };
        super::block_on(async {
            match story::run(options).await {
                Ok(Ending::AsTold) => Ok(()),
                // The teller has marked them.
                Ok(Ending::Broken(_)) => Err(Failure::told()),
                Err(error) => Err(because("the demonstration cannot go on", &error).into()),
            }
        })
    }
}
