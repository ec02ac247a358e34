//! gRPC back ends of the provider's, and what becomes of what they say beside their messages: details of a status, and breaches of the rules.

use bytes::Bytes;
use drawbridge_tests::{
    COUNCIL, TRUST, TestFederation, eventually, federation::standard, process, python::Backend, raw,
};
use exchange::{Reason, Status, digests, framing};
use futures_util::future::join_all;
use records::Record;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::receipts::{outsider, receipt_of, verify};

const METHODS: [&str; 2] = ["test.v1.Echo/Say", "test.v1.Echo/Repeat"];

/// The details that the back end sends: no `google.rpc.Status`, and no text.
fn details(size: usize) -> Bytes {
    (0..size).map(|at| 255 - u8::try_from(at % 256).unwrap()).collect()
}

/// The record that settles an exchange at one member.
fn settled(federation: &TestFederation, member: &str, exchange: &str) -> records::Halves {
    let records = federation.member(member).records_of(exchange);
    records.into_iter().find(Record::settles).unwrap().opened.unwrap()
}

#[tokio::test]
async fn details_of_a_status_cross_byte_for_byte_and_are_proven_or_are_left_out_whole() {
    let federation = TestFederation::new().await;
    let backend = Backend::behind(&federation);
    let federation = federation.start();
    let mut client = federation.revenues().await;
    let mut exchanges = Vec::new();
    for method in METHODS {
        for (size, crosses) in [(1, true), (1_000, true), (4_096, true), (4_097, false), (20_000, false)] {
            let json = format!("{{\"text\": \"details:{size}\", \"status\": 9, \"times\": \"2\"}}");
            let request = federation.request(method, &json);
            let reply = client.call(&format!("/{method}"), &standard(), &request).await.unwrap();
            let details = if crosses { details(size) } else { Bytes::new() };
            let status = Status { code: 9, message: format!("details:{size}"), details };
            assert_eq!(reply.status, status, "{method} {size}");
            assert_eq!(reply.messages.len(), if method.ends_with("Repeat") { 2 } else { 0 }, "{method} {size}");
            for member in [COUNCIL, TRUST] {
                let opened = settled(&federation, member, &reply.exchange());
                assert_eq!((opened.private.outcome.as_str(), opened.refusal()), ("answered", ""), "{member}");
                let mut digest = digests::Running::new(&opened.claims.unwrap().nonce);
                for message in &reply.messages {
                    digest.update(&framing::framed(message));
                }
                let closing = opened.closing.unwrap();
                assert_eq!(closing.response_digest.as_ref(), digest.close(&status), "{member}, {method} {size}");
            }
            exchanges.push(reply.exchange());
        }
        // Beyond 32 KiB of trailers there is no status to cross.
        let request = federation.request(method, r#"{"text": "details:30000", "status": 9, "times": "2"}"#);
        let reply = client.call(&format!("/{method}"), &standard(), &request).await.unwrap();
        assert_eq!(reply.reason(), Some(Reason::ConnectorFailed), "{}", reply.status.message);
        let why = settled(&federation, TRUST, &reply.exchange()).private.detail;
        let named = format!("grpc `http://127.0.0.1:{}`: the legacy system's answer is malformed", backend.port);
        assert!(why.contains(&named) && why.ends_with("longer than 32 KiB"), "{why}");
        exchanges.push(reply.exchange());
    }
    let folder = outsider(&federation);
    for exchange in exchanges {
        let response = receipt_of(&federation, &exchange).await;
        let (code, said, complaint) = verify(folder.path(), &response.receipt.unwrap());
        assert_eq!(code, 0, "{said}{complaint}");
    }
    for member in [COUNCIL, TRUST] {
        process::succeed(&federation.member(member).folder, ["log", "verify", "--config", "gateway.toml"]);
    }
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_outlive_the_connections_that_a_back_end_retires() {
    let federation = TestFederation::new().await;
    // Two calls at a time on a connection, which retires after two rounds of them or so.
    let backend = Backend::start(&["--at-once", "2", "--age-ms", "250"]);
    let trust = federation.member(TRUST);
    trust.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    trust.bind_echo(&format!("address = \"http://127.0.0.1:{}\", dangerous_plaintext = true", backend.port));
    let federation = federation.start();
    let client = federation.revenues().await;
    let request = federation.request("test.v1.Echo/Say", r#"{"text": "x", "delayMs": "100"}"#);
    let asked = (0..40).map(|_| {
        let (mut client, request) = (client.clone(), &request);
        async move { client.call("/test.v1.Echo/Say", &standard(), request).await.unwrap() }
    });
    for reply in join_all(asked).await {
        assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    }
    // Whatever was sent again, none was asked twice.
    assert_eq!(backend.asked(), 40);
}

/// Answers every call with a frame that is longer than any may be.
async fn breaks_the_rules(mut stream: TcpStream) -> std::io::Result<()> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    stream.write_all(&raw::frame(SETTINGS, 0, 0, &[])).await?;
    stream.read_exact(&mut [0; 24]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await?;
        if head[3] == HEADERS {
            stream.write_all(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]).await?;
        }
    }
}

#[tokio::test]
async fn a_back_end_that_breaks_protocol_or_contract_is_named_at_home_and_nowhere_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaks = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(breaks_the_rules(stream));
        }
    });
    let federation = TestFederation::new().await;
    let backend = Backend::start(&[]);
    let lies = format!("http://127.0.0.1:{}", backend.port);
    let trust = federation.member(TRUST);
    trust.reconfigure("gateway = \"main\"\n", "gateway = \"main\"\ndevelopment = true\n");
    for (method, address) in METHODS.iter().zip([&breaks, &lies]) {
        trust.configure(&format!(
            "\n[[binding]]\nmethod = \"{method}\"\nconnector = {{ kind = \"grpc\", address = \"{address}\", dangerous_plaintext = true }}\n"
        ));
    }
    let federation = federation.start();
    let mut client = federation.revenues().await;
    for (method, json) in METHODS.iter().zip([r#"{"text": "x"}"#, r#"{"text": "raw:00"}"#]) {
        let request = federation.request(method, json);
        let reply = client.call(&format!("/{method}"), &standard(), &request).await.unwrap();
        assert_eq!(reply.reason(), Some(Reason::ConnectorFailed), "{}", reply.status.message);
        if *method == METHODS[0] {
            let why = settled(&federation, TRUST, &reply.exchange()).private.detail;
            let named = format!("grpc `{breaks}`: the legacy system's answer is malformed: it breaks a rule of HTTP/2");
            assert!(why.contains(&named), "{why}");
        }
        let why = settled(&federation, COUNCIL, &reply.exchange()).private.detail;
        assert!(!why.contains("127.0.0.1") && !reply.status.message.contains("127.0.0.1"), "{why}");
    }
    let expected =
        [format!("back_end=\"{breaks}\""), format!("system=\"grpc `{breaks}`\""), format!("system=\"grpc `{lies}`\"")];
    let log = |member: &str| federation.member(member).process().log();
    eventually("the log names both", 20, async || {
        expected.iter().all(|named| log(TRUST).contains(named)).then_some(())
    })
    .await;
    for named in [&breaks, &lies] {
        assert!(!log(COUNCIL).contains(named));
    }
}
