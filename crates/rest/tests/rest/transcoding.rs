//! Requests from JSON, path and query; answers to JSON.

use std::fmt::Write as _;

use contract::Contracts;
use drawbridge_rest::{Found, MAX_DEPTH, NoJson, Routes, Unfit};
use proptest::prelude::*;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::contracts;

fn request(routes: &Routes, call: (&str, &str), query: Option<&str>, body: &str) -> Result<Vec<u8>, Unfit> {
    let Found::Route(matched) = routes.find(call.0, call.1) else { panic!("{call:?} is no route") };
    matched.request(query, body.as_bytes())
}

/// What a request says, in protobuf's JSON.
fn says(contracts: &Contracts, routes: &Routes, call: (&str, &str), query: Option<&str>, body: &str) -> Value {
    let Found::Route(matched) = routes.find(call.0, call.1) else { panic!("{call:?} is no route") };
    let bytes = matched.request(query, body.as_bytes()).unwrap_or_else(|unfit| panic!("{call:?}: {unfit:?}"));
    let method = contracts.method(matched.route.method().path()).unwrap();
    method.check_request(&bytes).unwrap();
    serde_json::to_value(DynamicMessage::decode(method.input().clone(), bytes.as_slice()).unwrap()).unwrap()
}

const OWN: (&str, &str) = ("POST", "/archive.v1.Files/Replace");

