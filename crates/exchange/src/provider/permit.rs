//! Does an agreement cover this question, now?
//!
//! Across a link unknown method, unknown contract and no agreement are one `NO_AGREEMENT` with one text: a peer learns
//! nothing about agreements that it is not party to.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use contract::{Digest, Kind, Method, Shape};
use federation::SystemId;
use policy::{Agreement, Ask, Denial, Plan};
use records::Command;

use super::{
    Provider, Refused,
    answer::{cancelled, timeout},
    verify::Verified,
};
use crate::{
    account::Account,
    application::{Heard, Said},
    commands,
    consumer::shape_of,
    deadline,
    house::{House, Rules},
    ports::{CommandId, LegacySystem, Question, Requests},
    quota::Counted,
    refusal::{Hop, Reason, Refusal, Status},
    trace::Verb,
    watch::Permission,
};

/// The one text for all that a peer may not know more about.
const NO_AGREEMENT: &str = "no agreement with the provider lets this system ask this";

/// A question that an agreement covers and that fits its contract.
pub(crate) struct Permitted {
    pub(super) verified: Verified,
    pub(super) method: Arc<Method>,
    pub(super) plan: Arc<Plan>,
    /// What a command is known by; `None` for a query.
    pub(super) command: Option<Command>,
    /// Hears the application's metadata of the answer, where the agreement names any.
    pub(super) heard: Option<Arc<Heard>>,
    pub(super) counted: Counted,
}

/// The digests of a plan's lists, as claims carry them.
pub(crate) struct Lists(pub(crate) Arc<Plan>);

impl Lists {
    pub(crate) fn released_digest(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.released_digest.0)
    }

    pub(crate) fn withheld_digest(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0.withheld_digest.0)
    }
}

impl Provider {
    /// Looks up method and agreement, and holds the request against its contract.
    pub(super) fn permit(&self, verified: Verified) -> Result<Box<Permitted>, Box<Refused>> {
        let mut verified = verified;
        verified.account.begin(Verb::Permit);
        let refuse = |reason, told: &str| Refusal::new(reason, Hop::Provider, told);
        let rules = verified.rules.clone();
        if !(rules.contracts.method(&verified.path).is_some() && rules.legacy.serves(&verified.path)) {
            return Err(
                verified.refuse(refuse(Reason::NoAgreement, NO_AGREEMENT).detail("no binding serves the method"))
            );
        }
        let (plan, agreement) = match look_up(&self.house, &rules, &verified) {
            Ok(found) => found,
            Err(refusal) => return Err(verified.refuse(refusal)),
        };
        // As the version has it that was agreed on: what came later was agreed by nobody.
        let method = plan.method.clone();
        let claims = &verified.claims;
        if claims.contract_digest.as_ref() != plan.contract_digest.0 {
            let told =
                format!("the agreement is about the contract of `{}` as {}", method.service(), plan.contract_digest);
            return Err(verified.refuse(refuse(Reason::ContractMismatch, &told)));
        }
        if claims.agreement != agreement.id() {
            let told = "the claims name another agreement than the one of the digest in them";
            return Err(verified.refuse(refuse(Reason::BadClaims, told)));
        }
        if claims.legal_basis != *plan.legal_basis {
            return Err(
                verified.refuse(refuse(Reason::BadClaims, "the claims name another legal basis than the agreement"))
            );
        }
        if let Some(key) = verified.application.unnamed(&plan.application_metadata) {
            let told = format!("the agreement does not name the metadata key `{key}`");
            return Err(verified.refuse(refuse(Reason::BadClaims, &told)));
        }
        let streamed = verified.stream.is_some();
        if claims.shape != i32::from(shape_of(method.shape())) || streamed != method.shape().streams_requests() {
            let told = "the claims name another kind of call than the contract";
            return Err(verified.refuse(refuse(Reason::BadClaims, told)));
        }
        let command = match command_of(&plan, &method, &verified) {
            Ok(command) => command,
            Err(refusal) => return Err(verified.refuse(refusal)),
        };
        // The messages of a stream are held against it as they come.
        if !streamed && let Err(misfit) = method.check_request(&verified.request) {
            return Err(verified.refuse(Refusal::misfit(misfit, Hop::Provider)));
        }
        verified.account.command = command.is_some();
        verified.account.private.agreement = agreement.id().to_owned();
        verified.account.private.agreement_digest = Bytes::copy_from_slice(&agreement.digest().0);
        let heard = Heard::new(&plan.application_metadata);
        let (time, account) = (verified.claims.time, &mut verified.account);
        match self.house.admit((&agreement, &plan), &method, time, account) {
            Ok(counted) => Ok(Box::new(Permitted { verified, method, plan, command, heard, counted })),
            Err(refusal) => Err(verified.refuse(refusal)),
        }
    }
}

