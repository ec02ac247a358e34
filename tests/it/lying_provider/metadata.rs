//! Lies about the application's metadata, under an agreement that names two keys of it.

use bytes::Bytes;
use drawbridge_tests::{Agreement, COUNCIL, StandIn, TRUST, TestFederation};
use exchange::headers::{INITIAL_METADATA, METADATA, binary};

use super::{
    FIND, LIST, closing_of, found_out,
    lies::{Lie, closing, wire},
    record, rows, sound,
};

const MALFORMED: &str = "the application's metadata of the answer is malformed";
const NOT_SIGNED: &str = "the application's metadata of the answer is not what was signed";
const NOT_NAMED: &str = "the answer comes with metadata that the agreement does not name";
const BAD_FRAME: &str = "the metadata that opens the answer is malformed";

async fn federation() -> (TestFederation, StandIn) {
    let mut federation = TestFederation::without_agreement().await;
    let standard = Agreement::default();
    let grants = standard.grants.replace("systems =", "application_metadata = [\"x-note\", \"x-note-bin\"]\nsystems =");
    federation.agree(&Agreement { grants, ..standard });
    federation.restart(COUNCIL);
    let stand_in = StandIn::start(federation.member(TRUST)).await;
    (federation, stand_in)
}

/// One key and its value, as they cross.
fn block(key: &str, value: &str) -> Vec<u8> {
    let part = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    [part(key), part(value)].concat()
}

/// The frame before the first message.
fn frame(block: &[u8]) -> Bytes {
    [&[0x40][..], &u32::try_from(block.len()).unwrap().to_be_bytes(), block].concat().into()
}

#[tokio::test]
async fn metadata_of_an_answer_that_is_not_signed_named_or_well_formed_is_found_out() {
    let both = federation().await;
    let note = || block("x-note", "canary");
    let with = |name: http::HeaderName, block: Vec<u8>| {
        wire(record(), move |wire| {
            wire.closing().append(name.clone(), binary(&block));
        })
    };
    for lie in [
        Lie::signed("metadata without a digest", NOT_SIGNED, with(METADATA, note())),
        Lie::signed("metadata that opens the answer, without a digest", NOT_SIGNED, with(INITIAL_METADATA, note())),
        Lie::signed(
            "a digest without metadata",
            NOT_SIGNED,
            closing(record(), |claims| claims.metadata_digest = vec![7; 32].into()),
        ),
        Lie::signed("a key that is not named", NOT_NAMED, with(METADATA, block("x-other", "canary"))),
        Lie::signed("a key of gRPC's own", NOT_NAMED, with(INITIAL_METADATA, block("grpc-status", "0"))),
        Lie::signed("what is no block", MALFORMED, with(METADATA, b"canary".to_vec())),
        Lie::signed("a value with a line feed", MALFORMED, with(METADATA, block("x-note", "a\nb"))),
        Lie::signed("more than an answer may have", MALFORMED, with(METADATA, block("x-note", &"c".repeat(2048)))),
        Lie::signed(
            "metadata twice",
            MALFORMED,
            wire(record(), move |wire| {
                for _ in 0..2 {
                    wire.closing().append(METADATA, binary(&note()));
                }
            }),
        ),
    ] {
        found_out(&both, FIND, closing_of, lie).await;
    }
    sound(&both.0);
}

#[tokio::test]
async fn metadata_that_opens_a_stream_and_is_not_signed_named_or_well_formed_is_found_out() {
    let both = federation().await;
    let before = |first: Bytes| wire(rows(), move |wire| wire.body.insert(0, first.clone()));
    let note = block("x-note", "canary");
    for lie in [
        Lie::signed("a frame without a digest", NOT_SIGNED, before(frame(&note))),
        Lie::unsigned("a key that is not named", NOT_NAMED, before(frame(&block("x-other", "canary")))),
        Lie::unsigned("a frame that is no block", BAD_FRAME, before(frame(b"canary"))),
        Lie::unsigned(
            "a frame that says that it is long",
            BAD_FRAME,
            before(Bytes::from_static(b"\x40\xff\xff\xff\xff")),
        ),
        Lie::unsigned("two frames", "a message is compressed", before([frame(&note), frame(&note)].concat().into())),
        Lie::signed(
            "an empty frame, and metadata in the trailers too",
            MALFORMED,
            wire(rows(), move |wire| {
                wire.body.insert(0, frame(b""));
                wire.closing().append(INITIAL_METADATA, binary(&note));
            }),
        ),
    ] {
        found_out(&both, LIST, closing_of, lie).await;
    }
    sound(&both.0);
}
