//! The request, from JSON to the message of the contract.

use std::{io::Read as _, path::PathBuf};

use bytes::Bytes;
use contract::Method;
use problem::Problem;

use crate::{failure::Outcome, files};

/// Reads the request from where the command line says: JSON as it stands, `@FILE`, or `-`.
pub(super) fn message(given: &str, method: &Method) -> Outcome<Bytes> {
    let (name, text) = match (given, given.strip_prefix('@')) {
        ("-", _) => (PathBuf::from("<standard input>"), standard_input()?),
        (_, Some(path)) => (PathBuf::from(path), files::read(path.as_ref())?),
        (_, None) => (PathBuf::from("<request>"), given.to_owned()),
    };
    let encoded = method.request_from_json(&text).map_err(|problem| {
        let mut told = Problem::new(&name, problem.what);
        if problem.line > 0 {
            told = told.at(problem.line, problem.column.max(1));
        }
        match problem.help {
            Some(help) => told.help(help),
            None => told.help(format!("the request is a `{}` of the contract", method.input().full_name())),
        }
    })?;
    Ok(encoded.into())
}

fn standard_input() -> Outcome<String> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| Problem::new("<standard input>", "cannot read the request").cause(error.to_string()))?;
    Ok(text)
}
