//! What is wrong with contracts, told all at once, with its place and its cure.

use drawbridge_contract::{Contracts, OPTIONS_PROTO, Source};
use prost::Message;

use super::fixtures::{folder, golden, load, protos, with_head, written};

#[track_caller]
fn problems(sources: &[Source]) -> String {
    written(&Contracts::load(sources).unwrap_err())
}

#[track_caller]
fn refused(body: &str) -> String {
    problems(&[protos("proto", &[("t.proto", &with_head(body))])])
}

#[test]
fn a_second_copy_in_an_unknown_syntax_is_a_problem_and_no_panic() {
    let file = |path: &str, syntax: &str, message: &str| prost_types::FileDescriptorProto {
        name: Some(path.to_owned()),
        package: Some("a.v1".to_owned()),
        syntax: Some(syntax.to_owned()),
        message_type: vec![prost_types::DescriptorProto { name: Some(message.to_owned()), ..Default::default() }],
        ..Default::default()
    };
    // Under the same path, and under another one with the same names in it.
    for (path, message) in [("a.proto", "B"), ("b.proto", "A")] {
        let set = |name: &str, file| Source::DescriptorSet {
            name: name.to_owned(),
            bytes: prost_types::FileDescriptorSet { file: vec![file] }.encode_to_vec(),
        };
        let (first, second) = (file("a.proto", "proto3", "A"), file(path, "proto1", message));
        let told = problems(&[set("one.binpb", first), set("two.binpb", second)]);
        assert!(told.contains(path), "{told}");
    }
}

