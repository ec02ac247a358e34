//! What is wrong with a binding, and where.

use problem::{Problem, TomlFile};

/// Something in the configuration that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingProblem {
    /// Path of the key at fault, as in `binding[0].connector.query`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl BindingProblem {
    /// Finds the place in the file that the configuration was read from.
    #[must_use]
    pub fn in_file(self, file: &TomlFile) -> Problem {
        let problem = file.problem(&self.key, self.what);
        match self.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

/// A problem below a key that only the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Key below `connector`; empty for the table itself.
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into(), help: Some(help.into()) }
    }

    pub(super) fn below(self, prefix: &str) -> BindingProblem {
        let key = match self.key.as_str() {
            "" => format!("{prefix}.connector"),
            // Keys of the binding itself, which no connector has.
            "method" | "timeout" | "max_message" => format!("{prefix}.{}", self.key),
            key => format!("{prefix}.connector.{key}"),
        };
        BindingProblem { key, what: self.what, help: self.help }
    }
}
