//! Plausible messages of a contract, made up from a seed: what a mock answers, and a first question to try.
//!
//! The same seed makes the same message, on every machine. Each field has a stream of numbers of its own, so that a field that
//! is added to the contract changes no other.

mod format;
mod known;
mod maker;
mod moment;
mod number;
mod pattern;
mod random;
mod value;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

use crate::Method;
use crate::options;
use crate::rules::{self, FieldRules, ValueRule};

use maker::Maker;
use pattern::Pattern;

/// How many messages are made to find out what cannot be.
const TRIALS: u64 = 16;

/// Makes messages of one type. Cloning it is cheap.
#[derive(Clone)]
pub struct Sampler {
    message: MessageDescriptor,
    recipes: Arc<HashMap<String, Recipe>>,
}

/// A message that was made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The message. It keeps the contract's rules, but for those of `gaps`.
    pub message: DynamicMessage,
    /// Fields for which nothing was found.
    pub gaps: BTreeSet<Gap>,
}

/// A field for which nothing could be made up that keeps all of its rules. It was left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// Its path, as in `addresses.postcode`.
    pub field: String,
    /// Which rules these are.
    pub why: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.why)
    }
}

/// What is known of a field, read once.
struct Recipe {
    rules: FieldRules,
    pattern: Option<Pattern>,
    key_pattern: Option<Pattern>,
    /// The words of its name.
    words: Vec<String>,
    /// The scheme of the identifier that it holds.
    subject: Option<String>,
}

impl Recipe {
    fn of(field: &FieldDescriptor) -> Self {
        let (rules, _) = rules::read(field);
        let taken_apart = |rule: Option<&ValueRule>| match rule {
            Some(ValueRule::Text(text)) => text.pattern.as_ref().and_then(|p| Pattern::parse(&p.written)),
            Some(ValueRule::Bytes(_) | ValueRule::Whole(_) | ValueRule::Fraction(_)) | None => None,
        };
        Self {
            pattern: taken_apart(rules.value.as_ref()),
            key_pattern: taken_apart(rules.key.as_ref()),
            words: words::words_of(field.name()),
            subject: options::subject(field),
            rules,
        }
    }
}

impl Method {
    /// Returns what makes up requests of this method.
    #[must_use]
    pub fn request_sampler(&self) -> Sampler {
        Sampler::of(self.input().clone())
    }

    /// Returns what makes up answers of this method.
    #[must_use]
    pub fn answer_sampler(&self) -> Sampler {
        Sampler::of(self.output().clone())
    }
}

impl Sampler {
    fn of(message: MessageDescriptor) -> Self {
        let mut recipes = HashMap::new();
        let mut seen: Vec<MessageDescriptor> = vec![message.clone()];
        let mut position = 0_usize;
        while let Some(within) = seen.get(position).cloned() {
            position = position.saturating_add(1);
            for field in within.fields() {
                recipes.insert(field.full_name().to_owned(), Recipe::of(&field));
                if let Kind::Message(inner) = field.kind()
                    && !seen.contains(&inner)
                {
                    seen.push(inner);
                }
            }
        }
        Self { message, recipes: Arc::new(recipes) }
    }

    /// Makes a message.
    #[must_use]
    pub fn sample(&self, seed: u64) -> Sample {
        Maker::new(&self.recipes, None).run(&self.message, seed)
    }

    /// Makes an answer to a question: what is given in the question and has the same name and type in the answer is the same
    /// there, and so are identifiers of the same scheme, however deep, where the rules about the answer allow it.
    #[must_use]
    pub fn sample_for(&self, question: &DynamicMessage, seed: u64) -> Sample {
        Maker::new(&self.recipes, Some(question)).run(&self.message, seed)
    }

    /// Returns the fields for which nothing can be made up, as far as a few trials tell.
    #[must_use]
    pub fn gaps(&self) -> BTreeSet<Gap> {
        (0..TRIALS).flat_map(|seed| self.sample(seed).gaps).collect()
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler").field("message", &self.message.full_name()).finish_non_exhaustive()
    }
}
