//! A peer of our own making that lies: it has the council's certificate and gateway key, and signs what it likes. Whatever it
//! says is refused, signed, and recorded; and the same peer, telling the truth, is answered.

mod streams;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use drawbridge_tests::{Agreement, COUNCIL, Client, PURPOSE, Reply, TRUST, TestFederation, client, python::Backend};
use exchange::{Hop, Reason, digests, framing, headers::Signed, millis};
use http::HeaderMap;
use ledger::{SealVerifier, Sealer};
use note::SigningKey;
use policy::AgreementFile;
use prost::Message as _;
use proto::link::{CallShape, ConsumerClaims, OpenRequest, OpenResponse, ProviderClosing};
use records::receipt;

use crate::rules::{BINDING, lookups};

const FIND: &str = "/test.v1.Records/Find";

struct Liar {
    client: Client,
    key: SigningKey,
    session: Bytes,
    next: u64,
}

/// What can be lied about on the way from honest claims to the wire.
#[derive(Default)]
struct Lie {
    claims: Option<Box<dyn Fn(&mut ConsumerClaims)>>,
    /// Sent instead of the request that was signed.
    message: Option<Vec<u8>>,
    /// Signs instead of the gateway's key.
    key: Option<SigningKey>,
    path: Option<&'static str>,
}

impl Lie {
    fn about(claims: impl Fn(&mut ConsumerClaims) + 'static) -> Self {
        Self { claims: Some(Box::new(claims)), ..Self::default() }
    }
}

impl Liar {
    async fn new(federation: &TestFederation) -> Self {
        let (council, trust) = (federation.member(COUNCIL), federation.member(TRUST));
        let (certificate, key) = council.gateway_tls();
        let mut client =
            Client::connect(trust.links, &trust.authority.certificate_pem(), &certificate, &key).await.unwrap();
        let (_, body) = client
            .open_raw(
                "/drawbridge.link.v1/Open",
                &HeaderMap::new(),
                OpenRequest { protocol: 1 }.encode_to_vec().into(),
                None,
            )
            .await
            .unwrap();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let session = OpenResponse::decode(body).unwrap().session;
        Self { client, key: council.gateway_key.clone(), session, next: 1 }
    }

    fn honest(&mut self, federation: &TestFederation, message: &[u8]) -> ConsumerClaims {
        self.honest_of(federation, FIND, &framing::framed(message))
    }

    /// Honest claims over a body of any bytes.
    fn honest_of(&mut self, federation: &TestFederation, path: &str, body: &[u8]) -> ConsumerClaims {
        let folder = &federation.member(COUNCIL).folder;
        let text = std::fs::read_to_string(folder.join("agreements/standard.note")).unwrap();
        let agreement = AgreementFile::parse("standard.note", &text).unwrap().agreement().clone();
        let nonce = [u8::try_from(self.next % 251).unwrap(); 32];
        self.next += 1;
        ConsumerClaims {
            exchange_id: records::ExchangeId::new(SystemTime::now(), [u8::try_from(self.next % 251).unwrap(); 10])
                .as_bytes()
                .to_vec()
                .into(),
            consumer: COUNCIL.into(),
            consumer_gateway: "main".into(),
            consumer_system: "revenues".into(),
            provider: TRUST.into(),
            provider_gateway: "main".into(),
            session: self.session.clone(),
            sequence: self.next,
            method: path.into(),
            contract_digest: federation.contracts().method(path).unwrap().contract_digest().0.to_vec().into(),
            agreement: agreement.id().into(),
            agreement_digest: agreement.digest().0.to_vec().into(),
            purpose: PURPOSE.into(),
            legal_basis: "Children Act 2004, section 11".into(),
            case_reference: "c".into(),
            time: millis(SystemTime::now()),
            nonce: nonce.to_vec().into(),
            request_digest: digests::of_request(&nonce, body).to_vec().into(),
            shape: CallShape::Unary.into(),
            ..ConsumerClaims::default()
        }
    }

    async fn tell(&mut self, federation: &TestFederation, lie: &Lie) -> (Reply, ConsumerClaims) {
        let message = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
        let mut claims = self.honest(federation, &message);
        if let Some(change) = &lie.claims {
            change(&mut claims);
        }
        let sent = lie.message.clone().unwrap_or(message);
        let key = lie.key.clone().unwrap_or_else(|| self.key.clone());
        (self.send(lie.path.unwrap_or(FIND), &claims, &key, &sent).await, claims)
    }

