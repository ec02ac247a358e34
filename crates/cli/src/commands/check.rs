//! `drawbridge check`: everything that `run` would refuse, all at once, and what is worth knowing besides.

use std::path::PathBuf;

use clap::Args;
use gateway::{ConfigFile, Prepared, access, obstacles};
use problem::Problem;

use crate::{
    failure::{Failure, Outcome},
    moments,
    place::{ConfigOption, Log, read_config},
    terminal::{Out, some, warn},
};

/// Checks a configuration and everything that it names, without starting anything
///
/// Looked at are the configuration itself, directory, keys, certificates, contracts, bindings with their databases, agreements and the
/// log. The exit code is 1 when `drawbridge run` would refuse to start, and also when an agreement cannot be used, which would start all
/// the same and permit nothing under it. Warnings do not count.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration file, as an alternative to `--config`
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigOption,

    /// Say nothing when nothing is wrong
    #[arg(long, short)]
    quiet: bool,
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let path = self.file.or(self.config.config);
        let file = read_config(path.as_deref())?;
        let name = file.toml.name().display().to_string();
        let secrets = access::warnings(&file);
        let (prepared, obstacles) = super::block_on(async {
            let obstacles = Box::pin(obstacles::look(&file)).await;
            Ok((Box::pin(Prepared::load(file, moments::now())).await, obstacles))
        })?;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(mut problems) => {
                problems.extend(obstacles.problems);
                secrets.iter().for_each(warn);
                return Err(sorted(problems));
            }
        };
        let mut problems = prepared.agreements.problems.clone();
        problems.extend(own_log(&prepared));
        problems.extend(obstacles.problems);
        if !self.quiet {
            warnings(&prepared).iter().for_each(warn);
        }
        if !problems.is_empty() {
            return Err(sorted(problems));
        }
        if self.quiet { Ok(()) } else { fine(&name, &prepared, obstacles.running.as_deref()) }
    }
}

/// What someone should know though it does not hinder the start.
pub(super) fn warnings(prepared: &Prepared) -> Vec<String> {
    let now = moments::now();
    let mut warnings = prepared.warnings.clone();
    warnings.extend(prepared.tls.warning(now).map(|warning| warning.to_string()));
    warnings.extend(prepared.unanswered(now));
    warnings.extend(prepared.not_carried(now));
    warnings.extend(prepared.shown_as_loaded(now));
    warnings
}

/// Sorted as a person mends them.
fn sorted(mut problems: Vec<Problem>) -> Failure {
    Problem::sort(&mut problems);
    problems.dedup();
    problems.into()
}

/// Whether the log in the data folder is one that this gateway can go on with.
fn own_log(prepared: &Prepared) -> Option<Problem> {
    let file: &ConfigFile = &prepared.file;
    let data = file.path(&file.config.data.folder);
    if !data.join("ledger").join("journal").is_dir() {
        return None;
    }
    let log = match Log::open(&data) {
        Ok(log) => log,
        Err(failure) => return failure.into_problems().into_iter().next(),
    };
    let (own, there) = (prepared.log_key.verifier(), log.reader.key());
    if own == *there {
        return None;
    }
    let what = format!("the log in `{}` is kept with another key, {there}", log.folder.display());
    Some(
        file.toml
            .problem("keys.log", what)
            .help("use the key that the log was begun with, or name another data folder"),
    )
}

fn fine(name: &str, prepared: &Prepared, running: Option<&str>) -> Outcome {
    let mut out = Out::new();
    let in_force = prepared.in_force(moments::now()).count();
    out.line(format_args!(
        "{name}: {} can start ({}, {} bound, {} in force)",
        prepared.gateway,
        some(prepared.trust.federation().members().len() as u64, "member"),
        some(prepared.bindings.len() as u64, "method"),
        some(in_force as u64, "agreement"),
    ))?;
    if let Some(running) = running {
        out.line(format_args!("  {running} runs with this data folder, and holds its ports and its log"))?;
    }
    out.flush()
}
