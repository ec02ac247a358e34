//! Holds what other gateways promise against their later checkpoints, so that a record left out is caught exchange by
//! exchange.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use exchange::{House, ports::Promises};
use federation::{Federation, GatewayId};
use ledger::{
    Checkpoint, Hash, Promise,
    merkle::{self, Frontier},
};
use note::Note;
use proto::{
    link::{ProveRequest, ProveResponse},
    records::{Kind, Private, Shared},
};
use records::Draft;

use crate::ports::{LinkPeers, PROVE};

/// Promises that may wait for a checkpoint. Beyond it the newest are not checked one by one, and that is counted.
const MAX_WAITING: usize = 262_144;
/// Promises proven with one request.
const CHUNK: usize = 512;
/// So many new promises of one log are checked by following it.
const FOLLOW_FROM: usize = 16;

/// Promises that wait for a checkpoint, and the newest checkpoint seen of each log.
#[derive(Default)]
pub(crate) struct Ledgers {
    waiting: Mutex<HashMap<GatewayId, BTreeMap<u64, Hash>>>,
    seen: Mutex<HashMap<GatewayId, Frontier>>,
    checked: AtomicU64,
    broken: AtomicU64,
    unchecked: AtomicU64,
}

/// A log that did not keep a promise.
#[derive(Debug, thiserror::Error)]
#[error("`{gateway}`: {what}")]
pub(crate) struct Broken {
    gateway: GatewayId,
    what: String,
}

impl Promises for Ledgers {
    fn made(&self, by: &GatewayId, promise: &Promise) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = waiting.values().map(BTreeMap::len).sum();
        if total >= MAX_WAITING {
            self.unchecked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.entry(by.clone()).or_default().insert(promise.index, promise.leaf);
    }
}

