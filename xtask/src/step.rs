//! Steps with a name and a duration, and the summary at the end.
//!
//! A step that fails does not stop the ones that do not need it: one run shows everything there is to mend.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Runs steps and remembers how each ended.
pub(crate) struct Steps {
    begun: Instant,
    /// What comes before `--only <step>` to run one step again, such as `cargo xtask check`.
    task: &'static str,
    /// The one step to run, where the developer named one.
    only: Option<String>,
    ended: Vec<Ended>,
    skipped: Vec<&'static str>,
}

struct Ended {
    name: String,
    took: Duration,
    failure: Option<String>,
}

impl Steps {
    pub(crate) fn new(task: &'static str, only: Option<String>) -> Self {
        Self { begun: Instant::now(), task, only, ended: Vec::new(), skipped: Vec::new() }
    }

    /// Runs the steps of `here`, and those of `there` beside them. What both print comes as it comes.
    pub(crate) fn side_by_side(&mut self, here: impl FnOnce(&mut Self), there: impl FnOnce(&mut Self) + Send) {
        let mut beside = Self::new(self.task, self.only.clone());
        thread::scope(|scope| {
            scope.spawn(|| there(&mut beside));
            here(self);
        });
        self.ended.append(&mut beside.ended);
        self.skipped.append(&mut beside.skipped);
    }

    /// Runs `work` under the name `name`, unless another step alone was asked for. Returns whether it passed.
    pub(crate) fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> bool {
        if self.only.as_deref().is_some_and(|only| only != name) {
            self.skipped.push(name);
            return true;
        }
        eprintln!("\n── {name} ──");
        let begun = Instant::now();
        let failure = work().err().map(|error| format!("{error:#}"));
        let took = begun.elapsed();
        if let Some(failure) = &failure {
            eprintln!("error: {failure}\n  = help: to run this step alone: `{} --only {name}`", self.task);
        }
        let passed = failure.is_none();
        self.ended.push(Ended { name: name.to_owned(), took, failure });
        passed
    }

    /// Prints the summary.
    ///
    /// # Errors
    ///
    /// Names the steps that failed; also fails where `--only` named a step that does not exist.
    pub(crate) fn finish(self) -> Result<()> {
        if self.ended.is_empty() {
            let only = self.only.unwrap_or_default();
            bail!("there is no step `{only}`; the steps are {}", quoted(&self.skipped));
        }
        eprintln!("\n{:<14} {:>9}", "step", "seconds");
        for step in &self.ended {
            let outcome = if step.failure.is_some() { "FAILED" } else { "passed" };
            eprintln!("{:<14} {:>9.1}  {outcome}", step.name, step.took.as_secs_f64());
        }
        eprintln!("{:<14} {:>9.1}", "all", self.begun.elapsed().as_secs_f64());
        let failed: Vec<&Ended> = self.ended.iter().filter(|step| step.failure.is_some()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        for step in &failed {
            let what = step.failure.as_deref().unwrap_or_default();
            let first = what.lines().next().unwrap_or_default();
            eprintln!("\n{} failed: {first}\n  = help: `{} --only {}`", step.name, self.task, step.name);
        }
        let names: Vec<&str> = failed.iter().map(|step| step.name.as_str()).collect();
        bail!("{} of {} steps failed: {}", failed.len(), self.ended.len(), quoted(&names));
    }
}

/// A cargo command in the workspace's root, with the cargo that runs this program.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    command
}

/// Runs `command` with its output shown, and waits for it.
///
/// # Errors
///
/// When it cannot start, or ends with another status than 0; the error shows the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs `command` and returns what it printed.
///
/// # Errors
///
/// When it cannot start, or ends with another status than 0; the error carries what it said on standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` ended with {}: {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// Whether `program` can be found in `PATH`, or in the folders for programs of the system's administrator.
pub(crate) fn present(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_the_next_one_still_runs() {
        let mut steps = Steps::new("cargo xtask check", None);
        assert!(!steps.run("fmt", || bail!("not formatted")));
        let mut ran = false;
        assert!(steps.run("doc", || {
            ran = true;
            Ok(())
        }));
        assert!(ran);
        let error = steps.finish().unwrap_err().to_string();
        assert_eq!(error, "1 of 2 steps failed: `fmt`");
    }

    #[test]
    fn steps_that_ran_side_by_side_are_told_together() {
        let mut steps = Steps::new("cargo xtask test", None);
        let (mut here, mut there) = (false, false);
        let (sender, receiver) = std::sync::mpsc::channel();
        steps.side_by_side(
            // Ends only once the other has begun.
            |steps| here = steps.run("tests", || Ok(receiver.recv()?)),
            |steps| there = steps.run("doc", || Ok(sender.send(())?)) && steps.run("clippy", || bail!("a warning")),
        );
        assert_eq!((here, there), (true, false));
        let error = steps.finish().unwrap_err().to_string();
        assert_eq!(error, "1 of 3 steps failed: `clippy`");
    }

    #[test]
    fn one_step_alone_can_be_asked_for() {
        let mut steps = Steps::new("cargo xtask check", Some("doc".into()));
        assert!(steps.run("fmt", || bail!("must not run")));
        assert!(steps.run("doc", || Ok(())));
        assert!(steps.finish().is_ok());
    }

    #[test]
    fn a_step_that_does_not_exist_is_an_error_that_names_those_that_do() {
        let mut steps = Steps::new("cargo xtask check", Some("docs".into()));
        steps.run("fmt", || Ok(()));
        steps.run("doc", || Ok(()));
        let error = steps.finish().unwrap_err().to_string();
        assert!(error.contains("`docs`") && error.contains("`fmt`, `doc`"), "{error}");
    }

    #[test]
    fn a_command_that_fails_shows_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no room >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains('3'), "{error}");
    }
}
