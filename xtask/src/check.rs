//! `cargo xtask check`: everything but tests.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;

use crate::{
    step::{self, Steps, cargo},
    supply, tidy,
    workspace::{Metadata, Package},
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

/// The package whose features are kinds of legacy systems.
const KINDS: &str = "drawbridge-connectors";

/// Lints the connectors with each of their features alone: a build with one kind of legacy system has no warnings.
///
/// Chosen by themselves they would have other people's crates with other features than the whole workspace has, and most of these
/// would be compiled again. So everything that does not use the connectors is chosen beside them.
fn features() -> Result<()> {
    let metadata = Metadata::load()?;
    let members: Vec<&Package> = metadata.members().collect();
    let kinds = members.iter().filter(|package| package.name == KINDS).flat_map(|package| package.features.keys());
    for kind in kinds.filter(|feature| *feature != "default") {
        let mut clippy = cargo(["clippy", "--locked", "--no-default-features", "--package", KINDS]);
        clippy.args(["--features", &format!("{KINDS}/{kind}")]);
        clippy.args(not_using(KINDS, &members).iter().flat_map(|name| ["--package", name]));
        step::run(clippy.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Returns the members that do not use `name`, neither themselves nor through another one.
fn not_using<'a>(name: &'a str, members: &[&'a Package]) -> Vec<&'a str> {
    let mut using = BTreeSet::from([name]);
    loop {
        let uses = |package: &&&Package| package.shipped_dependencies().any(|used| using.contains(used));
        let found: Vec<&str> = members.iter().filter(uses).map(|package| package.name.as_str()).collect();
        let before = using.len();
        using.extend(found);
        if using.len() == before {
            return members.iter().map(|package| package.name.as_str()).filter(|name| !using.contains(name)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_above_the_connectors_is_not_chosen_beside_them() {
        let metadata = Metadata::load().unwrap();
        let members: Vec<&Package> = metadata.members().collect();
        let beside = not_using(KINDS, &members);
        assert!(beside.contains(&"drawbridge-contract") && beside.contains(&"xtask"), "{beside:?}");
        for above in [KINDS, "drawbridge-gateway", "drawbridge-demo", "drawbridge-cli", "drawbridge-fuzz"] {
            assert!(!beside.contains(&above), "{above}");
        }
    }
}
