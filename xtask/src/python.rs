//! The Python that tests run clients and back ends in: a virtual environment from a locked list.
//!
//! It lies under `target/`, and is made anew when the list changes.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{step, workspace};

/// Names the interpreter to tests; without it they look where [`interpreter`] points.
pub(crate) const VARIABLE: &str = "DRAWBRIDGE_TEST_PYTHON";

/// The locked list, relative to the root.
const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The environment's interpreter, whether or not it has been made.
pub(crate) fn interpreter() -> PathBuf {
    folder().join("bin/python")
}

/// Makes the environment, unless one from the same list is there.
///
/// # Errors
///
/// When Python or one of the packages cannot be had.
pub(crate) fn prepare() -> Result<()> {
    let list = workspace::root().join(REQUIREMENTS);
    let wanted = fs::read(&list).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    // Written last, so that an environment that was broken off half-way is made again.
    let made_from = folder().join("made-from.txt");
    if fs::read(&made_from).is_ok_and(|made| made == wanted) {
        eprintln!("{} is up to date", shown());
        return Ok(());
    }
    if folder().exists() {
        fs::remove_dir_all(folder()).with_context(|| format!("cannot remove {}", shown()))?;
    }
    step::run(Command::new("python3").args(["-m", "venv"]).arg(folder()))?;
    let mut pip = Command::new(interpreter());
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    step::run(pip.args(["--require-hashes", "--requirement"]).arg(&list))?;
    fs::write(&made_from, wanted).with_context(|| format!("cannot write in {}", shown()))
}

fn folder() -> PathBuf {
    workspace::root().join(shown())
}

/// Relative to the root.
fn shown() -> &'static str {
    "target/python"
}
