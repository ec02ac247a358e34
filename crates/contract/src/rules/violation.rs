//! Which rules a request breaks, in the contract's own words: never the value, nor anything made of it.

use std::fmt;

use crate::rules::Format;

/// Most violations that are listed.
const MOST_LISTED: usize = 16;

/// Most bytes that the listed violations take together, so that they fit in a gRPC trailer: implementations refuse
/// metadata from 8 KiB upward, and base64 adds a third.
const MOST_BYTES: usize = 2 * 1024;

/// What each violation takes beside its texts when it is encoded.
const ENVELOPE: usize = 16;

/// Most bytes of a path. What is above is cut off in front.
const MOST_PATH_BYTES: usize = 200;

/// How many violations a sentence names.
const NAMED: usize = 3;

/// The rules of the contract that a request breaks.
///
/// All of them are counted. At most 16 are listed, with at most 2 KiB of text; the first always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations {
    listed: Vec<Violation>,
    total: usize,
}

/// One rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, as in `addresses[2].postcode`: elements of lists count from 1, as in `google.rpc.BadRequest`. The
    /// key of a map's entry is a value too and not shown: `contacts.key`, `contacts.value.phone`. A path above 200 bytes begins
    /// with `…`.
    pub field: String,
    /// Which rule it is.
    pub rule: Rule,
    /// What the field has to be, behind its name: `has to be given`.
    pub description: String,
}

/// The kinds of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A field has to be given.
    Required,
    /// A single field is there twice.
    Once,
    /// A text has to look like something.
    Format(Format),
    /// A text has to match a pattern.
    Pattern,
    /// Text or bytes are too short or too long.
    Length,
    /// A number is too small or too large.
    Range,
    /// A value is none of those that are allowed.
    OneOf,
    /// A list or a map has too few or too many entries.
    Items,
    /// An element of a list, or a key of a map, is there twice.
    Unique,
}

impl Rule {
    /// Returns the stable name, as in the `reason` of a `google.rpc.BadRequest.FieldViolation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "REQUIRED",
            Self::Once => "ONCE",
            Self::Format(format) => format.as_str(),
            Self::Pattern => "PATTERN",
            Self::Length => "LENGTH",
            Self::Range => "RANGE",
            Self::OneOf => "ONE_OF",
            Self::Items => "ITEMS",
            Self::Unique => "UNIQUE",
        }
    }
}

impl Violations {
    /// Returns those that are listed, in the order in which they were met.
    #[must_use]
    pub fn listed(&self) -> &[Violation] {
        &self.listed
    }

    /// Returns how many there are in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named = 0_usize;
        for violation in self.listed.iter().take(NAMED) {
            let separator = if named == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
            named = named.saturating_add(1);
        }
        match self.total.saturating_sub(named) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Violations {}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.description)
    }
}

/// Where a walk is: the field, and the fields around it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) within: Option<&'a At<'a>>,
    pub(super) name: &'a str,
    /// Counted from 1, of an element of a list.
    pub(super) element: Option<usize>,
}

impl At<'_> {
    #[cold]
    fn path(&self) -> String {
        let mut parts = Vec::new();
        let mut at = Some(self);
        let mut bytes = 0_usize;
        while let Some(here) = at
            && bytes <= MOST_PATH_BYTES
        {
            let part = here.element.map_or_else(|| here.name.to_owned(), |element| format!("{}[{element}]", here.name));
            bytes = bytes.saturating_add(part.len()).saturating_add(1);
            parts.push(part);
            at = here.within;
        }
        parts.reverse();
        let path = parts.join(".");
        // Names of fields are ASCII, so that every cut is between two letters.
        let cut = path.len().saturating_sub(MOST_PATH_BYTES);
        match path.split_at_checked(cut) {
            Some((_, tail)) if cut > 0 || at.is_some() => format!("…{tail}"),
            Some(_) | None => path,
        }
    }
}

/// Violations as they are found.
pub(super) struct Found {
    listed: Vec<Violation>,
    total: usize,
    room: usize,
}

impl Found {
    pub(super) fn new() -> Self {
        Self { listed: Vec::new(), total: 0, room: MOST_BYTES }
    }

    /// Adds one; `describe` is asked only where it will be listed.
    #[cold]
    pub(super) fn add(&mut self, at: &At<'_>, rule: Rule, describe: impl FnOnce() -> String) {
        self.total = self.total.saturating_add(1);
        if self.listed.len() >= MOST_LISTED || self.room == 0 {
            return;
        }
        let violation = Violation { field: at.path(), rule, description: describe() };
        let texts = [violation.field.as_str(), rule.as_str(), violation.description.as_str()];
        let size = texts.iter().fold(ENVELOPE, |size, text| size.saturating_add(text.len()));
        // Once one does not fit none is listed any more, so that what is listed is what was met first.
        self.room = self.room.saturating_sub(size);
        if self.room > 0 || self.listed.is_empty() {
            self.listed.push(violation);
        }
    }

    pub(super) fn finish(self) -> Result<(), Violations> {
        if self.total == 0 { Ok(()) } else { Err(Violations { listed: self.listed, total: self.total }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(times: usize, describe: impl Fn(usize) -> String) -> Violations {
        let mut found = Found::new();
        for time in 0..times {
            let at = At { within: None, name: "a", element: Some(time + 1) };
            found.add(&at, Rule::Pattern, || describe(time));
        }
        found.finish().unwrap_err()
    }

    #[test]
    fn all_are_counted_and_few_are_listed() {
        let many = found(1_000, |_| "has to match".to_owned());
        assert_eq!((many.total(), many.listed().len()), (1_000, MOST_LISTED));
        assert_eq!(many.to_string(), "`a[1]` has to match; `a[2]` has to match; `a[3]` has to match; and 997 more");
        assert_eq!(found(2, |_| "x".to_owned()).to_string(), "`a[1]` x; `a[2]` x");
    }

    #[test]
    fn what_is_listed_fits_in_a_trailer_and_is_what_was_met_first() {
        let long = found(16, |time| "x".repeat(if time == 5 { 400 } else { 350 }));
        assert_eq!((long.listed().len(), long.total()), (5, 16));
        let first = found(3, |_| "x".repeat(5_000));
        assert_eq!((first.listed().len(), first.total()), (1, 3));
    }

    #[test]
    fn a_path_keeps_its_end() {
        let top = At { within: None, name: "top", element: None };
        let mut at = At { within: Some(&top), name: "inner", element: Some(2) };
        assert_eq!(at.path(), "top.inner[2]");
        let long = "n".repeat(150);
        let outer = At { within: None, name: &long, element: None };
        let middle = At { within: Some(&outer), name: &long, element: None };
        at = At { within: Some(&middle), name: "last", element: None };
        let path = at.path();
        assert!(path.starts_with('…') && path.ends_with("n.last"), "{path}");
        assert!(path.len() <= MOST_PATH_BYTES + '…'.len_utf8());
    }
}
