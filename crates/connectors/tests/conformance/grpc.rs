//! A gRPC back end as the legacy system, with TLS and without.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use connectors::{Bindings, ConnectorError, Failure};
use futures_util::StreamExt;

use crate::back_end::{Authority, BackEnd, Manners};
use crate::{Question, System, ask, ask_with, find, prepare, until};

pub(crate) fn bindings_text(connector: &str) -> String {
    let binding = |method: &str| {
        format!(
            "[[binding]]\nmethod = \"fixture.v1.Patients/{method}\"\nmax_message = \"64KiB\"\nconnector = {{ kind = \"grpc\", {connector} }}\n"
        )
    };
    binding("Find") + &binding("All")
}

async fn rested(back_end: &BackEnd) {
    until("rest", async || (back_end.seen.working.load(Ordering::SeqCst) == 0).then_some(())).await;
}

fn not_found() -> ConnectorError {
    ConnectorError::Status {
        code: 5,
        message: "no such patient".into(),
        details: bytes::Bytes::from_static(&[1, 2, 3]),
    }
}

/// A back end that asks for a certificate.
pub(crate) struct Secure {
    authority: Authority,
    folder: tempfile::TempDir,
    back_end: BackEnd,
    bindings: Bindings,
}

impl Secure {
    async fn with(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        authority.write(folder.path(), "gateway.example");
        let back_end = BackEnd::start(Some(authority.acceptor("localhost", versions))).await;
        let bindings = prepare(&Self::text(&back_end, "localhost"), folder.path()).await.unwrap();
        Self { authority, folder, back_end, bindings }
    }

    fn text(back_end: &BackEnd, host: &str) -> String {
        let port = back_end.address.port();
        bindings_text(&format!(
            "address = \"https://{host}:{port}\", ca = \"ca.pem\", certificate = \"certificate.pem\", key = \"key.pem\""
        ))
    }
}

impl System for Secure {
    async fn start() -> Self {
        Self::with(rustls::DEFAULT_VERSIONS).await
    }

    fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    async fn stop(&mut self) {
        self.back_end.stop().await;
    }

    async fn start_again(&mut self) {
        self.back_end.listen().await;
    }

    async fn with_wrong_credentials(&self) -> ConnectorError {
        // The back end's own authority, and a certificate of another.
        Authority::new().write(self.folder.path(), "gateway.example");
        std::fs::write(self.folder.path().join("ca.pem"), &self.authority.pem).unwrap();
        let bindings = prepare(&Self::text(&self.back_end, "localhost"), self.folder.path()).await.unwrap();
        let health = bindings.iter().next().unwrap().health().await.unwrap_err();
        assert!(matches!(health, ConnectorError::Credentials { .. }), "{health}");
        find(&bindings, Question::GOOD).await.unwrap_err()
    }

    async fn rest(&self) {
        rested(&self.back_end).await;
    }

    fn not_found() -> ConnectorError {
        not_found()
    }
}

/// A back end on this machine.
pub(crate) struct Plain {
    folder: tempfile::TempDir,
    pub(crate) back_end: BackEnd,
    bindings: Bindings,
}

impl Plain {
    pub(crate) async fn with(manners: Manners) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let back_end = BackEnd::with(None, manners).await;
        let connector = format!("address = \"http://{}\", dangerous_plaintext = true", back_end.address);
        let bindings = prepare(&bindings_text(&connector), folder.path()).await.unwrap();
        Self { folder, back_end, bindings }
    }
}

impl System for Plain {
    async fn start() -> Self {
        Self::with(Manners::default()).await
    }

    fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    async fn stop(&mut self) {
        self.back_end.stop().await;
    }

    async fn start_again(&mut self) {
        self.back_end.listen().await;
    }

    /// What stands before it, a proxy say, asks for TLS with a certificate where the binding has none.
    async fn with_wrong_credentials(&self) -> ConnectorError {
        let authority = Authority::new();
        std::fs::write(self.folder.path().join("ca.pem"), &authority.pem).unwrap();
        let back_end = BackEnd::start(Some(authority.acceptor("localhost", rustls::DEFAULT_VERSIONS))).await;
        let text =
            bindings_text(&format!("address = \"https://localhost:{}\", ca = \"ca.pem\"", back_end.address.port()));
        let bindings = prepare(&text, self.folder.path()).await.unwrap();
        find(&bindings, Question::GOOD).await.unwrap_err()
    }

    async fn rest(&self) {
        rested(&self.back_end).await;
    }

    fn not_found() -> ConnectorError {
        not_found()
    }
}

