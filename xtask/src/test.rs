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

/// Installs what is missing, builds, runs all tests, then the checks.
///
/// # Errors
///
/// Names the steps that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::new("cargo xtask test", options.only.clone());
    let ready = steps.run("install", || install::ensure(install::FOR_TESTS))
        && steps.run("python", python::prepare)
        && steps.run("node", node::prepare)
        && steps.run("build", || step::run(&mut cargo(["build", "--workspace", "--all-targets", "--locked"])));
    // What could not be built or installed would only fail once more, and further from its cause.
    if ready {
        steps.run("tests", tests);
        steps.run("doctests", || step::run(&mut cargo(["test", "--doc", "--workspace", "--locked"])));
        steps.run("bench", bench::smoke);
    }
    check::all(&mut steps);
    steps.finish()
}

/// All tests but those in documentation: with cargo-nextest where it is installed, else with cargo alone.
fn tests() -> Result<()> {
    let mut command = if step::present("cargo-nextest") {
        cargo(["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])
    } else {
        cargo(["test", "--workspace", "--lib", "--bins", "--tests", "--locked", "--no-fail-fast"])
    };
    // A snapshot that differs is a failure to be looked at, not a file to be written.
    command.env("INSTA_UPDATE", "no").env(python::VARIABLE, python::interpreter());
    if let Err(error) = step::run(&mut command) {
        bail!("{error}\n  = help: the failed tests are named above; each runs alone with `cargo test <its name>`");
    }
    Ok(())
}
