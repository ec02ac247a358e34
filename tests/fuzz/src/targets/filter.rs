//! Answers of a legacy system, from which an agreement takes fields. The first byte chooses the agreement's selector.

use std::{collections::HashMap, sync::LazyLock};

use bytes::Bytes;
use contract::{Classification, Projection, Selector};
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use crate::fixtures::PERSONS;

static SELECTORS: LazyLock<Vec<Projection>> = LazyLock::new(|| {
    let paths = |paths: &[&str]| Selector::Paths(paths.iter().map(|path| (*path).to_owned()).collect());
    let classes = |classes: &[Classification]| Selector::Classifications(classes.iter().copied().collect());
    let person = PERSONS.method("/registry.v1.Persons/Find").unwrap().output().clone();
    [
        paths(&[]),
        paths(&["number", "name.family", "addresses.postcode", "contacts.phone"]),
        paths(&["parents.parents.number", "measures", "levels", "emigration.country", "remark"]),
        classes(&[Classification::Public, Classification::Official]),
        classes(&[Classification::Personal]),
        Selector::All,
    ]
    .iter()
    .map(|selector| Projection::compile(&person, selector).unwrap())
    .collect()
});

/// Filters an answer: what is left was there, is named, and is left again.
pub fn run(input: &[u8]) {
    let method = PERSONS.method("/registry.v1.Persons/Find").unwrap();
    let (choice, message) = input.split_first().unwrap_or((&0, &[]));
    let projection = &SELECTORS[usize::from(*choice) % SELECTORS.len()];
    let message = Bytes::copy_from_slice(message);
    let fits = method.check_answer(&message).is_ok();
    let Ok(filtered) = projection.apply(message.clone()) else {
        assert!(!fits, "an answer that fits its contract can be filtered");
        return;
    };
    assert!(filtered.len() <= message.len());
    assert_eq!(projection.apply(filtered.clone()).as_ref(), Ok(&filtered), "filtering twice is filtering once");
    if !fits {
        return;
    }
    method.check_answer(&filtered).expect("what is left of an answer that fits, fits");
    let whole = DynamicMessage::decode(method.output().clone(), message).unwrap();
    let left = DynamicMessage::decode(method.output().clone(), filtered).unwrap();
    within(&left, &whole);
    named(&left, "", projection);
}

/// Every field that is left was there, with the same value. What a oneof held before its last value may come up again.
fn within(left: &DynamicMessage, whole: &DynamicMessage) {
    assert_eq!(left.unknown_fields().count(), 0, "a field that the contract does not have is left");
    for (field, value) in left.fields() {
        if field.containing_oneof().is_none() {
            assert!(whole.has_field(&field), "`{}` was not there", field.full_name());
            value_within(value, &whole.get_field(&field));
        }
    }
}

fn value_within(left: &Value, whole: &Value) {
    match (left, whole) {
        (Value::Message(left), Value::Message(whole)) => within(left, whole),
        (Value::List(left), Value::List(whole)) => {
            assert_eq!(left.len(), whole.len());
            for (left, whole) in left.iter().zip(whole) {
                value_within(left, whole);
            }
        }
        (Value::Map(left), Value::Map(whole)) => {
            for (key, value) in left {
                value_within(value, &whole[key]);
            }
        }
        // Numbers that are none equal nothing, and are shown alike.
        (left, whole) => assert_eq!(format!("{left:?}"), format!("{whole:?}")),
    }
}

/// Every field that is left lies on a path that is released, or the list stands for it further up.
fn named(left: &DynamicMessage, prefix: &str, projection: &Projection) {
    for (field, value) in left.fields() {
        let path = format!("{prefix}{}", field.name());
        let released = projection.released();
        let of_it =
            |one: &String| *one == path || one.starts_with(&format!("{path}.")) || path.starts_with(&format!("{one}."));
        let listed = released.iter().any(of_it);
        // A message of which nothing is left may stay, so that a list keeps its length.
        let empty = matches!(value, Value::Message(message) if message.fields().next().is_none());
        let recursive = path.contains("parents.");
        assert!(listed || empty || recursive, "`{path}` is left, and released are {released:?}");
        for message in messages(value) {
            named(message, &format!("{path}."), projection);
        }
    }
}

/// The messages in a value, but for those of `google.protobuf`, which count as single values.
fn messages(value: &Value) -> Vec<&DynamicMessage> {
    let (list, map) = (value.as_list().into_iter().flatten(), value.as_map().into_iter().flat_map(HashMap::values));
    let all = std::iter::once(value).chain(list).chain(map).filter_map(Value::as_message);
    all.filter(|message| message.descriptor().package_name() != "google.protobuf").collect()
}
