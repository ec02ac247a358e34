//! What crosses on one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use drawbridge_link::server::{Caller, Transport};
use drawbridge_link::{Body, BodyError, Incoming, Reason, client, server};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::raw::{END_HEADERS, END_STREAM, HEADERS, Raw, head};
use crate::support::{Pair, Serving, ask, echo, ok, question, soon};

fn serving<S, F>(pair: &Pair, service: S) -> Serving
where
    S: Fn(Arc<Caller<()>>, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Serving::start(server::Limits::default(), pair.transport(), service)
}

#[tokio::test]
async fn a_request_and_its_answer_cross_with_heads_and_trailers() {
    let pair = Pair::new();
    let serving = serving(&pair, |caller, request: Request<Incoming>| async move {
        assert_eq!(caller.certificates.len(), 1);
        assert_eq!(request.uri().path(), "/health.v1.Patients/Find");
        let purpose = request.headers()["drawbridge-purpose"].clone();
        let question = request.into_body().collect(100).await.unwrap();
        assert_eq!(question.data, "question");
        Response::builder()
            .header("drawbridge-exchange-id", purpose)
            .body(Body::full("answer".into(), Some(ok())))
            .unwrap()
    });
    let links = pair.links(serving.address, client::Limits::default());
    let mut request = question("question");
    request.headers_mut().insert("drawbridge-purpose", "care".parse().unwrap());
    let response = soon(links.send(&(), request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["drawbridge-exchange-id"], "care");
    let answer = soon(response.into_body().collect(100)).await.unwrap();
    assert_eq!(answer.data, "answer");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn bodies_of_every_size_arrive_as_they_were_sent() {
    let pair = Pair::new();
    let serving = serving(&pair, echo);
    let links = pair.links(serving.address, client::Limits::default());
    for size in [0, 1, 255, 256, 16_383, 16_384, 16_385, 70_000, 300_000, 5_000_000] {
        let sent: Vec<u8> = (0..=250).cycle().take(size).collect();
        let (answer, trailers) = ask(&links, sent.clone()).await;
        assert!(answer == sent, "{size} bytes");
        assert!(trailers.is_some());
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_as_soon_as_it_is() {
    let pair = Pair::new();
    let serving = serving(&pair, echo);
    let links = pair.links(serving.address, client::Limits::default());
    let response = soon(links.send(&(), question(vec![0; 1000]))).await.unwrap();
    let error = response.into_body().collect(999).await.unwrap_err();
    assert!(matches!(error, BodyError::TooLong { limit: 999 }), "{error}");
}

#[tokio::test]
async fn trailers_of_a_request_arrive() {
    let pair = Pair::new();
    let serving = serving(&pair, |_, request: Request<Incoming>| async move {
        let collected = request.into_body().collect(100).await.unwrap();
        Response::new(Body::full(collected.data, collected.trailers))
    });
    let links = pair.links(serving.address, client::Limits::default());
    let (mut sender, body) = Body::channel(1024);
    sender.send("one".into()).await.unwrap();
    sender.send("two".into()).await.unwrap();
    sender.finish(Some(ok()));
    let request = Request::post("/x").body(body).unwrap();
    let response = soon(links.send(&(), request)).await.unwrap();
    let answer = soon(response.into_body().collect(100)).await.unwrap();
    assert_eq!(answer.data, "onetwo");
    assert!(answer.trailers.is_some());
}

#[tokio::test]
async fn both_directions_of_a_stream_flow_at_once() {
    let pair = Pair::new();
    let serving = serving(&pair, |_, request: Request<Incoming>| async move {
        let mut questions = request.into_body();
        let (mut sender, body) = Body::channel(1024);
        tokio::spawn(async move {
            while let Some(chunk) = questions.data().await {
                sender.send(chunk.unwrap()).await.unwrap();
            }
            sender.finish(questions.trailers().await.unwrap());
        });
        Response::new(body)
    });
    let links = pair.links(serving.address, client::Limits::default());
    let (mut sender, body) = Body::channel(1024);
    let request = Request::post("/x").body(body).unwrap();
    let mut answer = soon(links.send(&(), request)).await.unwrap().into_body();
    for round in 0..50u8 {
        sender.send(Bytes::from(vec![round; 100])).await.unwrap();
        let mut received = 0;
        while received < 100 {
            let chunk = soon(answer.data()).await.unwrap().unwrap();
            assert!(chunk.iter().all(|byte| *byte == round));
            received += chunk.len();
        }
    }
    sender.finish(Some(ok()));
    assert!(soon(answer.data()).await.is_none());
    assert!(answer.trailers().await.unwrap().is_some());
}

#[tokio::test]
async fn a_reader_that_pauses_holds_its_writer_and_nobody_else() {
    let pair = Pair::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let serving = serving(&pair, move |caller, request: Request<Incoming>| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() != "/rows" {
                return echo(caller, request).await;
            }
            let (mut sender, body) = Body::channel(64 * 1024);
            tokio::spawn(async move {
                for _ in 0..10_000 {
                    if sender.send(Bytes::from(vec![1; 1024])).await.is_err() {
                        return;
                    }
                    counted.fetch_add(1024, Ordering::Relaxed);
                }
                sender.finish(None);
            });
            Response::new(body)
        }
    });
    let links = pair.links(serving.address, client::Limits::default());
    let request = Request::post("/rows").body(Body::empty()).unwrap();
    let mut answer = soon(links.send(&(), request)).await.unwrap().into_body();

    // Others are served for as long as it takes the writer to stand still.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        for _ in 0..20 {
            ask(&links, "meanwhile").await;
        }
    }
    // The window (128 KiB), what waits in HTTP/2 (64 KiB and a chunk), and what waits in the channel (64 KiB and a row).
    assert!(before <= 400 * 1024, "{before} bytes under way");
    assert!(before >= 128 * 1024, "{before} bytes under way");

    let mut received = 0;
    while let Some(chunk) = soon(answer.data()).await {
        received += chunk.unwrap().len();
    }
    assert_eq!(received, 10_000 * 1024);
}

