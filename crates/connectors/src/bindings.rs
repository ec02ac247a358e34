//! All bindings of a gateway: prepared together, so that every misfit is known before the first question.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Contracts, Method};
use problem::{Problem, TomlFile, nearest};

use crate::config::{BindingConfig, DatabaseConfig};
use crate::{Connector, ConnectorError};

/// Largest message that a legacy system may answer with, unless configured. As gRPC's own limit.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The kinds of this build, in order.
const KINDS: &[&str] = &[
    #[cfg(feature = "grpc")]
    "grpc",
    #[cfg(feature = "mock")]
    "mock",
    #[cfg(feature = "sql")]
    "sql",
];

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
        if problems.is_empty() {
            Ok(Self { methods: Arc::new(methods), legacy: Arc::new(legacy) })
        } else {
            Err(problems)
        }
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

/// Something in the configuration that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingProblem {
    /// Path of the key at fault, as in `binding[0].connector.query`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl BindingProblem {
    /// Finds the place in the file that the configuration was read from.
    #[must_use]
    pub fn in_file(self, file: &TomlFile) -> Problem {
        let problem = file.problem(&self.key, self.what);
        match self.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

/// A problem below a key that only the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Key below `connector`; empty for the table itself.
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) help: Option<String>,
}

impl Complaint {
    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into(), help: Some(help.into()) }
    }

    fn below(self, prefix: &str) -> BindingProblem {
        let key = match self.key.as_str() {
            "" => format!("{prefix}.connector"),
            // Keys of the binding itself, which no connector has.
            "method" | "timeout" | "max_message" => format!("{prefix}.{}", self.key),
            key => format!("{prefix}.connector.{key}"),
        };
        BindingProblem { key, what: self.what, help: self.help }
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

/// The legacy systems that bindings share, to be kept by the next ones.
#[derive(Default)]
struct Legacy {
    /// What the paths of databases are relative to.
    #[cfg(feature = "sql")]
    folder: std::path::PathBuf,
    #[cfg(feature = "sql")]
    databases: BTreeMap<String, (DatabaseConfig, Arc<dyn crate::sql::Engine>)>,
    #[cfg(feature = "grpc")]
    channels: crate::grpc::Channels,
}

/// What bindings share while they are prepared.
struct Workshop<'a> {
    setup: Setup<'a>,
    previous: &'a Bindings,
    #[cfg(feature = "sql")]
    databases: BTreeMap<&'a str, Option<Opened>>,
    #[cfg(feature = "grpc")]
    channels: crate::grpc::Channels,
    #[cfg(feature = "mock")]
    shelf: crate::mock::Shelf,
    problems: Vec<BindingProblem>,
}

/// A database, and whether it was open before.
#[cfg(feature = "sql")]
struct Opened {
    engine: Arc<dyn crate::sql::Engine>,
    kept: bool,
}

impl<'a> Workshop<'a> {
    #[cfg_attr(not(feature = "sql"), expect(clippy::unused_async, reason = "databases are all that is waited for"))]
    async fn open(setup: Setup<'a>, previous: &'a Bindings) -> Self {
        #[cfg_attr(not(feature = "sql"), expect(unused_mut, reason = "databases are all that is opened"))]
        let mut workshop = Self {
            setup,
            previous,
            #[cfg(feature = "sql")]
            databases: BTreeMap::new(),
            #[cfg(feature = "grpc")]
            channels: crate::grpc::Channels::after(&previous.legacy.channels),
            #[cfg(feature = "mock")]
            shelf: crate::mock::Shelf::default(),
            problems: Vec::new(),
        };
        #[cfg(feature = "sql")]
        for (name, config) in setup.databases {
            let database = workshop.database(name, config).await;
            workshop.databases.insert(name, database);
        }
        workshop
    }

