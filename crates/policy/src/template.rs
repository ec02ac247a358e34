//! The text of a new agreement, to be filled in: what contracts say is written already, what people decide is left to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use contract::{Classification, Method, Projection, Selector, SelectorError};
use federation::MemberId;
use jiff::civil::Date;
use thiserror::Error;

use crate::agreement::AGREEMENT_FORMAT;
use crate::time::day_of;

/// Stands where a name has to be filled in. It is refused as a name, so that it is not forgotten.
const FILL_IN: &str = "FILL-IN";

/// What a new agreement begins from.
#[derive(Clone, Debug)]
pub struct Template {
    /// The id; `None` makes one of the names of the members and the year.
    pub id: Option<String>,
    /// Who asks.
    pub consumer: MemberId,
    /// Who answers.
    pub provider: MemberId,
    /// The methods. Those of one service with the same answer share a grant.
    pub methods: Vec<Arc<Method>>,
    /// Names of the consumer's systems that may ask.
    pub systems: Vec<String>,
    /// Names of purposes.
    pub purposes: Vec<String>,
}

/// There can be no template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// No method was chosen.
    #[error("no method is chosen; name a service or a method of a loaded contract")]
    NoMethod,
    /// The fields of an answer cannot be listed.
    #[error("the fields of `{method}` cannot be listed")]
    Fields {
        /// The method.
        method: String,
        /// Why.
        #[source]
        source: Box<SelectorError>,
    },
}

impl Template {
    /// Writes the text. It is in force for a year from the first of next month, UTC.
    ///
    /// Fields that are public or official are selected; all others stand there as comments, so that each is named by a decision. The
    /// legal basis is left empty, and systems and purposes that are not given have a mark that is refused until it is replaced.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] when no method is chosen, or a contract's answer has too many fields to list.
    pub fn write(&self, now: SystemTime) -> Result<String, TemplateError> {
        if self.methods.is_empty() {
            return Err(TemplateError::NoMethod);
        }
        let mut grants: BTreeMap<(&str, &str), Vec<&Arc<Method>>> = BTreeMap::new();
        for method in &self.methods {
            grants.entry((method.service(), method.output().full_name())).or_default().push(method);
        }
        let mut fields = Vec::new();
        for methods in grants.values() {
            if let Some(method) = methods.first() {
                fields.push(Fields::of(method)?);
            }
        }
        let mut text = String::new();
        let written = self.write_head(&mut text, now).and_then(|()| {
            grants.values().zip(&fields).try_for_each(|(methods, fields)| self.write_grant(&mut text, methods, fields))
        });
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        Ok(text)
    }

    fn write_head(&self, out: &mut String, now: SystemTime) -> fmt::Result {
        let from = first_of_next_month(day_of(now));
        let until = Date::new(from.year().saturating_add(1), from.month(), 1).unwrap_or(Date::MAX);
        let review = from.checked_add(jiff::Span::new().months(9)).unwrap_or(from);
        let name = |member: &MemberId| member.as_str().split('.').next().unwrap_or_default().to_owned();
        let id = self
            .id
            .clone()
            .unwrap_or_else(|| format!("{}-{}-{}-1", name(&self.consumer), name(&self.provider), from.year()));
        writeln!(
            out,
            "# What {} may ask of {}. Fill in what is empty, and read every line: both members sign this text",
            self.consumer, self.provider
        )?;
        writeln!(
            out,
            "# as it stands. Check it with `drawbridge agreement check`, sign it with `drawbridge agreement sign`."
        )?;
        writeln!(out, "format = \"{AGREEMENT_FORMAT}\"")?;
        writeln!(out, "id = {}  # unique between the two members", quoted(&id))?;
        writeln!(out, "consumer = \"{}\"  # asks", self.consumer)?;
        writeln!(out, "provider = \"{}\"  # answers", self.provider)?;
        writeln!(out, "valid_from = {from}T00:00:00Z")?;
        writeln!(out, "valid_until = {until}T00:00:00Z  # the first moment at which it is over")?;
        writeln!(out, "review_on = {review}")?;
        writeln!(out, "retention = \"6 years\"  # how long both members keep the records of exchanges")?;
        for purpose in self.purposes() {
            writeln!(out, "\n[purpose.{}]", key(purpose))?;
            writeln!(out, "legal_basis = \"\"  # the law that lets {} ask for this", self.consumer)?;
            writeln!(out, "# description = \"\"")?;
        }
        Ok(())
    }

