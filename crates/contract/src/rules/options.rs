//! Reads the rules about a field's values from its options, and tells every one that could never mean anything.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage};
use regex::RegexBuilder;

use crate::options::{self, OptionProblem};
use crate::rules::Format;
use crate::rules::value::{Bounds, FractionRule, Numeral, Pattern, TextRule, ValueRule, WholeRule};

/// Longest pattern, in bytes.
const MOST_PATTERN: usize = 1000;

/// Largest pattern once compiled, in bytes. The time of a match grows with it.
const MOST_COMPILED: usize = 256 * 1024;

/// Most entries of a list whose elements have to be distinct, since they are compared in memory.
const MOST_DISTINCT: usize = 10_000;

/// The options that are about a value, in the order of the options file.
const ABOUT_VALUES: [&str; 7] = ["format", "pattern", "min_length", "max_length", "minimum", "maximum", "one_of"];

/// The options that are about a field as a whole.
const ABOUT_FIELDS: [&str; 7] = ["classification", "subject", "required", "min_items", "max_items", "unique", "keys"];

/// What a contract asks of a field.
#[derive(Clone, Debug, Default)]
pub struct FieldRules {
    /// It has to be given.
    pub(crate) required: bool,
    /// How many elements or entries it has.
    pub(crate) items: Bounds<usize>,
    /// No element or key may come twice.
    pub(crate) distinct: bool,
    /// What each of its values has to be.
    pub(crate) value: Option<ValueRule>,
    /// What each key has to be.
    pub(crate) key: Option<ValueRule>,
}

impl FieldRules {
    /// Returns whether nothing is asked of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.required && self.items.is_empty() && !self.distinct && self.value.is_none() && self.key.is_none()
    }
}

/// Reads the rules about a field, as far as they can be read, and all that is wrong with them.
pub(crate) fn read(field: &FieldDescriptor) -> (FieldRules, Vec<OptionProblem>) {
    let mut rules = FieldRules::default();
    let mut problems = Problems::default();
    let Some(option) = options::extension(&field.options(), options::FIELD) else {
        return (rules, problems.0);
    };
    let entry = field.kind().as_message().filter(|_| field.is_map()).cloned();
    let kind = entry.as_ref().map_or_else(|| field.kind(), |entry| entry.map_entry_value_field().kind());
    rules.value = value(&option, &kind, &mut problems);
    rules.required = flag(&option, "required");
    required(field, &rules, &mut problems);
    items(field, &option, &mut rules, &mut problems);
    if let Some(keys) = set(&option, "keys").and_then(|keys| keys.as_message().cloned()) {
        problems.0.extend(options::newer(&keys, "keys"));
        if let Some(stranger) = ABOUT_FIELDS.into_iter().find(|name| set(&keys, name).is_some()) {
            problems.add(format!("`keys` holds `{stranger}`, which is not about keys"), "set it on the field itself");
        }
        match &entry {
            Some(entry) => rules.key = value(&keys, &entry.map_entry_key_field().kind(), &mut problems),
            None => problems.add("`keys` is about a map, and the field is none", "take it away"),
        }
    }
    (rules, problems.0)
}

#[derive(Default)]
struct Problems(Vec<OptionProblem>);

impl Problems {
    fn add(&mut self, what: impl Into<String>, help: impl Into<String>) {
        self.0.push(OptionProblem { what: what.into(), help: help.into() });
    }
}

/// Holds `required`, and what 0 means without it, against the kind of field.
fn required(field: &FieldDescriptor, rules: &FieldRules, problems: &mut Problems) {
    let single = !field.is_list() && !field.is_map();
    let implicit = single && !field.supports_presence();
    if rules.required && field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) {
        problems.add(
            "a member of a oneof is `required`, so that none of the others could ever be chosen",
            "take `required` away, or the field out of the oneof",
        );
    } else if rules.required && implicit && field.kind() == Kind::Bool {
        problems.add(
            "a bool is `required`, so that it would have to be true: on the wire false and absent are the same",
            "make it `optional`",
        );
    }
    let leaves_zero_out = match &rules.value {
        Some(ValueRule::Whole(rule)) => !rule.range.contain(0),
        Some(ValueRule::Fraction(rule)) => !rule.range.contain(0.0),
        Some(ValueRule::Text(_) | ValueRule::Bytes(_)) | None => false,
    };
    if leaves_zero_out && implicit && !rules.required {
        problems.add(
            "0 lies outside `minimum` and `maximum`, yet 0 is what a number that is not given reads as",
            "make the field `required`, or `optional`, or let 0 in",
        );
    }
}

