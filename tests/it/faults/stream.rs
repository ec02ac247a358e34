//! Streams that are cut, whose reader is slow, whose gateway's disk is slow, and gateways that are asked to end while
//! something is open.

use std::time::{Duration, Instant};

use drawbridge_tests::{
    COUNCIL, Client, Member, TRUST, TestFederation, eventually, faults::Interference, federation::standard,
};
use exchange::{Reason, Status, framing::MessageWalker, headers};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proto::records::Kind;

const LIST: &str = "/test.v1.Records/List";
/// What of a stream may pass beyond its last durable record, in bytes.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// What the reader's own connection holds that it has not read, in bytes.
const READER_BYTES: u32 = 64 * 1024;

/// A reader of one stream, which reads as a test wants.
struct Reader {
    exchange: String,
    body: Incoming,
    walker: MessageWalker,
    bytes: u64,
    /// The connection is there as long as the reader is.
    _client: Client,
}

impl Reader {
    /// Asks for `count` rows; the head is there when this returns.
    async fn open(federation: &TestFederation, count: u64) -> Self {
        let message = federation.request("test.v1.Records/List", &format!(r#"{{"count": "{count}"}}"#));
        let mut client = federation.member(COUNCIL).connect_with_window("revenues", READER_BYTES).await;
        let (head, body) = client.open(LIST, &standard(), &message, None).await.unwrap();
        assert!(headers::read_status(&head).is_none(), "{head:?}");
        let exchange = head["drawbridge-exchange-id"].to_str().unwrap().to_owned();
        Self { exchange, body, walker: MessageWalker::new(1 << 20), bytes: 0, _client: client }
    }

    fn rows(&self) -> u64 {
        self.walker.messages()
    }

    /// Reads one piece; returns the status when that is what came.
    async fn read(&mut self) -> Option<Status> {
        let frame = self.body.frame().await.expect("trailers come before the end").expect("the connection holds");
        match frame.into_data() {
            Ok(data) => {
                self.bytes += data.len() as u64;
                self.walker.feed(&data).unwrap();
                None
            }
            Err(frame) => {
                Some(headers::read_status(&frame.into_trailers().unwrap()).expect("the trailers have a status"))
            }
        }
    }

    async fn read_rows(&mut self, rows: u64) {
        while self.rows() < rows {
            let status = self.read().await;
            assert!(status.is_none(), "after {} rows: {status:?}", self.rows());
        }
    }

    async fn read_to_the_end(&mut self) -> Status {
        let end = async {
            loop {
                if let Some(status) = self.read().await {
                    return status;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), end).await.expect("the stream ends")
    }
}

/// Messages and bytes in the last progress record of an exchange.
fn progress(member: &Member, exchange: &str) -> Option<(u64, u64)> {
    let records = member.records_of(exchange);
    let last = records.iter().rfind(|record| record.kind() == Kind::Progress)?.opened.as_ref()?;
    Some((last.shared.messages, last.private.bytes))
}

/// Waits until flow control holds everything: the progress of both sides has not changed for longer than a record may take.
async fn at_rest(federation: &TestFederation, exchange: &str) -> [(u64, u64); 2] {
    let mut seen = ([None, None], Instant::now());
    eventually("the stream comes to rest", 20, async || {
        let now = [COUNCIL, TRUST].map(|member| progress(federation.member(member), exchange));
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        let [ours, theirs] = now;
        ours.zip(theirs).filter(|_| seen.1.elapsed() > Duration::from_millis(2500)).map(|(a, b)| [a, b])
    })
    .await
}

/// The outcome or refusal of an exchange, once it is there: refusal, messages, bytes.
async fn settled(member: &Member, exchange: &str) -> (String, u64, u64) {
    eventually("it is settled", 10, async || {
        let records = member.records_of(exchange);
        let settled: Vec<_> = records.iter().filter(|record| record.settles()).collect();
        assert!(settled.len() <= 1, "settled twice");
        let opened = settled.first()?.opened.as_ref()?;
        Some((opened.refusal().to_owned(), opened.messages(), opened.private.bytes))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_killed_while_the_reader_pauses_leaves_two_logs_that_tell_what_passed() {
    let mut federation = TestFederation::new().await.start();
    let mut reader = Reader::open(&federation, 100_000_000).await;
    reader.read_rows(100).await;
    let [ours, theirs] = at_rest(&federation, &reader.exchange).await;
    // Held by flow control: the buffers on the way are full, and nothing more.
    assert!(ours.0 >= reader.rows() && theirs.0 >= ours.0, "{ours:?} {theirs:?} {}", reader.rows());
    assert!(theirs.1 < WINDOW_BYTES, "{} bytes were released to a reader that does not read", theirs.1);
    federation.take(TRUST).kill();
    let status = reader.read_to_the_end().await;
    assert_eq!((status.reason(), status.code), (Some(Reason::Unanswered), 14), "{}", status.message);
    federation.restart(TRUST);
    let (refusal, messages, bytes) = settled(federation.member(COUNCIL), &reader.exchange).await;
    assert_eq!((refusal.as_str(), messages), ("UNANSWERED", reader.rows()), "what was handed on is counted");
    assert!(bytes >= reader.bytes, "{bytes} of {}", reader.bytes);
    let (refusal, released, _) = settled(federation.member(TRUST), &reader.exchange).await;
    assert_eq!((refusal.as_str(), released), ("UNANSWERED", theirs.0), "its last progress is what it knows");
    assert!(released >= messages, "the provider's log covers all that passed: {released} of {messages}");
    let [ours, theirs] = [COUNCIL, TRUST].map(|member| federation.member(member).data());
    let said =
        drawbridge_tests::process::succeed(federation.root(), [&"log".into(), &"compare".into(), &ours, &theirs]);
    let line = said.lines().find(|line| line.contains(&reader.exchange)).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("explained") && !said.contains("UNEXPLAINED"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_sync_holds_a_stream_at_one_window_beyond_what_is_durable() {
    for member in [TRUST, COUNCIL] {
        let mut federation = TestFederation::new().await.start();
        let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
        assert_eq!(reply.status.code, 0, "{}", reply.status.message);
        // The intent is synced; the first progress record after it takes half a minute.
        let process = federation.member(member).process().id();
        let strace = Interference::begin(process, "fdatasync:delay_enter=30000000:when=2+");
        let mut reader = Reader::open(&federation, 100_000_000).await;
        let mut longest = Duration::ZERO;
        while longest < Duration::from_secs(3) {
            let begun = Instant::now();
            match tokio::time::timeout(Duration::from_secs(4), reader.read()).await {
                Ok(status) => assert!(status.is_none(), "{member}: {status:?}"),
                Err(_) => longest = begun.elapsed(),
            }
            assert!(
                reader.bytes <= WINDOW_BYTES,
                "{member}: {} bytes passed with nothing durable but the intent",
                reader.bytes
            );
        }
        assert!(reader.bytes > WINDOW_BYTES / 2, "{member}: {} bytes are no window", reader.bytes);
        strace.end_with(federation.take(member));
        if member == TRUST {
            let status = reader.read_to_the_end().await;
            assert_eq!(status.reason(), Some(Reason::Unanswered), "{}", status.message);
            assert!(reader.bytes <= WINDOW_BYTES);
        }
        federation.restart(member);
        for side in [COUNCIL, TRUST] {
            let (_, _, recorded) = settled(federation.member(side), &reader.exchange).await;
            assert!(reader.bytes <= recorded + WINDOW_BYTES, "{side}: {} passed, {recorded} recorded", reader.bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_while_a_long_stream_goes_to_a_slow_reader() {
    const ROWS: u64 = 300_000;
    const MOST_GROWTH: u64 = 64 << 20;
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/List", r#"{"count": "1000"}"#).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let before = [COUNCIL, TRUST].map(|member| federation.member(member).memory().0);
    let mut reader = Reader::open(&federation, ROWS).await;
    let mut pause_at = 0;
    let status = loop {
        if let Some(status) = reader.read().await {
            break status;
        }
        // Slower than the gateways, so that whatever they would keep piles up.
        if reader.bytes > pause_at {
            tokio::time::sleep(Duration::from_millis(2)).await;
            pause_at = reader.bytes + u64::from(READER_BYTES);
        }
    };
    assert_eq!((status.code, reader.rows()), (0, ROWS), "{}", status.message);
    for (member, before) in [COUNCIL, TRUST].into_iter().zip(before) {
        let (_, peak) = federation.member(member).memory();
        let growth = peak.saturating_sub(before);
        eprintln!("{member}: {} MiB before, {} MiB at most", before >> 20, peak >> 20);
        assert!(growth < MOST_GROWTH, "{member} grew by {growth} bytes");
        let (refusal, messages, _) = settled(federation.member(member), &reader.exchange).await;
        assert_eq!((refusal.as_str(), messages), ("", ROWS));
    }
}

/// Whether nobody listens at an address any more.
fn refused(address: std::net::SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_asked_to_end_lets_a_running_call_complete_and_takes_nothing_new() {
    for member in [TRUST, COUNCIL] {
        let federation = TestFederation::new().await;
        // Long enough to be under way when the signal comes, and short enough to complete.
        federation.member(TRUST).reconfigure("100000000000", "12000000");
        federation.member(member).reconfigure("drain = \"2s\"", "drain = \"60s\"");
        let mut federation = federation.start();
        let slow = federation.request("test.v1.Records/Slow", r#"{"id": "1"}"#);
        let mut client = federation.revenues().await;
        let call = tokio::spawn(async move { client.call("/test.v1.Records/Slow", &standard(), &slow).await });
        eventually("the statement runs", 10, async || {
            (federation.member(TRUST).metric("drawbridge_link_streams") == 1).then_some(())
        })
        .await;
        let process = federation.take(member);
        process.signal("-TERM");
        let (links, clients) = (federation.member(member).links, federation.member(member).clients);
        eventually("new connections are refused", 10, async || (refused(links) && refused(clients)).then_some(()))
            .await;
        assert!(!call.is_finished(), "the statement was over before anything could be shown");
        let reply = call.await.unwrap().unwrap();
        assert_eq!((reply.status.code, reply.messages.len()), (0, 1), "{member}: {}", reply.status.message);
        let code = tokio::task::spawn_blocking(|| process.ended()).await.unwrap();
        assert_eq!(code, Some(0), "{member} ends in order");
        for side in [COUNCIL, TRUST] {
            let (refusal, messages, _) = settled(federation.member(side), &reply.exchange()).await;
            assert_eq!((refusal.as_str(), messages), ("", 1), "{side}");
        }
        let last = federation.member(member).records().pop().unwrap();
        assert_eq!(last.opened.unwrap().private.detail, records::STOPPED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_end_in_time_is_closed_settled_and_told_by_the_exit_code() {
    for member in [TRUST, COUNCIL] {
        let mut federation = TestFederation::new().await.start();
        let mut reader = Reader::open(&federation, 100_000_000).await;
        reader.read_rows(100).await;
        let process = federation.take(member);
        process.signal("-TERM");
        let code = tokio::task::spawn_blocking(|| process.ended()).await.unwrap();
        assert_eq!(code, Some(1), "{member}");
        if member == TRUST {
            let status = reader.read_to_the_end().await;
            assert_eq!(status.reason(), Some(Reason::Unanswered), "{}", status.message);
        }
        for side in [COUNCIL, TRUST] {
            let (refusal, ..) = settled(federation.member(side), &reader.exchange).await;
            assert!(["CANCELLED", "UNANSWERED"].contains(&refusal.as_str()), "{side}: {refusal}");
        }
        // It stopped in order: the next start has nothing to settle.
        federation.restart(member);
        let at_start = "exchanges that the last run left open";
        assert!(!federation.member(member).process().log().contains(at_start), "{member}");
    }
}
