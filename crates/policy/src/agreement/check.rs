//! Checks an agreement in itself, and reports everything that is wrong at once.

mod grants;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use federation::MemberId;
use jiff::civil::Date;
use problem::{KeyPath, Problem, TomlFile};
use toml_edit::Datetime;

use super::{Agreement, Purpose, names, text_digest};
use crate::terms::{PurposeTerms, Terms};
use crate::time::{self, Retention};

/// Longest legal basis or description, in characters.
const MAX_TEXT_CHARACTERS: usize = 512;

/// Most purposes of one agreement.
const MAX_PURPOSES: usize = 64;

/// Most problems that are told of one agreement. Each shows its line, and one line can hold thousands.
const MAX_PROBLEMS: usize = 100;

/// Collects what is wrong in one file.
pub(super) struct Checker<'f> {
    file: &'f TomlFile,
    problems: Vec<Problem>,
    /// There are more than are told.
    more: bool,
}

impl Checker<'_> {
    /// Adds a problem of the value at `path`.
    fn wrong(&mut self, path: &KeyPath, what: impl Into<String>, help: impl Into<String>) {
        if self.has_room() {
            self.problems.push(self.file.problem_at(path, what).help(help));
        }
    }

    /// Adds a problem of the key at `path`.
    fn wrong_key(&mut self, path: &KeyPath, what: impl Into<String>, help: impl Into<String>) {
        if self.has_room() {
            self.problems.push(self.file.problem_of_key(path, what).help(help));
        }
    }

    fn has_room(&mut self) -> bool {
        self.more |= self.problems.len() >= MAX_PROBLEMS;
        !self.more
    }

    /// Returns what was found, in the order of the file.
    fn found(mut self) -> Vec<Problem> {
        if self.more {
            let what = format!("more is wrong than these {MAX_PROBLEMS} things");
            self.problems.push(Problem::new(self.file.name(), what).help("mend these first, then look again"));
        }
        Problem::sort(&mut self.problems);
        self.problems
    }
}

/// Checks `terms` as read from `file`.
pub(super) fn agreement(file: &TomlFile, terms: Terms) -> Result<Agreement, Vec<Problem>> {
    let mut checker = Checker { file, problems: Vec::new(), more: false };
    let root = KeyPath::root();
    if !names::is_id(&terms.id) {
        checker.wrong(
            &root.key("id"),
            format!("`{}` cannot be the id of an agreement", terms.id),
            "use 1 to 128 of `a` to `z`, `0` to `9`, `.` and `-`, beginning and ending with a letter or digit",
        );
    }
    let consumer = member(&mut checker, "consumer", &terms.consumer);
    let provider = member(&mut checker, "provider", &terms.provider);
    if consumer.is_some() && consumer == provider {
        checker.wrong(
            &root.key("provider"),
            format!("`{}` is both consumer and provider", terms.provider),
            "an agreement is between two members; within one member none is needed",
        );
    }
    let validity = validity(&mut checker, &terms);
    let review_on = review(&mut checker, &terms.review_on, validity);
    let retention: Option<Retention> = terms.retention.parse().ok();
    if retention.is_none() {
        checker.wrong(
            &root.key("retention"),
            format!("`{}` is not a length of time that records are kept", terms.retention),
            "write a number of `days`, `months` or `years`, from 1 to 1000, as in \"6 years\"",
        );
    }
    let purposes = purposes(&mut checker, &terms.purpose);
    let grants = grants::all(&mut checker, terms.grant, consumer.as_ref(), &purposes);

    let members = consumer.zip(provider);
    let times = validity.zip(review_on).zip(retention);
    if let (Some((consumer, provider)), Some(((validity, review_on), retention)), true) =
        (members, times, checker.problems.is_empty())
    {
        let newline = if file.text().ends_with('\n') { "" } else { "\n" };
        let text: Arc<str> = format!("{}{newline}", file.text()).into();
        return Ok(Agreement {
            file: file.name().to_owned(),
            digest: text_digest(&text),
            text,
            id: terms.id.into(),
            consumer,
            provider,
            valid_from: validity.0,
            valid_until: validity.1,
            review_on,
            retention,
            purposes,
            grants,
        });
    }
    Err(checker.found())
}

fn member(checker: &mut Checker<'_>, key: &str, text: &str) -> Option<MemberId> {
    match text.parse::<MemberId>() {
        Ok(member) => Some(member),
        Err(error) => {
            checker.wrong(
                &KeyPath::root().key(key),
                error.to_string(),
                "use the member's id as the directory has it, such as `county.example`",
            );
            None
        }
    }
}

