//! What a gateway does not take, and that honest callers are served all the while.

mod agreed;
mod shares;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use drawbridge_tests::{
    COUNCIL, Client, TRUST, TestFederation, client::metadata, eventually, faults::refused_start, federation::standard,
    process::run, python::Backend,
};
use exchange::{Reason, Retry};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;

const FIND: &str = "/test.v1.Records/Find";
const LIMIT: usize = 64 * 1024;

/// A `SayRequest` of exactly `size` bytes.
fn say_of(size: usize) -> Vec<u8> {
    // One byte of tag and three of length.
    let text = size - 4;
    let length = [
        u8::try_from(text & 0x7f).unwrap() | 0x80,
        u8::try_from(text >> 7 & 0x7f).unwrap() | 0x80,
        u8::try_from(text >> 14).unwrap(),
    ];
    [&[0x0a][..], &length, &vec![b'x'; text]].concat()
}

#[tokio::test]
async fn a_request_of_exactly_the_limit_passes_and_one_byte_more_is_refused() {
    let federation = TestFederation::new().await;
    let backend = Backend::behind(&federation);
    for member in [COUNCIL, TRUST] {
        federation.member(member).reconfigure("[limits]\n", "[limits]\nmessage = \"64KiB\"\n");
    }
    let federation = federation.start();
    let mut client = federation.revenues().await;
    let exact = client.call("/test.v1.Echo/Say", &standard(), &say_of(LIMIT)).await.unwrap();
    // The back end was asked; its answer, the same text and the metadata it saw, is above the limit.
    assert_eq!(backend.asked(), 1, "{}", exact.status.message);
    assert_eq!((exact.reason(), exact.status.code), (Some(Reason::TooLarge), 8), "{}", exact.status.message);
    assert_eq!(exact.trailers["drawbridge-hop"], "legacy");
    let above = client.call("/test.v1.Echo/Say", &standard(), &say_of(LIMIT + 1)).await.unwrap();
    assert_eq!((above.reason(), above.status.code), (Some(Reason::TooLarge), 8), "{}", above.status.message);
    assert_eq!(above.trailers["drawbridge-hop"], "consumer");
    assert_eq!(backend.asked(), 1);
    let record = &federation.member(COUNCIL).records_of(&above.exchange())[0];
    assert_eq!(record.opened.as_ref().unwrap().refusal(), "TOO_LARGE");
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let federation = TestFederation::new().await;
    // `id` takes two bytes; `note` a tag, three bytes of length, and the rest.
    let statement = "SELECT 1 AS id, printf('%.*c', :id - 6, 'x') AS note";
    federation.member(TRUST).reconfigure("SELECT id FROM rec WHERE id = :id", statement);
    let grants = "[[grant]]\nservice = \"test.v1.Records\"\ndigest = \"@digest:test.v1.Records@\"\nmethods = [\"Hidden\"]\nsystems = [\"revenues\"]\npurposes = [\"safeguarding\"]\nfields = \"all\"\n";
    federation.agree(&drawbridge_tests::Agreement {
        id: "hidden".to_owned(),
        grants: grants.to_owned(),
        ..Default::default()
    });
    for member in [COUNCIL, TRUST] {
        federation.member(member).reconfigure("[limits]\n", "[limits]\nmessage = \"64KiB\"\n");
    }
    let federation = federation.start();
    let exact = federation.call("test.v1.Records/Hidden", &format!("{{\"id\": \"{LIMIT}\"}}")).await;
    assert_eq!(exact.status.code, 0, "{}", exact.status.message);
    assert_eq!(exact.messages[0].len(), LIMIT);
    let above = federation.call("test.v1.Records/Hidden", &format!("{{\"id\": \"{}\"}}", LIMIT + 1)).await;
    assert!(above.messages.is_empty());
    assert_eq!(above.reason(), Some(Reason::TooLarge), "{}", above.status.message);
    for member in [COUNCIL, TRUST] {
        let record = &federation.member(member).records_of(&above.exchange())[0];
        assert_eq!(record.opened.as_ref().unwrap().refusal(), above.reason().unwrap().as_str(), "{member}");
    }
}