#[test]
fn every_file_with_a_mistake_is_told_at_once() {
    insta::assert_snapshot!(problems(&[protos("proto", &[
        ("a.proto", "syntax = \"proto3\";\nmessage A { string key 1; }\n"),
        ("b.proto", "syntax = \"proto3\";\nmessage B { Missing m = 1; string n = 1; }\n"),
        ("c.proto", "syntax = \"proto3\";\nimport \"helth/v1/patient.proto\";\nmessage C {}\n"),
        ("health/v1/patient.proto", "syntax = \"proto3\";\npackage health.v1;\nmessage P { string a = 1; string a = 2; }\n"),
        ("d.proto", "syntax = \"proto3\";\nimport \"b.proto\";\nmessage D { B b = 1; }\n"),
    ])]), @r#"
    error: expected `=`, but found `1`
     --> proto/a.proto:2:24
      |
    2 | message A { string key 1; }
      |                        ^

    error: name `Missing` is not defined
     --> proto/b.proto:2:13
      |
    2 | message B { Missing m = 1; string n = 1; }
      |             ^^^^^^^
      = help: define it, or import the file that defines it

    error: field number `1` is already used
     --> proto/b.proto:2:39
      |
    2 | message B { Missing m = 1; string n = 1; }
      |                                       ^
      = help: give each field a number of its own

    error: the import `helth/v1/patient.proto` is not in any source
     --> proto/c.proto:2:1
      |
    2 | import "helth/v1/patient.proto";
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: did you mean `health/v1/patient.proto`?

    error: camel-case name of field `a` conflicts with field `a`
     --> proto/health/v1/patient.proto:3:34
      |
    3 | message P { string a = 1; string a = 2; }
      |                                  ^

    error: name `health.v1.P.a` is defined twice
     --> proto/health/v1/patient.proto:3:34
      |
    3 | message P { string a = 1; string a = 2; }
      |                                  ^
      = help: rename one of the two
    "#);
}

#[test]
fn several_mistakes_in_one_file_are_told_at_once() {
    insta::assert_snapshot!(refused(
        "message A { string a = 1; Lost c = 3; Lost d = 4; }\nservice S { rpc Ask(A) returns (Gone); }"
    ), @r"
    error: name `Lost` is not defined
     --> proto/t.proto:2:27
      |
    2 | message A { string a = 1; Lost c = 3; Lost d = 4; }
      |                           ^^^^
      = help: define it, or import the file that defines it

    error: name `Lost` is not defined
     --> proto/t.proto:2:39
      |
    2 | message A { string a = 1; Lost c = 3; Lost d = 4; }
      |                                       ^^^^
      = help: define it, or import the file that defines it

    error: name `Gone` is not defined
     --> proto/t.proto:3:33
      |
    3 | service S { rpc Ask(A) returns (Gone); }
      |                                 ^^^^
      = help: define it, or import the file that defines it
    ");
}

#[test]
fn letters_beyond_ascii_move_no_mark_out_of_its_line() {
    insta::assert_snapshot!(refused("message A { /* Straße 日本 */ Lost c = 3; }"), @r"
    error: name `Lost` is not defined
     --> proto/t.proto:2:29
      |
    2 | message A { /* Straße 日本 */ Lost c = 3; }
      |                               ^^^^
      = help: define it, or import the file that defines it
    ");
    insta::assert_snapshot!(
        refused("message A {} service S { /* Straße */ rpc Ask(A) returns (A) { option (drawbridge.options.v1.method).deadline = \"x\"; } }"),
        @r#"
    error: `x` is not a deadline
     --> proto/t.proto:2:39  (t.S.Ask)
      |
    2 | message A {} service S { /* Straße */ rpc Ask(A) returns (A) { option (drawbridge.options.v1.method).deadline = "x"; } }
      |                                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write a whole number and its unit, as in "250ms", "3s", "5m" or "1h"; more than nothing, at most "24h"
    "#
    );
}

#[test]
fn files_that_import_one_another_in_a_ring_are_told() {
    insta::assert_snapshot!(problems(&[protos("proto", &[
        ("a.proto", "syntax = \"proto3\";\nimport \"b.proto\";\n"),
        ("b.proto", "syntax = \"proto3\";\nimport \"c.proto\";\n"),
        ("c.proto", "syntax = \"proto3\";\nimport \"a.proto\";\n"),
    ])]), @r#"
    error: `a.proto` imports itself: a.proto -> b.proto -> c.proto -> a.proto
     --> proto/c.proto:2:1
      |
    2 | import "a.proto";
      | ^^^^^^^^^^^^^^^^^
      = help: move what both need into a third file
    "#);
}

#[test]
fn an_import_without_any_like_it_is_told_with_where_to_put_it() {
    insta::assert_snapshot!(problems(&[protos("proto", &[("a.proto", "syntax = \"proto3\";\nimport \"google/api/annotations.proto\";\n")])]), @r#"
    error: the import `google/api/annotations.proto` is not in any source
     --> proto/a.proto:2:1
      |
    2 | import "google/api/annotations.proto";
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: add the file, under this path, to one of the folders in `contracts.sources`
    "#);
}

#[test]
fn the_same_file_in_two_folders_is_fine_and_a_different_one_is_not() {
    let one = "syntax = \"proto3\"; package t; message A { string a = 1; }";
    // Spelt differently, and the same.
    let same = "syntax = \"proto3\";\npackage t;\n// A comment.\nmessage A { string a = 1; }\n";
    let other = "syntax = \"proto3\"; package t; message A { string a = 2; }";
    assert!(Contracts::load(&[protos("x", &[("t.proto", one)]), protos("y", &[("t.proto", same)])]).is_ok());
    insta::assert_snapshot!(problems(&[protos("x", &[("t.proto", one)]), protos("y", &[("t.proto", other)])]), @r"
    error: `t.proto` is in `x` and in `y`, and the two differ
     --> y/t.proto
      = help: load one of the two, or make them the same
    ");
}

#[test]
fn the_same_symbols_in_files_of_another_name_are_fine_and_different_ones_are_not() {
    let one = "syntax = \"proto3\"; package t; message A { string a = 1; }";
    let user = "syntax = \"proto3\"; package u; import \"moved/t.proto\"; message B { t.A a = 1; } service S { rpc Ask(B) returns (B); }";
    let contracts =
        Contracts::load(&[protos("x", &[("t.proto", one)]), protos("y", &[("moved/t.proto", one), ("u.proto", user)])]);
    assert!(contracts.unwrap().method("/u.S/Ask").is_some());
    let other = "syntax = \"proto3\"; package t; message A { string a = 1; string b = 2; }";
    insta::assert_snapshot!(problems(&[protos("x", &[("t.proto", one)]), protos("y", &[("moved/t.proto", other), ("u.proto", user)])]), @r"
    error: `t.A` is in `x` (t.proto) and in `y` (moved/t.proto), and the two differ
     --> y/moved/t.proto
      = help: load one of the two, or make them the same
    ");
}

#[test]
fn a_moved_file_of_a_descriptor_set_keeps_its_options() {
    // The set's person.proto imports place.proto, which the folder has under another name.
    let Source::Protos { files, .. } = folder() else { unreachable!() };
    let place = files.iter().find(|(path, _)| path.ends_with("place.proto")).unwrap().1.clone();
    let contracts = Contracts::load(&[protos("x", &[("moved/place.proto", &place)]), golden("protoc.binpb")]).unwrap();
    let alone = Contracts::load(&[golden("protoc.binpb")]).unwrap();
    let digest = |contracts: &Contracts| contracts.service("registry.v1.Persons").unwrap().digest;
    assert_eq!(digest(&contracts), digest(&alone));
}

#[test]
fn sources_may_build_on_one_another() {
    let shared = protos("shared", &[("shared.proto", "syntax = \"proto3\"; package s; message A {}")]);
    let own = protos(
        "own",
        &[(
            "own.proto",
            "syntax = \"proto3\"; package o; import \"shared.proto\"; service S { rpc Ask(s.A) returns (s.A); }",
        )],
    );
    assert!(Contracts::load(&[own, shared]).unwrap().method("/o.S/Ask").is_some());
}

#[test]
fn a_copy_of_the_options_file_may_be_older_or_newer_and_must_not_contradict() {
    let path = "drawbridge/options/v1/options.proto";
    let contract = with_head("message A { string a = 1 [(drawbridge.options.v1.field).subject = \"x\"]; }");
    let with = |from: &str, to: &str| {
        let copy = OPTIONS_PROTO.replace(from, to);
        assert!(from.is_empty() || copy != OPTIONS_PROTO, "{from} is not in the file");
        load(&[(path, &copy), ("t.proto", &contract)])
    };
    assert!(with("", "").is_ok());
    assert!(with("string subject = 2;", "string subject = 2;\n  string more = 30;").is_ok());
    assert!(with("string subject = 2;", "").is_ok());
    assert!(with("OPERATION_ERASURE = 6;", "").is_ok());
    assert!(with("KIND_SUBSCRIPTION = 3;", "KIND_SUBSCRIPTION = 3; KIND_MORE = 4;").is_ok());
    for (from, to) in [
        ("string subject = 2;", "string subject = 30;"),
        ("string subject = 2;", "string person = 2;"),
        ("string subject = 2;", "bytes subject = 2;"),
        ("string subject = 2;", "repeated string subject = 2;"),
        ("KIND_COMMAND = 2;\n", "KIND_COMMAND = 9;\n"),
        ("KIND_COMMAND = 2;\n", "KIND_ORDER = 2;\n"),
        ("Method method = 50901", "Method method = 50902"),
        ("Kind kind = 1;", "Operation kind = 1;"),
    ] {
        assert!(with(from, to).is_err(), "{from} became {to}");
    }
    insta::assert_snapshot!(written(&with("string subject = 2;", "bytes subject = 2;").unwrap_err()), @r"
    error: this `drawbridge/options/v1/options.proto` contradicts the one that the gateway has built in
     --> proto/drawbridge/options/v1/options.proto
      = help: take it out of the source, or make the set with this gateway's own; gateways bring the file
    ");
}

#[test]
fn options_that_contradict_are_told_where_they_stand() {
    insta::assert_snapshot!(refused(
        "message A { int32 a = 1 [(drawbridge.options.v1.field).subject = \"NHS Number\"];
            A b = 2 [(drawbridge.options.v1.field).subject = \"x\"]; }
service S {
    rpc One(A) returns (A) { option (drawbridge.options.v1.method).deadline = \"3 seconds\"; }
    rpc Two(A) returns (A) { option (drawbridge.options.v1.method).kind = KIND_COMMAND; option idempotency_level = NO_SIDE_EFFECTS; }
    rpc Three(A) returns (A) { option (drawbridge.options.v1.method).kind = KIND_SUBSCRIPTION; }
}"
    ), @r#"
    error: `NHS Number` is not the name of an identifier scheme
     --> proto/t.proto:2:13  (t.A.a)
      |
    2 | message A { int32 a = 1 [(drawbridge.options.v1.field).subject = "NHS Number"];
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write lower-case letters, digits, hyphens and dots, at most 64, as in "nhs-number"

    error: a field that identifies a person holds text or a whole number
     --> proto/t.proto:3:13  (t.A.b)
      |
    3 |             A b = 2 [(drawbridge.options.v1.field).subject = "x"]; }
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: mark the field within it that holds the identifier

    error: `3 seconds` is not a deadline
     --> proto/t.proto:5:5  (t.S.One)
      |
    5 |     rpc One(A) returns (A) { option (drawbridge.options.v1.method).deadline = "3 seconds"; }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write a whole number and its unit, as in "250ms", "3s", "5m" or "1h"; more than nothing, at most "24h"

    error: a command has effects, but the method says `idempotency_level = NO_SIDE_EFFECTS`
     --> proto/t.proto:6:5  (t.S.Two)
      |
    6 |     rpc Two(A) returns (A) { option (drawbridge.options.v1.method).kind = KIND_COMMAND; option idempotency_level = NO_SI…
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: take one of the two away, or make it a query

    error: a subscription follows changes, but the method answers once
     --> proto/t.proto:7:5  (t.S.Three)
      |
    7 |     rpc Three(A) returns (A) { option (drawbridge.options.v1.method).kind = KIND_SUBSCRIPTION; }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: let it return a `stream`, or make it a query
    "#);
}

#[test]
fn an_option_that_does_not_exist_is_told_with_where_to_look() {
    insta::assert_snapshot!(refused("message A { string a = 1 [(drawbridge.options.v1.field).clasification = CLASSIFICATION_PUBLIC]; }"), @r"
    error: option field `(drawbridge.options.v1.field).clasification` is not defined
     --> proto/t.proto:2:27
      |
    2 | message A { string a = 1 [(drawbridge.options.v1.field).clasification = CLASSIFICATION_PUBLIC]; }
      |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: import `drawbridge/options/v1/options.proto`, and spell the option as the one that gateways bring does; for an option of a newer version, bring this gateway up to date
    ");
    insta::assert_snapshot!(problems(&[protos("proto", &[
        ("t.proto", "syntax = \"proto3\";\nmessage A { string a = 1 [(drawbridge.options.v1.field).subject = \"x\"]; }\n"),
    ])]), @r#"
    error: name `drawbridge.options.v1.field` is not defined
     --> proto/t.proto:2:27
      |
    2 | message A { string a = 1 [(drawbridge.options.v1.field).subject = "x"]; }
      |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: `drawbridge.options.v1.field` is defined in `drawbridge/options/v1/options.proto`, which is not imported by `t.proto`
    "#);
}

#[test]
fn an_unknown_kind_of_method_is_told_where_it_stands() {
    insta::assert_snapshot!(refused("message A {}\nservice S { rpc Four(A) returns (A) { option (drawbridge.options.v1.method).kind = KIND_GUESS; } }"), @r"
    error: expected a value of type `drawbridge.options.v1.Kind` for option `(drawbridge.options.v1.method).kind`, but found `KIND_GUESS`
     --> proto/t.proto:3:39
      |
    3 | service S { rpc Four(A) returns (A) { option (drawbridge.options.v1.method).kind = KIND_GUESS; } }
      |                                       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: use `KIND_QUERY`, `KIND_COMMAND` or `KIND_SUBSCRIPTION`
    ");
}

#[test]
fn an_option_of_a_newer_version_is_refused_and_not_passed_over() {
    // What a newer protoc would write: an option with a field that this version does not have.
    let Source::DescriptorSet { bytes, .. } = golden("protoc.binpb") else { unreachable!() };
    let mut bytes = bytes;
    // (field 50901).subject = "registry-number" becomes a field number 31 of the same length.
    let old = b"\x12\x0fregistry-number";
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    bytes[at] = 0xfa;
    bytes[at + 1] = 0x01;
    bytes[at + 2] = 0x0e;
    insta::assert_snapshot!(problems(&[Source::DescriptorSet { name: "newer.binpb".to_owned(), bytes }]), @r"
    error: the option `drawbridge.options.v1.field` has a field number 31 that this gateway does not know
     --> newer.binpb  (registry.v1.FindRequest.number)
      = help: it was written for a newer version of Drawbridge: bring this gateway up to date
    ");
}

#[test]
fn what_gateways_serve_themselves_is_no_contract() {
    insta::assert_snapshot!(problems(&[protos("proto", &[
        ("a.proto", "syntax = \"proto3\";\npackage drawbridge.link.v1;\nmessage A {}\nservice S { rpc Ask(A) returns (A); }\n"),
        ("b.proto", "syntax = \"proto3\";\npackage grpc.health.v1;\nmessage A {}\nservice S { rpc Ask(A) returns (A); }\n"),
        ("c.proto", "syntax = \"proto3\";\npackage google.protobuf;\nmessage Mine {}\n"),
        ("d.proto", "syntax = \"proto3\";\npackage grpc.testing;\nmessage A {}\nservice S { rpc Ask(A) returns (A); }\n"),
        ("e.proto", "syntax = \"proto3\";\npackage drawbridges.v1;\nmessage A {}\nservice S { rpc Ask(A) returns (A); }\n"),
    ])]), @r"
    error: the package `drawbridge.link.v1` is none of a contract's: gateways serve `drawbridge` themselves
     --> proto/a.proto:2:1  (drawbridge.link.v1)
      |
    2 | package drawbridge.link.v1;
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: name the package after what it is about, as in `housing.v1`

    error: the package `grpc.health.v1` is none of a contract's: gateways serve `grpc.health` themselves
     --> proto/b.proto:2:1  (grpc.health.v1)
      |
    2 | package grpc.health.v1;
      | ^^^^^^^^^^^^^^^^^^^^^^^
      = help: name the package after what it is about, as in `housing.v1`

    error: the package `google.protobuf` is protobuf's own
     --> proto/c.proto:2:1  (google.protobuf)
      |
    2 | package google.protobuf;
      | ^^^^^^^^^^^^^^^^^^^^^^^^
      = help: name the package after what it is about, as in `housing.v1`
    ");
}

#[test]
fn editions_are_refused_with_what_to_write_instead() {
    insta::assert_snapshot!(problems(&[protos("proto", &[("a.proto", "edition = \"2023\";\npackage a;\nmessage A {}\n")])]), @r#"
    error: expected `enum`, `extend`, `import`, `message`, `option`, `service`, `package` or `;`, but found `edition`
     --> proto/a.proto:1:1
      |
    1 | edition = "2023";
      | ^^^^^^^
      = help: write the contract with `syntax = "proto3";`: editions cannot be served
    "#);
    let file = prost_types::FileDescriptorProto {
        name: Some("a.proto".to_owned()),
        syntax: Some("editions".to_owned()),
        ..Default::default()
    };
    let bytes = prost_types::FileDescriptorSet { file: vec![file] }.encode_to_vec();
    insta::assert_snapshot!(problems(&[Source::DescriptorSet { name: "a.binpb".to_owned(), bytes }]), @r#"
    error: `a.proto` is written in an edition, which cannot be served
     --> a.binpb
      = help: write the contract with `syntax = "proto3";`
    "#);
}

#[test]
fn what_is_no_source_is_told() {
    insta::assert_snapshot!(problems(&[
        protos("empty", &[]),
        Source::DescriptorSet { name: "none.binpb".to_owned(), bytes: Vec::new() },
        Source::DescriptorSet { name: "text.binpb".to_owned(), bytes: b"syntax = \"proto3\";".to_vec() },
    ]), @r"
    error: there is no `.proto` file in this folder
     --> empty
      = help: name a folder of `.proto` files, or a descriptor set, in `contracts.sources`

    error: the descriptor set is empty
     --> none.binpb
      = help: name a folder of `.proto` files, or a descriptor set, in `contracts.sources`

    error: not a descriptor set
     --> text.binpb
      cause: failed to decode Protobuf message: invalid wire type value: 7
      = help: make one with `buf build -o contracts.binpb` or `protoc --include_imports --descriptor_set_out=contracts.binpb`
    ");
}

#[test]
fn a_message_set_and_too_many_required_fields_are_refused() {
    let fields: Vec<_> = (1..=65).map(|number| format!("required int32 f{number} = {number};\n")).collect();
    let fields = fields.concat();
    let text = format!(
        "syntax = \"proto2\";\npackage t;\nmessage Wide {{\n{fields}}}\nmessage Set {{\n  option message_set_wire_format = true;\n  extensions 4 to max;\n}}\nservice S {{ rpc Ask(Wide) returns (Set); }}"
    );
    insta::assert_snapshot!(problems(&[protos("proto", &[("t.proto", &text)])]), @r"
    error: `t.Wide` has 65 required fields; 64 can be served
     --> proto/t.proto:3:1  (t.Wide)
      |
    3 | message Wide {
      | ^^^^^^^^^^^^^^
      = help: make some of them optional, or group them in a message

    error: `t.Set` is a message set, which cannot be served
      --> proto/t.proto:70:1  (t.Set)
       |
    70 | message Set {
       | ^^^^^^^^^^^^^
       = help: use an ordinary message
    ");
}

#[test]
fn no_sources_are_no_contracts() {
    assert_eq!(Contracts::load(&[]).unwrap().services().count(), 0);
}

#[test]
fn broken_descriptor_sets_are_refused_and_never_panic() {
    let Source::DescriptorSet { bytes, .. } = golden("protoc.binpb") else { unreachable!() };
    let mut dice = super::generate::Dice(11);
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = bytes.clone();
        super::generate::mutate(&mut bytes, &mut dice);
        refused += usize::from(Contracts::load(&[Source::DescriptorSet { name: "x".to_owned(), bytes }]).is_err());
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn the_sample_contracts_load_and_classify_what_they_answer() {
    fn collect(folder: &std::path::Path, root: &std::path::Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, files);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut files = Vec::new();
    for package in ["council", "health", "police", "drawbridge/options"] {
        collect(&root.join(package), &root, &mut files);
    }
    let contracts = Contracts::load(&[Source::Protos { name: "proto".to_owned(), files }])
        .unwrap_or_else(|problems| panic!("{}", written(&problems)));
    for service in contracts.services() {
        for method in &service.methods {
            assert!(method.kind().is_some(), "{} says no kind", method.path());
            let all = drawbridge_contract::Classification::ALL.into_iter().collect();
            let selector = drawbridge_contract::Selector::Classifications(all);
            let projection = drawbridge_contract::Projection::compile(method.output(), &selector).unwrap();
            assert!(!projection.released().is_empty(), "{} classifies nothing", method.path());
        }
    }
}
