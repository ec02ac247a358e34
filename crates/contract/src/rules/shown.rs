//! The rules about a field, for whoever describes them elsewhere: a document, a page, another validator.
//!
//! What is shown here is what gateways hold requests against, and not read a second time.

use prost_reflect::FieldDescriptor;

use crate::rules::Format;
use crate::rules::options::{self, FieldRules};
use crate::rules::value::{Bounds, ValueRule};

/// Returns what the contract asks of a field in requests. Answers are held against none of it.
#[must_use]
pub fn field_rules(field: &FieldDescriptor) -> FieldRules {
    options::read(field).0
}

/// What a contract asks of one value: of a list each element, of a map each value or each key.
///
/// A rule holds where a value is given; the comments of `options.proto` say when one is.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRules<'r> {
    /// Of text.
    Text {
        /// What it has to look like.
        format: Option<Format>,
        /// A regular expression of the crate `regex` that all of it has to match.
        pattern: Option<&'r str>,
        /// Unicode code points.
        length: Bounds<usize>,
        /// The texts that are allowed, sorted; empty: any. Each keeps the other rules.
        one_of: &'r [String],
    },
    /// Of bytes.
    Bytes {
        /// How many bytes.
        length: Bounds<usize>,
    },
    /// Of a whole number, or of an enum by its numbers.
    Whole {
        /// The least and the greatest. An enum has none.
        range: Bounds<i128>,
        /// The numbers that are allowed, in their order; empty: any.
        one_of: Vec<i128>,
    },
    /// Of a number with a fraction. NaN lies within no range.
    Fraction {
        /// The least and the greatest, as the field can hold them.
        range: Bounds<f64>,
    },
}

impl FieldRules {
    /// Returns whether the field has to be given; a list or a map with one entry at least.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Returns how many entries a list or a map has.
    #[must_use]
    pub fn items(&self) -> Bounds<usize> {
        self.items
    }

    /// Returns whether no element of a list, or no key of a map, may come twice.
    #[must_use]
    pub fn distinct(&self) -> bool {
        self.distinct
    }

    /// Returns what each value has to be.
    #[must_use]
    pub fn value(&self) -> Option<ValueRules<'_>> {
        self.value.as_ref().map(ValueRules::of)
    }

    /// Returns what each key of a map has to be.
    #[must_use]
    pub fn key(&self) -> Option<ValueRules<'_>> {
        self.key.as_ref().map(ValueRules::of)
    }
}

impl<'r> ValueRules<'r> {
    fn of(rule: &'r ValueRule) -> Self {
        match rule {
            ValueRule::Text(text) => Self::Text {
                format: text.format,
                pattern: text.pattern.as_ref().map(|pattern| pattern.written.as_str()),
                length: text.length,
                one_of: &text.one_of,
            },
            ValueRule::Bytes(length) => Self::Bytes { length: *length },
            ValueRule::Whole(whole) => {
                Self::Whole { range: whole.range, one_of: whole.one_of.iter().map(|(number, _)| *number).collect() }
            }
            ValueRule::Fraction(fraction) => Self::Fraction { range: fraction.range },
        }
    }
}
