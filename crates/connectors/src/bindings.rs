//! All bindings of a gateway: prepared together, so that every misfit is known before the first question.

mod problem;
mod workshop;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Contracts, Method};

pub use self::problem::BindingProblem;
pub(crate) use self::problem::Complaint;
use self::workshop::{Legacy, Workshop};
use crate::config::{BindingConfig, DatabaseConfig};
use crate::{Connector, ConnectorError};

/// What bindings are made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The tables `[[binding]]`, in their order.
    pub bindings: &'a [BindingConfig],
    /// The tables `[database.<name>]`.
    pub databases: &'a BTreeMap<String, DatabaseConfig>,
    /// What the methods mean.
    pub contracts: &'a Contracts,
    /// What relative paths are relative to: the folder of the configuration file.
    pub folder: &'a Path,
}

/// The prepared bindings: which connector answers which method. Cloning is cheap.
///
/// Connections end once the last clone is dropped, and with it the last question that is answered through one.
#[derive(Clone, Default)]
pub struct Bindings {
    methods: Arc<HashMap<String, Binding>>,
    #[cfg_attr(not(any(feature = "sql", feature = "grpc")), expect(dead_code, reason = "a mock shares nothing"))]
    legacy: Arc<Legacy>,
}

impl Bindings {
    /// Prepares every binding: reads files, opens databases, and holds each statement against its contract.
    ///
    /// A back end of kind `grpc` is not asked; [`Binding::health`] does that. Must run within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Every problem of every binding and database, in the order of the configuration.
    pub async fn prepare(setup: Setup<'_>) -> Result<Self, Vec<BindingProblem>> {
        Self::prepare_after(setup, &Self::default()).await
    }

    /// As [`Bindings::prepare`], and keeps of `previous` what has not changed: the connections of every database and back end whose
    /// settings are the same, and the statements on them whose binding and contract are. What is kept is not tried again.
    ///
    /// # Errors
    ///
    /// Every problem of every binding and database, in the order of the configuration.
    pub async fn prepare_after(setup: Setup<'_>, previous: &Self) -> Result<Self, Vec<BindingProblem>> {
        let (bindings, problems) = Self::prepare_what_fits(setup, previous).await;
        if problems.is_empty() { Ok(bindings) } else { Err(problems) }
    }

    /// As [`Bindings::prepare_after`], and returns the bindings with which nothing is wrong beside every problem of the others. For who
    /// looks at legacy systems, not for who answers.
    pub async fn prepare_what_fits(setup: Setup<'_>, previous: &Self) -> (Self, Vec<BindingProblem>) {
        let mut workshop = Workshop::open(setup, previous).await;
        let mut methods: HashMap<String, Binding> = HashMap::new();
        for (index, config) in setup.bindings.iter().enumerate() {
            let prefix = format!("binding[{index}]");
            let (binding, complaints) = match workshop.binding(config).await {
                Ok(binding) => (Some(binding), Vec::new()),
                Err(complaints) => (None, complaints),
            };
            workshop.problems.extend(complaints.into_iter().map(|complaint| complaint.below(&prefix)));
            if let Some(binding) = binding
                && let Some(earlier) = methods.insert(binding.method.path().to_owned(), binding)
            {
                workshop.problems.push(BindingProblem {
                    key: format!("{prefix}.method"),
                    what: format!("`{}` has two bindings", earlier.method.path().trim_start_matches('/')),
                    help: Some("leave one of them".into()),
                });
            }
        }
        let (legacy, problems) = workshop.close();
        (Self { methods: Arc::new(methods), legacy: Arc::new(legacy) }, problems)
    }

    /// Returns the binding of a method, named by its path: `/health.v1.Patients/Find`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Binding> {
        self.methods.get(path)
    }

    /// Returns the bindings, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.methods.values()
    }

    /// Returns how many methods are bound.
    #[must_use]
    pub fn len(&self) -> usize {
        self.methods.len()
    }

    /// Returns whether no method is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }
}

impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.methods.keys()).finish()
    }
}

/// One method and the connector that answers it.
#[derive(Clone)]
pub struct Binding {
    method: Arc<Method>,
    connector: Arc<dyn Connector>,
    timeout: Option<Duration>,
    kind: &'static str,
    system: Arc<str>,
    plaintext: bool,
    /// What it was made of, to be known again.
    config: Arc<BindingConfig>,
}

impl Binding {
    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Arc<Method> {
        &self.method
    }

    /// Returns the connector.
    #[must_use]
    pub fn connector(&self) -> &Arc<dyn Connector> {
        &self.connector
    }

    /// Returns the binding's own limit for an answer, which the connector keeps too.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the kind of connector, as the configuration names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Names the legacy system as the configuration does, for the member's own log and records: its kind, and its database or address.
    #[must_use]
    pub fn system(&self) -> &Arc<str> {
        &self.system
    }

    /// Returns whether the connector speaks without TLS, which only a gateway in development may.
    #[must_use]
    pub fn dangerous_plaintext(&self) -> bool {
        self.plaintext
    }

    /// Returns whether answers are made up, which only a gateway in development may answer with.
    #[must_use]
    pub fn makes_up(&self) -> bool {
        self.kind == "mock"
    }

    /// Tries the path to the legacy system.
    ///
    /// # Errors
    ///
    /// What a question would get now.
    pub async fn health(&self) -> Result<(), ConnectorError> {
        self.connector.health().await
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("method", &self.method.path())
            .field("kind", &self.kind)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a binding may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: Option<Duration>,
    /// Largest message, in bytes.
    pub(crate) message: usize,
}

impl Limits {
    /// The sooner of the question's deadline and the binding's own.
    pub(crate) fn deadline(&self, asked: Option<Instant>) -> Option<Instant> {
        let own = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match (asked, own) {
            (Some(asked), Some(own)) => Some(asked.min(own)),
            (asked, own) => asked.or(own),
        }
    }
}