#[tokio::test]
async fn a_certificate_refused_within_the_handshake_is_a_matter_of_credentials() {
    let secure = Secure::with(&[&rustls::version::TLS12]).await;
    assert!(find(secure.bindings(), Question::GOOD).await.is_ok());
    let error = secure.with_wrong_credentials().await;
    assert!(matches!(error, ConnectorError::Credentials { .. }), "{error}");
}

#[tokio::test]
async fn a_back_end_of_another_authority_or_name_is_not_spoken_to() {
    let secure = Secure::start().await;
    let port = secure.back_end.address.port();
    let other = bindings_text(&format!("address = \"https://127.0.0.1:{port}\", ca = \"ca.pem\""));
    let bindings = prepare(&other, secure.folder.path()).await.unwrap();
    let error = find(&bindings, Question::GOOD).await.unwrap_err();
    assert!(error.to_string().contains("its certificate is not accepted"), "{error}");

    std::fs::write(secure.folder.path().join("ca.pem"), Authority::new().pem).unwrap();
    let bindings = prepare(&Secure::text(&secure.back_end, "localhost"), secure.folder.path()).await.unwrap();
    let error = find(&bindings, Question::GOOD).await.unwrap_err();
    assert!(error.to_string().contains("its certificate is not accepted"), "{error}");
    assert_eq!(secure.back_end.seen.working.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn pem_files_that_cannot_be_used_are_found_at_prepare() {
    let secure = Secure::start().await;
    for (file, key) in [("ca.pem", "ca"), ("certificate.pem", "certificate"), ("key.pem", "key")] {
        let path = secure.folder.path().join(file);
        let good = std::fs::read(&path).unwrap();
        for bad in [None, Some("not a PEM file")] {
            match bad {
                None => std::fs::remove_file(&path).unwrap(),
                Some(text) => std::fs::write(&path, text).unwrap(),
            }
            let problems =
                prepare(&Secure::text(&secure.back_end, "localhost"), secure.folder.path()).await.unwrap_err();
            assert_eq!(problems[0].key, format!("binding[0].connector.{key}"));
            assert!(problems[0].what.contains(file), "{problems:?}");
        }
        std::fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_status_crosses_as_it_is() {
    let plain = Plain::start().await;
    let status = |code, message: &str, details: &'static [u8]| ConnectorError::Status {
        code,
        message: message.into(),
        details: bytes::Bytes::from_static(details),
    };
    let asked = async |number| find(plain.bindings(), number).await.unwrap_err();
    assert_eq!(asked("unauthenticated").await, status(16, "who are you?", &[1, 2, 3]));
    // A message that came before an error is not an answer.
    assert_eq!(asked("late error").await, status(9, "not now", b""));
    // What is no base64 is left out, and what is large is not.
    assert_eq!(asked("odd details").await, status(9, "", b""));
    let ConnectorError::Status { details, .. } = asked("large details").await else { panic!("a status stays one") };
    assert!(details.len() == 20 * 1024 && details.iter().all(|byte| *byte == 0), "{}", details.len());
}

#[tokio::test]
async fn answers_that_break_the_protocol_are_refused() {
    let plain = Plain::start().await;
    for (number, says) in [
        ("silent", "it says `OK` without a message"),
        ("twice", "more than one message answers a unary call"),
        ("torn", "it ends within a message"),
        ("unstatused", "it ends without a status"),
        ("malformed", "a message is compressed, which was not offered"),
    ] {
        let error = find(plain.bindings(), number).await.unwrap_err();
        assert!(matches!(error, ConnectorError::Malformed { what } if what == says), "{number}: {error}");
    }
    let lost = ConnectorError::Failed { why: Failure::ConnectionLost };
    assert_eq!(find(plain.bindings(), "lost").await, Err(lost));
    let proxy = ConnectorError::Failed { why: Failure::Http { status: 502 } };
    assert_eq!(find(plain.bindings(), "proxy").await, Err(proxy));
    // None of it cost the connections.
    assert!(plain.back_end.seen.connections.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn heads_and_trailers_above_32_kib_are_refused_whatever_their_length_and_shape() {
    let plain = Plain::start().await;
    for place in ["trailers", "status last in trailers", "head"] {
        // Many values leave nearly nothing of the block once HTTP/2 has compressed it.
        for pieces in [1, 2, 7, 300] {
            let asked = async |kibibytes| find(plain.bindings(), &format!("{place}, {pieces}, {kibibytes}")).await;
            let answer = asked(15).await;
            assert!(answer.is_ok(), "{place}, {pieces}: {answer:?}");
            for kibibytes in [33, 64, 126, 130, 255, 257, 300, 330, 1024, 2048] {
                let error = asked(kibibytes).await.unwrap_err();
                let too_long = "its head or its trailers are longer than 32 KiB";
                let beyond = "it breaks a rule of HTTP/2, or goes beyond what the gateway takes";
                let what = if pieces > 1 && kibibytes >= 255 && error.to_string().ends_with(beyond) {
                    beyond
                } else {
                    too_long
                };
                assert_eq!(error, ConnectorError::Malformed { what }, "{place}, {pieces}, {kibibytes}");
                if kibibytes <= 255 {
                    assert!(find(plain.bindings(), Question::GOOD).await.is_ok());
                }
            }
        }
    }
    // Of a stream too, behind what it has said.
    let answer = ask(plain.bindings(), "All", "{\"first\":\"100\"}", None).await.unwrap();
    let mut messages: Vec<_> = answer.messages.collect().await;
    let last = messages.pop().unwrap();
    let what = "its head or its trailers are longer than 32 KiB";
    assert_eq!((messages.len(), last), (100, Err(ConnectorError::Malformed { what })));
}

#[tokio::test]
async fn metadata_crosses_but_for_what_lets_somebody_in() {
    let plain = Plain::start().await;
    let metadata = [
        ("drawbridge-consumer", "county.example"),
        ("drawbridge-purpose", "council-tax"),
        ("authorization", "Bearer CANARY"),
        ("cookie", "CANARY"),
        ("Cookie", "CANARY"),
        ("proxy-authorization", "CANARY"),
        ("grpc-timeout", "1S"),
        ("te", "CANARY"),
        ("content-type", "CANARY"),
    ];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let deadline = Some(Instant::now() + Duration::from_secs(20));
    ask_with(plain.bindings(), "Find", "{}", deadline, metadata).await.unwrap();
    let headers = plain.back_end.seen.headers.lock().unwrap().clone();
    assert_eq!(headers["drawbridge-consumer"], "county.example");
    assert_eq!(headers["drawbridge-purpose"], "council-tax");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["content-type"], "application/grpc");
    assert!(!format!("{headers:?}").contains("CANARY"));
    let timeout = headers["grpc-timeout"].to_str().unwrap();
    let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
    assert!((10_000_000..=20_000_000).contains(&micros), "{timeout}");

    for (name, value) in [("na me", "x"), ("name", "a\nb"), ("name", "\u{e9}\0")] {
        let metadata = vec![(name.to_owned(), value.to_owned())];
        let error = ask_with(plain.bindings(), "Find", "{}", None, metadata).await.unwrap_err();
        assert_eq!(error, ConnectorError::Failed { why: Failure::Metadata });
    }
}

#[tokio::test]
async fn a_back_end_waits_for_a_reader_who_stops_reading() {
    let plain = Plain::start().await;
    let mut answer = ask(plain.bindings(), "All", "{}", None).await.unwrap();
    for _ in 0..5 {
        answer.messages.next().await.unwrap().unwrap();
    }
    let produced = || plain.back_end.seen.produced.load(Ordering::SeqCst);
    let mut before = produced();
    let mut still = 0;
    until("the rest", async || {
        still = if produced() == before { still + 1 } else { 0 };
        before = produced();
        (still > 40).then_some(())
    })
    .await;
    // A hundred bytes each: the window of a stream, and what both sides buffer.
    assert!(before < 10_000, "{before} messages for a reader of 5");
    for _ in 0..20_000 {
        answer.messages.next().await.unwrap().unwrap();
    }
    assert!(produced() > before);
}

#[tokio::test]
async fn bindings_to_one_back_end_share_its_connections() {
    let plain = Plain::start().await;
    for _ in 0..10 {
        assert!(find(plain.bindings(), Question::GOOD).await.is_ok());
        let answer = ask(plain.bindings(), "All", "{\"first\":\"2\"}", None).await.unwrap();
        assert_eq!(answer.messages.count().await, 2);
    }
    assert_eq!(plain.back_end.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_that_a_back_end_closes_in_good_order_cost_no_call() {
    let plain = Plain::with(Manners { calls: Some(20), ..Manners::default() }).await;
    for _ in 0..30 {
        let asked = (0..32).map(|_| find(plain.bindings(), Question::GOOD));
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
    assert!(plain.back_end.seen.connections.load(Ordering::SeqCst) > 20);
}

#[tokio::test]
async fn calls_that_a_back_end_refuses_for_now_are_sent_again() {
    let plain = Plain::with(Manners { at_once: Some(1), ..Manners::default() }).await;
    for _ in 0..5 {
        let asked = (0..50).map(|_| find(plain.bindings(), Question::GOOD));
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn plain_text_is_told_to_whoever_asks() {
    let plain = Plain::start().await;
    assert!(plain.bindings().iter().all(connectors::Binding::dangerous_plaintext));
    let secure = Secure::start().await;
    assert!(!secure.bindings().iter().any(connectors::Binding::dangerous_plaintext));
}
