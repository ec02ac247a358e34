//! Lies about a streamed request: how much of it was read, and that it was read to its end.

use bytes::Bytes;
use drawbridge_tests::{
    Agreement, COUNCIL, Reply, StandIn, TRUST, TestFederation,
    client::{self, frames},
    federation::standard,
    stand_in::Answer,
};
use exchange::{Reason, framing};
use hyper::body::Frame;
use proto::records::Kind;

use super::{
    lies::{Lie, OTHER_LEAF, closing},
    paths, sound,
};

/// A stream of requests, one answer.
const COLLECT: &str = "/grpc.testing.TestService/StreamingInputCall";
const MORE: &str = "the provider read more of the request than was sent";
const OTHER: &str = "the request that the provider read is not the one that was sent";

/// An honest answer: the number of bytes.
fn counted() -> Answer {
    Answer {
        messages: vec![Bytes::from_static(b"\x08\x12")],
        fields: (paths(&["aggregated_payload_size"]), Vec::new()),
        ..Answer::default()
    }
}

async fn federation() -> (TestFederation, StandIn) {
    let mut federation = TestFederation::new().await;
    let grants = "[[grant]]\nservice = \"grpc.testing.TestService\"\ndigest = \"@digest:grpc.testing.TestService@\"\n\
                  methods = [\"StreamingInputCall\"]\nsystems = [\"revenues\"]\npurposes = [\"safeguarding\"]\n\
                  fields = \"all\"\nkind = \"query\"\n";
    federation.agree(&Agreement { id: "streams".to_owned(), grants: grants.to_owned(), ..Agreement::default() });
    federation.restart(COUNCIL);
    let stand_in = StandIn::start(federation.member(TRUST)).await;
    (federation, stand_in)
}

/// Sends three messages, and reads the reply to its end.
async fn ask(federation: &TestFederation) -> Reply {
    let messages = [&b"one"[..], b"two", b"three"].map(|body| {
        let length = |length: usize| u8::try_from(length).unwrap();
        framing::framed(&[&[0x0a, length(body.len() + 2), 0x12, length(body.len())], body].concat())
    });
    let body = messages.into_iter().map(Frame::data).map(Ok).collect();
    let mut client = federation.revenues().await;
    let (head, body) = client.open_body(COLLECT, &standard(), frames(body), None).await.unwrap();
    client::read(head, body).await.unwrap()
}

fn lies() -> Vec<Lie> {
    let early = || Answer { early: true, ..counted() };
    vec![
        Lie::signed("a message more", MORE, closing(counted(), |claims| claims.request_messages += 1)),
        Lie::signed("a message less, to its end", MORE, closing(counted(), |claims| claims.request_messages -= 1)),
        Lie::signed("nothing, to its end", MORE, closing(early(), |claims| claims.request_closed = true)),
        Lie::signed("another request", OTHER, closing(counted(), |claims| claims.request_digest = vec![7; 32].into())),
        Lie::signed("no digest of it", OTHER, closing(counted(), |claims| claims.request_digest = Bytes::new())),
        // It had the closing claims, and its leaf holds them: that it had not is not what it recorded.
        Lie::signed("not to its end", OTHER_LEAF, closing(counted(), |claims| claims.request_closed = false)),
    ]
}

#[tokio::test]
async fn a_lie_about_what_was_read_of_a_streamed_request_is_found_out() {
    let (federation, stand_in) = federation().await;
    for Lie { what, answer, told, .. } in lies() {
        stand_in.answers(answer).await;
        let reply = ask(&federation).await;
        assert_eq!(reply.reason(), Some(Reason::EvidenceMismatch), "{what}: {}", reply.status.message);
        assert!(reply.status.message.contains(told), "{what}: {}", reply.status.message);
        let records = federation.member(COUNCIL).records_of(&reply.exchange());
        let settled: Vec<_> = records.iter().filter(|record| record.settles()).collect();
        assert_eq!((records[0].kind(), settled.len()), (Kind::Intent, 1), "{what}");
        let opened = settled[0].opened.as_ref().unwrap();
        assert_eq!(opened.refusal(), Reason::EvidenceMismatch.as_str(), "{what}");
        assert!(!opened.shared.provider_closing.is_empty(), "{what}: what their gateway signed is kept");
    }
    stand_in.answers(counted()).await;
    let honest = ask(&federation).await;
    assert_eq!((honest.status.code, honest.messages.len()), (0, 1), "{}", honest.status.message);
    // Who answers before the request's end, and says so, is believed.
    stand_in.answers(Answer { early: true, ..counted() }).await;
    let early = ask(&federation).await;
    assert_eq!((early.status.code, early.messages.len()), (0, 1), "{}", early.status.message);
    sound(&federation);
}
