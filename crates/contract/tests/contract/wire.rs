//! The walk over encoded messages, held against a decoder that was written by others.

use std::sync::Arc;

use drawbridge_contract::{Defect, Method};
use proptest::prelude::*;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::DynamicMessage;

use super::fixtures::{method, one, person};
use super::generate::{self, Dice};

/// Every method of the fixtures whose answer is not protobuf's own.
fn answers() -> Vec<Arc<Method>> {
    ["/registry.v1.Persons/Find", "/registry.v1.Persons/Watch", "/archive.v1.Archive/Fetch"].map(method).to_vec()
}

fn decodes(method: &Method, bytes: &[u8]) -> bool {
    DynamicMessage::decode(method.output().clone(), bytes).is_ok()
}

/// Whether a message lacks a field that proto2 requires: the other decoder does not look.
fn lacks_required(error: &drawbridge_contract::Malformed) -> bool {
    matches!(error.defect, Defect::Required { .. })
}

/// Whether the other decoder knows better: it reads the entry of a map whatever the wire type of its tag says.
fn disputed(error: &drawbridge_contract::Malformed) -> bool {
    matches!(error.defect, Defect::WireType { expected: 2, .. } | Defect::Group)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_encoded_message_is_well_formed(seed: u64) {
        let mut dice = Dice(seed);
        for method in answers() {
            let bytes = generate::message(method.output(), &mut dice, 4).encode_to_vec();
            prop_assert_eq!(method.check_answer(&bytes), Ok(()));
        }
    }

    #[test]
    fn a_mutated_message_is_judged_as_another_decoder_judges_it(seed: u64) {
        let mut dice = Dice(seed);
        for method in answers() {
            let mut bytes = generate::with_strangers(method.output(), &mut dice);
            generate::mutate(&mut bytes, &mut dice);
            match method.check_answer(&bytes) {
                Ok(()) => prop_assert!(decodes(&method, &bytes), "{:?}", bytes),
                Err(error) if lacks_required(&error) => {}
                Err(error) => {
                    prop_assert!(error.offset <= bytes.len());
                    prop_assert!(disputed(&error) || !decodes(&method, &bytes), "{} {:?}", error, bytes);
                }
            }
        }
    }

    #[test]
    fn random_bytes_are_judged_as_another_decoder_judges_them(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for method in answers() {
            match method.check_answer(&bytes) {
                Ok(()) => prop_assert!(decodes(&method, &bytes), "{:?}", bytes),
                Err(error) => {
                    let disputed = lacks_required(&error) || disputed(&error);
                    prop_assert!(disputed || !decodes(&method, &bytes), "{} {:?}", error, bytes);
                }
            }
        }
    }

    #[test]
    fn what_is_a_request_is_an_answer_too(seed: u64) {
        // Requests are looked at more strictly, and in nothing else differently.
        let contracts = one("service S { rpc Ask(A) returns (A); } message A { int32 a = 1; repeated A b = 2; map<int32, A> c = 3; string d = 4; }");
        let method = contracts.method("/t.S/Ask").unwrap();
        let mut dice = Dice(seed);
        let mut bytes = generate::message(method.input(), &mut dice, 3).encode_to_vec();
        generate::mutate(&mut bytes, &mut dice);
        match method.check_request(&bytes) {
            Ok(()) => prop_assert_eq!(method.check_answer(&bytes), Ok(())),
            Err(error) => {
                let unknown = error.form().is_some_and(|form| matches!(form.defect, Defect::UnknownField { .. }));
                prop_assert!(unknown || method.check_answer(&bytes).is_err());
            }
        }
    }
}

fn key(number: u32, wire: WireType) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(number, wire, &mut bytes);
    bytes
}

fn inside(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut bytes = key(number, WireType::LengthDelimited);
    encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend(inner);
    bytes
}

#[track_caller]
fn refused(method: &Method, bytes: &[u8], expected: &str) {
    let answer = method.check_answer(bytes).unwrap_err();
    assert_eq!(answer.to_string(), expected);
}

