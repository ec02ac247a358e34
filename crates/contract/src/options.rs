//! Drawbridge's own options in a contract: `drawbridge/options/v1/options.proto`.
//!
//! An option that this version does not know is refused when the contract loads: a rule that is not understood cannot be kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as FieldKind, MethodDescriptor};

use crate::method::{Kind, Operation};
use crate::rules;

/// The import path under which contracts import the options.
pub const OPTIONS_PATH: &str = "drawbridge/options/v1/options.proto";

/// The text of the options file, for those who compile contracts with other tools.
pub const OPTIONS_PROTO: &str = include_str!("../../../proto/drawbridge/options/v1/options.proto");

const METHOD: &str = "drawbridge.options.v1.method";
pub(crate) const FIELD: &str = "drawbridge.options.v1.field";

/// Longest deadline that a contract may name.
const LONGEST: Duration = Duration::from_hours(24);

/// How sensitive the value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Classification {
    /// Anyone may know it.
    Public,
    /// For official use; it says nothing about a person.
    Official,
    /// It relates to an identified or identifiable living person.
    Personal,
    /// Personal data that the law protects most.
    SpecialCategory,
}

impl Classification {
    /// All of them, the least sensitive first.
    pub const ALL: [Self; 4] = [Self::Public, Self::Official, Self::Personal, Self::SpecialCategory];

    /// Returns the word for it, as agreements write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Official => "official",
            Self::Personal => "personal",
            Self::SpecialCategory => "special-category",
        }
    }
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Classification {
    type Err = UnknownClassification;

    fn from_str(text: &str) -> Result<Self, UnknownClassification> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or_else(|| UnknownClassification(text.to_owned()))
    }
}

/// A word is not a classification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown classification `{0}`; there are `public`, `official`, `personal` and `special-category`")]
pub struct UnknownClassification(pub String);

/// Returns how sensitive the contract calls a field itself. What it inherits from the fields around it is not looked at.
#[must_use]
pub fn classification(field: &FieldDescriptor) -> Option<Classification> {
    let rules = extension(&field.options(), FIELD)?;
    match number(&rules, "classification") {
        1 => Some(Classification::Public),
        2 => Some(Classification::Official),
        3 => Some(Classification::Personal),
        4 => Some(Classification::SpecialCategory),
        _ => None,
    }
}

/// Returns the identifier scheme, where the field's value identifies the person that the exchange is about.
#[must_use]
pub fn subject(field: &FieldDescriptor) -> Option<String> {
    let rules = extension(&field.options(), FIELD)?;
    text(&rules, "subject").filter(|scheme| !scheme.is_empty())
}

/// What a contract says about a method.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MethodRules {
    pub(crate) kind: Option<Kind>,
    pub(crate) operation: Option<Operation>,
    pub(crate) deadline: Option<Duration>,
}

/// Something wrong in an option: what, and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OptionProblem {
    pub(crate) what: String,
    pub(crate) help: String,
}

/// Reads what the contract says about a method, as far as it can be read, and all that is wrong with it.
pub(crate) fn method_rules(method: &MethodDescriptor) -> (MethodRules, Vec<OptionProblem>) {
    let options = method.options();
    let mut problems = Vec::new();
    let mut rules = MethodRules::default();
    if let Some(option) = extension(&options, METHOD) {
        problems.extend(newer(&option, METHOD));
        rules.kind = match number(&option, "kind") {
            1 => Some(Kind::Query),
            2 => Some(Kind::Command),
            3 => Some(Kind::Subscription),
            0 => None,
            value => {
                problems.push(newer_value("kind", value));
                None
            }
        };
        rules.operation = match number(&option, "operation") {
            1 => Some(Operation::Collection),
            2 => Some(Operation::Alteration),
            3 => Some(Operation::Consultation),
            4 => Some(Operation::Disclosure),
            5 => Some(Operation::Combination),
            6 => Some(Operation::Erasure),
            0 => None,
            value => {
                problems.push(newer_value("operation", value));
                None
            }
        };
        if let Some(text) = text(&option, "deadline").filter(|text| !text.is_empty()) {
            rules.deadline = deadline(&text);
            if rules.deadline.is_none() {
                problems.push(OptionProblem {
                    what: format!("`{text}` is not a deadline"),
                    help: "write a whole number and its unit, as in \"250ms\", \"3s\", \"5m\" or \"1h\"; more than \
                           nothing, at most \"24h\""
                        .to_owned(),
                });
            }
        }
    }
    check_kind(method, &mut rules, number(&options, "idempotency_level"), &mut problems);
    (rules, problems)
}

