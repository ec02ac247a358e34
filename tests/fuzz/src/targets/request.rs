//! Messages that are held against their contract. The first byte chooses the method.

use std::sync::{Arc, LazyLock};

use contract::{Contracts, Method};
use prost::Message as _;
use prost_reflect::DynamicMessage;

use crate::fixtures::{FILES, PERSONS, RECORDS};

static METHODS: LazyLock<Vec<Arc<Method>>> = LazyLock::new(|| {
    let all: [&Contracts; 3] = [&PERSONS, &FILES, &RECORDS];
    all.iter().flat_map(|contracts| contracts.services()).flat_map(|service| service.methods.clone()).collect()
});

/// Reads a message as a request, and as an answer.
pub fn run(input: &[u8]) {
    let (choice, message) = input.split_first().unwrap_or((&0, &[]));
    let method = &METHODS[usize::from(*choice) % METHODS.len()];
    let decoded = DynamicMessage::decode(method.input().clone(), message);
    let checked = method.check_request(message);
    match (&checked, &decoded) {
        (Ok(()), Err(error)) => panic!("what was checked cannot be decoded: {error}"),
        (Ok(()), Ok(decoded)) => {
            assert_eq!(decoded.unknown_fields().count(), 0);
            let written = decoded.encode_to_vec();
            assert_eq!(method.check_request(&written), Ok(()), "written anew, it still fits");
            json(method, decoded);
        }
        // Refused for its values: its form is right all the same.
        (Err(misfit), decoded) => assert!(misfit.form().is_some() || decoded.is_ok()),
    }
    if method.check_answer(message).is_ok() {
        assert!(DynamicMessage::decode(method.output().clone(), message).is_ok());
        if let Ok(text) = method.answer_to_json(message) {
            assert!(!text.contains('\n'));
        }
    }
}

/// A request that has a form in JSON is the same request when it is read from it.
fn json(method: &Method, request: &DynamicMessage) {
    let Ok(text) = serde_json::to_string(request) else { return };
    // `NullValue` has one value, for which every number is taken.
    if text.contains("\"nothing\":") {
        return;
    }
    // A value that protobuf's JSON writes and does not read is none of a gateway's: it only reads.
    if let Ok(read) = method.request_from_json(&text) {
        let again = DynamicMessage::decode(method.input().clone(), read.as_slice()).unwrap();
        assert_eq!(serde_json::to_string(&again).map(|text| text.len()).ok(), Some(text.len()));
    }
}