#[test]
fn a_defect_is_named_by_field_and_offset() {
    let find = method("/registry.v1.Persons/Find");
    refused(&find, &inside(3, &inside(2, b"N1\xff")), "`addresses.postcode`: the text is not UTF-8 (at byte 3)");
    refused(
        &find,
        &inside(3, &[0x12, 0x05, b'N']),
        "`addresses.postcode`: the message ends within a value (at byte 3)",
    );
    refused(
        &find,
        &inside(7, &inside(2, &inside(1, b"\xff"))),
        "`contacts.value.phone`: the text is not UTF-8 (at byte 5)",
    );
    refused(&find, &[0x48, 0x80], "`deceased`: the message ends within a value (at byte 1)");
    refused(&find, &[0x48], "`deceased`: the message ends within a value (at byte 1)");
    refused(&find, &[0x4a, 0x00], "`deceased`: the field has wire type 2, the contract says 0 (at byte 0)");
    refused(
        &find,
        &[0x48, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        "`deceased`: a variable-length number is too long (at byte 1)",
    );
    refused(&find, &[0x0f], "a tag is not one that protobuf knows (at byte 0)");
    refused(&find, &[0x02, 0x00], "a tag is not one that protobuf knows (at byte 0)");
    refused(&find, &[0xa3, 0x38, 0x08, 0x01], "the message ends within a value (at byte 2)");
    refused(&find, &[0x0c], "a group does not begin and end as it should (at byte 0)");
    refused(
        &find,
        &inside(12, &inside(15, &[0; 9])),
        "`measures.ra`: the packed list does not end with a whole element (at byte 3)",
    );
    refused(
        &find,
        &inside(12, &inside(17, &[0x01, 0x80])),
        "`measures.rh`: the message ends within a value (at byte 6)",
    );
}

#[test]
fn a_group_ends_where_it_began() {
    let fetch = method("/archive.v1.Archive/Fetch");
    let sheet = |end: u32| {
        [vec![0x08, 1], key(2, WireType::StartGroup), inside(3, b"t"), key(end, WireType::EndGroup)].concat()
    };
    assert_eq!(fetch.check_answer(&sheet(2)), Ok(()));
    refused(&fetch, &sheet(3), "`sheet`: a group does not begin and end as it should (at byte 6)");
    refused(&fetch, &sheet(2)[..6], "`sheet`: the message ends within a value (at byte 3)");
    refused(
        &fetch,
        &[vec![0x08, 1], key(2, WireType::EndGroup)].concat(),
        "a group does not begin and end as it should (at byte 2)",
    );
    refused(
        &fetch,
        &[vec![0x08, 1], key(90, WireType::EndGroup)].concat(),
        "a group does not begin and end as it should (at byte 2)",
    );
}

#[test]
fn a_required_field_has_to_be_there() {
    let fetch = method("/archive.v1.Archive/Fetch");
    refused(&fetch, &[], "the required field `id` is missing (at byte 0)");
    refused(&fetch, &[0x08, 0x01, 0x13, 0x14], "`sheet`: the required field `title` is missing (at byte 3)");
    assert_eq!(fetch.check_request(&inside(1, b"B2")), Ok(()));
    assert!(fetch.check_request(&[]).is_err());
}

#[test]
fn a_request_with_an_unknown_field_is_refused_by_its_number_at_any_depth() {
    let register = method("/registry.v1.Persons/Register");
    let deep = inside(2, &inside(3, &[0x98, 0x06, 0x01]));
    let refusal = register.check_request(&deep).unwrap_err();
    assert_eq!(refusal.to_string(), "`from.area`: field number 99 is not in the contract (at byte 4)");
    assert_eq!(register.check_request(&inside(2, &inside(3, b""))), Ok(()));
}

#[test]
fn an_answer_with_an_unknown_field_is_passed_over() {
    let find = method("/registry.v1.Persons/Find");
    let mut dice = Dice(1);
    for _ in 0..40 {
        assert_eq!(find.check_answer(&inside(3, &generate::stranger(&mut dice))), Ok(()));
    }
}

#[test]
fn numbers_may_come_packed_or_one_by_one_whatever_the_contract_prefers() {
    let find = method("/registry.v1.Persons/Find");
    for (number, one, packed) in [(16, vec![0x05], vec![0x05, 0x96, 0x01]), (20, vec![0x02], vec![0x01, 0x02])] {
        let single = [key(number, WireType::Varint), one].concat();
        assert_eq!(find.check_answer(&inside(12, &single)), Ok(()));
        assert_eq!(find.check_answer(&inside(12, &inside(number, &packed))), Ok(()));
    }
    assert_eq!(find.check_answer(&inside(12, &[key(18, WireType::ThirtyTwoBit), vec![1, 2, 3, 4]].concat())), Ok(()));
    // Text is never packed: this is one text.
    assert_eq!(find.check_answer(&inside(12, &inside(21, b"ab"))), Ok(()));
}

#[test]
fn messages_nest_a_hundred_deep_and_no_deeper() {
    let find = method("/registry.v1.Persons/Find");
    let nested = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| inside(5, &inner));
    for depth in [99, 100, 101, 102] {
        let bytes = nested(depth);
        assert_eq!(find.check_answer(&bytes).is_ok(), decodes(&find, &bytes), "{depth}");
        assert_eq!(find.check_answer(&bytes).is_ok(), depth <= 100, "{depth}");
    }
    let deep = find.check_answer(&nested(101)).unwrap_err();
    assert_eq!(deep.defect.to_string(), "messages are nested more than 100 deep");
    // Far deeper than any stack.
    assert_eq!(find.check_answer(&nested(20_000)).unwrap_err().defect, Defect::Depth);
    let groups = [0xa3, 0x38].repeat(5_000);
    assert_eq!(find.check_answer(&groups).unwrap_err().defect, Defect::Depth);
}

#[test]
fn a_defect_never_repeats_a_value() {
    let canary = "9434765919";
    let find = method("/registry.v1.Persons/Find");
    let mut dice = Dice(7);
    for _ in 0..2_000 {
        let mut bytes = inside(1, canary.as_bytes());
        bytes.extend(inside(3, &inside(1, canary.as_bytes())));
        generate::mutate(&mut bytes, &mut dice);
        if let Err(error) = find.check_answer(&bytes) {
            let written = format!("{error} {error:?}");
            assert!(!written.contains("9434"), "{written}");
        }
    }
}

#[test]
fn a_message_without_fields_takes_nothing_but_strangers() {
    let watch = method("/registry.v1.Persons/Watch");
    assert_eq!(watch.check_request(&[]), Ok(()));
    assert!(watch.check_request(&[0x08, 0x01]).is_err());
    assert_eq!(person().full_name(), "registry.v1.Person");
}
