//! Methods by path, and what a gateway has to know of each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use drawbridge_contract::{Classification, Contracts, Kind, Operation, Shape, classification, subject};
use prost::Message;
use prost_reflect::DescriptorPool;

use super::fixtures::{FIXTURES, golden, load, method, person, protos};

#[test]
fn a_method_is_found_by_its_exact_path_and_by_nothing_else() {
    assert_eq!(method("/registry.v1.Persons/Find").path(), "/registry.v1.Persons/Find");
    for wrong in [
        "registry.v1.Persons/Find",
        "/registry.v1.Persons/find",
        "/registry.v1.Persons/Find/",
        "/Persons/Find",
        "",
        "/",
    ] {
        assert!(FIXTURES.method(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_method_says_what_its_contract_says() {
    let find = method("/registry.v1.Persons/Find");
    assert_eq!((find.service(), find.name()), ("registry.v1.Persons", "Find"));
    assert_eq!(find.kind(), Some(Kind::Query));
    assert_eq!(find.operation(), Some(Operation::Consultation));
    assert_eq!(find.deadline(), Some(Duration::from_secs(3)));
    assert_eq!(find.input().full_name(), "registry.v1.FindRequest");
    assert_eq!(find.output().full_name(), "registry.v1.Person");
    assert_eq!(find.contract_digest(), FIXTURES.service("registry.v1.Persons").unwrap().digest);
}

#[test]
fn the_kind_is_the_option_else_what_protobuf_says_else_left_to_the_agreement() {
    for (path, kind, shape) in [
        ("/registry.v1.Persons/Find", Some(Kind::Query), Shape::Unary),
        ("/registry.v1.Persons/List", Some(Kind::Query), Shape::ServerStream),
        ("/registry.v1.Persons/Watch", Some(Kind::Subscription), Shape::ServerStream),
        ("/registry.v1.Persons/Register", Some(Kind::Command), Shape::Unary),
        ("/registry.v1.Persons/Upload", None, Shape::ClientStream),
        ("/registry.v1.Persons/Converse", None, Shape::Bidirectional),
    ] {
        assert_eq!((method(path).kind(), method(path).shape()), (kind, shape), "{path}");
    }
}

#[test]
fn options_survive_every_compiler() {
    for set in ["protoc.binpb", "buf.binpb", "protox.binpb"] {
        let contracts = Contracts::load(&[golden(set)]).unwrap();
        let find = contracts.method("/registry.v1.Persons/Find").unwrap();
        assert_eq!(find.kind(), Some(Kind::Query), "{set}");
        let number = find.input().get_field_by_name("number").unwrap();
        assert_eq!(classification(&number), Some(Classification::Personal), "{set}");
        assert_eq!(subject(&number).as_deref(), Some("registry-number"), "{set}");
    }
    assert_eq!(classification(&person().get_field_by_name("remark").unwrap()), None);
    assert_eq!(subject(&person().get_field_by_name("number").unwrap()), None);
}

#[test]
fn services_come_sorted_and_are_found_by_name() {
    let names: Vec<_> = FIXTURES.services().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["archive.v1.Archive", "registry.v1.Persons"]);
    assert!(FIXTURES.service("registry.v1").is_none());
    assert_eq!(FIXTURES.service("registry.v1.Persons").unwrap().methods.len(), 6);
}

#[test]
fn ten_thousand_methods_are_found_one_by_one() {
    let mut text = String::from("syntax = \"proto3\"; package many;\nmessage Q { string key = 1; }\n");
    for service in 0..100 {
        let _ = writeln!(text, "service S{service} {{");
        for method in 0..100 {
            let _ = writeln!(text, "rpc M{method}(Q) returns (Q);");
        }
        text.push_str("}\n");
    }
    let contracts = load(&[("many.proto", &text)]).unwrap();
    for service in 0..100 {
        for method in 0..100 {
            assert!(contracts.method(&format!("/many.S{service}/M{method}")).is_some());
        }
    }
}

#[test]
fn reflection_gets_the_files_that_a_service_needs_and_no_service_besides() {
    let two = "syntax = \"proto3\"; package t; import \"shared.proto\";
        service Open { rpc Ask(Shared) returns (Shared); } service Hidden { rpc Ask(Shared) returns (Shared); }";
    let shared = "syntax = \"proto3\"; package t; message Shared { string key = 1; }";
    let other = "syntax = \"proto3\"; package u; message Far {} service Elsewhere { rpc Ask(Far) returns (Far); }";
    let contracts =
        Contracts::load(&[protos("proto", &[("two.proto", two), ("shared.proto", shared), ("u.proto", other)])])
            .unwrap();
    let chosen = BTreeSet::from(["t.Open".to_owned(), "t.Absent".to_owned()]);
    let set = contracts.descriptor_set(&chosen);
    let names: Vec<_> = set.file.iter().map(prost_types::FileDescriptorProto::name).collect();
    assert_eq!(names, ["shared.proto", "two.proto"]);
    let services: Vec<_> =
        set.file.iter().flat_map(|file| &file.service).map(prost_types::ServiceDescriptorProto::name).collect();
    assert_eq!(services, ["Open"]);
    assert!(set.file.iter().all(|file| file.source_code_info.is_none()));
    assert_eq!(DescriptorPool::from_file_descriptor_set(set).unwrap().services().len(), 1);
    assert!(contracts.descriptor_set(&BTreeSet::new()).file.is_empty());
}

#[test]
fn encoded_files_keep_the_options_of_contracts() {
    let chosen = BTreeSet::from(["registry.v1.Persons".to_owned()]);
    let mut pool = DescriptorPool::new();
    for (name, bytes) in FIXTURES.encoded_files(&chosen) {
        pool.decode_file_descriptor_proto(bytes.as_slice()).unwrap();
        assert!(pool.get_file_by_name(&name).unwrap().file_descriptor_proto().source_code_info.is_none());
    }
    let field = pool.get_message_by_name("registry.v1.Name").unwrap().get_field_by_name("known_as").unwrap();
    assert_eq!(classification(&field), Some(Classification::Official));
    assert!(pool.get_service_by_name("archive.v1.Archive").is_none());
    // The set without options is made of the same files.
    let set = FIXTURES.descriptor_set(&chosen);
    assert_eq!(set.file.len(), pool.files().len());
    assert!(set.encoded_len() > 0);
}

#[test]
fn comments_are_kept_for_those_who_document_a_contract() {
    let service = FIXTURES.service("registry.v1.Persons").unwrap();
    let file = service.descriptor().parent_file();
    let info = file.file_descriptor_proto().source_code_info.clone().unwrap();
    let comment = info.location.iter().find(|location| location.path == service.descriptor().path()).unwrap();
    assert_eq!(comment.leading_comments(), " Who is registered here.\n");
}
