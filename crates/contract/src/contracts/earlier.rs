//! Earlier versions of services, which agreements may still be about.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Contracts, Service};
use crate::compare::Change;
use crate::digest::Digest;
use crate::load::{self, Source};

/// A version of a service that was kept, as it was found. It is compiled only once an agreement is about it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The full name of the service.
    pub service: String,
    /// The digest of the version.
    pub digest: Digest,
    /// Where it is.
    pub source: Source,
}

/// Why an agreement about a version of a service cannot be used with the version that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable<'c> {
    /// The version is not at hand, so nobody can tell.
    Unknown,
    /// What was kept of the version cannot be read, or is another one.
    Damaged(&'c str),
    /// The loaded version is not backward compatible with it: all changes, those that break first.
    Broken(&'c [Change]),
}

/// Earlier versions, by service and digest.
#[derive(Debug, Default)]
pub(super) struct Earlier(HashMap<(String, Digest), Slot>);

#[derive(Debug)]
struct Slot {
    kept: Found,
    read: OnceLock<Result<(Service, Vec<Change>), String>>,
}

#[derive(Debug)]
enum Found {
    Loaded(Box<Service>),
    Kept(Source),
}

impl Contracts {
    /// Lets agreements be about earlier versions too: those `loaded`, each of which is a load of its own, and those `kept`.
    #[must_use]
    pub fn with_earlier(mut self, loaded: &[Contracts], kept: impl IntoIterator<Item = Kept>) -> Self {
        let mut slots = HashMap::new();
        let slot = |kept| Slot { kept, read: OnceLock::new() };
        for kept in kept {
            slots.insert((kept.service, kept.digest), slot(Found::Kept(kept.source)));
        }
        for service in loaded.iter().flat_map(Contracts::services) {
            slots.insert((service.name.clone(), service.digest), slot(Found::Loaded(Box::new(service.clone()))));
        }
        self.earlier = Arc::new(Earlier(slots));
        self
    }

    /// Returns the version of a loaded service that an agreement about `digest` is to be held against: that very version, as long as the
    /// loaded one is it, or is backward compatible with it.
    ///
    /// # Errors
    ///
    /// [`Unusable`], which says why not.
    pub fn agreed<'c>(&'c self, loaded: &'c Service, digest: &Digest) -> Result<&'c Service, Unusable<'c>> {
        if loaded.digest == *digest {
            return Ok(loaded);
        }
        let slot = self.earlier.0.get(&(loaded.name.clone(), *digest)).ok_or(Unusable::Unknown)?;
        match slot.read.get_or_init(|| slot.kept.read(loaded, digest)) {
            Err(why) => Err(Unusable::Damaged(why)),
            Ok((_, changes)) if changes.iter().any(|change| change.breaks) => Err(Unusable::Broken(changes)),
            Ok((service, _)) => Ok(service),
        }
    }

    /// Returns a service and all that it needs as a descriptor set, to be kept for when a later version is loaded: with options and
    /// comments, and without the files that gateways bring.
    #[must_use]
    pub fn kept_set(&self, service: &str) -> Vec<u8> {
        let mut set = Vec::new();
        for file in self.files(&[service.to_owned()].into()) {
            if !load::is_built_in(file.name()) {
                prost::encoding::bytes::encode(1, &load::pruned(&file, |name| name == service), &mut set);
            }
        }
        set
    }
}

impl Found {
    fn read(&self, loaded: &Service, digest: &Digest) -> Result<(Service, Vec<Change>), String> {
        let service = match self {
            Self::Loaded(service) => (**service).clone(),
            Self::Kept(source) => {
                let contracts = Contracts::load(std::slice::from_ref(source))
                    .map_err(|problems| problems.first().map_or_else(String::new, |problem| problem.what.clone()))?;
                let found = contracts.service(&loaded.name).filter(|service| service.digest == *digest);
                found.cloned().ok_or_else(|| format!("it holds no `{}` with the digest {digest}", loaded.name))?
            }
        };
        let changes = service.changes_to(loaded);
        Ok((service, changes))
    }
}
