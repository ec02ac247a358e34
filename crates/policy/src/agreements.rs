//! All agreements of a gateway, compiled: may they, for this purpose, now?

mod candidate;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use contract::{Agreed, Contracts, Digest};
use federation::{MemberId, SystemId};
use problem::Problem;

use candidate::{Candidate, Reasons};

use crate::agreement::Agreement;
use crate::compile::{Projections, agreement_plans};
use crate::denial::{Asked, Denial, Ended};
use crate::end::End;
use crate::file::Signed;
use crate::grant::MetadataKey;
use crate::plan::Plan;
use crate::standing::Standing;

/// An immutable snapshot of all agreements that both members have signed. Cloning it is cheap; a change makes a new one.
#[derive(Clone, Default)]
pub struct Agreements(Arc<Inner>);

#[derive(Default)]
struct Inner {
    agreements: HashMap<Digest, Known>,
    /// By consumer, provider, path of the method and purpose; sorted so that the first that fits is the one that counts.
    index: HashMap<MemberId, HashMap<MemberId, Methods>>,
}

/// Candidates by path of the method, then by purpose.
type Methods = HashMap<String, Purposes>;

/// Candidates by purpose.
type Purposes = HashMap<Arc<str>, Vec<Candidate>>;

struct Known {
    agreement: Arc<Agreement>,
    ended: Option<Ended>,
    /// The end note as it was signed.
    end: Option<End>,
    standings: Vec<Standing>,
}

/// A call that asks to be permitted, with what the decision is made on.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The member that asks.
    pub consumer: &'a MemberId,
    /// Its system that asks.
    pub system: &'a SystemId,
    /// The member that is asked.
    pub provider: &'a MemberId,
    /// The path of the method, as in `/health.v1.Patients/Find`.
    pub method: &'a str,
    /// The purpose, as the call names it.
    pub purpose: &'a str,
    /// Whether the call names who acts.
    pub has_actor: bool,
    /// Whether the call names a case.
    pub has_case: bool,
    /// Whether the call says why it is made.
    pub has_justification: bool,
}

impl Ask<'_> {
    fn has(&self, key: MetadataKey) -> bool {
        match key {
            MetadataKey::Actor => self.has_actor,
            MetadataKey::Case => self.has_case,
            MetadataKey::Justification => self.has_justification,
        }
    }
}

/// Word that a call is permitted: the agreement that permits it, and what that means for the exchange.
#[derive(Clone, Debug)]
pub struct Permit {
    /// The agreement.
    pub agreement: Arc<Agreement>,
    /// What it compiles to for this method and purpose.
    pub plan: Arc<Plan>,
}

impl Agreements {
    /// Compiles signed agreements. An end note ends the agreement whose text it names; one for an agreement that is not here does nothing.
    ///
    /// Returns every problem of an agreement with the contracts, and goes on without the grants concerned.
    #[must_use]
    pub fn compile(signed: &[Signed], ends: &[End], contracts: &Contracts) -> (Agreements, Vec<Problem>) {
        Self::compile_with(signed, ends, contracts, &mut Projections::default())
    }

    pub(crate) fn compile_with(
        signed: &[Signed],
        ends: &[End],
        contracts: &Contracts,
        projections: &mut Projections,
    ) -> (Agreements, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut inner = Inner::default();
        let mut ids: HashMap<(&MemberId, &MemberId, &str), &Arc<Agreement>> = HashMap::new();
        let mut ended: HashMap<Digest, &End> = HashMap::new();
        for end in ends {
            let first = ended.entry(end.agreement()).or_insert(end);
            // Both members may end it: the earlier note is told, and both gateways tell the same one.
            if (end.ended_at(), end.ended_by()) < (first.ended_at(), first.ended_by()) {
                *first = end;
            }
        }
        for agreement in signed.iter().map(Signed::agreement) {
            // Two files with the same text are one agreement.
            if inner.agreements.contains_key(&agreement.digest()) {
                continue;
            }
            if let Some(other) = ids.insert((agreement.consumer(), agreement.provider(), agreement.id()), agreement) {
                let what = format!(
                    "another agreement between the two members has the id `{}`, in {}",
                    agreement.id(),
                    other.file().display()
                );
                problems.push(
                    Problem::new(agreement.file(), what)
                        .help("both stay in force; end one of them, so that the id means one text"),
                );
            }
            let end = ended.get(&agreement.digest()).filter(|end| end.ends(agreement));
            let ended = end.map(|end| Ended::ByNote { by: end.ended_by().clone(), at: end.ended_at() });
            let plans = agreement_plans(agreement, contracts, projections, &mut problems);
            for compiled in plans.compiled {
                let candidate =
                    Candidate { agreement: Arc::clone(agreement), ended: ended.clone(), outcome: compiled.outcome };
                inner
                    .index
                    .entry(agreement.consumer().clone())
                    .or_default()
                    .entry(agreement.provider().clone())
                    .or_default()
                    .entry(compiled.path)
                    .or_default()
                    .entry(compiled.purpose)
                    .or_default()
                    .push(candidate);
            }
            let end = end.copied().cloned();
            let known = Known { agreement: Arc::clone(agreement), ended, end, standings: plans.standings };
            inner.agreements.insert(agreement.digest(), known);
        }
        let methods = inner.index.values_mut().flat_map(HashMap::values_mut).flat_map(HashMap::values_mut);
        for candidates in methods.flat_map(HashMap::values_mut) {
            candidates.sort_by(Candidate::order);
        }
        Problem::sort(&mut problems);
        (Agreements(Arc::new(inner)), problems)
    }

