//! The files of a gateway that runs: agreements, end notes and revocation lists, which count one by one, and all the others, which
//! are taken up together or not at all.

mod folder;
mod kept;
mod take;
mod watch;

use std::{
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use contract::Contracts;
use exchange::Rules;
use federation::{
    Federation, GatewayId, MemberId, SystemId,
    trust::{Expected, RevocationList},
};
use link::{client::Links, server::Server};
use policy::{Agreements, End, Loader};
use problem::Problem;
use rustls_pki_types::CertificateDer;
use tokio::{
    sync::{mpsc, watch as channel},
    task::JoinHandle,
};

use self::{folder::Folder, watch::Watch};
use super::{CERTIFICATES, each_second};
use crate::{
    load::{self, Parts},
    reloads::{Asked, Reloaded},
    when,
    workers::Shared,
};

/// Looks after the files of one gateway.
pub(super) struct Files {
    shared: Arc<Shared>,
    links: Option<Server<GatewayId>>,
    clients: Option<Server<SystemId>>,
    dialled: Vec<Links<GatewayId>>,
    loader: Loader,
    agreements: Folder,
    lists: Folder,
    ends: channel::Sender<Vec<End>>,
    certificates_at: Instant,
    watch: Watch,
    asked: mpsc::Receiver<Asked>,
    reading: Option<Reading>,
    /// Who asked while something was being read already, which may have been read too early for them.
    waiting: Vec<Asked>,
}

/// The files are being read, in a task of its own: a database that hangs delays no revocation.
struct Reading {
    task: JoinHandle<Result<Box<Parts>, Vec<Problem>>>,
    for_whom: Vec<Asked>,
}

/// What files are looked after for, and where it goes.
pub(super) struct Ports {
    pub(super) links: Option<Server<GatewayId>>,
    pub(super) clients: Option<Server<SystemId>>,
    pub(super) dialled: Vec<Links<GatewayId>>,
    pub(super) ends: channel::Sender<Vec<End>>,
}

impl Files {
    pub(super) fn new(
        shared: Arc<Shared>,
        ports: Ports,
        (loader, stand): (Loader, load::Stand),
        asked: mpsc::Receiver<Asked>,
    ) -> Self {
        let Ports { links, clients, dialled, ends } = ports;
        Self {
            shared,
            links,
            clients,
            dialled,
            loader,
            // Empty: the first look reads everything once more, and misses nothing that changed during the start.
            agreements: Folder::default(),
            lists: Folder::default(),
            ends,
            certificates_at: Instant::now(),
            watch: Watch::new(stand),
            asked,
            reading: None,
            waiting: Vec::new(),
        }
    }

    /// Returns all links that are dialled.
    pub(super) fn dialled(&self) -> Vec<Links<GatewayId>> {
        self.dialled.clone()
    }

    pub(super) async fn run(mut self) {
        let mut look = each_second();
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.look_at_lists();
                    self.look_at_agreements();
                    self.look_at_the_others();
                }
                Some(asked) = self.asked.recv() => self.ask(asked),
                read = read(&mut self.reading) => self.finish(read),
            }
        }
    }

    /// Takes changed revocation lists into force, and closes what no longer is trusted.
    fn look_at_lists(&mut self) {
        let settings = self.shared.settings.load_full();
        let file = &settings.file;
        let changed = self.lists.look(&file.path(&file.config.revocation.folder));
        if changed {
            let federation = self.shared.rules.load().federation.clone();
            let own = self.shared.house.gateway.member();
            refresh_lists(&mut self.lists, |lists| load::trust_with(file, own, federation.clone(), lists).map(drop));
            match load::trust_with(file, own, federation.clone(), lists_of(&self.lists)) {
                Ok(trust) => self.shared.trust.replace(trust),
                Err(problems) => {
                    for problem in problems {
                        tracing::error!(%problem, "the revocation lists cannot be used; the last good ones stay in force");
                    }
                }
            }
        }
        if changed || self.certificates_at.elapsed() >= CERTIFICATES {
            self.close_untrusted();
        }
    }

    fn close_untrusted(&mut self) {
        self.certificates_at = Instant::now();
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
            self.shared.observer.security().closed(closed);
        }
    }

    /// Takes new agreements and end notes into force. Open streams look at them by themselves.
    fn look_at_agreements(&mut self) {
        let settings = self.shared.settings.load_full();
        if !self.agreements.look(&settings.file.path(&settings.file.config.agreements.folder)) {
            return;
        }
        let rules = self.shared.rules.load_full();
        refresh_agreements(&mut self.agreements, &rules.federation, &rules.contracts);
        let keys = |member: &MemberId| rules.federation.member_keys(member);
        let loaded = self.loader.load(self.agreements.texts(), &keys, &rules.contracts);
        let before = rules.agreements.iter().len();
        self.tell_agreements(&loaded, self.agreements.problems(), before);
        tell_shown(&rules.contracts, &loaded.agreements, self.shared.house.gateway.member());
        self.ends.send_replace(loaded.ends);
        self.shared.rules.store(Arc::new(Rules {
            contracts: rules.contracts.clone(),
            agreements: loaded.agreements,
            federation: rules.federation.clone(),
            legacy: rules.legacy.clone(),
        }));
    }

    /// `kept` is wrong with files whose last good text counts.
    fn tell_agreements(&self, loaded: &policy::Loaded, kept: &[Problem], before: usize) {
        for problem in &loaded.problems {
            tracing::error!(%problem, "an agreement cannot be used; it permits nothing");
        }
        self.shared.reloads.break_agreements(loaded.problems.iter().chain(kept));
        tracing::info!(
            agreements = loaded.agreements.iter().len(),
            before,
            ends = loaded.ends.len(),
            "agreements were read"
        );
    }

    /// Has the other files read once they have changed and come to rest.
    fn look_at_the_others(&mut self) {
        if self.reading.is_none() && self.watch.due(&self.shared.settings.load().file) {
            self.start_reading(Vec::new());
        }
    }

    /// Has them read at once, changed or not.
    fn ask(&mut self, asked: Asked) {
        if self.reading.is_none() {
            self.start_reading(vec![asked]);
        } else {
            self.waiting.push(asked);
        }
    }

    fn start_reading(&mut self, for_whom: Vec<Asked>) {
        let settings = self.shared.settings.load_full();
        self.watch.begin(&settings.file);
        let task = tokio::spawn(async move {
            let file = settings.file.again()?;
            Ok(Box::new(Box::pin(Parts::read(file, &settings.bindings)).await))
        });
        self.reading = Some(Reading { task, for_whom });
    }

    fn finish(&mut self, parts: Result<Box<Parts>, Vec<Problem>>) {
        let asked = self.reading.take().map(|reading| reading.for_whom).unwrap_or_default();
        let outcome: Reloaded = match parts {
            Ok(parts) => self.take(*parts),
            Err(problems) => {
                self.watch.refused(&self.shared.settings.load().file, None);
                Err(problems)
            }
        };
        self.tell(&outcome);
        for asked in asked {
            // Whoever asked may have gone away.
            let _ = asked.send(outcome.clone());
        }
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            self.start_reading(waiting);
        }
    }
}