#[tokio::test]
async fn metadata_is_taken_up_to_its_limit_and_counted_after_decoding() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    for (name, limit) in [("drawbridge-justification", 1024), ("drawbridge-actor", 256), ("drawbridge-case", 256)] {
        // Two bytes of UTF-8 each, six of percent-encoding.
        let texts = [
            ("x".repeat(limit), true),
            ("%C3%A9".repeat(limit / 2), true),
            ("x".repeat(limit + 1), false),
            (format!("{}x", "%C3%A9".repeat(limit / 2)), false),
        ];
        for (text, taken) in texts {
            let mut given = standard();
            given.insert(http::HeaderName::from_static(name), HeaderValue::try_from(&text).unwrap());
            let reply = client.call(FIND, &given, &find).await.unwrap();
            let expected = if taken { (None, 0) } else { (Some(Reason::Metadata), 3) };
            assert_eq!(
                (reply.reason(), reply.status.code),
                expected,
                "{name}, {} bytes: {}",
                text.len(),
                reply.status.message
            );
            if !taken {
                assert!(
                    reply.status.message.contains(name) && reply.status.message.contains(&limit.to_string()),
                    "{}",
                    reply.status.message
                );
            }
        }
    }
    // All of it at once fits into a record and into the link's headers.
    let mut given = standard();
    for (name, limit) in [("drawbridge-justification", 1024), ("drawbridge-actor", 256), ("drawbridge-case", 256)] {
        given.insert(http::HeaderName::from_static(name), HeaderValue::try_from("%C3%A9".repeat(limit / 2)).unwrap());
    }
    let reply = client.call(FIND, &given, &find).await.unwrap();
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
}

#[tokio::test]
async fn a_header_block_above_the_limit_is_refused_and_the_connection_goes_on() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut client = federation.revenues().await;
    let mut large = standard();
    large.insert("x-large", HeaderValue::try_from("x".repeat(20 * 1024)).unwrap());
    let refused = client.call(FIND, &large, &find).await.unwrap();
    assert_eq!(refused.reason(), Some(Reason::TooLarge), "a header list of 20 KiB is not taken");
    // Beyond four times the limit no word of gRPC is said about it.
    large.insert("x-large", HeaderValue::try_from("x".repeat(70 * 1024)).unwrap());
    let refused = client.open(FIND, &large, &find, None).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("431")), "a header list of 70 KiB is not taken");
    assert_eq!(client.call(FIND, &standard(), &find).await.unwrap().status.code, 0);
}

/// Lets the council's gateway take plain text of `revenues`, so that a test writes its own frames.
fn plain_text(federation: &TestFederation) {
    let council = federation.member(COUNCIL);
    council.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    council.reconfigure("[operations]", "dangerous_plaintext_system = \"revenues\"\n[operations]");
}

