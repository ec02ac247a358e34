//! Which fields the agreement withheld: the gateway tells a digest, and the agreements at hand tell what it is of.

use contract::Method;
use federation::MemberId;
use policy::{Ask, Loader};

use super::{caller::Caller, metadata::Metadata};
use crate::{moments, place::federation_of, terminal};

/// Says on standard error what was withheld: the fields where the own agreements tell them, else the digest.
pub(super) fn say(caller: &Caller, provider: &MemberId, method: &Method, metadata: &Metadata, digest: &str) {
    match fields(caller, provider, method, metadata, digest) {
        Some(fields) if fields.is_empty() => say_line("nothing"),
        Some(fields) => say_line(&fields.join(", ")),
        None => say_line(&format!("fields with the digest {digest}")),
    }
}

fn say_line(what: &str) {
    terminal::say(format_args!("withheld by the agreement: {what}"));
}

fn fields(
    caller: &Caller,
    provider: &MemberId,
    method: &Method,
    metadata: &Metadata,
    digest: &str,
) -> Option<Vec<String>> {
    let system = caller.system.as_ref()?;
    let federation = federation_of(&caller.file).ok()?;
    let loaded =
        gateway::load::load_agreements(&caller.file, &mut Loader::new(), &federation, &caller.contracts).ok()?;
    let ask = Ask {
        consumer: system.member(),
        system,
        provider,
        method: method.path(),
        purpose: metadata.purpose.as_deref().unwrap_or_default(),
        has_actor: metadata.actor.is_some(),
        has_case: metadata.case.is_some(),
        has_justification: metadata.justification.is_some(),
    };
    let permit = loaded.agreements.permit(&ask, moments::now()).ok()?;
    (permit.plan.withheld_digest.to_string() == digest).then(|| permit.plan.projection.withheld().to_vec())
}
