//! Committed test vectors of everything that crosses a link in a `drawbridge-*-bin` header, and of every digest in it.
//!
//! `tests/vectors/link.txt` is made from fixed keys, ids and salts. Here this implementation is held to it; the script
//! `tests/python/vectors_check.py` holds it to `FORMATS.md`, with nothing of ours but that page.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::{Bytes, BytesMut};
use drawbridge_exchange::{
    ApplicationMetadata, Hop, Reason, Refusal, Status, digests, framing,
    headers::{self, CLAIMS, LEAF, METADATA, SIGNATURE, Signed},
};
use http::HeaderMap;
use ledger::{Entry, Hash, Leaf, Ledger, SealInput, SealVerifier, Sealer};
use note::SigningKey;
use prost::Message;
use proto::link::{
    Actor, CallShape, ConsumerClaims, ConsumerClosing, LeafOpening, ProviderClosing, ProviderOpening, Seal,
};
use records::{ExchangeId, Kind, Private, Shared, Side, half_hash, provider_leaf_of, provider_shared, receipt};

/// Where the vectors lie, from this crate.
const FILE: &str = "tests/vectors/link.txt";
/// Set to anything, it writes the vectors anew. A change of them is a change of the protocol.
const RENEW: &str = "DRAWBRIDGE_RENEW_VECTORS";
const ORIGIN: &str = "trust.example/log/main";
/// 2026-11-23T12:00:00Z, in milliseconds since the Unix epoch.
const TIME: u64 = 1_795_435_200_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, [seed; 32].into()).unwrap()
}

fn consumer_key() -> SigningKey {
    key("council.example/gateway/main", 1)
}

fn provider_key() -> SigningKey {
    key("trust.example/gateway/main", 2)
}

fn exchange() -> ExchangeId {
    ExchangeId::new(std::time::UNIX_EPOCH + std::time::Duration::from_millis(TIME), [7; 10])
}

/// What the vectors say, line by line.
#[derive(Default)]
struct Writer(String);

impl Writer {
    fn section(&mut self, name: &str) {
        writeln!(self.0, "\n[{name}]").unwrap();
    }

    fn text(&mut self, name: &str, value: &str) {
        writeln!(self.0, "{}", format!("{name}: {value}").trim_end()).unwrap();
    }

    fn hex(&mut self, name: &str, bytes: &[u8]) {
        self.text(name, &hex(bytes));
    }

