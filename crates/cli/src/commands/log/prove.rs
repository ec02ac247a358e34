//! `drawbridge log prove`: that a record is in the log, for a tool that knows nothing of exchanges.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use ledger::{Checkpoint, Hash, merkle};
use problem::Problem;
use records::Record;
use serde_json::json;

use super::{Which, find};
use crate::{
    failure::{Outcome, because},
    files,
    place::{LogOption, read_failure},
    terminal::{Out, shown, some},
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
    /// Write the proof as JSON
    #[arg(long)]
    json: bool,
    /// The file to write the proof to, as JSON
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
        let proof = Proof { record, path, checkpoint, note: note.to_string(), key: log.reader.key().to_string() };
        if let Some(file) = &self.output {
            files::create(file, &format!("{}\n", proof.json()?), files::PUBLIC)?;
            return Out::new().text(&format!("wrote {}\n", file.display()));
        }
        let mut out = Out::new();
        if self.json {
            out.line(proof.json()?)?;
        } else {
            proof.tell(&mut out)?;
        }
        out.flush()
    }
}

/// A proof that was verified.
struct Proof<'r> {
    record: &'r Record,
    path: Vec<Hash>,
    checkpoint: Checkpoint,
    /// The checkpoint with its signatures.
    note: String,
    key: String,
}

impl Proof<'_> {
    fn json(&self) -> Outcome<String> {
        let proof = json!({
            "format": FORMAT,
            "origin": self.checkpoint.origin,
            "index": self.record.index,
            "exchange": self.record.exchange().map(|id| id.to_string()),
            "entry": STANDARD.encode(self.record.leaf.entry()),
            "leaf": self.record.leaf.hash().to_base64(),
            "path": self.path.iter().map(Hash::to_base64).collect::<Vec<_>>(),
            "checkpoint": self.note,
            "log_key": self.key,
        });
        serde_json::to_string_pretty(&proof).map_err(|error| because("cannot write the proof", &error).into())
    }

    fn tell(&self, out: &mut Out) -> Outcome {
        let Self { record, path, checkpoint, note, key } = self;
        out.heading(format_args!("record {} is in the log {}", record.index, checkpoint.origin))?;
        let mut line = |name: &str, value: &str| out.line(format_args!("  {name:<10}  {}", shown(value)));
        if let Some(exchange) = record.exchange() {
            line("exchange", &exchange.to_string())?;
        }
        line("entry", &STANDARD.encode(record.leaf.entry()))?;
        line("leaf", &record.leaf.hash().to_base64())?;
        for (at, hash) in path.iter().enumerate() {
            line(if at == 0 { "path" } else { "" }, &hash.to_base64())?;
        }
        line("root", &checkpoint.root.to_base64())?;
        line("checkpoint", &format!("of {}, signed:", some(checkpoint.size, "record")))?;
        for text in note.lines() {
            line("", text)?;
        }
        line("key", key)?;
        out.line("  the path leads from the leaf to the root (RFC 9162), and the checkpoint is a signed note over it; `--json` writes it for tools")
    }
}
