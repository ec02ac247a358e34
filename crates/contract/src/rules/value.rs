//! The rules about one value, and what a value is held against.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use prost_reflect::Kind;
use regex::Regex;

use crate::rules::violation::{At, Found};
use crate::rules::{Format, Rule};

/// Most bytes of one text that are held against a pattern; a longer one matches none.
const MOST_MATCHED: usize = 1024;

/// Longest pattern or list that a description repeats, in bytes.
const MOST_SHOWN: usize = 120;

/// The rules about one value.
#[derive(Clone, Debug)]
pub(crate) enum ValueRule {
    Text(TextRule),
    Bytes(Bounds<usize>),
    Whole(WholeRule),
    Fraction(FractionRule),
}

/// Rules about text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextRule {
    pub(crate) format: Option<Format>,
    pub(crate) pattern: Option<Pattern>,
    /// In Unicode code points.
    pub(crate) length: Bounds<usize>,
    /// Sorted.
    pub(crate) one_of: Vec<String>,
}

/// A regular expression that a whole text has to match.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As the contract has it.
    pub(crate) written: String,
    /// For the whole text.
    pub(crate) whole: Regex,
}

/// Rules about whole numbers and enums.
#[derive(Clone, Debug, Default)]
pub(crate) struct WholeRule {
    pub(crate) range: Bounds<i128>,
    /// The numbers, sorted, and how the contract writes them.
    pub(crate) one_of: Vec<(i128, String)>,
}

/// Rules about numbers with a fraction.
#[derive(Clone, Debug)]
pub(crate) struct FractionRule {
    pub(crate) range: Bounds<f64>,
    /// The range in words, with the numbers as the contract writes them.
    pub(super) described: String,
}

/// The least and the greatest that is allowed, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    /// The least; `None`: no limit.
    pub least: Option<T>,
    /// The greatest; `None`: no limit.
    pub most: Option<T>,
}

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Self { least: None, most: None }
    }
}

impl<T: Copy + PartialOrd + std::fmt::Display> Bounds<T> {
    pub(super) fn is_empty(self) -> bool {
        self.least.is_none() && self.most.is_none()
    }

    /// Returns whether both can be kept.
    pub(super) fn are_possible(self) -> bool {
        !matches!((self.least, self.most), (Some(least), Some(most)) if least > most)
    }

    /// What cannot be compared, as NaN, lies within no bounds.
    pub(crate) fn contain(self, value: T) -> bool {
        self.least.is_none_or(|least| value >= least) && self.most.is_none_or(|most| value <= most)
    }

    /// Returns the bounds in words: `at least 2`.
    pub(crate) fn described(self) -> String {
        match (self.least, self.most) {
            (Some(least), Some(most)) if least == most => format!("exactly {least}"),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => String::new(),
        }
    }
}

/// A value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Raw<'a> {
    /// A number: as a variable-length one, or as many bits as it has.
    Number(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

impl Raw<'_> {
    /// Returns whether it is what protobuf takes for absent where it keeps no presence: zero (not minus zero), or empty.
    pub(super) fn is_default(self) -> bool {
        match self {
            Self::Number(bits) => bits == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// What a field's bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numeral {
    Signed32,
    Signed64,
    ZigZag,
    Unsigned32,
    Unsigned64,
    Float,
    Double,
}

impl Numeral {
    pub(super) fn of(kind: &Kind) -> Option<Self> {
        match kind {
            Kind::Int32 | Kind::Sfixed32 | Kind::Enum(_) => Some(Self::Signed32),
            Kind::Int64 | Kind::Sfixed64 => Some(Self::Signed64),
            Kind::Sint32 | Kind::Sint64 => Some(Self::ZigZag),
            Kind::Uint32 | Kind::Fixed32 => Some(Self::Unsigned32),
            Kind::Uint64 | Kind::Fixed64 => Some(Self::Unsigned64),
            Kind::Float => Some(Self::Float),
            Kind::Double => Some(Self::Double),
            Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
        }
    }

    /// Reads the bits as decoders do, which cut 32-bit kinds off at 32 bits.
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "bits are cut"
    )]
    pub(super) fn whole(self, bits: u64) -> i128 {
        match self {
            Self::Signed32 => i128::from(bits as u32 as i32),
            Self::Signed64 | Self::Float | Self::Double => i128::from(bits as i64),
            Self::ZigZag => i128::from((bits >> 1) as i64 ^ ((bits & 1) as i64).wrapping_neg()),
            Self::Unsigned32 => i128::from(bits as u32),
            Self::Unsigned64 => i128::from(bits),
        }
    }

    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "a float has 32 bits")]
    fn fraction(self, bits: u64) -> f64 {
        if self == Self::Float { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) }
    }
}

