//! `drawbridge receipt show`: what a receipt says, before anything of it is believed.

use std::path::PathBuf;

use clap::Args;
use problem::Problem;
use prost::Message as _;
use proto::{
    exchange::Disclosure,
    link::{ConsumerClaims, ProviderClosing},
    records::Shared,
};
use records::ExchangeId;

use super::file;
use crate::{
    commands::log::claims,
    failure::Outcome,
    terminal::{Out, warn},
};

/// Shows what a receipt says. Nothing of it is verified
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The receipt
    file: PathBuf,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        let receipt = file::read(&self.file)?;
        let mut out = Out::new();
        out.heading(format_args!("receipt of exchange {}", crate::terminal::shown(&receipt.exchange_id)))?;
        if let Some(consumer) = &receipt.consumer {
            self.exchange(consumer, &mut out)?;
            part("consumer", consumer, &mut out)?;
        }
        match &receipt.provider {
            Some(provider) => part("provider", provider, &mut out)?,
            None => out.line("  provider's log  nothing: the provider's gateway gave no signed answer")?,
        }
        out.flush()?;
        warn("nothing of this is verified; `drawbridge receipt verify` does that");
        Ok(())
    }

    /// What the consumer's half says of the exchange. Of one that was refused early there are no claims: its log says who refused.
    fn exchange(&self, consumer: &Disclosure, out: &mut Out) -> Outcome {
        let shared = Shared::decode(consumer.shared.clone()).map_err(|_| self.cut())?;
        if shared.consumer_claims.is_empty() {
            let id = ExchangeId::from_bytes(&shared.exchange_id).map_err(|_| self.cut())?;
            claims::refused_unasked(&format!("the gateway of the log {}", consumer.origin), id.time(), out)?;
        } else {
            let opening = ConsumerClaims::decode(shared.consumer_claims.clone()).map_err(|_| self.cut())?;
            claims::consumer(&opening, out)?;
        }
        if shared.provider_closing.is_empty() {
            claims::settled_alone(&shared, out)
        } else {
            let closing = ProviderClosing::decode(shared.provider_closing.clone()).map_err(|_| self.cut())?;
            claims::provider(&closing, out)
        }
    }

    fn cut(&self) -> Problem {
        Problem::new(&self.file, "a part of the receipt cannot be read").help("`drawbridge receipt verify` says which")
    }
}

fn part(side: &str, part: &Disclosure, out: &mut Out) -> Outcome {
    let covered = if part.checkpoint.is_empty() { "no checkpoint yet" } else { "with a checkpoint" };
    out.line(format_args!(
        "  {:<15} {}, record {}, {covered}",
        format!("{side}'s log"),
        crate::terminal::shown(&part.origin),
        part.index
    ))
}