    fn headers(&mut self, signed: &Signed) {
        let mut headers = HeaderMap::new();
        signed.write(&mut headers);
        for name in [CLAIMS, SIGNATURE, LEAF] {
            if let Some(value) = headers.get(&name) {
                self.text(name.as_str(), value.to_str().unwrap());
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A leaf that the provider's gateway records, with the salt that opens its shared half.
struct Recorded {
    shared: Shared,
    salt: [u8; 32],
    leaf: Leaf,
}

impl Recorded {
    fn new(shared: Shared, salt: u8) -> Self {
        let private = Private { time: TIME, consumer: "council.example".into(), ..Private::default() };
        let leaf = Leaf {
            shared: half_hash(&[salt; 32], &shared.encode_to_vec()),
            private: half_hash(&[salt + 1; 32], &private.encode_to_vec()),
        };
        Self { shared, salt: [salt; 32], leaf }
    }

    /// Appends the leaf, as a gateway does, and returns what then stands in the headers.
    async fn append(&self, ledger: &Ledger, tag: &'static str, claims: Bytes) -> Signed {
        let seal = SealInput { tag, claims: claims.to_vec() };
        let appended =
            ledger.append(Entry { leaf: self.leaf, body: b"body".to_vec(), seal: Some(seal) }).await.unwrap();
        let opening = LeafOpening {
            origin: appended.promise.origin,
            index: appended.index,
            leaf: Bytes::copy_from_slice(&appended.promise.leaf.0),
            salt: Bytes::copy_from_slice(&self.salt),
            private: Bytes::copy_from_slice(&self.leaf.private.0),
        };
        assert_eq!(provider_leaf_of(&self.shared, &opening).unwrap(), self.leaf);
        Signed { claims, seal: Some(receipt::seal_to_wire(&appended.seal.unwrap())), leaf: Some(opening) }
    }
}

fn nonce() -> [u8; 32] {
    [0xa5; 32]
}

fn request() -> Bytes {
    // `{ nhs_number: "9990000018" }`, with its prefix.
    framing::framed(b"\x0a\x0a9990000018")
}

fn consumer_claims(sequence: u64) -> ConsumerClaims {
    ConsumerClaims {
        exchange_id: exchange().as_bytes().to_vec().into(),
        consumer: "council.example".into(),
        consumer_gateway: "main".into(),
        consumer_system: "social-care".into(),
        provider: "trust.example".into(),
        provider_gateway: "main".into(),
        session: vec![0x5e; 16].into(),
        sequence,
        method: "/health.v1.Patients/Find".into(),
        contract_digest: vec![0xc0; 32].into(),
        agreement: "council-trust-safeguarding".into(),
        agreement_digest: vec![0xa9; 32].into(),
        purpose: "safeguarding".into(),
        legal_basis: "Children Act 2004, section 11".into(),
        actor: Some(Actor { id: "sw-1042".into(), role: "social worker".into() }),
        case_reference: "CASE-2041".into(),
        justification: "née Müller".into(),
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        time: TIME,
        nonce: nonce().to_vec().into(),
        request_digest: digests::of_request(&nonce(), &request()).to_vec().into(),
        shape: CallShape::Unary.into(),
        ..ConsumerClaims::default()
    }
}

fn status() -> Status {
    Status { code: 5, message: "100 % – née\n".into(), details: Bytes::from_static(&[0x08, 0x05]) }
}

fn answer() -> BytesMut {
    let mut all = BytesMut::new();
    framing::write_framed(&mut all, b"\x0a\x05first");
    framing::write_framed(&mut all, b"");
    all
}

async fn consumers_part(out: &mut Writer) -> Signed {
    out.section("keys");
    for (side, key) in [("consumer", consumer_key()), ("provider", provider_key())] {
        let seed = if side == "consumer" { 1 } else { 2 };
        out.hex(&format!("{side} seed"), &[seed; 32]);
        out.text(&format!("{side} key"), &key.verifier().to_string());
    }

    out.section("request");
    out.hex("nonce", &nonce());
    out.hex("message with prefix", &request());
    out.hex("request digest", &digests::of_request(&nonce(), &request()));

    let claims = Bytes::from(consumer_claims(1).encode_to_vec());
    out.section("consumer claims");
    out.text("tag", receipt::CONSUMER_CLAIMS);
    out.hex("claims", &claims);
    out.hex("claims digest", &digests::plain(&claims));
    let sealer = Sealer::new(consumer_key());
    let seal = sealer.seal(receipt::CONSUMER_CLAIMS, claims.to_vec()).await;
    let signed = Signed { claims, seal: Some(receipt::seal_to_wire(&seal)), leaf: None };
    out.headers(&signed);

    out.section("consumer claims, one of a batch of three");
    out.text("tag", receipt::CONSUMER_CLAIMS);
    let three = [2, 3, 4].map(|sequence| consumer_claims(sequence).encode_to_vec());
    let seal = |at: usize| sealer.seal(receipt::CONSUMER_CLAIMS, three.get(at).unwrap().clone());
    let (first, second, third) = tokio::join!(seal(0), seal(1), seal(2));
    for (at, seal) in [first, second, third].iter().enumerate() {
        let claims = three.get(at).unwrap().clone().into();
        out.text("place", &at.to_string());
        out.headers(&Signed { claims, seal: Some(receipt::seal_to_wire(seal)), leaf: None });
    }
    signed
}

fn digests_part(out: &mut Writer) {
    out.section("answer");
    let answer = answer();
    let mut running = digests::Running::new(&nonce());
    running.update(&answer);
    out.hex("messages with prefixes", &answer);
    out.hex("running digest", &running.so_far());
    for (name, status) in [("ok", Status::OK), ("status", status())] {
        out.text(&format!("{name} code"), &status.code.to_string());
        out.hex(&format!("{name} message"), status.message.as_bytes());
        out.hex(&format!("{name} details"), &status.details);
        out.hex(&format!("{name} response digest"), &running.clone().close(&status));
    }

    // Messages of 256 bytes with their prefixes, up to the ends of blocks and beyond.
    out.section("long answer");
    for count in [7, 8, 15, 16, 128, 200] {
        let mut running = digests::Running::new(&nonce());
        let message = framing::framed(&[0x5a; 251]);
        (0..count).for_each(|_| running.update(&message));
        out.text(&format!("{count} messages"), &(count * message.len()).to_string());
        out.hex(&format!("running digest {count}"), &running.so_far());
        out.hex(&format!("response digest {count}"), &running.close(&Status::OK));
    }

    out.section("fields");
    for (at, paths) in [&[][..], &["birth_date".to_owned(), "name.family".to_owned()]].iter().enumerate() {
        out.text(&format!("paths {at}"), &paths.join(" "));
        out.hex(&format!("digest {at}"), &policy::fields_digest(paths).0);
    }
}

/// The provider's closing claims of an answer of one message.
fn closing(claims: &Bytes) -> ProviderClosing {
    let mut running = digests::Running::new(&nonce());
    running.update(&answer());
    ProviderClosing {
        exchange_id: exchange().as_bytes().to_vec().into(),
        provider: "trust.example".into(),
        provider_gateway: "main".into(),
        consumer_claims_digest: digests::plain(claims).to_vec().into(),
        time: TIME + 40,
        response_digest: running.close(&Status::OK).to_vec().into(),
        messages: 2,
        released_digest: policy::fields_digest(&["name.family".to_owned()]).0.to_vec().into(),
        withheld_digest: policy::fields_digest(&[]).0.to_vec().into(),
        ..ProviderClosing::default()
    }
}

async fn providers_part(out: &mut Writer, opening: &Signed) {
    let folder = tempfile::tempdir().unwrap();
    let config = ledger::Config::new(folder.path(), ORIGIN, key(ORIGIN, 3), provider_key());
    let (ledger, _) = Ledger::open(config).unwrap();
    let id = *exchange().as_bytes();
    let crossed = |opened: &Bytes, closed: &Bytes| Shared {
        exchange_id: id.to_vec().into(),
        consumer_claims: opening.claims.clone(),
        consumer_seal: opening.seal.clone(),
        provider_opening: opened.clone(),
        provider_closing: closed.clone(),
        ..Shared::default()
    };
    let none = Bytes::new();

    let claims = ProviderOpening {
        exchange_id: id.to_vec().into(),
        provider: "trust.example".into(),
        provider_gateway: "main".into(),
        consumer_claims_digest: digests::plain(&opening.claims).to_vec().into(),
        time: TIME + 20,
    };
    let opened = Bytes::from(claims.encode_to_vec());
    let intent = Recorded::new(provider_shared(Kind::Intent, &crossed(&opened, &none)), 0x10);
    out.section("provider opening");
    out.text("tag", receipt::PROVIDER_OPENING);
    out.hex("shared half", &intent.shared.encode_to_vec());
    out.headers(&intent.append(&ledger, receipt::PROVIDER_OPENING, opened.clone()).await);

    let closed = Bytes::from(closing(&opening.claims).encode_to_vec());
    let outcome = Recorded::new(provider_shared(Kind::Outcome, &crossed(&opened, &closed)), 0x20);
    out.section("provider closing of a stream");
    out.text("tag", receipt::PROVIDER_CLOSING);
    out.hex("shared half", &outcome.shared.encode_to_vec());
    out.headers(&outcome.append(&ledger, receipt::PROVIDER_CLOSING, closed).await);

    let status = Refusal::new(Reason::ClockSkew, Hop::Provider, "the clocks are apart").status(exchange());
    let refused = ProviderClosing {
        status: 9,
        refusal: "CLOCK_SKEW".into(),
        response_digest: digests::Running::new(&nonce()).close(&status).to_vec().into(),
        messages: 0,
        released_digest: Bytes::new(),
        withheld_digest: Bytes::new(),
        clock_difference: -130_000,
        ..closing(&opening.claims)
    };
    let refused = Bytes::from(refused.encode_to_vec());
    let refusal = Recorded::new(provider_shared(Kind::Refusal, &crossed(&none, &refused)), 0x30);
    out.section("provider closing of a refusal");
    out.text("tag", receipt::PROVIDER_CLOSING);
    out.hex("status message", status.message.as_bytes());
    out.hex("status details", &status.details);
    out.hex("shared half", &refusal.shared.encode_to_vec());
    out.headers(&refusal.append(&ledger, receipt::PROVIDER_CLOSING, refused.clone()).await);

    out.section("provider closing without a promise");
    out.text("tag", receipt::PROVIDER_CLOSING);
    let seal = Sealer::new(provider_key()).seal(receipt::PROVIDER_CLOSING, refused.to_vec()).await;
    out.headers(&Signed { claims: refused, seal: Some(receipt::seal_to_wire(&seal)), leaf: None });
    streamed_request(out, opening, (&ledger, &opened)).await;
    ledger.close().await;
}

/// What both sides sign of a request that is a stream of the same two messages as the answer.
async fn streamed_request(out: &mut Writer, opening: &Signed, (ledger, opened): (&Ledger, &Bytes)) {
    let mut running = digests::Running::new(&nonce());
    running.update(&answer());
    let request_digest = Bytes::copy_from_slice(&running.so_far());
    let closing_claims = ConsumerClosing {
        exchange_id: exchange().as_bytes().to_vec().into(),
        request_digest: request_digest.clone(),
        messages: 2,
    };
    let claims = Bytes::from(closing_claims.encode_to_vec());
    let seal = Sealer::new(consumer_key()).seal(receipt::CONSUMER_CLOSING, claims.to_vec()).await;
    let signed = Signed { claims, seal: Some(receipt::seal_to_wire(&seal)), leaf: None };
    out.section("consumer closing of a streamed request");
    out.text("tag", receipt::CONSUMER_CLOSING);
    out.headers(&signed);

    let closed =
        ProviderClosing { request_digest, request_messages: 2, request_closed: true, ..closing(&opening.claims) };
    let closed = Bytes::from(closed.encode_to_vec());
    let crossed = Shared {
        exchange_id: exchange().as_bytes().to_vec().into(),
        consumer_claims: opening.claims.clone(),
        consumer_seal: opening.seal.clone(),
        consumer_closing: signed.claims.clone(),
        consumer_closing_seal: signed.seal.clone(),
        provider_opening: opened.clone(),
        provider_closing: closed.clone(),
        ..Shared::default()
    };
    let outcome = Recorded::new(provider_shared(Kind::Outcome, &crossed), 0x50);
    out.section("provider closing of a streamed request");
    out.text("tag", receipt::PROVIDER_CLOSING);
    out.hex("shared half", &outcome.shared.encode_to_vec());
    out.headers(&outcome.append(ledger, receipt::PROVIDER_CLOSING, closed).await);
}

/// A refusal that the consumer's gateway makes by itself: no header, but receipts carry its seal.
async fn local_refusal(out: &mut Writer) {
    let folder = tempfile::tempdir().unwrap();
    let origin = "council.example/log/main";
    let (ledger, _) = Ledger::open(ledger::Config::new(folder.path(), origin, key(origin, 4), consumer_key())).unwrap();
    let shared = Shared {
        kind: Kind::Refusal.into(),
        side: Side::Consumer.into(),
        exchange_id: exchange().as_bytes().to_vec().into(),
        status: 7,
        refusal: "NO_AGREEMENT".into(),
        ..Shared::default()
    };
    let refusal = Recorded::new(shared, 0x40);
    out.section("local refusal");
    out.text("tag", receipt::LOCAL_REFUSAL);
    out.hex("shared half", &refusal.shared.encode_to_vec());
    out.headers(&refusal.append(&ledger, receipt::LOCAL_REFUSAL, exchange().as_bytes().to_vec().into()).await);
    ledger.close().await;
}

/// Metadata as a partner system sends it: out of order, one key twice, one of bytes, one that the agreement does not name.
fn application(pairs: &[(&'static str, &'static str)]) -> ApplicationMetadata {
    let headers: HeaderMap = pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        });
    let named = ["x-request-id", "x-trail", "x-blob-bin"].map(str::to_owned).into();
    ApplicationMetadata::select(&headers, &named, 4096).unwrap()
}

/// What crosses beside the messages, and what is signed of it.
async fn application_metadata(out: &mut Writer) {
    let given = [
        ("x-trail", "second"),
        ("x-request-id", "b"),
        ("x-blob-bin", "AAH/"),
        ("x-request-id", "a"),
        ("x-blob-bin", "/w"),
        ("cookie", "stays"),
    ];
    let asked = application(&given).encode();
    out.section("application metadata of a request");
    out.text("tag", receipt::CONSUMER_CLAIMS);
    out.hex("block", &asked);
    out.hex("digest", &digests::of_request_metadata(&nonce(), &asked));
    out.text(METADATA.as_str(), headers::binary(&asked).to_str().unwrap());
    let claims =
        ConsumerClaims { metadata_digest: digests::of_request_metadata(&nonce(), &asked), ..consumer_claims(5) };
    let claims = Bytes::from(claims.encode_to_vec());
    let seal = Sealer::new(consumer_key()).seal(receipt::CONSUMER_CLAIMS, claims.to_vec()).await;
    out.headers(&Signed { claims, seal: Some(receipt::seal_to_wire(&seal)), leaf: None });

    let initial = application(&[("x-request-id", "first")]).encode();
    let trailing = application(&[("x-blob-bin", "q6ur"), ("x-trail", "")]).encode();
    out.section("application metadata of an answer");
    out.hex("initial", &initial);
    out.hex("trailing", &trailing);
    for (name, initial, trailing) in [
        ("digest", &initial, &trailing),
        ("digest of initial alone", &initial, &Bytes::new()),
        ("digest of trailing alone", &Bytes::new(), &trailing),
    ] {
        out.hex(name, &digests::of_answer_metadata(&nonce(), initial, trailing));
    }
}

async fn made() -> String {
    let mut out = Writer::default();
    out.0.push_str(
        "# What crosses a link, from fixed keys, ids and salts: see FORMATS.md.\n\
         # Written by crates/exchange/tests/vectors.rs and checked again by tests/python/vectors_check.py.\n\
         # Bytes are in hexadecimal; lines that begin with `drawbridge-` are headers as they are sent.\n",
    );
    let opening = consumers_part(&mut out).await;
    digests_part(&mut out);
    providers_part(&mut out, &opening).await;
    local_refusal(&mut out).await;
    application_metadata(&mut out).await;
    out.0
}

#[tokio::test]
async fn what_crosses_a_link_is_as_committed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let made = made().await;
    if env::var_os(RENEW).is_some() {
        fs::write(&file, &made).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let differs = committed.lines().zip(made.lines()).position(|(old, new)| old != new);
    assert!(
        committed == made,
        "line {} of {FILE} is another now: peers of other versions no longer understand it; `{RENEW}=1` writes it anew",
        differs.unwrap_or_else(|| committed.lines().count().min(made.lines().count())) + 1,
    );
}

/// Reads the committed headers as a peer would, and verifies every seal with the key of its side.
#[test]
fn committed_headers_read_back_and_their_seals_verify() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap();
    let (consumer, provider) =
        (SealVerifier::new(consumer_key().verifier()), SealVerifier::new(provider_key().verifier()));
    let mut checked = 0;
    for section in text.split("\n[").skip(1) {
        let tag = section.lines().find_map(|line| line.strip_prefix("tag: "));
        let Some(tag) = tag else { continue };
        let mut headers = HeaderMap::new();
        for line in section.lines().chain(["place: end"]) {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            if name.starts_with("drawbridge-") {
                headers.insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
            } else if name == "place" && !headers.is_empty() {
                let signed = Signed::read(&std::mem::take(&mut headers)).unwrap();
                let seal: &Seal = signed.seal.as_ref().unwrap();
                let promise = signed.leaf.as_ref().map(|leaf| receipt::promise_of(leaf).unwrap());
                let by_consumer = tag.contains("Consumer") || tag.contains("Local");
                let verifier = if by_consumer { &consumer } else { &provider };
                let seal = receipt::seal_from_wire(seal).unwrap();
                verifier.verify(tag, &signed.claims, promise.as_ref(), &seal).unwrap();
                let mut other = signed.claims.to_vec();
                other.push(0);
                assert!(verifier.verify(tag, &other, promise.as_ref(), &seal).is_err());
                if let Some(promise) = promise {
                    let other = ledger::Promise { leaf: Hash([0; 32]), ..promise };
                    assert!(verifier.verify(tag, &signed.claims, Some(&other), &seal).is_err());
                    assert!(verifier.verify(tag, &signed.claims, None, &seal).is_err());
                }
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 12);
}

/// The script knows `FORMATS.md` and Python's own library; it shares no line with the gateway.
#[test]
fn a_second_implementation_agrees() {
    let python = env::var_os("DRAWBRIDGE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let script = root().join("tests/python/vectors_check.py");
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let output = Command::new(&python).arg(script).arg(&vectors).output().unwrap_or_else(|error| {
        panic!("cannot run {}: {error}; install Python 3, or run `cargo xtask test`", python.display())
    });
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}{}", told[0], told[1]);

    // One changed digit has to be noticed, or the script checks nothing.
    let text = fs::read_to_string(&vectors).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.txt");
    for line in [
        "running digest: ",
        "request digest: ",
        "drawbridge-signature-bin: ",
        "drawbridge-leaf-bin: ",
        "shared half: ",
        "block: ",
        "digest of trailing alone: ",
    ] {
        let at = text.find(line).unwrap() + line.len() + 20;
        let digit = if text.as_bytes()[at] == b'5' { "6" } else { "5" };
        fs::write(&changed, [&text[..at], digit, &text[at + 1..]].concat()).unwrap();
        let output =
            Command::new(&python).arg(root().join("tests/python/vectors_check.py")).arg(&changed).output().unwrap();
        assert!(!output.status.success(), "a changed `{line}` was not noticed");
    }
}
