//! Receipts: proof of one exchange that a third party checks with the directory alone.
//!
//! A receipt opens the shared half of one or both leaves and shows that they are in the logs. It names the private halves
//! by their hash only, so checking one needs nobody's log and nobody's key but the public ones in the directory.

use bytes::Bytes;
use federation::{Federation, GatewayId};
use ledger::{Checkpoint, Hash, Promise, Seal, SealVerifier, merkle};
use note::Note;
use prost::Message;
use proto::{
    exchange::{Disclosure, Receipt},
    link::{ConsumerClaims, ConsumerClosing, LeafOpening, ProviderClosing, Seal as WireSeal},
    records::{Kind, Shared, Side},
};

use crate::{ExchangeId, Record, half_hash, provider_leaf_of, provider_shared};

/// First line of what a receipt says it is.
pub const FORMAT: &str = "drawbridge.receipt/v1";

/// Tag under which a consumer's gateway signs its opening claims.
pub const CONSUMER_CLAIMS: &str = "drawbridge.link.v1.ConsumerClaims";
/// Tag under which a consumer's gateway signs the whole of a streamed request.
pub const CONSUMER_CLOSING: &str = "drawbridge.link.v1.ConsumerClosing";
/// Tag under which a provider's gateway signs its opening claims.
pub const PROVIDER_OPENING: &str = "drawbridge.link.v1.ProviderOpening";
/// Tag under which a provider's gateway signs its closing claims.
pub const PROVIDER_CLOSING: &str = "drawbridge.link.v1.ProviderClosing";

/// Tag under which a consumer's gateway signs a refusal of its own: the exchange's id, with the promise of the leaf.
pub const LOCAL_REFUSAL: &str = "drawbridge.link.v1.LocalRefusal";

/// What a receipt proves.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The exchange.
    pub exchange: ExchangeId,
    /// What the consumer's gateway signed. Where it refused before it asked anybody, no more than its own name and the time
    /// in the exchange's id: `method` is empty then.
    pub claims: ConsumerClaims,
    /// What the provider's gateway signed; absent where it never answered.
    pub closing: Option<ProviderClosing>,
    /// How the consumer's gateway settled it.
    pub consumer: Shared,
    /// A checkpoint of the consumer's log covers its leaf.
    pub consumer_covered: bool,
    /// A checkpoint of the provider's log covers its leaf.
    pub provider_covered: bool,
}

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
#[error("{where_}: {what}")]
pub struct Fault {
    /// The part of the receipt.
    pub where_: &'static str,
    /// What is wrong with it.
    pub what: String,
}

fn fault(where_: &'static str, what: impl Into<String>) -> Fault {
    Fault { where_, what: what.into() }
}

/// Makes the receipt of an exchange that the consumer's gateway settled in `record`. Checkpoints and paths are left empty.
///
/// `None` when the record has been erased or settles nothing.
#[must_use]
pub fn of(record: &Record, origin: &str) -> Option<Receipt> {
    let opened = record.opened.as_ref()?;
    let exchange = record.exchange().filter(|_| record.settles())?;
    let consumer = Disclosure {
        origin: origin.to_owned(),
        index: record.index,
        shared: opened.shared_bytes.clone().into(),
        salt: opened.salt.to_vec().into(),
        private: record.leaf.private.0.to_vec().into(),
        seal: record.seal.as_ref().map(seal_to_wire),
        checkpoint: String::new(),
        path: vec![],
    };
    let provider = opened.shared.provider_closing_leaf.as_ref().map(|leaf| {
        let closing = ProviderClosing::decode(opened.shared.provider_closing.clone()).unwrap_or_default();
        let shared = providers_shared(&opened.shared, &closing);
        Disclosure {
            origin: leaf.origin.clone(),
            index: leaf.index,
            shared: shared.encode_to_vec().into(),
            salt: leaf.salt.clone(),
            private: leaf.private.clone(),
            seal: opened.shared.provider_closing_seal.clone(),
            checkpoint: String::new(),
            path: vec![],
        }
    });
    Some(Receipt { format: FORMAT.to_owned(), exchange_id: exchange.to_string(), consumer: Some(consumer), provider })
}