    async fn send(&mut self, path: &str, claims: &ConsumerClaims, key: &SigningKey, message: &[u8]) -> Reply {
        self.send_raw(path, claims, key, framing::framed(message)).await
    }

    async fn send_raw(&mut self, path: &str, claims: &ConsumerClaims, key: &SigningKey, body: Bytes) -> Reply {
        self.send_beside(path, claims, key, (HeaderMap::new(), body)).await
    }

    /// Sends headers beside the claims.
    async fn send_beside(
        &mut self,
        path: &str,
        claims: &ConsumerClaims,
        key: &SigningKey,
        (mut metadata, body): (HeaderMap, Bytes),
    ) -> Reply {
        let bytes = claims.encode_to_vec();
        let seal = Sealer::new(key.clone()).seal(receipt::CONSUMER_CLAIMS, bytes.clone()).await;
        Signed { claims: bytes.into(), seal: Some(receipt::seal_to_wire(&seal)), leaf: None }.write(&mut metadata);
        let (head, body) = self.client.open_raw(path, &metadata, body, Some(Duration::from_secs(20))).await.unwrap();
        client::read(head, body).await.unwrap()
    }
}

/// Checks that a refusal is signed by the trust, and that its log has it.
fn refused(federation: &TestFederation, reply: &Reply, reason: Reason) -> ProviderClosing {
    assert_eq!(reply.reason(), Some(reason), "{}", reply.status.message);
    let signed = Signed::read(&reply.trailers).expect("a refusal carries claims");
    let promise = receipt::promise_of(signed.leaf.as_ref().expect("a refusal carries a promise")).unwrap();
    let seal = receipt::seal_from_wire(signed.seal.as_ref().unwrap()).unwrap();
    let verifier = SealVerifier::new(federation.member(TRUST).gateway_key.verifier());
    verifier.verify(receipt::PROVIDER_CLOSING, &signed.claims, Some(&promise), &seal).unwrap();
    let closing = ProviderClosing::decode(signed.claims).unwrap();
    assert_eq!(closing.refusal, reason.as_str());
    let record = federation
        .member(TRUST)
        .records()
        .into_iter()
        .find(|r| r.index == promise.index)
        .expect("the refusal is in the log");
    assert_eq!(record.leaf.hash(), promise.leaf);
    assert_eq!(record.opened.unwrap().refusal(), reason.as_str());
    closing
}

