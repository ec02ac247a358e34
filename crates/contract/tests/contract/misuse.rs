//! Rules that could never mean anything keep a contract from loading, and say what mends them.

use drawbridge_contract::Contracts;

use super::fixtures::{load, protos, with_head, written};

/// Loads a message `A` with this body, beside an enum and another message.
fn problems(body: &str) -> Vec<(String, String)> {
    let body = body.replace("[[", "[(drawbridge.options.v1.field) = {").replace("]];", "}];");
    let text = format!(
        "message A {{ {body} }}\nmessage B {{ string c = 1; }}\nenum E {{ E_UNSPECIFIED = 0; E_ONE = 1; }}\nservice S {{ rpc Ask(A) returns (B); }}"
    );
    let problems = load(&[("t.proto", &with_head(&text))]).err().unwrap_or_default();
    problems.into_iter().map(|found| (found.what, found.help.unwrap_or_default())).collect()
}

#[track_caller]
fn refused(body: &str, what: &str, help: &str) {
    assert_eq!(problems(body), [(what.to_owned(), help.to_owned())], "{body}");
}

#[test]
fn a_misused_rule_is_told_with_file_field_and_cure() {
    let text = with_head(
        "message A {\n  int32 age = 1 [(drawbridge.options.v1.field) = {minimum: \"18\", maximum: \"5\", required: true}];\n  string code = 2 [(drawbridge.options.v1.field).pattern = \"(a\"];\n}\nservice S { rpc Ask(A) returns (A); }",
    );
    let problems = Contracts::load(&[protos("proto", &[("t.proto", &text)])]).unwrap_err();
    insta::assert_snapshot!(written(&problems), @r#"
    error: `minimum` is above `maximum`, so that no number is allowed
     --> proto/t.proto:3:3  (t.A.age)
      |
    3 |   int32 age = 1 [(drawbridge.options.v1.field) = {minimum: "18", maximum: "5", required: true}];
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: let `minimum` be the smaller one

    error: the pattern `(a` cannot be used: unclosed group
     --> proto/t.proto:4:3  (t.A.code)
      |
    4 |   string code = 2 [(drawbridge.options.v1.field).pattern = "(a"];
      |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write it as https://docs.rs/regex describes, or list the values in `one_of`
    "#);
}

#[test]
fn an_unknown_format_is_told_with_those_that_there_are() {
    let text = with_head("message A { string a = 1 [(drawbridge.options.v1.field).format = FORMAT_SHOE_SIZE]; }");
    let problems = Contracts::load(&[protos("proto", &[("t.proto", &text)])]).unwrap_err();
    insta::assert_snapshot!(written(&problems), @r"
    error: expected a value of type `drawbridge.options.v1.Format` for option `(drawbridge.options.v1.field).format`, but found `FORMAT_SHOE_SIZE`
     --> proto/t.proto:2:27
      |
    2 | message A { string a = 1 [(drawbridge.options.v1.field).format = FORMAT_SHOE_SIZE]; }
      |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: use one of `FORMAT_NHS_NUMBER`, `FORMAT_UPRN`, `FORMAT_NATIONAL_INSURANCE_NUMBER`, `FORMAT_POSTCODE`, `FORMAT_DATE`, `FORMAT_DATE_TIME`, `FORMAT_EMAIL`, `FORMAT_UUID`; or write a `pattern`
    ");
}

#[test]
fn a_rule_fits_what_its_field_holds() {
    let take = "take it away";
    refused("int32 a = 1 [[format: FORMAT_DATE]];", "`format` is about text, and the field holds a whole number", take);
    refused("bytes a = 1 [[pattern: \"x\"]];", "`pattern` is about text, and the field holds bytes", take);
    refused(
        "uint64 a = 1 [[min_length: 1]];",
        "`min_length` is about text and bytes, and the field holds a whole number",
        take,
    );
    refused(
        "bool a = 1 [[max_length: 1]];",
        "`max_length` is about text and bytes, and the field holds true or false",
        take,
    );
    refused("string a = 1 [[minimum: \"1\"]];", "`minimum` is about numbers, and the field holds text", take);
    refused("E a = 1 [[maximum: \"1\"]];", "`maximum` is about numbers, and the field holds a value of an enum", take);
    refused(
        "double a = 1 [[one_of: \"1\"]];",
        "`one_of` is about text, whole numbers and enums, and the field holds a number with a fraction",
        take,
    );
    refused(
        "B a = 1 [[format: FORMAT_DATE]];",
        "`format` is about text, and the field holds a message",
        "set it on a field within the message",
    );
    refused(
        "map<string, B> a = 1 [[max_length: 1]];",
        "`max_length` is about text and bytes, and the field holds a message",
        "set it on a field within the message",
    );
    refused(
        "string a = 1 [[min_items: 1]];",
        "`min_items` is about a list or a map, and the field holds one value",
        "take it away, or make the field `repeated`",
    );
    refused(
        "string a = 1 [[unique: true]];",
        "`unique` is about a list or a map, and the field holds one value",
        "take it away, or make the field `repeated`",
    );
    refused("repeated string a = 1 [[keys: {max_length: 1}]];", "`keys` is about a map, and the field is none", take);
    refused(
        "map<string, string> a = 1 [[keys: {required: true}]];",
        "`keys` holds `required`, which is not about keys",
        "set it on the field itself",
    );
    refused(
        "map<bool, string> a = 1 [[keys: {max_length: 1}]];",
        "`max_length` is about text and bytes, and the field holds true or false",
        take,
    );
}

#[test]
fn rules_allow_something() {
    refused(
        "string a = 1 [[min_length: 5, max_length: 3]];",
        "`min_length` is above `max_length`, so that no value is allowed",
        "let `min_length` be the smaller one",
    );
    refused(
        "repeated string a = 1 [[min_items: 5, max_items: 3]];",
        "`min_items` is above `max_items`, so that no list is allowed",
        "let `min_items` be the smaller one",
    );
    refused(
        "double a = 1 [[minimum: \"0.5\", maximum: \"0.4\", required: true]];",
        "`minimum` is above `maximum`, so that no number is allowed",
        "let `minimum` be the smaller one",
    );
    refused(
        "oneof o { string a = 1 [[required: true]]; string b = 2; }",
        "a member of a oneof is `required`, so that none of the others could ever be chosen",
        "take `required` away, or the field out of the oneof",
    );
    refused(
        "bool a = 1 [[required: true]];",
        "a bool is `required`, so that it would have to be true: on the wire false and absent are the same",
        "make it `optional`",
    );
    refused(
        "uint32 a = 1 [[minimum: \"1\"]];",
        "0 lies outside `minimum` and `maximum`, yet 0 is what a number that is not given reads as",
        "make the field `required`, or `optional`, or let 0 in",
    );
    for fine in ["optional uint32", "repeated uint32"] {
        assert_eq!(problems(&format!("{fine} a = 1 [[minimum: \"1\"]];")), []);
    }
}

#[test]
fn numbers_are_numbers_of_the_field() {
    let help = "write a number of the field's type in decimal, as in \"0\" or \"-5\"";
    for (kind, number) in [
        ("int32", "2147483648"),
        ("uint32", "-1"),
        ("uint64", "18446744073709551616"),
        ("sint64", "1.0"),
        ("fixed32", "0x10"),
        ("int64", " 1"),
        ("float", "1e60"),
        ("double", "NaN"),
        ("double", "inf"),
        ("double", "1,5"),
    ] {
        let what = format!("`maximum` is `{number}`, which is no number that the field can hold");
        refused(&format!("{kind} a = 1 [[maximum: \"{number}\"]];"), &what, help);
    }
}

#[test]
fn a_list_of_values_holds_what_the_field_can_hold() {
    refused(
        "int32 a = 1 [[one_of: [\"1\", \"two\"]]];",
        "`one_of` lists `two`, which the field cannot hold",
        "write whole numbers of the field's type in decimal",
    );
    refused(
        "E a = 1 [[one_of: [\"E_TWO\"]]];",
        "`one_of` lists `E_TWO`, which the field cannot hold",
        "use names of the enum: `E_UNSPECIFIED`, `E_ONE`",
    );
    refused(
        "int32 a = 1 [[one_of: [\"7\"], maximum: \"5\"]];",
        "`one_of` lists `7`, which lies outside `minimum` and `maximum`",
        "take the value away, or the other rule",
    );
    refused(
        "string a = 1 [[one_of: [\"2026-02-30\"], format: FORMAT_DATE]];",
        "`one_of` lists `2026-02-30`, which breaks another rule of the field",
        "take the value away, or the other rule",
    );
}

#[test]
fn a_pattern_can_be_matched_in_bounded_time_and_space() {
    let help = "write it as https://docs.rs/regex describes, or list the values in `one_of`";
    for (pattern, why) in [
        ("a)(b", "unopened group"),
        ("(?=a)", "look-around, including look-ahead and look-behind, is not supported"),
        ("(a)\\\\1", "backreferences are not supported"),
    ] {
        let shown = pattern.replace("\\\\", "\\");
        let what = format!("the pattern `{shown}` cannot be used: {why}");
        refused(&format!("string a = 1 [[pattern: \"{pattern}\"]];"), &what, help);
    }
    let found = problems("string a = 1 [[pattern: \"(x{500}){500}\"]];");
    assert!(found[0].0.contains("size limit"), "{found:?}");
    let long = "x".repeat(1001);
    refused(
        &format!("string a = 1 [[pattern: \"{long}\"]];"),
        "the pattern has 1001 bytes; 1000 can be served",
        "split the field, or list the values in `one_of`",
    );
}

#[test]
fn entries_are_compared_in_bounded_space() {
    let unique = "`unique` compares all entries, and the field has no `max_items` of 10000 or less";
    refused("repeated string a = 1 [[unique: true]];", unique, "set `max_items`");
    refused("repeated string a = 1 [[unique: true, max_items: 10001]];", unique, "set `max_items`");
    refused(
        "map<string, string> a = 1 [[min_items: 2]];",
        "`min_items` above 1 of a map compares all entries, and the field has no `max_items` of 10000 or less",
        "set `max_items`",
    );
    refused(
        "repeated double a = 1 [[unique: true, max_items: 5]];",
        "`unique` is about text, bytes, whole numbers and enums, and the list holds a number with a fraction",
        "take it away",
    );
    refused(
        "repeated B a = 1 [[unique: true, max_items: 5]];",
        "`unique` is about text, bytes, whole numbers and enums, and the list holds a message",
        "take it away",
    );
    refused(
        "map<string, B> a = 1 [[unique: true, max_items: 5]];",
        "`unique` is about a list, and a map has each key once anyway",
        "take it away",
    );
}

#[test]
fn every_mistake_of_a_field_is_told() {
    let found = problems("int32 a = 1 [[format: FORMAT_DATE, minimum: \"x\", min_items: 1, one_of: [\"y\"]]];");
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn rules_of_answers_are_looked_at_too() {
    let text = "message A {} message R { int32 a = 1 [(drawbridge.options.v1.field).pattern = \"x\"]; } service S { rpc Ask(A) returns (R); }";
    assert!(load(&[("t.proto", &with_head(text))]).is_err());
}