/// Rebuilds the provider's shared half from what the consumer has of the exchange, and the closing claims in it.
#[must_use]
pub fn providers_shared(consumer: &Shared, closing: &ProviderClosing) -> Shared {
    let kind = if closing.refusal.is_empty() { Kind::Outcome } else { Kind::Refusal };
    let mut shared = provider_shared(kind, consumer);
    if !closing.request_closed {
        // The provider answered before it had them.
        (shared.consumer_closing, shared.consumer_closing_seal) = Default::default();
    }
    shared
}

/// Converts a seal from the wire. `None` where a length is wrong.
#[must_use]
pub fn seal_from_wire(seal: &WireSeal) -> Option<Seal> {
    let path = seal.path.iter().map(|h| h.as_ref().try_into().map(Hash)).collect::<Result<_, _>>().ok()?;
    Some(Seal { signature: seal.signature.as_ref().try_into().ok()?, size: seal.size, index: seal.index, path })
}

/// Converts a seal to the wire.
#[must_use]
pub fn seal_to_wire(seal: &Seal) -> WireSeal {
    // All of it in one piece, of which the parts are views.
    let mut bytes = Vec::with_capacity(seal.signature.len() + 32 * seal.path.len());
    bytes.extend_from_slice(&seal.signature);
    bytes.extend(seal.path.iter().flat_map(|hash| hash.0));
    let mut path = Bytes::from(bytes);
    let signature = path.split_to(seal.signature.len());
    let path = std::iter::repeat_with(|| path.split_to(32)).take(seal.path.len()).collect();
    WireSeal { signature, size: seal.size, index: seal.index, path }
}

/// Reads the promise out of an opened leaf. `None` where a length is wrong.
#[must_use]
pub fn promise_of(leaf: &LeafOpening) -> Option<Promise> {
    Some(Promise { origin: leaf.origin.clone(), index: leaf.index, leaf: Hash(leaf.leaf.as_ref().try_into().ok()?) })
}

/// Checks every signature, hash and path of a receipt against the keys in the directory.
///
/// # Errors
///
/// The first [`Fault`], with the part of the receipt that it is in.
pub fn verify(receipt: &Receipt, federation: &Federation) -> Result<Verified, Fault> {
    if receipt.format != FORMAT {
        let what = format!("`{}` is not a format that this version reads; it reads `{FORMAT}`", receipt.format);
        return Err(fault("receipt", what));
    }
    let consumer = receipt.consumer.as_ref().ok_or_else(|| fault("receipt", "the consumer's part is missing"))?;
    let shared =
        Shared::decode(consumer.shared.clone()).map_err(|_| fault("consumer", "the shared half cannot be read"))?;
    if shared.side() != Side::Consumer {
        return Err(fault("consumer", "the shared half is not a consumer's"));
    }
    let exchange = ExchangeId::from_bytes(&shared.exchange_id).map_err(|e| fault("consumer", e.to_string()))?;
    if exchange.to_string() != receipt.exchange_id {
        return Err(fault("receipt", "it names another exchange than the consumer's leaf"));
    }
    let leaf = leaf_hash(consumer, "consumer")?;
    let (claims, asker) = asked(&shared, consumer, exchange, federation)?;
    if consumer.seal.is_some() || shared.consumer_claims.is_empty() {
        let promise = Promise { origin: consumer.origin.clone(), index: consumer.index, leaf };
        let signed = (LOCAL_REFUSAL, &shared.exchange_id[..], Some(&promise));
        check_seal(federation, &asker, signed, consumer.seal.as_ref(), "consumer")?;
    }
    let consumer_covered = covered(consumer, leaf, federation, &asker, "consumer")?;
    let (closing, provider_covered) = match &receipt.provider {
        None if shared.provider_closing_leaf.is_some() => {
            return Err(fault(
                "provider",
                "the part is missing, though the consumer's leaf holds what the provider signed",
            ));
        }
        None => (None, false),
        Some(provider) => {
            let (closing, covered) = verify_provider(provider, &shared, &claims, federation)?;
            (Some(closing), covered)
        }
    };
    Ok(Verified { exchange, claims, closing, consumer: shared, consumer_covered, provider_covered })
}

