//! gzip between a partner system and its own gateway, looked at byte by byte; grpcio shows none of it.

use std::io::{Read as _, Write as _};

use bytes::{BufMut as _, Bytes, BytesMut};
use drawbridge_tests::{COUNCIL, TRUST, TestFederation, client::metadata, federation::standard, python::Backend};
use exchange::{digests, framing};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use prost::Message as _;
use proto::link::ConsumerClaims;
use records::Record;

fn packed(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    let packed = encoder.finish().unwrap();
    let mut framed = BytesMut::new();
    framed.put_u8(1);
    framed.put_u32(u32::try_from(packed.len()).unwrap());
    framed.put_slice(&packed);
    framed.freeze()
}

/// The messages of a body, each with whether it was compressed.
fn messages(mut body: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let [flag, length @ ..] = prefix;
        let (message, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*length)).unwrap());
        let mut plain = Vec::new();
        match flag {
            0 => plain.extend_from_slice(message),
            _ => drop(GzDecoder::new(message).read_to_end(&mut plain).unwrap()),
        }
        found.push((*flag == 1, plain));
        body = rest;
    }
    found
}

fn with(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = standard();
    for (name, value) in pairs {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    headers
}

#[tokio::test]
async fn answers_are_compressed_for_who_compresses_and_what_is_signed_is_what_was_said() {
    let federation = TestFederation::new().await;
    let _backend = Backend::behind(&federation);
    let federation = federation.start();
    let mut client = federation.revenues().await;
    let text = "long enough that it is compressed ".repeat(100);
    let say = federation.request("test.v1.Echo/Say", &format!("{{\"text\": \"{text}\", \"times\": \"2\"}}"));
    let gzip = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity, deflate, gzip")];
    for (headers, body, compressed) in [
        (with(&gzip), packed(&say), true),
        // Under an encoding a message may still come as it is.
        (with(&gzip), framing::framed(&say), true),
        (with(&gzip[..1]), packed(&say), false),
        (with(&gzip[1..]), framing::framed(&say), false),
    ] {
        for (path, count) in [("/test.v1.Echo/Say", 1), ("/test.v1.Echo/Repeat", 2)] {
            let (head, answer) = client.open_raw(path, &headers, body.clone(), None).await.unwrap();
            assert_eq!(head.get("grpc-encoding").is_some(), compressed, "{path} {headers:?}");
            let collected = answer.collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["grpc-status"], "0", "{path}");
            let found = messages(&collected.to_bytes());
            assert_eq!(found.len(), count, "{path}");
            for (flag, message) in found {
                assert_eq!(flag, compressed, "{path} {headers:?}");
                let said = federation.answer(&path[1..], &message);
                assert!(said["text"].as_str().unwrap().starts_with(&text), "{path}");
            }
            // Both logs hold the digest of the request as it is, whatever came in.
            let exchange = head["drawbridge-exchange-id"].to_str().unwrap();
            for member in [COUNCIL, TRUST] {
                let settled = federation.member(member).records_of(exchange).into_iter().find(Record::settles);
                let claims = settled.unwrap().opened.unwrap().shared.consumer_claims;
                let claims = ConsumerClaims::decode(claims).unwrap();
                let digest = digests::of_request(&claims.nonce, &framing::framed(&say));
                assert_eq!(claims.request_digest, &digest[..], "{member} {path}");
            }
        }
    }
}

#[tokio::test]
async fn what_says_that_it_is_gzip_and_is_not_is_refused_and_recorded() {
    let federation = TestFederation::new().await.start();
    let mut client = federation.revenues().await;
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let whole = packed(&find);
    let broken = [&whole[..5], b"x", &whole[6..]].concat();
    let cut = whole.slice(..whole.len() - 1);
    for (body, encoding, code) in [
        (Bytes::from(broken), "gzip", "3"),
        (cut, "gzip", "3"),
        (whole.clone(), "identity", "12"),
        (whole.clone(), "snappy", "12"),
        (whole, "gzip", "0"),
    ] {
        let mut headers = standard();
        headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        let (head, answer) = client.open_raw("/test.v1.Records/Find", &headers, body, None).await.unwrap();
        let status = answer.collect().await.unwrap().trailers().unwrap()["grpc-status"].clone();
        assert_eq!(status, code, "{encoding}");
        let exchange = head["drawbridge-exchange-id"].to_str().unwrap();
        assert_eq!(federation.member(COUNCIL).records_of(exchange).len(), 1, "{encoding}");
        assert_eq!(federation.member(TRUST).records_of(exchange).is_empty(), code != "0", "{encoding}");
        if code == "12" {
            assert_eq!(head["grpc-accept-encoding"], "identity,gzip");
        }
    }
    // Who may not ask is told no more than anybody.
    let nobody =
        metadata(&[("drawbridge-provider", TRUST), ("drawbridge-purpose", "other"), ("grpc-encoding", "gzip")]);
    let (_, answer) =
        client.open_raw("/test.v1.Records/Find", &nobody, Bytes::from_static(b"\x01\0\0\0\x01x"), None).await.unwrap();
    assert_eq!(answer.collect().await.unwrap().trailers().unwrap()["grpc-status"], "7");
}
