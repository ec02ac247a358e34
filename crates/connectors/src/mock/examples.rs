//! The file of examples, JSON or TOML: for each method, questions and what answers them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{Contracts, JsonProblem, Method, status};
use problem::nearest;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::bindings::Complaint;
use crate::mock::matching::Pattern;

/// What answers a question.
#[derive(Clone, Debug)]
pub(super) struct Example {
    /// The questions that it is for; all of them without.
    pub(super) request: Option<Pattern>,
    pub(super) reply: Reply,
}

/// An answer, or a refusal.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Messages(Vec<DynamicMessage>),
    /// The fields that are not given are made up.
    Filled(Vec<DynamicMessage>),
    Error {
        code: i32,
        message: String,
    },
}

/// One example, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    request: Option<Map<String, Json>>,
    answer: Option<Json>,
    answers: Option<Vec<Json>>,
    error: Option<Failure>,
    #[serde(default)]
    fill: bool,
}

/// A refusal, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    code: String,
    #[serde(default)]
    message: String,
}

/// The files of examples that bindings share, each read once.
#[derive(Debug, Default)]
pub(crate) struct Shelf(HashMap<PathBuf, Option<Arc<Book>>>);

/// The examples of one file, by method.
type Book = BTreeMap<String, Vec<Written>>;

impl Shelf {
    /// Returns the examples of a method. What is wrong with the file as a whole is said once, for the first binding that names it.
    pub(super) fn of(
        &mut self,
        path: &Path,
        method: &Method,
        contracts: &Contracts,
    ) -> Result<Vec<Example>, Vec<Complaint>> {
        let book = match self.0.get(path) {
            Some(Some(book)) => Arc::clone(book),
            Some(None) => return Err(Vec::new()),
            None => {
                let book = read(path, contracts);
                self.0.insert(path.to_owned(), book.as_ref().ok().cloned());
                book?
            }
        };
        let written = book.get(method.path().trim_start_matches('/')).map(Vec::as_slice).unwrap_or_default();
        let mut complaints = Vec::new();
        let mut examples = Vec::new();
        for (number, written) in (1_usize..).zip(written) {
            match example(written, method) {
                Ok(example) => examples.push(example),
                Err((what, help)) => complaints.push(Complaint {
                    key: "examples".to_owned(),
                    what: format!("`{}`, example {number} of `{}`: {what}", path.display(), named(method)),
                    help,
                }),
            }
        }
        if complaints.is_empty() { Ok(examples) } else { Err(complaints) }
    }
}

/// Reads a file, and holds the names of methods in it against the contracts.
fn read(path: &Path, contracts: &Contracts) -> Result<Arc<Book>, Vec<Complaint>> {
    let wrong =
        |why: String, help: &str| vec![Complaint::new("examples", format!("`{}`: {why}", path.display()), help)];
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong(format!("cannot be read: {error}"), "the path is relative to the configuration file"))?;
    let book: Result<Book, String> = if path.extension().is_some_and(|extension| extension == "toml") {
        toml::from_str::<toml::Table>(&text).map_err(|error| error.to_string()).and_then(|table| {
            serde_json::from_value(json(toml::Value::Table(table))).map_err(|error| error.to_string())
        })
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    let help = "write `{\"housing.v1.Tenancies/Find\": [{\"request\": {…}, \"answer\": {…}}]}`; crates/connectors/README.md \
                describes the file";
    let book = book.map_err(|why| wrong(why.trim_end().to_owned(), help))?;
    let known: Vec<&str> =
        contracts.services().flat_map(|service| &service.methods).map(|method| named(method)).collect();
    let strangers: Vec<Complaint> = book
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            let help = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "write it as in `housing.v1.Tenancies/Find`".to_owned(),
            };
            Complaint::new("examples", format!("`{}`: no contract has a method `{name}`", path.display()), help)
        })
        .collect();
    if strangers.is_empty() { Ok(Arc::new(book)) } else { Err(strangers) }
}

/// What is wrong with an example, and its cure.
type Wrong = (String, Option<String>);

fn example(written: &Written, method: &Method) -> Result<Example, Wrong> {
    let mut request = None;
    if let Some(fields) = &written.request {
        let text = Json::Object(fields.clone()).to_string();
        method.request_from_json(&text).map_err(|problem| misfit("request", problem))?;
        request = Some(
            Pattern::read(fields, method.input()).ok_or_else(|| ("`request` cannot be compared".to_owned(), None))?,
        );
    }
    let one = written.answer.iter().chain(written.answers.iter().flatten());
    let given = [written.answer.is_some(), written.answers.is_some(), written.error.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        let what = "it needs one of `answer`, `answers` and `error`, and no more than one";
        return Err((what.to_owned(), None));
    }
    if let Some(error) = &written.error {
        return Ok(Example { request, reply: failure(error)? });
    }
    if written.answers.is_some() && !method.shape().streams_answers() {
        let what = "`answers` is for a stream, and the method answers with one message";
        return Err((what.to_owned(), Some("write `answer`".to_owned())));
    }
    let messages = one
        .map(|answer| method.answer_from_json(&answer.to_string()).map_err(|problem| misfit("answer", problem)))
        .collect::<Result<Vec<_>, _>>()?;
    let reply = if written.fill { Reply::Filled(messages) } else { Reply::Messages(messages) };
    for message in reply.samples(method) {
        method.check_made_up_answer(&message.encode_to_vec()).map_err(|misfit| {
            let help = "partners rely on the contract: mend the example";
            (format!("the answer breaks the contract: {misfit}"), Some(help.to_owned()))
        })?;
    }
    Ok(Example { request, reply })
}

impl Reply {
    /// The messages that it answers with, the first time.
    fn samples(&self, method: &Method) -> Vec<DynamicMessage> {
        match self {
            Self::Messages(messages) => messages.clone(),
            Self::Filled(messages) => {
                let sampler = method.answer_sampler();
                messages.iter().map(|message| filled(sampler.sample(0).message, message)).collect()
            }
            Self::Error { .. } => Vec::new(),
        }
    }
}

/// Lays what is given over what is made up.
pub(super) fn filled(mut made_up: DynamicMessage, given: &DynamicMessage) -> DynamicMessage {
    for (field, value) in given.fields() {
        made_up.set_field(&field, value.clone());
    }
    made_up
}

fn failure(error: &Failure) -> Result<Reply, Wrong> {
    if let Some(code) = status::code(&error.code).filter(|code| *code > 0) {
        return Ok(Reply::Error { code, message: error.message.clone() });
    }
    let help = match nearest(&error.code, status::NAMES) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write the name of a gRPC code, as in `NOT_FOUND`".to_owned(),
    };
    Err((format!("`{}` is not the code of an error", error.code), Some(help)))
}

fn misfit(part: &str, problem: JsonProblem) -> Wrong {
    (format!("`{part}`: {}", problem.what), problem.help)
}

fn named(method: &Method) -> &str {
    method.path().trim_start_matches('/')
}

/// Takes TOML for JSON. A date is the text that it is written as.
fn json(value: toml::Value) -> Json {
    match value {
        toml::Value::String(text) => Json::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(moment) => Json::String(moment.to_string()),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            table.into_iter().map(|(key, value)| (key, json(value))).collect::<Map<_, _>>().into()
        }
    }
}