/// Reads the rules about the number of elements or entries.
fn items(field: &FieldDescriptor, option: &DynamicMessage, rules: &mut FieldRules, problems: &mut Problems) {
    let (least, most, unique) = (count(option, "min_items"), count(option, "max_items"), flag(option, "unique"));
    if !field.is_list() && !field.is_map() {
        let name = [("min_items", least.is_some()), ("max_items", most.is_some()), ("unique", unique)];
        for (name, _) in name.into_iter().filter(|(_, set)| *set) {
            problems.add(
                format!("`{name}` is about a list or a map, and the field holds one value"),
                "take it away, or make the field `repeated`",
            );
        }
        return;
    }
    rules.items = Bounds { least, most };
    if !rules.items.are_possible() {
        problems
            .add("`min_items` is above `max_items`, so that no list is allowed", "let `min_items` be the smaller one");
    }
    let kind = field.kind();
    let comparable = Numeral::of(&kind).is_some_and(|numeral| !matches!(numeral, Numeral::Float | Numeral::Double))
        || matches!(kind, Kind::String | Kind::Bytes);
    if unique && field.is_map() {
        problems.add("`unique` is about a list, and a map has each key once anyway", "take it away");
    } else if unique && !comparable {
        problems.add(
            format!("`unique` is about text, bytes, whole numbers and enums, and the list holds {}", word(&kind)),
            "take it away",
        );
    }
    // On the wire an entry of a map may come twice and then counts once.
    rules.distinct = unique || (field.is_map() && least.is_some_and(|least| least > 1));
    if rules.distinct && most.is_none_or(|most| most > MOST_DISTINCT) {
        let which = if unique { "`unique`" } else { "`min_items` above 1 of a map" };
        problems.add(
            format!("{which} compares all entries, and the field has no `max_items` of {MOST_DISTINCT} or less"),
            "set `max_items`",
        );
    }
}

/// Reads the rules about one value.
fn value(option: &DynamicMessage, kind: &Kind, problems: &mut Problems) -> Option<ValueRule> {
    let allowed: &[&str] = match kind {
        Kind::String => &["format", "pattern", "min_length", "max_length", "one_of"],
        Kind::Bytes => &["min_length", "max_length"],
        Kind::Enum(_) => &["one_of"],
        Kind::Bool | Kind::Message(_) => &[],
        Kind::Float | Kind::Double => &["minimum", "maximum"],
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => &["minimum", "maximum", "one_of"],
    };
    for name in ABOUT_VALUES {
        if set(option, name).is_some() && !allowed.contains(&name) {
            problems.add(format!("`{name}` is about {}, and the field holds {}", about(name), word(kind)), cure(kind));
        }
    }
    if !allowed.iter().any(|name| set(option, name).is_some()) {
        return None;
    }
    match kind {
        Kind::String => Some(ValueRule::Text(text(option, problems))),
        Kind::Bytes => Some(ValueRule::Bytes(length(option, problems))),
        Kind::Float | Kind::Double => Some(ValueRule::Fraction(fraction(option, kind, problems))),
        Kind::Bool
        | Kind::Message(_)
        | Kind::Enum(_)
        | Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => Some(ValueRule::Whole(whole(option, kind, problems))),
    }
}

fn text(option: &DynamicMessage, problems: &mut Problems) -> TextRule {
    let number = options::number(option, "format");
    let format = usize::try_from(number).ok().and_then(|number| Format::ALL.get(number.checked_sub(1)?)).copied();
    if number != 0 && format.is_none() {
        problems.0.push(options::newer_value("format", number));
    }
    let pattern = options::text(option, "pattern").filter(|text| !text.is_empty());
    let pattern = pattern.and_then(|written| pattern_of(written, problems));
    let mut rule = TextRule { format, pattern, length: length(option, problems), one_of: list(option) };
    for value in &rule.one_of {
        if !rule.allows(value) {
            problems.add(
                format!("`one_of` lists `{value}`, which breaks another rule of the field"),
                "take the value away, or the other rule",
            );
        }
    }
    rule.one_of.sort();
    rule
}

fn pattern_of(written: String, problems: &mut Problems) -> Option<Pattern> {
    if written.len() > MOST_PATTERN {
        let what = format!("the pattern has {} bytes; {MOST_PATTERN} can be served", written.len());
        problems.add(what, "split the field, or list the values in `one_of`");
        return None;
    }
    let compiled = |pattern: &str| RegexBuilder::new(pattern).size_limit(MOST_COMPILED).nest_limit(50).build();
    // By itself first: parentheses that do not fit could otherwise break out of those put around it.
    match compiled(&written).and_then(|_| compiled(&format!(r"\A(?:{written})\z"))) {
        Ok(whole) => Some(Pattern { written, whole }),
        Err(error) => {
            // Of a picture of the place, the last line says what is wrong.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            problems.add(
                format!("the pattern `{written}` cannot be used: {why}"),
                "write it as https://docs.rs/regex describes, or list the values in `one_of`",
            );
            None
        }
    }
}

