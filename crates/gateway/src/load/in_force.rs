//! Which of the agreements that were read permit something.

use std::{sync::Arc, time::SystemTime};

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
}
