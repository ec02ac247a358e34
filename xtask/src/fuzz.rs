//! `cargo xtask fuzz`: the targets of `tests/fuzz` under libFuzzer, which follows what an input reaches and keeps what reaches more.
//!
//! It needs no nightly compiler: coverage comes from a pass of LLVM's that any compiler has. Only this workspace's crates are built
//! with it, by the wrapper `tests/fuzz/instrument.sh`; those of other people are taken as they are.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    step::{self, cargo},
    workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The target, or nothing for all of them in turn. They are the folders of `tests/fuzz/corpus`.
    target: Option<String>,
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Runs these inputs alone, once: what a failure left behind.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Vec<PathBuf>,
}

/// Longest that one input may take, in seconds.
const SLOW: u32 = 20;
/// Most memory of the whole process, in MiB.
const MEMORY: u32 = 2048;

/// Builds the driver, and runs one target or all.
///
/// # Errors
///
/// When there is no such target, when it does not build, and when an input breaks a promise; the input's file is named by then.
pub(crate) fn run(options: &Options) -> Result<()> {
    let all = targets()?;
    let chosen = match &options.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target `{name}`\n  = help: use one of `{}`", all.join("`, `")),
    };
    let driver = build()?;
    let mut broken = Vec::new();
    for target in chosen {
        if let Err(error) = fuzz(&driver, &target, options) {
            eprintln!("error: {error:#}");
            broken.push(target);
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!(
        "inputs were found that break `{}`\n  = help: they lie in target/fuzz; `cargo xtask fuzz TARGET --input FILE` runs one again, and \
         once it is mended it belongs into tests/fuzz/corpus",
        broken.join("`, `")
    )
}

/// The targets: each has a corpus.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join("tests/fuzz/corpus");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds one program for all targets.
fn build() -> Result<PathBuf> {
    if !["c++", "g++", "clang++"].iter().any(|compiler| step::present(compiler)) {
        bail!(
            "libFuzzer is written in C++, and there is no compiler for it\n  = help: on Debian: `apt-get install g++`"
        );
    }
    // The whole workspace chooses the features of its dependencies, so that none of them is built a second time.
    let mut command =
        cargo(["build", "--workspace", "--locked", "--features", "drawbridge-fuzz/libfuzzer", "--bin", "libfuzzer"]);
    command.env("RUSTC_WORKSPACE_WRAPPER", workspace::root().join("tests/fuzz/instrument.sh"));
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    step::run(&mut command)?;
    Ok(workspace::root().join("target/debug/libfuzzer"))
}

fn fuzz(driver: &PathBuf, target: &str, options: &Options) -> Result<()> {
    let found = workspace::root().join("target/fuzz").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let mut command = Command::new(driver);
    command.env("DRAWBRIDGE_FUZZ_TARGET", target).current_dir(workspace::root());
    command.arg(format!("-timeout={SLOW}")).arg(format!("-rss_limit_mb={MEMORY}"));
    command.arg(format!("-artifact_prefix={}/broken-", found.display()));
    if options.input.is_empty() {
        let kept = found.join("corpus");
        fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
        command.arg(format!("-max_total_time={}", options.seconds)).arg("-max_len=65536").arg("-print_final_stats=1");
        // What is found goes into the first folder; the committed one is only read.
        command.arg(kept).arg(workspace::root().join("tests/fuzz/corpus").join(target));
    } else {
        command.args(&options.input);
    }
    step::run(&mut command)
}