    /// Opens a database once. `None` after a problem with it, which the bindings that name it need not repeat.
    #[cfg(feature = "sql")]
    async fn database(&mut self, name: &str, config: &DatabaseConfig) -> Option<Opened> {
        let before = &self.previous.legacy;
        let known =
            before.databases.get(name).filter(|(known, _)| known == config && before.folder == self.setup.folder);
        if let Some((_, engine)) = known {
            return Some(Opened { engine: Arc::clone(engine), kept: true });
        }
        let mut problem = |key: &str, what: String, help: String| {
            self.problems.push(BindingProblem { key: format!("database.{name}.{key}"), what, help: Some(help) });
        };
        let database = match crate::sql::open(config, self.setup.folder) {
            Ok(database) => database,
            Err(wrong) => {
                for wrong in wrong {
                    problem(wrong.key, wrong.what, wrong.help);
                }
                return None;
            }
        };
        if let Err(error) = database.probe().await {
            problem("url", format!("database `{name}` cannot be used: {error}"), database.cure(&error));
            return None;
        }
        Some(Opened { engine: database, kept: false })
    }

    async fn binding(&mut self, config: &BindingConfig) -> Result<Binding, Vec<Complaint>> {
        let method = self.method(&config.method).map_err(|complaint| vec![complaint])?;
        if let Some(kept) = self.kept(config, &method) {
            return Ok(Binding { method, ..kept });
        }
        let mut complaints: Vec<Complaint> = too_long(&method, config).into_iter().collect();
        let limits = Limits {
            timeout: config.timeout.map(crate::Timeout::duration),
            message: config.max_message.map_or(MAX_MESSAGE, crate::Size::bytes),
        };
        match self.connector(config, &method, limits).await {
            Ok((connector, kind, plaintext)) if complaints.is_empty() => {
                let config = Arc::new(config.clone());
                Ok(Binding { method, connector, timeout: limits.timeout, kind, plaintext, config })
            }
            Ok(_) => Err(complaints),
            Err(more) => {
                complaints.extend(more);
                Err(complaints)
            }
        }
    }

    /// Returns the binding of a statement that was compiled before, for the same words of its contract, on a database that is kept. A
    /// contract's digest covers all that a statement was held against.
    fn kept(&self, config: &BindingConfig, method: &Method) -> Option<Binding> {
        let known = self.previous.get(method.path())?;
        let same = *known.config == *config && known.method.contract_digest() == method.contract_digest();
        (same && self.keeps(config)).then(|| known.clone())
    }

    #[cfg(feature = "sql")]
    fn keeps(&self, config: &BindingConfig) -> bool {
        let database = config.connector.database.as_deref().and_then(|name| self.databases.get(name)?.as_ref());
        config.connector.kind == "sql" && database.is_some_and(|database| database.kept)
    }

    /// Statements are all that is kept: a connector to a back end costs nothing to make.
    #[cfg(not(feature = "sql"))]
    #[expect(clippy::unused_self, reason = "the same in every build")]
    fn keeps(&self, _: &BindingConfig) -> bool {
        false
    }

    /// Returns what the next bindings may keep, and all problems.
    fn close(self) -> (Legacy, Vec<BindingProblem>) {
        #[cfg(feature = "sql")]
        let open = self.databases.into_iter().filter_map(|(name, opened)| {
            let config = self.setup.databases.get(name)?.clone();
            Some((name.to_owned(), (config, opened?.engine)))
        });
        let legacy = Legacy {
            #[cfg(feature = "sql")]
            folder: self.setup.folder.to_owned(),
            #[cfg(feature = "sql")]
            databases: open.collect(),
            #[cfg(feature = "grpc")]
            channels: self.channels.settled(),
        };
        (legacy, self.problems)
    }

