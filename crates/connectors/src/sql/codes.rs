//! What the codes of a column mean: `M` is `MALE`, `J` is true.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::EnumDescriptor;

use crate::Misfit;
use crate::sql::cell::Cell;

/// Stands for every code that is not named.
const ANY: &str = "*";

/// A look-up from codes to values.
#[derive(Clone, Debug)]
pub(crate) struct Codes<T> {
    texts: HashMap<Box<str>, T>,
    numbers: HashMap<i64, T>,
    other: Option<T>,
}

impl<T: Clone> Codes<T> {
    fn empty() -> Self {
        Self { texts: HashMap::new(), numbers: HashMap::new(), other: None }
    }

    /// Builds a look-up out of a binding's `values`. The first meaning that `read` does not know is the error.
    pub(crate) fn of(values: &BTreeMap<String, String>, read: impl Fn(&str) -> Option<T>) -> Result<Self, String> {
        let mut codes = Self::empty();
        for (code, meaning) in values {
            codes.add(code, read(meaning).ok_or_else(|| meaning.clone())?);
        }
        Ok(codes)
    }

    fn add(&mut self, code: &str, value: T) {
        if code == ANY {
            self.other = Some(value);
            return;
        }
        if let Ok(number) = code.parse() {
            self.numbers.insert(number, value.clone());
        }
        self.texts.insert(code.into(), value);
    }

    /// Finds what a cell means. Spaces around a code are not part of it, unless it is declared with them.
    pub(crate) fn read(&self, cell: Cell<'_>) -> Result<&T, Misfit> {
        let found = match cell {
            Cell::Integer(number) => self.numbers.get(&number),
            Cell::Text(text) => self
                .texts
                .get(text)
                .or_else(|| self.texts.get(text.trim()))
                .or_else(|| self.numbers.get(&text.trim().parse().ok()?)),
            Cell::Bool(value) => self.texts.get(if value { "true" } else { "false" }),
            Cell::Decimal(decimal) => self.numbers.get(&i64::try_from(decimal.at_scale(0)?).unwrap_or(i64::MAX)),
            Cell::Null
            | Cell::Real(_)
            | Cell::Blob(_)
            | Cell::Uuid(_)
            | Cell::Date(_)
            | Cell::Time(_)
            | Cell::Local(_)
            | Cell::Instant(_)
            | Cell::List
            | Cell::Unfit { .. } => return Err(cell.misfit()),
        };
        found.or(self.other.as_ref()).ok_or(Misfit::UnknownCode)
    }
}

impl Codes<Box<str>> {
    /// Codes that mean other texts.
    pub(crate) fn texts(values: &BTreeMap<String, String>) -> Self {
        let mut codes = Self::empty();
        for (code, meaning) in values {
            codes.add(code, meaning.as_str().into());
        }
        codes
    }
}

impl Codes<bool> {
    /// Reads a pair as in `Y/N`: what is true, then what is false.
    pub(crate) fn pair(format: &str) -> Option<Self> {
        let (yes, no) = format.split_once('/')?;
        let (yes, no) = (yes.trim(), no.trim());
        if yes.is_empty() || no.is_empty() || yes == no || no.contains('/') {
            return None;
        }
        let pair = BTreeMap::from([(yes.to_owned(), "true".to_owned()), (no.to_owned(), "false".to_owned())]);
        Self::of(&pair, |meaning| meaning.parse().ok()).ok()
    }
}

impl Codes<i32> {
    /// The names and numbers of an enum itself. A name may be left without the prefix that all have: `MALE` for `SEX_MALE`.
    pub(crate) fn of_enum(descriptor: &EnumDescriptor) -> Self {
        let mut codes = Self::empty();
        let prefix = prefix(descriptor);
        for value in descriptor.values() {
            if let Some(short) = value.name().strip_prefix(&prefix) {
                codes.texts.insert(short.into(), value.number());
            }
            codes.numbers.insert(i64::from(value.number()), value.number());
        }
        // Whole names last, so that none is hidden by a shortened one.
        for value in descriptor.values() {
            codes.texts.insert(value.name().into(), value.number());
        }
        codes
    }
}

/// Finds the number of an enum's value by name, with or without the prefix that all have.
pub(crate) fn number_of(descriptor: &EnumDescriptor, name: &str) -> Option<i32> {
    descriptor
        .get_value_by_name(name)
        .or_else(|| descriptor.get_value_by_name(&format!("{}{name}", prefix(descriptor))))
        .map(|value| value.number())
}

/// The prefix of an enum's values by protobuf's custom: `SEX_` for `Sex`, `ROOM_KIND_` for `RoomKind`.
fn prefix(descriptor: &EnumDescriptor) -> String {
    let mut prefix = String::new();
    let mut previous_lower = false;
    for c in descriptor.name().chars() {
        if c.is_ascii_uppercase() && previous_lower {
            prefix.push('_');
        }
        previous_lower = !c.is_ascii_uppercase() && c != '_';
        prefix.push(c.to_ascii_uppercase());
    }
    prefix.push('_');
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::tests::message;

    fn sex() -> EnumDescriptor {
        message("Everything").get_field_by_name("sex").unwrap().kind().as_enum().unwrap().clone()
    }

    #[test]
    fn enums_go_by_number_name_and_short_name() {
        let codes = Codes::of_enum(&sex());
        for (cell, expected) in [
            (Cell::Integer(2), Ok(&2)),
            (Cell::Text("SEX_FEMALE"), Ok(&2)),
            (Cell::Text("FEMALE "), Ok(&2)),
            (Cell::Text("1"), Ok(&1)),
            (Cell::Integer(7), Err(Misfit::UnknownCode)),
            (Cell::Text("female"), Err(Misfit::UnknownCode)),
            (Cell::Blob(b"1"), Err(Misfit::WrongType)),
        ] {
            assert_eq!(codes.read(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn declared_codes_replace_the_enums_own() {
        let values = BTreeMap::from([("M".into(), "MALE".into()), ("9".into(), "SEX_FEMALE".into())]);
        let codes = Codes::of(&values, |name| number_of(&sex(), name)).unwrap();
        assert_eq!(codes.read(Cell::Text("M")), Ok(&1));
        assert_eq!(codes.read(Cell::Integer(9)), Ok(&2));
        assert_eq!(codes.read(Cell::Text("MALE")), Err(Misfit::UnknownCode));
        let any = BTreeMap::from([("*".into(), "MALE".into())]);
        assert_eq!(Codes::of(&any, |name| number_of(&sex(), name)).unwrap().read(Cell::Text("?")), Ok(&1));
        let wrong = BTreeMap::from([("M".into(), "MAN".into())]);
        assert_eq!(Codes::of(&wrong, |name| number_of(&sex(), name)).unwrap_err(), "MAN");
    }

    #[test]
    fn a_pair_is_true_then_false() {
        let pair = Codes::pair("Y/N").unwrap();
        assert_eq!(pair.read(Cell::Text("Y")), Ok(&true));
        assert_eq!(pair.read(Cell::Text("N ")), Ok(&false));
        assert_eq!(pair.read(Cell::Text("y")), Err(Misfit::UnknownCode));
        for format in ["Y", "Y/", "/N", "Y/Y", "Y/N/X"] {
            assert!(Codes::pair(format).is_none(), "{format}");
        }
    }
}