/// Returns the claims, checked against their signature, and the gateway that made them. A gateway that refused a system of its
/// own signed none: it is known by its log then.
fn asked(
    shared: &Shared,
    part: &Disclosure,
    exchange: ExchangeId,
    federation: &Federation,
) -> Result<(ConsumerClaims, GatewayId), Fault> {
    if shared.consumer_claims.is_empty() {
        let listed = federation.log(&part.origin).map(|entry| entry.id.clone());
        let asker = listed
            .ok_or_else(|| fault("consumer", format!("the directory does not list the log `{}`", part.origin)))?;
        let claims = ConsumerClaims {
            exchange_id: shared.exchange_id.clone(),
            consumer: asker.member().to_string(),
            consumer_gateway: asker.name().to_owned(),
            time: exchange.time(),
            ..ConsumerClaims::default()
        };
        return Ok((claims, asker));
    }
    let claims = ConsumerClaims::decode(shared.consumer_claims.clone())
        .map_err(|_| fault("consumer", "the claims cannot be read"))?;
    if claims.exchange_id != shared.exchange_id {
        return Err(fault("consumer", "the claims are of another exchange"));
    }
    let asker = gateway(&claims.consumer, &claims.consumer_gateway, "consumer")?;
    let signed = (CONSUMER_CLAIMS, &shared.consumer_claims[..], None);
    check_seal(federation, &asker, signed, shared.consumer_seal.as_ref(), "consumer")?;
    Ok((claims, asker))
}

/// Of a streamed request: what the consumer's gateway signed of the whole of it, and what the provider's says that it read.
fn check_request(
    consumer: &Shared,
    claims: &ConsumerClaims,
    closing: &ProviderClosing,
    federation: &Federation,
) -> Result<(), Fault> {
    if consumer.consumer_closing.is_empty() {
        let closed = closing.request_closed;
        return if closed { Err(fault("provider", "it closed a request that the consumer did not")) } else { Ok(()) };
    }
    let asker = gateway(&claims.consumer, &claims.consumer_gateway, "consumer")?;
    let signed = (CONSUMER_CLOSING, &consumer.consumer_closing[..], None);
    check_seal(federation, &asker, signed, consumer.consumer_closing_seal.as_ref(), "consumer")?;
    let own = ConsumerClosing::decode(consumer.consumer_closing.clone())
        .map_err(|_| fault("consumer", "the closing claims cannot be read"))?;
    if own.exchange_id != claims.exchange_id {
        return Err(fault("consumer", "the closing claims are of another exchange"));
    }
    let same = own.messages == closing.request_messages && own.request_digest == closing.request_digest;
    if closing.request_closed && !same {
        return Err(fault("provider", "the request that it read is not the one that was sent"));
    }
    Ok(())
}

fn verify_provider(
    part: &Disclosure,
    consumer: &Shared,
    claims: &ConsumerClaims,
    federation: &Federation,
) -> Result<(ProviderClosing, bool), Fault> {
    let closing = ProviderClosing::decode(consumer.provider_closing.clone())
        .map_err(|_| fault("provider", "the closing claims cannot be read"))?;
    if closing.exchange_id != claims.exchange_id || closing.provider != claims.provider {
        return Err(fault("provider", "the closing claims are of another exchange"));
    }
    if closing.consumer_claims_digest.as_ref() != half_hash(&[], &consumer.consumer_claims).0 {
        return Err(fault("provider", "the closing claims answer other opening claims"));
    }
    let shared = providers_shared(consumer, &closing);
    check_request(consumer, claims, &closing, federation)?;
    if shared.encode_to_vec() != part.shared {
        return Err(fault("provider", "the shared half is not the one that both sides' claims make"));
    }
    let hash = leaf_hash(part, "provider")?;
    let leaf = consumer.provider_closing_leaf.as_ref().ok_or_else(|| fault("provider", "the promise is missing"))?;
    let recomputed = provider_leaf_of(&shared, leaf).map(|l| l.hash());
    let promise = promise_of(leaf).filter(|p| recomputed == Some(p.leaf) && p.leaf == hash);
    let promise = promise.ok_or_else(|| fault("provider", "the leaf is not the one that was promised"))?;
    if promise.origin != part.origin || promise.index != part.index {
        return Err(fault("provider", "the leaf lies elsewhere than was promised"));
    }
    let answerer = gateway(&closing.provider, &closing.provider_gateway, "provider")?;
    let signed = (PROVIDER_CLOSING, &consumer.provider_closing[..], Some(&promise));
    check_seal(federation, &answerer, signed, part.seal.as_ref(), "provider")?;
    Ok((closing, covered(part, hash, federation, &answerer, "provider")?))
}

