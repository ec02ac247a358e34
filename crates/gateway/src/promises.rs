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
use ledger::{Checkpoint, Hash, Promise, merkle};
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

/// Promises that wait for a checkpoint, and the newest checkpoint seen of each log.
#[derive(Default)]
pub(crate) struct Ledgers {
    waiting: Mutex<HashMap<GatewayId, BTreeMap<u64, Hash>>>,
    seen: Mutex<HashMap<GatewayId, (u64, Hash)>>,
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
    pub(crate) async fn check(&self, peers: &LinkPeers, house: &House) {
        let due: Vec<(GatewayId, Vec<(u64, Hash)>)> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting
                .iter()
                .filter(|(_, p)| !p.is_empty())
                .map(|(g, p)| (g.clone(), p.iter().map(|(i, h)| (*i, *h)).collect()))
                .collect()
        };
        for (gateway, promises) in due {
            for chunk in promises.chunks(CHUNK) {
                let request = ProveRequest {
                    indexes: chunk.iter().map(|(index, _)| *index).collect(),
                    known_size: self.known(&gateway).0,
                };
                // A gateway that is away proves later: its promises wait.
                let Ok(response) = peers.control::<ProveResponse>(&gateway, PROVE, request).await else { break };
                match self.verify(&gateway, chunk, &response, &house.rules.load().federation) {
                    Ok(kept) if kept.is_empty() => break,
                    Ok(kept) => self.kept(&gateway, &kept),
                    Err(broken) => {
                        self.broken.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(error = %broken, "a promise was broken: the other gateway's log does not hold what it signed");
                        self.kept(&gateway, &chunk.iter().map(|(index, _)| *index).collect::<Vec<_>>());
                        record(house, &broken).await;
                        break;
                    }
                }
            }
        }
    }

    fn known(&self, gateway: &GatewayId) -> (u64, Option<Hash>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(gateway).map_or((0, None), |(size, root)| (*size, Some(*root)))
    }

    /// Returns the indexes whose promises are kept.
    fn verify(
        &self,
        gateway: &GatewayId,
        promises: &[(u64, Hash)],
        response: &ProveResponse,
        federation: &Federation,
    ) -> Result<Vec<u64>, Broken> {
        let broken = |what: String| Broken { gateway: gateway.clone(), what };
        let entry = federation.gateway(gateway).ok_or_else(|| broken("the directory no longer lists it".to_owned()))?;
        let note =
            Note::parse(&response.checkpoint).map_err(|e| broken(format!("its checkpoint cannot be read: {e}")))?;
        let keys = federation.log_keys(&entry.log_origin);
        let by = note.verified_by(&keys).map_err(|e| broken(format!("its checkpoint's signature is wrong: {e}")))?;
        let checkpoint =
            Checkpoint::parse(note.text()).map_err(|e| broken(format!("its checkpoint cannot be read: {e}")))?;
        if by.is_empty() || checkpoint.origin != entry.log_origin {
            return Err(broken("its checkpoint is not signed by its log key".to_owned()));
        }
        let (known, root) = self.known(gateway);
        if let Some(root) = root {
            if checkpoint.size < known {
                return Err(broken(format!(
                    "its log has {} leaves and had {known} before: it was rewritten",
                    checkpoint.size
                )));
            }
            let path = hashes(&response.consistency).ok_or_else(|| broken("its proof is malformed".to_owned()))?;
            if merkle::verify_consistency(known, checkpoint.size, root, checkpoint.root, &path).is_err() {
                return Err(broken(format!(
                    "its log of {} leaves does not continue its log of {known}: it was rewritten",
                    checkpoint.size
                )));
            }
        }
        let mut kept = Vec::new();
        for (index, leaf) in promises.iter().filter(|(index, _)| *index < checkpoint.size) {
            let path = response.inclusions.iter().find(|i| i.index == *index).and_then(|i| hashes(&i.path));
            let proven = path.is_some_and(|path| {
                merkle::verify_inclusion(*leaf, *index, checkpoint.size, &path, checkpoint.root).is_ok()
            });
            if !proven {
                return Err(broken(format!(
                    "its log of {} leaves does not hold at index {index} the leaf that it promised",
                    checkpoint.size
                )));
            }
            kept.push(*index);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(gateway.clone(), (checkpoint.size, checkpoint.root));
        Ok(kept)
    }

    fn kept(&self, gateway: &GatewayId, indexes: &[u64]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(promises) = waiting.get_mut(gateway) {
            for index in indexes {
                promises.remove(index);
            }
        }
        self.checked.fetch_add(u64::try_from(indexes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
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
