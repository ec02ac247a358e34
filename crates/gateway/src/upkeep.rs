//! What a gateway looks after each second: files that changed, end notes to hand on, promises to check, its own health.
//!
//! Loops that do not wait for one another: a peer that hangs, or a disk, delays no revocation and no end of an agreement.

mod asked_ends;
mod end_notes;
mod files;
mod left_open;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use exchange::LeftOpen;
use federation::{GatewayId, SystemId};
use link::{client::Links, server::Server};
use policy::Loader;
use records::Unsettled;
use tokio::sync::{mpsc, watch};
use tonic_health::{ServingStatus, server::HealthReporter};

use self::{
    asked_ends::AskedEnds,
    end_notes::HandOn,
    files::{Files, Ports},
    left_open::CommandsLeftOpen,
};
use crate::{load, ports::LinkPeers, recovery, reloads::Asked, workers::Shared};

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
    asked_ends: AskedEnds,
    promises: CheckedPromises,
    left_open: CommandsLeftOpen,
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
    /// Makes the upkeep of a gateway whose files were read by `loader`, and stood so then; `asked` are those who ask for a reload.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        (links, clients): (Option<Server<GatewayId>>, Option<Server<SystemId>>),
        mut dialled: Vec<Links<GatewayId>>,
        health: HealthReporter,
        (read, asked): ((Loader, load::Stand), mpsc::Receiver<Asked>),
    ) -> Self {
        let peers = LinkPeers { links: shared.dial(), limits: shared.house.limits.clone() };
        dialled.push(peers.links.clone());
        let ends = watch::Sender::new(Vec::new());
        Self {
            hand_on: HandOn::new(shared.clone(), peers.clone(), ends.subscribe()),
            asked_ends: AskedEnds::new(shared.clone(), peers.clone()),
            left_open: CommandsLeftOpen::new(shared, peers.clone()),
            promises: CheckedPromises { shared: shared.clone(), peers, noted_at: Instant::now(), noted: 0 },
            health: Health { shared: shared.clone(), reporter: health },
            files: Files::new(shared.clone(), Ports { links, clients, dialled, ends }, read, asked),
        }
    }

    /// Has it find out what became of commands that the last run left open.
    #[must_use]
    pub(crate) fn with_left_open(mut self, open: Vec<(Unsettled, LeftOpen)>) -> Self {
        self.left_open.ask_about(open);
        self
    }

    /// Returns all links that are dialled, those of the runtimes and its own.
    pub(crate) fn dialled(&self) -> Vec<Links<GatewayId>> {
        self.files.dialled()
    }

    pub(crate) async fn run(self) {
        let shared = self.health.shared.clone();
        let kept_answers = sweep_answers(&shared);
        let (promises, left_open) = (self.promises.run(), self.left_open.run());
        let (hand_on, asked_ends) = (self.hand_on.run(), self.asked_ends.run());
        tokio::join!(self.files.run(), hand_on, asked_ends, promises, left_open, self.health.run(), kept_answers);
    }
}

/// Ticks each second; a tick that is late moves those behind it.
fn each_second() -> tokio::time::Interval {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look
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
        let health = self.shared.health_now();
        let status = if health.serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status("", status).await;
        if let Err(error) = healthy {
            tracing::error!(error = %load::chain(&error), "the exchange log takes no records; every exchange is refused");
        } else if let Some(why) = health.why.filter(|_| !self.shared.draining.is_cancelled()) {
            tracing::error!(why, "the gateway does not serve");
        }
    }
}
