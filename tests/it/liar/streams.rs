//! Lies about a streamed request: what was sent, how many, in whose name, and whether it was all. The back end never learns that such
//! a request is whole; the refusal is signed and recorded, and the same peer, telling the truth, is answered.

use std::{io, time::Duration};

use bytes::Bytes;
use drawbridge_tests::{
    Reply, TRUST, TestFederation,
    client::{self, frames},
    collector::{Collector, End},
    process,
};
use exchange::{
    Reason, digests, framing,
    headers::{CLAIMS, SIGNATURE, Signed, binary},
};
use http::{HeaderMap, HeaderValue};
use hyper::body::Frame;
use ledger::Sealer;
use note::SigningKey;
use prost::Message as _;
use proto::{
    link::{CallShape, ConsumerClaims, ConsumerClosing, ProviderClosing, Seal},
    records::Kind,
};
use records::{Record, receipt};

use super::{Liar, refused};
use crate::interop::{before, interop};

/// A stream of requests, one answer.
const COLLECT: &str = "/grpc.testing.TestService/StreamingInputCall";
/// A stream each way.
const CONVERSE: &str = "/grpc.testing.TestService/FullDuplexCall";

/// A streamed request on its way to the wire: honest, but for what a lie changes.
struct Told {
    path: &'static str,
    opening: ConsumerClaims,
    /// What is sent, with prefixes.
    body: Vec<Bytes>,
    closing: ConsumerClosing,
    /// Signs the closing claims, under this tag.
    key: SigningKey,
    tag: &'static str,
    /// Changes the trailers once they are signed; none at all ends the request without any.
    trailers: fn(&mut Option<HeaderMap>),
}

type Change = fn(&mut Told);

/// A lie, what it is refused as, and what is told of it.
struct Lie {
    what: &'static str,
    reason: Reason,
    told: &'static str,
    change: Change,
}

const fn lie(what: &'static str, reason: Reason, told: &'static str, change: Change) -> Lie {
    Lie { what, reason, told, change }
}

const OTHER_REQUEST: &str = "the request is not the one that was signed";
const NOT_THEIRS: &str = "the signature is not by the gateway's key over these closing claims";

/// Lies about the closing claims, of a request that is sent as it should be.
const ABOUT_THE_END: &[Lie] = &[
    lie("no closing claims", Reason::BadClaims, "without closing claims", |told| {
        told.trailers = |trailers| *trailers = Some(client::metadata(&[("x-other", "1")]));
    }),
    lie("a message more", Reason::BadClaims, OTHER_REQUEST, |told| told.closing.messages += 1),
    lie("a message less", Reason::BadClaims, OTHER_REQUEST, |told| told.closing.messages -= 1),
    lie("more messages than there are numbers", Reason::BadClaims, OTHER_REQUEST, |told| {
        told.closing.messages = u64::MAX;
    }),
    lie("another digest", Reason::BadClaims, OTHER_REQUEST, |told| told.closing.request_digest = vec![7; 32].into()),
    lie("no digest", Reason::BadClaims, OTHER_REQUEST, |told| told.closing.request_digest = Bytes::new()),
    lie("a digest without the nonce", Reason::BadClaims, OTHER_REQUEST, |told| {
        told.closing.request_digest = digests::plain(&told.body.concat()).to_vec().into();
    }),
    lie("another exchange", Reason::BadClaims, "of another exchange", |told| {
        told.closing.exchange_id = vec![7; 16].into();
    }),
    lie("signed by another key", Reason::BadClaims, NOT_THEIRS, |told| {
        told.key = SigningKey::generate("council.example/gateway/main").unwrap();
    }),
    lie("signed as opening claims", Reason::BadClaims, NOT_THEIRS, |told| told.tag = receipt::CONSUMER_CLAIMS),
    lie("changed once signed", Reason::BadClaims, NOT_THEIRS, |told| {
        told.trailers = |trailers| {
            let mut signed = Signed::read(trailers.as_ref().unwrap()).unwrap();
            signed.claims = [&signed.claims[..], b"\x18\x03"].concat().into();
            signed.write(trailers.as_mut().unwrap());
        };
    }),
    lie("no signature", Reason::BadClaims, "the signature over the closing claims is missing", |told| {
        told.trailers = |trailers| drop(trailers.as_mut().unwrap().remove(SIGNATURE));
    }),
    lie(
        "a signature of three bytes",
        Reason::BadClaims,
        "the signature over the closing claims is malformed",
        |told| {
            told.trailers = |trailers| {
                let seal = Seal { signature: Bytes::from_static(b"abc"), size: 1, ..Seal::default() };
                trailers.as_mut().unwrap().insert(SIGNATURE, binary(&seal.encode_to_vec()));
            };
        },
    ),
    lie("one of a batch that there is not", Reason::BadClaims, NOT_THEIRS, |told| {
        told.trailers = |trailers| {
            let mut signed = Signed::read(trailers.as_ref().unwrap()).unwrap();
            signed.seal = signed.seal.map(|seal| Seal { size: u32::MAX, path: vec![vec![1; 32].into(); 32], ..seal });
            signed.write(trailers.as_mut().unwrap());
        };
    }),
    lie("closing claims that are none", Reason::BadClaims, "the closing claims cannot be read", |told| {
        told.trailers = |trailers| drop(trailers.as_mut().unwrap().insert(CLAIMS, binary(b"\xff\xff\xff")));
    }),
    lie("closing claims twice", Reason::BadClaims, "without closing claims", |told| {
        told.trailers = |trailers| {
            let trailers = trailers.as_mut().unwrap();
            let again = trailers[CLAIMS].clone();
            trailers.append(CLAIMS, again);
        };
    }),
    lie("closing claims above their limit", Reason::BadClaims, "without closing claims", |told| {
        told.trailers = |trailers| {
            let long = HeaderValue::try_from("A".repeat(8 * 1024 + 4)).unwrap();
            trailers.as_mut().unwrap().insert(CLAIMS, long);
        };
    }),
];

