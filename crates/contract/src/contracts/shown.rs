//! The contracts that somebody may use, as what was agreed on has them: what they are shown who make stubs of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Contracts, Service};
use crate::digest::Digest;
use crate::load::{self, Source};

/// Versions of services that agreements name, by the services' full names.
pub type Agreed = BTreeMap<String, BTreeSet<Digest>>;

/// What somebody is shown of contracts.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The services, each in one version.
    pub contracts: Contracts,
    /// Those that are shown as they are loaded although agreements are about an earlier version, sorted by name.
    pub as_loaded: Vec<AsLoaded>,
}

/// A service that is not shown as agreements have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsLoaded {
    /// The full name of the service.
    pub service: String,
    /// Why.
    pub why: Why,
}

/// Why a service is shown as it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The agreements name several versions, of which one alone can be shown.
    Several,
    /// Its version and what else is shown of its package need one name for different things.
    Clash,
    /// The version that the agreements name is not at hand, or cannot be used with the one that is loaded.
    Unusable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Several => "the agreements name several versions of it, of which one alone can be shown",
            Self::Clash => {
                "the version that was agreed on has a message or an enum in another form than what else is shown of its package"
            }
            Self::Unusable => "the version that was agreed on is not at hand, or cannot be used with the one that is loaded",
        })
    }
}

impl Contracts {
    /// Returns the named services as they should be shown to whom agreements about these versions let use them: each in the one version
    /// that all of the agreements name, with the comments that were kept of it. A service of which they name several is shown as it is
    /// loaded, and so is a package whose services cannot stand side by side otherwise; [`Shown::as_loaded`] names them.
    #[must_use]
    pub fn shown(&self, agreed: &Agreed) -> Shown {
        let mut packages: BTreeMap<String, Vec<&Service>> = BTreeMap::new();
        let (mut loaded, mut as_loaded) = (BTreeMap::new(), Vec::new());
        let mut other = |service: &str, why| as_loaded.push(AsLoaded { service: service.to_owned(), why });
        for (name, digests) in agreed {
            let Some(service) = self.service(name) else { continue };
            loaded.insert(name.as_str(), service);
            let mut digests = digests.iter();
            match (digests.next(), digests.next()) {
                (None, _) => {}
                (Some(digest), None) if *digest == service.digest => {}
                (Some(digest), None) => match self.agreed(service, digest) {
                    Ok(earlier) => {
                        packages.entry(earlier.descriptor.package_name().to_owned()).or_default().push(earlier);
                    }
                    Err(_) => other(name, Why::Unusable),
                },
                (Some(_), Some(_)) => other(name, Why::Several),
            }
        }
        let (mut shown, mut earlier) = (self.clone(), Vec::new());
        for package in packages.into_values() {
            let with: Vec<&Service> = earlier.iter().chain(&package).copied().collect();
            if let Some(both) = side_by_side(&with, &loaded) {
                (shown, earlier) = (both, with);
            } else {
                for service in package {
                    other(&service.name, Why::Clash);
                }
            }
        }
        as_loaded.sort_by(|a, b| a.service.cmp(&b.service));
        Shown { contracts: shown, as_loaded }
    }
}

/// Puts services of several versions into one pool: those `earlier`, and of `loaded` the others. None if one of them would not be
/// what it is any more, as where two of them need one message in two versions.
fn side_by_side(earlier: &[&Service], loaded: &BTreeMap<&str, &Service>) -> Option<Contracts> {
    let others = loaded.iter().filter(|(name, _)| earlier.iter().all(|service| service.name != **name));
    let services: Vec<&Service> = earlier.iter().copied().chain(others.map(|(_, service)| *service)).collect();
    let mut files = Files::default();
    for service in &services {
        files.add(service);
    }
    let set = Source::DescriptorSet { name: "what was agreed on".to_owned(), bytes: files.set() };
    let shown = Contracts::load(&[set]).ok()?;
    let whole = services.iter().all(|one| shown.service(&one.name).is_some_and(|found| found.digest == one.digest));
    whole.then_some(shown)
}

/// Files with services of several versions. What else is in a file is that of the first that brought it.
#[derive(Default)]
struct Files {
    order: Vec<String>,
    encoded: BTreeMap<String, Encoded>,
}

/// A file that grows by services, and by the imports that they need.
struct Encoded {
    bytes: Vec<u8>,
    imports: BTreeSet<String>,
    services: usize,
}

impl Files {
    fn add(&mut self, service: &Service) {
        for file in Contracts::files_of([&service.descriptor]) {
            if load::is_built_in(file.name()) {
                continue;
            }
            let own = load::pruned(&file, |name| name == service.name);
            let services = file.services().filter(|one| one.full_name() == service.name).count();
            let imports = file.dependencies().map(|import| import.name().to_owned());
            if let Some(known) = self.encoded.get_mut(file.name()) {
                for import in imports {
                    if !known.imports.contains(&import) {
                        prost::encoding::string::encode(IMPORT, &import, &mut known.bytes);
                        known.imports.insert(import);
                    }
                }
                known.bytes.extend(load::services_of(&own, known.services));
                known.services = known.services.saturating_add(services);
            } else {
                self.order.push(file.name().to_owned());
                let known = Encoded { bytes: own, imports: imports.collect(), services };
                self.encoded.insert(file.name().to_owned(), known);
            }
        }
    }

    fn set(&self) -> Vec<u8> {
        let mut set = Vec::new();
        for file in self.order.iter().filter_map(|name| self.encoded.get(name)) {
            prost::encoding::bytes::encode(FILE, &file.bytes, &mut set);
        }
        set
    }
}

/// `FileDescriptorSet.file` and `FileDescriptorProto.dependency`.
const FILE: u32 = 1;
const IMPORT: u32 = 3;
