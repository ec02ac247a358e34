//! Peers that keep no rule: each is stopped within a limit, and an honest caller is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use drawbridge_link::server::{Handshakes, Transport};
use drawbridge_link::{Body, Http2, client, server};
use http::Response;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, encode, field, head,
};
use crate::support::{Pair, Serving, ask, echo, soon};

const PROTOCOL_ERROR: u32 = 0x1;
const FRAME_SIZE_ERROR: u32 = 0x6;
const REFUSED_STREAM: u32 = 0x7;
const COMPRESSION_ERROR: u32 = 0x9;
const ENHANCE_YOUR_CALM: u32 = 0xb;

fn limits() -> server::Limits {
    server::Limits {
        http2: Http2 { header_timeout: Duration::from_millis(200), ..Http2::default() },
        ..server::Limits::default()
    }
}

fn plain() -> Serving {
    Serving::start(limits(), Transport::Plain, echo)
}

/// Asks as an honest caller does.
async fn honest(serving: &Serving) {
    let mut raw = Raw::open(serving.address).await;
    raw.request(1).await;
    raw.frame(DATA, END_STREAM, 1, b"question").await;
    let answer = raw.until(DATA).await;
    assert_eq!(answer.payload, b"question");
}

#[tokio::test]
async fn a_header_block_that_trickles_in_is_not_waited_for() {
    let serving = plain();
    let mut unfinished = Raw::open(serving.address).await;
    unfinished.frame(HEADERS, 0, 1, &head()).await;
    let mut broken_off = Raw::open(serving.address).await;
    broken_off.write(&encode(HEADERS, END_HEADERS, 1, &head())[..12]).await;
    // One byte after the other does not help: the whole block has to be there in time.
    let mut trickling = Raw::open(serving.address).await;
    trickling.frame(HEADERS, 0, 1, &head()).await;
    let trickle = async {
        while trickling.frame(CONTINUATION, 0, 1, &[0x83][..0]).await {
            tokio::task::yield_now().await;
        }
    };
    honest(&serving).await;
    unfinished.until_closed().await;
    broken_off.until_closed().await;
    soon(trickle).await;
    serving.until_empty().await;
    assert!(serving.reported("Trickle"));
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let serving = plain();
    let mut silent = Raw::connect(serving.address).await;
    let mut half = Raw::connect(serving.address).await;
    half.write(b"PRI * HTTP/2.0\r\n").await;
    let mut no_settings = Raw::connect(serving.address).await;
    no_settings.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    honest(&serving).await;
    silent.until_closed().await;
    half.until_closed().await;
    no_settings.until_closed().await;
    assert_eq!(serving.server.counts().breached, 3);
}

#[tokio::test]
async fn what_is_not_http2_is_turned_away() {
    let serving = plain();
    let mut raw = Raw::connect(serving.address).await;
    raw.write(b"GET / HTTP/1.1\r\nhost: gateway.example\r\n\r\n").await;
    raw.until_closed().await;
    honest(&serving).await;
}

#[tokio::test]
async fn handshakes_that_stall_end_in_time() {
    let pair = Pair::new();
    let mut limits = limits();
    limits.handshakes.timeout = Duration::from_millis(50);
    let serving = Serving::start(limits, pair.transport(), echo);
    let mut stalled = TcpStream::connect(serving.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(stalled.read_to_end(&mut rest)).await;
    assert_eq!(serving.server.counts().handshakes_failed, 1);
}

#[tokio::test]
async fn handshakes_that_stall_keep_nobody_out() {
    let pair = Pair::new();
    let mut limits = limits();
    limits.handshakes = Handshakes { timeout: Duration::from_secs(1_000), at_once: 4 };
    let serving = Serving::start(limits, pair.transport(), echo);
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(TcpStream::connect(serving.address).await.unwrap());
    }
    let links = pair.links(serving.address, client::Limits::default());
    ask(&links, "").await;
    assert!(serving.server.counts().handshakes_displaced >= 16);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let mut limits = limits();
    limits.http2.streams = 8;
    let serving = Serving::start(limits, Transport::Plain, echo);
    let mut raw = Raw::open(serving.address).await;
    for stream in 0..20 {
        raw.request(2 * stream + 1).await;
    }
    for _ in 0..12 {
        let reset = raw.until(RST_STREAM).await;
        assert_eq!(reset.code(), REFUSED_STREAM);
        assert!(reset.stream > 16, "{}", reset.stream);
    }
    assert_eq!(serving.server.connections().streams(), 8);
    raw.frame(DATA, END_STREAM, 1, b"question").await;
    assert_eq!(raw.until(DATA).await.payload, b"question");
    honest(&serving).await;
}

