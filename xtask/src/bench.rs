//! `cargo xtask bench`: what the gateways cost beside the direct call and beside pairs of other proxies.
//!
//! Everything runs on this machine in one go and is compared only with itself: a figure without a baseline is not a
//! result. Each contender is started afresh for each run, and the contenders take turns.

mod backend;
mod case;
mod certificates;
mod contender;
mod drawbridge;
mod fair;
mod haproxy;
mod load;
mod messages;
mod nginx;
mod process;
mod report;
mod run;

use std::{fs, io::IsTerminal as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{install, step, workspace};
use case::Case;
use contender::{Contender, Workshop};
use report::Report;
use run::Pace;

#[derive(Args, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
pub(crate) struct Options {
    /// Measure only these cases: `unary1`, `unary64`, `unary512`, `stream`, `long`.
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure only these contenders: `direct`, `nginx`, `haproxy`, `drawbridge`.
    #[arg(long, value_name = "CONTENDER", value_delimiter = ',')]
    contenders: Vec<String>,
    /// Also stream five million small rows and watch the memory. Takes minutes.
    #[arg(long)]
    long: bool,
    /// Measure only how long calls of one member take while another member floods the same gateway.
    #[arg(long, conflicts_with_all = ["only", "contenders", "long", "json"])]
    fair: bool,
    /// Everything for a fraction of a second, with the binaries of a debug build: does it run at all?
    #[arg(long)]
    smoke: bool,
    /// Callers reach the consumer's side over mutual TLS too, instead of plain text on loopback.
    #[arg(long)]
    client_tls: bool,
    /// How often each case is measured; the median is shown.
    #[arg(long, default_value_t = 5)]
    repetitions: u32,
    /// How long each measurement lasts, in seconds; two more go before to warm up.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Also write every measurement to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Tells how to see where the time goes, with perf, and measures nothing.
    #[arg(long)]
    profile: bool,
    /// Keep configurations and logs of the contenders in `target/bench`.
    #[arg(long)]
    keep: bool,
    /// Set for the release build of this program, which does the measuring.
    #[arg(long, hide = true)]
    built: bool,
}

/// Measures, and prints the comparison.
///
/// # Errors
///
/// When a contender does not start or answers wrongly. A slow one is no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.profile {
        print!("{}", include_str!("bench/profile.txt"));
        return Ok(());
    }
    // What is not there is refused before anything is built.
    let (_, contenders) = (chosen_cases(options)?, chosen_contenders(options)?);
    if !options.smoke && !options.built {
        return in_release();
    }
    if options.smoke && contenders.contains(&Contender::Drawbridge) {
        step::run(&mut step::cargo(["build", "--locked", "--package", "drawbridge-cli"]))?;
    }
    measure(options)
}

/// Runs every case for a moment, as one of the tests.
///
/// # Errors
///
/// When a contender does not start or answers wrongly.
pub(crate) fn smoke() -> Result<()> {
    measure(&Options {
        only: Vec::new(),
        contenders: Vec::new(),
        long: false,
        fair: false,
        smoke: true,
        client_tls: false,
        repetitions: 1,
        seconds: 0.3,
        json: None,
        profile: false,
        keep: false,
        built: false,
    })
}

/// The back end as a process of its own.
///
/// # Errors
///
/// When no port can be had.
pub(crate) fn backend() -> Result<()> {
    backend::run()
}

/// Builds this program and the gateway as they are shipped, and goes on in that build.
fn in_release() -> Result<()> {
    step::run(&mut step::cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "xtask",
        "--package",
        "drawbridge-cli",
    ]))?;
    let mut command = std::process::Command::new(workspace::target()?.join("release/xtask"));
    command.args(std::env::args_os().skip(1)).arg("--built");
    // The signals of the terminal reach both; the inner one cleans up.
    let status = command.status().context("cannot start the release build of xtask")?;
    if !status.success() {
        bail!("the measurement ended with {status}");
    }
    Ok(())
}

fn measure(options: &Options) -> Result<()> {
    let (cases, contenders) = (chosen_cases(options)?, chosen_contenders(options)?);
    if contenders.iter().any(|contender| matches!(contender, Contender::Nginx | Contender::HaProxy)) {
        install::ensure(install::FOR_BENCH)?;
    }
    let folder = workspace::target()?.join("bench").join(std::process::id().to_string());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    process::end_on_interrupt(folder.clone())?;
    if options.fair {
        let pace = Pace { warm_up: Duration::from_secs(2), window: Duration::from_secs_f64(options.seconds) };
        let outcome = fair::measure(&folder, options.repetitions, pace);
        if !options.keep {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        return outcome;
    }
    let workshop = Workshop::open(&folder, options.client_tls)?;
    let mut report = Report::begin(&folder, options)?;
    let repetitions = if options.smoke { 1 } else { options.repetitions };
    let pace = if options.smoke {
        Pace { warm_up: Duration::from_millis(100), window: Duration::from_millis(300) }
    } else {
        // Long enough for a pair to open all the connections that it wants, with a handshake each.
        Pace { warm_up: Duration::from_secs(2), window: Duration::from_secs_f64(options.seconds) }
    };
    let outcome = turns(&workshop, &mut report, (&cases, &contenders), repetitions, pace);
    if options.keep {
        eprintln!("configurations and logs are in {}", folder.display());
    } else {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    outcome?;
    report.print(&cases, &contenders);
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    report.judge()
}

/// Takes turns: no contender has the machine at a better hour than another.
fn turns(
    workshop: &Workshop,
    report: &mut Report,
    (cases, contenders): (&[Case], &[Contender]),
    repetitions: u32,
    pace: Pace,
) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    for repetition in 1..=repetitions {
        for case in cases {
            for contender in contenders {
                let now = format!("{repetition} of {repetitions}: {} of {}", case.name(), contender.name());
                if terminal {
                    eprint!("\r\x1b[K{now}");
                } else {
                    eprintln!("{now}");
                }
                let measured = run::once(workshop, *contender, case, pace)
                    .with_context(|| format!("{} of {}", case.name(), contender.name()))?;
                report.add(*contender, case, measured);
            }
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    Ok(())
}

fn chosen_cases(options: &Options) -> Result<Vec<Case>> {
    let all = Case::all(options.smoke);
    if options.only.is_empty() {
        return Ok(all.into_iter().filter(|case| options.long || !case.is_long()).collect());
    }
    options
        .only
        .iter()
        .map(|name| {
            let case = all.iter().find(|case| case.name() == name).cloned();
            case.with_context(|| format!("there is no case `{name}`; `--help` names them"))
        })
        .collect()
}

fn chosen_contenders(options: &Options) -> Result<Vec<Contender>> {
    if options.contenders.is_empty() {
        return Ok(Contender::ALL.to_vec());
    }
    options
        .contenders
        .iter()
        .map(|name| {
            let contender = Contender::ALL.iter().find(|contender| contender.short() == name).copied();
            contender.with_context(|| format!("there is no contender `{name}`; `--help` names them"))
        })
        .collect()
}
