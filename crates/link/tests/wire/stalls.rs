//! Ends that read nothing: each stops its own stream, and no other of the same connection.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use drawbridge_link::client::Links;
use drawbridge_link::server::{Caller, Transport};
use drawbridge_link::{Body, BodyError, Http2, Incoming, client, server};
use http::{Request, Response};
use http_body::Frame;

use crate::raw::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, head};
use crate::support::{Pair, Serving, ask, echo, ok, soon};

const CANCEL: u32 = 0x8;
/// More than fill 16 MiB, which is what a connection has by default.
const STALLED: usize = 200;

/// A link of one connection to a server that allows a thousand streams on it.
fn link(pair: &Pair, serving: &Serving) -> Links<()> {
    pair.links(serving.address, client::Limits { connections: 1, ..client::Limits::default() })
}

fn limits() -> server::Limits {
    server::Limits {
        http2: Http2 { streams: 1_024, ..Http2::default() }.with_room_for_all(),
        ..server::Limits::default()
    }
}

/// Waits until nothing more is sent, while another caller is answered.
async fn until_all_stand_still(links: &Links<()>, sent: &AtomicUsize) {
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        for _ in 0..20 {
            assert_eq!(ask(links, vec![1; 1024]).await.0.len(), 1024);
        }
    }
    assert!(before > STALLED * 128 * 1024, "{before} bytes are under way");
}

/// Sends for as long as it is taken.
fn endless(sent: &Arc<AtomicUsize>) -> Body {
    let (mut sender, body) = Body::channel(64 * 1024);
    let sent = Arc::clone(sent);
    tokio::spawn(async move {
        while sender.send(Bytes::from(vec![1; 16 * 1024])).await.is_ok() {
            sent.fetch_add(16 * 1024, Ordering::Relaxed);
        }
    });
    body
}

#[tokio::test]
async fn hundreds_of_answers_that_nobody_reads_do_not_stop_the_others_of_a_link() {
    let (pair, sent) = (Pair::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let rows = move |caller: Arc<Caller<()>>, request: Request<Incoming>| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() == "/rows" { Response::new(endless(&counted)) } else { echo(caller, request).await }
        }
    };
    let serving = Serving::start(limits(), pair.transport(), rows);
    let links = link(&pair, &serving);
    let mut unread = Vec::new();
    for _ in 0..STALLED {
        let request = Request::post("/rows").body(Body::empty()).unwrap();
        unread.push(soon(links.send(&(), request)).await.unwrap());
    }
    until_all_stand_still(&links, &sent).await;
}

#[tokio::test]
async fn hundreds_of_requests_that_nobody_reads_do_not_stop_the_others_of_a_link() {
    let (pair, sent) = (Pair::new(), Arc::new(AtomicUsize::new(0)));
    let kept = |caller: Arc<Caller<()>>, request: Request<Incoming>| async move {
        if request.uri().path() != "/kept" {
            return echo(caller, request).await;
        }
        let _unread = request;
        std::future::pending().await
    };
    let serving = Serving::start(limits(), pair.transport(), kept);
    let links = link(&pair, &serving);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..STALLED {
        let (links, body) = (links.clone(), endless(&sent));
        asking.spawn(async move { links.send(&(), Request::post("/kept").body(body).unwrap()).await.map(drop) });
    }
    soon(async {
        while sent.load(Ordering::Relaxed) < STALLED * 128 * 1024 {
            ask(&links, "meanwhile").await;
        }
    })
    .await;
    until_all_stand_still(&links, &sent).await;
}

/// A body that shows whether it is still held.
struct Held {
    body: Body,
    _hold: Arc<()>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
}

/// Serves an answer of a megabyte, and says by what it is held.
fn answering(stall: Duration) -> (Serving, Weak<()>) {
    let mut limits = limits();
    limits.http2.stall = stall;
    let hold = Arc::new(());
    let weak = Arc::downgrade(&hold);
    let hold = std::sync::Mutex::new(Some(hold));
    let hold = Arc::new(hold);
    let serving = Serving::start(limits, Transport::Plain, move |_, _| {
        let hold = hold.lock().unwrap().take().unwrap_or_default();
        async move { Response::new(Held { body: Body::full(vec![1; 1 << 20].into(), Some(ok())), _hold: hold }) }
    });
    (serving, weak)
}

/// Asks with a window of one byte.
async fn asking_with_no_room(serving: &Serving) -> Raw {
    let mut raw = Raw::open(serving.address).await;
    raw.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]).await;
    raw.frame(HEADERS, END_HEADERS | END_STREAM, 1, &head()).await;
    raw
}

#[tokio::test]
async fn an_answer_counts_as_sent_only_once_the_peer_has_room_for_it() {
    let (serving, held) = answering(Duration::from_mins(10));
    let mut raw = asking_with_no_room(&serving).await;
    raw.until(DATA).await;
    // One byte makes room for one byte.
    for _ in 0..10 {
        raw.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).await;
        assert_eq!(raw.until(DATA).await.payload.len(), 1);
    }
    raw.settle().await;
    assert!(held.upgrade().is_some(), "the answer was taken for sent");
    drop(raw);
    serving.until_empty().await;
    soon(async {
        while held.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_which_the_peer_takes_nothing_is_let_go() {
    let (serving, held) = answering(Duration::from_millis(300));
    let mut raw = asking_with_no_room(&serving).await;
    let reset = raw.until(RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (1, CANCEL));
    assert!(held.upgrade().is_none());
    // The connection goes on.
    raw.settle().await;
    assert_eq!(serving.server.connections().len(), 1);
}

#[tokio::test]
async fn a_reader_that_cannot_read_on_joins_small_frames_and_asks_for_no_more() {
    let (pair, sent) = (Pair::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let ticks = move |caller: Arc<Caller<()>>, request: Request<Incoming>| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() != "/ticks" {
                return echo(caller, request).await;
            }
            let (mut sender, body) = Body::channel(1);
            tokio::spawn(async move {
                // A capacity of one byte: each leaves by itself.
                for tick in 0..40_000_u32 {
                    if sender.send(Bytes::copy_from_slice(&tick.to_be_bytes())).await.is_err() {
                        return;
                    }
                    counted.fetch_add(4, Ordering::Relaxed);
                }
                sender.finish(Some(ok()));
            });
            Response::new(body)
        }
    };
    let serving = Serving::start(limits(), pair.transport(), ticks);
    let mut limits = client::Limits { connections: 1, ..client::Limits::default() };
    // Half of what the frames of this stream would cost, left as they come.
    limits.http2.small_frames = 4 * 1024 * 1024;
    let links = pair.links(serving.address, limits);
    let request = Request::post("/ticks").body(Body::empty()).unwrap();
    let mut answer = soon(links.send(&(), request)).await.unwrap().into_body();
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        for _ in 0..20 {
            let hoards = std::future::poll_fn(|context| answer.poll_hoard(context));
            tokio::select! {
                biased;
                () = hoards => panic!("the answer does not end here"),
                _ = ask(&links, "meanwhile") => {}
            }
        }
    }
    // The window, and a few frames that wait to be sent.
    assert!((128 * 1024..140 * 1024).contains(&before), "{before} bytes were sent");
    let all = soon(answer.collect(1 << 20)).await.unwrap();
    let ticks = all.data.chunks(4).map(|tick| u32::from_be_bytes(tick.try_into().unwrap()));
    assert!(ticks.eq(0..40_000) && all.trailers.is_some());
}