/// Waits for what is being read; for ever where nothing is.
async fn read(reading: &mut Option<Reading>) -> Result<Box<Parts>, Vec<Problem>> {
    let Some(reading) = reading else { return std::future::pending().await };
    let read = (&mut reading.task).await;
    read.unwrap_or_else(|_| Err(vec![Problem::new("", "reading the files came to no end")]))
}

/// Reads changed lists. File by file: what one member sent may not keep another's revocations from being seen.
fn refresh_lists(lists: &mut Folder, usable: impl Fn(Vec<RevocationList>) -> Result<(), Vec<Problem>>) {
    let before = lists.clone();
    let usable = |path: &Path, text: &str| {
        let read = load::revocation_list(path, text)?;
        let in_force = before.text(path).and_then(|text| load::revocation_list(path, text).ok());
        not_older(path, &read, &in_force.unwrap_or_default())?;
        usable(read)
    };
    for problem in lists.refresh(load::REVOCATION_ENDINGS, usable) {
        tracing::error!(%problem, "a revocation list cannot be used; the last good one of this file stays in force");
    }
}

/// A list that was put back, by hand or from a backup, takes nothing back of what a newer one revokes.
fn not_older(path: &Path, read: &[RevocationList], in_force: &[RevocationList]) -> Result<(), Vec<Problem>> {
    let newest = |lists: &[RevocationList]| lists.iter().map(RevocationList::issued).max();
    match (newest(read), newest(in_force)) {
        (Some(read), Some(in_force)) if read < in_force => Err(vec![
            Problem::new(
                path,
                format!(
                    "this revocation list was issued at {}, and the one in force at {}",
                    when::rfc3339(read),
                    when::rfc3339(in_force)
                ),
            )
            .help("put the newer one there; to do without any, take the file away and start the gateway again"),
        ]),
        _ => Ok(()),
    }
}

fn lists_of(lists: &Folder) -> Vec<RevocationList> {
    lists.texts().filter_map(|(path, text)| load::revocation_list(&path, text).ok()).flatten().collect()
}

/// Reads changed agreements and end notes. What was good stays in force where its file no longer makes sense: a note that is half written,
/// or damaged, ends no agreement.
fn refresh_agreements(agreements: &mut Folder, federation: &Federation, contracts: &Contracts) {
    let before = agreements.clone();
    let keys = |member: &MemberId| federation.member_keys(member);
    let usable = |path: &Path, text: &str| {
        if before.text(path).is_none_or(|before| before == text) {
            return Ok(());
        }
        let loaded = Loader::new().load([(path.to_owned(), text)], &keys, contracts);
        let empty = loaded.agreements.iter().len() == 0 && loaded.waiting.is_empty() && loaded.ends.is_empty();
        if empty { Err(loaded.problems) } else { Ok(()) }
    };
    for problem in agreements.refresh(load::AGREEMENT_ENDINGS, usable) {
        tracing::error!(%problem, "a file cannot be used; what it said before stays in force");
    }
}

/// Says whom contracts are shown otherwise than it was agreed on.
fn tell_shown(contracts: &Contracts, agreements: &Agreements, own: &MemberId) {
    for what in load::shown_as_loaded(contracts, agreements, own, SystemTime::now()) {
        tracing::warn!(what, help = load::SHOWN_HELP, "a contract is shown in another version than was agreed on");
    }
}
