//! What may leave, and that nothing else does.

use std::collections::BTreeSet;

use bytes::Bytes;
use drawbridge_contract::{Classification, Projection, Selector, SelectorError, classification};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::fixtures::{method, one, person};
use super::generate::{self, Dice};

fn paths(paths: &[&str]) -> Selector {
    Selector::Paths(paths.iter().map(|path| (*path).to_owned()).collect())
}

fn classes(classes: &[Classification]) -> Selector {
    Selector::Classifications(classes.iter().copied().collect())
}

/// Every path that the fixtures' person has, to choose from.
const CHOICES: [&str; 23] = [
    "number",
    "name",
    "name.family",
    "name.known_as",
    "addresses",
    "addresses.postcode",
    "addresses.area.code",
    "registered",
    "parents",
    "parents.name.given",
    "parents.parents.number",
    "codes",
    "contacts",
    "contacts.phone",
    "levels",
    "deceased",
    "emigration.country",
    "note",
    "measures.ra",
    "measures.rs",
    "measures.n",
    "marker",
    "remark",
];

/// What a message has to look like afterwards, made the slow way: decoded, and taken over field by field.
fn expected(message: &DynamicMessage, keep: &dyn Fn(&FieldDescriptor, &str) -> Keep, prefix: &str) -> DynamicMessage {
    let mut kept = DynamicMessage::new(message.descriptor());
    for (field, value) in message.fields() {
        let path = format!("{prefix}{}", field.name());
        let inner = |value: &Value| match value {
            Value::Message(inner) => Value::Message(expected(inner, keep, &format!("{path}."))),
            other => other.clone(),
        };
        match keep(&field, &path) {
            Keep::No => {}
            Keep::Whole => kept.set_field(&field, known(value)),
            Keep::Part => {
                let part = match value {
                    Value::List(values) => Value::List(values.iter().map(inner).collect()),
                    Value::Map(entries) => {
                        Value::Map(entries.iter().map(|(key, value)| (key.clone(), inner(value))).collect())
                    }
                    other => inner(other),
                };
                kept.set_field(&field, part);
            }
        }
    }
    kept
}

use prost_reflect::ReflectMessage;

/// A value without the unknown fields in it.
fn known(value: &Value) -> Value {
    match value {
        Value::Message(message) => Value::Message(expected(message, &|_, _| Keep::Whole, "")),
        Value::List(values) => Value::List(values.iter().map(known).collect()),
        Value::Map(entries) => Value::Map(entries.iter().map(|(key, value)| (key.clone(), known(value))).collect()),
        other => other.clone(),
    }
}

enum Keep {
    No,
    Whole,
    Part,
}

