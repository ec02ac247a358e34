//! Requests from JSON, answers to JSON.

use super::fixtures::method;
use super::generate::{self, Dice};
use prost::Message;
use prost_reflect::DynamicMessage;

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
