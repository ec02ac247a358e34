//! `drawbridge receipt`: proof of one exchange that anybody with the directory can check.

mod fetch;
mod file;
mod show;
mod verify;

use clap::Subcommand;

use crate::failure::Outcome;

pub(super) use file::write;

/// Fetches, shows and verifies receipts of exchanges
#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    Verify(verify::Verify),
    Show(show::Show),
    Fetch(fetch::Fetch),
}

impl Receipt {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Verify(verify) => verify.run(),
            Self::Show(show) => show.run(),
            Self::Fetch(fetch) => fetch.run(),
        }
    }
}
