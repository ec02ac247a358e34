//! Which questions an example answers: those that agree with it in every field that it names.

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value};
use serde_json::{Map, Value as Json};

/// What a question has to hold.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    fields: Vec<(FieldDescriptor, Expected)>,
}

/// What one field has to hold.
#[derive(Clone, Debug)]
enum Expected {
    /// This very value. A field that is not there holds its default.
    Same(Value),
    /// A message that holds this.
    Within(Pattern),
}

impl Pattern {
    /// Reads a pattern that has passed for a message of this type already. `None` where it has not.
    pub(super) fn read(written: &Map<String, Json>, message: &MessageDescriptor) -> Option<Self> {
        let field = |(name, value): (&String, &Json)| {
            let field = message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))?;
            let expected = match (field.kind().as_message(), value) {
                // Types that everybody knows have forms of their own in JSON.
                (Some(inner), Json::Object(value))
                    if !field.is_list() && !field.is_map() && inner.package_name() != "google.protobuf" =>
                {
                    Expected::Within(Self::read(value, inner)?)
                }
                _ => {
                    let alone = Json::Object(Map::from_iter([(name.clone(), value.clone())]));
                    let alone = DynamicMessage::deserialize(message.clone(), alone).ok()?;
                    Expected::Same(alone.get_field(&field).into_owned())
                }
            };
            Some((field, expected))
        };
        Some(Self { fields: written.iter().map(field).collect::<Option<_>>()? })
    }

    /// Whether a question holds all of it.
    pub(super) fn fits(&self, question: &DynamicMessage) -> bool {
        self.fields.iter().all(|(field, expected)| {
            let value = question.get_field(field);
            match expected {
                Expected::Same(same) => value.as_ref() == same,
                Expected::Within(pattern) => value.as_message().is_some_and(|inner| pattern.fits(inner)),
            }
        })
    }
}
