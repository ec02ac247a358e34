//! HTTP/1.1, where it is allowed: who gets in, what bounds them, and how connections end.

use std::sync::Arc;
use std::time::Duration;

use drawbridge_link::server::{self, ALPN_HTTP1, Transport};
use drawbridge_link::{Body, Http2, Incoming};
use http::{Request, Response};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Pair, Serving, soon};

fn limits() -> server::Limits {
    server::Limits { http1: true, ..server::Limits::default() }
}

/// Both protocols, HTTP/2 first.
fn transport(pair: &Pair) -> Transport {
    let mut settings = pair.server.as_ref().clone();
    settings.alpn_protocols.push(ALPN_HTTP1.to_vec());
    let settings = Arc::new(settings);
    Transport::Tls(Arc::new(move || Arc::clone(&settings)))
}

/// Connects with these protocols on offer.
async fn connect(pair: &Pair, serving: &Serving, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut settings = pair.client.as_ref().clone();
    settings.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(serving.address).await.unwrap();
    let name = ServerName::try_from("gateway.example").unwrap();
    soon(TlsConnector::from(Arc::new(settings)).connect(name, stream)).await.unwrap()
}

/// Reads until `end` was met, or the connection ended.
async fn read_until(stream: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(end) {
        match soon(stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => break,
            Ok(read) => text.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Says back what it was told, with a trailer.
async fn say_back(_: Arc<server::Caller<()>>, request: Request<Incoming>) -> Response<Body> {
    let collected = request.into_body().collect(1024).await.unwrap();
    let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
    // A body of known length has no trailers in HTTP/1.1.
    let (mut sender, body) = Body::channel(1024);
    sender.send(collected.data).await.unwrap();
    sender.finish(Some(trailers));
    let mut response = Response::new(body);
    response.headers_mut().insert("trailer", "grpc-status".parse().unwrap());
    response
}

const QUESTION: &str = "POST /a HTTP/1.1\r\nhost: x\r\nte: trailers\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn requests_follow_one_another_on_one_connection_with_bodies_and_trailers() {
    let pair = Pair::new();
    let serving = Serving::start(limits(), transport(&pair), say_back);
    // Chosen by ALPN, and by who does not know it.
    for protocols in [&[ALPN_HTTP1][..], &[]] {
        let mut stream = connect(&pair, &serving, protocols).await;
        for _ in 0..2 {
            stream.write_all(QUESTION.as_bytes()).await.unwrap();
            let answer = read_until(&mut stream, "grpc-status: 0\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello"), "{answer}");
        }
    }
    assert_eq!(serving.server.counts().streams, 4);
    assert_eq!(serving.server.connections().streams(), 0);
}

#[tokio::test]
async fn who_offers_both_speaks_http2() {
    let pair = Pair::new();
    let serving = Serving::start(limits(), transport(&pair), say_back);
    let stream = connect(&pair, &serving, &[ALPN_HTTP1, server::ALPN]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(server::ALPN));
}

#[tokio::test]
async fn a_head_that_trickles_or_is_long_ends_the_connection() {
    let pair = Pair::new();
    let http2 = Http2 { header_timeout: Duration::from_millis(100), header_bytes: 8 * 1024, ..Http2::default() };
    let serving = Serving::start(server::Limits { http2, ..limits() }, transport(&pair), say_back);
    let mut slow = connect(&pair, &serving, &[ALPN_HTTP1]).await;
    slow.write_all(b"POST /a HTTP/1.1\r\nx: ").await.unwrap();
    let said = read_until(&mut slow, "nothing ends it but the server").await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    let mut long = connect(&pair, &serving, &[ALPN_HTTP1]).await;
    let head = format!("POST /a HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(9 * 1024));
    long.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut long, "\r\n\r\n").await.starts_with("HTTP/1.1 431"));
    serving.until_empty().await;
    assert_eq!(serving.server.counts().streams, 0);
}

#[tokio::test]
async fn a_peer_that_leaves_ends_what_it_asked() {
    let pair = Pair::new();
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, drops) = (Arc::clone(&begun), Arc::clone(&dropped));
    let serving = Serving::start(limits(), transport(&pair), move |_, _: Request<Incoming>| {
        let (begins, drops) = (Arc::clone(&begins), Arc::clone(&drops));
        async move {
            let _told = Told(drops);
            begins.notify_one();
            std::future::pending::<Response<Body>>().await
        }
    });
    let mut stream = connect(&pair, &serving, &[ALPN_HTTP1]).await;
    stream.write_all(QUESTION.as_bytes()).await.unwrap();
    soon(begun.notified()).await;
    assert_eq!(serving.server.connections().streams(), 1);
    drop(stream);
    soon(dropped.notified()).await;
    serving.until_empty().await;
}

/// Tells when it is dropped.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn draining_closes_what_is_idle_and_lets_the_last_answer_out() {
    let pair = Pair::new();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let serving = Serving::start(limits(), transport(&pair), move |_, _: Request<Incoming>| {
        let (begins, goes_on) = (Arc::clone(&begins), Arc::clone(&goes_on));
        async move {
            begins.notify_one();
            goes_on.notified().await;
            Response::new(Body::full("the last word".into(), None))
        }
    });
    let mut busy = connect(&pair, &serving, &[ALPN_HTTP1]).await;
    busy.write_all(QUESTION.as_bytes()).await.unwrap();
    soon(begun.notified()).await;
    let mut idle = connect(&pair, &serving, &[ALPN_HTTP1]).await;
    soon(async {
        while serving.server.connections().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let server = serving.server.clone();
    let drained = tokio::spawn(async move { server.drain(Duration::from_secs(30)).await });
    assert_eq!(read_until(&mut idle, "nothing").await, "");
    go_on.notify_one();
    assert!(read_until(&mut busy, "the last word").await.starts_with("HTTP/1.1 200"));
    assert_eq!(soon(drained).await.unwrap().closed, 0);
}

#[tokio::test]
async fn connections_that_are_no_longer_wanted_are_closed_at_once() {
    let pair = Pair::new();
    let serving =
        Serving::start(limits(), transport(&pair), |_, _: Request<Incoming>| std::future::pending::<Response<Body>>());
    let mut stream = connect(&pair, &serving, &[ALPN_HTTP1]).await;
    stream.write_all(QUESTION.as_bytes()).await.unwrap();
    soon(async {
        while serving.server.connections().streams() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(serving.server.connections().retain(|_| false), 1);
    serving.until_empty().await;
    assert_eq!(read_until(&mut stream, "nothing").await, "");
}

#[tokio::test]
async fn a_head_that_is_long_reaches_a_service_that_would_tell_it() {
    let pair = Pair::new();
    let http2 = Http2 { header_bytes: 8 * 1024, told_header_bytes: 32 * 1024, ..Http2::default() };
    let serving = Serving::start(server::Limits { http2, ..limits() }, transport(&pair), say_back);
    for (length, expected) in [(9, "HTTP/1.1 200"), (30, "HTTP/1.1 200"), (40, "HTTP/1.1 431")] {
        let mut stream = connect(&pair, &serving, &[ALPN_HTTP1]).await;
        let head = format!("POST /a HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(length * 1024));
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "\r\n\r\n").await;
        assert!(answer.starts_with(expected), "{length}: {answer}");
    }
}
