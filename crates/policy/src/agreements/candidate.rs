//! One grant that may permit a call, and why it does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use federation::SystemId;

use super::{Ask, Permit};
use crate::agreement::Agreement;
use crate::compile::Outcome;
use crate::denial::{Denial, Ended};
use crate::grant::MetadataKey;
use crate::plan::Plan;

/// A grant for one method and one purpose.
pub(super) struct Candidate {
    pub(super) agreement: Arc<Agreement>,
    pub(super) ended: Option<Ended>,
    pub(super) outcome: Outcome,
}

impl Candidate {
    /// The order in which candidates are tried: the one in force last first.
    pub(super) fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_start = other.agreement.valid_from().cmp(&self.agreement.valid_from());
        let by_id = || self.agreement.id().cmp(other.agreement.id());
        let by_digest = || self.agreement.digest().cmp(&other.agreement.digest());
        by_start.then_with(by_id).then_with(by_digest).then_with(|| self.grant().cmp(&other.grant()))
    }

    fn grant(&self) -> Option<usize> {
        match &self.outcome {
            Outcome::Plan(plan) => Some(plan.grant),
            Outcome::Mismatch { .. } => None,
        }
    }

    pub(super) fn systems(&self) -> &BTreeSet<SystemId> {
        match &self.outcome {
            Outcome::Plan(plan) => &plan.systems,
            Outcome::Mismatch { systems, .. } => systems,
        }
    }

    pub(super) fn plan_for(&self, system: &SystemId) -> Option<Arc<Plan>> {
        match &self.outcome {
            Outcome::Plan(plan) => plan.systems.contains(system).then(|| Arc::clone(plan)),
            Outcome::Mismatch { .. } => None,
        }
    }

    pub(super) fn lets(&self, system: &SystemId, now: SystemTime) -> bool {
        matches!(self.outcome, Outcome::Plan(_)) && self.time(now).is_ok() && self.systems().contains(system)
    }

    pub(super) fn time(&self, now: SystemTime) -> Result<(), Denial> {
        let id = || self.agreement.id().to_owned();
        if let Some(ended) = &self.ended {
            return Err(Denial::AgreementEnded { agreement: id(), ended: ended.clone() });
        }
        if now >= self.agreement.valid_until() {
            return Err(Denial::AgreementEnded {
                agreement: id(),
                ended: Ended::Expired { at: self.agreement.valid_until() },
            });
        }
        if now < self.agreement.valid_from() {
            return Err(Denial::NotYetInForce { agreement: id(), from: self.agreement.valid_from() });
        }
        Ok(())
    }

    pub(super) fn decide(&self, ask: &Ask<'_>, now: SystemTime) -> Result<Permit, Denial> {
        self.time(now)?;
        match &self.outcome {
            Outcome::Mismatch { service, pinned, loaded, .. } => Err(Denial::ContractMismatch {
                agreement: self.agreement.id().to_owned(),
                service: service.to_string(),
                pinned: *pinned,
                loaded: *loaded,
            }),
            Outcome::Plan(plan) => {
                let missing: Vec<MetadataKey> = plan.required.keys().filter(|key| !ask.has(*key)).collect();
                if missing.is_empty() {
                    Ok(Permit { agreement: Arc::clone(&self.agreement), plan: Arc::clone(plan) })
                } else {
                    Err(Denial::MissingMetadata { agreement: self.agreement.id().to_owned(), keys: missing })
                }
            }
        }
    }
}

/// The denials of several candidates, of which one is told.
#[derive(Default)]
pub(super) struct Reasons {
    metadata: Option<Denial>,
    contract: Option<Denial>,
    over: Option<(SystemTime, Denial)>,
    early: Option<(SystemTime, Denial)>,
}

impl Reasons {
    pub(super) fn add(&mut self, denial: Denial) {
        match &denial {
            Denial::MissingMetadata { .. } => {
                self.metadata.get_or_insert(denial);
            }
            Denial::ContractMismatch { .. } => {
                self.contract.get_or_insert(denial);
            }
            Denial::AgreementEnded { ended, .. } => {
                let at = ended.at();
                if self.over.as_ref().is_none_or(|(latest, _)| at > *latest) {
                    self.over = Some((at, denial));
                }
            }
            Denial::NotYetInForce { from, .. } => {
                let from = *from;
                if self.early.as_ref().is_none_or(|(earliest, _)| from < *earliest) {
                    self.early = Some((from, denial));
                }
            }
            Denial::NoAgreement(_) | Denial::WrongSystem { .. } | Denial::WrongPurpose { .. } => {}
        }
    }

    pub(super) fn most_helpful(self) -> Option<Denial> {
        let dated = |dated: Option<(SystemTime, Denial)>| dated.map(|(_, denial)| denial);
        self.metadata.or(self.contract).or_else(|| dated(self.over)).or_else(|| dated(self.early))
    }
}