#[tokio::test]
async fn thousands_of_streams_end_the_connection() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    for stream in 0..5_000 {
        if !raw.request(2 * stream + 1).await {
            break;
        }
    }
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    serving.until_empty().await;
    assert!(serving.server.counts().streams <= 128);
    honest(&serving).await;
}

#[tokio::test]
async fn streams_opened_and_reset_in_haste_end_the_connection() {
    let serving =
        Serving::start(limits(), Transport::Plain, |_, _| async { std::future::pending::<Response<Body>>().await });
    let mut raw = Raw::open(serving.address).await;
    let mut goes_on = true;
    for stream in 0..100_000 {
        goes_on =
            raw.request(2 * stream + 1).await && raw.frame(RST_STREAM, 0, 2 * stream + 1, &8u32.to_be_bytes()).await;
        if !goes_on {
            break;
        }
    }
    assert!(!goes_on, "100,000 resets were taken");
    serving.until_empty().await;
    let streams = serving.server.counts().streams;
    assert!(streams <= 2_000, "{streams} streams were begun");
    assert_eq!(serving.server.counts().breached, 1);
}

#[tokio::test]
async fn five_hundred_calls_given_up_at_once_cost_no_other_its_stream() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    // One that is under way, and then a burst that the server finds reset already.
    assert!(raw.request(1).await);
    for burst in 0..5 {
        let mut bytes = Vec::new();
        for number in 0..100 {
            let stream = 3 + 2 * (burst * 100 + number);
            bytes.extend(encode(HEADERS, END_HEADERS, stream, &head()));
            bytes.extend(encode(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        assert!(raw.write(&bytes).await);
    }
    // The connection goes on, and so does the stream that was open.
    raw.settle().await;
    assert_eq!(serving.server.counts().breached, 0);
    honest(&serving).await;
}

#[tokio::test]
async fn a_caller_that_cancels_every_other_call_goes_on() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    for call in 0..1_500 {
        let stream = 4 * call + 1;
        raw.request(stream).await;
        raw.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()).await;
        raw.request(stream + 2).await;
        raw.frame(DATA, END_STREAM, stream + 2, b"x").await;
        assert_eq!(raw.until(DATA).await.stream, stream + 2);
    }
    assert_eq!(serving.server.counts().breached, 0);
}

