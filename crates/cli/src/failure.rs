//! How a command ends when it does not do what it was asked to.

use std::{error::Error, io::Write as _, process::ExitCode};

use problem::Problem;

use crate::terminal;

/// A command that ends well, or a [`Failure`].
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Refused, or something is wrong.
const REFUSED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// Nobody reads any more: what a shell reports for a program that SIGPIPE ended.
const NOBODY_READS: u8 = 141;

/// Why a command did not do what it was asked to, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    problems: Vec<Problem>,
    code: u8,
}

impl Failure {
    /// The command line asks for something that does not go together.
    pub(crate) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problems: vec![Problem::new("", what).help(help)], code: USAGE }
    }

    /// All has been said already; what remains is the exit code.
    pub(crate) fn told() -> Self {
        Self { problems: Vec::new(), code: REFUSED }
    }

    /// Whoever read standard output is gone.
    pub(crate) fn nobody_reads() -> Self {
        Self { problems: Vec::new(), code: NOBODY_READS }
    }

    /// Returns what is wrong, for a command that goes on with the next file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Returns the problems as they read without colour, for output that programs read.
    pub(crate) fn words(&self) -> Vec<String> {
        self.problems.iter().map(ToString::to_string).collect()
    }

    /// Writes the problems to standard error, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.problems.is_empty() {
            let text = Problem::render_all(&self.problems, terminal::colour_on_stderr());
            // There is nowhere to say that standard error is gone.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        ExitCode::from(self.code)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], code: REFUSED }
    }
}

impl From<Box<Problem>> for Failure {
    fn from(problem: Box<Problem>) -> Self {
        (*problem).into()
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems, code: REFUSED }
    }
}

/// Returns an error as a problem, with its own causes.
pub(crate) fn told_by(error: &dyn Error) -> Problem {
    let problem = Problem::new("", error.to_string());
    match error.source() {
        Some(source) => problem.cause(gateway::load::chain(source)),
        None => problem,
    }
}

/// Returns a problem that another error is the cause of.
pub(crate) fn because(what: impl Into<String>, error: &dyn Error) -> Problem {
    Problem::new("", what).cause(gateway::load::chain(error))
}
