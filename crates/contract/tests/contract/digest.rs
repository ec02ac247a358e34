//! One contract, one digest: whoever compiled it, wherever its files lie.

use std::collections::BTreeMap;
use std::fs;

use drawbridge_contract::{Contracts, Source};

use super::fixtures::{FIXTURES, folder, golden, load, one, path, with_head};

fn digests(contracts: &Contracts) -> BTreeMap<String, String> {
    contracts.services().map(|service| (service.name.clone(), service.digest.to_string())).collect()
}

fn texts(contracts: &Contracts) -> BTreeMap<String, String> {
    contracts.services().map(|service| (service.name.clone(), service.canonical_text())).collect()
}

#[test]
fn protoc_buf_and_protox_agree_on_every_digest() {
    for set in ["protoc.binpb", "buf.binpb", "protox.binpb"] {
        let contracts = Contracts::load(&[golden(set)]).unwrap();
        assert_eq!(texts(&contracts), texts(&FIXTURES), "{set}");
        assert_eq!(digests(&contracts), digests(&FIXTURES), "{set}");
    }
}

#[test]
fn the_same_contract_from_a_folder_and_from_every_compiler_loads_once() {
    let sources = [folder(), golden("protoc.binpb"), golden("buf.binpb"), golden("protox.binpb")];
    let contracts = Contracts::load(&sources).unwrap();
    assert_eq!(digests(&contracts), digests(&FIXTURES));
}

#[test]
fn the_committed_vectors_hold() {
    for service in FIXTURES.services() {
        let text = fs::read_to_string(path("vectors").join(format!("{}.txt", service.name))).unwrap();
        assert_eq!(service.canonical_text(), text, "{}", service.name);
    }
    let listed = fs::read_to_string(path("vectors/digests.txt")).unwrap();
    let ours: Vec<_> = FIXTURES.services().map(|service| format!("{} {}", service.digest, service.name)).collect();
    assert_eq!(ours, listed.lines().collect::<Vec<_>>());
}

/// A contract with one of everything that a change can be made to.
const BEFORE: &str = r#"
service S { rpc Ask(Q) returns (A) { option (drawbridge.options.v1.method).deadline = "3s"; } }
message Q { string key = 1; Kind kind = 2; oneof how { string by = 3; int32 at = 4; } }
message A { repeated Row rows = 1; map<string, Row> named = 2; repeated int32 numbers = 3; }
message Row { string text = 1 [(drawbridge.options.v1.field).classification = CLASSIFICATION_PERSONAL]; optional int32 size = 2; }
enum Kind { KIND_UNSPECIFIED = 0; KIND_OLD = 1; }
message Stranger { string unused = 1; }
"#;

fn digest(text: &str) -> String {
    let contracts =
        load(&[("t.proto", text)]).unwrap_or_else(|problems| panic!("{}", super::fixtures::written(&problems)));
    contracts.service("t.S").unwrap().digest.to_string()
}

#[test]
fn every_change_to_what_can_be_asked_changes_the_digest() {
    let before = with_head(BEFORE);
    let digest_before = digest(&before);
    for (from, to) in [
        ("string key = 1", "string key = 9"),
        ("string key = 1", "bytes key = 1"),
        ("string key = 1", "repeated string key = 1"),
        ("string key = 1", "optional string key = 1"),
        ("string key = 1", "string clef = 1"),
        ("string key = 1", "string key = 1 [json_name = \"clef\"]"),
        ("string key = 1", "string key = 1 [(drawbridge.options.v1.field).required = true]"),
        ("string key = 1", "string key = 1 [(drawbridge.options.v1.field).format = FORMAT_UPRN]"),
        ("string key = 1", "string key = 1 [(drawbridge.options.v1.field).one_of = \"a\"]"),
        (
            "map<string, Row> named = 2",
            "map<string, Row> named = 2 [(drawbridge.options.v1.field).keys.max_length = 3]",
        ),
        ("optional int32 size", "int32 size"),
        ("optional int32 size", "optional sint32 size"),
        ("\"3s\"", "\"4s\""),
        ("CLASSIFICATION_PERSONAL", "CLASSIFICATION_PUBLIC"),
        (" [(drawbridge.options.v1.field).classification = CLASSIFICATION_PERSONAL]", ""),
        ("deadline = \"3s\"", "kind = KIND_QUERY"),
        ("rpc Ask(Q) returns (A)", "rpc Ask(Q) returns (stream A)"),
        ("rpc Ask(Q) returns (A)", "rpc Ask(stream Q) returns (A)"),
        ("rpc Ask(Q)", "rpc Tell(Q)"),
        ("rpc Ask(Q) returns (A) {", "rpc Ask(Q) returns (A) { option idempotency_level = IDEMPOTENT;"),
        ("service S {", "service S { rpc More(Q) returns (A);"),
        ("returns (A)", "returns (Row)"),
        ("map<string, Row>", "map<int32, Row>"),
        ("map<string, Row>", "map<string, Kind>"),
        ("int32 at = 4; }", "} int32 at = 4;"),
        ("oneof how", "oneof manner"),
        ("KIND_OLD = 1", "KIND_OLD = 2"),
        ("KIND_OLD = 1", "KIND_AGED = 1"),
        ("KIND_OLD = 1;", "KIND_OLD = 1; KIND_NEW = 2;"),
        ("repeated int32 numbers = 3", "repeated int32 numbers = 3 [packed = false]"),
    ] {
        let after = before.replace(from, to);
        assert_ne!(before, after, "{from} is not in the contract");
        assert_ne!(digest(&after), digest_before, "{from} became {to}");
    }
}