#[tokio::test]
async fn readers_that_pause_on_all_streams_but_one_do_not_stop_that_one() {
    let pair = Pair::new();
    let serving = serving(&pair, move |caller, request: Request<Incoming>| async move {
        if request.uri().path() != "/rows" {
            return echo(caller, request).await;
        }
        let (mut sender, body) = Body::channel(64 * 1024);
        tokio::spawn(async move { while sender.send(Bytes::from(vec![1; 1024])).await.is_ok() {} });
        Response::new(body)
    });
    let limits = client::Limits { connections: 1, ..client::Limits::default() };
    let links = pair.links(serving.address, limits);
    let mut paused = Vec::new();
    for _ in 0..127 {
        let request = Request::post("/rows").body(Body::empty()).unwrap();
        paused.push(soon(links.send(&(), request)).await.unwrap());
    }
    for _ in 0..50 {
        ask(&links, vec![1; 1024]).await;
    }
}

#[tokio::test]
async fn a_body_of_somebody_elses_crosses_too() {
    let pair = Pair::new();
    let serving = serving(&pair, |_, _| async {
        let full = http_body_util::Full::new(Bytes::from_static(b"answer"));
        Response::new(Body::other(full))
    });
    let links = pair.links(serving.address, client::Limits::default());
    assert_eq!(ask(&links, "").await.0, "answer");
}

#[tokio::test]
async fn an_answer_whose_head_breaks_a_rule_is_a_reset() {
    let pair = Pair::new();
    let serving = serving(&pair, |_, _| async {
        let answer = Response::builder().header("connection", "close");
        answer.body(Body::empty()).unwrap()
    });
    let links = pair.links(serving.address, client::Limits::default());
    let error = soon(links.send(&(), question(""))).await.unwrap_err();
    assert!(matches!(error, client::LinkError::Reset(Reason::INTERNAL_ERROR)), "{error:?}");
    let mut request = question("");
    request.headers_mut().insert("connection", "close".parse().unwrap());
    let error = soon(links.send(&(), request)).await.unwrap_err();
    assert!(matches!(error, client::LinkError::Request(_)), "{error:?}");
}

