//! A TOML file that keeps its text, so that every problem found in it later can point to its place.

mod words;

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml_edit::{Document, DocumentMut, Item, Table, TableLike};

use crate::key_path::Step;
use crate::{KeyPath, Problem};

/// The name, text and parsed document of one TOML file.
#[derive(Clone, Debug)]
pub struct TomlFile {
    name: PathBuf,
    document: Document<String>,
}

impl TomlFile {
    /// Parses `text`. `name` is only for messages; nothing is read from disk.
    ///
    /// # Errors
    ///
    /// The first syntax error, with line and column. Nesting of more than 80 levels is one.
    pub fn parse(name: impl Into<PathBuf>, text: impl Into<String>) -> Result<TomlFile, Problem> {
        let (name, text) = (name.into(), text.into());
        match Document::parse(text.clone()) {
            Ok(document) => Ok(TomlFile { name, document }),
            Err(error) => {
                let span = error.span().unwrap_or(text.len()..text.len());
                let (what, help) = words::syntax(error.message());
                let problem = Problem::new(name, what).within(&text, &span);
                Err(with_help(problem, help))
            }
        }
    }

    /// Reads the file into `T`, whose `Deserialize` says which keys there are.
    ///
    /// # Errors
    ///
    /// The first unknown key, missing key or value of the wrong type, with its key path and place, in words without Rust's types.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let deserializer = toml_edit::de::Deserializer::from(self.document.clone());
        T::deserialize(deserializer).map_err(|error| self.explain(error.message(), error.span()))
    }

    /// Reads the file into `T` as [`TomlFile::read`] does, and tells every unknown key at once.
    ///
    /// # Errors
    ///
    /// All unknown keys in the order in which they are met, and after them the first missing key or value of the wrong type.
    pub fn read_all<T: DeserializeOwned>(&self) -> Result<T, Vec<Problem>> {
        let (mut root, mut problems) = (self.root().clone(), Vec::new());
        loop {
            let wrong = match self.attempt(&root) {
                Ok(read) if problems.is_empty() => return Ok(read),
                Ok(_) => return Err(problems),
                Err(wrong) => wrong,
            };
            problems.push(wrong.problem);
            // Without it the rest is read on.
            if !wrong.unknown || !remove(&mut root, wrong.path.steps()) {
                return Err(problems);
            }
        }
    }

    /// Reads what can be read into `T`: without unknown keys, without values of the wrong type, and without the tables that miss a key.
    ///
    /// Where one of the keys `blank` is missing in the root, or is of the wrong type there, it is read as an empty text.
    #[must_use]
    pub fn salvage<T: DeserializeOwned>(&self, blank: &[&str]) -> Salvaged<T> {
        let (mut root, mut problems, mut whole) = (self.root().clone(), Vec::new(), true);
        loop {
            let wrong = match self.attempt(&root) {
                Ok(read) => return Salvaged { read: Some((read, text_of(&root))), problems, whole },
                Err(wrong) => wrong,
            };
            problems.push(wrong.problem);
            let path = wrong.path.steps();
            if wrong.unknown && remove(&mut root, path) {
                continue;
            }
            whole = false;
            if !leave_out(&mut root, path, blank) {
                return Salvaged { read: None, problems, whole };
            }
        }
    }

    fn attempt<T: DeserializeOwned>(&self, root: &Table) -> Result<T, Wrong> {
        let document = DocumentMut::from(root.clone());
        T::deserialize(toml_edit::de::Deserializer::from(document)).map_err(|error| {
            let unknown = words::explain(error.message()).unknown.is_some();
            let problem = self.explain(error.message(), error.span());
            let path = problem.key.as_deref().map(KeyPath::read).unwrap_or_default();
            Wrong { problem, path, unknown }
        })
    }

    /// Returns the file's name as given to [`TomlFile::parse`].
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Returns the file's text, unchanged.
    #[must_use]
    pub fn text(&self) -> &str {
        self.document.raw()
    }

    /// Returns the root table.
    #[must_use]
    pub fn root(&self) -> &Table {
        self.document.as_table()
    }

    /// Returns a problem of the value at `key_path`, such as `binding[0].connector.kind`.
    ///
    /// Where there is no such value the problem points to the nearest parent that is there, and still names the whole path.
    pub fn problem(&self, key_path: &str, what: impl Into<String>) -> Problem {
        self.problem_at(&KeyPath::read(key_path), what)
    }

    /// Returns a problem of the value at `path`, as [`TomlFile::problem`] does.
    pub fn problem_at(&self, path: &KeyPath, what: impl Into<String>) -> Problem {
        self.point(path, what, Part::Value)
    }

    /// Returns a problem of the key at the end of `path` itself, rather than of its value.
    pub fn problem_of_key(&self, path: &KeyPath, what: impl Into<String>) -> Problem {
        self.point(path, what, Part::Key)
    }

    fn point(&self, path: &KeyPath, what: impl Into<String>, part: Part) -> Problem {
        let mut problem = Problem::new(&self.name, what);
        if let Some(span) = self.find(path, part) {
            problem = problem.within(self.text(), &span);
        }
        problem.key = (!path.is_root()).then(|| path.to_string());
        problem
    }

    /// Returns the span at `path`, or of the last step of it that is there.
    fn find(&self, path: &KeyPath, part: Part) -> Option<Range<usize>> {
        let mut here = Found { key: None, node: Node::Table(self.root()) };
        let mut span = None;
        let last = path.steps().len();
        for (place, step) in path.steps().iter().enumerate() {
            let Some(next) = here.step(step) else { break };
            here = next;
            let found = if place.saturating_add(1) == last { here.span(part) } else { here.span(Part::Value) };
            span = found.or(span);
        }
        span
    }

    fn explain(&self, message: &str, span: Option<Range<usize>>) -> Problem {
        let words::Explained { what, help, missing, unknown } = words::explain(message);
        let wanted = if missing.is_some() { Wanted::Table } else { Wanted::Anything };
        let mut located = span.map(|span| locate(self.root(), &span, wanted)).unwrap_or_default();
        if let Some(key) = &missing {
            located.path = located.path.key(key);
        }
        // Inside a tagged enum the place of an unknown key is lost: only its table is known. The key has the name that the message has.
        if let Some(key) = unknown.filter(|_| !located.is_key) {
            let precise = located.path.key(&key);
            if let Some(found) = self.find(&precise, Part::Key) {
                located = Located { path: precise, span: Some(found), is_key: true };
            }
        }
        let mut problem = Problem::new(&self.name, what);
        if let Some(span) = located.span {
            problem = problem.within(self.text(), &span);
        }
        problem.key = (!located.path.is_root()).then(|| located.path.to_string());
        with_help(problem, help)
    }
}

