//! Starts one gateway and stops it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use exchange::{House, Limits, Rules, Sessions};
use federation::{
    GatewayId, Identity, SystemId,
    trust::{TlsIdentity, TlsOptions, TrustStore, server_config},
};
use ledger::{Ledger, Sealer};
use link::{
    Http2, Keepalive,
    server::{self, Event, Identified, Server, Sharing, Transport},
};
use records::{Commands, Records};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use crate::{
    accepted,
    answers::AnswerStore,
    config::ClientsConfig,
    load::{Prepared, chain},
    observe::{Gauge, Observer, Setup},
    operations,
    places::Places,
    recovery,
    security::Security,
    services,
    status::{self, Source},
    telemetry::{self, Exporting, Telemetry},
    upkeep::Upkeep,
    workers::{Shared, Workers},
};

/// A gateway that runs.
pub struct Gateway {
    serving: Serving,
    links: Option<Server<GatewayId>>,
    clients: Option<Server<SystemId>>,
    workers: Workers,
    operations: tokio::task::JoinHandle<()>,
    upkeep: tokio::task::JoinHandle<()>,
    shared: Arc<Shared>,
    drain: Duration,
    health: tonic_health::server::HealthReporter,
    telemetry: Option<Telemetry>,
}

/// What a gateway serves, for people.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The gateway.
    pub gateway: GatewayId,
    /// Where links come in.
    pub links: Option<SocketAddr>,
    /// Where clients come in, and whether in plain text.
    pub clients: Option<(SocketAddr, bool)>,
    /// Where metrics and health are.
    pub operations: SocketAddr,
    /// Methods that other members can ask.
    pub methods: usize,
    /// Agreements in force or to come.
    pub agreements: usize,
    /// Members in the directory.
    pub members: usize,
    /// Records in the log.
    pub records: u64,
    /// What someone should know.
    pub warnings: Vec<String>,
}

impl Serving {
    fn ports(&self) -> status::Ports {
        status::Ports {
            links: self.links,
            clients: self.clients.map(|(address, _)| address),
            operations: self.operations,
        }
    }
}

/// A gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The exchange log cannot be opened.
    #[error("cannot open the exchange log in `{folder}`")]
    Ledger {
        /// The data folder.
        folder: String,
        /// Why.
        #[source]
        source: Box<ledger::OpenError>,
    },
    /// The exchange log cannot be read.
    #[error("cannot read the exchange log in `{folder}`")]
    Records {
        /// The data folder.
        folder: String,
        /// Why.
        #[source]
        source: Box<records::FindError>,
    },
    /// What happened before cannot be recorded.
    #[error("cannot record what the last run left open")]
    Recovery(#[from] ledger::AppendError),
    /// A port cannot be listened on.
    #[error("cannot listen on {address} (`{setting}`)")]
    Listen {
        /// The key of the configuration.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that is not to be expected.
    #[error("cannot start: {0}")]
    Other(String),
}

impl StartError {
    /// What to do about it, where the message and its cause do not say.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Ledger { source, .. } => source.help(),
            Self::Records { .. } => Some(ledger::Damage::HELP),
            Self::Recovery(_) | Self::Listen { .. } | Self::Other(_) => None,
        }
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}

impl Gateway {
    /// Starts a gateway: opens its log, settles what the last run left open, then its ports.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what stands in the way and where.
    pub async fn start(prepared: Prepared) -> Result<Self, StartError> {
        let config = prepared.file.config.clone();
        let (ledger, recovery) = open_ledger(&prepared)?;
        let folder = prepared.file.path(&config.data.folder).display().to_string();
        let opened = Records::open(ledger.clone(), ledger_folder(&prepared))
            .map_err(|source| StartError::Records { folder, source: Box::new(source) })?;
        let rules = Arc::new(ArcSwap::from_pointee(Rules {
            contracts: prepared.contracts.clone(),
            agreements: prepared.agreements.agreements.clone(),
            federation: prepared.trust.federation().clone(),
        }));
        let house = Arc::new(house(&prepared, rules.clone(), opened.records.clone()));
        recovery::event(&house, records::STARTED.to_owned()).await?;
        if let Some(torn) = &recovery.torn {
            let what = format!(
                "torn-batch: the last batch of the journal was incomplete ({} bytes) and was moved to `{}`",
                torn.bytes,
                torn.moved_to.display()
            );
            tracing::warn!(bytes = torn.bytes, moved_to = %torn.moved_to.display(), "the last batch of the journal was incomplete and was moved aside");
            recovery::event(&house, what).await?;
        }
        recovery::restore(&house, &opened.usage);
        let settled = recovery::settle(&house, opened.unsettled).await?;
        if settled > 0 {
            tracing::warn!(count = settled, "exchanges that the last run left open are settled as UNANSWERED");
        }
        Box::pin(Self::serve(prepared, house, rules, &ledger, (opened.promises, opened.commands))).await
    }

