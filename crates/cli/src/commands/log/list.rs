//! `drawbridge log list`: who asked whom, what and why, and how it ended.

use std::collections::VecDeque;

use clap::Args;
use exchange::{OUTCOMES, Reason};
use federation::{IdError, MemberId, SystemId};
use problem::nearest;
use records::{ExchangeId, Filter, Record};

use super::{
    records,
    view::{View, reason},
};
use crate::{
    failure::{Failure, Outcome, because},
    moments,
    place::LogOption,
    table::{Column, Table},
    terminal::Out,
};

/// Lists what was asked, refusals included; the newest last
#[derive(Debug, Args)]
#[command(after_help = NOTE)]
pub(crate) struct List {
    #[command(flatten)]
    log: LogOption,
    /// Not before: a moment (2027-11-24T09:30:00Z), the beginning of a day in UTC (2027-11-24), or how long ago (2h, 7days)
    #[arg(long, value_name = "WHEN", value_parser = moments::parse)]
    from: Option<u64>,
    /// Only before this moment, written as for `--from`
    #[arg(long, value_name = "WHEN", value_parser = moments::parse)]
    until: Option<u64>,
    /// The member that asked or was asked
    #[arg(long, value_name = "MEMBER", value_parser = member)]
    member: Option<MemberId>,
    /// The system that asked: its name, or member/name
    #[arg(long, value_name = "SYSTEM", value_parser = system)]
    system: Option<String>,
    /// The method, as in housing.v1.Tenancies/Find, or all of a service, as in housing.v1.Tenancies
    #[arg(long, value_name = "SERVICE[/METHOD]")]
    method: Option<String>,
    /// The purpose, as the call named it
    #[arg(long)]
    purpose: Option<String>,
    /// The person for whom the system says it asked: the id, or as a call takes it, `ID;role=ROLE`
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// The case, as the call named it
    #[arg(long)]
    case: Option<String>,
    /// How it ended: answered, refused, cancelled, unanswered or failed; or the reason, as in `NO_AGREEMENT` (`drawbridge explain` lists
    /// them)
    #[arg(long, value_parser = outcome)]
    outcome: Option<String>,
    /// One exchange by its id, with its intent and progress
    #[arg(long, value_name = "ID")]
    exchange: Option<ExchangeId>,
    /// Also intents, progress, and what the gateway itself did, such as starts and reloads; also records whose key is missing
    #[arg(long)]
    all_kinds: bool,
    /// Only the newest N of what is found
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Also how many messages, agreement, person, case and the exchange's id
    #[arg(long, conflicts_with = "json")]
    wide: bool,
    /// Write one JSON object a line, with all that `--wide` shows and more
    #[arg(long)]
    json: bool,
}

/// What is to be known about all of the options.
const NOTE: &str = "\
A row tells of one exchange, as the gateway whose log this is settled it. Several conditions have to be met together. Moments are in UTC. \
Persons and cases are what the asking member says they are.";

impl List {
    pub(super) fn run(self) -> Outcome {
        self.has_a_time()?;
        let log = self.log.open()?;
        let filter = self.filter();
        let mut out = Out::new();
        let mut table = Table::new(columns(self.wide));
        let mut newest: VecDeque<View> = VecDeque::new();
        let (mut left_out, mut found, mut unreadable) = (0_u64, false, 0_u64);
        for record in records(&log) {
            let record = record?;
            unreadable = unreadable.saturating_add(u64::from(record.opened.is_none()));
            if !filter.admits(&record) || !self.ended_so(&record) {
                continue;
            }
            found = true;
            let view = View::of(&record);
            match self.limit {
                None => self.write(&view, &mut table, &mut out)?,
                Some(limit) => {
                    newest.push_back(view);
                    if newest.len() > limit {
                        newest.pop_front();
                        left_out = left_out.saturating_add(1);
                    }
                }
            }
        }
        for view in &newest {
            self.write(view, &mut table, &mut out)?;
        }
        table.finish(&mut out)?;
        out.flush()?;
        if unreadable > 0 {
            crate::terminal::warn(format_args!(
                "{unreadable} records cannot be read, since the key of their segment is missing; `drawbridge log verify` names it"
            ));
        }
        if left_out > 0 && !self.json {
            crate::terminal::say(format_args!("{left_out} older ones are left out"));
        }
        if !found && !self.json {
            crate::terminal::say("nothing in the log matches");
        }
        Ok(())
    }

