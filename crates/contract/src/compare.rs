//! What lies between two versions of a service, and whether an agreement about the earlier one can go on under the later one.
//!
//! The rule: whatever the earlier version says is still said, word for word, and what came in addition is nothing that a caller or an
//! answerer of the earlier version would have to know. It is decided on the canonical texts, so two versions with one digest differ in nothing.

mod elements;
mod options;
mod places;

use std::collections::BTreeMap;
use std::fmt;

use prost_reflect::ServiceDescriptor;

use crate::contracts::Service;
use elements::{Element, Field, Key};

/// Drawbridge's options of a field that has to be given, `required` and `min_items`, as the canonical text writes them where they are set.
const HAS_TO_BE_GIVEN: [&str; 2] = ["50901.3", "50901.11"];

/// One thing in which a later version of a service differs from an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The full name of what differs: a service, a method (`health.v1.Patients/Find`), a message, a field, an enum or one of its values.
    pub element: String,
    /// What became of it, for people.
    pub what: String,
    /// Whether an agreement about the earlier version cannot go on under the later one.
    pub breaks: bool,
    /// Where it stands, if the source had lines.
    pub place: Option<Place>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.element, self.what)
    }
}

/// A line of a file of one of the two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the two.
    pub version: Version,
    /// The file's import path.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// One of two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that was there before.
    Earlier,
    /// The one that came after it.
    Later,
}

impl Service {
    /// Returns all in which `later` differs from this version of the same service, what breaks first. Nothing: the digests are equal.
    #[must_use]
    pub fn changes_to(&self, later: &Service) -> Vec<Change> {
        let (earlier, later_text) = (self.canonical_text(), later.canonical_text());
        let comparison = Comparison {
            earlier: elements::of(&earlier),
            later: elements::of(&later_text),
            descriptors: (self.descriptor(), later.descriptor()),
        };
        comparison.changes()
    }
}

struct Comparison<'a> {
    earlier: BTreeMap<Key, Element<'a>>,
    later: BTreeMap<Key, Element<'a>>,
    descriptors: (&'a ServiceDescriptor, &'a ServiceDescriptor),
}