/// Lies about what is sent between honest claims, and about what kind of call it is.
const ABOUT_THE_REQUEST: &[Lie] = &[
    lie("a message left out", Reason::BadClaims, OTHER_REQUEST, |told| drop(told.body.remove(1))),
    lie("a message sent twice", Reason::BadClaims, OTHER_REQUEST, |told| told.body.push(told.body[0].clone())),
    lie("messages in another order", Reason::BadClaims, OTHER_REQUEST, |told| told.body.swap(0, 1)),
    lie("another message", Reason::BadClaims, OTHER_REQUEST, |told| told.body[2] = payload(b"other")),
    lie("no message of those that were signed", Reason::BadClaims, OTHER_REQUEST, |told| told.body.clear()),
    lie("half a message at the end", Reason::Malformed, "the body ends inside a message", |told| {
        told.body.push(payload(b"half").slice(..7));
    }),
    lie("half a prefix at the end", Reason::Malformed, "the body ends inside a message", |told| {
        told.body.push(Bytes::from_static(&[0, 0]));
    }),
    lie("a message that promises four gigabytes", Reason::TooLarge, "4294967295 bytes", |told| {
        told.body.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
    }),
    lie("a compressed message", Reason::Malformed, "compressed", |told| {
        told.body[1] = Bytes::from_static(b"\x01\0\0\0\x01x");
    }),
    lie("a message off the contract", Reason::Malformed, "99", |told| {
        told.body[1] = framing::framed(b"\x98\x06\x01");
    }),
    // With a digest beside them they are claims of a call with one message, and so the body is read.
    lie("opening claims with a digest", Reason::Malformed, "the body has 3 messages, one is expected", |told| {
        told.opening.request_digest = told.closing.request_digest.clone();
    }),
    lie("claims of a call with one message", Reason::BadClaims, "another kind of call", |told| {
        told.opening.shape = CallShape::Unary.into();
    }),
    lie("claims of a stream each way", Reason::BadClaims, "another kind of call", |told| {
        told.opening.shape = CallShape::Bidirectional.into();
    }),
    lie("claims of another method", Reason::BadClaims, "another method than the request", |told| {
        told.opening.method = CONVERSE.into();
    }),
    lie("another agreement's digest", Reason::NoAgreement, "", |told| {
        told.opening.agreement_digest = vec![1; 32].into();
    }),
    lie("another agreement's name", Reason::BadClaims, "another agreement", |told| {
        told.opening.agreement = "other".into();
    }),
    lie("a session that there is not", Reason::StaleSession, "the session is not known", |told| {
        told.opening.session = vec![9; 16].into();
    }),
    lie("sequence number 0", Reason::Replayed, "", |told| told.opening.sequence = 0),
];

