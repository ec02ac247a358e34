//! Commands that the last run left open: the gateways that were asked for them are asked what became of them, until they say it.
//!
//! Their intents stay open in the log meanwhile, so that a gateway that is killed once more asks again at its next start.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use exchange::{Asked, Consumer, LeftOpen};
use federation::GatewayId;
use records::Unsettled;

use crate::{
    ports::{LinkPeers, shared as port},
    recovery,
    workers::Shared,
};

/// Between two rounds of asking; doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long after the start they are asked about. Then nobody is taken to know.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Asks about commands that were left open.
pub(super) struct CommandsLeftOpen {
    shared: Arc<Shared>,
    consumer: Consumer,
    open: Vec<(Unsettled, LeftOpen)>,
    until: Instant,
}

impl CommandsLeftOpen {
    pub(super) fn new(shared: &Arc<Shared>, peers: LinkPeers) -> Self {
        let consumer = Consumer::new(shared.house.clone(), port(peers), shared.ledgers.clone());
        let now = (shared.clock)();
        Self { shared: shared.clone(), consumer, open: Vec::new(), until: now.checked_add(PATIENCE).unwrap_or(now) }
    }

    pub(super) fn ask_about(&mut self, open: Vec<(Unsettled, LeftOpen)>) {
        self.open = open;
    }

    pub(super) async fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            Box::pin(self.round()).await;
            if self.open.is_empty() {
                return;
            }
            if (self.shared.clock)() >= self.until {
                return Box::pin(self.give_up()).await;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }

    /// Asks about each once; about none of a gateway that was just found to be away.
    async fn round(&mut self) {
        let mut away: HashSet<GatewayId> = HashSet::new();
        let mut still = Vec::new();
        for (open, command) in std::mem::take(&mut self.open) {
            let asked = if away.contains(command.gateway()) {
                Asked::Away
            } else {
                Box::pin(self.consumer.ask_about(&command)).await
            };
            match asked {
                Asked::Settled => continue,
                Asked::Away => {
                    away.insert(command.gateway().clone());
                }
                Asked::Running | Asked::NothingToHoldItAgainst | Asked::NotRecorded => {}
            }
            still.push((open, command));
        }
        self.open = still;
    }

    async fn give_up(self) {
        for (open, command) in self.open {
            tracing::warn!(gateway = %command.gateway(), "nobody said what became of a command that the last run left open");
            let told = format!(
                "`{}`, which alone knows, did not say it within {} minutes",
                command.gateway(),
                PATIENCE.as_secs() / 60
            );
            if let Err(error) = Box::pin(recovery::unanswered(&self.shared.house, open, &told)).await {
                tracing::error!(%error, "cannot record that a command stays unanswered");
            }
        }
    }
}
