//! `drawbridge log show`: everything that is readable of an exchange or a record.

use clap::Args;
use records::Record;
use serde_json::{Value, json};

use super::{Which, claims, find, view::View};
use crate::{
    failure::{Outcome, because},
    place::LogOption,
    terminal::{Out, shown, some},
};

/// Shows everything that is recorded of an exchange, or one record by its index
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// An exchange's id, or the index of a record
    #[arg(value_name = "EXCHANGE|INDEX")]
    which: Which,
    #[command(flatten)]
    log: LogOption,
    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        let log = self.log.open()?;
        let found = find(&log, &self.which)?;
        let mut out = Out::new();
        for (at, record) in found.iter().enumerate() {
            if self.json {
                out.line(json(record)?)?;
                continue;
            }
            if at > 0 {
                out.line("")?;
            }
            tell(record, &mut out)?;
        }
        out.flush()
    }
}

fn json(record: &Record) -> Outcome<Value> {
    let failed = |error: &serde_json::Error| because("cannot write a record as JSON", error);
    let mut value = serde_json::to_value(View::of(record)).map_err(|error| failed(&error))?;
    let (Some(map), Some(opened)) = (value.as_object_mut(), &record.opened) else { return Ok(value) };
    if let Some(opening) = &opened.claims {
        map.insert("consumer_claims".to_owned(), claims::consumer_json(opening));
    }
    if let Some(closing) = &opened.closing {
        map.insert("provider_claims".to_owned(), claims::provider_json(closing));
    }
    if let Some(leaf) = &opened.shared.provider_closing_leaf {
        map.insert(
            "promise".to_owned(),
            json!({ "origin": leaf.origin, "index": leaf.index, "leaf": hex::encode(&leaf.leaf) }),
        );
    }
    map.insert("shared".to_owned(), record.leaf.shared.to_string().into());
    map.insert("private".to_owned(), record.leaf.private.to_string().into());
    Ok(value)
}

fn tell(record: &Record, out: &mut Out) -> Outcome {
    let view = View::of(record);
    let time = view
        .time
        .as_deref()
        .map(|time| format!(", {}", time.replace('T', " ").replace('Z', " UTC")))
        .unwrap_or_default();
    let side = if view.side.is_empty() { String::new() } else { format!(", {}'s side", view.side) };
    out.heading(format_args!("record {}: {}{side}{time}", view.index, view.kind))?;
    let mut line = |name: &str, value: &str| {
        if value.is_empty() { Ok(()) } else { out.line(format_args!("  {name:<15} {}", shown(value))) }
    };
    line("exchange", view.exchange.as_deref().unwrap_or_default())?;
    if !view.outcome.is_empty() {
        line("outcome", &format!("{}, after {} ms", view.ended(), view.duration_ms))?;
        line("where", &view.hop)?;
    }
    if view.messages > 0 || view.bytes > 0 {
        line("passed on", &format!("{}, {}", some(view.messages, "message"), some(view.bytes, "byte")))?;
    }
    line("command", view.command)?;
    line("metadata asked", &view.request_metadata.join(", "))?;
    line("and answered", &view.answer_metadata.join(", "))?;
    if view.count > 0 {
        let since = view.since.as_deref().unwrap_or_default();
        line("refusals", &format!("{} since {since}", view.count))?;
    }
    line("detail", &view.detail)?;
    line("conditions", &view.conditions.join(", "))?;
    let opened = record.opened.as_ref();
    match opened.and_then(|opened| opened.claims.as_ref()) {
        Some(opening) => claims::consumer(opening, out)?,
        None => unsigned(&view, out)?,
    }
    if let Some(closing) = opened.and_then(|opened| opened.closing.as_ref()) {
        claims::provider(closing, out)?;
    }
    if let Some(leaf) = opened.and_then(|opened| opened.shared.provider_closing_leaf.as_ref()) {
        out.line(format_args!("  {:<15} record {} of {}", "promised", leaf.index, shown(&leaf.origin)))?;
    }
    if opened.is_none() {
        out.line("  the record cannot be read, since the key of its segment is missing; who keeps the receipt can prove what it said")?;
    }
    out.line(format_args!("  {:<15} {}", "leaf", view.leaf))
}

/// What is known where nothing was signed: of a refusal before the claims, or an event.
fn unsigned(view: &View, out: &mut Out) -> Outcome {
    let asserted = |text: &str| if text.is_empty() { String::new() } else { format!("{text} (as the system asserts)") };
    let asked = [view.provider.as_str(), view.method.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" for ");
    let person = if view.role.is_empty() { view.actor.clone() } else { format!("{}, {}", view.actor, view.role) };
    let lines = [
        ("asked by", view.asker()),
        ("person", asserted(&person)),
        ("case", asserted(&view.case)),
        ("justification", asserted(&view.justification)),
        ("asked", asked),
        ("purpose", view.purpose.clone()),
        ("agreement", format!("{} {}", view.agreement, view.agreement_digest).trim().to_owned()),
    ];
    lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .try_for_each(|(name, value)| out.line(format_args!("  {name:<15} {}", shown(value))))
}
