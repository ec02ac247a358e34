//! The parts of the kind that need no back end; `tests/conformance.rs` has the rest.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::config::GrpcBinding;
use super::connector::timeout;
use super::messages::Cutter;
use super::status;
use crate::{ConnectorConfig, ConnectorError, Failure};

fn config(text: &str) -> Result<GrpcBinding, Vec<(String, String)>> {
    let config: ConnectorConfig = toml::from_str(text).unwrap();
    GrpcBinding::read(&config, Path::new("/etc/gateway"))
        .map_err(|complaints| complaints.into_iter().map(|complaint| (complaint.key, complaint.what)).collect())
}

#[test]
fn an_address_with_tls_needs_an_authority() {
    let binding =
        config("address = \"https://backend.internal\"\nca = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"")
            .unwrap();
    assert_eq!((binding.host.as_str(), binding.port), ("backend.internal", 443));
    let tls = binding.tls.clone().unwrap();
    assert_eq!(tls.ca, Path::new("/etc/gateway/ca.pem"));
    assert_eq!(tls.identity.unwrap().1, Path::new("/etc/gateway/k.pem"));
    assert!(!binding.plaintext());
    let ipv6 = config("address = \"https://[2001:db8::1]:50051\"\nca = \"ca.pem\"").unwrap();
    assert_eq!((ipv6.host.as_str(), ipv6.port), ("2001:db8::1", 50051));
}

#[test]
fn plain_text_is_asked_for_by_name_and_stays_on_the_machine() {
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let binding = config(&format!("address = \"http://{host}:50051\"\ndangerous_plaintext = true")).unwrap();
        assert!(binding.plaintext(), "{host}");
    }
    for host in ["127.0.0.1", "backend.internal"] {
        let complaints = config(&format!("address = \"http://{host}:50051\"")).unwrap_err();
        assert_eq!(complaints, [("address".into(), "the address is one without TLS".into())]);
    }
    for host in ["10.0.0.1", "backend.internal", "localhost.example"] {
        let complaints = config(&format!("address = \"http://{host}:50051\"\ndangerous_plaintext = true")).unwrap_err();
        assert_eq!(complaints, [("address".into(), format!("plain text would leave this machine for `{host}`"))]);
    }
}

#[test]
fn every_problem_of_the_table_is_said() {
    for (text, keys) in [
        ("", vec![""]),
        ("address = \"https://x\"", vec![""]),
        ("address = \"https://x\"\nca = \"ca.pem\"\nkey = \"k.pem\"", vec!["key"]),
        ("address = \"https://x\"\nca = \"ca.pem\"\ncertificate = \"c.pem\"", vec!["certificate"]),
        ("address = \"https://x\"\ndangerous_plaintext = true", vec!["dangerous_plaintext", ""]),
        ("address = \"http://127.0.0.1\"\nca = \"ca.pem\"", vec!["address", "ca"]),
        ("address = \"ftp://x\"", vec!["address"]),
        ("address = \"backend:50051\"", vec!["address"]),
        ("address = \"https://user@x\"\nca = \"ca.pem\"", vec!["address"]),
        ("address = \"https://x/path\"\nca = \"ca.pem\"", vec!["address"]),
        ("address = \"not an address\"", vec!["address"]),
        ("query = \"SELECT 1\"\ngather = \"x\"", vec!["query", "gather", ""]),
    ] {
        let complaints = config(text).unwrap_err();
        let found: Vec<&str> = complaints.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, keys, "{text}");
    }
}

