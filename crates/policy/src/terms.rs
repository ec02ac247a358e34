//! The TOML of an agreement as it is written, before anything but its shape is checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml_edit::Datetime;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    /// Looked at before the rest is read, so that a newer format is named as such.
    #[serde(rename = "format")]
    _format: String,
    pub(crate) id: String,
    pub(crate) consumer: String,
    pub(crate) provider: String,
    pub(crate) valid_from: Datetime,
    pub(crate) valid_until: Datetime,
    pub(crate) review_on: Datetime,
    pub(crate) retention: String,
    #[serde(default)]
    pub(crate) purpose: BTreeMap<String, PurposeTerms>,
    #[serde(default)]
    pub(crate) grant: Vec<GrantTerms>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurposeTerms {
    pub(crate) legal_basis: String,
    pub(crate) description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantTerms {
    pub(crate) service: String,
    pub(crate) digest: String,
    pub(crate) methods: Vec<String>,
    pub(crate) systems: Vec<String>,
    pub(crate) purposes: Vec<String>,
    pub(crate) fields: FieldTerms,
    #[serde(default)]
    pub(crate) require: Vec<String>,
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) application_metadata: Vec<String>,
    #[serde(default)]
    pub(crate) limits: LimitTerms,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitTerms {
    pub(crate) calls_per_second: Option<u64>,
    pub(crate) calls_per_day: Option<u64>,
    pub(crate) rows_per_day: Option<u64>,
    pub(crate) rows_per_call: Option<u64>,
}

/// `["id", "name.family"]`, `{ classification = ["public"] }` or `"all"`.
#[derive(Debug)]
pub(crate) enum FieldTerms {
    Paths(Vec<String>),
    Classification(Vec<String>),
    All,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassificationTerms {
    classification: Vec<String>,
}

impl<'de> Deserialize<'de> for FieldTerms {
    // By hand, since an untagged enum would lose the place of what is wrong inside, and its message says nothing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = FieldTerms;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of fields, `{ classification = [\"public\"] }` or \"all\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<FieldTerms, E> {
        match text {
            "all" => Ok(FieldTerms::All),
            other => Err(E::custom(format_args!(
                "`{other}` is not a selection of fields; write a list such as [\"{other}\"], a classification, or \"all\""
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<FieldTerms, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(FieldTerms::Paths)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<FieldTerms, A::Error> {
        ClassificationTerms::deserialize(MapAccessDeserializer::new(table))
            .map(|terms| FieldTerms::Classification(terms.classification))
    }
}
