//! The runtimes that carry exchanges: one thread a core, each with its own listeners, links and pools, so that nothing of an
//! exchange crosses threads but its hand-off to the ledger.

use std::{
    io,
    net::TcpListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use exchange::{Consumer, House, Provider, Rules, Sessions};
use federation::{GatewayId, SystemId, trust::TrustStore};
use ledger::Sealer;
use link::{
    client::{self, Links},
    server::Server,
};
use note::{SigningKey, VerifierKey};
use proto::link::LeafOpening;
use records::{Commands, receipt};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use exchange::ports::Promises as _;

use crate::{
    answers::AnswerStore,
    clients::Clients,
    dialling,
    links::LinksPort,
    listening::Port,
    observe::Observer,
    places::Places,
    ports::{LinkPeers, shared},
    promises::Ledgers,
    reloads::Reloads,
    services::Services,
    settings::InForce,
};

/// What all runtimes share.
pub(crate) struct Shared {
    pub(crate) house: Arc<House>,
    pub(crate) rules: Arc<ArcSwap<Rules>>,
    pub(crate) settings: InForce,
    pub(crate) trust: TrustStore,
    pub(crate) ledgers: Arc<Ledgers>,
    pub(crate) observer: Arc<Observer>,
    pub(crate) places: Arc<Places>,
    pub(crate) sessions: Arc<Sessions>,
    /// What is known of commands, and the answers that are kept.
    pub(crate) commands: (Arc<Commands>, Arc<AnswerStore>),
    pub(crate) health: Routes,
    pub(crate) gateway_key: SigningKey,
    /// Verifies checkpoints of its log.
    pub(crate) log_key: VerifierKey,
    pub(crate) reloads: Arc<Reloads>,
    /// How time passes, where it is hours.
    pub(crate) clock: fn() -> Instant,
    /// Fires when the gateway begins to stop: it takes nothing new.
    pub(crate) draining: CancellationToken,
}

impl Shared {
    /// Returns links of one runtime, dialled as directory, trust and certificate are at that moment.
    pub(crate) fn dial(&self) -> Links<GatewayId> {
        let (rules, trust, settings) = (self.rules.clone(), self.trust.clone(), self.settings.clone());
        Links::new(client::Limits::default(), move |gateway: &GatewayId| {
            let settings = settings.load();
            dialling::target(&rules.load().federation, gateway, &trust, (&settings.tls, &settings.options))
        })
    }

    /// Puts a promise of an earlier run back among those that wait.
    pub(crate) fn remember(&self, opening: &LeafOpening) {
        let rules = self.rules.load();
        if let (Some(promise), Some(entry)) = (receipt::promise_of(opening), rules.federation.log(&opening.origin)) {
            self.ledgers.made(&entry.id, &promise);
        }
    }

    /// Waits until no exchange is open, at most `patience`.
    pub(crate) async fn settle_rest(&self, patience: Duration) {
        // No place taken means that every exchange has settled.
        let _ = tokio::time::timeout(patience, self.places.emptied()).await;
    }
}

/// The runtimes.
pub(crate) struct Workers {
    stop: CancellationToken,
    threads: Vec<thread::JoinHandle<()>>,
    links: Vec<Links<GatewayId>>,
}

impl Workers {
    /// Starts `count` runtimes, each with its share of the listeners.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        links: Option<&Port<GatewayId>>,
        clients: Option<&Port<SystemId>>,
        count: usize,
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut threads = Vec::new();
        let mut dialled = Vec::new();
        for at in 0..count {
            let take = |listeners: &Vec<TcpListener>| listeners.get(at).map(TcpListener::try_clone).transpose();
            let links = match links {
                Some((server, listeners)) => take(listeners)?.map(|l| (server.clone(), l)),
                None => None,
            };
            let clients = match clients {
                Some((server, listeners)) => take(listeners)?.map(|l| (server.clone(), l)),
                None => None,
            };
            let peers = LinkPeers { links: shared.dial(), limits: shared.house.limits.clone() };
            dialled.push(peers.links.clone());
            let worker = Worker { shared: shared.clone(), peers, links, clients, stop: stop.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread =
                thread::Builder::new().name(format!("worker-{at}")).spawn(move || runtime.block_on(worker.run()))?;
            threads.push(thread);
        }
        Ok(Self { stop, threads, links: dialled })
    }

    /// Returns the links of all runtimes.
    pub(crate) fn links(&self) -> Vec<Links<GatewayId>> {
        self.links.clone()
    }

    /// Ends the runtimes.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    peers: LinkPeers,
    links: Option<(Server<GatewayId>, TcpListener)>,
    clients: Option<(Server<SystemId>, TcpListener)>,
    stop: CancellationToken,
}

impl Worker {
    async fn run(self) {
        let house = self.house();
        let links = self.links_port(&house);
        let clients = self.clients_port(&house);
        let Self { links: links_server, clients: clients_server, stop, .. } = self;
        let serve_links = async {
            if let Some((server, listener)) = links_server {
                let served = server.serve(listener, move |caller, request| links.clone().serve(caller, request)).await;
                log_end("links", served);
            }
        };
        let serve_clients = async {
            if let Some((server, listener)) = clients_server {
                let served =
                    server.serve(listener, move |caller, request| clients.clone().serve(caller, request)).await;
                log_end("clients", served);
            }
        };
        let both = async { tokio::join!(serve_links, serve_clients) };
        tokio::pin!(both);
        tokio::select! {
            _ = &mut both => stop.cancelled().await,
            () = stop.cancelled() => {}
        }
    }

    /// The same house with a sealer of its own, so that claims are sealed in batches of one runtime.
    fn house(&self) -> Arc<House> {
        let house = &self.shared.house;
        Arc::new(House {
            gateway: house.gateway.clone(),
            rules: house.rules.clone(),
            records: house.records.clone(),
            sealer: Sealer::new(self.shared.gateway_key.clone()),
            clock: house.clock,
            flood: house.flood.clone(),
            limits: house.limits.clone(),
            meters: house.meters.clone(),
            conditions: house.conditions.clone(),
            sampling: house.sampling,
            enquiries: house.enquiries.clone(),
        })
    }

    fn links_port(&self, house: &Arc<House>) -> Arc<LinksPort> {
        let shared = &self.shared;
        let commands: (_, Arc<dyn exchange::ports::Answers>) = (shared.commands.0.clone(), shared.commands.1.clone());
        Arc::new(LinksPort {
            house: house.clone(),
            provider: Arc::new(Provider::new(house.clone(), shared.sessions.clone(), commands)),
            sessions: shared.sessions.clone(),
            observer: shared.observer.clone(),
            places: shared.places.clone(),
            settings: shared.settings.clone(),
        })
    }

    fn clients_port(&self, house: &Arc<House>) -> Arc<Clients> {
        let shared = &self.shared;
        Arc::new(Clients {
            house: house.clone(),
            consumer: Arc::new(Consumer::new(house.clone(), self::shared(self.peers.clone()), shared.ledgers.clone())),
            services: Services::new(house.clone(), self.peers.clone(), shared.health.clone()),
            observer: shared.observer.clone(),
            places: shared.places.clone(),
            settings: shared.settings.clone(),
            rest: Arc::default(),
        })
    }
}

fn log_end(port: &str, served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(port, %error, "a listener ended");
    }
}
