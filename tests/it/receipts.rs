//! Receipts: fetched by the system that asked, verified by anybody who has the directory, and by no means to be forged.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use drawbridge_tests::{COUNCIL, Reply, TRUST, TestFederation, federation::standard, process};
use http::HeaderMap;
use note::{Note, SigningKey};
use prost::Message as _;
use proto::{
    exchange::{Disclosure, GetReceiptRequest, GetReceiptResponse, Receipt},
    records::Shared,
};

const GET: &str = "/drawbridge.exchange.v1.Receipts/Get";

async fn get(federation: &TestFederation, system: &str, exchange: &str) -> Reply {
    let mut client = federation.member(COUNCIL).connect(system).await.unwrap();
    let request = GetReceiptRequest { exchange_id: exchange.to_owned() }.encode_to_vec();
    client.call(GET, &HeaderMap::new(), &request).await.unwrap()
}

/// The whole receipt of an exchange of `revenues`.
pub(crate) async fn receipt_of(federation: &TestFederation, exchange: &str) -> GetReceiptResponse {
    let reply = get(federation, "revenues", exchange).await;
    assert_eq!(reply.status.code, 0, "{}", reply.status.message);
    let response = GetReceiptResponse::decode(reply.messages[0].clone()).unwrap();
    assert!(response.complete, "checkpoints of both logs cover it");
    response
}

/// The file of a receipt, as `drawbridge receipt fetch` writes it.
fn write(path: &Path, receipt: &Receipt) {
    fs::write(path, format!("drawbridge.receipt/v1\n{}\n", STANDARD.encode(receipt.encode_to_vec()))).unwrap();
}

/// A folder with the directory and nothing else, as a third party has it.
pub(crate) fn outsider(federation: &TestFederation) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(federation.member(COUNCIL).folder.join("directory.note"), folder.path().join("directory.note")).unwrap();
    folder
}