impl Ledgers {
    /// Promises kept, broken and never checked since the start.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.checked), read(&self.broken), read(&self.unchecked))
    }

    /// Returns whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().all(BTreeMap::is_empty)
    }

    /// Asks every gateway that has promised something to prove it. What it cannot prove yet waits on.
    ///
    /// Many promises of one log are checked by following it: every new leaf is asked for, and the tree of all of them has
    /// to be the one that the checkpoint signs. Few are proven one by one.
    pub(crate) async fn check(&self, peers: &LinkPeers, house: &House) {
        let due: Vec<(GatewayId, Vec<(u64, Hash)>)> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let some = waiting.iter().filter(|(_, promises)| !promises.is_empty());
            some.map(|(gateway, promises)| (gateway.clone(), promises.iter().map(|(i, h)| (*i, *h)).collect()))
                .collect()
        };
        for (gateway, promises) in due {
            let known = self.known(&gateway);
            let (late, new): (Vec<_>, Vec<_>) = promises.iter().copied().partition(|(index, _)| *index < known.size());
            let follow = known.size() > 0 && new.len() >= FOLLOW_FROM;
            let singly: Vec<(u64, Hash)> = if follow { late } else { promises };
            let mut chunks = singly.chunks(CHUNK).map(<[_]>::to_vec).collect::<Vec<_>>();
            if chunks.is_empty() {
                chunks.push(Vec::new());
            }
            for (nth, chunk) in chunks.into_iter().enumerate() {
                let of_log = if nth == 0 && follow { new.as_slice() } else { &[] };
                if !self.check_some(&gateway, &chunk, of_log, (peers, house)).await {
                    break;
                }
            }
        }
    }

    /// Checks promises `singly`, and those of `followed` with the leaves that the log has grown by. Returns whether to go
    /// on with this gateway.
    async fn check_some(
        &self,
        gateway: &GatewayId,
        singly: &[(u64, Hash)],
        followed: &[(u64, Hash)],
        (peers, house): (&LinkPeers, &House),
    ) -> bool {
        let known = self.known(gateway);
        let request = ProveRequest {
            indexes: singly.iter().map(|(index, _)| *index).collect(),
            known_size: known.size(),
            follow: !followed.is_empty(),
        };
        // A gateway that is away proves later: its promises wait.
        let Ok(response) = peers.control::<ProveResponse>(gateway, PROVE, request).await else { return false };
        let federation = house.rules.load().federation.clone();
        match verify(gateway, (singly, followed), &response, &known, &federation) {
            Ok((frontier, kept)) => {
                self.kept(gateway, &kept);
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(gateway.clone(), frontier);
                !kept.is_empty()
            }
            Err(broken) => {
                self.broken.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %broken, "a promise was broken: the other gateway's log does not hold what it signed");
                let all: Vec<u64> = singly.iter().chain(followed).map(|(index, _)| *index).collect();
                self.forget(gateway, &all);
                record(house, &broken).await;
                false
            }
        }
    }

    fn known(&self, gateway: &GatewayId) -> Frontier {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(gateway).cloned().unwrap_or_default()
    }

    fn forget(&self, gateway: &GatewayId, indexes: &[u64]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(promises) = waiting.get_mut(gateway) {
            for index in indexes {
                promises.remove(index);
            }
        }
    }

    fn kept(&self, gateway: &GatewayId, indexes: &[u64]) {
        self.forget(gateway, indexes);
        self.checked.fetch_add(u64::try_from(indexes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

type Promised = (u64, Hash);

/// Returns the frontier of the log as it is now, and the indexes whose promises are kept.
fn verify(
    gateway: &GatewayId,
    (singly, followed): (&[Promised], &[Promised]),
    response: &ProveResponse,
    known: &Frontier,
    federation: &Federation,
) -> Result<(Frontier, Vec<u64>), Broken> {
    let broken = |what: String| Broken { gateway: gateway.clone(), what };
    let checkpoint = signed_checkpoint(gateway, &response.checkpoint, federation).map_err(&broken)?;
    if checkpoint.size < known.size() {
        let what = format!("its log has {} leaves and had {} before: it was rewritten", checkpoint.size, known.size());
        return Err(broken(what));
    }
    let rewritten = || {
        let (now, before) = (checkpoint.size, known.size());
        broken(format!("its log of {now} leaves does not continue its log of {before}: it was rewritten"))
    };
    let malformed = || broken("its proof is malformed".to_owned());
    let grown = checkpoint.size.saturating_sub(known.size());
    let (leaves, odd) = response.leaves.as_chunks::<32>();
    let follows = odd.is_empty() && leaves.len() as u64 == grown && response.frontier.is_empty();
    let frontier = if follows {
        let mut frontier = known.clone();
        for leaf in leaves {
            frontier.push(Hash(*leaf));
        }
        frontier
    } else {
        if known.size() > 0 {
            let path = hashes(&response.consistency).ok_or_else(malformed)?;
            merkle::verify_consistency(known.size(), checkpoint.size, known.root(), checkpoint.root, &path)
                .map_err(|_| rewritten())?;
        }
        hashes(&response.frontier)
            .and_then(|complete| Frontier::new(checkpoint.size, complete))
            .ok_or_else(malformed)?
    };
    if frontier.root() != checkpoint.root {
        return Err(rewritten());
    }
    let lacks = |index: u64| {
        let size = checkpoint.size;
        broken(format!("its log of {size} leaves does not hold at index {index} the leaf that it promised"))
    };
    let mut kept = Vec::new();
    for (index, leaf) in singly.iter().filter(|(index, _)| *index < checkpoint.size) {
        let path = response.inclusions.iter().find(|i| i.index == *index).and_then(|i| hashes(&i.path));
        let proven = path.is_some_and(|path| {
            merkle::verify_inclusion(*leaf, *index, checkpoint.size, &path, checkpoint.root).is_ok()
        });
        if !proven {
            return Err(lacks(*index));
        }
        kept.push(*index);
    }
    if follows {
        for (index, leaf) in followed.iter().filter(|(index, _)| *index < checkpoint.size) {
            let at = index.checked_sub(known.size()).and_then(|at| usize::try_from(at).ok());
            if at.and_then(|at| leaves.get(at)) != Some(&leaf.0) {
                return Err(lacks(*index));
            }
            kept.push(*index);
        }
    }
    Ok((frontier, kept))
}

fn signed_checkpoint(gateway: &GatewayId, text: &str, federation: &Federation) -> Result<Checkpoint, String> {
    let entry = federation.gateway(gateway).ok_or("the directory no longer lists it")?;
    let note = Note::parse(text).map_err(|e| format!("its checkpoint cannot be read: {e}"))?;
    let keys = federation.log_keys(&entry.log_origin);
    let by = note.verified_by(&keys).map_err(|e| format!("its checkpoint's signature is wrong: {e}"))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|e| format!("its checkpoint cannot be read: {e}"))?;
    if by.is_empty() || checkpoint.origin != entry.log_origin {
        return Err("its checkpoint is not signed by its log key".to_owned());
    }
    Ok(checkpoint)
}

/// A broken promise is itself recorded.
async fn record(house: &House, broken: &Broken) {
    let private = Private {
        time: house.millis(),
        provider: broken.gateway.member().to_string(),
        detail: format!("promise-broken: {}", broken.what),
        conditions: house.conditions.clone(),
        ..Private::default()
    };
    let shared = Shared { kind: Kind::Event.into(), ..Shared::default() };
    if let Err(error) = house.records.append(Draft { shared, private }, None).await {
        tracing::error!(%error, "cannot record that a promise was broken");
    }
}

fn hashes(path: &[bytes::Bytes]) -> Option<Vec<Hash>> {
    path.iter().map(|h| h.as_ref().try_into().ok().map(Hash)).collect()
}