impl Comparison<'_> {
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, before) in &self.earlier {
            match self.later.get(key) {
                Some(after) => self.altered(key, before, after, &mut changes),
                None => changes.extend(self.removed(key, before)),
            }
        }
        for (key, after) in self.later.iter().filter(|(key, _)| !self.earlier.contains_key(key)) {
            changes.extend(self.added(key, after));
        }
        changes.sort_by_key(|change| !change.breaks);
        changes
    }

    /// A type is out of reach only because of a method or a field that is told, and so is what lies within it.
    fn removed(&self, key: &Key, before: &Element<'_>) -> Option<Change> {
        let what = match key {
            Key::Service | Key::Message(_) | Key::Enum(_) | Key::Oneof(..) => return None,
            Key::Method(_) => "is removed".to_owned(),
            Key::Field(message, number) => {
                self.later.get(&Key::Message(message.clone()))?;
                match self.elsewhere(message, Field::of(before).name) {
                    Some(now) => format!("is renumbered from {number} to {now}"),
                    None => "is removed".to_owned(),
                }
            }
            Key::Value(of, ..) => {
                self.later.get(&Key::Enum(of.clone()))?;
                "is removed".to_owned()
            }
        };
        Some(self.change(Version::Earlier, key, before, what, true))
    }

    /// Returns the number under which the later version has a field of this name, if the earlier one has not that number too.
    fn elsewhere(&self, message: &str, name: &str) -> Option<u32> {
        let new = |key: &Key| !self.earlier.contains_key(key);
        fields(&self.later, message).find(|(key, _, field)| field.name == name && new(key)).map(|(_, number, _)| number)
    }

    fn added(&self, key: &Key, after: &Element<'_>) -> Option<Change> {
        let (what, breaks) = match key {
            Key::Service | Key::Message(_) | Key::Enum(_) | Key::Oneof(..) => return None,
            Key::Method(_) => (format!("is added: {}", after.head), false),
            Key::Field(message, number) => {
                self.earlier.get(&Key::Message(message.clone()))?;
                let field = Field::of(after);
                if self.was_elsewhere(message, field.name) {
                    return None;
                }
                self.added_field(message, *number, &field, after)
            }
            Key::Value(of, number, name) => {
                let around = self.earlier.get(&Key::Enum(of.clone()))?;
                if self.reserved_value(of, *number, name) {
                    ("takes a number or a name that the earlier version reserves".to_owned(), true)
                } else if around.head == "closed" {
                    (format!("is added as {number} to an enum that is closed (proto2)"), true)
                } else {
                    (format!("is added: {number}"), false)
                }
            }
        };
        Some(self.change(Version::Later, key, after, what, breaks))
    }

    fn added_field(&self, message: &str, number: u32, field: &Field<'_>, after: &Element<'_>) -> (String, bool) {
        let needed = "is added as a field that has to be given, which nobody gives who has the earlier version";
        if self.reserved_field(message, number, field.name) {
            ("takes a number or a name that the earlier version reserves".to_owned(), true)
        } else if field.label == "required" || HAS_TO_BE_GIVEN.iter().any(|option| after.options.contains_key(option)) {
            (needed.to_owned(), true)
        } else {
            (format!("is added: field {number}, {} {}", field.label, field.kind), false)
        }
    }

    /// Whether a field of this name was removed under another number, and so is told as renumbered.
    fn was_elsewhere(&self, message: &str, name: &str) -> bool {
        fields(&self.earlier, message).any(|(key, _, field)| field.name == name && !self.later.contains_key(key))
    }

    fn reserved_field(&self, message: &str, number: u32, name: &str) -> bool {
        let found = self.descriptors.0.parent_pool().get_message_by_name(message);
        found.is_some_and(|message| {
            message.reserved_ranges().any(|range| range.contains(&number))
                || message.reserved_names().any(|reserved| reserved == name)
        })
    }

    fn reserved_value(&self, of: &str, number: i32, name: &str) -> bool {
        let found = self.descriptors.0.parent_pool().get_enum_by_name(of);
        found.is_some_and(|of| {
            of.reserved_ranges().any(|range| range.contains(&number))
                || of.reserved_names().any(|reserved| reserved == name)
        })
    }

    fn altered(&self, key: &Key, before: &Element<'_>, after: &Element<'_>, changes: &mut Vec<Change>) {
        let mut told = Vec::new();
        if before.head != after.head {
            match key {
                Key::Field(..) => told.extend(Field::of(before).differences(&Field::of(after))),
                Key::Service | Key::Method(_) | Key::Message(_) | Key::Oneof(..) | Key::Enum(_) | Key::Value(..) => {
                    told.push(format!("changed from `{}` to `{}`", before.head, after.head));
                }
            }
        }
        let pools = (self.descriptors.0.parent_pool(), self.descriptors.1.parent_pool());
        told.extend(options::differences(key, (&before.options, &after.options), (pools.0, pools.1)));
        changes.extend(told.into_iter().map(|what| self.change(Version::Later, key, before, what, true)));
    }

    fn change(&self, version: Version, key: &Key, element: &Element<'_>, what: String, breaks: bool) -> Change {
        let service = match version {
            Version::Earlier => self.descriptors.0,
            Version::Later => self.descriptors.1,
        };
        let place = places::of(service, key).map(|(file, line)| Place { version, file, line });
        Change { element: key.full_name(service.full_name(), element), what, breaks, place }
    }
}

/// Returns the fields of a message, each with its key and number.
fn fields<'a>(
    elements: &'a BTreeMap<Key, Element<'a>>,
    message: &'a str,
) -> impl Iterator<Item = (&'a Key, u32, Field<'a>)> {
    elements.iter().filter_map(move |(key, element)| {
        let Key::Field(of, number) = key else { return None };
        (of == message).then(|| (key, *number, Field::of(element)))
    })
}
