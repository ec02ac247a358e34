//! A record before it is in the log: two salted halves and the leaf that commits to them.
//!
//! The surprising fact: the consumer recomputes the provider's shared half byte for byte, so the encoding of
//! [`Shared`] is a format, not a convenience.

use aws_lc_rs::digest;
use ledger::{AppendError, Hash, Leaf, random};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use proto::{
    link::LeafOpening,
    records::{Kind, Private, Shared, Side},
};

use crate::ExchangeId;

/// Largest body of a record, in bytes. The limits on metadata keep a record well below it.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024;

/// A record that is about to be written.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What both sides may know.
    pub shared: Shared,
    /// What only this side knows.
    pub private: Private,
}

/// A draft with its salts, leaf and body.
pub struct Prepared {
    /// The commitment that goes into the tree.
    pub leaf: Leaf,
    /// The body that is kept beside it.
    pub body: Vec<u8>,
    /// Salt of the shared half.
    pub salt: [u8; 32],
    /// The record's time, in milliseconds since the Unix epoch.
    pub(crate) time: u64,
    /// The exchange that it settles, and whether as its consumer.
    pub(crate) settles: Option<(ExchangeId, bool)>,
}

impl Draft {
    /// Draws salts and computes leaf and body.
    ///
    /// # Errors
    ///
    /// As [`Prepared::new`].
    pub fn prepare(&self) -> Result<Prepared, AppendError> {
        Prepared::new(&self.shared, &self.private)
    }
}

impl Prepared {
    /// Draws salts and computes leaf and body of a record with these halves.
    ///
    /// # Errors
    ///
    /// [`AppendError::Stopped`] when the system gives no random bytes, [`AppendError::TooLarge`] above 32 KiB.
    pub fn new(shared: &Shared, private: &Private) -> Result<Self, AppendError> {
        let mut salts = [[0_u8; 32]; 2];
        random::fill(salts.as_flattened_mut()).map_err(|_| AppendError::Stopped)?;
        let [shared_salt, private_salt] = salts;
        let (shared_length, private_length) = (shared.encoded_len(), private.encoded_len());
        let mut body = Vec::with_capacity(shared_length + private_length + OVERHEAD);
        let shared_hash = half(&mut body, (1, &shared_salt), (2, shared, shared_length));
        let private_hash = half(&mut body, (3, &private_salt), (4, private, private_length));
        if body.len() > MAX_BODY_BYTES {
            return Err(AppendError::TooLarge { bytes: body.len(), limit: MAX_BODY_BYTES });
        }
        let settles = settled_exchange(shared);
        let leaf = Leaf { shared: shared_hash, private: private_hash };
        Ok(Self { leaf, body, salt: shared_salt, time: private.time, settles })
    }
}

/// Bytes of a body beside its halves, at most: two salts, and a key and a length before each of four fields.
const OVERHEAD: usize = 2 * 32 + 4 * (1 + 5);

/// Writes a salt and a half of a record as the two fields of a [`Body`](proto::records::Body) that they are, and returns the half's hash.
fn half(
    body: &mut Vec<u8>,
    (salt_field, salt): (u32, &[u8; 32]),
    (field, half, length): (u32, &impl Message, usize),
) -> Hash {
    encode_key(salt_field, WireType::LengthDelimited, body);
    encode_varint(32, body);
    body.extend_from_slice(salt);
    // A field that is empty is not written, as in every message.
    if length == 0 {
        return half_hash(salt, &[]);
    }
    encode_key(field, WireType::LengthDelimited, body);
    encode_varint(length as u64, body);
    let start = body.len();
    half.encode_raw(body);
    half_hash(salt, body.get(start..).unwrap_or_default())
}

fn settled_exchange(shared: &Shared) -> Option<(ExchangeId, bool)> {
    let settles = matches!(shared.kind(), Kind::Outcome | Kind::Refusal);
    let id = settles.then(|| ExchangeId::from_bytes(&shared.exchange_id).ok()).flatten()?;
    Some((id, shared.side() == Side::Consumer))
}

/// Returns SHA-256(salt ‖ half), what a leaf holds of one half of a record.
#[must_use]
pub fn half_hash(salt: &[u8], half: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt);
    context.update(half);
    let mut hash = [0_u8; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Hash(hash)
}

