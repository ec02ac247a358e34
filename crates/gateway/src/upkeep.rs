//! What a gateway looks after each second: agreements and revocation lists that changed, end notes to hand on, promises to
//! check, its own health.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use exchange::Rules;
use federation::{GatewayId, MemberId, SystemId, trust::Expected};
use link::{client::Links, server::Server};
use policy::{End, Loader, MemberKeys};
use proto::link::{EndAgreementRequest, EndAgreementResponse};
use rustls_pki_types::CertificateDer;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    ends, load,
    ports::{END_AGREEMENT, LinkPeers},
    recovery,
    workers::Shared,
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often open connections are held against certificates' ends, though no list has changed.
const CERTIFICATES: Duration = Duration::from_secs(60);
/// How often the checked promises are noted in the log, so that a start does not check them again.
const NOTE_PROMISES: Duration = Duration::from_secs(60);

/// Looks after one gateway.
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    links: Option<Server<GatewayId>>,
    clients: Option<Server<SystemId>>,
    dialled: Vec<Links<GatewayId>>,
    peers: LinkPeers,
    health: HealthReporter,
    loader: Loader,
    agreements: Fingerprint,
    lists: Fingerprint,
    ends: Vec<End>,
    handed_on: BTreeSet<PathBuf>,
    certificates_at: Instant,
    noted_at: Instant,
    noted: u64,
}

/// What a folder held when it was last read.
type Fingerprint = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

impl Upkeep {
    pub(crate) fn new(
        shared: Arc<Shared>,
        links: Option<Server<GatewayId>>,
        clients: Option<Server<SystemId>>,
        dialled: Vec<Links<GatewayId>>,
        (health, loader): (HealthReporter, Loader),
    ) -> Self {
        let peers = LinkPeers { links: shared.dial() };
        let now = Instant::now();
        Self {
            shared,
            links,
            clients,
            dialled,
            peers,
            health,
            loader,
            // Empty: the first look reads everything once more, and misses nothing that changed during the start.
            agreements: Fingerprint::new(),
            lists: Fingerprint::new(),
            ends: Vec::new(),
            handed_on: BTreeSet::new(),
            certificates_at: now,
            noted_at: now,
            noted: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.look_at_lists();
            self.look_at_agreements();
            self.hand_on().await;
            self.shared.ledgers.check(&self.peers, &self.shared.house).await;
            self.note_promises().await;
            self.note_shed().await;
            self.report().await;
        }
    }

    /// Takes changed revocation lists into force, and closes what no longer is trusted.
    fn look_at_lists(&mut self) {
        let file = &self.shared.file;
        let now = fingerprint(&file.path(&file.config.revocation.folder));
        let changed = now != self.lists;
        if changed {
            self.lists = now;
            let federation = self.shared.rules.load().federation.clone();
            match load::trust_in(file, self.shared.house.gateway.member(), federation) {
                Ok(trust) => self.shared.trust.replace(trust),
                Err(problems) => {
                    for problem in problems {
                        tracing::error!(%problem, "a revocation list cannot be used; the last good ones stay in force");
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
        for links in self.dialled.iter().chain([&self.peers.links]) {
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
        let now = fingerprint(&file.path(&file.config.agreements.folder));
        if now == self.agreements {
            return;
        }
        self.agreements = now;
        let rules = self.shared.rules.load_full();
        let loaded = match load::load_agreements(file, &mut self.loader, &rules.federation, &rules.contracts) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in problems {
                    tracing::error!(%problem, "the agreements cannot be read; the last good ones stay in force");
                }
                return;
            }
        };
        for problem in &loaded.problems {
            tracing::error!(%problem, "an agreement cannot be used; it permits nothing");
        }
        let (before, after) = (rules.agreements.iter().len(), loaded.agreements.iter().len());
        tracing::info!(agreements = after, before, ends = loaded.ends.len(), "agreements were read");
        self.ends = loaded.ends;
        self.shared.rules.store(Arc::new(Rules {
            contracts: rules.contracts.clone(),
            agreements: loaded.agreements,
            federation: rules.federation.clone(),
        }));
    }

    /// Hands end notes on to the other member, until one of its gateways has taken them.
    async fn hand_on(&mut self) {
        let file = &self.shared.file;
        let folder = file.path(&file.config.agreements.folder);
        let own = self.shared.house.gateway.member().clone();
        for end in &self.ends {
            let Some((member, path)) = ends::to_hand_on(end, &own, &folder) else { continue };
            if self.handed_on.contains(&path) {
                continue;
            }
            let rules = self.shared.rules.load_full();
            let keys = |member: &MemberId| rules.federation.member_keys(member);
            let Ok(note) = find_note(&folder, &path, end, &keys) else { continue };
            let gateways = rules.federation.member(&member).map(|entry| entry.gateways.clone()).unwrap_or_default();
            let mut taken = 0_usize;
            let reachable: Vec<_> = gateways.iter().filter(|g| g.address.is_some()).collect();
            for gateway in &reachable {
                let request = EndAgreementRequest { note: note.clone() };
                match self.peers.control::<EndAgreementResponse>(&gateway.id, END_AGREEMENT, request).await {
                    Ok(_) => taken = taken.saturating_add(1),
                    Err(error) => {
                        tracing::debug!(gateway = %gateway.id, %error, "an end note could not be handed on yet");
                    }
                }
            }
            if taken == reachable.len() {
                tracing::info!(member = %member, agreement = end.agreement_id(), "the end note was handed on");
                self.handed_on.insert(path);
            }
        }
    }

    /// Notes in the log that all promises so far were checked.
    async fn note_promises(&mut self) {
        let (checked, _, _) = self.shared.ledgers.counts();
        if checked == self.noted || self.noted_at.elapsed() < NOTE_PROMISES || !self.shared.ledgers.is_idle() {
            return;
        }
        (self.noted, self.noted_at) = (checked, Instant::now());
        if let Err(error) = recovery::event(&self.shared.house, records::PROMISES_CHECKED.to_owned()).await {
            tracing::error!(%error, "cannot record that promises were checked");
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
        let status = if healthy.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.health.set_service_status("", status).await;
        if let Err(error) = healthy {
            tracing::error!(error = %load::chain(&error), "the exchange log takes no records; every exchange is refused");
        }
    }
}

/// The note as it lies in the folder, whatever its file is called there.
fn find_note(folder: &Path, expected: &Path, end: &End, keys: &dyn MemberKeys) -> std::io::Result<String> {
    if let Ok(text) = std::fs::read_to_string(expected) {
        return Ok(text);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let same = text.contains("drawbridge.end/")
            && policy::EndNote::parse(&path, &text)
                .and_then(|note| note.verified(keys))
                .is_ok_and(|found| found.file_name() == end.file_name());
        if same {
            return Ok(text);
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
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