/// What could be read of a file, whatever is wrong in it.
#[derive(Debug)]
pub struct Salvaged<T> {
    /// What was read, and the text that says just that. None where what is wrong cannot be left out.
    pub read: Option<(T, String)>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// Whether nothing was left out but keys that nobody knows.
    pub whole: bool,
}

/// The first thing that is wrong in a table.
struct Wrong {
    problem: Problem,
    path: KeyPath,
    unknown: bool,
}

fn with_help(problem: Problem, help: Option<String>) -> Problem {
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// Takes a key out, and returns whether it was there.
fn remove(table: &mut dyn TableLike, path: &[Step]) -> bool {
    match path {
        [Step::Key(key)] => table.remove(key).is_some(),
        [Step::Key(key), rest @ ..] => table.get_mut(key).is_some_and(|item| remove_below(item, rest)),
        [] | [Step::Index(_), ..] => false,
    }
}

/// Takes out what is wrong, or else the key of the root that it lies under. Returns whether the table is another now.
fn leave_out(root: &mut Table, path: &[Step], blank: &[&str]) -> bool {
    let Some(Step::Key(first)) = path.first() else { return false };
    if blank.contains(&first.as_str()) {
        let blank = toml_edit::value("");
        return root.insert(first, blank).is_none_or(|before| before.as_str() != Some(""));
    }
    remove(root, path) || root.remove(first).is_some()
}

fn text_of(root: &Table) -> String {
    DocumentMut::from(root.clone()).to_string()
}

fn remove_below(item: &mut Item, path: &[Step]) -> bool {
    if let Some(table) = item.as_table_like_mut() {
        return remove(table, path);
    }
    let [Step::Index(index), rest @ ..] = path else { return false };
    if let Some(table) = item.as_array_of_tables_mut().and_then(|tables| tables.get_mut(*index)) {
        return remove(table, rest);
    }
    let element = item.as_array_mut().and_then(|array| array.get_mut(*index));
    element.and_then(|value| value.as_inline_table_mut()).is_some_and(|table| remove(table, rest))
}

/// A place in the document.
struct Found<'d> {
    key: Option<Range<usize>>,
    node: Node<'d>,
}

