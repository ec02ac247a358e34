//! What an agreement says about fields.

use std::collections::BTreeSet;

use crate::options::Classification;

/// Which fields of an answer an agreement names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The fields at these paths. None at all is allowed: the answer then says only that there is one.
    Paths(Vec<String>),
    /// The fields that the contract classifies so.
    Classifications(BTreeSet<Classification>),
    /// Every field that the contract has.
    All,
}

/// A selector does not fit the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A path leads to no field.
    #[error(
        "`{path}` is not a field of the answer: {}{}",
        reason(message, field, *value),
        help(suggestion.as_deref())
    )]
    UnknownPath {
        /// The path as the agreement has it.
        path: String,
        /// The full name of the message, or the path of the field, in which the search ended.
        message: String,
        /// The part of the path that is not there.
        field: String,
        /// Whether the search ended at a single value, which has no fields.
        value: bool,
        /// The whole path with the nearest name there is in place of the wrong one.
        suggestion: Option<String>,
    },
    /// The fields released and withheld cannot be listed.
    #[error(
        "the selector takes `{message}` apart into more than {limit} pieces; name the fields by their paths, or classify whole \
         messages in the contract"
    )]
    TooManyPaths {
        /// The full name of the message.
        message: String,
        /// The largest number of pieces.
        limit: usize,
    },
}

fn reason(message: &str, field: &str, value: bool) -> String {
    if value {
        format!("`{message}` is a single value and has no `{field}`")
    } else if field.is_empty() {
        "a name between its dots is missing".to_owned()
    } else {
        format!("`{message}` has no `{field}`")
    }
}

fn help(suggestion: Option<&str>) -> String {
    suggestion.map(|path| format!("; did you mean `{path}`?")).unwrap_or_default()
}