#[tokio::test]
async fn five_thousand_calls_at_once_on_one_connection_are_answered_in_turn() {
    let federation = TestFederation::new().await;
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nstreams = 50\nexchanges = 50\n");
    let federation = federation.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let client = federation.revenues().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..5_000 {
        let (mut client, find) = (client.clone(), find.clone());
        calls.spawn(async move {
            // Without the client's own limit of time: the last one waits for all.
            let (head, body) = client.open(FIND, &standard(), &find, None).await.unwrap();
            drawbridge_tests::client::read(head, body).await.unwrap().status.code
        });
    }
    // With as many places for exchanges as streams, one stream too many would be told `OVERLOADED`.
    let codes = calls.join_all().await;
    assert_eq!(codes.iter().filter(|&&code| code == 0).count(), 5_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_opens_streams_beyond_the_limit_is_cut_off_and_others_are_served() {
    let mut federation = TestFederation::new().await;
    plain_text(&federation);
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nstreams = 50\n");
    federation.restart(TRUST);
    federation.restart(COUNCIL);
    let address = federation.member(COUNCIL).clients;
    let flood = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").unwrap();
        // POST, http, the path, the authority, the content type: each as HPACK writes it without a table of its own.
        let mut block = vec![0x83, 0x86, 0x04, 21];
        block.extend_from_slice(b"/test.v1.Records/Find");
        block.extend_from_slice(b"\x01\x09localhost\x0f\x10\x10application/grpc");
        for at in 0..5_000_u32 {
            let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 4];
            frame.extend_from_slice(&(2 * at + 1).to_be_bytes());
            frame.extend_from_slice(&block);
            // No request ever ends.
            if stream.write_all(&frame).is_err() {
                break;
            }
        }
        let mut seen = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let end = stream.read_to_end(&mut seen);
        assert!(
            end.is_ok() || end.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset,
            "the connection is still open"
        );
        seen
    });
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut honest = Client::plain(address).await.unwrap();
    for _ in 0..20 {
        assert_eq!(honest.call(FIND, &standard(), &find).await.unwrap().status.code, 0);
    }
    let seen = flood.await.unwrap();
    let refused = seen.windows(13).filter(|frame| frame[..5] == [0, 0, 4, 3, 0] && frame[9..] == [0, 0, 0, 7]).count();
    assert!(refused > 100, "{refused} streams were refused");
    assert_eq!(honest.call(FIND, &standard(), &find).await.unwrap().status.code, 0);
}

