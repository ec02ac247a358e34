//! Seals that wait for no disk: what asks in the same round of the scheduler is signed together.
//!
//! Nobody is the leader. Each asker joins the current round, yields to the scheduler once, and whoever runs again first signs
//! for all. So an asker that is dropped, or held and never polled again, keeps nobody waiting.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use note::SigningKey;

use crate::Hash;
use crate::seal::{MAX_BATCH, Seal, seal_alone, seal_batch, seal_leaf};

/// Signs claims with a gateway key, many at once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: SigningKey,
    current: Mutex<Arc<Round>>,
}

impl Sealer {
    /// Makes a sealer that signs with `gateway_key`.
    #[must_use]
    pub fn new(gateway_key: SigningKey) -> Self {
        Self(Arc::new(Inner { key: gateway_key, current: Mutex::default() }))
    }

    /// Seals `claims` under `tag`, without a promise.
    ///
    /// Waits until the scheduler comes round again, and never for the disk. Runs on any executor.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves an unused leaf in its batch and nothing else.
    pub async fn seal(&self, tag: &'static str, claims: Vec<u8>) -> Seal {
        let leaf = seal_leaf(tag, &claims, &[]);
        let (round, index) = self.0.join(leaf);
        YieldOnce::default().await;
        self.0.settle(&round, leaf, index)
    }
}

impl Inner {
    /// Joins the current round; returns it, with the leaf's index in it.
    fn join(&self, leaf: Hash) -> (Arc<Round>, usize) {
        let mut current = lock(&self.current);
        if lock(&current.leaves).len() >= MAX_BATCH {
            *current = Arc::default();
        }
        let round = Arc::clone(&current);
        let mut leaves = lock(&round.leaves);
        leaves.push(leaf);
        let index = leaves.len() - 1;
        drop(leaves);
        (round, index)
    }

    /// Returns the seal of the leaf at `index`, signing for the whole round if nobody has.
    fn settle(&self, round: &Arc<Round>, leaf: Hash, index: usize) -> Seal {
        let seals = round.seals.get_or_init(|| {
            let mut current = lock(&self.current);
            if Arc::ptr_eq(&current, round) {
                *current = Arc::default();
            }
            drop(current);
            // Nobody joins a round that is not the current one, so the leaves are complete.
            let leaves = std::mem::take(&mut *lock(&round.leaves));
            seal_batch(&self.key, &leaves)
        });
        // Each index was given out before the round was closed, so the seal is there; a batch of one is right in any case.
        seals.get(index).cloned().unwrap_or_else(|| seal_alone(&self.key, leaf))
    }
}

/// Those who are signed for together.
#[derive(Debug, Default)]
struct Round {
    leaves: Mutex<Vec<Hash>>,
    seals: OnceLock<Vec<Seal>>,
}

/// Pending once, having asked to be polled again: everything that is ready to run runs before it.
#[derive(Default)]
struct YieldOnce {
    yielded: bool,
}

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::seal::SealVerifier;

    fn sealer() -> (Sealer, SealVerifier) {
        let key = SigningKey::generate("county.example/gateway/main").unwrap();
        let verifier = SealVerifier::new(key.verifier());
        (Sealer::new(key), verifier)
    }

    #[tokio::test]
    async fn those_who_ask_in_one_round_share_one_signature() {
        let (sealer, verifier) = sealer();
        let tasks: Vec<_> = (0..20u8)
            .map(|number| {
                let sealer = sealer.clone();
                tokio::spawn(async move { sealer.seal("t", vec![number]).await })
            })
            .collect();
        let mut signatures = Vec::new();
        for (number, task) in (0..).zip(tasks) {
            let seal = task.await.unwrap();
            assert_eq!((seal.size, seal.index), (20, number));
            verifier.verify("t", &[u8::try_from(number).unwrap()], None, &seal).unwrap();
            signatures.push(seal.signature);
        }
        signatures.dedup();
        assert_eq!(signatures.len(), 1);
    }

    #[tokio::test]
    async fn one_alone_gets_a_batch_of_one() {
        let (sealer, verifier) = sealer();
        let seal = sealer.seal("t", b"claims".to_vec()).await;
        assert_eq!((seal.size, seal.path.len()), (1, 0));
        verifier.verify("t", b"claims", None, &seal).unwrap();
    }

    #[tokio::test]
    async fn who_is_dropped_or_never_polled_again_keeps_nobody_waiting() {
        let (sealer, verifier) = sealer();
        let mut held = Box::pin(sealer.seal("t", b"held".to_vec()));
        let mut dropped = Box::pin(sealer.seal("t", b"dropped".to_vec()));
        poll_fn(|context| {
            assert!(held.as_mut().poll(context).is_pending());
            assert!(dropped.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(dropped);
        let seal = sealer.seal("t", b"third".to_vec()).await;
        assert_eq!((seal.size, seal.index), (3, 2));
        verifier.verify("t", b"third", None, &seal).unwrap();
        verifier.verify("t", b"held", None, &held.await).unwrap();
    }

    #[test]
    fn many_threads_all_get_seals_that_verify() {
        let (sealer, verifier) = sealer();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..2000u32)
                .map(|number| {
                    let sealer = sealer.clone();
                    tokio::spawn(async move { (number, sealer.seal("t", number.to_be_bytes().to_vec()).await) })
                })
                .collect();
            for task in tasks {
                let (number, seal) = task.await.unwrap();
                verifier.verify("t", &number.to_be_bytes(), None, &seal).unwrap();
            }
        });
    }
}