/// Returns the shared half of a provider's record, out of what crossed the link as either side has it.
///
/// Both sides build it with this function: the provider to record it, the consumer to recompute the leaf that it was
/// promised.
#[must_use]
pub fn provider_shared(kind: Kind, crossed: &Shared) -> Shared {
    Shared {
        kind: kind.into(),
        side: Side::Provider.into(),
        exchange_id: crossed.exchange_id.clone(),
        consumer_claims: crossed.consumer_claims.clone(),
        consumer_seal: crossed.consumer_seal.clone(),
        consumer_closing: crossed.consumer_closing.clone(),
        consumer_closing_seal: crossed.consumer_closing_seal.clone(),
        provider_opening: crossed.provider_opening.clone(),
        provider_closing: crossed.provider_closing.clone(),
        ..Shared::default()
    }
}

/// Returns the leaf that `opening` and the shared half make. `None` where a length is wrong.
#[must_use]
pub fn provider_leaf_of(shared: &Shared, opening: &LeafOpening) -> Option<Leaf> {
    let private: [u8; 32] = opening.private.as_ref().try_into().ok()?;
    if opening.salt.len() != 32 {
        return None;
    }
    Some(Leaf { shared: half_hash(&opening.salt, &shared.encode_to_vec()), private: Hash(private) })
}

#[cfg(test)]
mod tests {
    use proto::link::Seal;

    use super::*;

    fn crossed(claims: &'static [u8], seal: Option<Seal>) -> Shared {
        let crossed = Shared {
            exchange_id: vec![7; 16].into(),
            consumer_claims: claims.into(),
            consumer_seal: seal,
            provider_closing: b"closing".as_slice().into(),
            // What is not evidence of both sides has no place in it.
            messages: 5,
            ..Shared::default()
        };
        provider_shared(Kind::Outcome, &crossed)
    }

    #[test]
    fn the_consumer_recomputes_the_providers_leaf() {
        let seal = Seal { signature: vec![1; 64].into(), size: 1, index: 0, path: vec![] };
        let shared = crossed(b"claims", Some(seal.clone()));
        let prepared = Draft { shared: shared.clone(), private: Private { detail: "x".into(), ..Private::default() } }
            .prepare()
            .unwrap();
        let opening = LeafOpening {
            origin: "a.example/log/main".into(),
            index: 4,
            leaf: prepared.leaf.hash().0.to_vec().into(),
            salt: prepared.salt.to_vec().into(),
            private: prepared.leaf.private.0.to_vec().into(),
        };
        let again = crossed(b"claims", Some(seal));
        assert_eq!(provider_leaf_of(&again, &opening).unwrap().hash(), prepared.leaf.hash());
        let other = crossed(b"other claims", None);
        assert_ne!(provider_leaf_of(&other, &opening).unwrap().hash(), prepared.leaf.hash());
    }

    #[test]
    fn the_body_is_the_message_that_its_format_says() {
        use proto::records::Body;
        let shared = crossed(b"claims", None);
        let private = Private { detail: "x".repeat(300), ..Private::default() };
        for (shared, private) in [(shared.clone(), private), (shared, Private::default()), Default::default()] {
            let prepared = Prepared::new(&shared, &private).unwrap();
            let body = Body::decode(prepared.body.as_slice()).unwrap();
            assert_eq!(body.encode_to_vec(), prepared.body);
            assert_eq!(
                (body.shared.to_vec(), body.private.to_vec()),
                (shared.encode_to_vec(), private.encode_to_vec())
            );
            assert_eq!(body.shared_salt, prepared.salt.as_slice());
            let hashes = (half_hash(&body.shared_salt, &body.shared), half_hash(&body.private_salt, &body.private));
            assert_eq!(hashes, (prepared.leaf.shared, prepared.leaf.private));
            assert_ne!(body.shared_salt, body.private_salt);
        }
    }

    #[test]
    fn the_same_record_twice_has_two_leaves() {
        let one = Draft::default().prepare().unwrap();
        let two = Draft::default().prepare().unwrap();
        assert_ne!(one.leaf.hash(), two.leaf.hash());
    }

    #[test]
    fn the_shared_half_is_encoded_as_committed() {
        let crossed = Shared {
            exchange_id: vec![1, 2].into(),
            consumer_claims: b"c".as_slice().into(),
            provider_closing: b"p".as_slice().into(),
            ..Shared::default()
        };
        let shared = provider_shared(Kind::Outcome, &crossed);
        assert_eq!(shared.encode_to_vec(), [0x08, 3, 0x10, 2, 0x1a, 2, 1, 2, 0x22, 1, b'c', 0x4a, 1, b'p']);
    }

    #[test]
    fn a_record_above_its_limit_is_refused() {
        let private = Private { detail: "d".repeat(MAX_BODY_BYTES), ..Private::default() };
        assert!(Draft { shared: Shared::default(), private }.prepare().is_err());
    }
}
