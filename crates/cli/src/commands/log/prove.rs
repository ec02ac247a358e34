//! `drawbridge log prove`: that a record is in the log, for a tool that knows nothing of exchanges.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use ledger::merkle;
use problem::Problem;
use serde_json::json;

use super::{Which, find};
use crate::{
    failure::{Outcome, because},
    files,
    place::{LogOption, read_failure},
    terminal::Out,
};

/// First value of what a proof says it is.
const FORMAT: &str = "drawbridge.proof/v1";

/// Proves that a record is in the log: its leaf, the path to the root, and the signed checkpoint
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// An exchange's id, or the index of a record
    #[arg(value_name = "EXCHANGE|INDEX")]
    which: Which,
    #[command(flatten)]
    log: LogOption,
    /// The file to write. Default: standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Prove {
    pub(super) fn run(self) -> Outcome {
        let log = self.log.open()?;
        let found = find(&log, &self.which)?;
        // Of an exchange, the record that settled it; where nothing did, the newest.
        let Some(record) = found.iter().find(|record| record.settles()).or(found.last()) else { return Ok(()) };
        let (checkpoint, note) = log.reader.checkpoint().map_err(|error| read_failure(&log.folder, &error))?;
        if record.index >= checkpoint.size {
            let what =
                format!("no checkpoint covers record {} yet; the newest covers {}", record.index, checkpoint.size);
            return Err(Problem::new(&log.folder, what)
                .help("a gateway that runs makes one each second; where it was stopped, the next start does")
                .into());
        }
        let path = log
            .reader
            .inclusion(record.index, checkpoint.size)
            .map_err(|error| because("cannot make the proof", &error))?;
        let leaf = record.leaf.hash();
        merkle::verify_inclusion(leaf, record.index, checkpoint.size, &path, checkpoint.root).map_err(|_| {
            Problem::new(&log.folder, format!("the tiles do not prove record {}", record.index))
                .help(ledger::Damage::HELP)
        })?;
        let proof = json!({
            "format": FORMAT,
            "origin": checkpoint.origin,
            "index": record.index,
            "exchange": record.exchange().map(|id| id.to_string()),
            "entry": STANDARD.encode(record.leaf.entry()),
            "leaf": leaf.to_base64(),
            "path": path.iter().map(ledger::Hash::to_base64).collect::<Vec<_>>(),
            "checkpoint": note.to_string(),
            "log_key": log.reader.key().to_string(),
        });
        let text = serde_json::to_string_pretty(&proof).map_err(|error| because("cannot write the proof", &error))?;
        match &self.output {
            None => Out::new().text(&format!("{text}\n")),
            Some(file) => {
                files::create(file, &format!("{text}\n"), files::PUBLIC)?;
                Out::new().text(&format!("wrote {}\n", file.display()))
            }
        }
    }
}