#[test]
fn what_is_no_part_of_the_question_leaves_the_digest_alone() {
    let before = with_head(BEFORE);
    let digest_before = digest(&before);
    for (from, to) in [
        ("message Q {", "// A comment.\nmessage Q {"),
        ("message Stranger { string unused = 1; }", ""),
        ("string key = 1;", "string key = 1 [deprecated = true, ctype = CORD];"),
        ("string key = 1;", "string key = 1 [json_name = \"key\"];"),
        ("string key = 1; Kind kind = 2;", "Kind kind = 2; string key = 1;"),
        ("repeated int32 numbers = 3", "repeated int32 numbers = 3 [packed = true]"),
        ("message Q {", "message Q { reserved 100; reserved \"old\";"),
        ("package t;", "package t; option java_package = \"com.example\";"),
        ("service S {", "service Other { rpc Ask(Stranger) returns (Stranger); } service S {"),
    ] {
        let after = before.replace(from, to);
        assert_ne!(before, after, "{from} is not in the contract");
        assert_eq!(digest(&after), digest_before, "{from} became {to}");
    }
}

#[test]
fn moving_definitions_to_other_files_leaves_the_digest_alone() {
    let whole = with_head(BEFORE);
    let row = "message Row { string text = 1 [(drawbridge.options.v1.field).classification = CLASSIFICATION_PERSONAL]; optional int32 size = 2; }\n";
    let main = whole.replace(row, "").replace("package t;", "package t; import \"far/row.proto\";");
    let split = load(&[("elsewhere.proto", &main), ("far/row.proto", &with_head(row))]).unwrap();
    assert_eq!(split.service("t.S").unwrap().digest.to_string(), digest(&whole));
}

#[test]
fn how_options_are_spelt_leaves_the_digest_alone() {
    let apart = one("service S { rpc Ask(Q) returns (Q) { option (drawbridge.options.v1.method).kind = KIND_QUERY; \
         option (drawbridge.options.v1.method).deadline = \"3s\"; } } message Q {}");
    let together = one(
        "service S { rpc Ask(Q) returns (Q) { option (drawbridge.options.v1.method) = { deadline: \"3s\" kind: KIND_QUERY }; } } \
         message Q {}",
    );
    assert_eq!(texts(&apart), texts(&together));
}

#[test]
fn other_peoples_options_are_part_of_the_digest() {
    let options = "syntax = \"proto2\"; package o; import \"google/protobuf/descriptor.proto\";\n\
        message Rules { optional string pattern = 1; map<string, int32> weights = 2; repeated Rules also = 3; }\n\
        extend google.protobuf.FieldOptions { optional Rules rules = 60001; }";
    let contract = |pattern: &str| {
        let text = format!(
            "syntax = \"proto3\"; package t; import \"o.proto\"; service S {{ rpc Ask(Q) returns (Q); }}\n\
             message Q {{ string key = 1 [(o.rules) = {{ pattern: \"{pattern}\" weights: {{ key: \"b\" value: 2 }} weights: {{ key: \"a\" }} also: {{}} }}]; }}"
        );
        load(&[("o.proto", options), ("t.proto", &text)]).unwrap()
    };
    let text = contract("^a$").service("t.S").unwrap().canonical_text();
    let expected = "option 60001={}\noption 60001.1=\"^a$\"\noption 60001.2{\"a\"}=0\noption 60001.2{\"b\"}=2\noption 60001.3[0]={}\n";
    assert!(text.contains(expected), "{text}");
    assert_ne!(contract("^b$").service("t.S").unwrap().digest, contract("^a$").service("t.S").unwrap().digest);
}

#[test]
fn an_option_kept_in_sources_only_is_no_part_of_the_digest() {
    let options = |retention: &str| {
        format!(
            "syntax = \"proto2\"; package o; import \"google/protobuf/descriptor.proto\";\n\
             extend google.protobuf.FieldOptions {{ optional string hint = 60002 {retention}; }}"
        )
    };
    let text = |retention: &str, field: &str| {
        let contract = format!(
            "syntax = \"proto3\"; package t; import \"o.proto\"; service S {{ rpc Ask(Q) returns (Q); }} message Q {{ string key = 1 {field}; }}"
        );
        let contracts = load(&[("o.proto", &options(retention)), ("t.proto", &contract)]).unwrap();
        contracts.service("t.S").unwrap().digest
    };
    let set = "[(o.hint) = \"x\"]";
    assert_eq!(text("[retention = RETENTION_SOURCE]", set), text("", ""));
    assert_ne!(text("", set), text("", ""));
}

#[test]
fn a_descriptor_set_without_its_imports_is_refused() {
    let Source::DescriptorSet { bytes, .. } = golden("protoc.binpb") else { unreachable!() };
    // The files come imports first: without the first half something is missing.
    let mut alone = Vec::new();
    let set = <prost_types::FileDescriptorSet as prost::Message>::decode(bytes.as_slice()).unwrap();
    let file = set.file.iter().find(|file| file.name() == "registry/v1/person.proto").unwrap().clone();
    prost::Message::encode(&prost_types::FileDescriptorSet { file: vec![file] }, &mut alone).unwrap();
    let problems =
        Contracts::load(&[Source::DescriptorSet { name: "half.binpb".to_owned(), bytes: alone }]).unwrap_err();
    insta::assert_snapshot!(super::fixtures::written(&problems), @r"
    error: the import `registry/v1/place.proto` is not in any source
     --> half.binpb
      = help: make the set with its imports: `buf build`, or `protoc --include_imports`
    ");
}
