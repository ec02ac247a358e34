//! Holds what other gateways promise against their later checkpoints, so that a record left out is caught exchange by
//! exchange.
//!
//! A promise is broken when the log does not hold its leaf, when two promises name one index, and when no checkpoint covers it
//! in [`OVERDUE`]. Each is itself recorded: both signatures are in this gateway's own log already.

mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use exchange::{House, ports::Promises};
use federation::GatewayId;
use futures_util::future::join_all;
use ledger::{Hash, Promise, merkle::Frontier};
use proto::{
    link::{ProveRequest, ProveResponse},
    records::{Kind, Private, Shared},
};
use records::Draft;

use self::view::{Signer, View};
use crate::ports::{LinkPeers, PROVE};

/// Promises that may wait for a checkpoint. Beyond it the newest are not checked, and that is counted.
const MAX_WAITING: usize = 262_144;
/// Promises proven one by one with one request.
const CHUNK: usize = 512;
/// So many promises that wait of one log are checked by following it.
const FOLLOW_FROM: usize = 16;
/// How long one gateway is asked in a row. What is left waits for the next look, so that a slow one delays the others no more.
const ONE_LOOK: Duration = Duration::from_secs(5);
/// The part of all that wait which may be of one log: one over this.
const SHARE: usize = 8;
/// Time after which a gateway that answers should have covered what it promised. A checkpoint is due each second.
const OVERDUE: Duration = Duration::from_secs(60);

/// Promises that wait for a checkpoint, and what is known of each log.
#[derive(Default)]
pub(crate) struct Ledgers {
    logs: Mutex<HashMap<GatewayId, Log>>,
    checked: AtomicU64,
    broken: AtomicU64,
    unchecked: AtomicU64,
}

/// One log, and what its gateway has promised of it.
#[derive(Default)]
struct Log {
    view: View,
    waiting: BTreeMap<u64, Waiting>,
    /// What is wrong already, to be recorded with the next check.
    broken: Vec<String>,
}

#[derive(Clone, Copy)]
struct Waiting {
    leaf: Hash,
    since: Instant,
}

/// What one request is to show.
struct Question {
    known: Frontier,
    singly: Vec<(u64, Hash)>,
    follow: bool,
}

/// How one look at a log ended.
#[derive(Default)]
struct Settled {
    kept: u64,
    broken: Vec<String>,
}

impl Promises for Ledgers {
    fn made(&self, by: &GatewayId, promise: &Promise) {
        let mut logs = self.logs();
        let total: usize = logs.values().map(|log| log.waiting.len()).sum();
        let of_log = logs.get(by).map_or(0, |log| log.waiting.len());
        if total >= MAX_WAITING || of_log >= MAX_WAITING / SHARE {
            self.unchecked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match logs.get_mut(by) {
            Some(log) => log.made(promise, Instant::now()),
            None => logs.entry(by.clone()).or_default().made(promise, Instant::now()),
        }
    }
}

impl Ledgers {
    /// Promises kept, broken and never checked since the start.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.checked), read(&self.broken), read(&self.unchecked))
    }