    /// Permits a call, or says why not.
    ///
    /// Where several grants fit, the one of the agreement that came into force last counts, so that a renewed agreement takes over from
    /// the one before; of equally late ones that with the smaller id, then the smaller digest. A grant whose metadata is missing from
    /// the call is passed over for one that asks for less. Both gateways choose alike from the same agreements; a provider that is told
    /// which agreement was chosen uses [`Agreements::permit_under`].
    ///
    /// # Errors
    ///
    /// The [`Denial`] that helps most, looked for in this order: missing metadata, another contract, an agreement that is over, one whose
    /// time has not come, another purpose, another system, no agreement.
    pub fn permit(&self, ask: &Ask<'_>, now: SystemTime) -> Result<Permit, Denial> {
        self.decide(ask, None, now)
    }

    /// Permits a call under the agreement with this digest and no other, or says why not.
    ///
    /// # Errors
    ///
    /// As [`Agreements::permit`]; an agreement that is not known here is [`Denial::NoAgreement`].
    pub fn permit_under(&self, ask: &Ask<'_>, agreement: &Digest, now: SystemTime) -> Result<Permit, Denial> {
        self.decide(ask, Some(agreement), now)
    }

    /// Returns whether what `permit` permitted is still permitted: for streams that are open while agreements change and time passes. A
    /// contract that has changed since is no reason to end them.
    ///
    /// # Errors
    ///
    /// [`Denial::AgreementEnded`], or [`Denial::NoAgreement`] when the agreement is no longer here or grants this no more.
    pub fn check(&self, permit: &Permit, system: &SystemId, now: SystemTime) -> Result<(), Denial> {
        let agreement = &permit.agreement;
        if self.in_force(&agreement.digest(), now) {
            return Ok(());
        }
        let ask = Ask {
            consumer: agreement.consumer(),
            system,
            provider: agreement.provider(),
            method: permit.plan.method.path(),
            purpose: &permit.plan.purpose,
            // Looked at when the call began; the metadata of a call does not change.
            has_actor: true,
            has_case: true,
            has_justification: true,
        };
        self.permit_under(&ask, &agreement.digest(), now).map(|_| ())
    }

    fn decide(&self, ask: &Ask<'_>, only: Option<&Digest>, now: SystemTime) -> Result<Permit, Denial> {
        if ask.system.member() != ask.consumer {
            return Err(Denial::NoAgreement(Box::new(Asked::of(ask))));
        }
        let methods = self.0.index.get(ask.consumer).and_then(|providers| providers.get(ask.provider));
        let Some(purposes) = methods.and_then(|methods| methods.get(ask.method)) else {
            return Err(Denial::NoAgreement(Box::new(Asked::of(ask))));
        };
        let counts = |candidate: &&Candidate| {
            only.is_none_or(|digest| candidate.agreement.digest() == *digest)
                && candidate.systems().contains(ask.system)
        };
        let mut reasons = Reasons::default();
        for candidate in purposes.get(ask.purpose).into_iter().flatten().filter(counts) {
            match candidate.decide(ask, now) {
                Ok(permit) => return Ok(permit),
                Err(denial) => reasons.add(denial),
            }
        }
        if let Some(denial) = reasons.most_helpful() {
            return Err(denial);
        }
        Err(Self::elsewhere(ask, purposes, only, now))
    }

