//! `drawbridge doctor`: what is wrong around a gateway, and what mends it.

use clap::Args;
use gateway::doctor::{self, Finding, Report, Severity};

use crate::{
    failure::{Failure, Outcome, because},
    moments,
    place::ConfigOption,
    table::{Column, Table},
    terminal::{Out, some},
};

/// Examines configuration, machine, peers and legacy systems, and says what mends each thing that is wrong
///
/// It starts nothing and changes nothing, and can be run beside the running gateway, best as the gateway's own user. Peers are
/// dialled with the gateway's own certificate. The exit code is 1 when there is an error; warnings do not count.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    config: ConfigOption,

    /// Also what is as it should be
    #[arg(long, conflicts_with = "json")]
    all: bool,

    /// Write one JSON object, with what is as it should be
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> Outcome {
        let (file, salvaged) = self.config.salvage()?;
        let report = super::block_on(async { Ok(Box::pin(doctor::examine(&file, &salvaged, moments::now())).await) })?;
        let mut out = Out::new();
        if self.json {
            let text = serde_json::to_string_pretty(&report).map_err(|error| because("cannot write JSON", &error))?;
            out.line(text)?;
        } else {
            tell(&report, self.all, &mut out)?;
        }
        out.flush()?;
        if report.count(Severity::Error) == 0 { Ok(()) } else { Err(Failure::told()) }
    }
}

fn tell(report: &Report, all: bool, out: &mut Out) -> Outcome {
    let told = |finding: &&Finding| all || finding.severity != Severity::Fine;
    let mut table = Table::new([
        Column::left("SEVERITY"),
        Column::left("CHECK"),
        Column::left("WHERE"),
        Column::left("WHAT, AND ITS CURE"),
    ]);
    for finding in report.findings.iter().filter(told) {
        let severity = match finding.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
            Severity::Fine => "fine",
        };
        let cells = [severity.to_owned(), finding.check.clone(), finding.place.clone(), finding.what.clone()];
        table.row(cells, out)?;
        if let Some(cure) = &finding.cure {
            table.row([String::new(), String::new(), String::new(), format!("= help: {cure}")], out)?;
        }
    }
    table.finish(out)?;
    out.line(format_args!(
        "{}: {}, {}, {} in order",
        report.gateway,
        some(report.count(Severity::Error) as u64, "error"),
        some(report.count(Severity::Warning) as u64, "warning"),
        some(report.count(Severity::Fine) as u64, "check"),
    ))
}
