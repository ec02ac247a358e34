//! One message in the making: which of its fields are there, how many elements lists have, and where it ends.

use std::collections::{BTreeSet, HashMap};

use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use super::known::{self, Known};
use super::random::{Random, split};
use super::value::Wish;
use super::{Gap, Recipe, Sample};
use crate::descriptors::value_kind;
use crate::options;
use crate::rules::{TextRule, ValueRule};

/// How deep messages lie within one another, at most, unless the contract asks for more.
const DEEPEST: usize = 8;
/// Deeper than this nothing is made, whatever the contract asks: a message that must hold itself has no end.
const BOTTOM: usize = 40;
/// About how many values a message has, at most.
const MOST_VALUES: usize = 4000;
/// How often another element is drawn for a list whose elements have to be distinct.
const ATTEMPTS: u64 = 100;
/// Where the parts of a field's seed lie that are not its elements.
const ONEOFS: u64 = 1 << 40;

/// Makes one message.
pub(super) struct Maker<'s> {
    recipes: &'s HashMap<String, Recipe>,
    question: Option<&'s DynamicMessage>,
    /// Identifiers that are in the question, by their scheme.
    identifiers: Vec<(String, Value)>,
    /// The names of the messages that are being made.
    open: Vec<String>,
    /// The names of the fields that lead here.
    path: Vec<String>,
    values: usize,
    gaps: BTreeSet<Gap>,
}

impl<'s> Maker<'s> {
    pub(super) fn new(recipes: &'s HashMap<String, Recipe>, question: Option<&'s DynamicMessage>) -> Self {
        let mut identifiers = Vec::new();
        if let Some(question) = question {
            gather(question, &mut identifiers);
        }
        Self { recipes, question, identifiers, open: Vec::new(), path: Vec::new(), values: 0, gaps: BTreeSet::new() }
    }

    pub(super) fn run(mut self, message: &MessageDescriptor, seed: u64) -> Sample {
        let message = match known::made(message, &[], &mut Random::of(seed, 0)) {
            Known::Made(made) => made,
            Known::Left => DynamicMessage::new(message.clone()),
            Known::Wrapper | Known::Ordinary => self.message(message, seed),
        };
        Sample { message, gaps: self.gaps }
    }

