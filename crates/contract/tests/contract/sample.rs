//! Messages that are made up: they keep every rule, are the same for the same seed, and answer what was asked.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use drawbridge_contract::{Contracts, Method, Source};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use super::fixtures::one;

/// The folders with contracts in this repository, relative to it.
const FOLDERS: [&str; 7] = [
    "proto",
    "tests/proto",
    "tests/data/sakila",
    "benches/proto",
    "crates/contract/tests/fixtures/proto",
    "crates/connectors/tests/fixtures",
    "crates/rest/tests/fixtures",
];

fn protos(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            protos(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            // Gateways serve these themselves, and know the options.
            if !name.starts_with("drawbridge/") {
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
}

fn contracts(folder: &str) -> Contracts {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let mut files = Vec::new();
    protos(&root, &root, &mut files);
    if folder == "tests/data/sakila" {
        // It imports what another folder brings along.
        let fixtures = root.join("../../../crates/connectors/tests/fixtures");
        protos(&fixtures, &fixtures.join("google"), &mut files);
    }
    Contracts::load(&[Source::Protos { name: folder.to_owned(), files }])
        .unwrap_or_else(|problems| panic!("{folder}: {problems:?}"))
}

/// Makes up a request and the answer to it, and holds both against the contract.
fn exchange(method: &Method, seed: u64) -> (DynamicMessage, DynamicMessage) {
    let path = method.path();
    let request = method.request_sampler().sample(seed);
    assert!(request.gaps.is_empty(), "{path}: {:?}", request.gaps);
    let bytes = request.message.encode_to_vec();
    method.check_request(&bytes).unwrap_or_else(|misfit| panic!("{path}, seed {seed}: {misfit}\n{}", request.message));
    let answer = method.answer_sampler().sample_for(&request.message, seed);
    assert!(answer.gaps.is_empty(), "{path}: {:?}", answer.gaps);
    let bytes = answer.message.encode_to_vec();
    method
        .check_made_up_answer(&bytes)
        .unwrap_or_else(|misfit| panic!("{path}, seed {seed}: {misfit}\n{}", answer.message));
    // It can be shown, and read again.
    let json = method.answer_to_json(&bytes).unwrap();
    // The descriptors of a recursive type have no end when they are printed.
    let read = method.answer_from_json(&json).unwrap();
    assert!(read == answer.message, "{path}: {json}\n{read}\n{}", answer.message);
    (request.message, answer.message)
}

#[test]
fn every_contract_of_this_repository_gets_messages_that_keep_its_rules() {
    let mut methods = 0;
    for folder in FOLDERS {
        for service in contracts(folder).services() {
            for method in &service.methods {
                methods += 1;
                for seed in 0..40 {
                    exchange(method, seed);
                }
            }
        }
    }
    assert!(methods > 40, "{methods} methods");
}

/// A contract with every rule there is, in requests and in answers, and with what is hard to bring to an end.
const RULES: &str = r#"
service S { rpc Ask(A) returns (A); }
message A {
  string nhs = 1 [(drawbridge.options.v1.field) = { required: true, format: FORMAT_NHS_NUMBER, subject: "nhs-number" }];
  string uprn = 2 [(drawbridge.options.v1.field) = { format: FORMAT_UPRN, min_length: 12 }];
  string nino = 3 [(drawbridge.options.v1.field).format = FORMAT_NATIONAL_INSURANCE_NUMBER];
  string home = 4 [(drawbridge.options.v1.field) = { format: FORMAT_POSTCODE, pattern: "[A-Z]{2}.*" }];
  string day = 5 [(drawbridge.options.v1.field).format = FORMAT_DATE];
  string moment = 6 [(drawbridge.options.v1.field).format = FORMAT_DATE_TIME];
  string mail = 7 [(drawbridge.options.v1.field) = { format: FORMAT_EMAIL, max_length: 40 }];
  string uuid = 8 [(drawbridge.options.v1.field).format = FORMAT_UUID];
  string plate = 9 [(drawbridge.options.v1.field) = { required: true, pattern: "[A-Z]{2}[0-9]{2} [A-Z]{3}" }];
  string long = 10 [(drawbridge.options.v1.field) = { pattern: "[a-z ]*", min_length: 200, max_length: 220 }];
  string short = 11 [(drawbridge.options.v1.field) = { min_length: 1, max_length: 2 }];
  string word = 12 [(drawbridge.options.v1.field) = { pattern: "\\b[^\\s]+\\b", min_length: 30 }];
  string listed = 13 [(drawbridge.options.v1.field) = { one_of: ["a", "b"] }];
  bytes key = 14 [(drawbridge.options.v1.field) = { min_length: 32, max_length: 32 }];
  int32 age = 15 [(drawbridge.options.v1.field) = { required: true, minimum: "-3", maximum: "3" }];
  uint64 large = 16 [(drawbridge.options.v1.field) = { required: true, minimum: "18446744073709551615" }];
  sint64 low = 17 [(drawbridge.options.v1.field) = { maximum: "-9223372036854775807", required: true }];
  fixed32 listed_number = 18 [(drawbridge.options.v1.field) = { one_of: ["7", "11"] }];
  double share = 19 [(drawbridge.options.v1.field) = { minimum: "0.25", maximum: "0.5", required: true }];
  float narrow = 20 [(drawbridge.options.v1.field) = { minimum: "0.1", maximum: "0.1", required: true }];
  float below = 21 [(drawbridge.options.v1.field) = { maximum: "-5", required: true }];
  Colour colour = 22 [(drawbridge.options.v1.field) = { required: true, one_of: ["COLOUR_GREEN", "COLOUR_BLUE"] }];
  repeated string tags = 23 [(drawbridge.options.v1.field) = { unique: true, min_items: 5, max_items: 9, pattern: "[a-f]" , one_of: ["a","b","c","d","e"]}];
  repeated int32 numbers = 24 [(drawbridge.options.v1.field) = { min_items: 4, max_items: 4, minimum: "5", maximum: "8", unique: true }];
  map<string, Part> parts = 25 [(drawbridge.options.v1.field) = { min_items: 3, max_items: 5, keys: { format: FORMAT_UUID } }];
  map<int32, string> notes = 26 [(drawbridge.options.v1.field) = { required: true, keys: { minimum: "9", maximum: "9" }, max_length: 3 }];
  oneof either { string left = 27 [(drawbridge.options.v1.field).format = FORMAT_DATE]; A right = 28; }
  A again = 29;
  repeated A more = 30;
  map<string, A> named = 31;
  optional int32 days = 32 [(drawbridge.options.v1.field) = { minimum: "1", maximum: "366" }];
  Part part = 33 [(drawbridge.options.v1.field).required = true];
  repeated Part several = 34 [(drawbridge.options.v1.field) = { min_items: 2, max_items: 2 }];
}
message Part { string nhs = 1 [(drawbridge.options.v1.field) = { required: true, subject: "nhs-number" }]; bool is_there = 2; }
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; COLOUR_GREEN = 2; COLOUR_BLUE = 3; }
"#;

static RULED: LazyLock<Contracts> = LazyLock::new(|| one(RULES));

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_is_kept_whatever_the_seed(seed: u64) {
        let method = RULED.method("/t.S/Ask").unwrap();
        let (request, answer) = exchange(method, seed);
        // Who was asked about is who is told about, however deep.
        let number = request.get_field_by_name("nhs").unwrap().into_owned();
        prop_assert_eq!(answer.get_field_by_name("nhs").unwrap().into_owned(), number.clone());
        let several = answer.get_field_by_name("several").unwrap().into_owned();
        for part in several.as_list().unwrap() {
            prop_assert_eq!(part.as_message().unwrap().get_field_by_name("nhs").unwrap().into_owned(), number.clone());
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_message_and_another_seed_another() {
    let contracts = contracts("proto");
    let sampler = contracts.method("/health.v1.Patients/Find").unwrap().answer_sampler();
    let bytes = |seed| sampler.sample(seed).message.encode_to_vec();
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7), bytes(8));
}

#[test]
fn a_field_that_is_added_changes_no_other() {
    let before = one("service S { rpc Ask(A) returns (A); } message A { string given_name = 1; int32 age = 3; }");
    let after = one(
        "service S { rpc Ask(A) returns (A); } message A { string given_name = 1; string town = 2; int32 age = 3; }",
    );
    let made = |contracts: &Contracts| contracts.method("/t.S/Ask").unwrap().answer_sampler().sample(5).message;
    let (before, after) = (made(&before), made(&after));
    for name in ["given_name", "age"] {
        assert_eq!(before.get_field_by_name(name), after.get_field_by_name(name), "{name}");
    }
    assert!(after.has_field_by_name("town"));
}

#[test]
fn what_was_asked_for_is_what_is_answered() {
    let contracts = contracts("tests/proto");
    let method = contracts.method("/test.v1.Records/Find").unwrap();
    let question = method.request_from_json(r#"{"id": "42"}"#).unwrap();
    let question = DynamicMessage::decode(method.input().clone(), question.as_slice()).unwrap();
    let answer = method.answer_sampler().sample_for(&question, 1).message;
    assert_eq!(answer.get_field_by_name("id").unwrap().into_owned(), Value::I64(42));
}

#[test]
fn what_cannot_be_made_up_is_named_and_left_out() {
    let contracts = one(r#"service S { rpc Ask(A) returns (A); }
        message A {
          string name = 1;
          B inner = 2;
        }
        message B {
          string date = 1 [(drawbridge.options.v1.field) = { format: FORMAT_DATE, pattern: "[a-z]+" }];
          string other = 2 [(drawbridge.options.v1.field) = { required: true, pattern: "x{3}", min_length: 9 }];
        }"#);
    let sampler = contracts.method("/t.S/Ask").unwrap().answer_sampler();
    let told: Vec<String> = sampler.gaps().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "`inner.date`: no text was found that is `FORMAT_DATE` and matches the pattern `[a-z]+`",
            "`inner.other`: no text was found that matches the pattern `x{3}` and has at least 9 characters",
        ]
    );
    let sample = sampler.sample(0);
    assert!(sample.message.has_field_by_name("name"));
}
