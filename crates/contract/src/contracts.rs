//! All contracts that a gateway has loaded, and the look-up of their methods.

mod earlier;
mod shown;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use problem::Problem;
use prost_reflect::{DescriptorPool, FileDescriptor, MethodDescriptor, ServiceDescriptor};
use prost_types::FileDescriptorSet;

use crate::digest::{Digest, canonical};
use crate::load::{self, Source};
use crate::method::Method;
use crate::{options, rules};

use crate::wire::plan::Planner;

pub use earlier::{Kept, Unusable};
pub use shown::{Agreed, AsLoaded, Shown, Why};

/// The contracts that were loaded together. Cloning it is cheap; it never changes.
#[derive(Clone, Debug)]
pub struct Contracts {
    inner: Arc<Inner>,
    earlier: Arc<earlier::Earlier>,
}

#[derive(Debug)]
struct Inner {
    pool: DescriptorPool,
    services: Vec<Service>,
    methods: HashMap<String, Arc<Method>>,
}

/// A service of a contract.
#[derive(Clone, Debug)]
pub struct Service {
    /// The full name: `health.v1.Patients`.
    pub name: String,
    /// What agreements pin.
    pub digest: Digest,
    /// The methods, in the order of the contract.
    pub methods: Vec<Arc<Method>>,
    descriptor: ServiceDescriptor,
}

impl Service {
    /// Returns the text that the digest is taken of. Two services that differ differ in its lines.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        canonical::text(&self.descriptor)
    }

    /// Returns the service as protobuf describes it, comments included where the source had them.
    #[must_use]
    pub fn descriptor(&self) -> &ServiceDescriptor {
        &self.descriptor
    }
}

impl Contracts {
    /// Compiles contracts.
    ///
    /// The same file in two sources is taken once. Gateways bring `google/protobuf/*.proto` and
    /// `drawbridge/options/v1/options.proto` themselves.
    ///
    /// # Errors
    ///
    /// Every problem that could be found, in the order of files and lines.
    pub fn load(sources: &[Source]) -> Result<Self, Vec<Problem>> {
        let pool = load::pool(sources)?;
        Ok(Self { inner: Arc::new(Inner::new(pool)), earlier: Arc::default() })
    }

    /// Returns the method with exactly this path, as in `/health.v1.Patients/Find`.
    #[must_use]
    pub fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.inner.methods.get(path)
    }

    /// Returns all services, sorted by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.inner.services.iter()
    }

    /// Returns the service with exactly this full name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        let position = self.inner.services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
        self.inner.services.get(position)
    }

    /// Returns the files that the named services need, without services that are not named and without comments.
    ///
    /// Every file comes after those that it imports. Names that are not loaded are passed over. Options of contracts are lost on
    /// the way, since the type has no room for them: [`Contracts::encoded_files`] keeps them.
    #[must_use]
    pub fn descriptor_set(&self, services: &BTreeSet<String>) -> FileDescriptorSet {
        let file = self
            .files(services)
            .iter()
            .map(|file| {
                let mut proto = file.file_descriptor_proto().clone();
                proto.source_code_info = None;
                let package = proto.package.clone().unwrap_or_default();
                proto.service.retain(|service| services.contains(&join(&package, service.name())));
                proto
            })
            .collect();
        FileDescriptorSet { file }
    }

    /// Returns the files of [`Contracts::descriptor_set`] encoded one by one, options included, each with its name.
    #[must_use]
    pub fn encoded_files(&self, services: &BTreeSet<String>) -> Vec<(String, Vec<u8>)> {
        self.files(services)
            .iter()
            .map(|file| (file.name().to_owned(), load::stripped(file, |service| services.contains(service))))
            .collect()
    }

    /// Returns the pool that all descriptors of these contracts live in.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.inner.pool
    }

    /// Returns the files that define the services, and all that these import, imports first.
    fn files(&self, services: &BTreeSet<String>) -> Vec<FileDescriptor> {
        Self::files_of(services.iter().filter_map(|name| self.service(name)).map(|service| &service.descriptor))
    }

    /// Returns the same of services in one pool.
    fn files_of<'s>(services: impl IntoIterator<Item = &'s ServiceDescriptor>) -> Vec<FileDescriptor> {
        let mut found = BTreeMap::new();
        let mut waiting: Vec<_> = services.into_iter().map(ServiceDescriptor::parent_file).collect();
        while let Some(file) = waiting.pop() {
            // The pool takes a file only after its imports, so its order is one in which all can be read.
            if let Entry::Vacant(vacant) = found.entry(file.index()) {
                waiting.extend(file.dependencies());
                vacant.insert(file);
            }
        }
        found.into_values().collect()
    }
}

fn join(package: &str, name: &str) -> String {
    if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
}

impl Inner {
    fn new(pool: DescriptorPool) -> Self {
        let (mut planner, mut ruler) = (Planner::default(), rules::Planner::default());
        let outline: Vec<_> = pool
            .services()
            .map(|service| {
                let plan = |method: MethodDescriptor| {
                    let (input, output) = (planner.position(&method.input()), planner.position(&method.output()));
                    let rules = (ruler.position(&method.input()), ruler.position(&method.output()));
                    (method, input, output, rules)
                };
                let methods: Vec<_> = service.methods().map(plan).collect();
                (service, methods)
            })
            .collect();
        let (plans, rules) = (Arc::new(planner.finish()), Arc::new(ruler.finish()));
        let mut services = Vec::new();
        let mut methods = HashMap::new();
        for (descriptor, of_service) in outline {
            let digest = Digest::of(&canonical::text(&descriptor));
            let mut own = Vec::new();
            for (method, input_plan, output_plan, (input_rules, output_rules)) in of_service {
                let (says, _) = options::method_rules(&method);
                let (input, output) = (method.input(), method.output());
                let made = Arc::new(Method {
                    path: format!("/{}/{}", descriptor.full_name(), method.name()),
                    kind: says.kind,
                    operation: says.operation,
                    deadline: says.deadline,
                    digest,
                    plans: Arc::clone(&plans),
                    input_plan,
                    output_plan,
                    rules: Arc::clone(&rules),
                    input_rules,
                    output_rules,
                    descriptor: method,
                    input,
                    output,
                });
                methods.insert(made.path.clone(), Arc::clone(&made));
                own.push(made);
            }
            services.push(Service { name: descriptor.full_name().to_owned(), digest, methods: own, descriptor });
        }
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Self { pool, services, methods }
    }
}
