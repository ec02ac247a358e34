//! The same on the clients' port for REST, over HTTP/1.1: heads and bodies that trickle, swell or say two things at once.

use std::time::{Duration, Instant};

use drawbridge_tests::{COUNCIL, TestFederation, raw::Raw};
use exchange::Reason;

use super::{BOUND, cost, federation, honest, resident};

/// The head of a call of `Find` as JSON, with more headers; it is not ended.
fn head(more: &str) -> String {
    format!(
        "POST /test.v1.Records/Find HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         drawbridge-provider: trust.example\r\ndrawbridge-purpose: safeguarding\r\ndrawbridge-case: case-1\r\n{more}"
    )
}

/// A whole call.
fn call() -> String {
    head("content-length: 11\r\n\r\n{\"id\": \"1\"}")
}

async fn connect(federation: &TestFederation) -> Raw {
    Raw::system(federation.member(COUNCIL), "revenues", "http/1.1").await
}

/// Writes all of it, and returns what is said until the connection ends.
async fn said(federation: &TestFederation, text: &str) -> String {
    let mut raw = connect(federation).await;
    raw.write(text.as_bytes()).await;
    String::from_utf8_lossy(&raw.closed().await).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_trickle_or_swell_are_refused() {
    let federation = federation().await;
    let (before, honest) = (resident(&federation), honest(&federation).await);
    let begun = Instant::now();
    let mut slow = connect(&federation).await;
    slow.write(head("x: ").as_bytes()).await;
    let trickle = async {
        while slow.write(b"y").await && begun.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    trickle.await;
    slow.closed().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "a head trickled in for {:?}", begun.elapsed());
    let long = said(&federation, &head(&format!("x: {}\r\n\r\n", "y".repeat(40 * 1024)))).await;
    assert!(long.starts_with("HTTP/1.1 431"), "{long}");
    let many = said(&federation, &head(&format!("{}\r\n", "x: y\r\n".repeat(2_000)))).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    let path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(100_000));
    let far = said(&federation, &path).await;
    assert!(far.starts_with("HTTP/1.1 414") || far.starts_with("HTTP/1.1 431"), "{far}");
    assert!(honest.answered().await > 0);
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the heads took {} MiB", cost >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_not_waited_for() {
    let federation = federation().await;
    let honest = honest(&federation).await;
    for (more, piece) in [("content-length: 1000\r\n\r\n", " "), ("transfer-encoding: chunked\r\n\r\n", "1\r\n \r\n")] {
        let begun = Instant::now();
        let mut slow = connect(&federation).await;
        slow.write(head(more).as_bytes()).await;
        while slow.write(piece.as_bytes()).await && begun.elapsed() < Duration::from_secs(4) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let answer = String::from_utf8_lossy(&slow.closed().await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"status\":408"), "{more}: {answer}");
        assert!(answer.contains(Reason::Cancelled.as_str()), "{more}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(15), "a body trickled in for {:?}", begun.elapsed());
    }
    assert!(honest.answered().await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_above_the_limit_are_refused_and_never_held() {
    let federation = federation().await;
    let (before, honest) = (resident(&federation), honest(&federation).await);
    // A hundred callers promise five gigabytes each.
    let mut promised = Vec::new();
    for _ in 0..100 {
        let mut raw = connect(&federation).await;
        raw.write(head("content-length: 5368709120\r\n\r\n{").as_bytes()).await;
        promised.push(raw);
    }
    let mut large = connect(&federation).await;
    large.write(head("content-length: 5368709120\r\n\r\n").as_bytes()).await;
    let piece = vec![b' '; 64 * 1024];
    while large.write(&piece).await {}
    let answer = String::from_utf8_lossy(&large.closed().await).into_owned();
    assert!(answer.is_empty() || answer.contains(Reason::TooLarge.as_str()), "{answer}");
    // Chunks of one byte, each with six bytes around it.
    let mut chunked = connect(&federation).await;
    chunked.write(head("transfer-encoding: chunked\r\n\r\n").as_bytes()).await;
    let piece = b"1\r\n \r\n".repeat(10_000);
    let mut sent = 0;
    while sent < 5_000_000 && chunked.write(&piece).await {
        sent += 10_000;
    }
    let answer = chunked.until("\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413") || answer.starts_with("HTTP/1.1 4"), "{answer}");
    // What stands beside a chunk's length is bounded too, and so are trailers.
    for more in [format!("1;{}\r\n \r\n", "x".repeat(100_000)), format!("0\r\n{}", "x: y\r\n".repeat(20_000))] {
        said(&federation, &head(&format!("transfer-encoding: chunked\r\n\r\n{more}"))).await;
    }
    drop(promised);
    assert!(honest.answered().await > 0);
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the bodies took {} MiB", cost >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_sent_at_once_are_answered_one_after_the_other() {
    let federation = federation().await;
    let (before, honest) = (resident(&federation), honest(&federation).await);
    let mut raw = connect(&federation).await;
    let last = head("connection: close\r\ncontent-length: 11\r\n\r\n{\"id\": \"1\"}");
    raw.write([call().repeat(999), last].concat().as_bytes()).await;
    let said = String::from_utf8_lossy(&raw.closed().await).into_owned();
    assert_eq!((said.matches("HTTP/1.1 200").count(), said.matches("Archer").count()), (1_000, 1_000));
    assert!(honest.answered().await > 0);
    let cost = cost(&federation, before);
    assert!(cost < BOUND, "the calls took {} MiB", cost >> 20);
}

#[tokio::test]
async fn a_request_that_says_two_lengths_is_refused_and_nothing_is_smuggled() {
    let federation = federation().await;
    for more in [
        "content-length: 11\r\ncontent-length: 12\r\n\r\n",
        "content-length: 11, 12\r\n\r\n",
        "content-length: +11\r\n\r\n",
        "content-length: 18446744073709551616\r\n\r\n",
        "transfer-encoding: gzip\r\n\r\n",
        "transfer-encoding: chunked, identity\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "x y: z\r\n\r\n",
    ] {
        let answer = said(&federation, &head(&format!("{more}{{\"id\": \"1\"}}{}", call()))).await;
        assert!(!answer.contains("HTTP/1.1 200") && !answer.contains("Archer"), "{more}: {answer}");
    }
    // Of a length and chunks, the chunks count, and the connection ends with it: what follows is no request of its own.
    let both = head("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nb\r\n{\"id\": \"1\"}\r\n0\r\n\r\n");
    let mut raw = connect(&federation).await;
    raw.write([both, call()].concat().as_bytes()).await;
    let answer = raw.until("Archer").await;
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    let mut raw = connect(&federation).await;
    raw.write(call().as_bytes()).await;
    assert!(raw.until("Archer").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_that_does_not_say_once_whose_gateway_it_is_for_is_refused() {
    let federation = federation().await;
    for (hosts, expected) in [
        ("", "400"),
        ("host: localhost\r\nhost: localhost\r\n", "400"),
        ("host: a b\r\n", "400"),
        ("host: user@localhost\r\n", "400"),
        ("host: localhost:1\r\n", "200"),
    ] {
        let text = call().replace("host: localhost\r\n", hosts).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let answer = said(&federation, &text).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{hosts}: {answer}");
        assert_eq!(answer.contains("`Host`"), expected == "400", "{hosts}: {answer}");
    }
}
