//! `cargo xtask tidy`: what neither the compiler nor clippy looks at.
//!
//! Every finding is printed, each with its place and its cure, before the step fails.

mod documents;
mod edges;
mod manifests;
mod sources;

use anyhow::{Result, bail};

use crate::{
    step,
    workspace::{self, Metadata},
};

/// Something to mend: where, what, and how.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    place: String,
    what: String,
    help: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), help: help.into() }
    }
}

/// Looks at the crate map, the manifests, the source files and the documents that name them.
///
/// # Errors
///
/// When there is anything to mend; it has been printed by then.
pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let files = workspace::files()?;
    let mut findings = edges::check(&metadata);
    findings.extend(pure()?);
    findings.extend(manifests::check(&metadata, &files)?);
    findings.extend(sources::check(&files)?);
    findings.extend(documents::check(&files)?);
    for finding in &findings {
        eprintln!("error: {}\n --> {}\n  = help: {}\n", finding.what, finding.place, finding.help);
    }
    if !findings.is_empty() {
        bail!("tidy found {} to mend", count(findings.len(), "thing"));
    }
    eprintln!("tidy: {} files, {} crates in order", files.len(), metadata.members().count());
    Ok(())
}

/// Holds the trees of the pure crates free of everything that could do I/O by itself.
///
/// Asked of `cargo tree` for the crate alone: in the whole workspace's graph the features of all crates are one.
fn pure() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for krate in edges::PURE {
        let package = format!("drawbridge-{krate}");
        let tree = step::output(&mut step::cargo([
            "tree",
            "--locked",
            "--package",
            &package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        let mut foreign: Vec<&str> = tree
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| edges::IMPURE.contains(name))
            .collect();
        foreign.sort_unstable();
        foreign.dedup();
        for name in foreign {
            findings.push(Finding::new(
                format!("crates/{krate}/Cargo.toml"),
                format!("`{krate}` is pure, and `{name}` is in its tree"),
                format!("see what brings it with `cargo tree -p {package} -e normal -i {name}`"),
            ));
        }
    }
    Ok(findings)
}

/// `1 thing`, `2 things`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