fn by_paths(selected: &[&str], path: &str) -> Keep {
    if selected.iter().any(|chosen| path == *chosen || path.starts_with(&format!("{chosen}."))) {
        Keep::Whole
    } else if selected.iter().any(|chosen| chosen.starts_with(&format!("{path}."))) {
        Keep::Part
    } else {
        Keep::No
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn applying_paths_is_decoding_and_clearing(seed: u64, chosen in prop::sample::subsequence(CHOICES.to_vec(), 0..12)) {
        let projection = Projection::compile(&person(), &paths(&chosen)).unwrap();
        let bytes = generate::with_strangers(&person(), &mut Dice(seed));
        let before = DynamicMessage::decode(person(), bytes.as_slice()).unwrap();
        let after = projection.apply(Bytes::from(bytes)).unwrap();
        let decoded = DynamicMessage::decode(person(), after.clone()).unwrap();
        prop_assert_eq!(decoded, expected(&before, &|_, path| by_paths(&chosen, path), ""));
        prop_assert_eq!(method("/registry.v1.Persons/Find").check_request_of_output(&after), Ok(()));
    }

    #[test]
    fn applying_classifications_is_decoding_and_clearing(seed: u64, chosen in prop::sample::subsequence(Classification::ALL.to_vec(), 0..=4)) {
        let chosen: BTreeSet<_> = chosen.into_iter().collect();
        let projection = Projection::compile(&person(), &Selector::Classifications(chosen.clone())).unwrap();
        let bytes = generate::with_strangers(&person(), &mut Dice(seed));
        let before = DynamicMessage::decode(person(), bytes.as_slice()).unwrap();
        let after = projection.apply(Bytes::from(bytes)).unwrap();
        let decoded = DynamicMessage::decode(person(), after).unwrap();
        prop_assert_eq!(decoded, by_class(&before, None, &chosen));
    }

    #[test]
    fn applying_all_takes_out_strangers_only(seed: u64) {
        let projection = Projection::compile(&person(), &Selector::All).unwrap();
        let bytes = generate::with_strangers(&person(), &mut Dice(seed));
        let before = DynamicMessage::decode(person(), bytes.as_slice()).unwrap();
        let after = projection.apply(Bytes::from(bytes)).unwrap();
        let decoded = DynamicMessage::decode(person(), after).unwrap();
        prop_assert_eq!(Value::Message(decoded), known(&Value::Message(before)));
    }

    #[test]
    fn applying_twice_is_applying_once_and_copies_nothing(seed: u64, chosen in prop::sample::subsequence(CHOICES.to_vec(), 0..12)) {
        let projection = Projection::compile(&person(), &paths(&chosen)).unwrap();
        let once = projection.apply(Bytes::from(generate::with_strangers(&person(), &mut Dice(seed)))).unwrap();
        let twice = projection.apply(once.clone()).unwrap();
        prop_assert_eq!(twice.as_ptr(), once.as_ptr());
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn mutated_and_random_bytes_never_panic_and_never_grow(seed: u64, random in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut dice = Dice(seed);
        let mut mutated = generate::with_strangers(&person(), &mut dice);
        generate::mutate(&mut mutated, &mut dice);
        for bytes in [mutated, random] {
            for selector in [paths(&["name.family", "contacts.phone", "parents.parents"]), Selector::All, classes(&[Classification::Official])] {
                let projection = Projection::compile(&person(), &selector).unwrap();
                if let Ok(after) = projection.apply(Bytes::from(bytes.clone())) {
                    prop_assert!(after.len() <= bytes.len());
                    // What is let through has no stranger in it, even where text in it is broken.
                    prop_assert_eq!(projection.apply(after.clone()).unwrap(), after);
                }
            }
        }
    }

    #[test]
    fn groups_are_cut_as_messages_are(seed: u64) {
        let fetch = method("/archive.v1.Archive/Fetch");
        let chosen = ["id", "sheet.title", "sheet.within.loose"];
        let projection = Projection::compile(fetch.output(), &paths(&chosen)).unwrap();
        let bytes = generate::with_strangers(fetch.output(), &mut Dice(seed));
        let before = DynamicMessage::decode(fetch.output().clone(), bytes.as_slice()).unwrap();
        let after = projection.apply(Bytes::from(bytes)).unwrap();
        let decoded = DynamicMessage::decode(fetch.output().clone(), after).unwrap();
        prop_assert_eq!(decoded, expected(&before, &|_, path| by_paths(&chosen, path), ""));
    }
}

/// The rule for classifications, written a second time.
fn by_class(
    message: &DynamicMessage,
    around: Option<Classification>,
    chosen: &BTreeSet<Classification>,
) -> DynamicMessage {
    let mut kept = DynamicMessage::new(message.descriptor());
    for (field, value) in message.fields() {
        let class = classification(&field).or(around);
        let named = class.is_some_and(|class| chosen.contains(&class));
        let inner = |value: &Value| match value {
            Value::Message(inner) => Value::Message(by_class(inner, class, chosen)),
            other => other.clone(),
        };
        match taken_apart(&field) {
            false if named => kept.set_field(&field, known(value)),
            true if field.is_map() && named => {
                let Value::Map(entries) = value else { unreachable!() };
                kept.set_field(
                    &field,
                    Value::Map(entries.iter().map(|(key, value)| (key.clone(), inner(value))).collect()),
                );
            }
            true if !field.is_map() && releases(&field, around, chosen, &mut Vec::new()) => {
                let part = match value {
                    Value::List(values) => Value::List(values.iter().map(inner).collect()),
                    other => inner(other),
                };
                kept.set_field(&field, part);
            }
            _ => {}
        }
    }
    kept
}

fn inner_message(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind().as_message().cloned(),
        Kind::Message(inner) => Some(inner),
        _ => None,
    }
}

fn taken_apart(field: &FieldDescriptor) -> bool {
    inner_message(field)
        .is_some_and(|inner| !inner.full_name().starts_with("google.protobuf.") && inner.fields().len() > 0)
}

fn releases(
    field: &FieldDescriptor,
    around: Option<Classification>,
    chosen: &BTreeSet<Classification>,
    seen: &mut Vec<(String, Option<Classification>)>,
) -> bool {
    let class = classification(field).or(around);
    let named = class.is_some_and(|class| chosen.contains(&class));
    if !taken_apart(field) || field.is_map() {
        return named;
    }
    let inner = inner_message(field).unwrap();
    let here = (inner.full_name().to_owned(), class);
    if seen.contains(&here) {
        return false;
    }
    seen.push(here);
    inner.fields().any(|field| releases(&field, class, chosen, seen))
}

/// Holds an answer against its own contract without tolerance for strangers.
trait Strict {
    fn check_request_of_output(&self, bytes: &[u8]) -> Result<(), String>;
}

impl Strict for drawbridge_contract::Method {
    fn check_request_of_output(&self, bytes: &[u8]) -> Result<(), String> {
        let message = DynamicMessage::decode(self.output().clone(), bytes).map_err(|error| error.to_string())?;
        if Value::Message(message.clone()) == known(&Value::Message(message)) {
            Ok(())
        } else {
            Err("strangers".to_owned())
        }
    }
}

#[test]
fn an_answer_that_holds_nothing_to_take_out_is_not_copied() {
    let message = generate::message(&person(), &mut Dice(5), 3).encode_to_vec();
    let bytes = Bytes::from(message);
    let all = Projection::compile(&person(), &Selector::All).unwrap();
    assert_eq!(all.apply(bytes.clone()).unwrap().as_ptr(), bytes.as_ptr());
}

#[test]
fn lengths_shrink_with_what_they_measure() {
    // 200 bytes of lines make the length two bytes long; without them one byte is enough.
    let mut address = Vec::new();
    prost::encoding::string::encode(1, &"x".repeat(200), &mut address);
    prost::encoding::string::encode(2, &"N1".to_owned(), &mut address);
    let mut person_bytes = Vec::new();
    prost::encoding::bytes::encode(3, &address, &mut person_bytes);
    prost::encoding::string::encode(1, &"7".to_owned(), &mut person_bytes);
    let projection = Projection::compile(&person(), &paths(&["addresses.postcode", "number"])).unwrap();
    let after = projection.apply(person_bytes.into()).unwrap();
    assert_eq!(after.as_ref(), b"\x1a\x04\x12\x02N1\x0a\x017");
}

#[test]
fn a_repeated_message_keeps_its_count() {
    let projection = Projection::compile(&person(), &paths(&["addresses.postcode"])).unwrap();
    let after = projection.apply(Bytes::from_static(b"\x1a\x03\x0a\x01x\x1a\x00")).unwrap();
    assert_eq!(after.as_ref(), b"\x1a\x00\x1a\x00");
}

#[test]
fn without_any_path_nothing_leaves() {
    let projection = Projection::compile(&person(), &paths(&[])).unwrap();
    let message = generate::message(&person(), &mut Dice(3), 3).encode_to_vec();
    assert!(projection.apply(message.into()).unwrap().is_empty());
    assert!(projection.released().is_empty());
    assert!(projection.withheld().contains(&"name.family".to_owned()));
}

#[track_caller]
fn unknown(selected: &str) -> String {
    match Projection::compile(&person(), &paths(&[selected])) {
        Err(error @ SelectorError::UnknownPath { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_path_that_leads_nowhere_is_told_with_the_nearest() {
    insta::assert_snapshot!(unknown("name.familly"), @"`name.familly` is not a field of the answer: `registry.v1.Name` has no `familly`; did you mean `name.family`?");
    insta::assert_snapshot!(unknown("name.knownAs"), @"`name.knownAs` is not a field of the answer: `registry.v1.Name` has no `knownAs`; did you mean `name.known_as`?");
    insta::assert_snapshot!(unknown("adresses.postcode"), @"`adresses.postcode` is not a field of the answer: `registry.v1.Person` has no `adresses`; did you mean `addresses`?");
    insta::assert_snapshot!(unknown("number.digits"), @"`number.digits` is not a field of the answer: `number` is a single value and has no `digits`");
    insta::assert_snapshot!(unknown("codes.value"), @"`codes.value` is not a field of the answer: `codes` is a single value and has no `value`");
    insta::assert_snapshot!(unknown("contacts.value.phone"), @"`contacts.value.phone` is not a field of the answer: `registry.v1.Contact` has no `value`");
    insta::assert_snapshot!(unknown("registered.seconds"), @"`registered.seconds` is not a field of the answer: `registered` is a single value and has no `seconds`");
    insta::assert_snapshot!(unknown("marker.x"), @"`marker.x` is not a field of the answer: `marker` is a single value and has no `x`");
    insta::assert_snapshot!(unknown("name."), @"`name.` is not a field of the answer: a name between its dots is missing");
    insta::assert_snapshot!(unknown(""), @"`` is not a field of the answer: a name between its dots is missing");
}

#[test]
fn the_lists_name_every_single_value_once() {
    for selector in [
        paths(&["name.family", "addresses.postcode", "contacts.phone", "parents.name", "registered"]),
        classes(&[Classification::Official]),
        classes(&[Classification::Personal, Classification::Public]),
        classes(&Classification::ALL),
        Selector::All,
    ] {
        let projection = Projection::compile(&person(), &selector).unwrap();
        let released: BTreeSet<_> = projection.released().iter().collect();
        let withheld: BTreeSet<_> = projection.withheld().iter().collect();
        assert!(released.is_disjoint(&withheld), "{selector:?}");
        assert!(projection.released().is_sorted() && projection.withheld().is_sorted());
        assert_eq!(released.len(), projection.released().len());
        assert_eq!(withheld.len(), projection.withheld().len());
    }
}

/// A list without the many fields of `measures`.
fn briefly(paths: &[String]) -> String {
    let few: Vec<_> = paths.iter().filter(|path| !path.contains("measures.")).map(String::as_str).collect();
    few.join("\n")
}

#[test]
fn the_lists_follow_the_selector() {
    let projection =
        Projection::compile(&person(), &paths(&["name.family", "contacts.phone", "parents.name", "emigration"]))
            .unwrap();
    insta::assert_snapshot!(briefly(projection.released()), @r"
    contacts.phone
    emigration.country
    emigration.evidence
    name.family
    parents.name.family
    parents.name.given
    parents.name.known_as
    ");
    insta::assert_snapshot!(briefly(projection.withheld()), @r"
    addresses.area.code
    addresses.area.name
    addresses.lines
    addresses.postcode
    codes
    contacts.desk
    deceased
    levels
    marker
    name.given
    name.known_as
    note
    number
    parents.addresses.area.code
    parents.addresses.area.name
    parents.addresses.lines
    parents.addresses.postcode
    parents.codes
    parents.contacts.desk
    parents.contacts.phone
    parents.deceased
    parents.emigration.country
    parents.emigration.evidence
    parents.levels
    parents.marker
    parents.note
    parents.number
    parents.parents
    parents.registered
    parents.remark
    registered
    remark
    ");
}

#[test]
fn the_lists_follow_the_classification() {
    let projection =
        Projection::compile(&person(), &classes(&[Classification::Official, Classification::Public])).unwrap();
    insta::assert_snapshot!(briefly(projection.released()), @r"
    addresses.area.code
    addresses.postcode
    codes
    contacts.desk
    marker
    name.known_as
    number
    parents.addresses.area.code
    parents.addresses.postcode
    parents.codes
    parents.contacts.desk
    parents.marker
    parents.name.known_as
    parents.number
    parents.parents
    parents.registered
    registered
    ");
    insta::assert_snapshot!(briefly(projection.withheld()), @r"
    addresses.area.name
    addresses.lines
    contacts.phone
    deceased
    emigration.country
    emigration.evidence
    levels
    name.family
    name.given
    note
    parents.addresses.area.name
    parents.addresses.lines
    parents.contacts.phone
    parents.deceased
    parents.emigration.country
    parents.emigration.evidence
    parents.levels
    parents.name.family
    parents.name.given
    parents.note
    parents.remark
    remark
    ");
}

#[test]
fn lists_that_would_explode_name_topmost_fields() {
    use std::fmt::Write as _;
    // Fifteen messages that each contain all that follow: 2^14 ways down.
    let mut body = String::from("service S { rpc Ask(M0) returns (M0); }\n");
    for message in 0..15 {
        let fields: String = (message + 1..15).fold(String::new(), |mut fields, inner| {
            let _ = write!(fields, "M{inner} m{inner} = {}; ", inner + 1);
            fields
        });
        let _ = writeln!(
            body,
            "message M{message} {{ {fields} string leaf = 100 [(drawbridge.options.v1.field).classification = CLASSIFICATION_PUBLIC]; string rest = 101; }}"
        );
    }
    let contracts = one(&body);
    let output = contracts.method("/t.S/Ask").unwrap().output().clone();
    let all = Projection::compile(&output, &Selector::All).unwrap();
    assert_eq!(all.released().len(), 16);
    assert!(all.released().contains(&"m1".to_owned()) && all.withheld().is_empty());
    let some = Projection::compile(&output, &paths(&["m1.m2", "leaf"])).unwrap();
    assert_eq!(some.released(), ["leaf", "m1.m2"]);
    let error = Projection::compile(&output, &classes(&[Classification::Public])).unwrap_err();
    insta::assert_snapshot!(error, @"the selector takes `t.M0` apart into more than 4096 pieces; name the fields by their paths, or classify whole messages in the contract");
}

#[test]
fn a_message_that_releases_nothing_within_is_withheld_whole() {
    let contracts = one(
        "service S { rpc Ask(A) returns (A); } message A { B b = 1; C c = 2; } message B { string x = 1; B b = 2; }
         message C { string x = 1 [(drawbridge.options.v1.field).classification = CLASSIFICATION_PUBLIC]; }",
    );
    let output = contracts.method("/t.S/Ask").unwrap().output().clone();
    let projection = Projection::compile(&output, &classes(&[Classification::Public])).unwrap();
    assert_eq!(projection.released(), ["c.x"]);
    assert_eq!(projection.withheld(), ["b.b", "b.x"]);
    let after = projection.apply(Bytes::from_static(b"\x0a\x03\x0a\x01x\x12\x00")).unwrap();
    assert_eq!(after.as_ref(), b"\x12\x00");
}

#[test]
fn a_broken_answer_is_malformed_and_not_cut() {
    let projection = Projection::compile(&person(), &paths(&["name.family"])).unwrap();
    for (bytes, expected) in [
        (&b"\x12\x05\x12\x09ab"[..], "`name`: the message ends within a value (at byte 1)"),
        (b"\x12\x03\x12\x09a", "`name.family`: the message ends within a value (at byte 3)"),
        (b"\x10\x01", "`name`: the field has wire type 0, the contract says 2 (at byte 0)"),
        (b"\x0a\x09", "the message ends within a value (at byte 1)"),
        (b"\x14", "a group does not begin and end as it should (at byte 0)"),
    ] {
        let error = projection.apply(Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
