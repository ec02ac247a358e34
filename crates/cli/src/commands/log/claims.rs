//! What gateways signed, in words and as JSON.

use proto::{
    link::{ConsumerClaims, ProviderClosing},
    records::Shared,
};
use serde_json::{Map, Value};

use super::view::digest;
use crate::{
    commands::call::status_name,
    failure::Outcome,
    moments,
    terminal::{Out, shown, some},
};

/// Writes what the consumer's gateway signed.
pub(in crate::commands) fn consumer(claims: &ConsumerClaims, out: &mut Out) -> Outcome {
    let mut line = |name: &str, value: String| {
        if value.is_empty() { Ok(()) } else { out.line(format_args!("  {name:<15} {}", shown(&value))) }
    };
    line(
        "asked by",
        format!(
            "{}, system {} (as its gateway {} asserts)",
            claims.consumer, claims.consumer_system, claims.consumer_gateway
        ),
    )?;
    if let Some(actor) = &claims.actor {
        let role = if actor.role.is_empty() { String::new() } else { format!(", {}", actor.role) };
        line("person", format!("{}{role} (as the system asserts)", actor.id))?;
    }
    line("case", asserted(&claims.case_reference))?;
    line("justification", asserted(&claims.justification))?;
    line("asked", format!("{} for {}", claims.provider, claims.method.trim_start_matches('/')))?;
    line("purpose", claims.purpose.clone())?;
    line("legal basis", claims.legal_basis.clone())?;
    line("agreement", format!("{} {}", claims.agreement, digest(&claims.agreement_digest)).trim().to_owned())?;
    line("contract", digest(&claims.contract_digest))?;
    line("when", format!("{} UTC, by the consumer's clock", moments::for_people(claims.time)))
}

/// Writes what there is of a call that was refused before any claims about it were made: by whom, and when, by that gateway's clock.
pub(in crate::commands) fn refused_unasked(gateway: &str, time: u64, out: &mut Out) -> Outcome {
    out.line(format_args!("  {:<15} {}, before anybody was asked", "refused by", shown(gateway)))?;
    out.line(format_args!("  {:<15} {} UTC, by its clock", "when", moments::for_people(time)))
}

/// Writes how an exchange ended of which the provider's gateway signed no end.
pub(in crate::commands) fn settled_alone(consumer: &Shared, out: &mut Out) -> Outcome {
    let status = status_name(i32::try_from(consumer.status).unwrap_or(i32::MAX));
    let why = if consumer.refusal.is_empty() { String::new() } else { format!(" ({})", shown(&consumer.refusal)) };
    out.line(format_args!("  {:<15} {status}{why}, settled by the consumer's gateway alone", "outcome"))
}

fn asserted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text} (as the system asserts)") }
}

/// Writes what the provider's gateway signed at the end.
pub(in crate::commands) fn provider(closing: &ProviderClosing, out: &mut Out) -> Outcome {
    let status = status_name(i32::try_from(closing.status).unwrap_or(i32::MAX));
    let ended = if closing.refusal.is_empty() {
        format!("{status}, {}", some(closing.messages, "message"))
    } else {
        format!("refused by the provider's gateway: {} ({status})", closing.refusal)
    };
    let mut line = |name: &str, value: String| {
        if value.is_empty() { Ok(()) } else { out.line(format_args!("  {name:<15} {}", shown(&value))) }
    };
    line("answered by", format!("{}, gateway {}", closing.provider, closing.provider_gateway))?;
    line("outcome", ended)?;
    line("released", digest(&closing.released_digest))?;
    line("withheld", digest(&closing.withheld_digest))?;
    line("when", format!("{} UTC, by the provider's clock", moments::for_people(closing.time)))
}

/// Returns what the consumer's gateway signed as JSON.
pub(in crate::commands) fn consumer_json(claims: &ConsumerClaims) -> Value {
    let mut map = Map::new();
    let mut text = |key: &str, value: String| {
        if !value.is_empty() {
            map.insert(key.to_owned(), value.into());
        }
    };
    text("member", claims.consumer.clone());
    text("gateway", claims.consumer_gateway.clone());
    text("system", claims.consumer_system.clone());
    text("provider", claims.provider.clone());
    text("provider_gateway", claims.provider_gateway.clone());
    text("method", claims.method.trim_start_matches('/').to_owned());
    text("contract_digest", digest(&claims.contract_digest));
    text("agreement", claims.agreement.clone());
    text("agreement_digest", digest(&claims.agreement_digest));
    text("purpose", claims.purpose.clone());
    text("legal_basis", claims.legal_basis.clone());
    if let Some(actor) = &claims.actor {
        text("asserted_actor", actor.id.clone());
        text("asserted_role", actor.role.clone());
    }
    text("asserted_case", claims.case_reference.clone());
    text("asserted_justification", claims.justification.clone());
    text("trace_parent", claims.trace_parent.clone());
    text("time", moments::for_programs(claims.time));
    text("session", hex::encode(&claims.session));
    text("request_digest", hmac(&claims.request_digest));
    text("metadata_digest", hmac(&claims.metadata_digest));
    map.insert("sequence".to_owned(), claims.sequence.into());
    Value::Object(map)
}

/// Returns what the provider's gateway signed at the end as JSON.
pub(in crate::commands) fn provider_json(closing: &ProviderClosing) -> Value {
    let mut map = Map::new();
    let mut text = |key: &str, value: String| {
        if !value.is_empty() {
            map.insert(key.to_owned(), value.into());
        }
    };
    text("member", closing.provider.clone());
    text("gateway", closing.provider_gateway.clone());
    text("status", status_name(i32::try_from(closing.status).unwrap_or(i32::MAX)));
    text("refusal", closing.refusal.clone());
    text("response_digest", hmac(&closing.response_digest));
    text("metadata_digest", hmac(&closing.metadata_digest));
    text("released_digest", digest(&closing.released_digest));
    text("withheld_digest", digest(&closing.withheld_digest));
    text("time", moments::for_programs(closing.time));
    map.insert("messages".to_owned(), closing.messages.into());
    Value::Object(map)
}

/// A keyed digest: it says nothing without the exchange's nonce.
fn hmac(bytes: &[u8]) -> String {
    if bytes.is_empty() { String::new() } else { format!("hmac-sha256:{}", hex::encode(bytes)) }
}