#[test]
fn requests_are_made_of_path_query_and_body() {
    let contracts = contracts::archive();
    let routes = Routes::of(&contracts).unwrap();
    let check = |call, query, body: &str, expected: Value| {
        assert_eq!(says(&contracts, &routes, call, query, body), expected, "{call:?} {query:?} {body}");
    };
    let find = ("GET", "/v1/boxes/3/files/a%2Fb%20c");
    check(find, None, "", json!({"id": "a/b c", "box": {"number": 3}}));
    check(
        find,
        Some("tags=x&tags=y+z&deep=true&kind=KIND_FILM&since=2026-03-01T09:30:00Z&open=false&most=5&box.colour=red"),
        "",
        json!({
            "id": "a/b c", "box": {"number": 3, "colour": "red"}, "tags": ["x", "y z"], "deep": true, "kind": "KIND_FILM",
            "since": "2026-03-01T09:30:00Z", "open": false, "most": "5",
        }),
    );
    check(
        ("GET", "/v1/shelves/3/boxes/7"),
        Some("kind=2"),
        "",
        json!({"name": "shelves/3/boxes/7", "kind": "KIND_FILM"}),
    );
    check(
        ("POST", "/v1/files/a:find"),
        Some("deep=true"),
        r#"{"number": 4}"#,
        json!({"id": "a", "deep": true, "box": {"number": 4}}),
    );
    check(("PUT", "/v1/files/a"), None, r#"{"kind": "KIND_PAPER"}"#, json!({"id": "a", "kind": "KIND_PAPER"}));
    check(OWN, None, "", json!({}));
    check(OWN, None, r#"{"takenIn": null, "kept_for": "3.5s"}"#, json!({"keptFor": "3.500s"}));
}

#[test]
fn what_does_not_fit_is_told_place_by_place_and_never_by_value() {
    let routes = Routes::of(&contracts::archive()).unwrap();
    let find = ("GET", "/v1/boxes/3/files/a");
    let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    let cases: Vec<((&str, &str), Option<&str>, String)> = vec![
        (OWN, None, r#"{"id": 5, "kind": "KIND_CANARY", "pages": [{"number": "canary"}, {"txt": 1}], "marks": {"canary": "canary"}}"#.into()),
        (OWN, None, r#"{"byNumber": {"canary": {}}, "takenIn": "canary", "keptFor": 3, "seal": "*canary*", "weight": "canary"}"#.into()),
        (OWN, None, r#"{"size": -1, "checksum": 4294967296, "lent": "canary", "inner": {"inner": {"inner": []}}}"#.into()),
        (OWN, None, r#"{"person": "canary", "office": "canary"}"#.into()),
        (OWN, None, r#"{"more": {"@type": "type.googleapis.com/canary.Unknown"}, "notes": 3, "copies": "canary", "nothing": 1}"#.into()),
        (OWN, None, r#"["canary"]"#.into()),
        (OWN, None, r#"{"id": "canary"#.into()),
        (OWN, None, "{\"id\": canary}".into()),
        (OWN, None, r#"{"id": "canary"} {"#.into()),
        (OWN, None, format!("{{\"note\": {deep}}}")),
        (OWN, Some("id=canary"), "{}".into()),
        (find, Some("canry=canary&box=1&deep=canary&box.number=7"), String::new()),
        (find, Some("tags=%ff"), String::new()),
        (find, Some("since=canary&kind=CANARY"), String::new()),
        (find, None, "{}".into()),
        (("GET", "/v1/boxes/canary/files/a"), None, String::new()),
        (("PUT", "/v1/files/a"), None, r#"{"id": "canary"}"#.into()),
        (("PUT", "/v1/files/a"), None, "3".into()),
        (("POST", "/v1/files/a:find"), None, "[]".into()),
    ];
    let mut told = String::new();
    for (call, query, body) in cases {
        let unfit = request(&routes, call, query, &body).unwrap_err();
        let shown: String = body.chars().take(120).collect();
        writeln!(told, "{} {} {query:?} {shown}", call.0, call.1).unwrap();
        for violation in &unfit.violations {
            // The name of a field that the contract does not have is told to its sender; values are not.
            assert!(!violation.description.to_lowercase().contains("canary"), "{violation:?}");
            writeln!(told, "  {:?}: {}", violation.field, violation.description).unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn answers_are_written_in_the_mapping_of_protobuf() {
    let contracts = contracts::archive();
    let routes = Routes::of(&contracts).unwrap();
    let file = json!({
        "id": "a", "kind": "KIND_FILM", "takenIn": "2026-03-01T09:30:00Z", "keptFor": "3.500s",
        "pages": [{"number": 1, "text": "<é>"}], "marks": {"x": "9007199254740993"}, "byNumber": {"7": {"number": 7}},
        "office": "b", "seal": "AQID", "weight": "NaN", "size": "18446744073709551615",
        "notes": {"a": [1.5, null, {"b": true}]}, "note": null, "shown": "id,takenIn", "copies": "3", "lent": false,
        "inner": {"id": "c"}, "checksum": 4_294_967_295_u32,
    });
    let bytes = request(&routes, OWN, None, &file.to_string()).unwrap();
    let Found::Route(find) = routes.find("POST", "/archive.v1.Files/Find") else { panic!() };
    let text = find.route.answer(&bytes, 10_000).unwrap();
    assert!(!text.contains(&b'\n'));
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), file);
    let Found::Route(pages) = routes.find("GET", "/v1/shelves/1/boxes/2") else { panic!() };
    assert_eq!(pages.route.answer(&bytes, 10_000).unwrap(), r#"[{"number":1,"text":"<é>"}]"#.as_bytes());
    assert_eq!(pages.route.answer(&[], 10_000).unwrap(), b"[]");
    assert_eq!(find.route.answer(&[], 10_000).unwrap(), b"{}");
    assert_eq!(find.route.answer(&bytes, 100), Err(NoJson::TooLong { limit: 100 }));
    assert_eq!(find.route.answer(b"\x0a", 100), Err(NoJson::Malformed));
    // A timestamp in the year 20000.
    assert_eq!(find.route.answer(b"\x1a\x07\x08\x80\xb8\xc3\x98\xfe\x10", 100), Err(NoJson::Unshowable));
}

#[test]
fn a_number_is_the_one_that_was_written_and_not_its_neighbour() {
    let routes = Routes::of(&contracts::archive()).unwrap();
    for weight in [3.833_799_146_141_641e-260, 4.186_341_030_828_635e-149, f64::MAX, f64::MIN_POSITIVE, 0.1 + 0.2] {
        let bytes = request(&routes, OWN, None, &format!("{{\"weight\": {weight:e}}}")).unwrap();
        // Field 11, eight bytes.
        assert_eq!(bytes, [&[0x59][..], &weight.to_le_bytes()].concat(), "{weight:e}");
    }
}

#[test]
fn the_deepest_request_and_answer_fit_the_stack_of_a_worker() {
    let check = || {
        let routes = Routes::of(&contracts::archive()).unwrap();
        let Found::Route(replace) = routes.find(OWN.0, OWN.1) else { panic!() };
        let Found::Route(find) = routes.find("POST", "/archive.v1.Files/Find") else { panic!() };
        let depth = MAX_DEPTH - 1;
        let body = format!("{}{{}}{}", "{\"inner\":".repeat(depth), "}".repeat(depth));
        assert!(replace.request(None, body.as_bytes()).is_ok());
        let wrong = format!("{}3{}", "{\"inner\":".repeat(depth), "}".repeat(depth));
        assert_eq!(replace.request(None, wrong.as_bytes()).unwrap_err().violations.len(), 1);
        let mut answer = Vec::new();
        for _ in 0..99 {
            let mut outer = Vec::new();
            prost::encoding::bytes::encode(19, &answer, &mut outer);
            answer = outer;
        }
        assert!(find.route.answer(&answer, 10_000).is_ok());
    };
    // Two mebibytes are what a thread has unless somebody says otherwise.
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in "[\\[\\]{}\":,a-e0-9.\\\\ -]{0,60}", query in "[a-z.&=%+]{0,30}", path in "[a-z/:%]{0,20}") {
        let routes = Routes::of(&contracts::archive()).unwrap();
        for (verb, path) in [("POST", "/archive.v1.Files/Replace"), ("GET", "/v1/boxes/3/files/a"), ("GET", path.as_str())] {
            if let Found::Route(matched) = routes.find(verb, path) {
                let _ = matched.request(Some(&query), body.as_bytes());
                let _ = matched.request(None, body.as_bytes());
            }
        }
    }

    #[test]
    fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let routes = Routes::of(&contracts::archive()).unwrap();
        for route in routes.iter() {
            let _ = route.answer(&bytes, 1000);
        }
    }
}

#[test]
fn numbers_that_json_does_not_have_are_texts_and_no_other_answer() {
    let routes = contracts::with(
        "import \"google/protobuf/wrappers.proto\";
        service Scales { rpc Weigh(Weight) returns (Weight) {
          option (drawbridge.options.v1.method) = { kind: KIND_QUERY };
          option (google.api.http) = { get: \"/v1/weight\" response_body: \"net\" };
        } }
        message Weight { google.protobuf.DoubleValue net = 1; repeated google.protobuf.FloatValue all = 2; }",
    )
    .unwrap();
    let weigh = ("POST", "/a.v1.Scales/Weigh");
    for (json, shown) in [
        (r#"{"net":"NaN","all":["Infinity","-Infinity",1.5]}"#, r#""NaN""#),
        (r#"{"net":"-Infinity"}"#, r#""-Infinity""#),
        ("{}", "null"),
    ] {
        let bytes = request(&routes, weigh, None, json).unwrap();
        let Found::Route(whole) = routes.find(weigh.0, weigh.1) else { panic!() };
        assert_eq!(String::from_utf8(whole.route.answer(&bytes, 1000).unwrap()).unwrap(), json);
        let Found::Route(field) = routes.find("GET", "/v1/weight") else { panic!() };
        assert_eq!(String::from_utf8(field.route.answer(&bytes, 1000).unwrap()).unwrap(), shown);
    }
}

#[test]
fn a_field_that_is_shown_alone_leaves_defaults_out_as_the_whole_does() {
    let routes = Routes::of(&contracts::archive()).unwrap();
    let bytes = request(&routes, OWN, None, r#"{"id": "a", "pages": [{"text": "x"}, {}]}"#).unwrap();
    let Found::Route(pages) = routes.find("GET", "/v1/shelves/1/boxes/2") else { panic!() };
    assert_eq!(pages.route.answer(&bytes, 10_000).unwrap(), br#"[{"text":"x"},{}]"#);
}

#[test]
fn what_is_said_twice_is_refused_and_never_chosen_from() {
    let routes = Routes::of(&contracts::archive()).unwrap();
    let check = |call, query, body: &str, expected: &[(&str, &str)]| {
        let unfit = request(&routes, call, query, body).unwrap_err();
        let told: Vec<_> = unfit.violations.iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(told, expected, "{body}");
    };
    let once = "this is said more than once";
    let names = "this is said more than once: as `kept_for` and as `keptFor`";
    check(OWN, None, r#"{"id": "canary", "id": "canary"}"#, &[("id", once)]);
    check(OWN, None, r#"{"kept_for": "1s", "keptFor": "2s"}"#, &[("keptFor", names)]);
    check(
        OWN,
        None,
        r#"{"marks": {"canary": 1, "canary": 2}, "size": -1}"#,
        &[
            ("marks.*", "a key stands here more than once"),
            ("size", "this has to be a whole number of 64 bits, not below 0, best as a text"),
        ],
    );
    check(("POST", "/v1/files/a:find"), None, r#"{"number": 1, "number": 2}"#, &[("box.number", once)]);
    check(("PUT", "/v1/files/a"), None, r#"{"id": "b", "id": "c"}"#, &[("id", once)]);
    // What is no JSON is told as that.
    check(OWN, None, r#"{"id": "a", "id": "b""#, &[("", "the JSON ends too early (column 21)")]);
}

#[test]
fn a_path_and_a_body_that_say_the_same_field_are_held_against_each_other_by_whichever_name() {
    let routes = contracts::with(
        "service Files { rpc Find(Question) returns (Question) {
          option (google.api.http) = { post: \"/v1/{box_id}/{in_a.box_id}\" body: \"*\" };
        } }
        message Question { string box_id = 1; Question in_a = 2; }",
    )
    .unwrap();
    let find = ("POST", "/v1/a/b");
    for (body, expected) in [
        (r#"{"boxId": "c"}"#, "box_id"),
        (r#"{"box_id": "c"}"#, "box_id"),
        (r#"{"in_a": {"box_id": "c"}}"#, "in_a.box_id"),
        (r#"{"inA": {"box_id": "c"}}"#, "in_a.box_id"),
    ] {
        let unfit = request(&routes, find, None, body).unwrap_err();
        let told: Vec<_> = unfit.violations.iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(told, [(expected, "this is said more than once")], "{body}");
    }
    assert!(request(&routes, find, None, r#"{"in_a": {}}"#).is_ok());
}
