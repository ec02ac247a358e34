//! The canonical text of a service, taken apart into what can change by itself.

use std::collections::BTreeMap;

/// What is known by itself in two versions. A field is known by its number, since that is what the wire has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Service,
    Method(String),
    Message(String),
    Oneof(String, String),
    Field(String, u32),
    Enum(String),
    Value(String, i32, String),
}

impl Key {
    pub(super) fn full_name(&self, service: &str, element: &Element<'_>) -> String {
        match self {
            Self::Service => service.to_owned(),
            Self::Method(name) => format!("{service}/{name}"),
            Self::Message(name) | Self::Enum(name) => name.clone(),
            Self::Oneof(of, name) | Self::Value(of, _, name) => format!("{of}.{name}"),
            Self::Field(of, _) => format!("{of}.{}", Field::of(element).name),
        }
    }
}

/// What the text says of a key.
#[derive(Debug, Default)]
pub(super) struct Element<'a> {
    /// What follows the key on its line.
    pub(super) head: &'a str,
    /// The options, by path.
    pub(super) options: BTreeMap<&'a str, &'a str>,
}

/// Takes a canonical text apart.
pub(super) fn of(text: &str) -> BTreeMap<Key, Element<'_>> {
    let mut found: BTreeMap<Key, Element<'_>> = BTreeMap::new();
    let (mut around, mut last) = (String::new(), None);
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        let key = match word {
            "option" => {
                if let (Some(element), Some((path, value))) =
                    (last.as_ref().and_then(|key| found.get_mut(key)), rest.split_once('='))
                {
                    element.options.insert(path, value);
                }
                continue;
            }
            "service" => Some(Key::Service),
            "method" => Some(Key::Method(first.to_owned())),
            "message" => {
                first.clone_into(&mut around);
                Some(Key::Message(first.to_owned()))
            }
            "enum" => {
                first.clone_into(&mut around);
                Some(Key::Enum(first.to_owned()))
            }
            "oneof" => Some(Key::Oneof(around.clone(), first.to_owned())),
            "field" => first.parse().ok().map(|number| Key::Field(around.clone(), number)),
            "value" => first.parse().ok().map(|number| Key::Value(around.clone(), number, tail.to_owned())),
            // The first line, which names the format.
            _ => None,
        };
        if let Some(key) = &key {
            found.insert(key.clone(), Element { head: tail, options: BTreeMap::new() });
        }
        last = key;
    }
    found
}

/// What the line of a field says.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) kind: &'a str,
    /// Its oneof, JSON name and default.
    rest: &'a str,
}

impl<'a> Field<'a> {
    pub(super) fn of(element: &Element<'a>) -> Self {
        let mut parts = element.head.splitn(4, ' ');
        let mut next = || parts.next().unwrap_or_default();
        Self { name: next(), label: next(), kind: next(), rest: next() }
    }

    /// Tells in what a field differs from what it was.
    pub(super) fn differences(&self, after: &Field<'_>) -> Vec<String> {
        let mut told = Vec::new();
        if self.name != after.name {
            told.push(format!("is renamed to `{}`", after.name));
        }
        if self.kind != after.kind {
            told.push(format!("is retyped from `{}` to `{}`", self.kind, after.kind));
        }
        if self.label != after.label {
            told.push(format!("has the label `{}` in place of `{}`", after.label, self.label));
        }
        if self.rest != after.rest {
            let word = |rest: &str| if rest.is_empty() { "nothing".to_owned() } else { format!("`{rest}`") };
            told.push(format!("has {} in place of {}", word(after.rest), word(self.rest)));
        }
        told
    }
}