    async fn serve(
        prepared: Prepared,
        house: Arc<House>,
        rules: Arc<ArcSwap<Rules>>,
        ledger: &Ledger,
        (promises, commands): (Vec<proto::link::LeafOpening>, Commands),
    ) -> Result<Self, StartError> {
        let config = prepared.file.config.clone();
        let other = |error: &dyn std::error::Error| StartError::Other(chain(error));
        let count =
            config.limits.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        accepted::write(&prepared.file, prepared.trust.federation())
            .map_err(|error| StartError::Other(format!("cannot remember the directory in the data folder: {error}")))?;
        let members = prepared.trust.federation().members().len();
        let security = Arc::new(Security::default());
        let noted = security.clone();
        let trust = TrustStore::observed(prepared.trust, Arc::new(move |distrust| noted.distrusted(distrust)));
        let options = TlsOptions { post_quantum: config.tls.post_quantum };
        let limits = server_limits(&config.limits);
        let ports =
            Ports { tls: &prepared.tls, trust: &trust, options: &options, limits: &limits, count, security: &security };
        let links = config.links.as_ref().map(|links| ports.links(links.listen)).transpose()?;
        let clients = config.clients.as_ref().map(|clients| ports.clients(clients, &prepared.gateway)).transpose()?;
        let address = |pair: &Vec<TcpListener>| pair.first().and_then(|l| l.local_addr().ok());
        let operations_listener = tokio::net::TcpListener::bind(config.operations.listen).await.map_err(|source| {
            StartError::Listen { setting: "operations.listen", address: config.operations.listen, source }
        })?;
        let operations_address = operations_listener.local_addr().unwrap_or(config.operations.listen);
        let serving = Serving {
            gateway: prepared.gateway.clone(),
            links: links.as_ref().and_then(|(_, l)| address(l)),
            clients: clients
                .as_ref()
                .and_then(|(_, l)| address(l))
                .map(|a| (a, config.clients.as_ref().is_some_and(|c| c.dangerous_plaintext_system.is_some()))),
            operations: operations_address,
            methods: prepared.bindings.len(),
            agreements: prepared.agreements.agreements.iter().len(),
            members,
            records: ledger.checkpoint().size,
            warnings: prepared.warnings.clone(),
        };
        let (reporter, health) = services::health().await;
        let ledgers = Arc::new(crate::promises::Ledgers::default());
        let gauges =
            gauges(ledger, &ledgers, links.as_ref().map(|(s, _)| s.clone()), clients.as_ref().map(|(s, _)| s.clone()));
        let counts = Arc::default();
        let (exporting, spans, export) = telemetry::prepare(prepared.telemetry, &prepared.gateway, &counts);
        let setup = Setup { rules: rules.clone(), gauges, security, counts, spans, export };
        let observer = Arc::new(Observer::new(setup).map_err(StartError::Other)?);
        let telemetry = exporting.map(Exporting::start).transpose().map_err(|error| other(&error))?;
        let drain = config.limits.drain.duration();
        let answers = open_answers(&prepared.file)?;
        let shared = Arc::new(Shared {
            house,
            rules,
            trust,
            tls: prepared.tls.clone(),
            options,
            ledgers: ledgers.clone(),
            observer,
            places: Places::new(config.limits.exchanges),
            sessions: Arc::new(Sessions::default()),
            commands: (Arc::new(commands), answers),
            health,
            gateway_key: prepared.gateway_key,
            bindings: prepared.bindings,
            systems: Arc::new(prepared.systems),
            draining: CancellationToken::new(),
            file: prepared.file,
        });
        for opening in promises {
            shared.remember(&opening);
        }
        let workers = Workers::start(&shared, links.as_ref(), clients.as_ref(), count).map_err(|e| other(&e))?;
        let upkeep = Upkeep::new(
            &shared,
            links.as_ref().map(|(s, _)| s.clone()),
            clients.as_ref().map(|(s, _)| s.clone()),
            workers.links(),
            (reporter.clone(), prepared.loader),
        );
        let (links, clients) = (links.map(|(server, _)| server), clients.map(|(server, _)| server));
        let source = Source {
            shared: shared.clone(),
            links: links.clone(),
            clients: clients.clone(),
            dialled: upkeep.dialled(),
            ports: serving.ports(),
            started: (now(), Instant::now()),
        };
        let source = Arc::new(source);
        shared.observer.watch(&source);
        let upkeep = tokio::spawn(upkeep.run());
        let operations = tokio::spawn(operations::serve(operations_listener, source));
        tracing::info!(
            event = "gateway-started",
            gateway = %serving.gateway,
            version = env!("CARGO_PKG_VERSION"),
            records = serving.records,
            "the gateway has started"
        );
        Ok(Self { serving, links, clients, workers, operations, upkeep, shared, drain, health: reporter, telemetry })
    }

