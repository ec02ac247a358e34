//! `drawbridge log verify`: whether a log is whole, without trusting whoever keeps it.

use std::path::PathBuf;

use clap::Args;
use federation::Federation;
use ledger::{Report, Tail};
use problem::Problem;
use serde_json::{Value, json};

use super::{records, signatures};
use crate::{
    failure::{Failure, Outcome},
    place::{Log, LogOption, damaged, federation_of, read_failure, read_federation},
    terminal::{Out, grouped, some, warn},
};

/// Verifies a log: every record, every tile, the checkpoint, and with a directory every signature
///
/// The gateway may run meanwhile. The exit code is 1 when the log is not whole, and the file and the record are named.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    log: LogOption,
    /// The directory file, to hold the log's key and the gateways' signatures against. Default: that of the configuration
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// Tell what each step proves, and how to check it with tools of others
    #[arg(long, conflicts_with = "json")]
    explain: bool,
    /// Write JSON; also of a log that is not whole, beside the words on standard error
    #[arg(long)]
    json: bool,
}

/// What was found in the records.
#[derive(Default)]
struct Found {
    records: u64,
    erased: u64,
    signatures: u64,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let log = self.log.open()?;
        let federation = self.federation()?;
        let verified = self
            .ledger(&log, federation.as_ref())
            .and_then(|report| Ok((report, contents(&log, federation.as_ref())?)));
        let mut out = Out::new();
        match (&verified, self.json) {
            (Ok((report, found)), true) => out.line(json_of(&log, report, found, federation.is_some()))?,
            (Ok((report, found)), false) => self.tell(&log, report, found, federation.is_some(), &mut out)?,
            (Err(failure), true) => out.line(json!({
                "log": log.reader.origin(),
                "whole": false,
                "problems": failure.words(),
            }))?,
            (Err(_), false) => {}
        }
        out.flush()?;
        verified.map(drop)
    }

    fn federation(&self) -> Outcome<Option<Federation>> {
        match (&self.directory, &self.log.data) {
            (Some(path), _) => read_federation(path).map(Some),
            (None, Some(_)) => Ok(None),
            (None, None) => federation_of(&self.log.config.read()?).map(Some),
        }
    }

    /// Everything that can be checked without knowing what a leaf means.
    fn ledger(&self, log: &Log, federation: Option<&Federation>) -> Outcome<Report> {
        let origin = log.reader.origin();
        if let Some(federation) = federation {
            let keys = federation.log_keys(origin);
            if !keys.contains(log.reader.key()) {
                let what = format!("the directory does not list the key of the log `{origin}`, {}", log.reader.key());
                return Err(Problem::new(log.folder.join("tlog/log.vkey"), what)
                    .help("either the log or the directory is not the one it seems to be")
                    .into());
            }
        }
        let report = log.reader.verify(Some(log.reader.key())).map_err(|error| read_failure(&log.folder, &error))?;
        if let Some(fault) = &report.fault {
            return Err(self.fault(damaged(fault)));
        }
        if let Tail::Unfinished { file, offset, bytes } = &report.tail {
            warn(format_args!(
                "{bytes} bytes from byte {offset} of `{}` on are a batch that is being written, or was cut short; the next start moves it aside",
                file.display()
            ));
        }
        Ok(report)
    }

    fn fault(&self, problem: Problem) -> Failure {
        if self.explain {
            warn(
                "every record is linked to the one before by a hash, and its leaf to the signed root: so a byte that was changed shows in the record that holds it, or where the hashes no longer meet",
            );
        }
        problem.into()
    }

    fn tell(&self, log: &Log, report: &Report, found: &Found, listed: bool, out: &mut Out) -> Outcome {
        out.heading(format_args!("{}: the log {} is whole", log.folder.display(), log.reader.origin()))?;
        let erased =
            if found.erased == 0 { String::new() } else { format!(", {} of them erased", grouped(found.erased)) };
        out.line(format_args!(
            "  records     {}{erased}, in {} of the journal; each fits its leaf and the record before it",
            grouped(found.records),
            some(report.segments, "segment")
        ))?;
        self.explained("a record's body is salted and hashed into its leaf, and each frame of the journal holds the hash of the one before", out)?;
        out.line(format_args!(
            "  tiles       {} of hashes and {} of entries; each fits the journal",
            report.hash_tiles, report.entry_tiles
        ))?;
        self.explained("tiles lie in `tlog/` as C2SP tlog-tiles describes them, so that other tools read them", out)?;
        let root = report.root.map(|root| root.to_string()).unwrap_or_default();
        out.line(format_args!("  checkpoint  {}, root {root}", some(report.size, "record")))?;
        self.explained(
            "the root is recomputed from the records (RFC 9162), and the checkpoint is a C2SP signed note over it",
            out,
        )?;
        if listed {
            out.line(format_args!("  key         {}, as the directory lists it", log.reader.key()))?;
            out.line(format_args!(
                "  signatures  {} of both sides' gateways, by keys in the directory",
                grouped(found.signatures)
            ))?;
            self.explained(
                "each is over the claims, the provider's over its promise as well; of what a gateway refused its own systems, over the exchange's id and the leaf",
                out,
            )
        } else {
            out.line(format_args!("  key         {}, as the log's folder has it", log.reader.key()))?;
            out.line("              whether it is the right one, `--directory FILE` tells: a log that was forged as a whole verifies without")
        }
    }

    fn explained(&self, why: &str, out: &mut Out) -> Outcome {
        if self.explain { out.line(format_args!("              {why}")) } else { Ok(()) }
    }
}

/// What was verified, for programs. `signatures` is null where no directory was given.
fn json_of(log: &Log, report: &Report, found: &Found, listed: bool) -> Value {
    let unfinished = match &report.tail {
        Tail::Clean => Value::Null,
        Tail::Unfinished { file, offset, bytes } => json!({ "file": file, "offset": offset, "bytes": bytes }),
    };
    json!({
        "log": log.reader.origin(),
        "whole": true,
        "records": found.records,
        "erased": found.erased,
        "segments": report.segments,
        "hash_tiles": report.hash_tiles,
        "entry_tiles": report.entry_tiles,
        "checkpoint": { "size": report.size, "root": report.root.map(|root| root.to_string()) },
        "key": log.reader.key().to_string(),
        "key_listed": listed,
        "signatures": listed.then_some(found.signatures),
        "unfinished": unfinished,
    })
}

/// Holds every body against its leaf, and with a directory every signature against the keys in it.
fn contents(log: &Log, federation: Option<&Federation>) -> Outcome<Found> {
    let mut found = Found::default();
    for record in records(log) {
        let record = record?;
        found.records = found.records.saturating_add(1);
        if record.opened.is_none() {
            found.erased = found.erased.saturating_add(1);
        }
        let Some(federation) = federation else { continue };
        let signatures = signatures::verify(&record, log.reader.origin(), federation).map_err(|fault| {
            Problem::new(&log.folder, format!("the signatures of record {} do not verify", record.index))
                .cause(fault)
                .help("either the record was forged, or the directory lacks the gateway that signed; `drawbridge log show` shows the record")
        })?;
        found.signatures = found.signatures.saturating_add(signatures);
    }
    Ok(found)
}