    #[cfg_attr(not(feature = "sql"), expect(clippy::unused_async, reason = "databases are all that is waited for"))]
    async fn connector(
        &mut self,
        config: &BindingConfig,
        method: &Arc<Method>,
        limits: Limits,
    ) -> Result<Made, Vec<Complaint>> {
        match config.connector.kind.as_str() {
            #[cfg(feature = "sql")]
            "sql" => {
                let named = config.connector.database.as_deref().and_then(|name| self.setup.databases.get(name));
                let dialect = named.map_or(crate::sql::Dialect::Sqlite, crate::sql::dialect);
                let binding = crate::sql::SqlBinding::read(&config.connector, dialect)?;
                let database = match self.databases.get(binding.database.as_str()) {
                    Some(Some(database)) => Arc::clone(&database.engine),
                    // Its problem is known already.
                    Some(None) => return Err(Vec::new()),
                    None => {
                        let help = listing(&binding.database, self.databases.keys().copied());
                        let what = format!("there is no table `[database.{}]`", binding.database);
                        return Err(vec![Complaint::new("database", what, help)]);
                    }
                };
                let engine = database.as_ref();
                let connector: Arc<dyn Connector> = match &binding.script {
                    crate::sql::Script::Query(statement) => {
                        Arc::new(crate::sql::SqlConnector::prepare(&binding, statement, method, engine, limits).await?)
                    }
                    crate::sql::Script::Command(statements) => {
                        Arc::new(crate::sql::SqlCommand::prepare(&binding, statements, method, engine, limits).await?)
                    }
                };
                Ok((connector, "sql", database.dangerous_plaintext()))
            }
            #[cfg(feature = "grpc")]
            "grpc" => {
                let binding = crate::grpc::GrpcBinding::read(&config.connector, self.setup.folder)?;
                let plaintext = binding.plaintext();
                let channel = self.channels.get(binding)?;
                let connector = crate::grpc::GrpcConnector::prepare(method, channel, limits)?;
                Ok((Arc::new(connector), "grpc", plaintext))
            }
            #[cfg(feature = "mock")]
            "mock" => {
                let binding = crate::mock::MockBinding::read(&config.connector, self.setup.folder)?;
                let (contracts, shelf) = (self.setup.contracts, &mut self.shelf);
                let connector = crate::mock::MockConnector::prepare(&binding, method, contracts, shelf, limits)?;
                Ok((Arc::new(connector), "mock", false))
            }
            "" => Err(vec![Complaint::new(
                "",
                "the connector does not say its `kind`",
                listing("", KINDS.iter().copied()),
            )]),
            kind => Err(vec![Complaint::new(
                "kind",
                format!("unknown connector `{kind}`"),
                listing(kind, KINDS.iter().copied()),
            )]),
        }
    }

    fn method(&self, name: &str) -> Result<Arc<Method>, Complaint> {
        let path = if name.starts_with('/') { name.to_owned() } else { format!("/{name}") };
        if let Some(method) = self.setup.contracts.method(&path) {
            return Ok(Arc::clone(method));
        }
        let known: Vec<&str> = self
            .setup
            .contracts
            .services()
            .flat_map(|service| service.methods.iter())
            .map(|method| method.path().trim_start_matches('/'))
            .collect();
        let help = match nearest(name, known.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "write it as in `health.v1.Patients/Find`, and name the contract's folder in `[contracts]`".into(),
        };
        Err(Complaint::new("method", format!("no contract has a method `{name}`"), help))
    }
}

/// A connector, its kind, and whether it speaks without TLS.
type Made = (Arc<dyn Connector>, &'static str, bool);

/// A binding may not wait longer than its contract lets it.
fn too_long(method: &Method, config: &BindingConfig) -> Option<Complaint> {
    let timeout = config.timeout?;
    let deadline = method.deadline().filter(|deadline| timeout.duration() > *deadline)?;
    let deadline = humantime::format_duration(deadline);
    Some(Complaint::new(
        "timeout",
        format!(
            "the binding may wait {timeout}, but `{}` must answer within {deadline}",
            method.path().trim_start_matches('/')
        ),
        format!(
            "set it to \"{deadline}\" or less; the contract fixes the limit in `{}`",
            method.descriptor().parent_file().name()
        ),
    ))
}

fn listing<'n>(word: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    let list = names.clone().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if list.is_empty() {
        return "there is none".into();
    }
    match nearest(word, names) {
        Some(name) => format!("use one of {list}; did you mean `{name}`?"),
        None => format!("use one of {list}"),
    }
}
