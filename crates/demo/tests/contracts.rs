//! The contracts compile, and say of every method and field what a gateway needs to know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use contract::{Contracts, Kind, Operation, Shape, Source, classification};
use drawbridge_demo::contracts::PROTOS;
use prost_reflect::MessageDescriptor;

fn contracts() -> Contracts {
    let files = PROTOS.map(|(path, text)| (path.to_owned(), text.to_owned())).to_vec();
    Contracts::load(&[Source::Protos { name: "proto".to_owned(), files }]).unwrap()
}

#[test]
fn every_method_of_the_three_members_is_there_in_its_shape() {
    let contracts = contracts();
    for (path, shape) in [
        ("/health.v1.Patients/Find", Shape::Unary),
        ("/health.v1.Encounters/List", Shape::ServerStream),
        ("/health.v1.Encounters/Conditions", Shape::ServerStream),
        ("/health.v1.Encounters/Observations", Shape::ServerStream),
        ("/health.v1.Encounters/Compare", Shape::ServerStream),
        ("/health.v1.Encounters/CountClusters", Shape::Unary),
        ("/police.v1.Neighbourhoods/Find", Shape::Unary),
        ("/police.v1.Neighbourhoods/List", Shape::ServerStream),
        ("/police.v1.Stations/List", Shape::ServerStream),
        ("/council.v1.Authorities/Find", Shape::Unary),
        ("/council.v1.Authorities/Match", Shape::Unary),
        ("/council.v1.Authorities/List", Shape::ServerStream),
        ("/council.v1.Authorities/Codes", Shape::ServerStream),
    ] {
        assert_eq!(contracts.method(path).expect(path).shape(), shape, "{path}");
    }
}

#[test]
fn every_method_is_a_query_and_says_what_it_is_in_law() {
    for service in contracts().services() {
        for method in &service.methods {
            assert_eq!(method.kind(), Some(Kind::Query), "{}", method.path());
            let operation = method.operation().unwrap_or_else(|| panic!("{}", method.path()));
            let personal = service.name.starts_with("health");
            assert_eq!(
                matches!(operation, Operation::Disclosure | Operation::Combination),
                personal,
                "{}",
                method.path()
            );
            assert_eq!(method.deadline().is_some(), method.shape() == Shape::Unary, "{}", method.path());
        }
    }
}

#[test]
fn every_field_that_holds_a_value_is_classified() {
    fn walk(message: &MessageDescriptor, seen: &mut BTreeSet<String>) {
        if !seen.insert(message.full_name().to_owned()) || message.package_name().starts_with("google") {
            return;
        }
        for field in message.fields() {
            let kind = field.kind();
            match kind.as_message() {
                Some(inner) if !inner.package_name().starts_with("google") => walk(inner, seen),
                Some(_) | None => assert!(classification(&field).is_some(), "{}", field.full_name()),
            }
        }
    }
    let mut seen = BTreeSet::new();
    for service in contracts().services() {
        for method in &service.methods {
            walk(method.input(), &mut seen);
            walk(method.output(), &mut seen);
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn every_nhs_number_names_the_data_subject() {
    let contracts = contracts();
    let mut found = 0;
    for service in contracts.services() {
        for method in &service.methods {
            for field in method.input().fields().chain(method.output().fields()) {
                let subject = contract::subject(&field);
                assert_eq!(
                    subject.as_deref() == Some("nhs-number"),
                    field.name() == "nhs_number",
                    "{}",
                    field.full_name()
                );
                found += usize::from(subject.is_some());
            }
        }
    }
    assert_eq!(found, 6);
}

#[test]
fn every_nhs_number_that_is_asked_about_has_its_check_digit() {
    let contracts = contracts();
    for path in ["Patients/Find", "Encounters/List", "Encounters/Conditions", "Encounters/Observations"] {
        let method = contracts.method(&format!("/health.v1.{path}")).unwrap();
        let check = |number: &str| {
            method.check_request(&method.request_from_json(&format!("{{\"nhsNumber\": \"{number}\"}}")).unwrap())
        };
        assert_eq!(check("9990000018"), Ok(()), "{path}");
        assert!(check("9990000019").unwrap_err().violations().is_some(), "{path}");
        assert_eq!(method.check_request(&[]).is_ok(), path == "Encounters/List", "{path}");
    }
}
