//! Requests from JSON, answers to JSON.

use super::fixtures::{method, protos};
use super::generate::{self, Dice};
use prost::Message;
use prost_reflect::DynamicMessage;
use std::sync::Arc;

#[test]
fn a_request_is_written_as_json_with_either_name() {
    let list = method("/registry.v1.Persons/List");
    let by_name = list.request_from_json(r#"{"at": {"postcode": "N1"}, "page_size": 5, "offset": "7"}"#).unwrap();
    let by_json = list.request_from_json(r#"{"at": {"postcode": "N1"}, "pagesize": 5, "offset": 7}"#).unwrap();
    assert_eq!(by_name, by_json);
    assert_eq!(by_name, b"\x0a\x04\x12\x02N1\x10\x05\x20\x07");
    assert_eq!(list.check_request(&by_name), Ok(()));
}

#[track_caller]
fn problem(json: &str) -> String {
    let problem = method("/registry.v1.Persons/Find").request_from_json(json).unwrap_err();
    let help = problem.help.map(|help| format!(" [{help}]")).unwrap_or_default();
    format!("{}:{}: {}{help}", problem.line, problem.column, problem.what)
}

#[test]
fn json_that_is_no_request_is_told_with_its_place_and_without_its_values() {
    insta::assert_snapshot!(problem(r#"{"nummer": "9434765919"}"#), @"1:9: unknown field `nummer` [did you mean `number`?]");
    insta::assert_snapshot!(problem(r#"{"something": "9434765919"}"#), @"1:12: unknown field `something` [`registry.v1.FindRequest` has `number`, `detail`, `years`]");
    insta::assert_snapshot!(problem("{\n  \"number\": 9434765919\n}"), @"2:22: a value of another type stands where a string is expected");
    insta::assert_snapshot!(problem(r#"{"detail": "DETAIL_9434765919"}"#), @"1:30: a name is none of the contract's values");
    insta::assert_snapshot!(problem(r#"{"years": [1, "9434765919x"]}"#), @"1:27: a value does not fit the field's type");
    insta::assert_snapshot!(problem(r#"{"years": [99999999999]}"#), @"1:22: a value does not fit the field's type");
    insta::assert_snapshot!(problem(r#"{"number": "1",}"#), @"1:16: trailing comma [write JSON: names and texts in double quotes, no comma before a brace]");
    insta::assert_snapshot!(problem(r#"{"number": "1""#), @"1:14: the JSON ends too early [close what is open: a brace, a bracket or a quote]");
    insta::assert_snapshot!(problem(r#"{"number": "1"} {}"#), @"1:17: trailing characters [write JSON: names and texts in double quotes, no comma before a brace]");
    insta::assert_snapshot!(problem("[]"), @"1:0: a value of another type stands where an object is expected");
}

#[test]
fn no_json_problem_repeats_a_value() {
    let canary = "9434765919";
    for json in [
        format!(r#"{{"number": {canary}}}"#),
        format!(r#"{{"number": true, "x": {canary}}}"#),
        format!(r#"{{"years": "{canary}"}}"#),
        format!(r#"{{"years": ["{canary}"]}}"#),
        format!(r#"{{"detail": "{canary}"}}"#),
        format!(r#"{{"detail": {canary}}}"#),
        format!(r#"{{"number": "a{canary}"#),
    ] {
        let problem = method("/registry.v1.Persons/Find").request_from_json(&json).unwrap_err();
        assert!(!format!("{problem:?}").contains(canary), "{problem:?}");
    }
}

#[test]
fn an_answer_is_shown_in_the_order_of_its_contract() {
    let find = method("/registry.v1.Persons/Find");
    let json = find.answer_to_json(b"\x12\x0b\x0a\x03Ada\x12\x04Byrd\x0a\x017\x22\x02\x08\x01\x48\x00").unwrap();
    assert_eq!(
        json,
        r#"{"number":"7","name":{"given":"Ada","family":"Byrd"},"registered":"1970-01-01T00:00:01Z","deceased":false}"#
    );
}

#[test]
fn what_json_says_a_request_says_again() {
    let register = method("/registry.v1.Persons/Register");
    let decode = |bytes: &[u8]| DynamicMessage::decode(register.input().clone(), bytes).unwrap();
    for seed in 0..200 {
        let message = generate::message(register.input(), &mut Dice(seed), 3);
        let json = serde_json::to_string(&message).unwrap();
        let again = register.request_from_json(&json).unwrap();
        assert_eq!(decode(&again), decode(&message.encode_to_vec()), "{json}");
    }
}

#[test]
fn an_answer_that_is_none_is_not_shown() {
    let find = method("/registry.v1.Persons/Find");
    insta::assert_snapshot!(find.answer_to_json(b"\x0a\x05a").unwrap_err(), @"the answer cannot be shown as JSON: `number`: the message ends within a value (at byte 1)");
    // A timestamp in the year 60000.
    let mut bytes = Vec::new();
    prost::encoding::message::encode(4, &prost_types::Timestamp { seconds: 1_831_300_000_000, nanos: 0 }, &mut bytes);
    insta::assert_snapshot!(find.answer_to_json(&bytes).unwrap_err(), @"the answer cannot be shown as JSON: a value in it has no form in JSON");
}

/// A method that answers with numbers of every kind.
fn weigh() -> Arc<drawbridge_contract::Method> {
    let text = "syntax = \"proto3\"; package t; import \"google/protobuf/wrappers.proto\";
        import \"google/protobuf/any.proto\"; import \"google/protobuf/struct.proto\";
        service Scales { rpc Weigh(Weight) returns (Weight); }
        message Weight {
          double plain = 1; google.protobuf.DoubleValue gross_weight = 2; google.protobuf.FloatValue net = 3;
          repeated google.protobuf.DoubleValue all = 4; map<string, google.protobuf.FloatValue> named = 5;
          google.protobuf.Any any = 6; google.protobuf.Value free = 7; Weight within = 8; map<string, Weight> parts = 9;
          repeated Weight rows = 10;
        }";
    let contracts = drawbridge_contract::Contracts::load(&[protos("proto", &[("t.proto", text)])]).unwrap();
    Arc::clone(contracts.method("/t.Scales/Weigh").unwrap())
}

#[test]
fn numbers_that_json_does_not_have_are_texts_wherever_they_stand() {
    let method = weigh();
    let answer = r#"{"plain":"NaN","grossWeight":"NaN","net":"-Infinity","all":["Infinity",1.5,"NaN"],"named":{"a":"Infinity"},"any":{"@type":"type.googleapis.com/google.protobuf.DoubleValue","value":"-Infinity"},"free":[null,1.5],"within":{"net":0.1}}"#;
    let bytes = method.request_from_json(answer).unwrap();
    assert_eq!(method.answer_to_json(&bytes).unwrap(), answer);
    // A `Value` with an infinity has no form.
    assert!(method.answer_to_json(b"\x3a\x09\x11\0\0\0\0\0\0\xf0\x7f").is_err());
}

#[test]
fn what_is_said_twice_is_refused_by_its_place() {
    let method = weigh();
    let check = |json: &str, expected: &str| {
        let problem = method.request_from_json(json).unwrap_err();
        assert_eq!((problem.line, problem.what.as_str()), (0, expected), "{json}");
    };
    check(r#"{"plain": 1, "plain": 2}"#, "`plain`: this is said more than once");
    check(r#"{"plain": 1, "pl\u0061in": 2}"#, "`plain`: this is said more than once");
    let both = "`grossWeight`: this is said more than once: as `gross_weight` and as `grossWeight`";
    check(r#"{"gross_weight": 1, "grossWeight": null}"#, both);
    check(r#"{"within": {"rows": [{}, {"net": 1, "net": 1}]}}"#, "`within.rows[1].net`: this is said more than once");
    check(r#"{"named": {"canary": 1, "canary": 2}}"#, "`named.*`: a key stands here more than once");
    check(r#"{"parts": {"canary": {"net": 1, "net": 2}}}"#, "`parts.*.net`: this is said more than once");
    check(r#"{"free": {"a": [{"canary": 1, "canary": 2}]}}"#, "`free.*[0].*`: a key stands here more than once");
    let any = r#"{"any": {"@type": "type.googleapis.com/t.Weight", "gross_weight": 1, "grossWeight": 2}}"#;
    check(any, "`any.grossWeight`: this is said more than once: as `gross_weight` and as `grossWeight`");
    let any = r#"{"any": {"net": 1, "@type": "type.googleapis.com/t.Weight", "net": 2}}"#;
    check(any, "`any.*`: a key stands here more than once");
    // The same names in different objects are fine.
    let fine = r#"{"net": 1, "within": {"net": 1}, "rows": [{"net": 1}, {"net": 1}], "parts": {"net": {"net": 1}}, "free": {"net": {"net": 1}}}"#;
    assert!(method.request_from_json(fine).is_ok());
}

/// Other packages' tests choose features for a binary that is built with them, so that none of these would be missed there.
#[test]
fn patterns_have_all_of_unicode_in_whatever_is_built() {
    let manifest = include_str!("../../../../Cargo.toml");
    for name in ["regex", "regex-syntax"] {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        assert!(line.contains("\"unicode\""), "{line}");
    }
}
