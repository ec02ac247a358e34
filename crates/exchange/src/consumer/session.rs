//! The sessions that this gateway has opened with others, and the sequence numbers that it has used in them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use federation::GatewayId;

use crate::ports::{LinkError, Peers};

/// Version of the link protocol that this gateway speaks.
const PROTOCOL: u32 = 1;

/// A session with one gateway.
pub(super) struct OwnSession {
    pub(super) id: Bytes,
    next: AtomicU64,
}

impl OwnSession {
    /// Returns the next sequence number. From 1, each once.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// One session a gateway.
#[derive(Default)]
pub(super) struct OwnSessions {
    open: Mutex<HashMap<GatewayId, Arc<tokio::sync::OnceCell<Arc<OwnSession>>>>>,
}

impl OwnSessions {
    /// Returns the session with `to`, opening one where there is none. Callers that arrive meanwhile wait for the same.
    pub(super) async fn with(&self, to: &GatewayId, peers: &dyn Peers) -> Result<Arc<OwnSession>, LinkError> {
        let cell = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let known = open.get(to).cloned();
            known.unwrap_or_else(|| open.entry(to.clone()).or_default().clone())
        };
        cell.get_or_try_init(|| async {
            let response = peers.open(to).await?;
            if response.protocol != PROTOCOL || response.session.len() != 16 {
                let what = format!(
                    "`{to}` speaks version {} of the link protocol, this gateway speaks {PROTOCOL}",
                    response.protocol
                );
                return Err(LinkError::NotSent(what));
            }
            Ok(Arc::new(OwnSession { id: response.session, next: AtomicU64::new(1) }))
        })
        .await
        .cloned()
    }

    /// Forgets `session`, unless another has taken its place already.
    pub(super) fn forget(&self, to: &GatewayId, session: &OwnSession) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = open.get(to).and_then(|cell| cell.get()).is_some_and(|s| s.id == session.id);
        if stale {
            open.remove(to);
        }
    }
}
