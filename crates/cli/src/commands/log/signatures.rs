//! Every signature in a record, held against the keys in the directory.

use federation::{Federation, GatewayId};
use ledger::{Promise, SealVerifier};
use proto::link::Seal;
use records::{Record, Side, receipt};

use super::view::reason;

/// Verifies the signatures in a record, and returns how many there are.
///
/// What the consumer's gateway itself refused as evidence is left aside: the record says that it does not verify.
pub(super) fn verify(record: &Record, origin: &str, federation: &Federation) -> Result<u64, String> {
    let Some(opened) = &record.opened else { return Ok(0) };
    let Some(claims) = opened.claims.as_ref() else { return Ok(0) };
    if record.side() == Side::Consumer && record.settles() && reason(record) != "EVIDENCE_MISMATCH" {
        let Some(receipt) = receipt::of(record, origin) else { return Ok(0) };
        let verified = receipt::verify(&receipt, federation).map_err(|fault| fault.to_string())?;
        return Ok(if verified.closing.is_some() { 2 } else { 1 });
    }
    let shared = &opened.shared;
    let mut count = 0_u64;
    if let Some(seal) = &shared.consumer_seal {
        let gateway = gateway(&claims.consumer, &claims.consumer_gateway)?;
        check(federation, &gateway, receipt::CONSUMER_CLAIMS, &shared.consumer_claims, None, &read(seal)?)?;
        count = count.saturating_add(1);
    }
    if let (Side::Provider, Some(seal)) = (record.side(), &record.seal) {
        let (tag, signed) = match (shared.provider_closing.is_empty(), shared.provider_opening.is_empty()) {
            (false, _) => (receipt::PROVIDER_CLOSING, &shared.provider_closing),
            (true, false) => (receipt::PROVIDER_OPENING, &shared.provider_opening),
            (true, true) => return Err("there is a signature, and nothing that it could be over".to_owned()),
        };
        let promise = Promise { origin: origin.to_owned(), index: record.index, leaf: record.leaf.hash() };
        let gateway = gateway(&claims.provider, &claims.provider_gateway)?;
        check(federation, &gateway, tag, signed, Some(&promise), seal)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

fn gateway(member: &str, name: &str) -> Result<GatewayId, String> {
    format!("{member}/{name}").parse().map_err(|_| "the claims name no valid gateway".to_owned())
}

fn read(seal: &Seal) -> Result<ledger::Seal, String> {
    receipt::seal_from_wire(seal).ok_or_else(|| "a signature is malformed".to_owned())
}

fn check(
    federation: &Federation,
    gateway: &GatewayId,
    tag: &str,
    claims: &[u8],
    promise: Option<&Promise>,
    seal: &ledger::Seal,
) -> Result<(), String> {
    let keys = federation.gateway_keys(gateway);
    if keys.is_empty() {
        return Err(format!("the directory does not list the gateway `{gateway}`"));
    }
    let by = |key| SealVerifier::new(key).verify(tag, claims, promise, seal).is_ok();
    if keys.into_iter().any(by) {
        Ok(())
    } else {
        Err(format!("the signature is not by the gateway `{gateway}` over these claims"))
    }
}
