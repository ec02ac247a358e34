//! The life of a connection: one record for what belongs together, age, idleness, silence, and the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use drawbridge_link::server::{Drained, Transport};
use drawbridge_link::{Body, Http2, Keepalive, client, server};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::raw::{ACK, GOAWAY, PING, Raw};
use crate::support::{Pair, Serving, ask, echo, ok, question, soon};

/// Passes one connection on, and counts the TLS records of either direction.
async fn counting_relay(target: SocketAddr) -> (SocketAddr, Arc<[AtomicUsize; 2]>) {
    async fn pass(
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        counts: Arc<[AtomicUsize; 2]>,
        direction: usize,
    ) -> std::io::Result<()> {
        loop {
            let mut record = vec![0; 5];
            from.read_exact(&mut record).await?;
            let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
            record.resize(5 + length, 0);
            from.read_exact(&mut record[5..]).await?;
            counts[direction].fetch_add(1, Ordering::Relaxed);
            to.write_all(&record).await?;
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&counts);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(target).await.unwrap();
        far.set_nodelay(true).unwrap();
        near.set_nodelay(true).unwrap();
        let (near_reads, near_writes) = near.into_split();
        let (far_reads, far_writes) = far.into_split();
        tokio::spawn(pass(near_reads, far_writes, Arc::clone(&counted), 0));
        tokio::spawn(pass(far_reads, near_writes, counted, 1));
    });
    (address, counts)
}

#[tokio::test]
async fn a_request_is_one_record_and_its_answer_is_one() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let (address, counts) = counting_relay(serving.address).await;
    let links = pair.links(address, client::Limits::default());
    let counted = || [0, 1].map(|direction: usize| counts[direction].load(Ordering::Relaxed));
    // The first calls carry settings and the like.
    for _ in 0..3 {
        ask(&links, vec![1; 1024]).await;
    }
    let before = counted();
    for _ in 0..20 {
        ask(&links, vec![1; 1024]).await;
    }
    let after = counted();
    // Head, data and trailers: without holding writes these would be 40 and 60 records.
    assert_eq!([after[0] - before[0], after[1] - before[1]], [20, 20]);
}

#[tokio::test]
async fn requests_made_together_leave_together() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let (address, counts) = counting_relay(serving.address).await;
    let links = pair.links(address, client::Limits::default());
    ask(&links, "").await;
    let before = counts[0].load(Ordering::Relaxed);
    let calls = (0..50).map(|_| ask(&links, vec![1; 100]));
    futures_util::future::join_all(calls).await;
    let records = counts[0].load(Ordering::Relaxed) - before;
    assert!(records <= 5, "{records} records for 50 requests");
}

fn short(keepalive: Keepalive) -> server::Limits {
    server::Limits { http2: Http2 { keepalive, ..Http2::default() }, ..server::Limits::default() }
}

#[tokio::test]
async fn a_peer_that_gives_no_sign_of_life_is_let_go() {
    let keepalive = Keepalive { interval: Duration::from_millis(50), timeout: Duration::from_millis(50) };
    let serving = Serving::start(short(keepalive), Transport::Plain, echo);
    let mut raw = Raw::open(serving.address).await;
    let ping = raw.until(PING).await;
    raw.frame(PING, ACK, 0, &ping.payload).await;
    // Answered once, it is asked again; not answered, it is closed.
    raw.until(PING).await;
    raw.until_closed().await;
    serving.until_empty().await;
}

#[tokio::test]
async fn a_peer_that_only_trickles_a_data_frame_is_let_go() {
    let keepalive = Keepalive { interval: Duration::from_millis(50), timeout: Duration::from_millis(50) };
    let serving = Serving::start(short(keepalive), Transport::Plain, echo);
    let mut raw = Raw::open(serving.address).await;
    raw.request(1).await;
    raw.settle().await;
    // The head of a frame of 1,000 bytes, and none of them.
    raw.write(&[0, 3, 232, 0, 0, 0, 0, 0, 1]).await;
    raw.until_closed().await;
    serving.until_empty().await;
}

