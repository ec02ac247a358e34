//! A contract's rules about the values of requests, as keywords of JSON Schema.
//!
//! A keyword stands only where it refuses nothing that gateways take. What no keyword can say stands beside as `x-drawbridge-…`.

use contract::{Bounds, FieldRules, Format, ValueRules};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

use super::pattern;

/// When a value is held against its rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Whenever it is there.
    Always,
    /// Where it is not 0 or empty, which is as good as absent.
    Otherwise,
    /// Whenever it is there, and 0 or empty is not enough.
    NotDefault,
}

impl Given {
    pub(super) fn of(field: &FieldDescriptor, rules: &FieldRules) -> Self {
        if field.supports_presence() {
            Self::Always
        } else if rules.required() {
            Self::NotDefault
        } else {
            Self::Otherwise
        }
    }
}

/// Returns whether a request has to name the field.
pub(super) fn must_be_given(field: &FieldDescriptor, rules: &FieldRules) -> bool {
    field.is_required() || rules.required() || rules.items().least.is_some_and(|least| least > 0)
}

/// Adds what is asked of a value to the schema of its kind.
pub(super) fn narrow(schema: Value, kind: &Kind, rules: Option<&ValueRules<'_>>, given: Given) -> Value {
    let Value::Object(schema) = schema else { return schema };
    let mut narrowed = Keywords(schema);
    match (kind, rules) {
        (Kind::Enum(of), rules) => narrowed.names(of, rules, given),
        (Kind::Double | Kind::Float, Some(ValueRules::Fraction { range })) => {
            narrowed = Keywords(fraction(kind, *range));
        }
        (Kind::String, Some(ValueRules::Text { format, pattern, length, one_of })) => {
            narrowed.text(*format, *pattern, *length, one_of, given);
        }
        (Kind::String, None) if given == Given::NotDefault => narrowed.set("minLength", 1),
        (Kind::Bytes, Some(ValueRules::Bytes { length })) => narrowed.bytes(*length, given),
        (Kind::Bytes, None) if given == Given::NotDefault => narrowed.bytes(Bounds::default(), given),
        (
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32,
            Some(ValueRules::Whole { range, one_of }),
        ) => narrowed.whole(*range, one_of, given),
        (Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32, None) => {
            narrowed.whole(Bounds::default(), &[], given);
        }
        (
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64,
            Some(ValueRules::Whole { range, one_of }),
        ) => narrowed.spelled(*range, one_of, given),
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64, None) => {
            narrowed.spelled(Bounds::default(), &[], given);
        }
        // Minus zero is given, and JSON Schema takes it for zero: so a number with a fraction is not told apart from it.
        _ => {}
    }
    Value::Object(narrowed.0)
}

/// What is asked of a map's keys, which are texts in JSON whatever they are in the contract.
pub(super) fn keys(rules: &ValueRules<'_>) -> Value {
    let mut keys = Keywords(Map::new());
    match rules {
        ValueRules::Text { format, pattern, length, one_of } => {
            keys.text(*format, *pattern, *length, one_of, Given::Always);
        }
        ValueRules::Whole { range, one_of } => keys.spelled(*range, one_of, Given::Always),
        ValueRules::Bytes { .. } | ValueRules::Fraction { .. } => {}
    }
    Value::Object(keys.0)
}

/// Adds how many entries a list or a map has.
pub(super) fn items(schema: &mut Map<String, Value>, rules: &FieldRules, (least, most): (&str, &str)) {
    let bounds = rules.items();
    let at_least = bounds.least.unwrap_or_default().max(usize::from(rules.required()));
    if at_least > 0 {
        schema.insert(least.to_owned(), at_least.into());
    }
    if let Some(at_most) = bounds.most {
        schema.insert(most.to_owned(), at_most.into());
    }
}

/// The members of a schema.
struct Keywords(Map<String, Value>);

impl Keywords {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets keywords for what is not empty; with `alternative` an empty text is not given.
    fn set_unless_empty(&mut self, keywords: Self, alternative: bool) {
        if alternative {
            self.set("anyOf", json!([{"const": "", "description": "Not given."}, keywords.0]));
        } else {
            self.0.extend(keywords.0);
        }
    }