fn length(option: &DynamicMessage, problems: &mut Problems) -> Bounds<usize> {
    let length = Bounds { least: count(option, "min_length"), most: count(option, "max_length") };
    if !length.are_possible() {
        problems.add(
            "`min_length` is above `max_length`, so that no value is allowed",
            "let `min_length` be the smaller one",
        );
    }
    length
}

fn range<T: Copy + PartialOrd + std::fmt::Display>(
    option: &DynamicMessage,
    problems: &mut Problems,
    parse: impl Fn(&str) -> Option<T>,
) -> Bounds<T> {
    let mut bound = |name: &str| {
        let written = options::text(option, name).filter(|text| !text.is_empty())?;
        let parsed = parse(&written);
        if parsed.is_none() {
            problems.add(
                format!("`{name}` is `{written}`, which is no number that the field can hold"),
                "write a number of the field's type in decimal, as in \"0\" or \"-5\"",
            );
        }
        parsed
    };
    let range = Bounds { least: bound("minimum"), most: bound("maximum") };
    if !range.are_possible() {
        problems.add("`minimum` is above `maximum`, so that no number is allowed", "let `minimum` be the smaller one");
    }
    range
}

fn fraction(option: &DynamicMessage, kind: &Kind, problems: &mut Problems) -> FractionRule {
    let range = range(option, problems, |text| {
        // A float is compared with what a float can be.
        let parsed = if matches!(kind, Kind::Float) { text.parse::<f32>().map(f64::from) } else { text.parse() };
        parsed.ok().filter(|number| number.is_finite())
    });
    let written = |name| options::text(option, name).filter(|text| !text.is_empty());
    let (least, most) = (written("minimum"), written("maximum"));
    let described = Bounds { least: least.as_deref(), most: most.as_deref() }.described();
    FractionRule { range, described }
}

fn whole(option: &DynamicMessage, kind: &Kind, problems: &mut Problems) -> WholeRule {
    let range = range(option, problems, |text| holds(kind, text));
    let mut one_of = Vec::new();
    for written in list(option) {
        match holds(kind, &written) {
            Some(number) if range.contain(number) => one_of.push((number, written)),
            Some(_) => problems.add(
                format!("`one_of` lists `{written}`, which lies outside `minimum` and `maximum`"),
                "take the value away, or the other rule",
            ),
            None => {
                let cure = match kind.as_enum() {
                    Some(of) => {
                        let names: Vec<_> = of.values().map(|value| format!("`{}`", value.name())).collect();
                        format!("use names of the enum: {}", names.join(", "))
                    }
                    None => "write whole numbers of the field's type in decimal".to_owned(),
                };
                problems.add(format!("`one_of` lists `{written}`, which the field cannot hold"), cure);
            }
        }
    }
    one_of.sort();
    WholeRule { range, one_of }
}

/// Reads a number that a field of this kind can hold; of an enum, a value by its name.
fn holds(kind: &Kind, text: &str) -> Option<i128> {
    match kind {
        Kind::Enum(of) => of.get_value_by_name(text).map(|value| i128::from(value.number())),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse::<i32>().ok().map(i128::from),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse::<i64>().ok().map(i128::from),
        Kind::Uint32 | Kind::Fixed32 => text.parse::<u32>().ok().map(i128::from),
        Kind::Uint64 | Kind::Fixed64 => text.parse::<u64>().ok().map(i128::from),
        Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

/// What an option is about, for people.
fn about(name: &str) -> &'static str {
    match name {
        "format" | "pattern" => "text",
        "min_length" | "max_length" => "text and bytes",
        "minimum" | "maximum" => "numbers",
        _ => "text, whole numbers and enums",
    }
}

/// What a field holds, for people.
fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::String => "text",
        Kind::Bytes => "bytes",
        Kind::Bool => "true or false",
        Kind::Message(_) => "a message",
        Kind::Enum(_) => "a value of an enum",
        Kind::Float | Kind::Double => "a number with a fraction",
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => "a whole number",
    }
}

fn cure(kind: &Kind) -> &'static str {
    if kind.as_message().is_some() { "set it on a field within the message" } else { "take it away" }
}

/// Returns an option that is set to something.
fn set(option: &DynamicMessage, name: &str) -> Option<prost_reflect::Value> {
    let field = option.descriptor().get_field_by_name(name)?;
    option.has_field(&field).then(|| option.get_field(&field).into_owned())
}

fn flag(option: &DynamicMessage, name: &str) -> bool {
    set(option, name).and_then(|value| value.as_bool()).unwrap_or_default()
}

fn count(option: &DynamicMessage, name: &str) -> Option<usize> {
    usize::try_from(set(option, name)?.as_u32()?).ok()
}

fn list(option: &DynamicMessage) -> Vec<String> {
    let values = set(option, "one_of").and_then(|values| values.as_list().map(<[_]>::to_vec)).unwrap_or_default();
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
