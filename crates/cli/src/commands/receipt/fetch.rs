//! `drawbridge receipt fetch`: asks the own gateway for the receipt of an exchange.

use std::path::PathBuf;

use clap::Args;
use records::ExchangeId;

use super::file;
use crate::{
    commands::call::{CallerOption, receipt_of},
    failure::Outcome,
    terminal::{Out, warn},
};

/// Fetches the receipt of an exchange from the own gateway, as the system that made it
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The exchange's id
    exchange: ExchangeId,
    #[command(flatten)]
    caller: CallerOption,
    /// The file to write. Default: `EXCHANGE.receipt`
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Fetch {
    pub(super) fn run(self) -> Outcome {
        let path = self.output.unwrap_or_else(|| format!("{}.receipt", self.exchange).into());
        let response = crate::commands::block_on(receipt_of(&self.caller, self.exchange))?;
        file::write(&path, &response.receipt.unwrap_or_default())?;
        if !response.complete {
            warn("no checkpoint of one of the logs covers the exchange yet; fetch the receipt again in a while");
        }
        Out::new().text(&format!("wrote {}\n", path.display()))
    }
}