/// How much text of one request may still be held against patterns, in bytes.
pub(super) struct Budget(usize);

impl Budget {
    /// Bounds the work that a request can make: the time of a match is proportional to the text and to the pattern.
    pub(super) fn new() -> Self {
        Self(256 * 1024)
    }

    fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

impl ValueRule {
    /// Holds a value against all of its rules.
    pub(super) fn check(
        &self,
        numeral: Option<Numeral>,
        raw: Raw<'_>,
        at: &At<'_>,
        found: &mut Found,
        budget: &mut Budget,
    ) {
        match (self, raw, numeral) {
            (Self::Text(rule), Raw::Bytes(bytes), _) => {
                // The walk before this one made sure that it is UTF-8.
                if let Ok(text) = std::str::from_utf8(bytes) {
                    rule.check(text, at, found, budget);
                }
            }
            (Self::Bytes(length), Raw::Bytes(bytes), _) => {
                if !length.contain(bytes.len()) {
                    found.add(at, Rule::Length, || format!("has to have {} bytes", length.described()));
                }
            }
            (Self::Whole(rule), Raw::Number(bits), Some(numeral)) => rule.check(numeral.whole(bits), at, found),
            (Self::Fraction(rule), Raw::Number(bits), Some(numeral)) => {
                if !rule.range.contain(numeral.fraction(bits)) {
                    found.add(at, Rule::Range, || format!("has to be {}", rule.described));
                }
            }
            (Self::Text(_) | Self::Bytes(_) | Self::Whole(_) | Self::Fraction(_), _, _) => {}
        }
    }
}

impl TextRule {
    fn check(&self, text: &str, at: &At<'_>, found: &mut Found, budget: &mut Budget) {
        if !self.length.is_empty() && !self.length.contain(text.chars().count()) {
            found.add(at, Rule::Length, || format!("has to have {} characters", self.length.described()));
        }
        if let Some(format) = self.format
            && !format.accepts(text)
        {
            found.add(at, Rule::Format(format), || format!("has to be {}", format.described()));
        }
        if let Some(pattern) = &self.pattern {
            pattern.check(text, at, found, budget);
        }
        if !self.one_of.is_empty() && self.one_of.binary_search_by(|allowed| allowed.as_str().cmp(text)).is_err() {
            found.add(at, Rule::OneOf, || described(self.one_of.iter().map(String::as_str)));
        }
    }

    /// Returns whether a text keeps every rule but the list of those that are allowed.
    pub(crate) fn allows(&self, text: &str) -> bool {
        (self.length.is_empty() || self.length.contain(text.chars().count()))
            && self.format.is_none_or(|format| format.accepts(text))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.whole.is_match(text))
    }
}

impl Pattern {
    fn check(&self, text: &str, at: &At<'_>, found: &mut Found, budget: &mut Budget) {
        if text.len() > MOST_MATCHED {
            found.add(at, Rule::Pattern, || "is too long to match the contract's pattern".to_owned());
        } else if !budget.take(text.len()) {
            found.add(at, Rule::Pattern, || "is more text than is held against patterns in one request".to_owned());
        } else if !self.whole.is_match(text) {
            found.add(at, Rule::Pattern, || {
                if self.written.len() <= MOST_SHOWN {
                    format!("has to match `{}`", self.written)
                } else {
                    "has to match the contract's pattern".to_owned()
                }
            });
        }
    }
}

impl WholeRule {
    fn check(&self, value: i128, at: &At<'_>, found: &mut Found) {
        if !self.range.contain(value) {
            found.add(at, Rule::Range, || format!("has to be {}", self.range.described()));
        }
        if !self.one_of.is_empty() && self.one_of.binary_search_by(|(allowed, _)| allowed.cmp(&value)).is_err() {
            found.add(at, Rule::OneOf, || described(self.one_of.iter().map(|(_, written)| written.as_str())));
        }
    }
}

fn described<'a>(allowed: impl Iterator<Item = &'a str>) -> String {
    let listed = allowed.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    if listed.len() <= MOST_SHOWN {
        format!("has to be one of {listed}")
    } else {
        "has to be one of the values that the contract lists".to_owned()
    }
}