/// Verifies a receipt as a third party does; returns the exit code, what it said, and what it complained of.
pub(crate) fn verify(folder: &Path, receipt: &Receipt) -> (i32, String, String) {
    write(&folder.join("exchange.receipt"), receipt);
    let output = process::run(folder, ["receipt", "verify", "exchange.receipt", "--directory", "directory.note"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_receipt_tells_a_third_party_who_asked_whom_what_and_why() {
    let federation = TestFederation::new().await.start();
    let reply = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await;
    let response = receipt_of(&federation, &reply.exchange()).await;
    assert_eq!(response.withheld, ["name.given", "secret"]);
    assert_eq!(response.released, ["id", "name.family", "note"]);
    let folder = outsider(&federation);
    let (code, said, complaint) = verify(folder.path(), &response.receipt.unwrap());
    assert_eq!(code, 0, "{complaint}");
    for fact in [
        reply.exchange().as_str(),
        "genuine",
        COUNCIL,
        "revenues",
        TRUST,
        "test.v1.Records/Find",
        "safeguarding",
        "Children Act 2004, section 11",
        "standard",
        "case-1",
        "covered",
    ] {
        assert!(said.contains(fact), "`{fact}` is missing:\n{said}");
    }
    assert!(!said.contains("Archer"), "a receipt says nothing of the answer");
    let json = process::succeed(
        folder.path(),
        ["receipt", "verify", "exchange.receipt", "--directory", "directory.note", "--json"],
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["genuine"], &json["consumer_log_covers_it"], &json["provider_log_covers_it"]),
        (&true.into(), &true.into(), &true.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_streams_of_refusals_and_from_before_a_restart_verify_too() {
    let mut federation = TestFederation::new().await.start();
    let mut exchanges = Vec::new();
    for (method, request, code) in [
        ("test.v1.Records/List", r#"{"count": "2000"}"#, 0),
        ("test.v1.Records/Find", r#"{"id": "99"}"#, 5),
        ("test.v1.Records/Unbound", r#"{"id": "1"}"#, 7),
    ] {
        let reply = federation.call(method, request).await;
        assert_eq!(reply.status.code, code, "{}", reply.status.message);
        exchanges.push(reply.exchange());
    }
    for member in [TRUST, COUNCIL] {
        assert!(federation.take(member).terminate());
        federation.restart(member);
    }
    let folder = outsider(&federation);
    for exchange in exchanges {
        let response = receipt_of(&federation, &exchange).await;
        let (code, said, complaint) = verify(folder.path(), &response.receipt.unwrap());
        assert_eq!(code, 0, "{said}{complaint}");
    }
}

#[tokio::test]
async fn a_refusal_by_ones_own_gateway_has_a_receipt_that_its_log_proves() {
    let federation = TestFederation::new().await.start();
    let find = federation.request("test.v1.Records/Find", r#"{"id": "1"}"#);
    let mut metadata = standard();
    metadata.insert("drawbridge-purpose", "curiosity".parse().unwrap());
    let reply = federation.revenues().await.call("/test.v1.Records/Find", &metadata, &find).await.unwrap();
    assert_eq!(reply.reason(), Some(exchange::Reason::WrongPurpose));
    let receipt = receipt_of(&federation, &reply.exchange()).await.receipt.unwrap();
    let folder = outsider(&federation);
    let (code, said, complaint) = verify(folder.path(), &receipt);
    assert_eq!(code, 0, "{said}{complaint}");
    assert!(said.contains("WRONG_PURPOSE") && said.contains(COUNCIL), "{said}");
    let mut forged = receipt;
    let part = forged.consumer.as_mut().unwrap();
    let mut shared = Shared::decode(part.shared.clone()).unwrap();
    shared.refusal = "NO_AGREEMENT".to_owned();
    part.shared = shared.encode_to_vec().into();
    let (code, _, complaint) = verify(folder.path(), &forged);
    assert!(code == 1 && complaint.contains("consumer: "), "{complaint}");
}

#[tokio::test]
async fn a_system_sees_its_own_exchanges_only() {
    let federation = TestFederation::new().await.start();
    let exchange = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.exchange();
    receipt_of(&federation, &exchange).await;
    let foreign = get(&federation, "planning", &exchange).await;
    let unknown = get(&federation, "revenues", "0193a1c4-6b2f-7c3e-8a51-0d7c1a2b3c4d").await;
    assert_eq!((foreign.status.code, unknown.status.code), (5, 5), "NOT_FOUND");
    assert_eq!(foreign.status.message, unknown.status.message, "the answer tells that there is something");
    assert!(foreign.messages.is_empty());
    assert_eq!(get(&federation, "revenues", "no id").await.status.code, 3, "INVALID_ARGUMENT");
}

/// One way of forging a receipt, and the parts that may be blamed.
struct Forgery {
    what: &'static str,
    forge: Box<dyn Fn(&mut Receipt)>,
    blamed: &'static [&'static str],
}

fn forgery(what: &'static str, blamed: &'static [&'static str], forge: impl Fn(&mut Receipt) + 'static) -> Forgery {
    Forgery { what, forge: Box::new(forge), blamed }
}

fn flip(bytes: &mut bytes::Bytes, at: usize) {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 0x01;
    *bytes = flipped.into();
}

/// The forgeries of one leaf's disclosure; `other` is the same part of another exchange, `foreign` that of the other log.
fn of_part(
    name: &'static [&'static str],
    pick: fn(&mut Receipt) -> &mut Disclosure,
    other: &Disclosure,
    foreign: &Disclosure,
    forged_checkpoint: String,
) -> Vec<Forgery> {
    let one = |what, change: Box<dyn Fn(&mut Disclosure)>| forgery(what, name, move |receipt| change(pick(receipt)));
    let (salt, path, other_path) = (other.salt.clone(), foreign.path.clone(), other.path.clone());
    let (checkpoint, origin) = (foreign.checkpoint.clone(), foreign.origin.clone());
    vec![
        one("another salt", Box::new(move |part| part.salt = salt.clone())),
        one("a salt that is cut", Box::new(|part| part.salt.truncate(16))),
        one("another private half", Box::new(|part| flip(&mut part.private, 7))),
        one("a private half that is cut", Box::new(|part| part.private.truncate(31))),
        one("the next index", Box::new(|part| part.index += 1)),
        one("an index far away", Box::new(|part| part.index = u64::MAX)),
        one("a checkpoint of the other log", Box::new(move |part| part.checkpoint = checkpoint.clone())),
        one(
            "a checkpoint by another key of the same name",
            Box::new(move |part| part.checkpoint = forged_checkpoint.clone()),
        ),
        one(
            "a checkpoint of another size",
            Box::new(|part| {
                let mut lines: Vec<String> = part.checkpoint.lines().map(str::to_owned).collect();
                lines[1] = (lines[1].parse::<u64>().unwrap() + 1).to_string();
                part.checkpoint = lines.join("\n") + "\n";
            }),
        ),
        one("a checkpoint that is none", Box::new(|part| part.checkpoint = "nothing".to_owned())),
        one("a path of the other log", Box::new(move |part| part.path = path.clone())),
        one("the path of another leaf", Box::new(move |part| part.path = other_path.clone())),
        one("a path that is too long", Box::new(|part| part.path.push(vec![0; 32].into()))),
        one("a path that is too short", Box::new(|part| drop(part.path.pop()))),
        one("a hash of the path that is cut", Box::new(|part| part.path[0].truncate(20))),
        one("the other log's origin", Box::new(move |part| part.origin = origin.clone())),
        one("nothing opened", Box::new(|part| part.shared.clear())),
    ]
}

fn consumer(receipt: &mut Receipt) -> &mut Disclosure {
    receipt.consumer.as_mut().unwrap()
}

fn provider(receipt: &mut Receipt) -> &mut Disclosure {
    receipt.provider.as_mut().unwrap()
}

/// Changes what the consumer's leaf opens to, as one who knows the format would.
fn reopen(receipt: &mut Receipt, change: impl Fn(&mut Shared)) {
    let part = consumer(receipt);
    let mut shared = Shared::decode(part.shared.clone()).unwrap();
    change(&mut shared);
    part.shared = shared.encode_to_vec().into();
}

/// A checkpoint of the same text, signed by a key that only bears the name.
fn signed_anew(part: &Disclosure) -> String {
    let key = SigningKey::generate(&part.origin).unwrap();
    Note::sign(Note::parse(&part.checkpoint).unwrap().text(), &[&key]).unwrap().to_string()
}

#[tokio::test]
async fn every_way_to_forge_a_receipt_is_found_and_names_the_part() {
    let federation = TestFederation::new().await.start();
    let first = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.exchange();
    for _ in 0..5 {
        federation.call("test.v1.Records/Find", r#"{"id": "2"}"#).await;
    }
    let second = federation.call("test.v1.Records/Find", r#"{"id": "2"}"#).await.exchange();
    let genuine = receipt_of(&federation, &first).await.receipt.unwrap();
    let other = receipt_of(&federation, &second).await.receipt.unwrap();
    let folder = outsider(&federation);
    for receipt in [&genuine, &other] {
        let (code, _, complaint) = verify(folder.path(), receipt);
        assert_eq!(code, 0, "{complaint}");
    }
    let (own, theirs) = (genuine.consumer.clone().unwrap(), genuine.provider.clone().unwrap());
    let (other_own, other_theirs) = (other.consumer.clone().unwrap(), other.provider.clone().unwrap());
    let mut forgeries = of_part(&["consumer"], consumer, &other_own, &theirs, signed_anew(&own));
    forgeries.extend(of_part(&["provider"], provider, &other_theirs, &own, signed_anew(&theirs)));
    for at in (0..own.shared.len()).step_by(own.shared.len() / 24) {
        forgeries.push(forgery("a byte of the consumer's half", &["consumer", "receipt"], move |r| {
            flip(&mut consumer(r).shared, at);
        }));
    }
    for at in (0..theirs.shared.len()).step_by(theirs.shared.len() / 12) {
        forgeries
            .push(forgery("a byte of the provider's half", &["provider"], move |r| flip(&mut provider(r).shared, at)));
    }
    let seal = other_theirs.seal.clone();
    let consumers_seal = Shared::decode(other_own.shared.clone()).unwrap().consumer_seal;
    forgeries.extend([
        forgery("the signature of another answer", &["provider"], move |r| provider(r).seal = seal.clone()),
        forgery("no signature", &["provider"], |r| provider(r).seal = None),
        forgery("a place in the batch that there is not", &["provider"], |r| {
            provider(r).seal.as_mut().unwrap().index += 1;
        }),
        forgery("the signature of another question", &["consumer"], move |r| {
            reopen(r, |s| s.consumer_seal.clone_from(&consumers_seal));
        }),
        forgery("another outcome", &["consumer"], |r| reopen(r, |s| s.status = 7)),
        forgery("another answer", &["consumer"], |r| reopen(r, |s| flip(&mut s.provider_closing, 20))),
        forgery("no provider's part", &["provider"], |r| r.provider = None),
        forgery("no consumer's part", &["receipt"], |r| r.consumer = None),
        forgery("another exchange's name", &["receipt"], move |r| r.exchange_id.clone_from(&second)),
        forgery("the provider's part of another exchange", &["provider"], move |r| {
            r.provider = Some(other_theirs.clone());
        }),
        forgery("the consumer's part of another exchange", &["receipt"], move |r| r.consumer = Some(other_own.clone())),
        forgery("the parts exchanged", &["consumer"], |r| std::mem::swap(&mut r.consumer, &mut r.provider)),
        forgery("a newer format", &["receipt"], |r| r.format = "drawbridge.receipt/v2".to_owned()),
        // Without checkpoints the signatures still have to hold.
        forgery("no checkpoints, and another answer", &["provider", "consumer"], |r| {
            (consumer(r).checkpoint, provider(r).checkpoint) = (String::new(), String::new());
            reopen(r, |s| flip(&mut s.provider_closing, 20));
        }),
    ]);
    for Forgery { what, forge, blamed } in forgeries {
        let mut forged = genuine.clone();
        forge(&mut forged);
        assert_ne!(forged, genuine, "{what}: nothing was forged");
        let (code, said, complaint) = verify(folder.path(), &forged);
        assert_eq!(code, 1, "{what} is taken for genuine:\n{said}");
        assert!(blamed.iter().any(|part| complaint.contains(&format!("{part}: "))), "{what}: {complaint}");
        assert!(said.is_empty() && complaint.contains("exchange.receipt"), "{what}: {said}{complaint}");
    }
}

#[tokio::test]
async fn a_receipt_proves_nothing_to_whom_the_directory_does_not_know() {
    let federation = TestFederation::new().await.start();
    let exchange = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.exchange();
    let receipt = receipt_of(&federation, &exchange).await.receipt.unwrap();
    let strangers = TestFederation::new().await;
    let (code, said, complaint) = verify(outsider(&strangers).path(), &receipt);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(complaint.contains("consumer: the signature is not by the gateway `council.example/main`"), "{complaint}");
}

#[tokio::test]
async fn a_receipt_without_checkpoints_says_that_no_log_covers_it_yet() {
    let federation = TestFederation::new().await.start();
    let exchange = federation.call("test.v1.Records/Find", r#"{"id": "1"}"#).await.exchange();
    let mut receipt = receipt_of(&federation, &exchange).await.receipt.unwrap();
    for part in [receipt.consumer.as_mut().unwrap(), receipt.provider.as_mut().unwrap()] {
        part.checkpoint.clear();
        part.path.clear();
    }
    let (code, said, complaint) = verify(outsider(&federation).path(), &receipt);
    assert_eq!(code, 0, "{complaint}");
    assert!(!said.contains("covered by a signed checkpoint") && complaint.contains("checkpoint"), "{said}{complaint}");
}