/// A request of [`COLLECT`], which counts the bytes.
fn payload(body: &[u8]) -> Bytes {
    let length = |length: usize| u8::try_from(length).unwrap();
    framing::framed(&[&[0x0a, length(body.len() + 2), 0x12, length(body.len())], body].concat())
}

/// A request of [`CONVERSE`], which asks for one answer of three bytes.
fn turn() -> Bytes {
    framing::framed(b"\x12\x02\x08\x03")
}

impl Liar {
    /// A streamed request as an honest gateway would send it.
    fn stream(&mut self, federation: &TestFederation, path: &'static str, body: Vec<Bytes>) -> Told {
        let mut opening = self.honest_of(federation, path, b"");
        opening.request_digest = Bytes::new();
        // Under this purpose no metadata crosses, so that the reply is nothing but messages.
        (opening.purpose, opening.legal_basis) = ("quiet".to_owned(), "The same".to_owned());
        opening.shape = if path == COLLECT { CallShape::ClientStream } else { CallShape::Bidirectional }.into();
        let closing = ConsumerClosing {
            exchange_id: opening.exchange_id.clone(),
            request_digest: digests::of_request(&opening.nonce, &body.concat()).to_vec().into(),
            messages: body.len() as u64,
        };
        let (key, tag) = (self.key.clone(), receipt::CONSUMER_CLOSING);
        Told { path, opening, body, closing, key, tag, trailers: |_| () }
    }

    async fn tell_stream(&mut self, told: &Told) -> Reply {
        let opening = signed(&self.key, receipt::CONSUMER_CLAIMS, told.opening.encode_to_vec()).await;
        let mut trailers = Some(signed(&told.key, told.tag, told.closing.encode_to_vec()).await);
        (told.trailers)(&mut trailers);
        let body = told.body.iter().cloned().map(Frame::data).chain(trailers.map(Frame::trailers)).map(Ok).collect();
        let limit = Some(Duration::from_secs(20));
        let (head, body) = self.client.open_body(told.path, &opening, frames(body), limit).await.unwrap();
        client::read(head, body).await.unwrap()
    }
}

async fn signed(key: &SigningKey, tag: &'static str, claims: Vec<u8>) -> HeaderMap {
    let seal = Sealer::new(key.clone()).seal(tag, claims.clone()).await;
    let mut headers = HeaderMap::new();
    Signed { claims: claims.into(), seal: Some(receipt::seal_to_wire(&seal)), leaf: None }.write(&mut headers);
    headers
}

fn three() -> Vec<Bytes> {
    vec![payload(b"one"), payload(b"second"), payload(b"the third")]
}

/// Tells each lie about a stream of three messages, then the truth.
async fn found_out(lies: &[Lie]) {
    let backend = Collector::start().await;
    let federation = before(backend.port).await;
    let mut liar = Liar::new(&federation).await;
    for Lie { what, reason, told, change } in lies {
        let mut request = liar.stream(&federation, COLLECT, three());
        change(&mut request);
        let reply = liar.tell_stream(&request).await;
        let closing = refused(&federation, &reply, *reason);
        assert!(reply.status.message.contains(told), "{what}: {}", reply.status.message);
        assert!(reply.messages.is_empty() && !closing.request_closed, "{what}: the request was called whole");
    }
    truth_is_answered(&federation, &mut liar, &backend).await;
    sound(&federation);
}

/// The truth is answered, recorded with its closing claims, and is the one request that reaches the back end whole.
async fn truth_is_answered(federation: &TestFederation, liar: &mut Liar, backend: &Collector) {
    let honest = liar.stream(federation, COLLECT, three());
    let reply = liar.tell_stream(&honest).await;
    assert_eq!((reply.status.code, reply.messages.len()), (0, 1), "{}", reply.status.message);
    let closing = ProviderClosing::decode(Signed::read(&reply.trailers).unwrap().claims).unwrap();
    assert!(closing.request_closed);
    assert_eq!((closing.request_messages, &closing.request_digest), (3, &honest.closing.request_digest));
    let record = federation.member(TRUST).records().pop().unwrap();
    let shared = record.opened.as_ref().unwrap().shared.clone();
    assert_eq!((record.kind(), shared.consumer_closing), (Kind::Outcome, honest.closing.encode_to_vec().into()));
    let whole: Vec<End> = backend.ends().into_iter().filter(|end| matches!(end, End::Whole(_))).collect();
    assert_eq!(whole, [End::Whole(three().concat().len())]);
}

