//! Every signature in a record, held against the keys in the directory.

use federation::{Federation, GatewayId};
use ledger::{Promise, SealVerifier};
use proto::link::{LeafOpening, Seal};
use records::{Halves, Record, Side, receipt};

use super::view::reason;

/// Verifies the signatures in a record, and returns how many there are.
///
/// A consumer's record that settles is held against its receipt as a whole: leaves, hashes and lists too. Not so what the
/// consumer's gateway itself refused as evidence: there only the signatures hold, and the record says what does not.
pub(super) fn verify(record: &Record, origin: &str, federation: &Federation) -> Result<u64, String> {
    let Some(opened) = &record.opened else { return Ok(0) };
    if record.side() != Side::Consumer {
        return Ok(own(record, origin, federation)?.saturating_add(asked(opened, federation)?));
    }
    let receipt = receipt::of(record, origin).filter(|_| reason(record) != "EVIDENCE_MISMATCH");
    let Some(receipt) = receipt else {
        let ours = own(record, origin, federation)?.saturating_add(asked(opened, federation)?);
        return Ok(ours.saturating_add(answered(record, opened, federation, Part::Both)?));
    };
    let verified = receipt::verify(&receipt, federation).map_err(|fault| fault.to_string())?;
    let closed = verified.closing.is_some();
    let proven = [record.seal.is_some(), opened.claims.is_some(), closed];
    let proven = proven.into_iter().map(u64::from).sum::<u64>();
    // A receipt says nothing of the opening claims, and nothing of a refusal that its gateway did not record by itself.
    let rest = answered(record, opened, federation, if closed { Part::Opening } else { Part::Both })?;
    Ok(proven.saturating_add(rest))
}

/// What of a provider's claims is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Opening,
    Both,
}

/// The consumer's signature over its claims.
fn asked(opened: &Halves, federation: &Federation) -> Result<u64, String> {
    let Some(seal) = &opened.shared.consumer_seal else { return Ok(0) };
    let claims = opened.claims.as_ref().ok_or("there is a signature over claims that cannot be read")?;
    let gateway = gateway(&claims.consumer, &claims.consumer_gateway)?;
    let signed = (receipt::CONSUMER_CLAIMS, &opened.shared.consumer_claims[..], None);
    check(federation, &gateway, signed, &read(seal)?)?;
    Ok(1)
}

/// The signature that lies beside the leaf, by the gateway whose log it is.
fn own(record: &Record, origin: &str, federation: &Federation) -> Result<u64, String> {
    let (Some(seal), Some(opened)) = (&record.seal, &record.opened) else { return Ok(0) };
    let shared = &opened.shared;
    let (tag, signed) = match record.side() {
        Side::Consumer => (receipt::LOCAL_REFUSAL, &shared.exchange_id),
        Side::Provider if !shared.provider_closing.is_empty() => (receipt::PROVIDER_CLOSING, &shared.provider_closing),
        Side::Provider if !shared.provider_opening.is_empty() => (receipt::PROVIDER_OPENING, &shared.provider_opening),
        Side::Provider | Side::Unspecified => {
            return Err("there is a signature, and nothing that it could be over".to_owned());
        }
    };
    let keeper = federation.log(origin).ok_or_else(|| format!("the directory does not list the log `{origin}`"))?;
    let promise = Promise { origin: origin.to_owned(), index: record.index, leaf: record.leaf.hash() };
    check(federation, &keeper.id, (tag, signed, Some(&promise)), seal)?;
    Ok(1)
}

/// What the provider's gateway signed, as the consumer's record keeps it.
fn answered(record: &Record, opened: &Halves, federation: &Federation, part: Part) -> Result<u64, String> {
    let shared = &opened.shared;
    let opening = (&shared.provider_opening, &shared.provider_opening_seal, &shared.provider_opening_leaf);
    let closing = (&shared.provider_closing, &shared.provider_closing_seal, &shared.provider_closing_leaf);
    let parts = [(receipt::PROVIDER_OPENING, opening), (receipt::PROVIDER_CLOSING, closing)];
    let mut count = 0_u64;
    for (tag, (signed, seal, leaf)) in parts.into_iter().take(if part == Part::Both { 2 } else { 1 }) {
        let Some(seal) = seal else { continue };
        // A provider that could not take the claims for the consumer's signed a promise that is not kept with them.
        if leaf.is_none() && reason(record) == "BAD_CLAIMS" {
            continue;
        }
        let claims =
            opened.claims.as_ref().ok_or("the provider's signature stands beside no claims of the consumer's")?;
        let gateway = gateway(&claims.provider, &claims.provider_gateway)?;
        let promise = leaf.as_ref().map(promised).transpose()?;
        check(federation, &gateway, (tag, signed, promise.as_ref()), &read(seal)?)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn promised(leaf: &LeafOpening) -> Result<Promise, String> {
    receipt::promise_of(leaf).ok_or_else(|| "a promise is malformed".to_owned())
}

fn gateway(member: &str, name: &str) -> Result<GatewayId, String> {
    format!("{member}/{name}").parse().map_err(|_| "the claims name no valid gateway".to_owned())
}

fn read(seal: &Seal) -> Result<ledger::Seal, String> {
    receipt::seal_from_wire(seal).ok_or_else(|| "a signature is malformed".to_owned())
}

/// Checks a signature over (tag, bytes, promise).
fn check(
    federation: &Federation,
    gateway: &GatewayId,
    (tag, signed, promise): (&str, &[u8], Option<&Promise>),
    seal: &ledger::Seal,
) -> Result<(), String> {
    let keys = federation.gateway_keys(gateway);
    if keys.is_empty() {
        return Err(format!("the directory does not list the gateway `{gateway}`"));
    }
    let by = |key| SealVerifier::new(key).verify(tag, signed, promise, seal).is_ok();
    if keys.into_iter().any(by) {
        Ok(())
    } else {
        Err(format!("the signature is not by the gateway `{gateway}` over these claims"))
    }
}
