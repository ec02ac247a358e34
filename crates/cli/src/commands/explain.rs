//! `drawbridge explain`: what a refusal means, and what to do about it.

use std::ffi::OsStr;

use clap::{
    Arg, Args, Command,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use exchange::{Reason, Retry};
use problem::{Problem, nearest};

use crate::{
    failure::Outcome,
    table::{Column, Table},
    terminal::Out,
};

/// Explains why a call is refused: what the reason means, who refuses, whether to try again, and what to do
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The reason that came with the refusal, as in `NO_AGREEMENT`, in capitals or not. Without one, all are listed, each with its gRPC
    /// status and whether a caller may try again
    #[arg(value_parser = AnyReason, hide_possible_values = true)]
    reason: Option<String>,
}

impl Explain {
    pub(crate) fn run(self) -> Outcome {
        let mut out = Out::new();
        match self.reason {
            None => list(&mut out)?,
            Some(name) => page(find(&name)?, &mut out)?,
        }
        out.flush()
    }
}

/// Takes every word, so that one which is no reason is answered with the one that was meant, and tells shells all that there are.
#[derive(Clone)]
struct AnyReason;

impl TypedValueParser for AnyReason {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Reason::ALL.iter().map(|reason| PossibleValue::new(reason.as_str()))))
    }
}

fn find(name: &str) -> Outcome<Reason> {
    name.parse::<Reason>().map_err(|()| {
        let names = Reason::ALL.iter().map(|reason| reason.as_str());
        let upper = name.to_uppercase();
        let help = match nearest(&upper, names) {
            Some(meant) => format!("did you mean `{meant}`? `drawbridge explain` lists all reasons"),
            None => "`drawbridge explain` lists all reasons".to_owned(),
        };
        Problem::new("", format!("there is no reason `{name}`")).help(help).into()
    })
}

fn list(out: &mut Out) -> Outcome {
    let mut table = Table::new([
        Column::left("REASON"),
        Column::left("STATUS"),
        Column::left("AGAIN?"),
        Column::left("WHAT IT MEANS"),
    ]);
    for reason in Reason::ALL {
        let cells = [
            reason.as_str().to_owned(),
            super::call::status_name(reason.code() as i32),
            again(*reason).to_owned(),
            meaning(*reason),
        ];
        table.row(cells, out)?;
    }
    table.finish(out)
}

fn again(reason: Reason) -> &'static str {
    match reason.retry() {
        Retry::No => "no",
        Retry::Later(_) | Retry::Told => "later",
        Retry::QueryOnly => "queries",
    }
}

/// Returns the first sentence of what a reason's page says that it means.
fn meaning(reason: Reason) -> String {
    let body = reason.page().split("## What it means").nth(1).unwrap_or_default();
    let paragraph: Vec<&str> = body.trim_start().lines().take_while(|line| !line.trim().is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.trim_end_matches('.').len();
    let end = [". ", ": "].iter().filter_map(|end| paragraph.find(end)).min().unwrap_or(sentence);
    plain(paragraph.get(..end).unwrap_or(&paragraph))
}

fn page(reason: Reason, out: &mut Out) -> Outcome {
    for line in reason.page().lines() {
        match line.trim_start_matches('#') {
            heading if heading.len() < line.len() => out.heading(heading.trim())?,
            _ => out.line(line.replace("**", ""))?,
        }
    }
    Ok(())
}

fn plain(text: &str) -> String {
    text.replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning_of_one_sentence() {
        for reason in Reason::ALL {
            let meaning = meaning(*reason);
            assert!(!meaning.is_empty() && !meaning.contains('#') && !meaning.contains(". "), "{reason}: {meaning}");
        }
    }

    #[test]
    fn a_misspelt_reason_is_recognised() {
        let problems = find("no_agrement").unwrap_err().into_problems();
        assert!(problems[0].help.as_deref().unwrap().contains("`NO_AGREEMENT`"), "{problems:?}");
        assert!(find("no_agreement").is_ok());
    }
}
