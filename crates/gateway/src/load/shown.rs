//! Which contracts a system of this member is shown otherwise than its agreements have them, by reflection and OpenAPI.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use contract::{Contracts, Why};
use federation::{MemberId, SystemId};
use policy::{Agreement, Agreements};

use super::Prepared;

/// What mends it.
pub(crate) const SHOWN_HELP: &str = "stubs made of it may have fields that an agreement does not know, and a request with one is refused; agree \
                                     on one version of the package, or make stubs of the version that was agreed on";

impl Prepared {
    /// Returns in words which contracts systems of this member are shown as they are loaded, and not as agreements in force at `now` have
    /// them.
    #[must_use]
    pub fn shown_as_loaded(&self, now: SystemTime) -> Vec<String> {
        shown_as_loaded(&self.contracts, &self.agreements.agreements, self.gateway.member(), now)
    }
}

/// The same of contracts and agreements.
pub(crate) fn shown_as_loaded(
    contracts: &Contracts,
    agreements: &Agreements,
    own: &MemberId,
    now: SystemTime,
) -> Vec<String> {
    let asks =
        |agreement: &&Arc<Agreement>| agreement.consumer() == own && agreements.in_force(&agreement.digest(), now);
    let asked: Vec<&Arc<Agreement>> = agreements.iter().filter(asks).collect();
    let earlier = |agreement: &&Arc<Agreement>| {
        let mut grants = agreement.grants().iter();
        grants.any(|grant| contracts.service(&grant.service).is_some_and(|service| service.digest != grant.digest))
    };
    // Only who has such an agreement may be shown something else than what is loaded.
    let systems: BTreeSet<SystemId> = asked.iter().copied().filter(earlier).flat_map(|one| one.systems()).collect();
    let mut known = BTreeMap::new();
    let mut found: BTreeMap<(String, Why), BTreeSet<SystemId>> = BTreeMap::new();
    for system in systems {
        let usable = agreements.usable_services(&system, now);
        let as_loaded = known.entry(usable).or_insert_with_key(|usable| contracts.shown(usable).as_loaded);
        for one in as_loaded.iter() {
            found.entry((one.service.clone(), one.why)).or_default().insert(system.clone());
        }
    }
    found.into_iter().map(|((service, why), systems)| words(&asked, &service, why, &systems)).collect()
}

fn words(asked: &[&Arc<Agreement>], service: &str, why: Why, systems: &BTreeSet<SystemId>) -> String {
    let about = |agreement: &&&Arc<Agreement>| {
        let mut grants = agreement.grants().iter();
        grants.any(|grant| *grant.service == *service && !grant.systems.is_disjoint(systems))
    };
    let agreements: BTreeSet<&str> = asked.iter().filter(about).map(|agreement| agreement.id()).collect();
    let (are, have) =
        (if systems.len() == 1 { "is" } else { "are" }, if agreements.len() == 1 { "has" } else { "have" });
    let (systems, agreements) = (list(systems.iter()), list(agreements.iter()));
    format!("{systems} {are} shown `{service}` as it is loaded, not as {agreements} {have} it: {why}")
}

fn list(names: impl Iterator<Item = impl std::fmt::Display>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