#[tokio::test]
async fn more_exchanges_than_there_is_room_for_are_told_to_come_back_and_then_served() {
    let federation = TestFederation::new().await;
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nexchanges = 2\n");
    let federation = federation.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let list = federation.request("test.v1.Records/List", r#"{"count": "100000000"}"#);
    let mut client = federation.revenues().await;
    // Streams that are not read to their end hold their places.
    let mut held = Vec::new();
    for _ in 0..2 {
        let (_, mut body) = client.open("/test.v1.Records/List", &standard(), &list, None).await.unwrap();
        body.frame().await.unwrap().unwrap();
        held.push(body);
    }
    let mut other = federation.revenues().await;
    let reply = other.call(FIND, &standard(), &find).await.unwrap();
    assert_eq!((reply.reason(), reply.status.code), (Some(Reason::Overloaded), 8), "{}", reply.status.message);
    assert!(matches!(Reason::Overloaded.retry(), Retry::Later(_)));
    assert!(String::from_utf8_lossy(&reply.status.details).contains("google.rpc.RetryInfo"));
    held.pop();
    eventually("a place is free again", 10, async || {
        (other.call(FIND, &standard(), &find).await.unwrap().status.code == 0).then_some(())
    })
    .await;
}

/// Reads until the other side closes; returns how long that took.
fn closed_after(stream: &mut TcpStream, at_most: Duration) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(at_most)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection is still open after {at_most:?}: {error}"),
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stall_are_closed_and_honest_callers_served_meanwhile() {
    let federation = TestFederation::new().await;
    for member in [COUNCIL, TRUST] {
        federation.member(member).reconfigure("[limits]\n", "[limits]\nhandshake_timeout = \"3s\"\nhandshakes = 8\n");
    }
    let federation = federation.start();
    let ports = [federation.member(COUNCIL).clients, federation.member(TRUST).links];
    let mut silent: Vec<TcpStream> = (0..64).map(|at| TcpStream::connect(ports[at % 2]).unwrap()).collect();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    for _ in 0..5 {
        // All come from one address, so a handshake of an honest caller may have to make room too; the next one is through.
        eventually("an honest caller is served", 2, async || {
            let mut client = federation.member(COUNCIL).connect("revenues").await.ok()?;
            let reply = client.call(FIND, &standard(), &find).await.ok()?;
            (reply.status.code == 0).then_some(())
        })
        .await;
    }
    tokio::task::spawn_blocking(move || {
        for stream in &mut silent {
            closed_after(stream, Duration::from_secs(15));
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_trickle_in_are_cut_off() {
    let mut federation = TestFederation::new().await;
    plain_text(&federation);
    federation.member(COUNCIL).reconfigure("[limits]\n", "[limits]\nheader_timeout = \"2s\"\n");
    federation.restart(COUNCIL);
    let address = federation.member(COUNCIL).clients;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    // HEADERS of a thousand bytes, of which one comes now and then.
    stream.write_all(&[0, 3, 232, 1, 4, 0, 0, 0, 1]).unwrap();
    let mut trickle = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        while trickle.write_all(b"\x00").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let took = tokio::task::spawn_blocking(move || closed_after(&mut stream, Duration::from_secs(20))).await.unwrap();
    writer.join().unwrap();
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn plain_text_is_refused_outside_development_and_off_loopback() {
    let federation = TestFederation::new().await;
    let council = federation.member(COUNCIL);
    council.reconfigure("[operations]", "dangerous_plaintext_system = \"revenues\"\n[operations]");
    for (change, told) in [(None, "development only"), (Some(("127.0.0.1", "0.0.0.0")), "loopback only")] {
        if let Some((_, everywhere)) = change {
            council.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
            let clients = council.clients.to_string();
            council.reconfigure(&clients, &format!("{everywhere}:{}", council.clients.port()));
        }
        let (code, said) = refused_start(&council.folder).unwrap();
        assert!(code != 0 && said.contains(told) && said.contains("gateway.toml:"), "{code}: {said}");
        let checked = run(&council.folder, ["check", "--config", "gateway.toml"]);
        let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(
            !checked.status.success() && said.contains(told) && said.contains("clients.dangerous_plaintext_system"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn plain_text_of_a_system_in_development_is_served_and_every_record_says_so() {
    let federation = TestFederation::new().await;
    plain_text(&federation);
    let federation = federation.start();
    let mut client = Client::plain(federation.member(COUNCIL).clients).await.unwrap();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let reply = client.call(FIND, &standard(), &find).await.unwrap();
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let refused = client.call(FIND, &metadata(&[("drawbridge-provider", TRUST)]), &find).await.unwrap();
    assert_eq!(refused.reason(), Some(Reason::Metadata));
    for reply in [&reply, &refused] {
        let record = &federation.member(COUNCIL).records_of(&reply.exchange())[0];
        let conditions = &record.opened.as_ref().unwrap().private.conditions;
        assert!(
            ["development", "plaintext-clients"].iter().all(|c| conditions.iter().any(|have| have == c)),
            "{conditions:?}"
        );
    }
    let record = &federation.member(TRUST).records_of(&reply.exchange())[0];
    assert!(record.opened.as_ref().unwrap().private.conditions.is_empty());
}

#[tokio::test]
async fn a_connection_without_certificate_or_without_tls_is_refused() {
    let federation = TestFederation::new().await.start();
    for (member, address) in [(COUNCIL, federation.member(COUNCIL).clients), (TRUST, federation.member(TRUST).links)] {
        let root = federation.member(member).authority.certificate_pem();
        let usable = match Client::anonymous(address, &root).await {
            Err(_) => false,
            Ok(mut client) => {
                client.open_raw("/grpc.health.v1.Health/Check", &HeaderMap::new(), Bytes::new(), None).await.is_ok()
            }
        };
        assert!(!usable, "{member} takes a connection without certificate");
        let usable = match Client::plain(address).await {
            Err(_) => false,
            Ok(mut client) => {
                client.open_raw("/grpc.health.v1.Health/Check", &HeaderMap::new(), Bytes::new(), None).await.is_ok()
            }
        };
        assert!(!usable, "{member} takes plain text");
    }
}
