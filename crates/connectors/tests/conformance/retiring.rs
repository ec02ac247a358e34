//! Back ends that retire their connections, or refuse calls: what they never saw is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use connectors::{Ask, Bindings, ConnectorError};
use futures_util::future::{join, join_all};
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, mpsc};

use crate::back_end::Manners;
use crate::grpc::{Plain, bindings_text};
use crate::raw::Raw;
use crate::{Question, System, find, prepare, soon_enough};

async fn raw() -> (Raw, Bindings) {
    let raw = Raw::start().await;
    let connector = format!("address = \"http://{}\", dangerous_plaintext = true", raw.address());
    let bindings = prepare(&bindings_text(&connector), &std::env::temp_dir()).await.unwrap();
    (raw, bindings)
}

/// Asks with a streamed request.
async fn asked(bindings: &Bindings, messages: mpsc::UnboundedReceiver<Bytes>) -> Result<usize, ConnectorError> {
    let binding = bindings.get("/fixture.v1.Patients/Find").unwrap();
    let requests = stream::unfold(messages, |mut messages| async {
        let message = messages.recv().await?;
        Some((Ok(message), messages))
    });
    let ask = Ask { requests: Some(requests.boxed()), ..Ask::new(binding.method(), Bytes::new()) };
    Ok(binding.connector().answer(ask).await?.messages.count().await)
}

fn unreachable(why: &'static str) -> ConnectorError {
    ConnectorError::Unreachable { why: why.into() }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_outlive_any_number_of_retiring_connections() {
    let plain = Plain::with(Manners { at_once: Some(2), calls: Some(2) }).await;
    let connections = || plain.back_end.seen.connections.load(Ordering::SeqCst);
    let all = join_all((0..100).map(|_| find(plain.bindings(), Question::GOOD)));
    for answer in soon_enough(all).await {
        assert!(answer.is_ok(), "{answer:?}");
    }
    // More than any one of them would be tried for if it were counted.
    assert!(connections() > 6, "{}", connections());

    let binding = plain.bindings().get("/fixture.v1.Patients/Find").unwrap();
    let request = binding.method().request_from_json("{\"nhsNumber\":\"9990000018\"}").unwrap();
    let all = join_all((0..100).map(|_| {
        let (say, messages) = mpsc::unbounded_channel();
        say.send(Bytes::from(request.clone())).unwrap();
        asked(plain.bindings(), messages)
    }));
    let before = connections();
    for answer in soon_enough(all).await {
        assert_eq!(answer, Ok(1));
    }
    assert!(connections() > before + 6, "{before} {}", connections());
}

/// Time is counted in round trips of the connection that retires: a call that waited for a moment would see thousands of them, and more than
/// a thousand at a stretch would end that connection with what is still answered on it.
#[tokio::test]
async fn a_call_that_meets_a_retiring_connection_loses_no_time() {
    let (raw, bindings) = raw().await;
    let retires = Notify::new();
    let asking = join(find(&bindings, Question::GOOD), async {
        retires.notified().await;
        find(&bindings, Question::GOOD).await
    });
    let answering = async {
        let mut first = raw.accept().await;
        let held = first.call().await;
        first.go_away(held).await;
        first.round_trip().await;
        retires.notify_one();
        let mut round_trips = 0;
        let listening = raw.clone();
        let second = tokio::spawn(async move { listening.accept().await });
        while !second.is_finished() {
            first.round_trip().await;
            round_trips += 1;
        }
        let mut second = second.await.unwrap();
        let stream = second.call().await;
        second.answer(stream, b"").await;
        // The last that the first connection had to answer comes after what it took no more.
        first.answer(held, b"").await;
        first.closed().await;
        round_trips
    };
    let ((held, moved), round_trips) = soon_enough(join(asking, answering)).await;
    assert!(held.is_ok() && moved.is_ok(), "{held:?} {moved:?}");
    assert!(round_trips < 500, "{round_trips}");
}

#[tokio::test]
async fn a_back_end_that_retires_every_connection_before_it_answers_is_given_up() {
    let (raw, bindings) = raw().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let mut connection = raw.accept().await;
            accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                connection.call().await;
                connection.go_away(0).await;
                connection.closed().await;
            });
        }
    });
    let given_up = unreachable("it ends every connection before it answers anything on it");
    assert_eq!(soon_enough(find(&bindings, Question::GOOD)).await, Err(given_up.clone()));
    assert_eq!(connections.load(Ordering::SeqCst), 3);
    // A crowd meets the same few.
    for answer in soon_enough(join_all((0..50).map(|_| find(&bindings, Question::GOOD)))).await {
        assert_eq!(answer, Err(given_up.clone()));
    }
    assert!(connections.load(Ordering::SeqCst) < 13, "{connections:?}");
}

#[tokio::test]
async fn a_call_that_is_refused_for_now_is_asked_again_a_few_times_on_the_same_connection() {
    let (raw, bindings) = raw().await;
    let answering = async {
        let mut connection = raw.accept().await;
        for _ in 0..2 {
            let refused = connection.call().await;
            connection.refuse(refused).await;
        }
        let stream = connection.call().await;
        connection.answer(stream, b"").await;
        connection
    };
    let (answer, mut connection) = soon_enough(join(find(&bindings, Question::GOOD), answering)).await;
    assert!(answer.is_ok(), "{answer:?}");

    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    tokio::spawn(async move {
        loop {
            let stream = connection.call().await;
            count.fetch_add(1, Ordering::SeqCst);
            connection.refuse(stream).await;
        }
    });
    let given_up = unreachable("it refuses the call again and again before it looks at it");
    assert_eq!(soon_enough(find(&bindings, Question::GOOD)).await, Err(given_up));
    assert_eq!(refused.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_streamed_request_that_was_never_seen_is_sent_again_from_its_beginning() {
    let (raw, bindings) = raw().await;
    let (say, messages) = mpsc::unbounded_channel();
    say.send(Bytes::from_static(b"one")).unwrap();
    let answering = async {
        let mut first = raw.accept().await;
        let stream = first.call().await;
        assert_eq!(first.piece(stream).await, framed(b"one"));
        first.go_away(0).await;
        let mut second = raw.accept().await;
        let stream = second.call().await;
        say.send(Bytes::from_static(b"two")).unwrap();
        drop(say);
        assert_eq!(second.body(stream).await, [framed(b"one"), framed(b"two")].concat());
        second.answer(stream, b"").await;
        first.closed().await;
    };
    let (answer, ()) = soon_enough(join(asked(&bindings, messages), answering)).await;
    assert_eq!(answer, Ok(1));
}

#[tokio::test]
async fn of_a_streamed_request_no_more_is_kept_than_a_little() {
    let (raw, bindings) = raw().await;
    let (say, messages) = mpsc::unbounded_channel();
    say.send(Bytes::from(vec![0; 64 * 1024])).unwrap();
    let answering = async {
        let mut first = raw.accept().await;
        first.call().await;
        first.go_away(0).await;
        first.closed().await;
    };
    let (answer, ()) = soon_enough(join(asked(&bindings, messages), answering)).await;
    let why = "it took the connection away before it looked at the call, of which too much was sent to be sent again";
    assert_eq!(answer, Err(unreachable(why)));
}
