//! Where a status comes from: everything is looked at when it is asked for, and nothing is kept.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use exchange::Rules;
use federation::{Entry, GatewayId, MemberId, SystemId, certificate::Facts};
use link::{client::Links, server::Server};
use policy::{Agreement, Served};

use super::{
    Agreements, Certificate, Dialled, Down, Exchanges, Health, Log, Open, Peer, Ports, STATUS_FORMAT, Status, System,
    agreements,
};
use crate::{dialling, when, workers::Shared};

/// How long before its end something is told.
const NEAR: Duration = Duration::from_hours(30 * 24);

/// What a status is made of.
pub(crate) struct Source {
    pub(crate) shared: Arc<Shared>,
    pub(crate) links: Option<Server<GatewayId>>,
    pub(crate) clients: Option<Server<SystemId>>,
    pub(crate) dialled: Vec<Links<GatewayId>>,
    pub(crate) ports: Ports,
    pub(crate) started: (SystemTime, Instant),
}

impl Source {
    /// Returns how the gateway stands now.
    pub(crate) async fn status(&self) -> Status {
        let now = SystemTime::now();
        let rules = self.shared.rules.load_full();
        let own = self.shared.house.gateway.member();
        Status {
            format: STATUS_FORMAT.to_owned(),
            gateway: self.shared.house.gateway.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: when::rfc3339(self.started.0),
            uptime_seconds: self.started.1.elapsed().as_secs(),
            health: self.shared.health_now(),
            ports: self.ports.clone(),
            reload: self.shared.reloads.status(),
            exchanges: self.exchanges(),
            log: self.log(now).await,
            peers: self.peers(),
            systems: self.systems(),
            agreements: Agreements {
                broken: self.shared.reloads.broken(),
                ..agreements::of(&rules, own, now, &self.shared.house.meters)
            },
            certificates: self.certificates(&rules, own, now),
        }
    }

    /// Returns how many exchanges go on.
    pub(crate) fn exchanges(&self) -> Exchanges {
        Exchanges { now: self.shared.places.taken(), most: self.shared.places.most() }
    }

    async fn log(&self, now: SystemTime) -> Log {
        let ledger = self.shared.house.records.ledger();
        let folder = self.ledger_folder();
        // The disk may be slow, and exchanges do not wait for it.
        let seen = tokio::task::spawn_blocking(move || Seen::look(&folder, now)).await.unwrap_or_default();
        Log {
            origin: self.shared.house.gateway.log_origin(),
            records: ledger.size(),
            journal_bytes: seen.journal_bytes,
            free_bytes: seen.free_bytes,
            checkpoint_records: ledger.checkpoint().size,
            checkpoint_age_seconds: seen.checkpoint_age,
        }
    }

    fn ledger_folder(&self) -> PathBuf {
        let settings = self.shared.settings.load();
        settings.file.path(&settings.file.config.data.folder).join("ledger")
    }

    /// Returns what is seen on the disk. Blocks.
    pub(crate) fn disk(&self) -> Seen {
        Seen::look(&self.ledger_folder(), SystemTime::now())
    }

    /// Returns the gateways that were asked, and whether each can be reached.
    pub(crate) fn reachable(&self) -> Vec<(String, bool)> {
        let dialled = |peer: Peer| Some((peer.gateway, peer.dialled?.down.is_none()));
        self.peers().into_iter().filter_map(dialled).collect()
    }

    /// Returns what ends when: the gateway's own certificate, and of each member its entry and the last of its roots.
    pub(crate) fn endings(&self) -> Vec<Ending> {
        let ending = |kind, member: &MemberId, end| Ending { kind, member: member.to_string(), end };
        let own = self.shared.house.gateway.member();
        let rules = self.shared.rules.load();
        let of_member = |entry: &Entry| {
            let roots = entry.roots.iter().filter_map(|root| Facts::read(root).ok()).map(|facts| facts.not_after).max();
            let root = roots.map(|end| ending("root", &entry.member, end));
            std::iter::once(ending("entry", &entry.member, entry.valid_until)).chain(root).collect::<Vec<_>>()
        };
        let members = rules.federation.members().flat_map(of_member);
        std::iter::once(ending("gateway", own, self.shared.settings.load().tls.ends())).chain(members).collect()
    }

