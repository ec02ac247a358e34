//! `drawbridge log compare`: whether two gateways' logs tell the same.

use std::path::PathBuf;

use clap::Args;
use records::{Comparison, Kind, Record, compare};
use serde_json::{Value, json};

use super::records;
use crate::{
    failure::{Failure, Outcome},
    place::Log,
    terminal::{Out, shown, some},
};

/// Holds the logs of two gateways against each other, exchange by exchange
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The data folder of one gateway
    #[arg(value_name = "DATA")]
    left: PathBuf,
    /// The data folder of the other
    #[arg(value_name = "OTHER")]
    right: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(super) fn run(self) -> Outcome {
        let (left, right) = (Log::open(&self.left)?, Log::open(&self.right)?);
        let (left_keeper, right_keeper) = (left.keeper()?, right.keeper()?);
        let (a, b) = (left_keeper.member().as_str(), right_keeper.member().as_str());
        if left_keeper == right_keeper {
            return Err(Failure::usage(
                format!("both folders hold the log of {left_keeper}"),
                "name the folders of two gateways that asked one another",
            ));
        }
        let (left_records, right_records) = (between(&left, a, b)?, between(&right, a, b)?);
        let compared = compare((a, left_records.iter()), (b, right_records.iter()));
        let mut out = Out::new();
        let unexplained = compared.differences.iter().filter(|difference| !difference.explained).count();
        if self.json {
            out.line(json_of((a, b), &compared, unexplained))?;
            out.flush()?;
            return if unexplained == 0 { Ok(()) } else { Err(Failure::told()) };
        }
        out.heading(format_args!("{a} and {b}: both logs tell {} alike", some(compared.agreeing, "exchange")))?;
        for difference in &compared.differences {
            let mark = if difference.explained { "explained  " } else { "UNEXPLAINED" };
            out.line(format_args!("  {mark}  {}  {}", difference.exchange, shown(&difference.what)))?;
        }
        if compared.differences.is_empty() {
            out.line("  no differences")?;
        } else if unexplained == 0 {
            out.line("  an exchange that was cut off, cancelled or refused before it crossed is told so by the side that knows; nothing is missing")?;
        } else {
            out.line(format_args!("  {unexplained} unexplained: look at each with `drawbridge log show --data FOLDER EXCHANGE` on both sides"))?;
        }
        out.flush()?;
        if unexplained == 0 { Ok(()) } else { Err(Failure::told()) }
    }
}

fn json_of((left, right): (&str, &str), compared: &Comparison, unexplained: usize) -> Value {
    let differences = compared.differences.iter().map(|difference| {
        json!({
            "exchange": difference.exchange.to_string(),
            "what": difference.what,
            "explained": difference.explained,
        })
    });
    json!({
        "members": [left, right],
        "agreeing": compared.agreeing,
        "unexplained": unexplained,
        "differences": differences.collect::<Vec<_>>(),
    })
}

/// The records of exchanges between two members, and the events, which say when a gateway was killed. The rest is not kept in
/// memory.
fn between(log: &Log, a: &str, b: &str) -> Outcome<Vec<Record>> {
    let is_between = |record: &Record| {
        record.opened.as_ref().is_some_and(|opened| {
            let parties = (opened.private.consumer.as_str(), opened.private.provider.as_str());
            parties == (a, b) || parties == (b, a)
        })
    };
    let counts = |record: &Record| record.kind() == Kind::Event || is_between(record);
    records(log).filter(|record| record.as_ref().map_or(true, counts)).collect()
}