    /// Refuses a time in which nothing can be: it would look like a log without an entry.
    fn has_a_time(&self) -> Outcome {
        let (Some(from), Some(until)) = (self.from, self.until) else { return Ok(()) };
        if from < until {
            return Ok(());
        }
        let (from, until) = (moments::for_people(from), moments::for_people(until));
        Err(Failure::usage(
            format!("nothing is from {from} on and before {until}"),
            "let `--from` be the earlier of the two; of lengths of time, as in 3h, the longer one is earlier",
        ))
    }

    fn filter(&self) -> Filter {
        Filter {
            from: self.from,
            until: self.until,
            member: self.member.as_ref().map(ToString::to_string),
            system: self.system.clone(),
            method: self.method.clone(),
            purpose: self.purpose.clone(),
            actor: self.actor.clone(),
            case: self.case.clone(),
            // Looked at below: a provider's record has the reason in its closing claims.
            outcome: None,
            exchange: self.exchange,
            all_kinds: self.all_kinds,
        }
    }

    fn ended_so(&self, record: &Record) -> bool {
        let Some(wanted) = &self.outcome else { return true };
        let outcome = record.opened.as_ref().map(|opened| opened.private.outcome.as_str()).unwrap_or_default();
        wanted.eq_ignore_ascii_case(outcome) || wanted.eq_ignore_ascii_case(&reason(record))
    }

    fn write(&self, view: &View, table: &mut Table, out: &mut Out) -> Outcome {
        if self.json {
            return out
                .line(serde_json::to_string(view).map_err(|error| because("cannot write a record as JSON", &error))?);
        }
        table.row(row(view, self.wide), out)
    }
}

/// Reads a member, in capitals or not: no log has one with capitals.
fn member(text: &str) -> Result<MemberId, String> {
    text.to_lowercase().parse().map_err(|error: IdError| error.to_string())
}

/// Reads the name of a system, or that of a member and its system.
fn system(text: &str) -> Result<String, String> {
    let lower = text.to_lowercase();
    let (asker, name) = match lower.split_once('/') {
        Some((asker, name)) => (member(asker)?, name),
        None => (member("member.example")?, lower.as_str()),
    };
    SystemId::new(asker, name).map(|_| lower.clone()).map_err(|error| error.to_string())
}

/// Reads how an exchange is to have ended: a slip of the pen would look like a log without refusals.
fn outcome(text: &str) -> Result<String, String> {
    let known = || OUTCOMES.into_iter().chain(Reason::ALL.iter().map(|reason| reason.as_str()));
    if known().any(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(text.to_owned());
    }
    let upper = text.to_uppercase();
    let meant = nearest(&upper, Reason::ALL.iter().map(|reason| reason.as_str())).or_else(|| nearest(text, OUTCOMES));
    Err(match meant {
        Some(meant) => format!("did you mean `{meant}`? `drawbridge explain` lists all reasons"),
        None => format!("it is one of {}, or a reason; `drawbridge explain` lists all", OUTCOMES.join(", ")),
    })
}

fn columns(wide: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::left("TIME (UTC)"),
        Column::right("INDEX"),
        Column::left("SIDE"),
        Column::left("ASKED BY"),
        Column::left("ASKED"),
        Column::left("METHOD"),
        Column::left("PURPOSE"),
        Column::left("OUTCOME"),
        Column::right("TOOK"),
    ];
    if wide {
        columns.extend([
            Column::right("MESSAGES"),
            Column::left("AGREEMENT"),
            Column::left("PERSON (ASSERTED)"),
            Column::left("CASE (ASSERTED)"),
            Column::left("EXCHANGE"),
        ]);
    }
    columns
}

fn row(view: &View, wide: bool) -> Vec<String> {
    let time = view.time.as_deref().map(|time| time.trim_end_matches('Z').replace('T', " ")).unwrap_or_default();
    let method = match view.kind {
        "event" => match records::checked_before(&view.detail) {
            Some(time) => format!("the promises in records from before {} are checked", moments::for_people(time)),
            None => view.detail.clone(),
        },
        "aggregate" => format!("{} refusals", view.count),
        _ => view.method.clone(),
    };
    let took = if view.outcome.is_empty() { String::new() } else { format!("{} ms", view.duration_ms) };
    let ended =
        if view.kind == "aggregate" { format!("refused {}", view.reason).trim_end().to_owned() } else { view.ended() };
    let mut cells = vec![
        time,
        view.index.to_string(),
        view.side.to_owned(),
        view.asker(),
        view.provider.clone(),
        method,
        view.purpose.clone(),
        ended,
        took,
    ];
    if wide {
        let person = if view.role.is_empty() { view.actor.clone() } else { format!("{}, {}", view.actor, view.role) };
        cells.extend([
            view.messages.to_string(),
            view.agreement.clone(),
            person,
            view.case.clone(),
            view.exchange.clone().unwrap_or_default(),
        ]);
    }
    cells
}
