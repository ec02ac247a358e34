//! Requests of REST clients: a line with verb, path and query, then the body. Answers too: the body as protobuf.

use contract::Contracts;
use prost_reflect::DynamicMessage;
use rest::Found;

use crate::fixtures::{FILES, ROUTES};

/// Longest JSON that an answer may become, in bytes.
const LIMIT: usize = 64 * 1024;

/// Reads a request, and writes the body as an answer of every route.
pub fn run(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, body) = input.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    for route in ROUTES.iter() {
        if let Ok(text) = route.answer(body, LIMIT) {
            assert!(text.len() <= LIMIT && !text.contains(&b'\n'));
            let _: serde_json::Value = serde_json::from_slice(&text).expect("an answer is JSON");
        }
    }
    let Ok(line) = std::str::from_utf8(line) else { return };
    let (verb, target) = line.split_once(' ').unwrap_or(("POST", line));
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Found::Route(matched) = ROUTES.find(verb, path) else { return };
    let contracts: &Contracts = &FILES;
    let method = contracts.method(matched.route.method().path()).unwrap();
    match matched.request(query, body) {
        Ok(request) => {
            DynamicMessage::decode(method.input().clone(), request.as_slice()).expect("a request that was made is one");
            let form = method.check_request(&request).err().and_then(|misfit| misfit.form().cloned());
            assert_eq!(form, None, "a request that was made has its contract's form");
        }
        Err(unfit) => assert!(!unfit.violations.is_empty()),
    }
}