    fn write_grant(&self, out: &mut String, methods: &[&Arc<Method>], fields: &Fields) -> fmt::Result {
        let Some(first) = methods.first() else {
            return Ok(());
        };
        writeln!(out, "\n[[grant]]")?;
        writeln!(out, "service = {}", quoted(first.service()))?;
        writeln!(out, "digest = \"{}\"  # of the contract as it is loaded now", first.contract_digest())?;
        writeln!(out, "methods = {}", list(methods.iter().map(|method| method.name())))?;
        writeln!(out, "systems = {}  # of {}", list(self.systems()), self.consumer)?;
        writeln!(out, "purposes = {}", list(self.purposes()))?;
        fields.write(out, first.output().name())?;
        writeln!(out, "require = []  # metadata that must come with a call: \"actor\", \"case\", \"justification\"")?;
        if methods.iter().any(|method| method.kind().is_none()) {
            writeln!(out, "kind = \"\"  # the contract does not say it: \"query\" changes nothing, \"command\" does")?;
        }
        writeln!(
            out,
            "# limits = {{ calls_per_second = 10, calls_per_day = 1000, rows_per_call = 100, rows_per_day = 10000 }}"
        )
    }

    fn systems(&self) -> impl Iterator<Item = &str> {
        or_fill_in(&self.systems)
    }

    fn purposes(&self) -> impl Iterator<Item = &str> {
        or_fill_in(&self.purposes)
    }
}

/// The single values of an answer, each with what the contract calls it.
struct Fields(Vec<(String, Option<Classification>)>);

impl Fields {
    fn of(method: &Method) -> Result<Self, TemplateError> {
        let released = |selector: &Selector| {
            let projection = Projection::compile(method.output(), selector);
            let projection = projection.map_err(|source| TemplateError::Fields {
                method: method.path().trim_start_matches('/').to_owned(),
                source: Box::new(source),
            });
            projection.map(|projection| projection.released().to_vec())
        };
        // The contract says how classifications are inherited; asking it for the fields of each is how it is the same here.
        let mut classes: BTreeMap<String, Classification> = BTreeMap::new();
        for class in Classification::ALL {
            for path in released(&Selector::Classifications(BTreeSet::from([class])))? {
                classes.insert(path, class);
            }
        }
        let all = released(&Selector::All)?;
        Ok(Self(all.into_iter().map(|path| (path.clone(), classes.get(&path).copied())).collect()))
    }

    fn write(&self, out: &mut String, answer: &str) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(out, "fields = []  # {answer} has none");
        }
        writeln!(out, "fields = [  # of {answer}; what is a comment is withheld")?;
        let width = self.0.iter().map(|(path, _)| path.chars().count()).max().unwrap_or_default().saturating_add(5);
        for (path, class) in &self.0 {
            let entry = format!("{},", quoted(path));
            let (mark, class) = match class {
                Some(class @ (Classification::Public | Classification::Official)) => ("", class.as_str()),
                Some(class @ (Classification::Personal | Classification::SpecialCategory)) => ("# ", class.as_str()),
                None => ("# ", "not classified"),
            };
            writeln!(out, "  {:<width$}  # {class}", format!("{mark}{entry}"))?;
        }
        writeln!(out, "]")
    }
}

fn or_fill_in(words: &[String]) -> impl Iterator<Item = &str> {
    let none = words.is_empty().then_some(FILL_IN);
    words.iter().map(String::as_str).chain(none)
}

fn list<'w>(words: impl Iterator<Item = &'w str>) -> String {
    format!("[{}]", words.map(quoted).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn key(text: &str) -> String {
    let bare =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if bare { text.to_owned() } else { quoted(text) }
}

fn first_of_next_month(day: Date) -> Date {
    let (year, month) =
        if day.month() == 12 { (day.year().saturating_add(1), 1) } else { (day.year(), day.month().saturating_add(1)) };
    Date::new(year, month, 1).unwrap_or(day)
}

#[cfg(test)]
mod tests;