    /// Returns the end of each agreement of this member that is in force or to come.
    pub(crate) fn agreements_in_force(&self) -> Vec<(AgreementLabels, SystemTime)> {
        let (rules, now) = (self.shared.rules.load(), SystemTime::now());
        let lives = |agreement: &&Agreement| rules.agreements.ended(&agreement.digest(), now).is_none();
        let own = rules.agreements.iter().map(|agreement| &**agreement).filter(|agreement| self.is_own(agreement));
        own.filter(lives).map(|agreement| (AgreementLabels::of(agreement), agreement.valid_until())).collect()
    }

    /// Returns of each agreement of this member that is in force whether the loaded contracts let it be served in full.
    pub(crate) fn agreements_served(&self) -> Vec<(AgreementLabels, bool)> {
        let (rules, now) = (self.shared.rules.load(), SystemTime::now());
        let served = |agreement: &Agreement| {
            let standings = rules.agreements.standings(&agreement.digest());
            (AgreementLabels::of(agreement), Served::of(standings) == Served::Whole)
        };
        let own = rules.agreements.iter().map(|agreement| &**agreement).filter(|agreement| self.is_own(agreement));
        own.filter(|agreement| rules.agreements.in_force(&agreement.digest(), now)).map(served).collect()
    }

    fn is_own(&self, agreement: &Agreement) -> bool {
        agreement.is_party(self.shared.house.gateway.member())
    }

    fn peers(&self) -> Vec<Peer> {
        let mut peers: BTreeMap<GatewayId, Peer> = BTreeMap::new();
        let blank = |gateway: &GatewayId| Peer { gateway: gateway.to_string(), dialled: None, accepted: None };
        for (gateway, state) in self.dialled.iter().flat_map(Links::states) {
            let peer = peers.entry(gateway.clone()).or_insert_with(|| blank(&gateway));
            let dialled = peer.dialled.get_or_insert(Dialled { open: Open::default(), key_exchange: None, down: None });
            dialled.open.add(state.connections, state.streams);
            dialled.key_exchange = dialled.key_exchange.take().or(state.key_exchange.map(str::to_owned));
            if let Some(cause) = state.down {
                let told = dialling::explain(&cause);
                dialled.down = Some(Down { why: told.cause, cure: told.help });
            }
        }
        for (caller, streams) in self.links.iter().flat_map(|server| server.connections().callers()) {
            let peer = peers.entry(caller.peer.clone()).or_insert_with(|| blank(&caller.peer));
            peer.accepted.get_or_insert_default().add(1, streams);
        }
        // A runtime that failed to dial is no reason to call a peer down that others are connected to.
        for dialled in peers.values_mut().filter_map(|peer| peer.dialled.as_mut()) {
            dialled.down = dialled.down.take().filter(|_| dialled.open.connections == 0);
        }
        peers.into_values().collect()
    }

    fn systems(&self) -> Vec<System> {
        let mut systems: BTreeMap<SystemId, Open> = BTreeMap::new();
        for (caller, streams) in self.clients.iter().flat_map(|server| server.connections().callers()) {
            systems.entry(caller.peer.clone()).or_default().add(1, streams);
        }
        systems.into_iter().map(|(system, open)| System { system: system.to_string(), open }).collect()
    }

