//! Contracts: descriptor sets as compilers write them, and `.proto` files as text.

use std::collections::BTreeSet;

use contract::{Classification, Contracts, Projection, Selector, Source};
use problem::Problem;
use rest::{Routes, Title, document};

/// Reads a descriptor set.
pub fn descriptor_set(input: &[u8]) {
    loaded(&Source::DescriptorSet { name: "set.binpb".to_owned(), bytes: input.to_vec() });
}

/// Reads one file.
pub fn protos(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    loaded(&Source::Protos { name: "proto".to_owned(), files: vec![("t.proto".to_owned(), text.to_owned())] });
}

/// A contract that loads can be shown, routed and handed on, and is the same contract there.
fn loaded(source: &Source) {
    let contracts = match Contracts::load(std::slice::from_ref(source)) {
        Ok(contracts) => contracts,
        Err(problems) => {
            assert!(!problems.is_empty());
            let _ = Problem::render_all(&problems, false);
            return;
        }
    };
    let services: BTreeSet<String> = contracts.services().map(|service| service.name.clone()).collect();
    for service in contracts.services() {
        assert!(!service.canonical_text().is_empty());
        for method in &service.methods {
            let _ = Projection::compile(method.output(), &Selector::All);
            let _ = Projection::compile(method.output(), &Selector::Classifications([Classification::Public].into()));
            let _ = (method.check_request(&[]), method.check_answer(&[]), method.request_from_json("{}"));
        }
    }
    if let Ok(routes) = Routes::of(&contracts) {
        let _ = document(
            &routes,
            &services,
            &Title { title: "a".to_owned(), version: "1".to_owned(), description: String::new(), server: None },
            &[],
        );
    }
    handed_on(&contracts, &services);
}

/// What reflection hands on is the same contract to whoever reads it.
fn handed_on(contracts: &Contracts, services: &BTreeSet<String>) {
    let mut set = Vec::new();
    for (_, file) in contracts.encoded_files(services) {
        prost::encoding::bytes::encode(1, &file, &mut set);
    }
    if services.is_empty() {
        return;
    }
    let again = Contracts::load(&[Source::DescriptorSet { name: "again".to_owned(), bytes: set }]);
    let again = again.unwrap_or_else(|problems| panic!("what was handed on does not load: {problems:?}"));
    let digests = |contracts: &Contracts| {
        contracts.services().map(|service| (service.name.clone(), service.digest)).collect::<Vec<_>>()
    };
    assert_eq!(digests(&again), digests(contracts));
}