fn validity(checker: &mut Checker<'_>, terms: &Terms) -> Option<(SystemTime, SystemTime)> {
    let from = instant(checker, "valid_from", &terms.valid_from);
    let until = instant(checker, "valid_until", &terms.valid_until);
    let (from, until) = (from?, until?);
    if until <= from {
        checker.wrong(
            &KeyPath::root().key("valid_until"),
            format!(
                "the agreement ends at {}, which is not after its beginning at {}",
                time::shown(until),
                time::shown(from)
            ),
            "it is in force from `valid_from` until just before `valid_until`",
        );
        return None;
    }
    Some((from, until))
}

fn instant(checker: &mut Checker<'_>, key: &str, written: &Datetime) -> Option<SystemTime> {
    let instant = time::instant(written);
    if instant.is_none() {
        let date = written.date.map_or_else(|| "2026-11-01".to_owned(), |date| date.to_string());
        checker.wrong(
            &KeyPath::root().key(key),
            format!("`{written}` does not say when exactly"),
            format!("write a date, a time and an offset from UTC, as in `{date}T00:00:00Z`"),
        );
    }
    instant
}

fn review(checker: &mut Checker<'_>, written: &Datetime, validity: Option<(SystemTime, SystemTime)>) -> Option<Date> {
    let path = KeyPath::root().key("review_on");
    let Some(day) = time::day(written) else {
        checker.wrong(&path, format!("`{written}` is not a day"), "write a date alone, as in `2027-08-01`");
        return None;
    };
    if let Some((from, until)) = validity
        && (day < time::day_of(from) || day > time::day_of(until))
    {
        checker.wrong(
            &path,
            format!("the review on {day} is not while the agreement is in force"),
            format!("choose a day from {} to {}", time::day_of(from), time::day_of(until)),
        );
    }
    Some(day)
}

fn purposes(checker: &mut Checker<'_>, terms: &BTreeMap<String, PurposeTerms>) -> BTreeMap<Arc<str>, Purpose> {
    let table = KeyPath::root().key("purpose");
    if terms.is_empty() {
        checker.wrong(&table, "the agreement names no purpose", "add `[purpose.<name>]` with its `legal_basis`");
    }
    if terms.len() > MAX_PURPOSES {
        checker.wrong(
            &table,
            format!("the agreement names {} purposes", terms.len()),
            format!("at most {MAX_PURPOSES} fit in one agreement"),
        );
    }
    let mut purposes = BTreeMap::new();
    for (name, purpose) in terms {
        let path = table.key(name);
        if !names::is_purpose(name) {
            checker.wrong_key(
                &path,
                format!("`{name}` cannot be the name of a purpose"),
                "use 1 to 64 of `a` to `z`, `0` to `9` and `-`, beginning and ending with a letter or digit, since it travels as metadata",
            );
        }
        text(
            checker,
            &path.key("legal_basis"),
            &purpose.legal_basis,
            "name the law that lets the consumer ask for this purpose",
        );
        if let Some(description) = &purpose.description {
            text(checker, &path.key("description"), description, "say what the purpose is, or leave `description` out");
        }
        let agreed =
            Purpose { legal_basis: purpose.legal_basis.as_str().into(), description: purpose.description.clone() };
        purposes.insert(Arc::from(name.as_str()), agreed);
    }
    purposes
}

fn text(checker: &mut Checker<'_>, path: &KeyPath, text: &str, help: &str) {
    let characters = text.chars().count();
    if text.trim().is_empty() {
        checker.wrong(path, "this is empty", help);
    } else if characters > MAX_TEXT_CHARACTERS {
        checker.wrong(
            path,
            format!("this is {characters} characters long"),
            format!("use at most {MAX_TEXT_CHARACTERS}"),
        );
    } else if text.chars().any(char::is_control) {
        checker.wrong(path, "this holds control characters, such as a new line", "write it in one line");
    } else if let Some(hidden) = text.chars().find(|c| super::is_hidden(*c)) {
        // Written as an escape of TOML's, it is not in the text of the file.
        checker.wrong(
            path,
            format!("this holds {}, {}", super::named(hidden), super::HIDDEN),
            "remove it; what is signed has to read as it looks",
        );
    }
}

/// Adds a problem for each text that is in the list more than once.
fn no_doubles(checker: &mut Checker<'_>, path: &KeyPath, list: &[String], noun: &str) {
    let mut seen = BTreeSet::new();
    for (place, text) in list.iter().enumerate() {
        if !seen.insert(text) {
            checker.wrong(&path.index(place), format!("the {noun} `{text}` is named twice"), "keep one of them");
        }
    }
}