    fn text(
        &mut self,
        format: Option<Format>,
        pattern: Option<&str>,
        length: Bounds<usize>,
        one_of: &[String],
        given: Given,
    ) {
        if let Some(format) = format {
            self.set("x-drawbridge-format", format.as_str());
        }
        if let Some(pattern) = pattern.filter(|pattern| !pattern::reads_the_same(pattern)) {
            self.set("x-drawbridge-pattern", pattern);
        }
        if !one_of.is_empty() {
            // Each of them keeps the other rules.
            let empty = (given == Given::Otherwise && one_of.iter().all(|text| !text.is_empty())).then_some("");
            let texts = one_of.iter().map(String::as_str).filter(|text| given != Given::NotDefault || !text.is_empty());
            return self.set("enum", empty.into_iter().chain(texts).collect::<Vec<_>>());
        }
        let mut keywords = Self(Map::new());
        let mut patterns = Vec::new();
        match format.map(keyword) {
            Some(Word::Format(name)) => keywords.set("format", name),
            Some(Word::Pattern(pattern)) => patterns.push(pattern.to_owned()),
            None => {}
        }
        patterns.extend(pattern.filter(|text| pattern::reads_the_same(text)).map(|text| format!("^(?:{text})$")));
        if let [pattern] = patterns.as_slice() {
            keywords.set("pattern", pattern.as_str());
        } else if !patterns.is_empty() {
            keywords.set("allOf", patterns.iter().map(|text| json!({"pattern": text})).collect::<Vec<_>>());
        }
        let least = length.least.unwrap_or_default().max(usize::from(given == Given::NotDefault));
        if least > 0 {
            keywords.set("minLength", least);
        }
        let alternative = given == Given::Otherwise && !keywords.0.is_empty();
        if let Some(most) = length.most {
            keywords.set("maxLength", most);
        }
        self.set_unless_empty(keywords, alternative);
    }

    /// Base64 has four characters for three bytes, and those that fill up the last four may be left out.
    fn bytes(&mut self, length: Bounds<usize>, given: Given) {
        let mut keywords = Self(Map::new());
        let least = length.least.unwrap_or_default().max(usize::from(given == Given::NotDefault));
        if least > 0 {
            keywords.set("minLength", least.saturating_mul(4).div_ceil(3));
        }
        let alternative = given == Given::Otherwise && !keywords.0.is_empty();
        if let Some(most) = length.most {
            keywords.set("maxLength", most.div_ceil(3).saturating_mul(4));
        }
        self.set_unless_empty(keywords, alternative);
    }

    /// Numbers that JSON has as numbers.
    fn whole(&mut self, range: Bounds<i128>, one_of: &[i128], given: Given) {
        let number = |number: i128| i64::try_from(number).map_or(Value::Null, Value::from);
        if !one_of.is_empty() {
            return self.set("enum", allowed(one_of, given).map(number).collect::<Vec<_>>());
        }
        if let Some(least) = range.least {
            self.set("minimum", number(least));
        }
        if let Some(most) = range.most {
            self.set("maximum", number(most));
        }
        if given == Given::NotDefault {
            let zero = Value::from(0);
            if self.0.get("minimum") == Some(&zero) {
                self.set("minimum", 1);
            } else if self.0.get("maximum") == Some(&zero) {
                self.set("maximum", -1);
            } else if !(range.least.is_some_and(|least| least > 0) || range.most.is_some_and(|most| most < 0)) {
                self.set("not", json!({"const": 0}));
            }
        }
    }

    /// Numbers that JSON has as texts: no keyword compares them.
    fn spelled(&mut self, range: Bounds<i128>, one_of: &[i128], given: Given) {
        if !one_of.is_empty() {
            return self.set("enum", allowed(one_of, given).map(|number| number.to_string()).collect::<Vec<_>>());
        }
        if let Some(least) = range.least {
            self.set("x-drawbridge-minimum", least.to_string());
        }
        if let Some(most) = range.most {
            self.set("x-drawbridge-maximum", most.to_string());
        }
        if given == Given::NotDefault {
            let signed = self.0.get("format").is_some_and(|format| format == "int64");
            self.set("pattern", if signed { "^-?0*[1-9][0-9]*$" } else { "^0*[1-9][0-9]*$" });
        }
    }

