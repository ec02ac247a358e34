//! The OpenAPI document: what it says, and that it says the same each time.

use std::collections::BTreeSet;

use contract::Contracts;
use drawbridge_rest::{Reason, Routes, Title, document};
use serde_json::Value;

use super::contracts;

pub fn of(contracts: &Contracts, services: &[&str]) -> Value {
    let title = Title {
        title: "What may be asked".to_owned(),
        version: "1".to_owned(),
        description: "Through a gateway.".to_owned(),
        server: Some("https://localhost:8444".to_owned()),
    };
    let reason = |name: &str, code, meaning: &str| Reason { name: name.to_owned(), code, meaning: meaning.to_owned() };
    let reasons =
        [reason("NO_AGREEMENT", 7, "No agreement allows it."), reason("MALFORMED", 3, "It is not a message.")];
    let services: BTreeSet<String> = services.iter().map(|&name| name.to_owned()).collect();
    document(&Routes::of(contracts).unwrap(), &services, &title, &reasons)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn the_document_of_a_contract_with_everything() {
    insta::assert_snapshot!(pretty(&of(&contracts::archive(), &["archive.v1.Files"])));
}

#[test]
fn the_document_of_a_contract_with_rules_about_values() {
    let document = of(&contracts::lookups(), &["lookups.v1.Lookups"]);
    let schemas = &document["components"]["schemas"];
    // What is answered is held against nothing.
    assert!(schemas["lookups.v1.Place"]["required"].is_null() && schemas["lookups.v1.Found"]["required"].is_null());
    assert_eq!(schemas["lookups.v1.Place-Request"]["required"], serde_json::json!(["uprn"]));
    let mut shown = serde_json::Map::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().unwrap();
            let own: Vec<&Value> = parameters.iter().filter(|parameter| parameter["$ref"].is_null()).collect();
            let body = &operation["requestBody"];
            shown.insert(format!("{verb} {path}"), serde_json::json!({"parameters": own, "requestBody": body}));
        }
    }
    for (name, schema) in schemas.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("lookups.")) {
        shown.insert(name.clone(), schema.clone());
    }
    insta::assert_snapshot!(pretty(&Value::Object(shown)));
}

#[test]
fn the_document_of_the_shipped_contracts_is_the_same_each_time_and_holds_what_may_be_used() {
    let contracts = contracts::shipped();
    let one = of(&contracts, &["health.v1.Patients"]);
    assert_eq!(pretty(&one), pretty(&of(&contracts::shipped(), &["health.v1.Patients"])));
    insta::assert_snapshot!(pretty(&one));
    let text = pretty(&one);
    assert!(!text.contains("health.v1.Encounters") && !text.contains("police.v1"), "{text}");
    let all: Vec<String> = contracts.services().map(|service| service.name.clone()).collect();
    let all = of(&contracts, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let methods = contracts.services().map(|service| service.methods.len()).sum::<usize>();
    assert_eq!(all["paths"].as_object().unwrap().len(), methods);
}

#[test]
fn every_reference_leads_somewhere() {
    let contracts = contracts::shipped();
    let all: Vec<String> = contracts.services().map(|service| service.name.clone()).collect();
    let documents = [
        of(&contracts, &all.iter().map(String::as_str).collect::<Vec<_>>()),
        of(&contracts::archive(), &["archive.v1.Files"]),
        of(&contracts::lookups(), &["lookups.v1.Lookups"]),
        of(&contracts::archive(), &[]),
    ];
    for document in documents {
        let mut waiting = vec![&document];
        while let Some(value) = waiting.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    waiting.extend(members.values());
                }
                Value::Array(elements) => waiting.extend(elements),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}
