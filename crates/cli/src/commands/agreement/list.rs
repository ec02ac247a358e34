//! `drawbridge agreement list`: all agreements of a gateway.

use std::{collections::BTreeSet, time::SystemTime};

use clap::Args;
use policy::{Agreement, Ended, Loaded, Served, State, Told};

use super::Known;
use crate::{
    failure::{Failure, Outcome},
    moments,
    place::ConfigOption,
    table::{Column, Table},
    terminal::{Out, colour_on_stderr, say},
};

/// Lists the agreements in the gateway's folder, with the state of each, and what is wrong with them
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    config: ConfigOption,
}

impl List {
    pub(super) fn run(self) -> Outcome {
        let known = Known::read(&self.config)?;
        let loaded = known.load()?;
        let now = moments::now();
        let mut rows: Vec<[String; 6]> =
            loaded.agreements.iter().map(|agreement| row(agreement, state(&loaded, agreement, now))).collect();
        for waiting in &loaded.waiting {
            let signed = match (waiting.signatures.consumer, waiting.signatures.provider) {
                (true, _) => format!("not signed by {} yet", waiting.agreement.provider()),
                (false, true) => format!("not signed by {} yet", waiting.agreement.consumer()),
                (false, false) => "draft, not signed".to_owned(),
            };
            rows.push(row(&waiting.agreement, signed));
        }
        rows.sort();
        let mut out = Out::new();
        if rows.is_empty() {
            out.line(format_args!("no agreements in {}", known.folder().display()))?;
        }
        let columns = [
            Column::left("ID"),
            Column::left("CONSUMER"),
            Column::left("PROVIDER"),
            Column::left("SYSTEMS"),
            Column::left("MAY ASK"),
            Column::left("STATE"),
        ];
        let mut table = Table::new(columns);
        for row in rows {
            table.row(row, &mut out)?;
        }
        table.finish(&mut out)?;
        out.flush()?;
        if loaded.problems.is_empty() {
            return Ok(());
        }
        say(problem::Problem::render_all(&loaded.problems, colour_on_stderr()));
        Err(Failure::told())
    }
}

fn row(agreement: &Agreement, state: String) -> [String; 6] {
    let systems: Vec<String> = agreement.systems().iter().map(|system| system.name().to_owned()).collect();
    let methods: BTreeSet<String> = agreement
        .grants()
        .iter()
        .flat_map(|grant| grant.methods.iter().map(|method| format!("{}/{method}", grant.service)))
        .collect();
    let methods: Vec<String> = methods.into_iter().collect();
    [
        agreement.id().to_owned(),
        agreement.consumer().to_string(),
        agreement.provider().to_string(),
        systems.join(", "),
        methods.join(", "),
        state,
    ]
}

fn state(loaded: &Loaded, agreement: &Agreement, now: SystemTime) -> String {
    let state = match loaded.agreements.ended(&agreement.digest(), now) {
        Some(Ended::ByNote { by, at }) => State::Ended { by, at, reason: None },
        Some(Ended::Expired { at }) => State::Expired { at },
        None if now < agreement.valid_from() => State::NotYetInForce { from: agreement.valid_from() },
        None => State::InForce { until: agreement.valid_until() },
    };
    let served = Served::of(loaded.agreements.standings(&agreement.digest()));
    Told { state: &state, served, now }.to_string()
}