    fn certificates(&self, rules: &Rules, own: &MemberId, now: SystemTime) -> Vec<Certificate> {
        let mut found =
            vec![valid("this gateway's certificate".to_owned(), self.shared.settings.load().tls.ends(), now)];
        found.extend(rules.federation.member(own).into_iter().flat_map(|entry| ends(entry, now)));
        let others = rules.federation.members().filter(|entry| entry.member != *own);
        let near = i64::try_from(NEAR.as_secs()).unwrap_or(i64::MAX);
        found.extend(others.flat_map(|entry| ends(entry, now)).filter(|end| end.ends_in_seconds <= near));
        found
    }
}

impl Open {
    fn add(&mut self, connections: usize, streams: usize) {
        self.connections = self.connections.saturating_add(connections);
        self.streams = self.streams.saturating_add(streams);
    }
}

impl Shared {
    /// Returns whether the gateway takes exchanges, and why not.
    pub(crate) fn health_now(&self) -> Health {
        let why = match self.house.records.ledger().healthy() {
            Err(error) => Some(crate::load::chain(&error)),
            Ok(()) if self.draining.is_cancelled() => Some("the gateway is stopping".to_owned()),
            Ok(()) => self.key_is_over(),
        };
        Health { serving: why.is_none(), why }
    }

    /// Why others take nothing that this gateway signs, where its own directory says so.
    fn key_is_over(&self) -> Option<String> {
        let rules = self.rules.load();
        let entry = rules.federation.gateway(&self.house.gateway)?;
        let counts = entry.gateway_key == self.gateway_key.verifier()
            || crate::load::counts_until(entry, &self.gateway_key, SystemTime::now()).is_some();
        (!counts).then(|| {
            "it signs with a key that the directory does not list any more, and others refuse that: restart it with the listed key".to_owned()
        })
    }
}

/// Which agreement a number is of.
pub(crate) struct AgreementLabels {
    pub(crate) agreement: String,
    pub(crate) consumer: String,
    pub(crate) provider: String,
}

impl AgreementLabels {
    fn of(agreement: &Agreement) -> Self {
        Self {
            agreement: agreement.id().to_owned(),
            consumer: agreement.consumer().to_string(),
            provider: agreement.provider().to_string(),
        }
    }
}

/// Something that ends.
pub(crate) struct Ending {
    /// `gateway`, `entry` or `root`.
    pub(crate) kind: &'static str,
    /// Whose it is.
    pub(crate) member: String,
    /// When it ends.
    pub(crate) end: SystemTime,
}

/// What is seen on the disk.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) journal_bytes: u64,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) size_bytes: Option<u64>,
    checkpoint_age: Option<u64>,
}

impl Seen {
    fn look(ledger: &Path, now: SystemTime) -> Self {
        let journal = ledger.join("journal");
        let files = std::fs::read_dir(&journal).into_iter().flatten();
        let sizes = files.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        let checkpoint: PathBuf = ledger.join("tlog").join("checkpoint");
        let made = std::fs::metadata(checkpoint).and_then(|metadata| metadata.modified()).ok();
        let disk = rustix::fs::statvfs(ledger).ok();
        Self {
            journal_bytes: sizes.fold(0, u64::saturating_add),
            free_bytes: disk.as_ref().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            size_bytes: disk.map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize)),
            checkpoint_age: made.and_then(|made| now.duration_since(made).ok()).map(|age| age.as_secs()),
        }
    }
}

/// The ends in a member's entry.
fn ends(entry: &Entry, now: SystemTime) -> Vec<Certificate> {
    let member = &entry.member;
    let roots = entry.roots.iter().filter_map(|root| Facts::read(root).ok());
    let roots =
        roots.map(|facts| valid(format!("the root of `{member}` with serial {}", facts.serial), facts.not_after, now));
    std::iter::once(valid(format!("the directory entry of `{member}`"), entry.valid_until, now)).chain(roots).collect()
}

fn valid(what: String, until: SystemTime, now: SystemTime) -> Certificate {
    Certificate { what, until: when::rfc3339(until), ends_in_seconds: when::seconds_until(until, now) }
}