    /// Says why not, when no agreement names the purpose for the system.
    fn elsewhere(ask: &Ask<'_>, purposes: &Purposes, only: Option<&Digest>, now: SystemTime) -> Denial {
        let all = || {
            purposes
                .iter()
                .flat_map(|(purpose, candidates)| candidates.iter().map(move |candidate| (purpose, candidate)))
        };
        let named = || all().filter(|(_, candidate)| only.is_none_or(|digest| candidate.agreement.digest() == *digest));
        let own = || named().filter(|(_, candidate)| candidate.systems().contains(ask.system));
        let in_force: BTreeSet<&str> =
            own().filter(|(_, candidate)| candidate.time(now).is_ok()).map(|(purpose, _)| purpose.as_ref()).collect();
        if !in_force.is_empty() {
            let purposes = in_force.into_iter().map(str::to_owned).collect();
            return Denial::WrongPurpose { asked: Box::new(Asked::of(ask)), purposes };
        }
        let mut reasons = Reasons::default();
        for (_, candidate) in own() {
            if let Err(denial) = candidate.time(now) {
                reasons.add(denial);
            }
        }
        if let Some(denial) = reasons.most_helpful() {
            return denial;
        }
        let systems: BTreeSet<&SystemId> = named()
            .filter(|(_, candidate)| candidate.time(now).is_ok())
            .flat_map(|(_, candidate)| candidate.systems())
            .collect();
        if systems.is_empty() {
            Denial::NoAgreement(Box::new(Asked::of(ask)))
        } else {
            Denial::WrongSystem { asked: Box::new(Asked::of(ask)), systems: systems.into_iter().cloned().collect() }
        }
    }

    /// Returns what an agreement compiles to for a call, whether it is in force, over, or yet to come: for telling what an exchange of
    /// the past released. It permits nothing.
    #[must_use]
    pub fn plan_of(&self, ask: &Ask<'_>, agreement: &Digest) -> Option<Arc<Plan>> {
        let methods = self.0.index.get(ask.consumer)?.get(ask.provider)?;
        let candidates = methods.get(ask.method)?.get(ask.purpose)?.iter();
        let of_agreement = |candidate: &&Candidate| candidate.agreement.digest() == *agreement;
        candidates.filter(of_agreement).find_map(|candidate| candidate.plan_for(ask.system))
    }

    /// Returns the agreement with this digest, ended or not.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&Arc<Agreement>> {
        self.0.agreements.get(digest).map(|known| &known.agreement)
    }

    /// Returns what the grants of an agreement come to with the contracts that are loaded, in the order of the text: one that is in force
    /// may permit nothing for their sake. Nothing for one that is not known.
    #[must_use]
    pub fn standings(&self, digest: &Digest) -> &[Standing] {
        self.0.agreements.get(digest).map(|known| known.standings.as_slice()).unwrap_or_default()
    }

    /// Returns how an agreement ended, if it has: by an end note, or by `now`. `None` also for one that is not known.
    #[must_use]
    pub fn ended(&self, digest: &Digest, now: SystemTime) -> Option<Ended> {
        let known = self.0.agreements.get(digest)?;
        let expired =
            || (now >= known.agreement.valid_until()).then(|| Ended::Expired { at: known.agreement.valid_until() });
        known.ended.clone().or_else(expired)
    }

    /// Returns the end note of an agreement, where a member has ended it. It can be passed on as it is.
    #[must_use]
    pub fn end(&self, digest: &Digest) -> Option<&End> {
        self.0.agreements.get(digest)?.end.as_ref()
    }

    /// Returns whether an agreement is known and its time is now, whatever contracts make of it.
    #[must_use]
    pub fn in_force(&self, digest: &Digest, now: SystemTime) -> bool {
        self.get(digest).is_some_and(|agreement| agreement.valid_from() <= now) && self.ended(digest, now).is_none()
    }

    /// Returns all agreements, in no order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Agreement>> {
        self.0.agreements.values().map(|known| &known.agreement)
    }

    /// Returns the paths of the methods that `system` may call at `now`, by provider and whatever the purpose. They are the
    /// methods that reflection shows to it.
    #[must_use]
    pub fn usable(&self, system: &SystemId, now: SystemTime) -> BTreeSet<(MemberId, String)> {
        let mut usable = BTreeSet::new();
        for (provider, methods) in self.0.index.get(system.member()).into_iter().flatten() {
            for (path, purposes) in methods {
                if purposes.values().flatten().any(|candidate| candidate.lets(system, now)) {
                    usable.insert((provider.clone(), path.clone()));
                }
            }
        }
        usable
    }

    /// Returns the services of which `system` may call a method at `now`, whoever answers, each with the versions that the agreements
    /// about it name.
    #[must_use]
    pub fn usable_services(&self, system: &SystemId, now: SystemTime) -> Agreed {
        let mut usable = Agreed::new();
        let methods = self.0.index.get(system.member()).into_iter().flat_map(HashMap::values);
        for candidate in methods.flat_map(HashMap::values).flat_map(HashMap::values).flatten() {
            if candidate.lets(system, now)
                && let Some(plan) = candidate.plan_for(system)
            {
                usable.entry(plan.method.service().to_owned()).or_default().insert(plan.contract_digest);
            }
        }
        usable
    }

    /// Returns the next instant after `now` at which an agreement comes into force or expires.
    #[must_use]
    pub fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let bounds = |agreement: &Arc<Agreement>| [agreement.valid_from(), agreement.valid_until()];
        self.iter().flat_map(bounds).filter(|bound| *bound > now).min()
    }
}

impl fmt::Debug for Agreements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreements").field("count", &self.0.agreements.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
