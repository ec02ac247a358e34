//! The asker's side: how connections are dialled, shared, lost and found again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drawbridge_link::client::{Backoff, LinkError, Links, Target};
use drawbridge_link::{Body, Http2, Incoming, Reason, client, server};
use futures_util::future::join_all;
use http::{Request, Response};
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::support::{Pair, Serving, ask, echo, ok, question, soon};

#[tokio::test]
async fn requests_made_before_there_is_a_connection_share_the_first() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let links = pair.links(serving.address, client::Limits::default());
    join_all((0..50).map(|_| ask(&links, "x"))).await;
    assert_eq!(serving.server.counts().accepted, 1);
    assert_eq!(serving.server.counts().streams, 50);
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_the_dialling_for_others() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let links = pair.links(serving.address, client::Limits::default());
    let hasty = links.send(&(), question(""));
    assert!(tokio::time::timeout(Duration::ZERO, hasty).await.is_err());
    ask(&links, "").await;
    assert_eq!(serving.server.counts().accepted, 1);
}

/// Serves at most `streams` at once on each connection, each until it is given a permit.
fn slow(pair: &Pair, streams: u32) -> (Serving, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let given = Arc::clone(&permits);
    let limits = server::Limits { http2: Http2 { streams, ..Http2::default() }, ..server::Limits::default() };
    let serving = Serving::start(limits, pair.transport(), move |_, _| {
        let given = Arc::clone(&given);
        async move {
            given.acquire().await.unwrap().forget();
            Response::new(Body::full("done".into(), Some(ok())))
        }
    });
    (serving, permits)
}

#[tokio::test]
async fn a_second_connection_is_dialled_when_the_first_is_nearly_full() {
    let pair = Pair::new();
    let (serving, permits) = slow(&pair, 8);
    let links = pair.links(serving.address, client::Limits::default());
    soon(links.connect(&())).await.unwrap();
    let begin = |count| {
        let calls: Vec<_> = (0..count)
            .map(|_| {
                let links = links.clone();
                tokio::spawn(async move { ask(&links, "").await.0 })
            })
            .collect();
        calls
    };
    let streams = async |count: u64| {
        soon(async {
            while serving.server.counts().streams < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    let mut calls = begin(6);
    streams(6).await;
    assert_eq!(serving.server.counts().accepted, 1);
    calls.extend(begin(1));
    soon(async {
        while links.states()[0].1.connections < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    calls.extend(begin(5));
    streams(12).await;
    assert_eq!(serving.server.counts().accepted, 2);
    permits.add_permits(100);
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), "done");
    }
}

#[tokio::test]
async fn requests_beyond_what_the_peer_allows_wait_and_beyond_the_queue_are_refused() {
    let pair = Pair::new();
    let (serving, permits) = slow(&pair, 4);
    let limits = client::Limits { connections: 1, queue: 2, ..client::Limits::default() };
    let links = pair.links(serving.address, limits);
    soon(links.connect(&())).await.unwrap();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let links = links.clone();
            tokio::spawn(async move { ask(&links, "").await.0 })
        })
        .collect();
    soon(async {
        while links.states()[0].1.streams < 6 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = links.send(&(), question("")).await.unwrap_err();
    assert!(matches!(error, LinkError::Full), "{error:?}");
    assert!(error.nothing_done());
    permits.add_permits(6);
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), "done");
    }
    assert_eq!(links.states()[0].1.streams, 0);
}

/// A port that nobody listens on.
async fn vacant() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_peer_that_is_down_is_left_alone_for_a_while() {
    let pair = Pair::new();
    let address = vacant().await;
    let limits = client::Limits {
        backoff: Backoff { first: Duration::from_secs(1_000), longest: Duration::from_secs(1_000) },
        ..client::Limits::default()
    };
    let links = pair.links(address, limits);
    for _ in 0..3 {
        let error = soon(links.send(&(), question(""))).await.unwrap_err();
        let LinkError::Down { again_in, cause, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(error.nothing_done());
        assert!(*again_in > Duration::from_secs(700), "{again_in:?}");
        assert!(matches!(**cause, client::DialError::Connect(_)), "{cause:?}");
    }
    assert!(links.states()[0].1.down.is_some());
    // It is back, and the operator says so.
    let _serving = Serving::start_at(address, server::Limits::default(), pair.transport(), echo);
    assert!(links.send(&(), question("")).await.is_err());
    links.forget(&());
    ask(&links, "").await;
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again() {
    let pair = Pair::new();
    let address = vacant().await;
    let limits = client::Limits {
        backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(10) },
        ..client::Limits::default()
    };
    let links = pair.links(address, limits);
    soon(links.send(&(), question(""))).await.unwrap_err();
    let serving = Serving::start_at(address, server::Limits::default(), pair.transport(), echo);
    soon(async {
        while links.send(&(), question("")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(links.states()[0].1.down.is_none());

    // A restart while the link is quiet costs no request.
    soon(serving.server.drain(Duration::from_secs(1))).await;
    let _serving = Serving::start_at(address, server::Limits::default(), pair.transport(), echo);
    ask(&links, "").await;
}

#[tokio::test]
async fn a_peer_that_ends_every_connection_at_once_is_left_alone_for_a_while() {
    let pair = Pair::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&pair.server));
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let mut stream = acceptor.accept(stream).await.unwrap();
            // A first word, so that the dial succeeds, and the end.
            let mut word = crate::raw::encode(crate::raw::SETTINGS, 0, 0, &[]);
            word.extend(crate::raw::encode(crate::raw::GOAWAY, 0, 0, &[0; 8]));
            stream.write_all(&word).await.unwrap();
        }
    });
    let backoff = Backoff { first: Duration::from_secs(1_000), longest: Duration::from_secs(1_000) };
    let links = pair.links(address, client::Limits { backoff, ..client::Limits::default() });
    for _ in 0..20 {
        let error = soon(links.send(&(), question(""))).await.unwrap_err();
        assert!(error.nothing_done(), "{error:?}");
    }
    let error = links.send(&(), question("")).await.unwrap_err();
    assert!(matches!(error, LinkError::Down { .. }), "{error:?}");
    assert!(links.states()[0].1.down.is_some());
    let dials = accepted.load(Ordering::Relaxed);
    assert!(dials <= 3, "{dials} connections");
}

