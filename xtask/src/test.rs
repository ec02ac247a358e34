//! `cargo xtask test`: what the README names and what continuous integration runs.

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    bench, check, install, node, python,
    step::{self, Steps, cargo},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Run this step alone: `install`, `python`, `node`, `build`, `tests`, `doctests`, `bench`, or one of `cargo xtask check`.
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
}

/// Installs what is missing beside the build, runs all tests, then the checks.
///
/// # Errors
///
/// Names the steps that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::new("cargo xtask test", options.only.clone());
    let (mut equipped, mut built) = (false, false);
    // The one waits for the network, the other for the processors.
    steps.side_by_side(
        |steps| {
            equipped = steps.run("install", || install::ensure(install::FOR_TESTS))
                && steps.run("python", python::prepare)
                && steps.run("node", node::prepare);
        },
        |steps| built = steps.run("build", || step::run(cargo(["build", "--workspace", "--locked"]).args(TESTED))),
    );
    // What could not be built or installed would only fail once more, and further from its cause.
    if equipped && built {
        steps.run("tests", tests);
        steps.run("doctests", || step::run(&mut cargo(["test", "--doc", "--workspace", "--locked"])));
        steps.run("bench", bench::smoke);
    }
    // After the tests, not beside them: some hold what they see against the clock.
    check::all(&mut steps);
    steps.finish()
}

/// What is built and tested. Examples are compiled by the checks alone.
const TESTED: [&str; 3] = ["--lib", "--bins", "--tests"];

/// All tests but those in documentation: with cargo-nextest where it is installed, else with cargo alone.
fn tests() -> Result<()> {
    let mut command = if step::present("cargo-nextest") { cargo(["nextest", "run"]) } else { cargo(["test"]) };
    command.args(["--workspace", "--locked", "--no-fail-fast"]).args(TESTED);
    // A snapshot that differs is a failure to be looked at, not a file to be written.
    command.env("INSTA_UPDATE", "no").env(python::VARIABLE, python::interpreter());
    if let Err(error) = step::run(&mut command) {
        bail!("{error}\n  = help: the failed tests are named above; each runs alone with `cargo test <its name>`");
    }
    Ok(())
}