/// Returns what a command is known by. A command carried as if it were a query could be done twice.
fn command_of(plan: &Plan, method: &Method, verified: &Verified) -> Result<Option<Command>, Refusal> {
    let refuse = |reason, told: &str| Err(Refusal::new(reason, Hop::Provider, told));
    let claims = &verified.claims;
    match plan.kind {
        Kind::Query if verified.rules.legacy.writes(method.path()) => {
            let told =
                "the provider has bound this method to statements that write, and the agreement calls it a query";
            refuse(Reason::UnknownMethod, told)
        }
        Kind::Query => Ok(None),
        Kind::Command if method.shape() != Shape::Unary => {
            refuse(Reason::UnknownMethod, "the provider's gateway takes commands of one message and one answer alone")
        }
        Kind::Command if claims.idempotency_key.is_empty() => {
            refuse(Reason::KeyRequired, "the claims of a command hold no idempotency key")
        }
        Kind::Command if claims.idempotency_key.len() != 32 => {
            refuse(Reason::BadClaims, "the claims hold a malformed idempotency key")
        }
        Kind::Command => Ok(Some(Command::new(commands::key_of(claims), &verified.request))),
        Kind::Subscription => refuse(Reason::UnknownMethod, "the provider's gateway takes no subscriptions"),
    }
}

fn look_up(house: &House, rules: &Rules, verified: &Verified) -> Result<(Arc<Plan>, Arc<Agreement>), Refusal> {
    let claims = &verified.claims;
    let system: SystemId = format!("{}/{}", claims.consumer, claims.consumer_system)
        .parse()
        .map_err(|_| Refusal::new(Reason::BadClaims, Hop::Provider, "the claims name no valid system"))?;
    let ask = Ask {
        consumer: system.member(),
        system: &system,
        provider: house.gateway.member(),
        method: &verified.path,
        purpose: &claims.purpose,
        has_actor: claims.actor.as_ref().is_some_and(|a| !a.id.is_empty()),
        has_case: !claims.case_reference.is_empty(),
        has_justification: !claims.justification.is_empty(),
    };
    let digest = agreement_of(verified)
        .ok_or_else(|| Refusal::new(Reason::BadClaims, Hop::Provider, "the claims name no agreement"))?;
    let permit =
        rules.agreements.permit_under(&ask, &digest, (house.clock)()).map_err(|denial| across_a_link(&denial))?;
    Ok((permit.plan.clone(), permit.agreement.clone()))
}

/// The digest of the agreement that the claims name.
fn agreement_of(verified: &Verified) -> Option<Digest> {
    <[u8; 32]>::try_from(verified.claims.agreement_digest.as_ref()).ok().map(Digest)
}

/// What a peer may know of a denial.
fn across_a_link(denial: &Denial) -> Refusal {
    let told = |reason, text: &str| Refusal::new(reason, Hop::Provider, text).detail(denial.to_string());
    match denial {
        Denial::NoAgreement(_) | Denial::WrongSystem { .. } | Denial::NotYetInForce { .. } => {
            told(Reason::NoAgreement, NO_AGREEMENT)
        }
        Denial::WrongPurpose { .. } => {
            told(Reason::WrongPurpose, "the agreement does not name this purpose for this method")
        }
        Denial::AgreementEnded { .. } => told(Reason::AgreementEnded, "the agreement is over"),
        Denial::MissingMetadata { keys, .. } => {
            let keys: Vec<_> = keys.iter().map(|k| format!("`drawbridge-{}`", k.word())).collect();
            told(Reason::Metadata, &format!("the agreement asks for metadata that is missing: {}", keys.join(", ")))
        }
        Denial::ContractMismatch { .. } => told(
            Reason::ContractMismatch,
            "the agreement was made against a version of the contract that the provider has not, nor one known to be compatible with it",
        ),
    }
}

impl Permitted {
    /// The systems that were bound when the exchange arrived.
    pub(super) fn legacy(&self) -> &Arc<dyn LegacySystem> {
        &self.verified.rules.legacy
    }

