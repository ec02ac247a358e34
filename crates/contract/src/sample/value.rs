//! One value of a field: text, bytes, a number, and whether one that was given elsewhere would do.

use prost_reflect::{Kind, Value};

use crate::rules::{Bounds, Format, TextRule, ValueRule};

use super::{format, number, pattern::Pattern, random::Random, words};

/// How often text is drawn until it keeps all rules.
const ATTEMPTS: u64 = 300;
/// Longest text or bytes that are made.
const LONGEST: usize = 1024 * 1024;

/// What is asked of a value.
#[derive(Clone, Copy)]
pub(super) struct Wish<'w> {
    pub(super) rule: Option<&'w ValueRule>,
    pub(super) pattern: Option<&'w Pattern>,
    /// The words of the field's name.
    pub(super) words: &'w [&'w str],
    /// The scheme of the identifier that it is.
    pub(super) subject: Option<&'w str>,
    /// It counts only if it is not 0 or empty.
    pub(super) given: bool,
}

impl Wish<'_> {
    /// Makes a value of any kind but a message; `None` where nothing keeps the rules.
    pub(super) fn made(&self, kind: &Kind, seed: u64) -> Option<Value> {
        let mut random = Random::of(seed, 0);
        let whole = match self.rule {
            Some(ValueRule::Whole(rule)) => Some(rule),
            Some(ValueRule::Text(_) | ValueRule::Bytes(_) | ValueRule::Fraction(_)) | None => None,
        };
        let fraction = match self.rule {
            Some(ValueRule::Fraction(rule)) => Some(rule),
            Some(ValueRule::Text(_) | ValueRule::Bytes(_) | ValueRule::Whole(_)) | None => None,
        };
        match kind {
            Kind::String => self.text(seed).map(Value::String),
            Kind::Bytes => self.bytes(&mut random),
            Kind::Bool => Some(Value::Bool(random.once_in(2))),
            Kind::Enum(of) => number::named(of, whole, self.given, &mut random),
            Kind::Double | Kind::Float => number::fraction(kind, fraction, self.given, self.words, &mut random),
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64 => number::whole(kind, whole, self.given, self.words, &mut random),
            Kind::Message(_) => None,
        }
    }

    /// Returns whether a value that comes from elsewhere keeps the rules.
    pub(super) fn allows(&self, value: &Value) -> bool {
        let whole = || match value {
            Value::I32(number) | Value::EnumNumber(number) => Some(i128::from(*number)),
            Value::I64(number) => Some(i128::from(*number)),
            Value::U32(number) => Some(i128::from(*number)),
            Value::U64(number) => Some(i128::from(*number)),
            Value::Bool(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Message(_)
            | Value::List(_)
            | Value::Map(_) => None,
        };
        match self.rule {
            None => true,
            Some(ValueRule::Text(rule)) => value.as_str().is_some_and(|text| keeps(rule, text)),
            Some(ValueRule::Bytes(length)) => value.as_bytes().is_some_and(|bytes| length.contain(bytes.len())),
            Some(ValueRule::Whole(rule)) => whole().is_some_and(|number| number::allows_whole(rule, number)),
            Some(ValueRule::Fraction(rule)) => {
                value.as_f64().or(value.as_f32().map(f64::from)).is_some_and(|number| rule.range.contain(number))
            }
        }
    }

    fn text(&self, seed: u64) -> Option<String> {
        let rule = match self.rule {
            Some(ValueRule::Text(rule)) => rule,
            Some(ValueRule::Bytes(_) | ValueRule::Whole(_) | ValueRule::Fraction(_)) | None => &TextRule::default(),
        };
        if !rule.one_of.is_empty() {
            return Some(Random::of(seed, 0).pick(&rule.one_of));
        }
        if rule.length.least.is_some_and(|least| least > LONGEST) {
            return None;
        }
        let good = |text: &String| !text.is_empty() && keeps(rule, text);
        (0..ATTEMPTS).map(|attempt| self.draft(rule, attempt, &mut Random::of(seed, attempt))).find(good)
    }

    /// Returns text that may do. What its name says is thought of first, since it reads best.
    fn draft(&self, rule: &TextRule, attempt: u64, random: &mut Random) -> String {
        /// How often text that fits the name is tried where there is a pattern too.
        const BY_NAME: u64 = 4;
        let format = rule.format.or_else(|| self.scheme().filter(|_| rule.pattern.is_none() || attempt < BY_NAME));
        match (format, self.pattern) {
            (Some(format), None) => format::made(format, self.words, random),
            (Some(format), Some(_)) if attempt.is_multiple_of(2) => format::made(format, self.words, random),
            (None, Some(_)) if attempt < BY_NAME => words::text(self.words, random),
            (_, Some(pattern)) => {
                // Where a length is asked for besides, every other text has about that.
                match (rule.length.least, rule.length.most) {
                    (Some(least), _) if attempt.is_multiple_of(2) => pattern.of_length(least, random),
                    (None, Some(most)) if attempt.is_multiple_of(2) => pattern.of_length(most / 2, random),
                    _ => pattern.made(if attempt < 100 { 3 } else { 12 }, random),
                }
            }
            (None, None) => {
                words::fitted(words::text(self.words, random), rule.length.least.unwrap_or_default(), rule.length.most)
            }
        }
    }

    /// The format of the identifiers of a person that is asked about.
    fn scheme(&self) -> Option<Format> {
        match self.subject? {
            "nhs-number" => Some(Format::NhsNumber),
            "national-insurance-number" => Some(Format::NationalInsuranceNumber),
            "uprn" => Some(Format::Uprn),
            _ => None,
        }
    }

    fn bytes(&self, random: &mut Random) -> Option<Value> {
        let length = match self.rule {
            Some(ValueRule::Bytes(length)) => *length,
            Some(ValueRule::Text(_) | ValueRule::Whole(_) | ValueRule::Fraction(_)) | None => Bounds::default(),
        };
        let least = length.least.unwrap_or_default();
        if least > LONGEST {
            return None;
        }
        let count = length.most.unwrap_or(usize::MAX).min(least.max(16));
        let bytes: Vec<u8> = (0..count).map(|_| u8::try_from(random.below(256)).unwrap_or_default()).collect();
        Some(Value::Bytes(bytes.into()))
    }
}

/// Returns whether a text keeps every rule.
fn keeps(rule: &TextRule, text: &str) -> bool {
    rule.allows(text)
        && text.len() <= if rule.pattern.is_some() { 1024 } else { usize::MAX }
        && (rule.one_of.is_empty() || rule.one_of.iter().any(|allowed| allowed == text))
}