    /// Returns what is served.
    #[must_use]
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Takes nothing new, lets open exchanges end for as long as the configuration allows, and closes the log.
    ///
    /// Returns how many connections had to be closed with exchanges open.
    pub async fn stop(self) -> usize {
        self.shared.draining.cancel();
        tracing::info!(event = "gateway-stopping", gateway = %self.serving.gateway, "the gateway takes nothing new");
        self.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        let clients = async {
            match &self.clients {
                Some(server) => server.drain(self.drain).await.closed,
                None => 0,
            }
        };
        let links = async {
            match &self.links {
                Some(server) => server.drain(self.drain).await.closed,
                None => 0,
            }
        };
        let (clients, links) = tokio::join!(clients, links);
        self.upkeep.abort();
        self.operations.abort();
        // Exchanges whose connections are gone still settle: their tasks run on the workers' runtimes.
        self.shared.settle_rest(Duration::from_secs(5)).await;
        self.workers.stop();
        if let Err(error) = self.shared.house.flood.flush(&self.shared.house).await {
            tracing::error!(%error, "cannot record refusals in aggregate");
        }
        if let Err(error) = recovery::event(&self.shared.house, records::STOPPED.to_owned()).await {
            tracing::error!(%error, "cannot record that the gateway stops in order");
        }
        let ledger = self.shared.house.records.ledger().clone();
        ledger.close().await;
        if let Some(telemetry) = self.telemetry {
            // Nobody waits for more than a moment.
            let _ = tokio::task::spawn_blocking(|| telemetry.stop()).await;
        }
        clients.saturating_add(links)
    }
}

/// Where the ledger lies: a folder of its own in the data folder.
fn ledger_folder(prepared: &Prepared) -> std::path::PathBuf {
    prepared.file.path(&prepared.file.config.data.folder).join("ledger")
}

fn open_answers(file: &crate::config::ConfigFile) -> Result<Arc<AnswerStore>, StartError> {
    let (config, folder) = (&file.config.commands, file.path(&file.config.data.folder).join("answers"));
    AnswerStore::open(&folder, config.keep.duration(), config.room.bytes(), now()).map(Arc::new).map_err(|error| {
        let what = format!("cannot open the folder `{}` of kept answers: {error}", folder.display());
        StartError::Other(what)
    })
}

fn open_ledger(prepared: &Prepared) -> Result<(Ledger, ledger::Recovery), StartError> {
    let folder = prepared.file.path(&prepared.file.config.data.folder);
    let origin = format!("{}/log/{}", prepared.gateway.member(), prepared.gateway.name());
    let config =
        ledger::Config::new(ledger_folder(prepared), origin, prepared.log_key.clone(), prepared.gateway_key.clone());
    std::fs::create_dir_all(&folder)
        .map_err(|error| StartError::Other(format!("cannot make the data folder `{}`: {error}", folder.display())))?;
    Ledger::open(config)
        .map_err(|source| StartError::Ledger { folder: folder.display().to_string(), source: Box::new(source) })
}

