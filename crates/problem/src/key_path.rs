//! Key paths such as `binding[0].connector.kind`, written and read.

use std::fmt;

/// The way to one value of a TOML file: keys and places in lists.
///
/// Written with dots between keys and places in brackets, from 0. A key that is not bare (letters, digits, `-`, `_`) is written in
/// quotation marks, as TOML does: `purpose."child protection".legal_basis`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    /// Returns the path of the file as a whole.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Returns this path and then `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// Returns this path and then the place `index`, from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// Reads a path as [`KeyPath`] writes it. What cannot be read ends the path: a path made by a programmer, not a person, is read.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some((step, after)) = read_step(rest) else {
                break;
            };
            steps.push(step);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        Self(steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

fn read_step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (digits, rest) = rest.split_once(']')?;
        return Some((Step::Index(digits.parse().ok()?), rest));
    }
    let Some(rest) = text.strip_prefix('"') else {
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (key, rest) = text.split_at_checked(end)?;
        return (!key.is_empty()).then(|| (Step::Key(key.to_owned()), rest));
    };
    let mut key = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Step::Key(key), rest.get(at.saturating_add(1)..)?)),
            '\\' => key.push(characters.next()?.1),
            other => key.push(other),
        }
    }
    None
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    write_key(f, key)?;
                }
            }
        }
        Ok(())
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare {
        return f.write_str(key);
    }
    f.write_str("\"")?;
    for character in key.chars() {
        if matches!(character, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{character}")?;
    }
    f.write_str("\"")
}

impl From<&str> for KeyPath {
    fn from(text: &str) -> Self {
        Self::read(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![any::<String>().prop_map(Step::Key), (0_usize..1000).prop_map(Step::Index)]
    }

    proptest! {
        #[test]
        fn a_written_path_is_read_back(steps in prop::collection::vec(step(), 0..6)) {
            let path = KeyPath(steps);
            prop_assert_eq!(KeyPath::read(&path.to_string()), path);
        }

        #[test]
        fn what_is_read_of_any_text_is_stable(text in any::<String>()) {
            let path = KeyPath::read(&text);
            prop_assert_eq!(KeyPath::read(&path.to_string()), path);
        }
    }

    #[test]
    fn paths_are_written_as_people_write_them() {
        let path = KeyPath::root().key("binding").index(0).key("connector").key("kind");
        assert_eq!(path.to_string(), "binding[0].connector.kind");
        assert_eq!(KeyPath::root().key("purpose").key("child protection").to_string(), "purpose.\"child protection\"");
    }
}