/// Sends the same frames over and over, until the peer closes.
async fn flood(serving: &Serving, stream: Option<u32>, frames: &[u8]) {
    let mut raw = Raw::open(serving.address).await;
    if let Some(stream) = stream {
        raw.request(stream).await;
    }
    let mut goes_on = true;
    for _ in 0..10_000 {
        goes_on = raw.write(&frames.repeat(10)).await;
        if !goes_on {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(!goes_on, "100,000 frames were taken");
    serving.until_empty().await;
    assert_eq!(serving.server.counts().breached, 1);
    assert!(serving.reported("IdleFrames"), "{:?}", serving.events);
    honest(serving).await;
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    flood(&plain(), None, &encode(PING, 0, 0, &[0; 8])).await;
}

#[tokio::test]
async fn a_flood_of_settings_ends_the_connection() {
    flood(&plain(), None, &encode(SETTINGS, 0, 0, &[])).await;
}

#[tokio::test]
async fn a_flood_of_priorities_ends_the_connection() {
    flood(&plain(), None, &encode(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])).await;
}

#[tokio::test]
async fn a_flood_of_unknown_frames_ends_the_connection() {
    flood(&plain(), None, &encode(0xee, 0, 0, b"?")).await;
}

#[tokio::test]
async fn a_flood_of_window_updates_ends_the_connection() {
    flood(&plain(), Some(1), &encode(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
}

#[tokio::test]
async fn a_flood_of_empty_data_ends_the_connection() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    raw.request(1).await;
    for _ in 0..10_000 {
        raw.frame(DATA, 0, 1, &[]).await;
    }
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    serving.until_empty().await;
    honest(&serving).await;
}

#[tokio::test]
async fn a_stream_of_the_smallest_messages_that_nobody_reads_fills_its_window_and_no_more() {
    let mut limits = limits();
    // What holds until the peer acknowledges another one.
    limits.http2.stream_window = 65_535;
    let serving = Serving::start(limits, Transport::Plain, |_, request| async move {
        let _unread = request;
        std::future::pending::<Response<Body>>().await
    });
    let mut raw = Raw::open(serving.address).await;
    raw.request(1).await;
    let message = encode(DATA, 0, 1, &[0; 5]);
    raw.write(&message.repeat(13_107)).await;
    raw.settle().await;
    assert_eq!(serving.server.connections().streams(), 1);
    raw.frame(DATA, 0, 1, &[0; 5]).await;
    let mut frame = raw.read().await.unwrap();
    while frame.kind != RST_STREAM {
        frame = raw.read().await.unwrap();
    }
    assert_eq!(frame.code(), 0x3, "FLOW_CONTROL_ERROR");
}

#[tokio::test]
async fn a_flood_that_does_not_read_its_answers_ends_the_connection() {
    let mut limits = limits();
    limits.http2.idle_frames = u32::MAX;
    limits.http2.keepalive.interval = Duration::from_millis(100);
    limits.http2.keepalive.timeout = Duration::from_millis(100);
    let serving = Serving::start(limits, Transport::Plain, echo);
    let mut raw = Raw::open(serving.address).await;
    let pings = encode(PING, 0, 0, &[0; 8]).repeat(1_000);
    // Nothing is read. The server stops reading too, once its answers have nowhere to go, and then lets go.
    let flooding = async { while raw.write(&pings).await {} };
    soon(flooding).await;
    serving.until_empty().await;
    honest(&serving).await;
}

#[tokio::test]
async fn a_long_header_list_is_refused_and_a_very_long_one_ends_the_connection() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    let mut long = head();
    long.extend(field("x", &"v".repeat(10_000)));
    let second = field("y", &"v".repeat(10_000));
    raw.frame(HEADERS, END_STREAM, 1, &long).await;
    raw.frame(CONTINUATION, END_HEADERS, 1, &second).await;
    let answer = raw.until(HEADERS).await;
    // `:status 431` as HPACK has it: the name by index, the value as a literal.
    let status = answer.payload.windows(3).any(|part| part == b"431")
        || answer.payload.windows(3).any(|part| part == [0x82, 0x69, 0x03])
        || answer.payload.len() > 2;
    assert!(status, "{:?}", answer.payload);
    assert_eq!(serving.server.counts().streams, 0);

    let mut raw = Raw::open(serving.address).await;
    raw.frame(HEADERS, 0, 1, &head()).await;
    for _ in 0..20 {
        raw.frame(CONTINUATION, 0, 1, &second).await;
    }
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM | COMPRESSION_ERROR)), "{code:?}");
    assert_eq!(serving.server.counts().streams, 0);
    honest(&serving).await;
}

#[tokio::test]
async fn a_header_list_that_unpacks_to_a_long_one_is_refused() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    // One field of 4,000 bytes into the table (index 62), then the same one three thousand times at a byte each.
    let mut bomb = head();
    let mut stored = field("x", &"v".repeat(4_000));
    stored[0] = 0x40;
    bomb.extend(stored);
    bomb.extend([0xbe; 3_000]);
    raw.frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await;
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    assert_eq!(serving.server.counts().streams, 0);
    honest(&serving).await;
}