fn house(prepared: &Prepared, rules: Arc<ArcSwap<Rules>>, records: Records) -> House {
    let config = &prepared.file.config;
    let mut conditions = Vec::new();
    if config.development {
        conditions.push("development".to_owned());
    }
    if config.clients.as_ref().is_some_and(|c| c.dangerous_plaintext_system.is_some()) {
        conditions.push("plaintext-clients".to_owned());
    }
    if prepared.bindings.iter().any(connectors::Binding::dangerous_plaintext) {
        conditions.push("plaintext-legacy".to_owned());
    }
    if prepared.bindings.iter().any(connectors::Binding::makes_up) {
        conditions.push("mock-legacy".to_owned());
    }
    House {
        gateway: prepared.gateway.clone(),
        rules,
        records,
        sealer: Sealer::new(prepared.gateway_key.clone()),
        clock: now,
        flood: Arc::default(),
        meters: Arc::default(),
        limits: Limits { message: config.limits.message.bytes(), ..Limits::default() },
        conditions,
        sampling: prepared.telemetry.as_ref().map(telemetry::Plan::sampling).unwrap_or_default(),
    }
}

fn server_limits(config: &crate::config::LimitsConfig) -> server::Limits {
    server::Limits {
        http2: Http2 {
            streams: config.streams,
            header_bytes: u32::try_from(config.header.bytes()).unwrap_or(u32::MAX),
            header_timeout: config.header_timeout.duration(),
            keepalive: Keepalive { interval: config.keepalive.duration(), ..Keepalive::default() },
            ..Http2::default()
        },
        handshakes: server::Handshakes { timeout: config.handshake_timeout.duration(), at_once: config.handshakes },
        connections: config.connections,
        connection_age: Some(config.connection_age.duration()),
        ..server::Limits::default()
    }
}

/// What both ports are made of.
struct Ports<'a> {
    tls: &'a TlsIdentity,
    trust: &'a TrustStore,
    options: &'a TlsOptions,
    limits: &'a server::Limits,
    count: usize,
    security: &'a Arc<Security>,
}

type Port<P> = (Server<P>, Vec<TcpListener>);

impl Ports<'_> {
    fn links(&self, address: SocketAddr) -> Result<Port<GatewayId>, StartError> {
        let transport = self.tls(self.trust.links_verifier(), false)?;
        let server = Server::observed(self.limits.clone(), transport, identify_gateway, self.noted("links"));
        Ok((server, listeners(address, self.count, "links.listen")?))
    }

    fn clients(&self, config: &ClientsConfig, own: &GatewayId) -> Result<Port<SystemId>, StartError> {
        let transport = if config.dangerous_plaintext_system.is_some() {
            tracing::warn!(address = %config.listen, "DANGEROUS: clients are served in plain text, without certificates");
            Transport::Plain
        } else {
            self.tls(self.trust.clients_verifier(), config.rest)?
        };
        let plain = plain_system(own, config.dangerous_plaintext_system.as_deref())?;
        let identify = move |certificates: &[CertificateDer<'static>]| identify_system(certificates, plain.as_ref());
        let limits = server::Limits { http1: config.rest, ..self.limits.clone() };
        let server = Server::observed(limits, transport, identify, self.noted("clients"));
        Ok((server, listeners(config.listen, self.count, "clients.listen")?))
    }

    fn noted(&self, port: &'static str) -> impl Fn(Event) + Send + Sync + use<> {
        let security = self.security.clone();
        move |event| security.on_port(port, &event)
    }

    fn tls(&self, verifier: Arc<dyn ClientCertVerifier>, http1: bool) -> Result<Transport, StartError> {
        let mut tls = server_config(self.tls, verifier, self.options).map_err(|e| StartError::Other(chain(&e)))?;
        if http1 {
            // Behind `h2`, so that who knows both speaks HTTP/2.
            Arc::make_mut(&mut tls).alpn_protocols.push(server::ALPN_HTTP1.to_vec());
        }
        Ok(Transport::Tls(Arc::new(move || tls.clone())))
    }
}