fn gateway(member: &str, name: &str, part: &'static str) -> Result<GatewayId, Fault> {
    format!("{member}/{name}").parse().map_err(|_| fault(part, "the claims name no valid gateway"))
}

fn check_seal(
    federation: &Federation,
    gateway: &GatewayId,
    (tag, claims, promise): (&str, &[u8], Option<&Promise>),
    seal: Option<&WireSeal>,
    part: &'static str,
) -> Result<(), Fault> {
    let seal = seal.and_then(seal_from_wire).ok_or_else(|| fault(part, "the signature is missing or malformed"))?;
    let keys = federation.gateway_keys(gateway);
    if keys.is_empty() {
        return Err(fault(part, format!("the directory does not list the gateway `{gateway}`")));
    }
    if keys.iter().any(|key| SealVerifier::new(key.clone()).verify(tag, claims, promise, &seal).is_ok()) {
        return Ok(());
    }
    Err(fault(part, format!("the signature is not by the gateway `{gateway}` over these claims")))
}

fn leaf_hash(part: &Disclosure, name: &'static str) -> Result<Hash, Fault> {
    let private: [u8; 32] =
        part.private.as_ref().try_into().map_err(|_| fault(name, "the private half's hash is malformed"))?;
    Ok(ledger::Leaf { shared: half_hash(&part.salt, &part.shared), private: Hash(private) }.hash())
}

/// Checks checkpoint and path. `false` when the receipt carries none yet.
fn covered(
    part: &Disclosure,
    leaf: Hash,
    federation: &Federation,
    gateway: &GatewayId,
    name: &'static str,
) -> Result<bool, Fault> {
    if part.checkpoint.is_empty() {
        return Ok(false);
    }
    let note = Note::parse(&part.checkpoint).map_err(|e| fault(name, format!("the checkpoint cannot be read: {e}")))?;
    let listed = federation.log(&part.origin).is_some_and(|entry| entry.id == *gateway);
    if !listed {
        return Err(fault(name, format!("`{}` is not the log of the gateway `{gateway}`", part.origin)));
    }
    let keys = federation.log_keys(&part.origin);
    let by = note.verified_by(&keys).map_err(|e| fault(name, format!("the checkpoint's signature is wrong: {e}")))?;
    if by.is_empty() {
        return Err(fault(name, format!("the checkpoint is not signed by the log key of `{gateway}`")));
    }
    let checkpoint =
        Checkpoint::parse(note.text()).map_err(|e| fault(name, format!("the checkpoint cannot be read: {e}")))?;
    if checkpoint.origin != part.origin {
        return Err(fault(name, format!("the checkpoint is of the log `{}`", checkpoint.origin)));
    }
    let path: Option<Vec<Hash>> = part.path.iter().map(|h| h.as_ref().try_into().ok().map(Hash)).collect();
    let path = path.ok_or_else(|| fault(name, "the path is malformed"))?;
    if merkle::verify_inclusion(leaf, part.index, checkpoint.size, &path, checkpoint.root).is_err() {
        return Err(fault(name, "the leaf is not in the log that the checkpoint signs"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
