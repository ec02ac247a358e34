//! The contracts that somebody may use, as what was agreed on has them: what they are shown who make stubs of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Contracts, Service};
use crate::digest::Digest;
use crate::load::{self, Source};

/// Versions of services that agreements name, by the services' full names.
pub type Agreed = BTreeMap<String, BTreeSet<Digest>>;

impl Contracts {
    /// Returns the named services as they should be shown to whom agreements about these versions let use them: each in the one version
    /// that all of the agreements name. A service of which they name several is shown as it is loaded, and so is a package whose services
    /// cannot stand side by side otherwise.
    ///
    /// Earlier versions have no comments.
    #[must_use]
    pub fn shown(&self, agreed: &Agreed) -> Self {
        let mut packages: BTreeMap<String, Vec<&Service>> = BTreeMap::new();
        let mut loaded = BTreeMap::new();
        for (name, digests) in agreed {
            let Some(service) = self.service(name) else { continue };
            loaded.insert(name.as_str(), service);
            let mut digests = digests.iter();
            if let (Some(digest), None) = (digests.next(), digests.next())
                && *digest != service.digest
                && let Ok(earlier) = self.agreed(service, digest)
            {
                packages.entry(earlier.descriptor.package_name().to_owned()).or_default().push(earlier);
            }
        }
        let (mut shown, mut earlier) = (self.clone(), Vec::new());
        for package in packages.into_values() {
            let with: Vec<&Service> = earlier.iter().copied().chain(package).collect();
            if let Some(both) = side_by_side(&with, &loaded) {
                (shown, earlier) = (both, with);
            }
        }
        shown
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
    encoded: BTreeMap<String, (Vec<u8>, BTreeSet<String>)>,
}

impl Files {
    fn add(&mut self, service: &Service) {
        for file in Contracts::files_of([&service.descriptor]) {
            if load::is_built_in(file.name()) {
                continue;
            }
            let stripped = load::stripped(&file, |name| name == service.name);
            let imports = file.dependencies().map(|import| import.name().to_owned());
            if let Some((encoded, known)) = self.encoded.get_mut(file.name()) {
                for import in imports {
                    if !known.contains(&import) {
                        prost::encoding::string::encode(IMPORT, &import, encoded);
                        known.insert(import);
                    }
                }
                encoded.extend(load::services_of(&stripped));
            } else {
                self.order.push(file.name().to_owned());
                self.encoded.insert(file.name().to_owned(), (stripped, imports.collect()));
            }
        }
    }

    fn set(&self) -> Vec<u8> {
        let mut set = Vec::new();
        for (encoded, _) in self.order.iter().filter_map(|name| self.encoded.get(name)) {
            prost::encoding::bytes::encode(FILE, encoded, &mut set);
        }
        set
    }
}

/// `FileDescriptorSet.file` and `FileDescriptorProto.dependency`.
const FILE: u32 = 1;
const IMPORT: u32 = 3;