    /// Returns whether more than one message passes either way.
    pub(super) fn streams(&self) -> bool {
        self.method.shape() != Shape::Unary
    }

    /// The least of what the consumer and the contract allow; 30 s for a unary call that nobody limits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let arrived = self.verified.account.arrived;
        let by_contract = self.method.deadline().and_then(|d| arrived.checked_add(d));
        let least = deadline::earlier(self.verified.deadline, by_contract);
        if self.streams() { least } else { least.or_else(|| arrived.checked_add(deadline::UNARY_DEFAULT)) }
    }

    /// Holds an answer against the contract and takes away what the agreement does not name.
    pub(super) fn minimise(&self, message: Bytes, limit: usize) -> Result<Bytes, Refusal> {
        if message.len() > limit {
            let told = format!("an answer of the provider's system is above the limit of {limit} bytes");
            return Err(Refusal::new(Reason::TooLarge, Hop::Legacy, told));
        }
        let malformed =
            |what: String| super::answer::unusable(&format!("its answer is not one of the contract's: {what}"));
        self.method.check_answer(&message).map_err(|e| malformed(e.to_string()))?;
        self.plan.projection.apply(message).map_err(|e| malformed(e.to_string()))
    }

    /// Returns what the legacy system is asked.
    pub(super) fn question(&self, requests: Requests, until: Option<Instant>) -> Question {
        Question {
            method: self.method.clone(),
            requests,
            deadline: until,
            metadata: self.told(),
            command: self.command_id(),
            heard: self.heard.clone(),
            asker: self.asker(),
            stalled: None,
        }
    }

    /// The system that asks, with its member.
    fn asker(&self) -> String {
        let claims = &self.verified.claims;
        format!("{}/{}", claims.consumer, claims.consumer_system)
    }

    fn command_id(&self) -> Option<CommandId> {
        Some(CommandId::of(&self.command?.key, self.verified.account.id))
    }

    /// Returns the application's metadata of an answer that ended with `status`.
    pub(super) fn said(&self, status: &Status) -> Result<Said, Refusal> {
        self.heard.as_ref().map_or_else(|| Ok(Said::default()), |heard| heard.said(status))
    }

    /// What back ends are told of the asker, as metadata.
    fn told(&self) -> Vec<(String, String)> {
        let claims = &self.verified.claims;
        let mut told = vec![
            ("drawbridge-exchange-id".to_owned(), self.verified.account.id.to_string()),
            ("drawbridge-consumer".to_owned(), self.asker()),
            ("drawbridge-purpose".to_owned(), claims.purpose.clone()),
        ];
        if let Some(actor) = claims.actor.as_ref().filter(|a| !a.id.is_empty()) {
            let role = if actor.role.is_empty() { String::new() } else { format!(";role={}", escape(&actor.role)) };
            told.push(("drawbridge-actor".to_owned(), format!("{}{role}", escape(&actor.id))));
        }
        if !claims.case_reference.is_empty() {
            told.push(("drawbridge-case".to_owned(), escape(&claims.case_reference)));
        }
        if let Some(command) = self.command_id() {
            told.push(("drawbridge-idempotency-key".to_owned(), command.key));
        }
        if let Some(trace) = &self.verified.account.trace_parent {
            told.push(("traceparent".to_owned(), trace.clone()));
        }
        told.extend(self.verified.application.pairs());
        told
    }

    pub(super) fn into_account(mut self) -> (Box<Account>, Lists) {
        self.counted.keep();
        (self.verified.account, Lists(self.plan))
    }
}

impl Permission for Permitted {
    const SIDE: Hop = Hop::Provider;

    fn account(&self) -> &Account {
        &self.verified.account
    }

    /// What the agreement grants cannot have changed: the claims name its very text, and a contract that has changed since concerns
    /// later questions.
    fn still_permitted(&self, house: &House) -> Result<(), Refusal> {
        let rules = house.rules.load();
        if agreement_of(&self.verified).is_some_and(|digest| rules.agreements.in_force(&digest, (house.clock)())) {
            return Ok(());
        }
        match look_up(house, &rules, &self.verified) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.reason == Reason::NoAgreement => {
                Err(Refusal::new(Reason::AgreementEnded, Hop::Provider, "the agreement is over").detail(refusal.detail))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn cancelled() -> Refusal {
        cancelled()
    }

    fn late() -> Refusal {
        timeout()
    }
}

fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
