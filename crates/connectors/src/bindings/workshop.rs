//! Where bindings are prepared: databases are opened once, and what has not changed since the last time is taken over.

#[cfg(feature = "sql")]
use std::collections::BTreeMap;
use std::sync::Arc;

use contract::Method;
use problem::nearest;

use super::{Binding, BindingProblem, Bindings, Complaint, Limits, Setup};
use crate::Connector;
#[cfg(feature = "sql")]
use crate::config::DatabaseConfig;
use crate::config::{BindingConfig, ConnectorConfig};

/// What bindings share while they are prepared.
pub(super) struct Workshop<'a> {
    setup: Setup<'a>,
    previous: &'a Bindings,
    #[cfg(feature = "sql")]
    databases: BTreeMap<&'a str, Option<Opened>>,
    #[cfg(feature = "grpc")]
    channels: crate::grpc::Channels,
    #[cfg(feature = "mock")]
    shelf: crate::mock::Shelf,
    pub(super) problems: Vec<BindingProblem>,
}

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

impl<'a> Workshop<'a> {
    #[cfg_attr(not(feature = "sql"), expect(clippy::unused_async, reason = "databases are all that is waited for"))]
    pub(super) async fn open(setup: Setup<'a>, previous: &'a Bindings) -> Self {
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

    pub(super) async fn binding(&mut self, config: &BindingConfig) -> Result<Binding, Vec<Complaint>> {
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
                let system = system(kind, &config.connector).into();
                let config = Arc::new(config.clone());
                Ok(Binding { method, connector, timeout: limits.timeout, kind, system, plaintext, config })
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
    pub(super) fn close(self) -> (Legacy, Vec<BindingProblem>) {
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
            "sql" => self.sql(&config.connector, method, limits).await,
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

    /// Tells all that is wrong at once: what the table says by itself, and what does not fit its database or its contract.
    #[cfg(feature = "sql")]
    async fn sql(
        &self,
        config: &ConnectorConfig,
        method: &Arc<Method>,
        limits: Limits,
    ) -> Result<Made, Vec<Complaint>> {
        let named = config.database.as_deref().and_then(|name| self.setup.databases.get(name));
        let dialect = named.map_or(crate::sql::Dialect::Sqlite, crate::sql::dialect);
        let mut binding = crate::sql::SqlBinding::read(config, dialect)?;
        let mut complaints = std::mem::take(&mut binding.wrong);
        let database = match self.databases.get(binding.database.as_str()) {
            Some(Some(database)) => Arc::clone(&database.engine),
            // Its problem is known already.
            Some(None) => return Err(complaints),
            None => {
                let help = listing(&binding.database, self.databases.keys().copied());
                let what = format!("there is no table `[database.{}]`", binding.database);
                complaints.push(Complaint::new("database", what, help));
                return Err(complaints);
            }
        };
        let engine = &database;
        let prepared: Result<Arc<dyn Connector>, Vec<Complaint>> = match &binding.script {
            crate::sql::Script::Query(statement) => {
                let made = crate::sql::SqlConnector::prepare(&binding, statement, method, engine, limits).await;
                made.map(|made| Arc::new(made) as Arc<dyn Connector>)
            }
            crate::sql::Script::Command(statements) => {
                let made = crate::sql::SqlCommand::prepare(&binding, statements, method, engine, limits).await;
                made.map(|made| Arc::new(made) as Arc<dyn Connector>)
            }
        };
        match prepared {
            Ok(connector) if complaints.is_empty() => Ok((connector, "sql", database.dangerous_plaintext())),
            prepared => {
                complaints.extend(prepared.err().into_iter().flatten());
                Err(complaints)
            }
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

/// The legacy systems that bindings share, to be kept by the next ones.
#[derive(Default)]
pub(super) struct Legacy {
    /// What the paths of databases are relative to.
    #[cfg(feature = "sql")]
    folder: std::path::PathBuf,
    #[cfg(feature = "sql")]
    databases: BTreeMap<String, (DatabaseConfig, Arc<dyn crate::sql::Engine>)>,
    #[cfg(feature = "grpc")]
    channels: crate::grpc::Channels,
}

/// A database, and whether it was open before.
#[cfg(feature = "sql")]
struct Opened {
    engine: Arc<dyn crate::sql::Engine>,
    kept: bool,
}

/// A connector, its kind, and whether it speaks without TLS.
type Made = (Arc<dyn Connector>, &'static str, bool);

/// Names a legacy system.
fn system(kind: &str, config: &ConnectorConfig) -> String {
    match config.database.as_deref().or(config.address.as_deref()) {
        Some(name) => format!("{kind} `{name}`"),
        None => kind.to_owned(),
    }
}

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