    fn message(&mut self, descriptor: &MessageDescriptor, seed: u64) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        let chosen = self.chosen(descriptor, seed);
        self.open.push(descriptor.full_name().to_owned());
        for field in descriptor.fields() {
            let oneof = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
            if oneof && !chosen.contains(&field.number()) {
                continue;
            }
            let Some(recipe) = self.recipes.get(field.full_name()) else { continue };
            let seed = split(seed, field.number().into());
            let must = recipe.rules.required || field.cardinality() == Cardinality::Required;
            if !must && !oneof && !self.is_wanted(&field, recipe, &mut Random::of(seed, 1)) {
                continue;
            }
            self.path.push(field.name().to_owned());
            if let Some(value) = self.field(&field, recipe, seed) {
                // Where protobuf keeps no presence, a default is not there.
                if field.supports_presence() || !value.is_default_for_field(&field) {
                    message.set_field(&field, value);
                }
            } else if must {
                self.gap(recipe.rules.value.as_ref());
            }
            self.path.pop();
        }
        self.open.pop();
        message
    }

    /// Chooses one member of each oneof: one that comes to an end, where there is one.
    fn chosen(&self, descriptor: &MessageDescriptor, seed: u64) -> Vec<u32> {
        let oneofs = descriptor.oneofs().filter(|oneof| !oneof.is_synthetic());
        let choose = |(position, oneof): (usize, prost_reflect::OneofDescriptor)| {
            let members: Vec<FieldDescriptor> = oneof.fields().collect();
            let ending: Vec<u32> =
                members.iter().filter(|field| self.ends(field)).map(FieldDescriptor::number).collect();
            let position = ONEOFS.saturating_add(u64::try_from(position).unwrap_or_default());
            (!ending.is_empty()).then(|| Random::of(seed, position).pick(&ending))
        };
        oneofs.enumerate().filter_map(choose).collect()
    }

    /// Whether a field may be there: not what holds itself again and again.
    fn ends(&self, field: &FieldDescriptor) -> bool {
        let kind = value_kind(field);
        let Some(message) = kind.as_message() else { return true };
        let again = self.open.iter().filter(|open| *open == message.full_name()).count();
        self.open.len() < DEEPEST && again < 2
    }

    /// Whether a field is there that need not be. Callers that never see one left out are not ready for it.
    fn is_wanted(&self, field: &FieldDescriptor, recipe: &Recipe, random: &mut Random) -> bool {
        if self.values > MOST_VALUES || !self.ends(field) {
            return false;
        }
        if recipe.words.iter().any(|word| ["death", "died", "deceased"].contains(&word.as_str())) {
            return random.once_in(6);
        }
        let optional = field.supports_presence() && field.kind().as_message().is_none();
        !optional || !random.once_in(5)
    }

    fn field(&mut self, field: &FieldDescriptor, recipe: &Recipe, seed: u64) -> Option<Value> {
        self.values = self.values.saturating_add(1);
        if self.open.len() > BOTTOM {
            return None;
        }
        let words: Vec<&str> = recipe.words.iter().map(String::as_str).collect();
        let wish = Wish {
            rule: recipe.rules.value.as_ref(),
            pattern: recipe.pattern.as_ref(),
            words: &words,
            subject: recipe.subject.as_deref(),
            given: !field.supports_presence() && !field.is_list() && !field.is_map(),
        };
        if field.is_map() {
            return self.map(field, recipe, wish, seed);
        }
        if field.is_list() {
            return self.list(field, recipe, wish, seed);
        }
        if let Some(value) = self.asked(field, wish) {
            return Some(value);
        }
        let value = self.single(&field.kind(), wish, seed);
        // Without rules only an enum whose one value is 0 has nothing to say, and it says that by not being there.
        if value.is_none() && wish.rule.is_some() && !recipe.rules.required {
            self.gap(wish.rule);
        }
        value
    }

    /// Returns what the question says of a field.
    fn asked(&self, field: &FieldDescriptor, wish: Wish<'_>) -> Option<Value> {
        let scheme = wish.subject.and_then(|scheme| self.identifiers.iter().find(|(known, _)| known == scheme));
        let same = || {
            let question = self.question.filter(|_| self.open.len() == 1)?;
            let asked = question.descriptor().get_field_by_name(field.name())?;
            let alike = !asked.is_list() && !asked.is_map() && asked.kind() == field.kind();
            (alike && question.has_field(&asked)).then(|| question.get_field(&asked).into_owned())
        };
        let value = scheme.map(|(_, value)| value.clone()).or_else(same)?;
        (value.is_valid_for_field(field) && !(wish.given && value.is_default_for_field(field)) && wish.allows(&value))
            .then_some(value)
    }

    fn list(&mut self, field: &FieldDescriptor, recipe: &Recipe, wish: Wish<'_>, seed: u64) -> Option<Value> {
        let (least, count) = self.count(recipe, 3, seed);
        let mut list: Vec<Value> = Vec::new();
        let attempts = if recipe.rules.distinct { ATTEMPTS } else { 1 };
        for element in 0..count {
            let part = split(seed, u64::try_from(element).unwrap_or_default().saturating_add(2));
            let made = (0..attempts)
                .filter_map(|attempt| self.single(&field.kind(), wish, split(part, attempt)))
                .find(|value| !recipe.rules.distinct || !list.contains(value));
            list.extend(made);
        }
        if list.len() < least {
            self.gap(wish.rule);
        }
        (!list.is_empty()).then_some(Value::List(list))
    }

    /// One entry, unless the contract asks for more: the order of several would not be the same each time.
    fn map(&mut self, field: &FieldDescriptor, recipe: &Recipe, wish: Wish<'_>, seed: u64) -> Option<Value> {
        let kind = field.kind();
        let entry = kind.as_message()?;
        let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let (least, count) = self.count(recipe, 1, seed);
        let of_key = Wish {
            rule: recipe.rules.key.as_ref(),
            pattern: recipe.key_pattern.as_ref(),
            words: &["key"],
            subject: None,
            given: false,
        };
        let mut entries: HashMap<MapKey, Value> = HashMap::new();
        for number in 0..count {
            let part = split(seed, u64::try_from(number).unwrap_or_default().saturating_add(2));
            let fresh = (0..ATTEMPTS)
                .filter_map(|attempt| of_key.made(&key, split(part, attempt))?.into_map_key())
                .find(|key| !entries.contains_key(key));
            if let (Some(key), Some(value)) = (fresh, self.single(&value, wish, split(part, ATTEMPTS))) {
                entries.insert(key, value);
            }
        }
        if entries.len() < least {
            self.gap(wish.rule.or(of_key.rule));
        }
        (!entries.is_empty()).then_some(Value::Map(entries))
    }

    /// Returns how many elements there have to be, and how many there are to be.
    fn count(&self, recipe: &Recipe, usual: usize, seed: u64) -> (usize, usize) {
        let items = recipe.rules.items;
        let least = items.least.unwrap_or_default().max(usize::from(recipe.rules.required));
        let usual = if self.open.len() > 2 { 1 } else { Random::of(seed, 0).position(usual).saturating_add(1) };
        (least, least.max(usual).min(items.most.unwrap_or(usize::MAX)).min(MOST_VALUES.max(least)))
    }

    fn single(&mut self, kind: &Kind, wish: Wish<'_>, seed: u64) -> Option<Value> {
        let Kind::Message(message) = kind else { return wish.made(kind, seed) };
        match known::made(message, wish.words, &mut Random::of(seed, 0)) {
            Known::Made(made) => Some(Value::Message(made)),
            Known::Left => None,
            Known::Wrapper => {
                let mut wrapper = DynamicMessage::new(message.clone());
                let field = message.fields().next()?;
                let value = Wish { rule: None, pattern: None, given: false, ..wish }.made(&field.kind(), seed)?;
                wrapper.try_set_field(&field, value).ok()?;
                Some(Value::Message(wrapper))
            }
            Known::Ordinary => Some(Value::Message(self.message(message, seed))),
        }
    }

    /// Notes that nothing was found for the field at hand.
    fn gap(&mut self, rule: Option<&ValueRule>) {
        let why = match rule {
            Some(ValueRule::Text(text)) => why(text),
            Some(ValueRule::Bytes(_) | ValueRule::Whole(_) | ValueRule::Fraction(_)) => {
                "no value was found that keeps its rules".to_owned()
            }
            None => "no value was found for it".to_owned(),
        };
        self.gaps.insert(Gap { field: self.path.join("."), why });
    }
}

/// Says which rules no text was found for.
fn why(rule: &TextRule) -> String {
    let format = rule.format.map(|format| format!("is `{}`", format.as_str()));
    let pattern = rule.pattern.as_ref().map(|pattern| format!("matches the pattern `{}`", pattern.written));
    let length = rule.length.described();
    let length = (!length.is_empty()).then(|| format!("has {length} characters"));
    let asked: Vec<String> = [format, pattern, length].into_iter().flatten().collect();
    format!("no text was found that {}", asked.join(" and "))
}

/// Gathers the identifiers of a question, however deep.
fn gather(question: &DynamicMessage, identifiers: &mut Vec<(String, Value)>) {
    for (field, value) in question.fields() {
        match value {
            Value::Message(inner) => gather(inner, identifiers),
            Value::String(_) | Value::I32(_) | Value::I64(_) | Value::U32(_) | Value::U64(_) => {
                identifiers.extend(options::subject(&field).map(|scheme| (scheme, value.clone())));
            }
            Value::Bool(_)
            | Value::F32(_)
            | Value::F64(_)
            | Value::Bytes(_)
            | Value::EnumNumber(_)
            | Value::List(_)
            | Value::Map(_) => {}
        }
    }
}
