//! `drawbridge receipt verify`: checks a receipt with the directory alone.

use std::path::PathBuf;

use clap::Args;
use problem::Problem;
use proto::link::ConsumerClaims;
use records::{VerifiedReceipt, receipt};
use serde_json::json;

use super::file;
use crate::{
    commands::{call::status_name, log::claims},
    failure::{Failure, Outcome},
    moments,
    place::{ConfigOption, federation_of, read_federation},
    terminal::{Out, warn},
};

/// Verifies a receipt offline, with the keys in the directory alone
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The receipt
    file: PathBuf,
    /// The directory file. Default: that of the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let receipt = file::read(&self.file)?;
        let federation = match &self.directory {
            Some(path) => read_federation(path)?,
            None => federation_of(&self.config.read_if_there()?.ok_or_else(no_directory)?)?,
        };
        let mut out = Out::new();
        let verified = match receipt::verify(&receipt, &federation) {
            Ok(verified) => verified,
            Err(fault) => {
                if self.json {
                    out.line(json!({ "exchange": receipt.exchange_id, "genuine": false, "why": fault.to_string() }))?;
                    out.flush()?;
                }
                let problem = Problem::new(&self.file, "the receipt does not verify").cause(fault.to_string());
                let help =
                    "it proves nothing; either it was changed, or the directory does not list those who signed it";
                return Err(problem.help(help).into());
            }
        };
        if self.json {
            out.line(json(&verified))?;
            return out.flush();
        }
        tell(&verified, &mut out)?;
        out.flush()?;
        if !covered(&verified) {
            warn(
                "not every log's checkpoint covers the exchange in this receipt; fetch it again with `drawbridge receipt fetch`",
            );
        }
        Ok(())
    }
}

fn no_directory() -> Failure {
    Failure::usage(
        "no directory is named to verify with, and there is no `gateway.toml` here",
        "name a directory file with `--directory FILE`: whoever has the receipt needs no gateway, and no more than that file",
    )
}

fn covered(verified: &VerifiedReceipt) -> bool {
    verified.consumer_covered && (verified.provider_covered || verified.closing.is_none())
}

fn tell(verified: &VerifiedReceipt, out: &mut Out) -> Outcome {
    out.heading(format_args!("exchange {}: the receipt is genuine", verified.exchange))?;
    if verified.claims.method.is_empty() {
        let ConsumerClaims { consumer, consumer_gateway, time, .. } = &verified.claims;
        claims::refused_unasked(&format!("{consumer}, gateway {consumer_gateway}"), *time, out)?;
    } else {
        claims::consumer(&verified.claims, out)?;
    }
    if let Some(closing) = &verified.closing {
        claims::provider(closing, out)?;
    } else {
        claims::settled_alone(&verified.consumer, out)?;
    }
    let is = |yes: bool| if yes { "covered by a signed checkpoint" } else { "promised; no checkpoint in this receipt" };
    out.line(format_args!("  consumer's log  {}", is(verified.consumer_covered)))?;
    if verified.closing.is_some() {
        out.line(format_args!("  provider's log  {}", is(verified.provider_covered)))?;
    }
    Ok(())
}

fn json(verified: &VerifiedReceipt) -> serde_json::Value {
    json!({
        "exchange": verified.exchange.to_string(),
        "time": moments::for_programs(verified.claims.time),
        "genuine": true,
        "consumer": claims::consumer_json(&verified.claims),
        "provider": verified.closing.as_ref().map(claims::provider_json),
        "status": status_name(signed(verified.consumer.status)),
        "refusal": Some(&verified.consumer.refusal).filter(|reason| !reason.is_empty()),
        "consumer_log_covers_it": verified.consumer_covered,
        "provider_log_covers_it": verified.provider_covered,
    })
}

fn signed(status: u32) -> i32 {
    i32::try_from(status).unwrap_or(i32::MAX)
}
