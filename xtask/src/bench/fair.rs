//! How long calls of one member take while another member floods the gateway that both ask.
//!
//! What the flood's callers and gateway burn would be another machine's, so they get what the others leave: what is measured is how the
//! gateway that is asked treats the two, not how this system shares its cores among processes.

use std::{path::Path, process::Command, thread};

use anyhow::{Context as _, Result, anyhow};

use crate::workspace;

use super::{
    case::Case,
    drawbridge,
    load::{self, Length, Pressure, Seen},
    process::{self, Process},
    run::Pace,
};

/// Who asks a little, and who floods.
const MEMBERS: &[&str] = &["honest.example", "flood.example"];
/// How many ask for the one, each again when it is answered.
const HONEST: usize = 4;

/// What one repetition found, in microseconds.
struct Found {
    alone: (f64, f64),
    beside: (f64, f64),
    /// Calls of the flood that were answered, and that were refused, while the other was measured.
    flood: (u64, u64),
}

/// Measures so many times, each with gateways that are started for it, and prints what was found.
///
/// # Errors
///
/// When a gateway does not start, or a call of the honest member fails.
pub(super) fn measure(folder: &Path, repetitions: u32, pace: Pace) -> Result<()> {
    let case = Case::all(true).into_iter().find(|case| case.name() == "unary512").context("there is no flood")?;
    println!(
        "{HONEST} callers of one member, alone and while {} callers of another ask too: 1 KiB unary",
        case.callers().0
    );
    println!("p50 and p99 in ms, and the flood's calls that were answered and refused meanwhile\n");
    println!("     alone          beside         ratio of p99   flood");
    let mut ratios = Vec::new();
    for _ in 0..repetitions.max(1) {
        let Found { alone, beside, flood } = once(folder, &case, pace)?;
        let ratio = beside.1 / alone.1.max(1.0);
        let [a, b, c, d] = [alone.0, alone.1, beside.0, beside.1].map(|micros| micros / 1000.0);
        println!("{a:7.2} {b:7.2} {c:7.2} {d:7.2}   {ratio:9.2}        {} answered, {} refused", flood.0, flood.1);
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    println!("\nthe median ratio of p99 is {median:.2}");
    Ok(())
}

fn once(folder: &Path, case: &Case, pace: Pace) -> Result<Found> {
    let mut command = Command::new(workspace::program()?);
    command.arg("bench-backend");
    let (_backend, address) = Process::start_and_ask(&command, folder.join("backend.log")).context("the back end")?;
    let members = drawbridge::start_several(&folder.join("fair"), &drawbridge::binary()?, address, (MEMBERS, false))?;
    let [(honest, _), (flood, floods)] = members.askers.as_slice() else { return Err(anyhow!("two members ask")) };
    floods.stand_back().context("the gateway that floods")?;
    let call = case.call();
    let little = Pressure {
        callers: HONEST,
        connections: 1,
        warm_up: pace.warm_up,
        length: Length::Time(pace.window),
        patience: load::LITTLE_PATIENCE,
    };
    let (callers, connections) = case.callers();
    // It begins before the other is measured and ends after it.
    let much = Pressure { callers, connections, length: Length::Time(pace.window * 2), patience: u32::MAX, ..little };
    let alone = served(load::run(honest, &call, little, || Ok(()))?)?;
    let (beside, flood) = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            process::thread_stands_back()?;
            load::run(flood, &call, much, || Ok(()))
        });
        let beside = load::run(honest, &call, little, || Ok(()));
        (beside, flood.join())
    });
    let beside = served(beside?)?;
    let flood = flood.map_err(|_| anyhow!("the flood ended in a panic"))??;
    let times = |seen: &Seen| (seen.quantile(0.5), seen.quantile(0.99));
    Ok(Found { alone: times(&alone), beside: times(&beside), flood: (flood.calls, flood.failures) })
}

/// Every call of the honest member is to be answered.
fn served(seen: Seen) -> Result<Seen> {
    match &seen.first_failure {
        Some(failure) => Err(anyhow!("{} calls of the honest member failed, the first so: {failure}", seen.failures)),
        None => Ok(seen),
    }
}