#[test]
fn a_timeout_has_at_most_eight_digits() {
    for (left, written) in [
        (Duration::from_nanos(1), "1u"),
        (Duration::from_micros(250), "250u"),
        (Duration::from_secs(99), "99000000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::MAX, "99999999S"),
    ] {
        assert_eq!(timeout(left), written);
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn a_status_is_read_with_its_message_and_details() {
    let status = |pairs: &[_]| status::read(&headers(pairs));
    assert!(status(&[]).is_none());
    assert_eq!(status(&[("grpc-status", "0"), ("grpc-message", "fine")]), Some(Ok(())));
    // Padding or not: gRPC asks its readers to take both.
    for details in ["AQIDBA==", "AQIDBA"] {
        let read = status(&[
            ("grpc-status", "5"),
            ("grpc-message", "kein Gr%C3%BCn%21"),
            ("grpc-status-details-bin", details),
        ]);
        let expected = ConnectorError::Status {
            code: 5,
            message: "kein Grün!".into(),
            details: Bytes::from_static(&[1, 2, 3, 4]),
        };
        assert_eq!(read, Some(Err(expected)));
    }
    for code in ["", "x", "-1", "99999999999"] {
        let malformed = ConnectorError::Malformed { what: "its `grpc-status` is not a number" };
        assert_eq!(status(&[("grpc-status", code)]), Some(Err(malformed)));
    }
}

#[test]
fn a_status_does_not_show_its_message() {
    let error = ConnectorError::Status { code: 5, message: "CANARY".into(), details: Bytes::from_static(b"CANARY") };
    assert_eq!(
        format!("{error} {error:?}"),
        "the legacy system answered with gRPC status 5 ConnectorError(the legacy system answered with gRPC status 5)"
    );
}

#[test]
fn a_head_that_is_not_grpc_says_what_happened() {
    let grpc = [("content-type", "application/grpc+proto")];
    let html = [("content-type", "text/html")];
    let check = |code: u16, pairs: &[_]| status::check_head(StatusCode::from_u16(code).unwrap(), &headers(pairs));
    assert_eq!(check(200, &grpc), Ok(()));
    assert_eq!(check(503, &[("content-type", "application/grpc"), ("grpc-status", "14")]), Ok(()));
    assert_eq!(check(200, &html), Err(ConnectorError::Malformed { what: "its content type is not gRPC" }));
    for code in [404, 502, 503] {
        let why = Failure::Http { status: code };
        assert_eq!(check(code, &html), Err(ConnectorError::Failed { why }));
    }
    for code in [401, 403] {
        assert!(matches!(check(code, &html), Err(ConnectorError::Credentials { .. })));
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.to_vec()
}

/// Cuts a body that arrives in pieces of these lengths, over and over.
fn cut(body: &[u8], lengths: &[usize], limit: usize) -> Result<(Vec<Bytes>, bool), ConnectorError> {
    let mut cutter = Cutter::new(limit);
    let mut messages = Vec::new();
    let mut rest = body;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
        rest = after;
        cutter.push(Bytes::copy_from_slice(piece));
        while let Some(message) = cutter.cut()? {
            messages.push(message);
        }
    }
    Ok((messages, cutter.is_between()))
}

proptest! {
    #[test]
    fn messages_are_the_same_however_the_body_is_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
        lengths in prop::collection::vec(1..200_usize, 1..5),
    ) {
        let body: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        let (found, between) = cut(&body, &lengths, 300).unwrap();
        prop_assert_eq!(found, messages);
        prop_assert!(between);
    }

    #[test]
    fn any_body_is_cut_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), lengths in prop::collection::vec(1..50_usize, 1..4)) {
        let _ = cut(&body, &lengths, 100);
    }
}

#[test]
fn a_message_within_one_piece_is_not_copied() {
    let body = Bytes::from([framed(b"one"), framed(b"two")].concat());
    let mut cutter = Cutter::new(100);
    cutter.push(body.clone());
    let one = cutter.cut().unwrap().unwrap();
    assert_eq!(one.as_ptr(), body.slice(5..).as_ptr());
    assert_eq!(cutter.cut().unwrap().unwrap(), "two");
    assert!(cutter.cut().unwrap().is_none() && cutter.is_between());
}

#[test]
fn what_is_too_large_compressed_or_cut_short_is_seen() {
    assert_eq!(cut(&framed(&[0; 100]), &[7], 100).unwrap().0.len(), 1);
    assert_eq!(cut(&framed(&[0; 101]), &[7], 100), Err(ConnectorError::TooLarge { limit: 100 }));
    // The length alone is enough: nothing of that size is kept.
    assert_eq!(cut(&[0, 0xff, 0xff, 0xff, 0xff], &[2], 100), Err(ConnectorError::TooLarge { limit: 100 }));
    let compressed = ConnectorError::Malformed { what: "a message is compressed, which was not offered" };
    assert_eq!(cut(&[1, 0, 0, 0, 0], &[9], 100), Err(compressed));
    assert!(!cut(&[0, 0, 0, 0, 2, 7], &[9], 100).unwrap().1);
    assert!(!cut(&[0, 0], &[9], 100).unwrap().1);
}
