//! A problem in a file that a person wrote: what is wrong, where it is, and how to mend it.
//!
//! Readers of such files collect every [`Problem`] they find and report them together; nothing here prints.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic"))]

mod key_path;
mod nearest;
mod render;
mod source;
mod toml_file;

use std::path::PathBuf;

pub use key_path::KeyPath;
pub use nearest::nearest;
pub use toml_file::{Salvaged, TomlFile};

/// One thing that is wrong in a file, in words for the person who wrote it.
///
/// `Display` writes it without colour, without a newline at the end; [`Problem::render`] writes it with colour.
/// Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the person knows it. Empty when the problem is not in a file.
    pub file: PathBuf,
    /// The line, from 1. `None` when the problem is in the file as a whole.
    pub line: Option<usize>,
    /// The column of the first character concerned, from 1, in characters.
    pub column: Option<usize>,
    /// How many characters are concerned, from `column`, on this line. Default: 1.
    pub width: usize,
    /// The key concerned, as in `binding[0].connector.kind`.
    pub key: Option<String>,
    /// What went wrong: lower case, no full stop, values in backticks.
    pub what: String,
    /// Why, where another error says so.
    pub cause: Option<String>,
    /// How to mend it.
    pub help: Option<String>,
    /// The line of the file that `line` names. `None` where that may hold a password.
    pub source_line: Option<String>,
}

impl Problem {
    /// Returns a problem of the file as a whole.
    pub fn new(file: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            column: None,
            width: 1,
            key: None,
            what: what.into(),
            cause: None,
            help: None,
            source_line: None,
        }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds why it happened.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds where it is: line and column, both from 1.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// Adds where it is, as a span of bytes of the file's `text`, and the line it is on.
    ///
    /// A span over several lines is cut at the end of its first line; one outside of `text` points to its end. A line that may hold a
    /// password is not added, only its place.
    #[must_use]
    pub fn within(mut self, text: &str, span: &std::ops::Range<usize>) -> Self {
        let place = source::place(text, span);
        self.line = Some(place.line);
        self.column = Some(place.column);
        self.width = place.width;
        self.source_line = (!source::may_hold_a_secret(place.source_line)).then(|| place.source_line.to_owned());
        self
    }

    /// Sorts problems as a person reads them: by file, then line, then column; those of whole files come first.
    pub fn sort(problems: &mut [Problem]) {
        problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    }
}

impl std::error::Error for Problem {}
