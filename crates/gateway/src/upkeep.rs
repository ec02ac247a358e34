//! What a gateway looks after each second: agreements and revocation lists that changed, end notes to hand on, promises to
//! check, its own health.
//!
//! Loops that do not wait for one another: a peer that hangs, or a disk, delays no revocation and no end of an agreement.

mod end_notes;
mod kept;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use exchange::Rules;
use federation::{GatewayId, MemberId, SystemId, trust::Expected};
use link::{client::Links, server::Server};
use policy::{End, Loader};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use self::{end_notes::HandOn, kept::Kept};
use crate::{load, ports::LinkPeers, recovery, workers::Shared};

/// How often files are looked at, and peers asked.
const LOOK: Duration = Duration::from_secs(1);
/// How often open connections are held against certificates' ends, though no list has changed.
const CERTIFICATES: Duration = Duration::from_secs(60);
/// How often answers of commands that were kept long enough are deleted.
const SWEEP: Duration = Duration::from_secs(60);
/// How often it is noted in the log which promises were checked, so that a start does not check them again.
const NOTE_PROMISES: Duration = Duration::from_secs(60);

/// Looks after one gateway.
pub(crate) struct Upkeep {
    files: Files,
    hand_on: HandOn,
    promises: CheckedPromises,
    health: Health,
}

async fn sweep_answers(shared: &Shared) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        shared.commands.1.sweep(SystemTime::now()).await;
    }
}

impl Upkeep {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        links: Option<Server<GatewayId>>,
        clients: Option<Server<SystemId>>,
        mut dialled: Vec<Links<GatewayId>>,
        (health, loader): (HealthReporter, Loader),
    ) -> Self {
        let peers = LinkPeers { links: shared.dial(), message_limit: shared.house.limits.message };
        dialled.push(peers.links.clone());
        let ends = watch::Sender::new(Vec::new());
        let now = Instant::now();
        Self {
            hand_on: HandOn::new(shared.clone(), peers.clone(), ends.subscribe()),
            promises: CheckedPromises { shared: shared.clone(), peers, noted_at: now, noted: 0 },
            health: Health { shared: shared.clone(), reporter: health },
            files: Files {
                shared: shared.clone(),
                links,
                clients,
                dialled,
                loader,
                // Empty: the first look reads everything once more, and misses nothing that changed during the start.
                agreements: (Fingerprint::new(), Kept::default()),
                lists: (Fingerprint::new(), Kept::default()),
                ends,
                certificates_at: now,
            },
        }
    }

    /// Returns all links that are dialled, those of the runtimes and its own.
    pub(crate) fn dialled(&self) -> Vec<Links<GatewayId>> {
        self.files.dialled.clone()
    }

    pub(crate) async fn run(self) {
        let shared = self.health.shared.clone();
        let kept_answers = sweep_answers(&shared);
        tokio::join!(self.files.run(), self.hand_on.run(), self.promises.run(), self.health.run(), kept_answers);
    }
}

/// Ticks each second; a tick that is late moves those behind it.
fn each_second() -> tokio::time::Interval {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look
}

/// What a folder held when it was last read.
type Fingerprint = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Agreements, end notes and revocation lists, as they lie in their folders.
struct Files {
    shared: Arc<Shared>,
    links: Option<Server<GatewayId>>,
    clients: Option<Server<SystemId>>,
    dialled: Vec<Links<GatewayId>>,
    loader: Loader,
    agreements: (Fingerprint, Kept),
    lists: (Fingerprint, Kept),
    ends: watch::Sender<Vec<End>>,
    certificates_at: Instant,
}

impl Files {
    async fn run(mut self) {
        let mut look = each_second();
        loop {
            look.tick().await;
            self.look_at_lists();
            self.look_at_agreements();
        }
    }

    /// Takes changed revocation lists into force, and closes what no longer is trusted.
    fn look_at_lists(&mut self) {
        let file = &self.shared.file;
        let now = fingerprint(&file.path(&file.config.revocation.folder));
        let changed = now != self.lists.0;
        if changed {
            self.lists.0 = now;
            let federation = self.shared.rules.load().federation.clone();
            let own = self.shared.house.gateway.member();
            let usable = |path: &Path, text: &str| {
                let lists = load::revocation_list(path, text)?;
                load::trust_with(file, own, federation.clone(), lists).map(drop)
            };
            let folder = file.path(&file.config.revocation.folder);
            // File by file: what one member sent may not keep another's revocations from being seen.
            for problem in self.lists.1.refresh(&folder, load::REVOCATION_ENDINGS, usable) {
                tracing::error!(%problem, "a revocation list cannot be used; the last good one of this file stays in force");
            }
            let texts = self.lists.1.texts();
            let lists = texts.filter_map(|(path, text)| load::revocation_list(path, text).ok()).flatten().collect();
            match load::trust_with(file, own, federation.clone(), lists) {
                Ok(trust) => self.shared.trust.replace(trust),
                Err(problems) => {
                    for problem in problems {
                        tracing::error!(%problem, "the revocation lists cannot be used; the last good ones stay in force");
                    }
                }
            }
        }
        if changed || self.certificates_at.elapsed() >= CERTIFICATES {
            self.certificates_at = Instant::now();
            self.close_untrusted();
        }
    }

