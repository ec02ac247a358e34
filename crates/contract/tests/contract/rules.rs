//! Rules about the values of requests: what each asks, where it is looked at, and that no value is ever repeated.

use drawbridge_contract::{Contracts, Format, Misfit, Rule, Violations};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};

use super::fixtures::one;
use super::generate::{self, Dice};

/// A contract whose one method takes the message `A` with this body.
fn asks(body: &str) -> Contracts {
    let body = body.replace("[[", "[(drawbridge.options.v1.field) = {").replace("]];", "}];");
    one(&format!("service S {{ rpc Ask(A) returns (A); }}\n{body}"))
}

fn encoded(contracts: &Contracts, json: &str) -> Vec<u8> {
    contracts
        .method("/t.S/Ask")
        .unwrap()
        .request_from_json(json)
        .unwrap_or_else(|problem| panic!("{json}: {}", problem.what))
}

fn violations(contracts: &Contracts, bytes: &[u8]) -> Option<Violations> {
    match contracts.method("/t.S/Ask").unwrap().check_request(bytes) {
        Ok(()) => None,
        Err(Misfit::Values(violations)) => Some(violations),
        Err(Misfit::Form(malformed)) => panic!("{malformed}"),
    }
}

/// Returns what is told of a request: each rule that it breaks on a line, and nothing where it breaks none.
fn told(contracts: &Contracts, bytes: &[u8]) -> String {
    let Some(violations) = violations(contracts, bytes) else {
        return String::new();
    };
    assert_eq!(violations.listed().len(), violations.total());
    let lines = violations.listed().iter().map(|found| format!("{} {found}", found.rule.as_str()));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(body: &str, cases: &[(&str, &str)]) {
    let contracts = asks(body);
    for (json, expected) in cases {
        assert_eq!(told(&contracts, &encoded(&contracts, json)), *expected, "{json}");
    }
}

#[test]
fn what_is_required_has_to_be_given() {
    let must = |name: &str| format!("REQUIRED `{name}` has to be given");
    let body = |fields: &str| format!("message A {{ {fields} }} message B {{ string b = 1; }}");
    check(
        &body("string a = 1 [[required: true]];"),
        &[("{}", &must("a")), (r#"{"a": ""}"#, &must("a")), (r#"{"a": "x"}"#, "")],
    );
    check(
        &body("optional string a = 1 [[required: true]];"),
        &[("{}", &must("a")), (r#"{"a": ""}"#, ""), (r#"{"a": "x"}"#, "")],
    );
    check(&body("int32 a = 1 [[required: true]];"), &[("{}", &must("a")), (r#"{"a": 1}"#, "")]);
    check(&body("double a = 1 [[required: true]];"), &[("{}", &must("a")), (r#"{"a": 0.5}"#, "")]);
    // Minus zero is not the default: protobuf writes it.
    let minus_zero = asks(&body("double a = 1 [[required: true]];"));
    assert_eq!(told(&minus_zero, &[0x09, 0, 0, 0, 0, 0, 0, 0, 0x80]), "");
    assert_eq!(told(&minus_zero, &[0x09, 0, 0, 0, 0, 0, 0, 0, 0]), must("a"));
    check(&body("optional bool a = 1 [[required: true]];"), &[("{}", &must("a")), (r#"{"a": false}"#, "")]);
    check(&body("B a = 1 [[required: true]];"), &[("{}", &must("a")), (r#"{"a": {}}"#, "")]);
    check(&body("repeated B a = 1 [[required: true]];"), &[("{}", &must("a")), (r#"{"a": [{}]}"#, "")]);
    check(&body("map<string, B> a = 1 [[required: true]];"), &[("{}", &must("a")), (r#"{"a": {"": {}}}"#, "")]);
}

#[test]
fn what_is_not_given_is_held_against_nothing() {
    check(
        r"message A {
            string implicit = 1 [[format: FORMAT_DATE]];
            optional string explicit = 2 [[format: FORMAT_DATE]];
            oneof which { string member = 3 [[format: FORMAT_DATE]]; string other = 4; }
            B within = 5;
        }
        message B { string c = 1 [[required: true]]; }",
        &[
            ("{}", ""),
            (r#"{"implicit": ""}"#, ""),
            (r#"{"explicit": ""}"#, "FORMAT_DATE `explicit` has to be a day of the calendar as YYYY-MM-DD"),
            (r#"{"member": ""}"#, "FORMAT_DATE `member` has to be a day of the calendar as YYYY-MM-DD"),
            (r#"{"other": ""}"#, ""),
            (r#"{"within": {}}"#, "REQUIRED `within.c` has to be given"),
        ],
    );
}

#[test]
fn lengths_count_code_points_of_text_and_bytes_of_bytes() {
    check(
        "message A { string a = 1 [[min_length: 2, max_length: 3]]; bytes b = 2 [[max_length: 3]]; string c = 3 [[min_length: 4, max_length: 4]]; }",
        &[
            (r#"{"a": "é"}"#, "LENGTH `a` has to have 2 to 3 characters"),
            (r#"{"a": "日本語"}"#, ""),
            (r#"{"a": "日本語x"}"#, "LENGTH `a` has to have 2 to 3 characters"),
            (r#"{"b": "AAAA"}"#, ""),
            (r#"{"b": "AAAAAA=="}"#, "LENGTH `b` has to have at most 3 bytes"),
            (r#"{"c": "abc"}"#, "LENGTH `c` has to have exactly 4 characters"),
        ],
    );
}

#[test]
fn a_pattern_is_held_against_the_whole_text() {
    let told = "PATTERN `a` has to match `[A-Z]{3}|x+`";
    check(
        r#"message A { string a = 1 [[pattern: "[A-Z]{3}|x+"]]; }"#,
        &[
            (r#"{"a": "KEN"}"#, ""),
            (r#"{"a": "xxxx"}"#, ""),
            (r#"{"a": "KENT"}"#, told),
            (r#"{"a": "xKEN"}"#, told),
            (r#"{"a": "KEN\n"}"#, told),
            (&format!(r#"{{"a": "{}"}}"#, "x".repeat(1024)), ""),
            (&format!(r#"{{"a": "{}"}}"#, "x".repeat(1025)), "PATTERN `a` is too long to match the contract's pattern"),
        ],
    );
}

#[test]
fn a_request_cannot_make_a_gateway_match_without_end() {
    let contracts = asks(r#"message A { repeated string a = 1 [[pattern: "([a-z]*[a-y])*z?"]]; }"#);
    let mut request = DynamicMessage::new(contracts.method("/t.S/Ask").unwrap().input().clone());
    let texts = vec![Value::String("y".repeat(1024)); 1_000];
    request.set_field_by_name("a", Value::List(texts));
    let found = violations(&contracts, &request.encode_to_vec()).unwrap();
    assert_eq!(found.total(), 1_000 - 256);
    assert_eq!(found.listed()[0].to_string(), "`a[257]` is more text than is held against patterns in one request");
}

#[test]
fn numbers_of_every_kind_have_ranges() {
    for kind in ["int32", "int64", "sint32", "sint64", "sfixed32", "sfixed64"] {
        check(
            &format!(r#"message A {{ {kind} a = 1 [[minimum: "-5", maximum: "7"]]; }}"#),
            &[
                (r#"{"a": -5}"#, ""),
                (r#"{"a": 7}"#, ""),
                (r#"{"a": -6}"#, "RANGE `a` has to be -5 to 7"),
                (r#"{"a": 8}"#, "RANGE `a` has to be -5 to 7"),
                (r#"{"a": -2147483648}"#, "RANGE `a` has to be -5 to 7"),
            ],
        );
    }
    for kind in ["uint32", "uint64", "fixed32", "fixed64"] {
        check(
            &format!(
                r#"message A {{ optional {kind} a = 1 [[minimum: "1"]]; {kind} b = 2 [[maximum: "4294967294"]]; }}"#
            ),
            &[
                (r#"{"a": 0}"#, "RANGE `a` has to be at least 1"),
                (r#"{"a": 1}"#, ""),
                (r#"{"b": 4294967294}"#, ""),
                (r#"{"b": 4294967295}"#, "RANGE `b` has to be at most 4294967294"),
            ],
        );
    }
    check(
        r#"message A { uint64 a = 1 [[maximum: "18446744073709551614"]]; int64 b = 2 [[minimum: "-9223372036854775807"]]; }"#,
        &[
            (r#"{"a": "18446744073709551614"}"#, ""),
            (r#"{"a": "18446744073709551615"}"#, "RANGE `a` has to be at most 18446744073709551614"),
            (r#"{"b": "-9223372036854775808"}"#, "RANGE `b` has to be at least -9223372036854775807"),
        ],
    );
    for kind in ["float", "double"] {
        check(
            &format!(r#"message A {{ {kind} a = 1 [[minimum: "-0.1", maximum: "0.1"]]; }}"#),
            &[
                (r#"{"a": 0.1}"#, ""),
                (r#"{"a": -0.1}"#, ""),
                (r#"{"a": 0.100001}"#, "RANGE `a` has to be -0.1 to 0.1"),
                (r#"{"a": "NaN"}"#, "RANGE `a` has to be -0.1 to 0.1"),
                (r#"{"a": "Infinity"}"#, "RANGE `a` has to be -0.1 to 0.1"),
            ],
        );
    }
}

#[test]
fn a_value_may_have_to_be_one_of_a_list() {
    check(
        r#"message A {
            string a = 1 [[one_of: ["red", "green"]]];
            sint64 b = 2 [[one_of: ["-1", "40"]]];
            Hue c = 3 [[one_of: ["HUE_RED"]]];
            repeated Hue d = 4 [[one_of: ["HUE_RED", "HUE_BLUE"]]];
        }
        enum Hue { HUE_UNSPECIFIED = 0; HUE_RED = 1; HUE_BLUE = 2; }"#,
        &[
            (r#"{"a": "red", "b": "-1", "c": "HUE_RED", "d": ["HUE_BLUE", "HUE_RED"]}"#, ""),
            ("{}", ""),
            (r#"{"a": "Red"}"#, "ONE_OF `a` has to be one of `green`, `red`"),
            (r#"{"b": "1"}"#, "ONE_OF `b` has to be one of `-1`, `40`"),
            (r#"{"c": "HUE_BLUE"}"#, "ONE_OF `c` has to be one of `HUE_RED`"),
            (r#"{"c": 77}"#, "ONE_OF `c` has to be one of `HUE_RED`"),
            (r#"{"d": ["HUE_RED", "HUE_UNSPECIFIED"]}"#, "ONE_OF `d[2]` has to be one of `HUE_RED`, `HUE_BLUE`"),
        ],
    );
}

#[test]
fn lists_and_maps_have_counts() {
    check(
        r"message A { repeated int32 a = 1 [[min_items: 2, max_items: 3]]; map<string, int32> b = 2 [[max_items: 1]]; }",
        &[
            (r#"{"a": [1, 2]}"#, ""),
            (r#"{"a": [0, 0, 0]}"#, ""),
            ("{}", "ITEMS `a` has to have 2 to 3 entries"),
            (r#"{"a": [1, 2, 3, 4]}"#, "ITEMS `a` has to have 2 to 3 entries"),
            (r#"{"a": [1, 2], "b": {"x": 1, "y": 2}}"#, "ITEMS `b` has to have at most 1 entries"),
        ],
    );
}

#[test]
fn elements_are_distinct_where_the_contract_says_so() {
    check(
        r"message A {
            repeated string a = 1 [[unique: true, max_items: 9]];
            repeated sint32 b = 2 [[unique: true, max_items: 9]];
            repeated fixed64 c = 3 [[unique: true, max_items: 9]];
        }",
        &[
            (r#"{"a": ["x", "y", ""], "b": [1, -1, 0], "c": [1, 2]}"#, ""),
            (r#"{"a": ["x", "y", "x"]}"#, "UNIQUE `a` may have no element twice"),
            (
                r#"{"b": [1, 0, 1], "c": [2, 2]}"#,
                "UNIQUE `b` may have no element twice\nUNIQUE `c` may have no element twice",
            ),
        ],
    );
    // The same number in another spelling, once packed and once not.
    let contracts = asks("message A { repeated int32 a = 1 [[unique: true, max_items: 9]]; }");
    assert_eq!(told(&contracts, &[0x0a, 0x02, 0x85, 0x00, 0x08, 0x06]), "");
    assert_eq!(told(&contracts, &[0x0a, 0x02, 0x85, 0x00, 0x08, 0x05]), "UNIQUE `a` may have no element twice");
    // The same key twice counts once, so it does not help to reach a least number.
    let contracts = asks("message A { map<string, int32> a = 1 [[min_items: 2, max_items: 9]]; }");
    assert_eq!(told(&contracts, &[0x0a, 0x03, 0x0a, 0x01, b'k', 0x0a, 0x03, 0x0a, 0x01, b'l']), "");
    assert_eq!(
        told(&contracts, &[0x0a, 0x03, 0x0a, 0x01, b'k', 0x0a, 0x03, 0x0a, 0x01, b'k']),
        "UNIQUE `a` may have no key twice"
    );
    assert_eq!(told(&contracts, &[0x0a, 0x00, 0x0a, 0x02, 0x0a, 0x00]), "UNIQUE `a` may have no key twice");
}

#[test]
fn rules_reach_into_messages_lists_maps_groups_and_recursion() {
    check(
        r#"message A {
            B one = 1; repeated B many = 2; map<string, B> named = 3; map<int32, string> texts = 4 [[format: FORMAT_UPRN, keys: {maximum: "9"}]];
            oneof which { B chosen = 5; } A again = 6; repeated string list = 7 [[format: FORMAT_UUID]];
        }
        message B { string code = 1 [[pattern: "[0-9]"]]; }"#,
        &[
            (
                r#"{"one": {"code": "1"}, "many": [{"code": "2"}], "named": {"x": {"code": "3"}}, "texts": {"1": "1"}}"#,
                "",
            ),
            (r#"{"one": {"code": "x"}}"#, "PATTERN `one.code` has to match `[0-9]`"),
            (r#"{"many": [{"code": "1"}, {"code": "x"}]}"#, "PATTERN `many[2].code` has to match `[0-9]`"),
            (r#"{"named": {"x": {"code": "x"}}}"#, "PATTERN `named.value.code` has to match `[0-9]`"),
            (
                r#"{"texts": {"10": "x"}}"#,
                "RANGE `texts.key` has to be at most 9\nFORMAT_UPRN `texts.value` has to be a unique property reference number: one to twelve digits",
            ),
            (r#"{"chosen": {"code": "x"}}"#, "PATTERN `chosen.code` has to match `[0-9]`"),
            (r#"{"again": {"again": {"one": {"code": "x"}}}}"#, "PATTERN `again.again.one.code` has to match `[0-9]`"),
            (
                r#"{"list": [""]}"#,
                "FORMAT_UUID `list[1]` has to be a UUID: 36 characters, hexadecimal digits and hyphens",
            ),
        ],
    );
    let text = "syntax = \"proto2\"; package t; import \"drawbridge/options/v1/options.proto\";
        message A { repeated group B = 1 { optional string code = 2 [(drawbridge.options.v1.field) = {required: true, max_length: 1}]; } optional int32 c = 3 [(drawbridge.options.v1.field) = {maximum: \"5\"}]; }
        service S { rpc Ask(A) returns (A); }";
    let contracts = super::fixtures::load(&[("t.proto", text)]).unwrap();
    assert_eq!(told(&contracts, &[0x0b, 0x12, 0x01, b'x', 0x0c, 0x18, 0x05]), "");
    assert_eq!(
        told(&contracts, &[0x0b, 0x12, 0x02, b'x', b'y', 0x0c, 0x0b, 0x0c, 0x18, 0x06]),
        "LENGTH `b[1].code` has to have at most 1 characters\nREQUIRED `b[2].code` has to be given\nRANGE `c` has to be at most 5"
    );
}

#[test]
fn a_value_or_key_that_an_entry_leaves_out_is_its_default() {
    let contracts = asks(
        "message A { map<string, string> a = 1 [[min_length: 1, keys: {min_length: 1}]]; map<int32, B> b = 2; } message B { string c = 1 [[required: true]]; }",
    );
    assert_eq!(
        told(&contracts, &[0x0a, 0x00]),
        "LENGTH `a.key` has to have at least 1 characters\nLENGTH `a.value` has to have at least 1 characters"
    );
    assert_eq!(told(&contracts, &[0x12, 0x00]), "REQUIRED `b.value.c` has to be given");
}

#[test]
fn what_decoders_would_melt_together_is_refused() {
    let contracts = asks(
        "message A { string a = 1 [[max_length: 2]]; B b = 2; map<int32, B> m = 3; string free = 4; } message B { repeated int32 c = 1 [[max_items: 1]]; }",
    );
    assert_eq!(
        told(&contracts, &[0x0a, 0x01, b'x', 0x0a, 0x01, b'y', 0x0a, 0x01, b'z']),
        "ONCE `a` may be there only once"
    );
    assert_eq!(told(&contracts, &[0x12, 0x02, 0x08, 0x01, 0x12, 0x02, 0x08, 0x02]), "ONCE `b` may be there only once");
    assert_eq!(
        told(&contracts, &[0x1a, 0x08, 0x12, 0x02, 0x08, 0x01, 0x12, 0x02, 0x08, 0x02]),
        "ONCE `m.value` may be there only once"
    );
    // What no rule is about may be there twice, as protobuf allows.
    assert_eq!(told(&contracts, &[0x22, 0x01, b'x', 0x22, 0x01, b'y']), "");
    // The last of several values counts, and it is none.
    let contracts = asks("message A { string a = 1 [[required: true]]; }");
    assert_eq!(
        told(&contracts, &[0x0a, 0x01, b'x', 0x0a, 0x00]),
        "ONCE `a` may be there only once\nREQUIRED `a` has to be given"
    );
}

#[test]
fn every_rule_that_is_broken_is_told_at_once() {
    let contracts = asks(
        r#"message A {
            string nhs_number = 1 [[required: true, format: FORMAT_NHS_NUMBER]];
            string postcode = 2 [[format: FORMAT_POSTCODE, max_length: 8, pattern: "[A-Z0-9 ]*", one_of: ["SW1A 2AA"]]];
            uint32 days = 3 [[maximum: "366"]];
        }"#,
    );
    insta::assert_snapshot!(told(&contracts, &encoded(&contracts, r#"{"nhsNumber": "943 476 5919", "postcode": "nowhere at all", "days": 400}"#)), @r"
    FORMAT_NHS_NUMBER `nhs_number` has to be an NHS number: ten digits without spaces, the last one a check digit
    LENGTH `postcode` has to have at most 8 characters
    FORMAT_POSTCODE `postcode` has to be a postcode of the United Kingdom in capitals with one space
    PATTERN `postcode` has to match `[A-Z0-9 ]*`
    ONE_OF `postcode` has to be one of `SW1A 2AA`
    RANGE `days` has to be at most 366
    ");
    let found =
        violations(&contracts, &encoded(&contracts, r#"{"nhsNumber": "1", "postcode": "nowhere at all"}"#)).unwrap();
    insta::assert_snapshot!(found, @"`nhs_number` has to be an NHS number: ten digits without spaces, the last one a check digit; `postcode` has to have at most 8 characters; `postcode` has to be a postcode of the United Kingdom in capitals with one space; and 2 more");
}

#[test]
fn many_violations_are_counted_and_few_are_listed() {
    let contracts = asks("message A { repeated uint32 a = 1 [[maximum: \"1\"]]; }");
    let bytes = [vec![0x0a, 0xe8, 0x07], vec![9; 1_000]].concat();
    let found = violations(&contracts, &bytes).unwrap();
    assert_eq!((found.total(), found.listed().len()), (1_000, 16));
    assert!(found.listed().iter().all(|found| found.rule == Rule::Range));
}

#[test]
fn bytes_that_are_no_message_are_told_before_any_rule() {
    let contracts = asks("message A { string a = 1 [[required: true]]; }");
    let misfit = contracts.method("/t.S/Ask").unwrap().check_request(b"\x0a\x01\xff").unwrap_err();
    assert!(misfit.form().is_some() && misfit.violations().is_none());
    assert_eq!(misfit.to_string(), "`a`: the text is not UTF-8 (at byte 1)");
}

#[test]
fn answers_are_not_held_against_rules() {
    let contracts = asks("message A { string a = 1 [[required: true]]; int32 b = 2 [[maximum: \"3\"]]; }");
    assert_eq!(contracts.method("/t.S/Ask").unwrap().check_answer(&[0x10, 0x09]), Ok(()));
}

#[test]
fn a_contract_names_every_format() {
    for format in Format::ALL {
        let contracts = asks(&format!("message A {{ string a = 1 [[format: {}]]; }}", format.as_str()));
        let found = violations(&contracts, &encoded(&contracts, r#"{"a": "?"}"#)).unwrap();
        assert_eq!(found.listed()[0].rule, Rule::Format(format));
    }
}

/// A contract with every kind of rule on every kind of field.
fn everything() -> Contracts {
    asks(
        r#"message A {
            string s = 1 [[required: true, format: FORMAT_NHS_NUMBER, min_length: 3, max_length: 9, pattern: "[0-9]*"]];
            repeated string ss = 2 [[format: FORMAT_POSTCODE, min_items: 1, max_items: 3, unique: true]];
            bytes b = 3 [[min_length: 1, max_length: 2]];
            sint64 n = 4 [[minimum: "-3", maximum: "3"]];
            repeated int32 ns = 5 [[minimum: "1", one_of: ["1", "2"], unique: true, max_items: 2]];
            double d = 6 [[maximum: "1.5"]];
            repeated float ds = 7 [[minimum: "0.5"]];
            map<string, string> m = 8 [[format: FORMAT_DATE, keys: {format: FORMAT_UUID}, min_items: 2, max_items: 3]];
            map<int32, A> ms = 9 [[keys: {minimum: "1"}]];
            A a = 10;
            oneof o { string e = 11 [[format: FORMAT_EMAIL]]; A t = 12; Hue h = 13 [[one_of: ["HUE_RED"]]]; }
            repeated Hue hs = 14 [[unique: true, max_items: 4]];
            optional string os = 15 [[format: FORMAT_DATE_TIME]];
            optional string ni = 16 [[format: FORMAT_NATIONAL_INSURANCE_NUMBER]];
            string one = 17 [[one_of: ["x", "y"]]];
        }
        enum Hue { HUE_UNSPECIFIED = 0; HUE_RED = 1; }"#,
    )
}

/// Puts a canary into each text and number of a message.
fn marked(descriptor: &MessageDescriptor, dice: &mut Dice) -> Vec<u8> {
    let mut message = generate::message(descriptor, dice, 3);
    message.set_field_by_name("s", Value::String(CANARY.to_owned()));
    message.set_field_by_name("ss", Value::List(vec![Value::String(format!("{CANARY}!")); 2]));
    message.set_field_by_name("n", Value::I64(NUMBER));
    message.set_field_by_name("b", Value::Bytes(CANARY.into()));
    message.encode_to_vec()
}

const CANARY: &str = "canary-7f3a";
const NUMBER: i64 = 730_730_730_731;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_bytes_make_a_panic_and_no_value_is_repeated(seed: u64, random in prop::collection::vec(any::<u8>(), 0..64)) {
        let contracts = everything();
        let method = contracts.method("/t.S/Ask").unwrap();
        let mut dice = Dice(seed);
        let _ = method.check_request(&random);
        let mut bytes = marked(method.input(), &mut dice);
        let found = method.check_request(&bytes).unwrap_err();
        prop_assert!(found.violations().is_some(), "{}", found);
        for _ in 0..20 {
            if let Err(misfit) = method.check_request(&bytes) {
                let told = format!("{misfit} {misfit:?}");
                prop_assert!(!told.contains("7f3a") && !told.contains("730730"), "{}", told);
                if let Some(violations) = misfit.violations() {
                    prop_assert!(!violations.listed().is_empty() && violations.total() >= violations.listed().len());
                    prop_assert!(violations.listed().iter().all(|found| found.field.len() <= 203));
                }
            }
            generate::mutate(&mut bytes, &mut dice);
        }
    }
}
