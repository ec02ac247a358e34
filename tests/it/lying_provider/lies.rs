//! The lies: each an honest answer but for one thing, with what it is found out by.

use bytes::Bytes;
use drawbridge_tests::stand_in::{Answer, Wire};
use exchange::{
    Reason, framing,
    headers::{CLAIMS, GRPC_STATUS, LEAF, SIGNATURE, Signed, binary},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use note::SigningKey;
use proto::link::{LeafOpening, ProviderClosing, ProviderOpening, Seal};

use super::{record, refusal, rows};

/// A lie, and how it is found out.
pub(super) struct Lie {
    pub(super) what: &'static str,
    pub(super) answer: Answer,
    pub(super) reason: Reason,
    /// What caller and record are told.
    pub(super) told: &'static str,
    /// The provider's gateway signed it: that is kept.
    pub(super) evidence: bool,
}

impl Lie {
    /// Not even signed by the provider's gateway, so that nothing of it is kept.
    pub(super) fn unsigned(what: &'static str, told: &'static str, answer: Answer) -> Self {
        Self { what, answer, reason: Reason::EvidenceMismatch, told, evidence: false }
    }

    /// Signed by the provider's gateway.
    pub(super) fn signed(what: &'static str, told: &'static str, answer: Answer) -> Self {
        Self { what, answer, reason: Reason::EvidenceMismatch, told, evidence: true }
    }

    /// No lie, but nothing that could be one either.
    pub(super) fn cut(what: &'static str, told: &'static str, answer: Answer) -> Self {
        Self { what, answer, reason: Reason::Unanswered, told, evidence: false }
    }
}

pub(super) fn closing(answer: Answer, change: impl Fn(&mut ProviderClosing) + Send + Sync + 'static) -> Answer {
    Answer { closing: Some(Box::new(change)), ..answer }
}

pub(super) fn opening(answer: Answer, change: impl Fn(&mut ProviderOpening) + Send + Sync + 'static) -> Answer {
    Answer { opening: Some(Box::new(change)), ..answer }
}

pub(super) fn promise(answer: Answer, change: impl Fn(&mut Option<LeafOpening>) + Send + Sync + 'static) -> Answer {
    Answer { promise: Some(Box::new(change)), ..answer }
}

pub(super) fn opening_promise(
    answer: Answer,
    change: impl Fn(&mut Option<LeafOpening>) + Send + Sync + 'static,
) -> Answer {
    Answer { opening_promise: Some(Box::new(change)), ..answer }
}

pub(super) fn wire(answer: Answer, change: impl Fn(&mut Wire) + Send + Sync + 'static) -> Answer {
    Answer { wire: Some(Box::new(change)), ..answer }
}

/// Changes what was signed, after it was.
pub(super) fn resigned(headers: &mut HeaderMap, change: impl Fn(&mut Signed)) {
    let mut signed = Signed::read(headers).unwrap();
    change(&mut signed);
    unsign(headers);
    signed.write(headers);
}

pub(super) fn after_signing(answer: Answer, change: impl Fn(&mut Signed) + Send + Sync + 'static) -> Answer {
    wire(answer, move |wire| resigned(wire.closing(), &change))
}

pub(super) fn sealed(answer: Answer, change: impl Fn(&mut Seal) + Send + Sync + 'static) -> Answer {
    after_signing(answer, move |signed| change(signed.seal.as_mut().unwrap()))
}

pub(super) fn unsign(headers: &mut HeaderMap) {
    for name in [CLAIMS, SIGNATURE, LEAF] {
        headers.remove(name);
    }
}

pub(super) fn leaf(opening: &mut Option<LeafOpening>) -> &mut LeafOpening {
    opening.as_mut().unwrap()
}

/// Another gateway's key, of the same name.
pub(super) fn stranger() -> SigningKey {
    SigningKey::generate("trust.example/gateway/main").unwrap()
}

pub(super) const OTHER_EXCHANGE: &str = "the closing claims are of another exchange";
pub(super) const OTHER_ANSWER: &str = "the answer is not the one that was signed";
pub(super) const OTHER_NUMBER: &str = "another number of messages arrived than was signed";
pub(super) const OTHER_STATUS: &str = "the status is not the one that was signed";
pub(super) const OTHER_FIELDS: &str = "the provider released other fields than the agreement names";
pub(super) const OTHER_LEAF: &str = "the promised leaf does not hold what both sides signed";
pub(super) const OTHER_LOG: &str = "the promise is of another log than the gateway's";
pub(super) const OTHER_REFUSAL: &str = "the refusal is not the one that was signed";
pub(super) const NO_CLAIMS: &str = "the answer comes without signed claims";
pub(super) const NO_SIGNATURE: &str = "the signature is missing or malformed";
pub(super) const NOT_THEIRS: &str = "the signature is not by the provider's gateway over these claims";
pub(super) const NOT_ONE: &str = "the answer is not one message";
pub(super) const CUT: &str = "the link was cut before the answer was complete";

/// Lies about what was answered, in claims that are well signed.
pub(super) fn about_the_answer() -> Vec<Lie> {
    let other = |field: fn(&mut ProviderClosing) -> &mut Bytes| {
        closing(record(), move |claims| *field(claims) = vec![7; 32].into())
    };
    vec![
        Lie::signed(
            "another exchange",
            OTHER_EXCHANGE,
            closing(record(), |claims| claims.exchange_id = vec![7; 16].into()),
        ),
        Lie::signed("another question", OTHER_EXCHANGE, other(|claims| &mut claims.consumer_claims_digest)),
        Lie::signed(
            "another member",
            OTHER_EXCHANGE,
            closing(record(), |claims| claims.provider = "police.example".into()),
        ),
        Lie::signed(
            "another gateway",
            OTHER_EXCHANGE,
            closing(record(), |claims| claims.provider_gateway = "other".into()),
        ),
        Lie::signed("another digest than the answer's", OTHER_ANSWER, other(|claims| &mut claims.response_digest)),
        Lie::signed("no digest", OTHER_ANSWER, closing(record(), |claims| claims.response_digest = Bytes::new())),
        Lie::signed(
            "another answer than was signed",
            OTHER_ANSWER,
            wire(record(), |wire| wire.body = vec![framing::framed(b"\x08\x02")]),
        ),
        Lie::signed("no answer though one was signed", OTHER_ANSWER, wire(record(), |wire| wire.body.clear())),
        Lie::signed("two messages signed, one sent", OTHER_NUMBER, closing(record(), |claims| claims.messages = 2)),
        Lie::signed("none signed, one sent", OTHER_NUMBER, closing(record(), |claims| claims.messages = 0)),
        Lie::signed("another status than is sent", OTHER_STATUS, closing(record(), |claims| claims.status = 5)),
        Lie::signed(
            "another status than was signed",
            OTHER_STATUS,
            wire(record(), |wire| {
                wire.closing().insert(GRPC_STATUS, HeaderValue::from_static("5"));
            }),
        ),
        Lie::signed("other fields released", OTHER_FIELDS, other(|claims| &mut claims.released_digest)),
        Lie::signed("other fields withheld", OTHER_FIELDS, other(|claims| &mut claims.withheld_digest)),
        Lie::signed("a refusal for another reason", OTHER_REFUSAL, {
            closing(refusal(Reason::NoAgreement), |claims| claims.refusal = "WRONG_PURPOSE".into())
        }),
        Lie::signed("a refusal that looks like an answer", OTHER_REFUSAL, {
            wire(refusal(Reason::NoAgreement), |wire| {
                let claims = Signed::read(&wire.headers).unwrap();
                wire.headers.clear();
                wire.headers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                claims.write(&mut wire.headers);
            })
        }),
        Lie::signed("a reason that there is not", "the provider refused for a reason that is not known here", {
            closing(refusal(Reason::NoAgreement), |claims| claims.refusal = "BORED".into())
        }),
    ]
}

/// Lies about who signed, and about the record.
pub(super) fn about_the_evidence() -> Vec<Lie> {
    vec![
        Lie::unsigned("no claims at all", NO_CLAIMS, wire(record(), |wire| unsign(wire.closing()))),
        Lie::unsigned("a refusal without claims", NO_CLAIMS, {
            wire(refusal(Reason::NoAgreement), |wire| unsign(wire.closing()))
        }),
        Lie::unsigned("a stale session without claims", NO_CLAIMS, {
            wire(refusal(Reason::StaleSession), |wire| unsign(wire.closing()))
        }),
        Lie::unsigned("claims that stand there twice", NO_CLAIMS, {
            wire(record(), |wire| {
                let again = wire.closing()[CLAIMS].clone();
                wire.closing().append(CLAIMS, again);
            })
        }),
        Lie::unsigned("claims that are none", "the closing claims cannot be read", {
            after_signing(record(), |signed| signed.claims = Bytes::from_static(b"\xff\xff"))
        }),
        Lie::unsigned("another key's signature", NOT_THEIRS, Answer { key: Some(stranger()), ..record() }),
        Lie::unsigned("a refusal with another key's signature", NOT_THEIRS, {
            Answer { key: Some(stranger()), ..refusal(Reason::NoAgreement) }
        }),
        Lie::unsigned("a forged signature", NOT_THEIRS, {
            sealed(record(), |seal| seal.signature = vec![7; 64].into())
        }),
        Lie::unsigned("no signature", NO_SIGNATURE, after_signing(record(), |signed| signed.seal = None)),
        Lie::unsigned("a signature that is too short", NO_SIGNATURE, {
            sealed(record(), |seal| seal.signature = vec![7; 63].into())
        }),
        Lie::unsigned("a path of no hashes", NO_SIGNATURE, {
            sealed(record(), |seal| seal.path = vec![Bytes::from_static(b"short")])
        }),
        Lie::unsigned("a place outside the batch", NOT_THEIRS, sealed(record(), |seal| seal.index = 1)),
        Lie::unsigned("a batch of none", NOT_THEIRS, sealed(record(), |seal| seal.size = 0)),
        Lie::unsigned("a signature that is not decodable", NO_SIGNATURE, {
            wire(record(), |wire| {
                wire.closing().insert(SIGNATURE, binary(b"\xff\xff"));
            })
        }),
        Lie::signed(
            "no promise",
            "the answer comes without a promise of its record",
            promise(record(), |opening| *opening = None),
        ),
        Lie::unsigned("a promise taken away", NOT_THEIRS, after_signing(record(), |signed| signed.leaf = None)),
        Lie::unsigned("a promise of another log", OTHER_LOG, {
            promise(record(), |opening| leaf(opening).origin = "police.example/log/main".into())
        }),
        Lie::unsigned("a promise that is none", "the promise is malformed", {
            promise(record(), |opening| leaf(opening).leaf = Bytes::from_static(b"short"))
        }),
        Lie::unsigned("a promise of another place than was signed", NOT_THEIRS, {
            after_signing(record(), |signed| leaf(&mut signed.leaf).index += 1)
        }),
        Lie::signed("a leaf of something else", OTHER_LEAF, {
            promise(record(), |opening| leaf(opening).leaf = vec![7; 32].into())
        }),
        Lie::signed("another salt than the leaf's", OTHER_LEAF, {
            promise(record(), |opening| leaf(opening).salt = vec![7; 32].into())
        }),
        Lie::signed("a salt that is too short", OTHER_LEAF, {
            promise(record(), |opening| leaf(opening).salt = Bytes::new())
        }),
        Lie::signed("another private half than the leaf's", OTHER_LEAF, {
            after_signing(record(), |signed| leaf(&mut signed.leaf).private = vec![7; 32].into())
        }),
        Lie::signed("a refusal whose leaf is of something else", OTHER_LEAF, {
            promise(refusal(Reason::NoAgreement), |opening| leaf(opening).leaf = vec![7; 32].into())
        }),
    ]
}

/// Replies that are no answer to a question with one.
pub(super) fn about_the_body() -> Vec<Lie> {
    let twice = || Answer { messages: [record().messages, record().messages].concat(), ..record() };
    vec![
        Lie::unsigned("two messages, as they were signed", NOT_ONE, twice()),
        Lie::unsigned("less than a message", NOT_ONE, {
            wire(record(), |wire| wire.body = vec![framing::framed(b"\x08\x02").slice(..6)])
        }),
        Lie::unsigned("a message that says it is compressed", NOT_ONE, {
            wire(record(), |wire| wire.body = vec![Bytes::from_static(b"\x01\0\0\0\x02\x08\x02")])
        }),
        Lie::cut("no trailers", CUT, wire(record(), |wire| wire.trailers = None)),
        Lie::cut("a reset in the place of trailers", CUT, wire(record(), |wire| wire.reset = true)),
        Lie::cut("nothing at all", CUT, {
            wire(record(), |wire| {
                wire.body.clear();
                wire.trailers = None;
            })
        }),
        Lie::cut("a status of HTTP's own", "the link was cut before the answer", {
            wire(record(), |wire| wire.status = StatusCode::INTERNAL_SERVER_ERROR)
        }),
    ]
}

/// Lies in a stream before its first row.
pub(super) fn about_the_opening() -> Vec<Lie> {
    let reopened = |change: fn(&mut Signed)| wire(rows(), move |wire| resigned(&mut wire.headers, change));
    vec![
        Lie::unsigned(
            "no opening claims",
            "the stream opens without signed claims",
            wire(rows(), |wire| unsign(&mut wire.headers)),
        ),
        Lie::unsigned("opening claims that are none", "the opening claims cannot be read", {
            reopened(|signed| signed.claims = Bytes::from_static(b"\xff\xff"))
        }),
        Lie::unsigned("another key's signature", NOT_THEIRS, Answer { key: Some(stranger()), ..rows() }),
        Lie::unsigned("no signature", NO_SIGNATURE, reopened(|signed| signed.seal = None)),
        Lie::unsigned("a promise of another log", OTHER_LOG, {
            opening_promise(rows(), |opening| leaf(opening).origin = "police.example/log/main".into())
        }),
        Lie::signed(
            "no promise of the intent",
            "the stream opens without a promise of its record",
            opening_promise(rows(), |opening| *opening = None),
        ),
        Lie::signed("another exchange", "the opening claims are of another exchange", {
            opening(rows(), |claims| claims.exchange_id = vec![7; 16].into())
        }),
        Lie::signed("another question", "the opening claims are of another exchange", {
            opening(rows(), |claims| claims.consumer_claims_digest = vec![7; 32].into())
        }),
        Lie::signed("another member", "the opening claims are of another exchange", {
            opening(rows(), |claims| claims.provider = "police.example".into())
        }),
    ]
}

/// Lies in a stream that has begun well.
pub(super) fn about_the_rows() -> Vec<Lie> {
    vec![
        Lie::signed("a row that was changed", OTHER_ANSWER, {
            wire(rows(), |wire| wire.body[1] = framing::framed(b"\x08\x09"))
        }),
        Lie::signed("a row that was left out", OTHER_ANSWER, wire(rows(), |wire| drop(wire.body.remove(1)))),
        Lie::signed("a row too many", OTHER_ANSWER, wire(rows(), |wire| wire.body.push(wire.body[0].clone()))),
        Lie::signed("two rows that changed places", OTHER_ANSWER, wire(rows(), |wire| wire.body.swap(0, 2))),
        Lie::signed("another number of rows", OTHER_NUMBER, closing(rows(), |claims| claims.messages = 4)),
        Lie::signed("another status", OTHER_STATUS, closing(rows(), |claims| claims.status = 13)),
        Lie::signed("other fields", OTHER_FIELDS, {
            closing(rows(), |claims| claims.released_digest = vec![7; 32].into())
        }),
        Lie::signed("another exchange", OTHER_EXCHANGE, {
            closing(rows(), |claims| claims.exchange_id = vec![7; 16].into())
        }),
        Lie::signed("a leaf of something else", OTHER_LEAF, {
            promise(rows(), |opening| leaf(opening).leaf = vec![7; 32].into())
        }),
        Lie::signed(
            "no promise of the outcome",
            "the answer comes without a promise of its record",
            promise(rows(), |opening| *opening = None),
        ),
        Lie::unsigned("no closing claims", NO_CLAIMS, wire(rows(), |wire| unsign(wire.closing()))),
        Lie::unsigned("a forged signature at the end", NOT_THEIRS, {
            sealed(rows(), |seal| seal.signature = vec![7; 64].into())
        }),
        Lie::unsigned("half a row at the end", "the stream ended inside a message", {
            wire(rows(), |wire| wire.body[2] = wire.body[2].slice(..6))
        }),
        Lie::unsigned("a row that says it is compressed", "a message is compressed", {
            wire(rows(), |wire| wire.body[1] = Bytes::from_static(b"\x01\0\0\0\x02\x08\x02"))
        }),
        Lie::cut("no trailers", "the stream ended without trailers", wire(rows(), |wire| wire.trailers = None)),
        Lie::cut("a reset between rows", "the link was cut in the middle of the stream", {
            wire(rows(), |wire| {
                wire.body.truncate(2);
                wire.reset = true;
            })
        }),
    ]
}