#[tokio::test]
async fn a_link_whose_peer_gives_no_sign_of_life_is_given_up() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), |_, _| async {
        std::future::pending::<Response<Body>>().await
    });
    // Passes on for a while, then no longer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(Notify::new());
    let is_cut = Arc::clone(&cut);
    let target = serving.address;
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = is_cut.notified() => std::future::pending().await,
        }
    });
    let mut limits = client::Limits::default();
    limits.http2.keepalive = Keepalive { interval: Duration::from_millis(50), timeout: Duration::from_millis(50) };
    let links = pair.links(address, limits);
    let call = {
        let links = links.clone();
        tokio::spawn(async move { links.send(&(), question("")).await.map(drop) })
    };
    soon(async {
        while serving.server.counts().streams == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    cut.notify_one();
    let error = soon(call).await.unwrap().unwrap_err();
    assert!(!error.nothing_done(), "{error:?}");
    assert_eq!(links.states()[0].1.connections, 0);
}

#[tokio::test]
async fn an_old_connection_retires_and_no_call_fails_for_it() {
    let pair = Pair::new();
    let limits = server::Limits { connection_age: Some(Duration::from_millis(100)), ..server::Limits::default() };
    let serving = Serving::start(limits, pair.transport(), echo);
    let links = pair.links(serving.address, client::Limits::default());
    soon(async {
        while serving.server.counts().accepted < 5 {
            let calls = (0..10).map(|_| ask(&links, "x"));
            futures_util::future::join_all(calls).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_unused_connection_retires() {
    let limits = server::Limits { idle: Some(Duration::from_millis(50)), ..server::Limits::default() };
    let serving = Serving::start(limits, Transport::Plain, echo);
    let mut raw = Raw::open(serving.address).await;
    let goodbye = raw.until(GOAWAY).await;
    assert_eq!(goodbye.code(), 0);

    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), echo);
    let limits = client::Limits { idle: Some(Duration::from_millis(50)), ..client::Limits::default() };
    let links = pair.links(serving.address, limits);
    ask(&links, "").await;
    serving.until_empty().await;
    assert_eq!(links.states()[0].1.connections, 0);
    ask(&links, "").await;
}

#[tokio::test]
async fn a_drain_lets_open_streams_end_and_takes_no_new_connection() {
    let pair = Pair::new();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let serving = Serving::start(server::Limits::default(), pair.transport(), move |_, _| {
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            Response::new(Body::full("late".into(), Some(ok())))
        }
    });
    let links = pair.links(serving.address, client::Limits::default());
    let call = {
        let links = links.clone();
        tokio::spawn(async move { ask(&links, "").await.0 })
    };
    soon(async {
        while serving.server.counts().streams == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let drain = {
        let server = serving.server.clone();
        tokio::spawn(async move { server.drain(Duration::from_secs(10)).await })
    };
    soon(async {
        while TcpStream::connect(serving.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!drain.is_finished());
    release.notify_one();
    assert_eq!(soon(call).await.unwrap(), "late");
    assert_eq!(soon(drain).await.unwrap(), Drained { closed: 0 });
}

#[tokio::test]
async fn a_drain_that_runs_out_of_patience_closes_what_is_left() {
    let pair = Pair::new();
    let serving = Serving::start(server::Limits::default(), pair.transport(), |_, _| async {
        std::future::pending::<Response<Body>>().await
    });
    let links = pair.links(serving.address, client::Limits::default());
    let call = tokio::spawn(async move { links.send(&(), question("")).await.map(drop) });
    soon(async {
        while serving.server.counts().streams == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let drained = soon(serving.server.drain(Duration::from_millis(10))).await;
    assert_eq!(drained, Drained { closed: 1 });
    assert!(soon(call).await.unwrap().is_err());
}

#[test]
fn connections_spread_over_runtimes_and_stay_there() {
    let pair = Pair::new();
    let server = server::Server::new(server::Limits::default(), pair.transport(), |_| {
        Ok(server::Identified { peer: (), name: "asker.example".into() })
    });
    let listeners = server::listeners(([127, 0, 0, 1], 0).into(), 2).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let server = server.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let service = |_, _| async {
                        let thread = format!("{:?}", std::thread::current().id());
                        Response::new(Body::full(thread.into(), None))
                    };
                    server.serve(listener, service).await.unwrap();
                    while !server.connections().is_empty() {
                        tokio::task::yield_now().await;
                    }
                });
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut threads = std::collections::HashMap::<_, usize>::new();
        let mut kept = Vec::new();
        for _ in 0..16 {
            let links = pair.links(address, client::Limits::default());
            let (thread, _) = ask(&links, "").await;
            assert_eq!(ask(&links, "").await.0, thread);
            *threads.entry(thread).or_default() += 1;
            kept.push(links);
        }
        // One of them may have had a stranger at its door.
        assert!(threads.len() == 2 && threads.values().all(|count| (7..=9).contains(count)), "{threads:?}");
        soon(server.drain(Duration::from_secs(5))).await;
    });
    for thread in threads {
        thread.join().unwrap();
    }
}
