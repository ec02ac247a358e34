//! The directory: one file that holds the entries of all members, each a signed note of its own.
//!
//! The file itself is not signed and carries no trust: what is trusted in it is signed inside. Each member changes its own
//! entry alone, so a signature of many members over the file would have to be made anew with every change of any of them;
//! instead, what members will admit together is a note of its own, the `roster` (how many of which members admit, and the
//! member keys admitted), which stays as it is while entries change. This version knows no roster and refuses a file that
//! has one, so that a threshold is never passed over in silence: until there is one, whoever puts this file in its place
//! admits the members in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use problem::{Problem, TomlFile};
use serde::Deserialize;

use crate::entry::check_format;
use crate::{Entry, EntryError, MemberId};

/// First line of a directory, as `format`.
pub const DIRECTORY_FORMAT: &str = "drawbridge.directory/v1";

/// Largest directory, in bytes. A member has some 2,500.
pub const MAX_DIRECTORY_BYTES: usize = 32 * 1024 * 1024;

/// Most members of a directory.
pub const MAX_MEMBERS: usize = 10_000;

/// All entries of one directory file, one per member, each with its own signature verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: BTreeMap<MemberId, Entry>,
    /// The file that it was read from, for messages; empty for one made here.
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    #[expect(dead_code, reason = "checked before anything else is read")]
    format: String,
    #[serde(default)]
    member: Vec<RawMember>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMember {
    id: String,
    version: u64,
    digest: String,
    entry: String,
}

/// What [`Directory::add`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The member was not in the directory.
    Added,
    /// The member's entry took the place of an older one.
    Replaced {
        /// The version before.
        from: u64,
        /// The version now.
        to: u64,
    },
    /// The very entry was there already.
    Unchanged,
}

impl Directory {
    /// Returns a directory without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a directory and verifies every entry's own signature. `file` is for messages only; nothing is read from disk.
    ///
    /// # Errors
    ///
    /// Every problem found, in all entries at once; lines are those of the directory file.
    pub fn parse(file: impl Into<PathBuf>, text: &str) -> Result<Self, Vec<Problem>> {
        let file = file.into();
        if text.len() > MAX_DIRECTORY_BYTES {
            return Err(vec![Problem::new(file, format!("the directory is larger than {MAX_DIRECTORY_BYTES} bytes"))]);
        }
        let told = |problem: Problem| vec![cut_off(&file, text, &problem).unwrap_or(problem)];
        let toml = TomlFile::parse(&file, text).map_err(told)?;
        check_format(&toml, DIRECTORY_FORMAT).map_err(|problem| vec![problem])?;
        if toml.root().contains_key("roster") {
            let problem = toml.problem(
                "roster",
                "this directory has a threshold of members who admit others, which this program cannot check",
            );
            return Err(vec![
                problem.help("install a newer Drawbridge; to leave the roster out would admit whoever is in the file"),
            ]);
        }
        let raw: RawDirectory = toml.read().map_err(told)?;
        if raw.member.len() > MAX_MEMBERS {
            return Err(vec![toml.problem(
                "member",
                format!("there are {} members; at most {MAX_MEMBERS} are read", raw.member.len()),
            )]);
        }
        let mut directory = Self { entries: BTreeMap::new(), file };
        let mut problems = Vec::new();
        for (place, raw) in raw.member.iter().enumerate() {
            match read_member(&toml, place, raw) {
                Ok(entry) if directory.entries.contains_key(&entry.member) => {
                    let problem = toml.problem(
                        &format!("member[{place}].id"),
                        format!("`{}` is in the directory twice", entry.member),
                    );
                    problems.push(problem.help("take out the entry with the lower version"));
                }
                Ok(entry) => {
                    directory.entries.insert(entry.member.clone(), entry);
                }
                Err(found) => problems.extend(found),
            }
        }
        Problem::sort(&mut problems);
        if problems.is_empty() { Ok(directory) } else { Err(problems) }
    }

    /// Adds an entry, or puts it in the place of an older one of its member.
    ///
    /// # Errors
    ///
    /// [`EntryError`] when it may not take that place; the directory stays as it was.
    pub fn add(&mut self, entry: Entry) -> Result<Change, EntryError> {
        let change = match self.entries.get(&entry.member) {
            None => Change::Added,
            Some(known) => {
                entry.check_succession(known)?;
                if entry.version == known.version {
                    Change::Unchanged
                } else {
                    Change::Replaced { from: known.version, to: entry.version }
                }
            }
        };
        if change != Change::Unchanged {
            self.entries.insert(entry.member.clone(), entry);
        }
        Ok(change)
    }

    /// Takes a member out, and returns its entry. Its links close once gateways have loaded the directory.
    pub fn remove(&mut self, member: &MemberId) -> Option<Entry> {
        self.entries.remove(member)
    }

    /// Returns the entry of a member.
    #[must_use]
    pub fn entry(&self, member: &MemberId) -> Option<&Entry> {
        self.entries.get(member)
    }