#[tokio::test]
async fn a_writer_learns_that_its_reader_has_gone() {
    let pair = Pair::new();
    let (gone, mut seen) = mpsc::unbounded_channel();
    let serving = serving(&pair, move |_, _| {
        let gone = gone.clone();
        async move {
            let (mut sender, body) = Body::channel(1024);
            sender.send("row".into()).await.unwrap();
            tokio::spawn(async move {
                sender.closed().await;
                gone.send(()).unwrap();
            });
            Response::new(body)
        }
    });
    let links = pair.links(serving.address, client::Limits::default());
    let mut answer = soon(links.send(&(), question(""))).await.unwrap().into_body();
    soon(answer.data()).await.unwrap().unwrap();
    drop(answer);
    soon(seen.recv()).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_gives_up_stops_the_service() {
    struct Stopped(Option<oneshot::Sender<()>>);
    impl Drop for Stopped {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let pair = Pair::new();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let serving = serving(&pair, move |_, _| {
        let begun = begun.clone();
        async move {
            let (stopped, has_stopped) = oneshot::channel();
            let _stopped = Stopped(Some(stopped));
            begun.send(has_stopped).unwrap();
            std::future::pending().await
        }
    });
    let links = pair.links(serving.address, client::Limits::default());
    let call = tokio::spawn(async move { links.send(&(), question("")).await.map(drop) });
    let has_stopped = soon(has_begun.recv()).await.unwrap();
    call.abort();
    soon(has_stopped).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_cut_short_does_not_look_whole() {
    let pair = Pair::new();
    let serving = serving(&pair, |_, request: Request<Incoming>| async move {
        let (mut sender, body) = Body::channel(1024);
        sender.send("row".into()).await.unwrap();
        if request.uri().path() == "/reset" {
            sender.reset(Reason::CANCEL);
        }
        Response::new(body)
    });
    let links = pair.links(serving.address, client::Limits::default());
    for (path, expected) in [("/reset", Reason::CANCEL), ("/drop", Reason::INTERNAL_ERROR)] {
        let request = Request::post(path).body(Body::empty()).unwrap();
        let response = soon(links.send(&(), request)).await;
        let error = match response {
            Ok(response) => response.into_body().collect(100).await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(
            error.ends_with(&format!("reset: {expected}")) || error.ends_with(&format!("reset the stream: {expected}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_a_head_alone() {
    let pair = Pair::new();
    let serving =
        serving(&pair, |_, _| async { Response::builder().header("grpc-status", "7").body(Body::empty()).unwrap() });
    let links = pair.links(serving.address, client::Limits::default());
    let response = soon(links.send(&(), question(""))).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "7");
    assert!(http_body::Body::is_end_stream(response.body()));
}

#[tokio::test]
async fn small_writes_do_not_wait_for_acknowledgements() {
    let pair = Pair::new();
    let serving = serving(&pair, |_, request: Request<Incoming>| async {
        let mut words = request.into_body();
        let (mut sender, body) = Body::channel(1024);
        tokio::spawn(async move {
            while words.data().await.is_some() {
                sender.send("one".into()).await.unwrap();
                // The first leaves by itself, and the second follows it unacknowledged.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                sender.send("two".into()).await.unwrap();
            }
            sender.finish(None);
        });
        Response::new(body)
    });
    let links = pair.links(serving.address, client::Limits::default());
    let (mut sender, body) = Body::channel(1024);
    let request = Request::post("/x").body(body).unwrap();
    let mut answer = soon(links.send(&(), request)).await.unwrap().into_body();
    let begun = Instant::now();
    for _ in 0..50 {
        sender.send("go".into()).await.unwrap();
        let mut received = 0;
        while received < 6 {
            received += soon(answer.data()).await.unwrap().unwrap().len();
        }
    }
    // With Nagle's algorithm nearly every round waits 40 ms.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn values_that_hardly_repeat_are_kept_out_of_the_compression_table() {
    let serving =
        Serving::start(server::Limits::default(), Transport::Plain, |_, request: Request<Incoming>| async move {
            let value = if request.uri().path() == "/x" { "0193a1c4-0000-7000-8000-000000000000" } else { "care" };
            let answer = Response::builder().header("drawbridge-value", value);
            answer.body(Body::full("answer".into(), Some(ok()))).unwrap()
        });
    // The second head of an answer that repeats the first one takes a byte for each value that was remembered.
    for (path, range) in [("/x", 25..80), ("/y", 1..8)] {
        let mut raw = Raw::open(serving.address).await;
        let mut length = 0;
        for stream in [1, 3] {
            let mut head = head();
            let at = head.windows(2).position(|part| part == b"/x").unwrap();
            head[at..at + 2].copy_from_slice(path.as_bytes());
            raw.frame(HEADERS, END_HEADERS | END_STREAM, stream, &head).await;
            length = raw.until(HEADERS).await.payload.len();
            raw.until(HEADERS).await;
        }
        assert!(range.contains(&length), "{path}: {length}");
    }
}

#[tokio::test]
async fn another_implementation_is_served_without_tls_where_that_is_allowed() {
    let serving = Serving::start(server::Limits::default(), Transport::Plain, echo);
    let stream = TcpStream::connect(serving.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}/x", serving.address))
        .body(http_body_util::Full::new(Bytes::from_static(b"question")))
        .unwrap();
    let response = soon(client.send_request(request)).await.unwrap();
    let answer = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(answer.to_bytes(), "question");
}

#[tokio::test]
async fn an_answer_to_head_is_its_head_alone() {
    let serving =
        Serving::start(server::Limits::default(), Transport::Plain, |_, request: Request<Incoming>| async move {
            assert_eq!(request.method(), http::Method::HEAD);
            Response::new(Body::full("nobody asked for it".into(), Some(ok())))
        });
    let mut raw = Raw::open(serving.address).await;
    // `HEAD http://gateway/x`, without dynamic table.
    let mut block = crate::raw::field(":method", "HEAD");
    block.extend(&head()[1..]);
    raw.frame(HEADERS, END_HEADERS | END_STREAM, 1, &block).await;
    let answer = raw.until(HEADERS).await;
    assert_eq!(answer.flags & END_STREAM, END_STREAM);
    assert_eq!(answer.stream, 1);
    // Nothing of the body comes before the next answer.
    raw.frame(HEADERS, END_HEADERS | END_STREAM, 3, &block).await;
    let next = soon(raw.read()).await.unwrap();
    assert_eq!((next.kind, next.stream), (HEADERS, 3));
}