    /// Returns how long the oldest promise has waited; `None` when none waits.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        let logs = self.logs();
        let waiting = logs.values().flat_map(|log| log.waiting.values());
        waiting.map(|promise| promise.since).min().map(|since| since.elapsed())
    }

    /// Asks every gateway that has promised something to show it. What it cannot show yet waits on.
    ///
    /// All are asked at once: one that hangs keeps none of the others waiting.
    pub(crate) async fn check(&self, peers: &LinkPeers, house: &House) {
        let due: Vec<GatewayId> = {
            let logs = self.logs();
            let due = logs.iter().filter(|(_, log)| !log.waiting.is_empty() || !log.broken.is_empty());
            due.map(|(gateway, _)| gateway.clone()).collect()
        };
        join_all(due.iter().map(|gateway| self.check_log(gateway, peers, house))).await;
    }

    async fn check_log(&self, gateway: &GatewayId, peers: &LinkPeers, house: &House) {
        // A gateway that is away shows it later: its promises wait.
        let ask = |request: ProveRequest| async move {
            let response = peers.control::<ProveResponse>(gateway, PROVE, request).await.ok()?;
            Some((response, Signer::of(gateway, &house.rules.load().federation)))
        };
        let broken = |what: String| async move {
            tracing::error!(%gateway, what, "a promise was broken: the other gateway's log does not hold what it signed");
            record(house, gateway, &what).await;
        };
        self.look(gateway, Instant::now, ask, broken).await;
    }

    /// Has one gateway asked in a row, as long as it shows something and, by the clock `now`, [`ONE_LOOK`] is not over.
    async fn look<A, B>(
        &self,
        gateway: &GatewayId,
        now: impl Fn() -> Instant,
        ask: impl Fn(ProveRequest) -> A,
        broken: impl Fn(String) -> B,
    ) where
        A: Future<Output = Option<(ProveResponse, Option<Signer>)>>,
        B: Future<Output = ()>,
    {
        let began = now();
        while now().saturating_duration_since(began) < ONE_LOOK {
            let Some(question) = self.question(gateway) else { return };
            let request = ProveRequest {
                indexes: question.singly.iter().map(|(index, _)| *index).collect(),
                known_size: question.known.size(),
                follow: question.follow,
            };
            let settled = match ask(request).await {
                Some((response, signer)) => self.settle(gateway, &question, &response, signer.as_ref()),
                None => self.contradictions(gateway),
            };
            let kept = settled.kept;
            self.checked.fetch_add(kept, Ordering::Relaxed);
            for what in settled.broken {
                self.broken.fetch_add(1, Ordering::Relaxed);
                broken(what).await;
            }
            if kept == 0 {
                return;
            }
        }
    }

    fn question(&self, gateway: &GatewayId) -> Option<Question> {
        self.logs().get(gateway)?.question()
    }

    fn settle(
        &self,
        gateway: &GatewayId,
        question: &Question,
        response: &ProveResponse,
        signer: Option<&Signer>,
    ) -> Settled {
        let shown = signer
            .ok_or_else(|| "the directory no longer lists its gateway".to_owned())
            .and_then(|signer| view::verify(signer, &question.singly, response, &question.known));
        let mut logs = self.logs();
        let Some(log) = logs.get_mut(gateway) else { return Settled::default() };
        log.settle(shown, Instant::now())
    }

    fn contradictions(&self, gateway: &GatewayId) -> Settled {
        let mut logs = self.logs();
        let broken = logs.get_mut(gateway).map(|log| std::mem::take(&mut log.broken)).unwrap_or_default();
        Settled { kept: 0, broken }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<GatewayId, Log>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn made(&mut self, promise: &Promise, now: Instant) {
        let &Promise { index, leaf, .. } = promise;
        // Of a leaf that was seen already too: whether it is kept is counted with the next check.
        let other = self.waiting.get(&index).map(|waiting| waiting.leaf).filter(|other| *other != leaf);
        if other.is_some() {
            self.broken.push(format!("it promised two different leaves at index {index}"));
            return;
        }
        self.waiting.entry(index).or_insert(Waiting { leaf, since: now });
    }

    /// Returns what to ask next; `None` when nothing waits and nothing is to be recorded.
    fn question(&self) -> Option<Question> {
        if self.waiting.is_empty() && self.broken.is_empty() {
            return None;
        }
        let known = self.view.frontier();
        let follow = known.size() > 0 && self.waiting.len() >= FOLLOW_FROM;
        // Leaves that are known are looked up, and those that are to come are when the log is followed.
        let unseen = self.waiting.iter().filter(|(index, _)| self.view.leaf(**index).is_none());
        let singly = unseen.filter(|(index, _)| !follow || **index < known.size());
        let singly = singly.take(CHUNK).map(|(index, waiting)| (*index, waiting.leaf)).collect();
        Some(Question { known: known.clone(), singly, follow })
    }

    /// Takes in what a response has shown, and settles every promise that it says something about.
    fn settle(&mut self, shown: Result<view::Shown, String>, now: Instant) -> Settled {
        let mut settled = Settled { kept: 0, broken: std::mem::take(&mut self.broken) };
        let shown = match shown {
            Ok(shown) => shown,
            Err(what) => {
                // Nothing of such a log can be checked any more.
                settled.broken.push(format!("{what}; {} promises of it wait in vain", self.waiting.len()));
                self.waiting.clear();
                return settled;
            }
        };
        for (index, kept) in &shown.singly {
            self.waiting.remove(index);
            settled.note(*index, *kept);
        }
        self.view.advance(shown);
        let size = self.view.frontier().size();
        let view = &self.view;
        self.waiting.retain(|index, waiting| {
            if let Some(leaf) = view.leaf(*index) {
                settled.note(*index, leaf == waiting.leaf);
                return false;
            }
            let overdue = *index >= size && now.saturating_duration_since(waiting.since) >= OVERDUE;
            if overdue {
                let seconds = OVERDUE.as_secs();
                settled
                    .broken
                    .push(format!("after {seconds} s no checkpoint covers the leaf promised at index {index}"));
            }
            !overdue
        });
        settled
    }
}

impl Settled {
    fn note(&mut self, index: u64, kept: bool) {
        if kept {
            self.kept = self.kept.saturating_add(1);
        } else {
            self.broken.push(format!("its log does not hold at index {index} the leaf that it promised"));
        }
    }
}

/// A broken promise is itself recorded.
async fn record(house: &House, gateway: &GatewayId, what: &str) {
    let private = Private {
        time: house.millis(),
        provider: gateway.member().to_string(),
        detail: format!("promise-broken: `{gateway}`: {what}"),
        conditions: house.conditions.clone(),
        ..Private::default()
    };
    let shared = Shared { kind: Kind::Event.into(), ..Shared::default() };
    if let Err(error) = house.records.append(Draft { shared, private }, None).await {
        tracing::error!(%error, "cannot record that a promise was broken");
    }
}
