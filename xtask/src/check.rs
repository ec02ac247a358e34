//! `cargo xtask check`: everything but tests.

use anyhow::Result;
use clap::Args;

use crate::{
    step::{self, Steps, cargo},
    supply, tidy,
    workspace::Metadata,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Run this step alone: `fmt`, `tidy`, `deny`, `clippy`, `features`, `doc`.
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
}

/// Runs every step, and says at the end which failed.
///
/// # Errors
///
/// Names the steps that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::new("cargo xtask check", options.only.clone());
    all(&mut steps);
    steps.finish()
}

/// The checks, cheapest first.
pub(crate) fn all(steps: &mut Steps) {
    steps.run("fmt", || step::run(&mut cargo(["fmt", "--all", "--check"])));
    steps.run("tidy", tidy::run);
    steps.run("deny", supply::run);
    steps.run("clippy", || {
        step::run(&mut cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    });
    steps.run("features", features);
    steps.run("doc", || {
        let mut doc = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
        step::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
}

/// Lints the connectors with each of their features alone: a build with one kind of legacy system has no warnings.
///
/// With one feature or none there is nothing to tell apart from `clippy`.
fn features() -> Result<()> {
    const PACKAGE: &str = "drawbridge-connectors";
    let metadata = Metadata::load()?;
    let kinds: Vec<String> = metadata
        .members()
        .filter(|package| package.name == PACKAGE)
        .flat_map(|package| package.features.keys())
        .filter(|feature| *feature != "default")
        .cloned()
        .collect();
    for kind in &kinds {
        step::run(&mut cargo([
            "clippy",
            "--package",
            PACKAGE,
            "--no-default-features",
            "--features",
            kind,
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    if kinds.is_empty() {
        eprintln!("{PACKAGE} has no features");
    }
    Ok(())
}