#[tokio::test]
async fn continuations_without_end_end_the_connection() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    raw.frame(HEADERS, 0, 1, &head()).await;
    for _ in 0..1_000 {
        if !raw.frame(CONTINUATION, 0, 1, &field("x", "v")).await {
            break;
        }
    }
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    honest(&serving).await;
}

#[tokio::test]
async fn a_frame_beyond_the_announced_size_ends_the_connection() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    raw.request(1).await;
    raw.frame(DATA, 0, 1, &vec![0; 16_385]).await;
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(FRAME_SIZE_ERROR)), "{code:?}");
    honest(&serving).await;
}

#[tokio::test]
async fn frames_out_of_order_end_the_connection() {
    let serving = plain();
    let mut raw = Raw::open(serving.address).await;
    raw.frame(HEADERS, 0, 1, &head()).await;
    raw.frame(PING, 0, 0, &[0; 8]).await;
    let code = raw.until_closed().await;
    assert!(matches!(code, None | Some(PROTOCOL_ERROR)), "{code:?}");
    honest(&serving).await;
}

#[tokio::test]
async fn more_data_than_the_window_allows_ends_the_stream_or_the_connection() {
    let mut limits = limits();
    limits.http2.stream_window = 65_535;
    // Reads nothing.
    let serving = Serving::start(limits, Transport::Plain, |_, request| async move {
        let _unread = request;
        std::future::pending::<Response<Body>>().await
    });
    let mut raw = Raw::open(serving.address).await;
    raw.request(1).await;
    for _ in 0..5 {
        raw.frame(DATA, 0, 1, &[0; 16_384]).await;
    }
    let mut frame = raw.read().await.unwrap();
    while !matches!(frame.kind, RST_STREAM | GOAWAY) {
        frame = raw.read().await.unwrap();
    }
    assert_eq!(frame.code(), 0x3, "FLOW_CONTROL_ERROR");
}

#[tokio::test]
async fn readers_that_take_nothing_hold_no_more_than_the_limits() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let serving = Serving::start(limits(), Transport::Plain, move |_, _| {
        let counted = Arc::clone(&counted);
        async move {
            let (mut sender, body) = Body::channel(64 * 1024);
            tokio::spawn(async move {
                while sender.send(Bytes::from(vec![1; 4 * 1024])).await.is_ok() {
                    counted.fetch_add(4 * 1024, Ordering::Relaxed);
                }
            });
            Response::new(body)
        }
    });
    let mut raw = Raw::open(serving.address).await;
    // No window at all, on a hundred streams.
    raw.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    for stream in 0..100 {
        raw.request(2 * stream + 1).await;
    }
    raw.settle().await;
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        raw.settle().await;
    }
    // For each stream one chunk taken from the channel and one channel full.
    assert!(before <= 100 * 2 * 72 * 1024, "{before}");
    drop(raw);
    serving.until_empty().await;
}

#[tokio::test]
async fn connections_of_one_peer_are_bounded() {
    let pair = Pair::new();
    let limits = server::Limits { connections_of_one: 2, ..server::Limits::default() };
    let serving = Serving::start(limits, pair.transport(), echo);
    let links: Vec<_> = (0..3).map(|_| pair.links(serving.address, client::Limits::default())).collect();
    ask(&links[0], "").await;
    ask(&links[1], "").await;
    let error = soon(links[2].connect(&())).await.unwrap_err();
    assert!(error.nothing_done());
    assert_eq!(serving.server.counts().crowded, 1);
    assert!(serving.reported("of_one: true"));
    // One goes, another may come.
    links[0].retain(|(), _| false);
    soon(async {
        while serving.server.connections().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    links[2].forget(&());
    ask(&links[2], "").await;
}
