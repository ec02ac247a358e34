//! What a provider may say of a streamed request that it answered.

use std::time::{Duration, SystemTime};

use federation::{
    Directory, EntryDraft, GatewayEntry,
    authority::{Authority, Flavour},
};
use note::SigningKey;

use super::*;

const EXCHANGE: [u8; 16] = [7; 16];

/// The council alone, whose gateway asks.
fn federation(gateway: &SigningKey) -> Federation {
    let id: GatewayId = "council.example/main".parse().unwrap();
    let member_key = SigningKey::generate("council.example/member").unwrap();
    let log = SigningKey::generate(&id.log_origin()).unwrap();
    let now = SystemTime::now();
    let draft = EntryDraft {
        member: id.member().clone(),
        display_name: "A council".to_owned(),
        version: 1,
        valid_until: now + Duration::from_hours(24),
        roots: vec![Authority::create(id.member(), Flavour::Production, now).unwrap().certificate().clone()],
        member_key: member_key.verifier(),
        former_member_keys: Vec::new(),
        gateways: vec![GatewayEntry::new(id, None, gateway.verifier(), log.verifier())],
        contracts: Vec::new(),
    };
    let mut directory = Directory::new();
    directory.add(draft.sign(&member_key, &[]).unwrap()).unwrap();
    Federation::load(directory, None).unwrap()
}

/// A batch of one, as `crates/ledger/FORMAT.md` has it.
fn seal(key: &SigningKey, claims: &[u8]) -> WireSeal {
    let length = u32::try_from(claims.len()).unwrap().to_be_bytes();
    let root = merkle::leaf_hash(&[CONSUMER_CLOSING.as_bytes(), b"\n", &length, claims].concat());
    let signed = [&b"drawbridge.seal/v1\n"[..], &1_u32.to_be_bytes(), &root.0].concat();
    WireSeal { signature: key.sign(&signed).to_vec().into(), size: 1, index: 0, path: vec![] }
}

#[test]
fn what_a_provider_says_that_it_read_is_held_against_what_was_sent() {
    let key = SigningKey::generate("council.example/gateway/main").unwrap();
    let federation = federation(&key);
    let claims = ConsumerClaims {
        exchange_id: EXCHANGE.to_vec().into(),
        consumer: "council.example".to_owned(),
        consumer_gateway: "main".to_owned(),
        ..ConsumerClaims::default()
    };
    let own =
        ConsumerClosing { exchange_id: EXCHANGE.to_vec().into(), request_digest: vec![1; 32].into(), messages: 3 };
    let sent = |own: &ConsumerClosing, key: &SigningKey| {
        let bytes = own.encode_to_vec();
        let seal = Some(seal(key, &bytes));
        Shared { consumer_closing: bytes.into(), consumer_closing_seal: seal, ..Shared::default() }
    };
    let read = |messages, digest: u8, request_closed| ProviderClosing {
        request_messages: messages,
        request_digest: vec![digest; 32].into(),
        request_closed,
        ..ProviderClosing::default()
    };
    let check = |shared: &Shared, closing: &ProviderClosing| {
        check_request(shared, &claims, closing, &federation).map_err(|fault| fault.what)
    };
    let whole = sent(&own, &key);
    assert_eq!(check(&whole, &read(3, 1, true)), Ok(()));
    let other = Err("the request that it read is not the one that was sent".to_owned());
    assert_eq!(check(&whole, &read(2, 1, true)), other);
    assert_eq!(check(&whole, &read(3, 2, true)), other);
    // It answered before the end: what it had by then is less, and has another digest.
    assert_eq!(check(&whole, &read(2, 2, false)), Ok(()));

    // A request that its sender never closed cannot have been read to its end.
    let unclosed = Err("it closed a request that the consumer did not".to_owned());
    assert_eq!(check(&Shared::default(), &read(3, 1, true)), unclosed);
    assert_eq!(check(&Shared::default(), &read(3, 1, false)), Ok(()));

    let foreign = ConsumerClosing { exchange_id: vec![8; 16].into(), ..own.clone() };
    let of_another = Err("the closing claims are of another exchange".to_owned());
    assert_eq!(check(&sent(&foreign, &key), &read(3, 1, true)), of_another);
    let stranger = SigningKey::generate("council.example/gateway/main").unwrap();
    assert!(check(&sent(&own, &stranger), &read(3, 1, true)).unwrap_err().contains("the signature is not by"));
}
