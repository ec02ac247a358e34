//! Starts one gateway and stops it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use exchange::{Enquiries, House, LeftOpen, Limits, Rules, Sessions};
use federation::{GatewayId, SystemId, trust::TrustStore};
use ledger::{Ledger, Sealer};
use link::server::Server;
use problem::Problem;
use records::{Commands, Records, Unsettled};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    accepted,
    answers::AnswerStore,
    doctor,
    listening::Ports,
    load::{self, Prepared, chain},
    observe::{Gauge, Observer, Setup},
    operations,
    places::Places,
    ports::Legacy,
    recovery,
    reloads::{Asked, Reloaded, Reloads},
    running,
    security::Security,
    services,
    settings::{self, Read, Settings},
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
    reload: mpsc::Sender<Asked>,
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
    /// The data folder is not there, and cannot be made.
    #[error("cannot make the data folder `{folder}`")]
    Folder {
        /// The data folder.
        folder: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
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
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Folder { folder, .. } => Some(writable(folder)),
            Self::Ledger { folder, source } if matches!(**source, ledger::OpenError::Storage(_)) => {
                Some(writable(folder))
            }
            Self::Ledger { source, .. } => source.help().map(str::to_owned),
            Self::Records { .. } => Some(ledger::Damage::HELP.to_owned()),
            Self::Listen { setting, source, .. } => Some(doctor::cure_of_port(setting, source)),
            Self::Recovery(_) | Self::Other(_) => None,
        }
    }
}

fn writable(folder: &str) -> String {
    format!(
        "see that the gateway's user may write into `{folder}`, and that there is room on its disk; `drawbridge check`, run as that user, tells which"
    )
}

/// Who asks for a reload waits here while others are read for.
const WAITING_FOR_A_RELOAD: usize = 8;