/// Holds the kind against the shape and against protobuf's own option.
fn check_kind(method: &MethodDescriptor, rules: &mut MethodRules, idempotency: i32, problems: &mut Vec<OptionProblem>) {
    const NO_SIDE_EFFECTS: i32 = 1;
    match rules.kind {
        None if idempotency == NO_SIDE_EFFECTS => rules.kind = Some(Kind::Query),
        Some(Kind::Command) if idempotency == NO_SIDE_EFFECTS => problems.push(OptionProblem {
            what: "a command has effects, but the method says `idempotency_level = NO_SIDE_EFFECTS`".to_owned(),
            help: "take one of the two away, or make it a query".to_owned(),
        }),
        Some(Kind::Subscription) if !method.is_server_streaming() => problems.push(OptionProblem {
            what: "a subscription follows changes, but the method answers once".to_owned(),
            help: "let it return a `stream`, or make it a query".to_owned(),
        }),
        None | Some(Kind::Query | Kind::Command | Kind::Subscription) => {}
    }
}

/// Returns all that is wrong with a field's options.
pub(crate) fn field_problems(field: &FieldDescriptor) -> Vec<OptionProblem> {
    let Some(option) = extension(&field.options(), FIELD) else {
        return Vec::new();
    };
    let mut problems: Vec<_> = newer(&option, FIELD).into_iter().collect();
    let class = number(&option, "classification");
    if !(0..=4).contains(&class) {
        problems.push(newer_value("classification", class));
    }
    if let Some(scheme) = text(&option, "subject").filter(|scheme| !scheme.is_empty()) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        if scheme.len() > 64 || !scheme.bytes().all(allowed) {
            problems.push(OptionProblem {
                what: format!("`{scheme}` is not the name of an identifier scheme"),
                help: "write lower-case letters, digits, hyphens and dots, at most 64, as in \"nhs-number\"".to_owned(),
            });
        }
        if !identifies(field) {
            problems.push(OptionProblem {
                what: "a field that identifies a person holds text or a whole number".to_owned(),
                help: "mark the field within it that holds the identifier".to_owned(),
            });
        }
    }
    problems.extend(rules::read(field).1);
    problems
}

fn identifies(field: &FieldDescriptor) -> bool {
    !field.is_map()
        && matches!(
            field.kind(),
            FieldKind::String
                | FieldKind::Int32
                | FieldKind::Int64
                | FieldKind::Uint32
                | FieldKind::Uint64
                | FieldKind::Sint32
                | FieldKind::Sint64
                | FieldKind::Fixed32
                | FieldKind::Fixed64
                | FieldKind::Sfixed32
                | FieldKind::Sfixed64
        )
}

/// Reads a deadline: digits and a unit, nothing else, so that there is one way to write each.
fn deadline(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let deadline = Duration::from_millis(number.checked_mul(milliseconds)?);
    (deadline > Duration::ZERO && deadline <= LONGEST).then_some(deadline)
}

pub(crate) fn newer(option: &DynamicMessage, name: &str) -> Option<OptionProblem> {
    let field = option.unknown_fields().next()?;
    Some(OptionProblem {
        what: format!("the option `{name}` has a field number {} that this gateway does not know", field.number()),
        help: "it was written for a newer version of Drawbridge: bring this gateway up to date".to_owned(),
    })
}

pub(crate) fn newer_value(name: &str, value: i32) -> OptionProblem {
    OptionProblem {
        what: format!("the option `{name}` has a value {value} that this gateway does not know"),
        help: "it was written for a newer version of Drawbridge: bring this gateway up to date".to_owned(),
    }
}

pub(crate) fn extension(options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let (_, value) = options.extensions().find(|(extension, _)| extension.full_name() == name)?;
    value.as_message().cloned()
}

pub(crate) fn number(message: &DynamicMessage, field: &str) -> i32 {
    message.get_field_by_name(field).and_then(|value| value.as_enum_number()).unwrap_or_default()
}

pub(crate) fn text(message: &DynamicMessage, field: &str) -> Option<String> {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_whole_number_with_its_unit() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("3s", Some(3_000)),
            ("5m", Some(300_000)),
            ("24h", Some(86_400_000)),
            ("0s", None),
            ("25h", None),
            ("1.5s", None),
            ("3", None),
            ("s", None),
            ("+3s", None),
            ("3 s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(deadline(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_classification_reads_back_what_it_writes() {
        for class in Classification::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
        assert!("secret".parse::<Classification>().is_err());
    }
}
