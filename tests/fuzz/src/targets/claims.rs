//! What crosses a link, lies in a record or is handed to an auditor as protobuf.

use std::fmt::Debug;

use ledger::{Hash, Leaf, Stored};
use prost::Message;
use proto::{
    exchange::Receipt,
    link::{
        ConsumerClaims, ConsumerClosing, LeafOpening, OpenRequest, OpenResponse, ProveRequest, ProveResponse,
        ProviderClosing, ProviderOpening, Seal,
    },
    records::{Body, Private, Shared},
};
use records::{Record, half_hash, provider_leaf_of, receipt};

use crate::fixtures::FEDERATION;

/// Reads the bytes as each of the messages.
pub fn run(input: &[u8]) {
    let _ = round_trip::<ConsumerClaims>(input);
    let _ = round_trip::<ConsumerClosing>(input);
    let _ = round_trip::<ProviderOpening>(input);
    let _ = round_trip::<OpenRequest>(input);
    let _ = round_trip::<OpenResponse>(input);
    let _ = round_trip::<ProveRequest>(input);
    let _ = round_trip::<ProveResponse>(input);
    let _ = round_trip::<Private>(input);
    if let Some(seal) = round_trip::<Seal>(input)
        && let Some(read) = receipt::seal_from_wire(&seal)
    {
        assert_eq!(receipt::seal_to_wire(&read), seal);
    }
    let closing = round_trip::<ProviderClosing>(input);
    if let Some(shared) = round_trip::<Shared>(input) {
        let _ = receipt::providers_shared(&shared, &closing.unwrap_or_default());
        if let Some(opening) = round_trip::<LeafOpening>(input) {
            let _ = receipt::promise_of(&opening);
            let _ = provider_leaf_of(&shared, &opening);
        }
    }
    if let Some(receipt) = round_trip::<Receipt>(input)
        && let Ok(verified) = receipt::verify(&receipt, &FEDERATION)
    {
        assert_eq!(receipt.exchange_id, verified.exchange.to_string(), "a receipt proves the exchange that it names");
    }
    record(input);
}

/// A body that fits its leaf, whatever it holds.
fn record(input: &[u8]) {
    let Some(body) = round_trip::<Body>(input) else { return };
    let leaf = Leaf {
        shared: half_hash(&body.shared_salt, &body.shared),
        private: half_hash(&body.private_salt, &body.private),
    };
    let stored = |leaf| Stored { index: 3, leaf, seal: None, body: Some(input.to_vec()) };
    if let Ok(record) = Record::open(stored(leaf)) {
        let _ = (
            record.kind(),
            record.side(),
            record.exchange(),
            record.settles(),
            record.opened.as_ref().map(|halves| (halves.status(), halves.messages())),
        );
        let _ = receipt::of(&record, "council.example/log/main");
        assert!(Record::open(stored(Leaf { private: Hash::ZERO, ..leaf })).is_err(), "a body belongs to one leaf");
    }
}

/// Reads a message; what is written of it reads back the same.
fn round_trip<M: Message + Default + PartialEq + Debug>(input: &[u8]) -> Option<M> {
    let message = M::decode(input).ok()?;
    assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    Some(message)
}