/// Which of the two a problem points to.
#[derive(Copy, Clone)]
enum Part {
    Key,
    Value,
}

/// What stands at a place.
#[derive(Copy, Clone)]
enum Node<'d> {
    Item(&'d Item),
    Table(&'d Table),
    Value(&'d toml_edit::Value),
}

impl<'d> Found<'d> {
    fn span(&self, part: Part) -> Option<Range<usize>> {
        match part {
            Part::Key => self.key.clone().or_else(|| self.node.span()),
            Part::Value => self.node.span().or_else(|| self.key.clone()),
        }
    }

    fn step(&self, step: &Step) -> Option<Found<'d>> {
        match step {
            Step::Key(key) => {
                let table = self.node.as_table_like()?;
                let (key, item) = table.get_key_value(key)?;
                Some(Found { key: key.span(), node: Node::Item(item) })
            }
            Step::Index(index) => {
                let node = self.node.at(*index)?;
                Some(Found { key: None, node })
            }
        }
    }
}

impl<'d> Node<'d> {
    fn span(self) -> Option<Range<usize>> {
        match self {
            Node::Item(item) => item.span(),
            Node::Table(table) => table.span(),
            Node::Value(value) => value.span(),
        }
    }

    fn as_table_like(self) -> Option<&'d dyn TableLike> {
        match self {
            Node::Item(item) => item.as_table_like(),
            Node::Table(table) => Some(table),
            Node::Value(value) => value.as_inline_table().map(|table| table as &dyn TableLike),
        }
    }

    fn at(self, index: usize) -> Option<Node<'d>> {
        match self {
            Node::Item(Item::ArrayOfTables(tables)) => tables.get(index).map(Node::Table),
            Node::Item(Item::Value(value)) | Node::Value(value) => value.as_array()?.get(index).map(Node::Value),
            Node::Item(Item::None | Item::Table(_)) | Node::Table(_) => None,
        }
    }

    fn len(self) -> usize {
        match self {
            Node::Item(Item::ArrayOfTables(tables)) => tables.len(),
            Node::Item(Item::Value(value)) | Node::Value(value) => value.as_array().map_or(0, toml_edit::Array::len),
            Node::Item(Item::None | Item::Table(_)) | Node::Table(_) => 0,
        }
    }
}

/// The narrowest part of the document around a span. The root has neither path nor span.
#[derive(Default)]
struct Located {
    path: KeyPath,
    span: Option<Range<usize>>,
    is_key: bool,
}

/// Which parts of the document may be the one around a span.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Wanted {
    Anything,
    Table,
}

fn locate(root: &Table, span: &Range<usize>, wanted: Wanted) -> Located {
    let mut search = Search { span, wanted, best: Located::default() };
    search.descend(Node::Table(root), &KeyPath::root());
    search.best
}

struct Search<'s> {
    span: &'s Range<usize>,
    wanted: Wanted,
    best: Located,
}

impl Search<'_> {
    fn descend(&mut self, node: Node<'_>, path: &KeyPath) {
        if let Some(table) = node.as_table_like() {
            for (name, item) in table.iter() {
                let path = path.key(name);
                if self.wanted == Wanted::Anything {
                    self.consider(table.key(name).and_then(toml_edit::Key::span), true, &path);
                }
                self.visit(Node::Item(item), &path);
            }
        }
        for index in 0..node.len() {
            let Some(element) = node.at(index) else { break };
            self.visit(element, &path.index(index));
        }
    }

    fn visit(&mut self, node: Node<'_>, path: &KeyPath) {
        if self.wanted == Wanted::Anything || node.as_table_like().is_some() {
            self.consider(node.span(), false, path);
        }
        self.descend(node, path);
    }

    fn consider(&mut self, found: Option<Range<usize>>, is_key: bool, path: &KeyPath) {
        let Some(found) = found else { return };
        let around = found.start <= self.span.start && self.span.end <= found.end;
        let narrower = self.best.span.as_ref().is_none_or(|best| found.len() < best.len());
        if around && narrower {
            self.best = Located { path: path.clone(), span: Some(found), is_key };
        }
    }
}

#[cfg(test)]
mod tests;