#[tokio::test]
async fn every_lie_is_refused_with_a_record_and_the_truth_is_answered() {
    let federation = TestFederation::new().await.start();
    let mut liar = Liar::new(&federation).await;
    let other_key = SigningKey::generate("council.example/gateway/main").unwrap();
    let other_request = federation.request("test.v1.Records/Find", r#"{"id": "2"}"#);
    let lies: Vec<(&str, Lie, Reason)> = vec![
        ("another member", Lie::about(|c| c.consumer = "police.example".into()), Reason::BadClaims),
        ("another gateway", Lie::about(|c| c.consumer_gateway = "other".into()), Reason::BadClaims),
        ("addressed to another member", Lie::about(|c| c.provider = "police.example".into()), Reason::BadClaims),
        ("another method than the path", Lie::about(|c| c.method = "/test.v1.Records/List".into()), Reason::BadClaims),
        ("no nonce", Lie::about(|c| c.nonce = Bytes::new()), Reason::BadClaims),
        ("a malformed exchange id", Lie::about(|c| c.exchange_id = Bytes::from_static(b"short")), Reason::BadClaims),
        ("a forged request digest", Lie::about(|c| c.request_digest = vec![7; 32].into()), Reason::BadClaims),
        ("another request than was signed", Lie { message: Some(other_request), ..Lie::default() }, Reason::BadClaims),
        ("signed by another key", Lie { key: Some(other_key), ..Lie::default() }, Reason::BadClaims),
        ("another legal basis", Lie::about(|c| c.legal_basis = "because".into()), Reason::BadClaims),
        ("a stale session", Lie::about(|c| c.session = vec![9; 16].into()), Reason::StaleSession),
        ("sequence number 0", Lie::about(|c| c.sequence = 0), Reason::Replayed),
        ("a clock that is an hour behind", Lie::about(|c| c.time -= 3_600_000), Reason::ClockSkew),
        ("another purpose", Lie::about(|c| c.purpose = "curiosity".into()), Reason::WrongPurpose),
        (
            "a system that the agreement does not name",
            Lie::about(|c| c.consumer_system = "planning".into()),
            Reason::NoAgreement,
        ),
        (
            "an agreement that there is not",
            Lie::about(|c| c.agreement_digest = vec![1; 32].into()),
            Reason::NoAgreement,
        ),
        ("no case though one is asked for", Lie::about(|c| c.case_reference = String::new()), Reason::Metadata),
        ("another contract", Lie::about(|c| c.contract_digest = vec![1; 32].into()), Reason::ContractMismatch),
        (
            "a method in no agreement",
            Lie {
                path: Some("/test.v1.Records/Hidden"),
                ..Lie::about(|c| c.method = "/test.v1.Records/Hidden".into())
            },
            Reason::NoAgreement,
        ),
        (
            "a method that nobody has",
            Lie { path: Some("/no.v1.Service/Method"), ..Lie::about(|c| c.method = "/no.v1.Service/Method".into()) },
            Reason::NoAgreement,
        ),
    ];
    let mut no_agreement = std::collections::BTreeSet::new();
    for (what, lie, reason) in lies {
        let (reply, _) = liar.tell(&federation, &lie).await;
        eprintln!("{what}: {}", reply.status.message);
        let closing = refused(&federation, &reply, reason);
        if reason == Reason::NoAgreement {
            no_agreement.insert(reply.status.message.clone());
        }
        if reason == Reason::ClockSkew {
            assert!((3_590_000..3_610_000).contains(&closing.clock_difference), "{}", closing.clock_difference);
        }
        assert!(reply.messages.is_empty(), "{what}");
    }
    assert_eq!(no_agreement.len(), 1, "a peer can tell why there is no agreement: {no_agreement:?}");
    let (reply, _) = liar.tell(&federation, &Lie::default()).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
}

#[tokio::test]
async fn a_request_off_its_contract_is_refused_by_the_provider_and_never_reaches_the_back_end() {
    let federation = TestFederation::new().await;
    let backend = Backend::behind(&federation);
    let federation = federation.start();
    let mut liar = Liar::new(&federation).await;
    let key = liar.key.clone();
    let framed = |message: &[u8]| framing::framed(message);
    // Each is signed as it is sent: nothing but the contract stands against it.
    let bodies: Vec<(&str, Bytes, &str)> = vec![
        ("an unknown field", framed(b"\x0a\x01x\x98\x06\x01"), "99"),
        ("an unknown field alone", framed(b"\x28\x01"), "5"),
        ("a tag that there is not", framed(b"\x00"), "tag"),
        ("a message that ends within a value", framed(b"\x0a\x05x"), "ends within a value"),
        ("a number in the place of a text", framed(b"\x08\x01"), "wire type"),
        ("a text that is not UTF-8", framed(b"\x0a\x01\xff"), "UTF-8"),
        ("a number of eleven bytes", framed(b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "too long"),
        ("a group that does not end", framed(b"\x0b"), ""),
        ("no message", Bytes::new(), "one is expected"),
        ("two messages", [framed(b"\x0a\x01x"), framed(b"\x0a\x01x")].concat().into(), "one is expected"),
        ("half a message", framed(b"\x0a\x01x").slice(..6), "ends inside a message"),
        ("a message that says it is compressed", Bytes::from_static(b"\x01\0\0\0\x03\x0a\x01x"), "compressed"),
    ];
    for path in ["/test.v1.Echo/Say", "/test.v1.Echo/Repeat"] {
        for (what, body, told) in &bodies {
            let mut claims = liar.honest_of(&federation, path, body);
            if path.ends_with("Repeat") {
                claims.shape = CallShape::ServerStream.into();
            }
            let reply = liar.send_raw(path, &claims, &key, body.clone()).await;
            refused(&federation, &reply, Reason::Malformed);
            assert_eq!(reply.status.hop(), Some(Hop::Provider), "{what}");
            assert!(reply.status.message.contains(told), "{what}: {}", reply.status.message);
        }
    }
    assert_eq!(backend.events(), Vec::<serde_json::Value>::new());
    let body = framing::framed(&federation.request("test.v1.Echo/Say", r#"{"text": "honest"}"#));
    let claims = liar.honest_of(&federation, "/test.v1.Echo/Say", &body);
    assert_eq!(liar.send_raw("/test.v1.Echo/Say", &claims, &key, body).await.status.code, 0);
    backend.heard("asked", "honest").await;
}

#[tokio::test]
async fn metadata_that_is_not_signed_or_not_named_is_refused_by_the_provider_itself() {
    const SAY: &str = "/test.v1.Echo/Say";
    let federation = TestFederation::without_agreement().await;
    let standard = Agreement::default();
    // The last grant of the standard agreement is the back end's.
    let grants = format!("{}application_metadata = [\"x-application\"]\n", standard.grants);
    federation.agree(&Agreement { grants, ..standard });
    let backend = Backend::behind(&federation);
    let federation = federation.start();
    let mut liar = Liar::new(&federation).await;
    let key = liar.key.clone();
    let block = |key: &str, value: &str| {
        let part = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        [part(key), part(value)].concat()
    };
    let named = block("x-application", "canary");
    let unsorted = [block("x-application", "b"), block("w-application", "a")].concat();
    let long = block("x-application", &"c".repeat(4096));
    let body = framing::framed(&federation.request("test.v1.Echo/Say", r#"{"text": "told"}"#));
    // What is sent, what is signed, and what the refusal says.
    let lies = [
        (vec![named.clone()], vec![], "not what was signed"),
        (vec![], named.clone(), "not what was signed"),
        (vec![block("x-application", "other")], named.clone(), "not what was signed"),
        (vec![named.clone(), named.clone()], named.clone(), "stands more than once"),
        (vec![block("x-other", "canary")], block("x-other", "canary"), "does not name the metadata key `x-other`"),
        (vec![b"canary".to_vec()], b"canary".to_vec(), "malformed or above its limits"),
        (vec![unsorted.clone()], unsorted, "malformed or above its limits"),
        (vec![long.clone()], long, "malformed or above its limits"),
    ];
    let tell = async |liar: &mut Liar, sent: &[Vec<u8>], signed: &[u8]| {
        let mut claims = liar.honest_of(&federation, SAY, &body);
        claims.metadata_digest = digests::of_request_metadata(&claims.nonce, signed);
        let mut headers = HeaderMap::new();
        for block in sent {
            headers.append(exchange::headers::METADATA, exchange::headers::binary(block));
        }
        liar.send_beside(SAY, &claims, &key, (headers, body.clone())).await
    };
    for (sent, signed, told) in &lies {
        let reply = tell(&mut liar, sent, signed).await;
        refused(&federation, &reply, Reason::BadClaims);
        assert!(reply.status.message.contains(told), "{told}: {}", reply.status.message);
    }
    assert_eq!(backend.events(), Vec::<serde_json::Value>::new());
    let honest = tell(&mut liar, std::slice::from_ref(&named), &named).await;
    assert_eq!(honest.status.code, 0, "{}", honest.status.message);
    // The back end sends it back, and the provider signs it.
    assert!(honest.trailers.contains_key(exchange::headers::METADATA));
    let signed = Signed::read(&honest.trailers).unwrap();
    assert_eq!(ProviderClosing::decode(signed.claims).unwrap().metadata_digest.len(), 32);
}

#[tokio::test]
async fn claims_are_taken_once() {
    let federation = TestFederation::new().await.start();
    let mut liar = Liar::new(&federation).await;
    let message = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let claims = liar.honest(&federation, &message);
    let key = liar.key.clone();
    assert_eq!(liar.send(FIND, &claims, &key, &message).await.status.code, 0);
    let again = liar.send(FIND, &claims, &key, &message).await;
    refused(&federation, &again, Reason::Replayed);
    // Another session does not make them fresh.
    let mut other = Liar::new(&federation).await;
    let again = other.send(FIND, &claims, &key, &message).await;
    refused(&federation, &again, Reason::Replayed);
}

#[tokio::test]
async fn an_expired_agreement_is_refused_by_the_provider_itself() {
    let federation = TestFederation::without_agreement().await;
    let (now, hour) = (SystemTime::now(), Duration::from_hours(1));
    federation.agree(&Agreement { from: now - 3 * hour, until: now - hour, ..Agreement::default() });
    let federation = federation.start();
    let mut liar = Liar::new(&federation).await;
    let (reply, _) = liar.tell(&federation, &Lie::default()).await;
    refused(&federation, &reply, Reason::AgreementEnded);
}

#[tokio::test]
async fn a_request_that_breaks_rules_of_the_contract_is_refused_by_the_provider_itself() {
    const LOOK_UP: &str = "/test.v1.Lookups/Find";
    let federation = TestFederation::without_agreement().await;
    federation.agree(&lookups());
    federation.member(TRUST).configure(BINDING);
    let federation = federation.start();
    let mut liar = Liar::new(&federation).await;
    let key = liar.key.clone();
    let mut replies = Vec::new();
    for json in [r#"{"nhsNumber": "9434765919"}"#, r#"{"nhsNumber": "9434765918", "days": 0}"#] {
        let message = federation.request("test.v1.Lookups/Find", json);
        let mut claims = liar.honest(&federation, &message);
        claims.method = LOOK_UP.into();
        claims.contract_digest = federation.contracts().method(LOOK_UP).unwrap().contract_digest().0.to_vec().into();
        replies.push(liar.send(LOOK_UP, &claims, &key, &message).await);
    }
    assert_eq!(replies[0].status.code, 0, "{}", replies[0].status.message);
    refused(&federation, &replies[1], Reason::Malformed);
    assert_eq!(replies[1].status.hop(), Some(Hop::Provider));
    let (listed, total) = replies[1].status.violations();
    let fields: Vec<_> = listed.iter().map(|found| found.field.as_str()).collect();
    assert_eq!((fields, total), (vec!["nhs_number", "days"], 2));
}

#[tokio::test]
async fn what_is_not_claims_at_all_is_refused_and_harms_nobody() {
    let federation = TestFederation::new().await.start();
    let mut liar = Liar::new(&federation).await;
    let none = liar.client.call(FIND, &HeaderMap::new(), b"").await.unwrap();
    refused(&federation, &none, Reason::BadClaims);
    for bytes in [&b""[..], b"\xff\xff\xff", &[0x0a; 600]] {
        let mut metadata = HeaderMap::new();
        Signed { claims: Bytes::copy_from_slice(bytes), seal: None, leaf: None }.write(&mut metadata);
        let reply = liar.client.call(FIND, &metadata, b"").await.unwrap();
        refused(&federation, &reply, Reason::BadClaims);
    }
    let odd = client::metadata(&[("drawbridge-claims-bin", "!!!not base64!!!")]);
    refused(&federation, &liar.client.call(FIND, &odd, b"").await.unwrap(), Reason::BadClaims);
    let (reply, _) = liar.tell(&federation, &Lie::default()).await;
    assert_eq!(reply.status.code, 0);
}

#[tokio::test]
async fn a_flood_of_refusals_is_recorded_in_aggregate() {
    let federation = TestFederation::new().await.start();
    let mut liar = Liar::new(&federation).await;
    let before = federation.member(TRUST).records().len();
    for _ in 0..400 {
        let reply = liar.client.call(FIND, &HeaderMap::new(), b"").await.unwrap();
        assert_eq!(reply.reason(), Some(Reason::BadClaims));
    }
    drawbridge_tests::eventually("an aggregate is in the log", 10, async || {
        liar.client.call(FIND, &HeaderMap::new(), b"").await.unwrap();
        federation.member(TRUST).records().iter().any(|r| r.kind() == proto::records::Kind::Aggregate).then_some(())
    })
    .await;
    let records = federation.member(TRUST).records();
    let counted: u64 = records
        .iter()
        .filter(|r| r.kind() == proto::records::Kind::Aggregate)
        .map(|r| r.opened.as_ref().unwrap().private.count)
        .sum();
    assert!(counted > 0 && records.len() - before < 400, "{counted} of {}", records.len());
}