fn sound(federation: &TestFederation) {
    process::succeed(
        &federation.member(TRUST).folder,
        ["log", "verify", "--data", "data", "--directory", "directory.note"],
    );
}

#[tokio::test]
async fn a_lie_about_the_end_of_a_streamed_request_is_found_out() {
    found_out(ABOUT_THE_END).await;
}

#[tokio::test]
async fn a_lie_about_a_streamed_request_itself_is_found_out() {
    found_out(ABOUT_THE_REQUEST).await;
}

#[tokio::test]
async fn closing_claims_of_an_earlier_request_close_no_other() {
    let backend = Collector::start().await;
    let federation = before(backend.port).await;
    let mut liar = Liar::new(&federation).await;
    truth_is_answered(&federation, &mut liar, &backend).await;
    let earlier = liar.stream(&federation, COLLECT, three());
    assert_eq!(liar.tell_stream(&earlier).await.status.code, 0);
    // The very same request under the very same nonce, so that nothing differs but the exchange.
    let mut again = liar.stream(&federation, COLLECT, three());
    again.opening.nonce = earlier.opening.nonce.clone();
    again.closing = earlier.closing.clone();
    let reply = liar.tell_stream(&again).await;
    refused(&federation, &reply, Reason::BadClaims);
    assert!(reply.status.message.contains("of another exchange"), "{}", reply.status.message);
    // And all of it, sent a second time.
    refused(&federation, &liar.tell_stream(&earlier).await, Reason::Replayed);
    sound(&federation);
}

#[tokio::test]
async fn a_conversation_that_ends_with_a_lie_is_not_called_ok_whatever_was_answered() {
    let (federation, _backend) = interop().await;
    let mut liar = Liar::new(&federation).await;
    for Lie { what, reason, told, change } in ABOUT_THE_END {
        let mut request = liar.stream(&federation, CONVERSE, vec![turn(), turn()]);
        change(&mut request);
        let reply = liar.tell_stream(&request).await;
        let closing = refused(&federation, &reply, *reason);
        assert!(reply.status.message.contains(told), "{what}: {}", reply.status.message);
        // What had been answered by then is counted; that it was asked for in full is not claimed.
        assert_eq!(closing.messages, reply.messages.len() as u64, "{what}");
        assert_eq!((closing.request_messages, closing.request_closed), (2, false), "{what}");
    }
    let honest = liar.stream(&federation, CONVERSE, vec![turn(), turn()]);
    let reply = liar.tell_stream(&honest).await;
    assert_eq!((reply.status.code, reply.messages.len()), (0, 2), "{}", reply.status.message);
    sound(&federation);
}

#[tokio::test]
async fn a_request_that_is_given_up_is_cancelled_and_one_that_ends_without_trailers_is_not_believed() {
    let backend = Collector::start().await;
    let federation = before(backend.port).await;
    let mut liar = Liar::new(&federation).await;
    let mut unended = liar.stream(&federation, COLLECT, three());
    unended.trailers = |trailers| *trailers = None;
    let reply = liar.tell_stream(&unended).await;
    refused(&federation, &reply, Reason::BadClaims);
    assert!(reply.status.message.contains("without closing claims"), "{}", reply.status.message);
    let given_up = liar.stream(&federation, COLLECT, three());
    let opening = signed(&liar.key, receipt::CONSUMER_CLAIMS, given_up.opening.encode_to_vec()).await;
    let body = [Ok(Frame::data(given_up.body[0].clone())), Err(io::Error::other("the liar resets the stream"))];
    let _ = liar.client.open_body(COLLECT, &opening, frames(body.into()), None).await;
    let settled = drawbridge_tests::eventually("it is settled", 10, async || {
        let records = federation.member(TRUST).records().into_iter();
        records
            .filter(Record::settles)
            .filter_map(|record| record.opened)
            .find(|opened| opened.shared.exchange_id == given_up.opening.exchange_id)
    })
    .await;
    assert_eq!(settled.private.outcome, "cancelled");
    assert!(settled.shared.consumer_closing.is_empty());
    truth_is_answered(&federation, &mut liar, &backend).await;
    sound(&federation);
}
