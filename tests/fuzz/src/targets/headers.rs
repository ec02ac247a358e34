//! Headers and trailers: `name: value`, a line each.

use std::time::Duration;

use exchange::{
    CallMetadata, MAX_JUSTIFICATION_BYTES, MAX_REFERENCE_BYTES, deadline,
    headers::{Signed, read_status, write_status},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use ledger::SealVerifier;
use records::receipt;

use crate::fixtures::CONSUMER;

/// Reads claims, status and metadata.
pub fn run(input: &[u8]) {
    let headers = headers(input);
    if let Some(signed) = Signed::read(&headers) {
        signatures(&signed);
        let mut written = HeaderMap::new();
        signed.write(&mut written);
        let again = Signed::read(&written).expect("what was written is read");
        assert_eq!((&again.claims, &again.seal, &again.leaf), (&signed.claims, &signed.seal, &signed.leaf));
    }
    if let Some(status) = read_status(&headers) {
        let mut written = HeaderMap::new();
        write_status(&status, &mut written);
        assert_eq!(read_status(&written), Some(status));
    }
    if let Some(text) = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()) {
        // Source: gRPC over HTTP/2, "Timeout": at most eight digits.
        assert!(deadline::read_timeout(text).is_none_or(|timeout| timeout <= Duration::from_hours(99_999_999)));
    }
    if let Ok(metadata) = CallMetadata::read(&headers) {
        let references = [&metadata.case, &metadata.idempotency_key];
        let actor = metadata.actor.as_ref().map_or(0, |(id, role)| id.len() + role.len());
        assert!(references.iter().all(|text| text.as_ref().is_none_or(|text| text.len() <= MAX_REFERENCE_BYTES)));
        assert!(actor <= MAX_REFERENCE_BYTES);
        assert!(metadata.justification.is_none_or(|text| text.len() <= MAX_JUSTIFICATION_BYTES));
    }
}

/// A signature that holds is for these bytes alone.
fn signatures(signed: &Signed) {
    let promise = signed.leaf.as_ref().and_then(receipt::promise_of);
    let Some(seal) = signed.seal.as_ref().and_then(receipt::seal_from_wire) else { return };
    assert_eq!(receipt::seal_from_wire(&receipt::seal_to_wire(&seal)).as_ref(), Some(&seal));
    let verifier = SealVerifier::new(CONSUMER.verifier());
    for tag in [receipt::CONSUMER_CLAIMS, receipt::CONSUMER_CLOSING] {
        if verifier.verify(tag, &signed.claims, promise.as_ref(), &seal).is_ok() {
            let more = [&signed.claims[..], b"x"].concat();
            assert!(verifier.verify(tag, &more, promise.as_ref(), &seal).is_err());
        }
    }
}

fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(256) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let name = HeaderName::from_bytes(name.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}
