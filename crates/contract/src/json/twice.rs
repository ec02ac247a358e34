//! What a JSON text says twice: a key of one object, or a field by both of its names.
//!
//! A reader of JSON takes the last one and says nothing, so another request would be signed than was meant. The surprising fact: it is
//! only seen in the text, since nothing that was read from it still has both.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Something that a JSON text says more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    /// Where: the path in the JSON, `addresses[2].postcode`. Keys of maps are data, and stand as `*`.
    pub place: String,
    /// What is said there more than once; it never repeats a value.
    pub what: String,
}

impl Twice {
    /// Finds what a text says twice that is to be a `message`. A text that is no JSON says nothing.
    #[must_use]
    pub fn in_message(message: &MessageDescriptor, json: &[u8]) -> Vec<Self> {
        found(&Shape::of_message(message), &Place::Top, json)
    }

    /// Finds what a text says twice that is to be the value of `field`.
    #[must_use]
    pub fn in_field(field: &FieldDescriptor, json: &[u8]) -> Vec<Self> {
        found(&Shape::of_field(field), &Place::Field(&Place::Top, field.json_name()), json)
    }
}

/// Places that are looked for; more are not told.
const MOST: usize = 50;

fn found(shape: &Shape, place: &Place<'_>, json: &[u8]) -> Vec<Twice> {
    let mut found = Vec::new();
    let look = Look { shape, place, found: &mut found };
    match look.deserialize(&mut serde_json::Deserializer::from_slice(json)) {
        Ok(()) => found,
        Err(_) => Vec::new(),
    }
}

/// What a value is in the contract.
enum Shape {
    Message(MessageDescriptor),
    Any(DescriptorPool),
    List(Kind),
    Map(Kind),
    /// Whatever it is, the keys in it are no names of the contract.
    Data,
}

impl Shape {
    fn of_message(message: &MessageDescriptor) -> Self {
        match message.full_name() {
            "google.protobuf.Any" => Self::Any(message.parent_pool().clone()),
            "google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" => Self::Data,
            _ => Self::Message(message.clone()),
        }
    }

    fn of_kind(kind: &Kind) -> Self {
        kind.as_message().map_or(Self::Data, Self::of_message)
    }

    fn of_field(field: &FieldDescriptor) -> Self {
        let kind = field.kind();
        match kind.as_message() {
            Some(entry) if field.is_map() => Self::Map(entry.map_entry_value_field().kind()),
            _ if field.is_list() => Self::List(kind),
            _ => Self::of_kind(&kind),
        }
    }

    fn of_element(&self) -> Self {
        match self {
            Self::List(kind) => Self::of_kind(kind),
            Self::Message(_) | Self::Any(_) | Self::Map(_) | Self::Data => Self::Data,
        }
    }
}

/// Where a value stands. Only written out once something is to be told of it.
enum Place<'a> {
    Top,
    Field(&'a Place<'a>, &'a str),
    Element(&'a Place<'a>, usize),
}

/// What stands for a key that is data.
const KEY: &str = "*";

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Field(Self::Top, name) => f.write_str(name),
            Self::Field(above, name) => write!(f, "{above}.{name}"),
            Self::Element(above, at) => write!(f, "{above}[{at}]"),
        }
    }
}

/// A key as it stands in the text.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one value, and keeps nothing of it.
struct Look<'a> {
    shape: &'a Shape,
    place: &'a Place<'a>,
    found: &'a mut Vec<Twice>,
}

impl Look<'_> {
    fn say(&mut self, place: &Place<'_>, what: impl Into<String>) {
        if self.found.len() < MOST {
            self.found.push(Twice { place: place.to_string(), what: what.into() });
        }
    }

    /// Reads an object whose keys are names of fields.
    fn fields<'de, A: MapAccess<'de>>(mut self, message: &MessageDescriptor, mut object: A) -> Result<(), A::Error> {
        let mut seen: Vec<(u32, Cow<'de, str>)> = Vec::new();
        while let Some(Key(name)) = object.next_key()? {
            let field = message.get_field_by_json_name(&name).or_else(|| message.get_field_by_name(&name));
            let Some(field) = field else {
                // What the contract does not have is told by who looks for that.
                object.next_value_seed(Look { shape: &Shape::Data, place: self.place, found: self.found })?;
                continue;
            };
            let place = Place::Field(self.place, field.json_name());
            if self.found.len() < MOST {
                match seen.iter().find(|(number, _)| *number == field.number()) {
                    Some((_, first)) if *first == name => self.say(&place, "this is said more than once"),
                    Some((_, first)) => {
                        let what = format!("this is said more than once: as `{first}` and as `{name}`");
                        self.say(&place, what);
                    }
                    None => seen.push((field.number(), name)),
                }
            }
            object.next_value_seed(Look { shape: &Shape::of_field(&field), place: &place, found: self.found })?;
        }
        Ok(())
    }

    /// Reads an object whose keys are data, `first` being one that was read before.
    fn keys<'de, A: MapAccess<'de>>(
        mut self,
        shape: &Shape,
        (first, mut object): (Option<Cow<'de, str>>, A),
    ) -> Result<(), A::Error> {
        let mut seen: HashSet<Cow<'de, str>> = first.into_iter().collect();
        let place = Place::Field(self.place, KEY);
        let mut told = false;
        while let Some(Key(key)) = object.next_key()? {
            if !seen.insert(key) && !told {
                told = true;
                self.say(&place, "a key stands here more than once");
            }
            object.next_value_seed(Look { shape, place: &place, found: self.found })?;
        }
        Ok(())
    }

    /// Reads an object that says of what type it is. Where it does not say that first, its own keys are not known to be names.
    fn any<'de, A: MapAccess<'de>>(self, pool: &DescriptorPool, mut object: A) -> Result<(), A::Error> {
        let Some(Key(first)) = object.next_key()? else { return Ok(()) };
        if first != "@type" {
            object.next_value_seed(Look { shape: &Shape::Data, place: self.place, found: self.found })?;
            return self.keys(&Shape::Data, (Some(first), object));
        }
        let Key(url) = object.next_value()?;
        let message = pool.get_message_by_name(url.rsplit('/').next().unwrap_or_default());
        match message {
            Some(message) if message.package_name() != "google.protobuf" => self.fields(&message, object),
            Some(_) | None => self.keys(&Shape::Data, (Some(first), object)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let shape = self.shape.of_element();
        let mut at = 0_usize;
        loop {
            let place = Place::Element(self.place, at);
            if list.next_element_seed(Look { shape: &shape, place: &place, found: &mut *self.found })?.is_none() {
                return Ok(());
            }
            at = at.saturating_add(1);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        match self.shape {
            Shape::Message(message) => self.fields(message, object),
            Shape::Any(pool) => self.any(pool, object),
            Shape::Map(kind) => self.keys(&Shape::of_kind(kind), (None, object)),
            Shape::List(_) | Shape::Data => self.keys(&Shape::Data, (None, object)),
        }
    }
}
