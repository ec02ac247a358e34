//! Which of the agreements that were read permit something.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use contract::{Contracts, Kind, Method, Shape};
use policy::Agreement;

use super::Prepared;

impl Prepared {
    /// Returns the agreements that permit something at `now`.
    pub fn in_force(&self, now: SystemTime) -> impl Iterator<Item = &Arc<Agreement>> {
        let agreements = &self.agreements.agreements;
        let permits = move |agreement: &&Arc<Agreement>| {
            agreement.valid_from() <= now && agreements.ended(&agreement.digest(), now).is_none()
        };
        agreements.iter().filter(permits)
    }

    /// Returns in words what agreements in force let others ask, and no binding answers here.
    #[must_use]
    pub fn unanswered(&self, now: SystemTime) -> Vec<String> {
        let mut found = Vec::new();
        for agreement in self.in_force(now).filter(|agreement| agreement.provider() == self.gateway.member()) {
            for grant in agreement.grants() {
                let unbound = |method: &&str| self.bindings.get(&format!("/{}/{method}", grant.service)).is_none();
                for method in grant.methods.iter().map(AsRef::as_ref).filter(unbound) {
                    found.push(format!(
                        "the agreement `{}` lets `{}` ask `{}/{method}`, which no binding answers here",
                        agreement.id(),
                        agreement.consumer(),
                        grant.service
                    ));
                }
            }
        }
        found
    }

    /// Returns in words which methods that are bound here, or that agreements in force are about, no gateway carries.
    #[must_use]
    pub fn not_carried(&self, now: SystemTime) -> Vec<String> {
        let bound = self.bindings.iter().filter_map(|binding| {
            let method = binding.method();
            let what = refused_always(method, method.kind())?;
            Some(format!("the binding of `{}`: {}", named(method), because(method, what)))
        });
        // Bindings are in no order.
        let bound: BTreeSet<String> = bound.collect();
        let agreed = self.in_force(now).filter(|agreement| agreement.is_party(self.gateway.member()));
        bound.into_iter().chain(agreed.flat_map(|agreement| not_carried(agreement, &self.contracts))).collect()
    }
}

/// What mends it.
pub(crate) const NOT_CARRIED_HELP: &str =
    "let the contract make it a command of one request and one answer, or a query that streams";

/// Returns in words which methods of an agreement no gateway carries, so that every call of them is refused.
#[must_use]
pub fn not_carried(agreement: &Agreement, contracts: &Contracts) -> Vec<String> {
    let mut found = Vec::new();
    for grant in agreement.grants() {
        for method in grant.methods.iter().filter_map(|name| contracts.method(&format!("/{}/{name}", grant.service))) {
            if let Some(what) = refused_always(method, method.kind().or(grant.kind)) {
                let agreement = agreement.id();
                found.push(format!(
                    "the agreement `{agreement}` is about `{}`: {}",
                    named(method),
                    because(method, what)
                ));
            }
        }
    }
    found
}

/// What a method is that is refused whoever asks it for whatever reason.
fn refused_always(method: &Method, kind: Option<Kind>) -> Option<&'static str> {
    match kind? {
        Kind::Command if method.shape() != Shape::Unary => Some("a command that streams its request or its answer"),
        Kind::Subscription => Some("a subscription"),
        Kind::Command | Kind::Query => None,
    }
}

fn named(method: &Method) -> &str {
    method.path().trim_start_matches('/')
}

fn because(method: &Method, what: &str) -> String {
    let contract = method.descriptor().parent_file();
    format!("it is {what} (`{}`), which no gateway carries, so that every call of it is refused", contract.name())
}