/// What the log says of earlier runs.
struct Learnt {
    promises: Vec<proto::link::LeafOpening>,
    commands: Commands,
    left_open: Vec<(Unsettled, LeftOpen)>,
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
            legacy: Arc::new(Legacy::new(prepared.bindings.clone())),
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
        let (settled, left_open) = Box::pin(recovery::settle(&house, opened.unsettled)).await?;
        if settled > 0 {
            tracing::warn!(count = settled, "exchanges that the last run left open are settled as UNANSWERED");
        }
        if !left_open.is_empty() {
            tracing::info!(
                count = left_open.len(),
                "the last run left commands open; the gateways that were asked for them know how they ended"
            );
        }
        let learnt = Learnt { promises: opened.promises, commands: opened.commands, left_open };
        let served = Box::pin(Self::serve(prepared, house.clone(), rules, &ledger, learnt)).await;
        if served.is_err() {
            // It was not killed: the log shall not say so.
            recovery::event(&house, records::STOPPED.to_owned()).await?;
        }
        served
    }

    async fn serve(
        prepared: Prepared,
        house: Arc<House>,
        rules: Arc<ArcSwap<Rules>>,
        ledger: &Ledger,
        Learnt { promises, commands, left_open }: Learnt,
    ) -> Result<Self, StartError> {
        let config = prepared.file.config.clone();
        let other = |error: &dyn std::error::Error| StartError::Other(chain(error));
        let count =
            config.limits.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
        accepted::write(&prepared.file, prepared.trust.federation())
            .map_err(|error| StartError::Other(format!("cannot remember the directory in the data folder: {error}")))?;
        load::keep_contracts(&prepared.file, &prepared.contracts)
            .map_err(|error| StartError::Other(format!("cannot keep the contracts in the data folder: {error}")))?;
        let members = prepared.trust.federation().members().len();
        let security = Arc::new(Security::default());
        let noted = security.clone();
        let trust = TrustStore::observed(prepared.trust, Arc::new(move |distrust| noted.distrusted(distrust)));
        let (methods, warnings) = (prepared.bindings.len(), prepared.warnings.clone());
        let answers = open_answers(&prepared.file)?;
        let Prepared { file, tls, systems, bindings, .. } = prepared;
        let settings = Settings::new(Read { file, tls, systems, bindings }, &trust).map_err(|error| other(&error))?;
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let ports = Ports { settings: &settings, trust: &trust, count, security: &security };
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
            methods,
            agreements: prepared.agreements.agreements.iter().len(),
            members,
            records: ledger.checkpoint().size,
            warnings,
        };
        let (reporter, health) = services::health().await;
        let ledgers = Arc::new(crate::promises::Ledgers::default());
        let mut gauges =
            gauges(ledger, &ledgers, links.as_ref().map(|(s, _)| s.clone()), clients.as_ref().map(|(s, _)| s.clone()));
        let reloads = Arc::new(Reloads::new(now()));
        gauges.extend(reloads.gauges());
        let counts = Arc::default();
        let (exporting, spans, export) = telemetry::prepare(prepared.telemetry, &prepared.gateway, &counts);
        let setup = Setup { rules: rules.clone(), gauges, security, counts, spans, export };
        let observer = Arc::new(Observer::new(setup).map_err(StartError::Other)?);
        let telemetry = exporting.map(Exporting::start).transpose().map_err(|error| other(&error))?;
        let shared = Arc::new(Shared {
            house,
            rules,
            settings,
            trust,
            ledgers: ledgers.clone(),
            observer,
            places: Places::new(config.limits.exchanges),
            sessions: Arc::new(Sessions::default()),
            commands: (Arc::new(commands), answers),
            health,
            gateway_key: prepared.gateway_key,
            log_key: prepared.log_key.verifier(),
            reloads,
            clock: prepared.clock,
            draining: CancellationToken::new(),
        });
        for opening in promises {
            shared.remember(&opening);
        }
        let workers = Workers::start(&shared, links.as_ref(), clients.as_ref(), count).map_err(|e| other(&e))?;
        let (links, clients) = (links.map(|(server, _)| server), clients.map(|(server, _)| server));
        let (reload, asked) = mpsc::channel(WAITING_FOR_A_RELOAD);
        let read = (prepared.loader, prepared.stand);
        let upkeep =
            Upkeep::new(&shared, (links.clone(), clients.clone()), workers.links(), reporter.clone(), (read, asked));
        let upkeep = upkeep.with_left_open(left_open);
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
        running::leave(&data_folder(&shared), &serving);
        tracing::info!(
            event = "gateway-started",
            gateway = %serving.gateway,
            version = env!("CARGO_PKG_VERSION"),
            records = serving.records,
            "the gateway has started"
        );
        Ok(Self { serving, links, clients, workers, operations, upkeep, shared, reload, health: reporter, telemetry })
    }

    /// Returns what is served.
    #[must_use]
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Reads all files again, and takes them up: whole, or not at all. Exchanges go on meanwhile with what they began with.
    ///
    /// Returns what has changed.
    ///
    /// # Errors
    ///
    /// Every problem; what was in force before stays in force.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the reload.
    pub async fn reload(&self) -> Reloaded {
        let (asked, outcome) = oneshot::channel();
        let stopping = || vec![Problem::new("", "the gateway is stopping")];
        self.reload.send(asked).await.map_err(|_| stopping())?;
        outcome.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Takes nothing new, lets open exchanges end for as long as the configuration allows, and closes the log.
    ///
    /// Returns how many connections had to be closed with exchanges open.
    pub async fn stop(self) -> usize {
        self.shared.draining.cancel();
        tracing::info!(event = "gateway-stopping", gateway = %self.serving.gateway, "the gateway takes nothing new");
        let drain = self.shared.settings.load().file.config.limits.drain.duration();
        self.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        let clients = async {
            match &self.clients {
                Some(server) => server.drain(drain).await.closed,
                None => 0,
            }
        };
        let links = async {
            match &self.links {
                Some(server) => server.drain(drain).await.closed,
                None => 0,
            }
        };
        let (clients, links) = tokio::join!(clients, links);
        self.upkeep.abort();
        running::take_away(&data_folder(&self.shared));
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

fn data_folder(shared: &Shared) -> std::path::PathBuf {
    let file = &shared.settings.load().file;
    file.path(&file.config.data.folder)
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
        .map_err(|source| StartError::Folder { folder: folder.display().to_string(), source })?;
    Ledger::open(config)
        .map_err(|source| StartError::Ledger { folder: folder.display().to_string(), source: Box::new(source) })
}

fn house(prepared: &Prepared, rules: Arc<ArcSwap<Rules>>, records: Records) -> House {
    let config = &prepared.file.config;
    let limits = Limits::default();
    limits.set_message(config.limits.message.bytes());
    limits.set_stream_idle(config.limits.stream_idle.duration());
    House {
        gateway: prepared.gateway.clone(),
        rules,
        records,
        sealer: Sealer::new(prepared.gateway_key.clone()),
        clock: now,
        flood: Arc::default(),
        limits,
        meters: Arc::default(),
        conditions: settings::conditions(config, &prepared.bindings),
        sampling: prepared.telemetry.as_ref().map(telemetry::Plan::sampling).unwrap_or_default(),
        enquiries: Enquiries::default(),
    }
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
