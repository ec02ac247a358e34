//! The packages that tests run a partner system in Node with: from a committed lock.
//!
//! They lie under `target/`, and are fetched anew when the lock changes.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{step, workspace};

/// The folder with the list and its lock, relative to the root.
const LIST: &str = "tests/node";

/// Fetches the packages, unless those of the same lock are there.
///
/// # Errors
///
/// When Node's package manager or one of the packages cannot be had.
pub(crate) fn prepare() -> Result<()> {
    let list = workspace::root().join(LIST);
    let lock = list.join("package-lock.json");
    let wanted = fs::read(&lock).with_context(|| format!("cannot read {LIST}/package-lock.json"))?;
    // Written last, so that what was broken off half-way is fetched again.
    let made_from = folder().join("made-from.json");
    if fs::read(&made_from).is_ok_and(|made| made == wanted) {
        eprintln!("{} is up to date", shown());
        return Ok(());
    }
    if folder().exists() {
        fs::remove_dir_all(folder()).with_context(|| format!("cannot remove {}", shown()))?;
    }
    fs::create_dir_all(folder()).with_context(|| format!("cannot make {}", shown()))?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(list.join(file), folder().join(file)).with_context(|| format!("cannot copy {LIST}/{file}"))?;
    }
    // No script of a package is run: none of them needs one.
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]).current_dir(folder());
    step::run(&mut npm)?;
    fs::write(&made_from, wanted).with_context(|| format!("cannot write in {}", shown()))
}

fn folder() -> PathBuf {
    workspace::root().join(shown())
}

/// Relative to the root.
fn shown() -> &'static str {
    "target/node"
}