    /// The names of an enum's values. Several names may stand for one number.
    fn names(&mut self, of: &EnumDescriptor, rules: Option<&ValueRules<'_>>, given: Given) {
        let one_of: &[i128] = match rules {
            Some(ValueRules::Whole { one_of, .. }) => one_of,
            _ => &[],
        };
        if of.full_name() == "google.protobuf.NullValue" || (one_of.is_empty() && given != Given::NotDefault) {
            return;
        }
        let allows = |number: i32| {
            let listed = one_of.is_empty() || one_of.contains(&number.into());
            (listed || (number == 0 && given == Given::Otherwise)) && (number != 0 || given != Given::NotDefault)
        };
        let names = of.values().filter(|value| allows(value.number())).map(|value| value.name().to_owned());
        self.set("enum", names.collect::<Vec<_>>());
    }
}

/// The numbers that may stand there.
fn allowed(one_of: &[i128], given: Given) -> impl Iterator<Item = i128> {
    let zero = (given == Given::Otherwise && !one_of.contains(&0)).then_some(0);
    zero.into_iter().chain(one_of.iter().copied().filter(move |number| given != Given::NotDefault || *number != 0))
}

/// What is not a number lies within no range.
fn fraction(kind: &Kind, range: Bounds<f64>) -> Map<String, Value> {
    let float = matches!(kind, Kind::Float);
    let format = if float { "float" } else { "double" };
    let mut number = Map::from_iter([("type".to_owned(), "number".into()), ("format".to_owned(), format.into())]);
    // The number that a float holds, and the shortest that is read as it, are rarely the same: both are in.
    let written = |bound: f64| if float { shortest(bound) } else { bound };
    if let Some(least) = range.least {
        number.insert("minimum".to_owned(), least.min(written(least)).into());
    }
    if let Some(most) = range.most {
        number.insert("maximum".to_owned(), most.max(written(most)).into());
    }
    let endless = [("-Infinity", range.least.is_none()), ("Infinity", range.most.is_none())];
    let names: Vec<&str> = endless.into_iter().filter_map(|(name, allowed)| allowed.then_some(name)).collect();
    if names.is_empty() {
        return number;
    }
    Map::from_iter([("anyOf".to_owned(), json!([number, {"type": "string", "enum": names}]))])
}

/// The shortest decimal that is read as this float.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "it is a float's value")]
fn shortest(bound: f64) -> f64 {
    (bound as f32).to_string().parse().unwrap_or(bound)
}

/// How JSON Schema says what a format is.
enum Word {
    Format(&'static str),
    Pattern(&'static str),
}

/// As far as it can be said: a check digit cannot.
fn keyword(format: Format) -> Word {
    match format {
        Format::NhsNumber => Word::Pattern("^[0-9]{10}$"),
        Format::Uprn => Word::Pattern("^[0-9]{1,12}$"),
        Format::NationalInsuranceNumber => {
            Word::Pattern("^(?!BG|GB|KN|NK|NT|TN|ZZ)[ABCEGHJ-PR-TW-Z][ABCEGHJ-NPR-TW-Z][0-9]{6}[A-D]$")
        }
        Format::Postcode => Word::Pattern(
            "^(?:GIR 0AA|[A-PR-UWYZ](?:[0-9][0-9A-HJKPSTUW]?|[A-HK-Y][0-9][0-9ABEHMNPRVWXY]?) [0-9][ABD-HJLNP-UW-Z]{2})$",
        ),
        Format::Date => Word::Format("date"),
        Format::DateTime => Word::Format("date-time"),
        Format::Email => Word::Format("email"),
        Format::Uuid => Word::Format("uuid"),
    }
}