fn listeners(address: SocketAddr, count: usize, setting: &'static str) -> Result<Vec<TcpListener>, StartError> {
    let failed = |source| StartError::Listen { setting, address, source };
    // Alone first: another process on the port is refused rather than shared with.
    let probe = server::listener(address, Sharing::Alone).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?;
    drop(probe);
    (0..count).map(|_| server::listener(address, Sharing::Shared).map_err(failed)).collect()
}

type Turned = Box<dyn std::error::Error + Send + Sync>;

fn identify_gateway(certificates: &[CertificateDer<'static>]) -> Result<Identified<GatewayId>, Turned> {
    let leaf = certificates.first().ok_or("no certificate")?;
    match Identity::from_certificate(leaf)? {
        Identity::Gateway(gateway) => Ok(Identified { name: gateway.member().to_string().into(), peer: gateway }),
        Identity::System(_) | Identity::Auditor(_) => Err("not a gateway's certificate".into()),
    }
}

fn identify_system(
    certificates: &[CertificateDer<'static>],
    plain: Option<&SystemId>,
) -> Result<Identified<SystemId>, Turned> {
    if let Some(system) = plain {
        return Ok(Identified { name: system.to_string().into(), peer: system.clone() });
    }
    let leaf = certificates.first().ok_or("no certificate")?;
    match Identity::from_certificate(leaf)? {
        Identity::System(system) => Ok(Identified { name: system.to_string().into(), peer: system }),
        Identity::Gateway(_) | Identity::Auditor(_) => Err("not a system's certificate".into()),
    }
}

fn plain_system(gateway: &GatewayId, name: Option<&str>) -> Result<Option<SystemId>, StartError> {
    let Some(name) = name else { return Ok(None) };
    let system = format!("{}/{name}", gateway.member()).parse();
    system
        .map(Some)
        .map_err(|_| StartError::Other(format!("`clients.dangerous_plaintext_system`: `{name}` is not a name")))
}

fn gauges(
    ledger: &Ledger,
    ledgers: &Arc<crate::promises::Ledgers>,
    links: Option<Server<GatewayId>>,
    clients: Option<Server<SystemId>>,
) -> Vec<(&'static str, &'static str, Gauge)> {
    let mut gauges: Vec<(&'static str, &'static str, Gauge)> = Vec::new();
    let (size, healthy) = (ledger.clone(), ledger.clone());
    gauges.push((
        "drawbridge.ledger.leaves",
        "Leaves that the newest checkpoint covers",
        Box::new(move || size.checkpoint().size),
    ));
    gauges.push((
        "drawbridge.ledger.healthy",
        "1 while the ledger takes records",
        Box::new(move || u64::from(healthy.healthy().is_ok())),
    ));
    for (name, text, pick) in [
        ("drawbridge.promise.kept", "Promises of other gateways found in their logs", 0_usize),
        ("drawbridge.promise.broken", "Promises of other gateways that their logs do not keep", 1),
        ("drawbridge.promise.unchecked", "Promises that were not checked because too many waited", 2),
    ] {
        let ledgers = ledgers.clone();
        gauges.push((
            name,
            text,
            Box::new(move || {
                let (kept, broken, unchecked) = ledgers.counts();
                [kept, broken, unchecked].get(pick).copied().unwrap_or_default()
            }),
        ));
    }
    if let Some(server) = links {
        let streams = server.clone();
        gauges.push((
            "drawbridge.link.connections",
            "Open connections of other gateways",
            Box::new(move || server.connections().len() as u64),
        ));
        gauges.push((
            "drawbridge.link.streams",
            "Open exchanges of other gateways",
            Box::new(move || streams.connections().streams() as u64),
        ));
    }
    if let Some(server) = clients {
        gauges.push((
            "drawbridge.client.connections",
            "Open connections of own systems",
            Box::new(move || server.connections().len() as u64),
        ));
    }
    gauges
}