#[tokio::test]
async fn a_request_whose_connection_is_lost_may_have_been_acted_on() {
    let pair = Pair::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&pair.server));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut h2 = h2::server::handshake(stream).await.unwrap();
        let _request = h2.accept().await.unwrap().unwrap();
        // Gone without a word.
    });
    let links = pair.links(address, client::Limits::default());
    let error = soon(links.send(&(), question(""))).await.unwrap_err();
    assert!(matches!(error, LinkError::Lost(_)), "{error:?}");
    assert!(!error.nothing_done());
}

/// A peer that answers every stream with a reset.
async fn resetting(pair: &Pair, reason: Reason) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&pair.server));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut h2 = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = h2.accept().await {
            respond.send_reset(reason);
        }
    });
    address
}

#[tokio::test]
async fn a_stream_refused_unseen_was_not_acted_on_and_a_reset_one_may_have_been() {
    let pair = Pair::new();
    let address = resetting(&pair, Reason::REFUSED_STREAM).await;
    let links = pair.links(address, client::Limits::default());
    let error = soon(links.send(&(), question(""))).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{error:?}");
    assert!(error.nothing_done());

    let address = resetting(&pair, Reason::CANCEL).await;
    let links = pair.links(address, client::Limits::default());
    let error = soon(links.send(&(), question(""))).await.unwrap_err();
    assert!(matches!(error, LinkError::Reset(Reason::CANCEL)), "{error:?}");
    assert!(!error.nothing_done());
}

#[tokio::test]
async fn a_stream_beyond_the_last_one_of_a_goaway_was_not_acted_on() {
    let pair = Pair::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&pair.server));
    tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        stream.write_all(&crate::raw::encode(crate::raw::SETTINGS, 0, 0, &[])).await.unwrap();
        // Reads the request, and says that it has seen no stream.
        let mut read = [0; 1024];
        let mut seen = Vec::new();
        while !seen.windows(8).any(|part| part == b"question") {
            let count = stream.read(&mut read).await.unwrap();
            seen.extend_from_slice(&read[..count]);
        }
        stream.write_all(&crate::raw::encode(crate::raw::GOAWAY, 0, 0, &[0; 8])).await.unwrap();
        std::future::pending::<()>().await;
    });
    let links = pair.links(address, client::Limits::default());
    // A body that is written meanwhile cannot be sent once more; a whole one would be.
    let (mut sender, body) = Body::channel(1024);
    sender.send("question".into()).await.unwrap();
    let request = Request::post("/x").body(body).unwrap();
    let error = soon(links.send(&(), request)).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{error:?}");
    assert!(error.nothing_done());
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_handshake_is_given_up_in_time() {
    let pair = Pair::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = client::Limits { connect_timeout: Duration::from_millis(50), ..client::Limits::default() };
    let links = pair.links(address, limits);
    let error = soon(links.send(&(), question(""))).await.unwrap_err();
    let LinkError::Down { cause, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**cause, client::DialError::Timeout(_)), "{cause:?}");
}

#[tokio::test]
async fn a_peer_nobody_can_find_is_no_reason_to_dial() {
    let links: Links<&str> =
        Links::new(client::Limits::default(), |peer| Err(format!("`{peer}` is not in the directory").into()));
    let error = soon(links.send(&"nowhere.example", question(""))).await.unwrap_err();
    assert!(matches!(error, LinkError::Undialable(_)), "{error:?}");
    assert!(error.nothing_done());
}

#[tokio::test]
async fn directions_are_asked_for_each_connection() {
    let pair = Pair::new();
    let first = Serving::start(server::Limits::default(), pair.transport(), echo);
    let second = Serving::start(server::Limits::default(), pair.transport(), echo);
    let current = Arc::new(std::sync::Mutex::new(first.address));
    let (asked, tls) = (Arc::clone(&current), Arc::clone(&pair.client));
    let links = Links::new(client::Limits::default(), move |()| {
        Ok(Target {
            address: asked.lock().unwrap().to_string(),
            server_name: ServerName::try_from("gateway.example").unwrap(),
            tls: Arc::clone(&tls),
        })
    });
    ask(&links, "").await;
    *current.lock().unwrap() = second.address;
    ask(&links, "").await;
    assert_eq!(first.server.counts().streams, 2);
    links.retain(|(), _| false);
    ask(&links, "").await;
    assert_eq!(second.server.counts().streams, 1);
}

#[tokio::test]
async fn a_passed_on_body_crosses_two_links() {
    let pair = Pair::new();
    let far = Serving::start(server::Limits::default(), pair.transport(), echo);
    let onward = pair.links(far.address, client::Limits::default());
    let near = Serving::start(server::Limits::default(), pair.transport(), move |_, request: Request<Incoming>| {
        let onward = onward.clone();
        async move {
            let request = request.map(Body::passed);
            onward.send(&(), request).await.unwrap().map(Body::passed)
        }
    });
    let links = pair.links(near.address, client::Limits::default());
    let sent = vec![7; 1_000_000];
    let (answer, trailers) = ask(&links, sent.clone()).await;
    assert!(answer == sent);
    assert!(trailers.is_some());
}