    /// Returns all entries in the order of their member ids.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.values()
    }

    /// Returns the file that it was read from; empty for one made here.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes the directory file. The same members give the same bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("format = \"{DIRECTORY_FORMAT}\"\n");
        for entry in self.entries.values() {
            let Entry { member, version, .. } = entry;
            // An entry holds no `'''` (checked when it was read), and a note ends in a newline.
            let written = write!(
                out,
                "\n[[member]]\nid = \"{member}\"\nversion = {version}\ndigest = \"{}\"\nentry = '''\n{}'''\n",
                entry.digest(),
                entry.note(),
            );
            debug_assert!(written.is_ok(), "writing to a string does not fail");
        }
        out
    }
}

/// Says of a directory that cannot be read that it is the beginning of one, where that is so: every whole one ends with the end of an entry.
/// One that was cut between two entries can be read, and lacks members.
fn cut_off(file: &Path, text: &str, problem: &Problem) -> Option<Problem> {
    const QUOTES: &str = "'''";
    let begin = "format = \"drawbridge.directory/";
    if !text.starts_with(begin) && !begin.starts_with(text.trim_end()) {
        return None;
    }
    let inside = text.matches(QUOTES).count() % 2 == 1;
    if !inside && text.trim_end().ends_with(QUOTES) {
        return None;
    }
    let last = text.rfind(QUOTES);
    // Behind the entry that ended last, another member may have begun.
    let member = last.filter(|_| !inside).map_or(text, |at| text.get(at..).unwrap_or_default());
    let begun = member.contains("\n[[member]]\n");
    let id = if begun { id_in(member) } else { id_in(text) };
    let whose = id.map(|id| format!(" of `{id}`")).unwrap_or_default();
    let within = match last {
        Some(at) if inside => {
            let line = text.get(..at).map_or(0, |before| before.matches('\n').count()).saturating_add(1);
            format!("in the midst of the entry{whose}, which begins on line {line}")
        }
        _ if begun => format!("before the entry{whose}"),
        Some(_) => format!("behind the entry{whose}"),
        None => "before its first member".to_owned(),
    };
    let end = text.len();
    let told = Problem::new(file, format!("the directory ends too early, {within}")).within(text, &(end..end));
    Some(told.cause(problem.what.clone()).help(
        "the file was cut off on its way, or by a disk that is full: get it anew from whoever keeps it; a whole one ends with the line `'''`",
    ))
}

/// Returns the id of the last member in a text.
fn id_in(text: &str) -> Option<MemberId> {
    let (_, member) = text.rsplit_once("\n[[member]]\nid = \"")?;
    member.split_once('"')?.0.parse().ok()
}

/// Reads one member, with problems placed in the directory file.
fn read_member(toml: &TomlFile, place: usize, raw: &RawMember) -> Result<Entry, Vec<Problem>> {
    let path = format!("member[{place}]");
    let entry_path = format!("{path}.entry");
    let entry = Entry::parse(toml.name(), &raw.entry).map_err(|problems| {
        let skipped = lines_before(toml, place, &raw.entry);
        problems.into_iter().map(|problem| move_into(toml, &entry_path, skipped, problem)).collect::<Vec<_>>()
    })?;
    let mut problems = Vec::new();
    if raw.id != entry.member.as_str() {
        problems.push(
            toml.problem(&format!("{path}.id"), format!("the entry below is of `{}`", entry.member))
                .help("write that id here"),
        );
    }
    if raw.version != entry.version {
        problems.push(
            toml.problem(&format!("{path}.version"), format!("the entry below has version {}", entry.version))
                .help("write that version here"),
        );
    }
    if raw.digest != entry.digest() {
        let problem = toml.problem(&format!("{path}.digest"), "the entry below has another digest");
        problems.push(problem.help(format!("if the entry is the right one, write \"{}\" here", entry.digest())));
    }
    if problems.is_empty() { Ok(entry) } else { Err(problems) }
}

/// Counts the lines of the file before the first line of an entry, where the entry stands in it line by line.
fn lines_before(toml: &TomlFile, place: usize, entry: &str) -> Option<usize> {
    let item = toml.root().get("member")?.as_array_of_tables()?.get(place)?.get("entry")?;
    let span: Range<usize> = item.span()?;
    let written = toml.text().get(span.clone())?;
    let verbatim = written.strip_prefix("'''\n").is_some_and(|rest| rest.starts_with(entry));
    let before = toml.text().get(..span.start)?;
    verbatim.then(|| before.matches('\n').count().saturating_add(1))
}

/// Moves a problem of an entry to its place in the directory file.
fn move_into(toml: &TomlFile, entry_path: &str, skipped: Option<usize>, mut problem: Problem) -> Problem {
    let key = problem.key.take().map_or_else(|| entry_path.to_owned(), |key| format!("{entry_path}: {key}"));
    if let (Some(line), Some(skipped)) = (problem.line, skipped) {
        problem.line = Some(line.saturating_add(skipped));
    } else {
        let Problem { what, cause, help, .. } = problem;
        problem = Problem { cause, help, ..toml.problem(entry_path, what) };
    }
    problem.key = Some(key);
    problem
}

#[cfg(test)]
mod tests;