    fn close_untrusted(&self) {
        let (trust, now) = (&self.shared.trust, SystemTime::now());
        let trusted = |expected: &Expected, certificates: &[CertificateDer<'static>]| {
            let Some((leaf, rest)) = certificates.split_first() else { return true };
            trust.still_trusted(expected, leaf, rest, now).is_ok()
        };
        let mut closed = 0_usize;
        if let Some(server) = &self.links {
            closed = closed
                .saturating_add(server.connections().retain(|caller| trusted(&Expected::Links, &caller.certificates)));
        }
        if let Some(server) = &self.clients {
            closed = closed.saturating_add(
                server.connections().retain(|caller| trusted(&Expected::Clients, &caller.certificates)),
            );
        }
        for links in &self.dialled {
            let keep = |gateway: &GatewayId, certificates: &[CertificateDer<'static>]| {
                trusted(&Expected::Gateway(gateway.clone()), certificates)
            };
            closed = closed.saturating_add(links.retain(keep));
        }
        if closed > 0 {
            tracing::warn!(closed, "connections were closed because their certificates are no longer trusted");
            self.shared.observer.event("untrusted-connection-closed");
        }
    }

    /// Takes new agreements and end notes into force. Open streams look at them by themselves.
    fn look_at_agreements(&mut self) {
        let file = &self.shared.file;
        let folder = file.path(&file.config.agreements.folder);
        let now = fingerprint(&folder);
        if now == self.agreements.0 {
            return;
        }
        self.agreements.0 = now;
        for problem in self.agreements.1.refresh(&folder, load::AGREEMENT_ENDINGS, |_, _| Ok(())) {
            tracing::error!(%problem, "a file cannot be read; what it said before stays in force");
        }
        let rules = self.shared.rules.load_full();
        let keys = |member: &MemberId| rules.federation.member_keys(member);
        let texts = self.agreements.1.texts().map(|(path, text)| (path.to_owned(), text));
        let loaded = self.loader.load(texts, &keys, &rules.contracts);
        for problem in &loaded.problems {
            tracing::error!(%problem, "an agreement cannot be used; it permits nothing");
        }
        let (before, after) = (rules.agreements.iter().len(), loaded.agreements.iter().len());
        tracing::info!(agreements = after, before, ends = loaded.ends.len(), "agreements were read");
        self.ends.send_replace(loaded.ends);
        self.shared.rules.store(Arc::new(Rules {
            contracts: rules.contracts.clone(),
            agreements: loaded.agreements,
            federation: rules.federation.clone(),
        }));
    }
}

/// The promises of other gateways.
struct CheckedPromises {
    shared: Arc<Shared>,
    peers: LinkPeers,
    noted_at: Instant,
    noted: u64,
}

impl CheckedPromises {
    async fn run(mut self) {
        let mut look = each_second();
        loop {
            look.tick().await;
            self.shared.ledgers.check(&self.peers, &self.shared.house).await;
            self.note().await;
        }
    }

    /// Notes in the log up to when all promises were checked.
    async fn note(&mut self) {
        let (checked, _, _) = self.shared.ledgers.counts();
        if checked == self.noted || self.noted_at.elapsed() < NOTE_PROMISES {
            return;
        }
        (self.noted, self.noted_at) = (checked, Instant::now());
        let oldest = self.shared.ledgers.oldest().unwrap_or_default();
        let before = self.shared.house.millis().saturating_sub(u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX));
        if let Err(error) = recovery::event(&self.shared.house, records::promises_checked(before)).await {
            tracing::error!(%error, "cannot record which promises were checked");
        }
    }
}

/// What is said of the gateway's own health.
struct Health {
    shared: Arc<Shared>,
    reporter: HealthReporter,
}

impl Health {
    async fn run(self) {
        let mut look = each_second();
        loop {
            look.tick().await;
            self.note_shed().await;
            if let Err(error) = self.shared.house.flood.flush(&self.shared.house).await {
                tracing::error!(%error, "cannot record refusals in aggregate");
            }
            self.report().await;
        }
    }

    /// Exchanges refused for want of room began no exchange; they are recorded in aggregate.
    async fn note_shed(&self) {
        let count = self.shared.observer.shed_since();
        if count == 0 {
            return;
        }
        if let Err(error) = recovery::shed(&self.shared.house, count).await {
            tracing::error!(%error, count, "cannot record exchanges refused for want of room");
        }
    }

    async fn report(&self) {
        let healthy = self.shared.house.records.ledger().healthy();
        let serves = healthy.is_ok() && !self.shared.draining.is_cancelled();
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status("", status).await;
        if let Err(error) = healthy {
            tracing::error!(error = %load::chain(&error), "the exchange log takes no records; every exchange is refused");
        }
    }
}

fn fingerprint(folder: &Path) -> Fingerprint {
    let Ok(entries) = std::fs::read_dir(folder) else { return Fingerprint::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), (metadata.modified().ok(), metadata.len())))
        })
        .collect()
}
