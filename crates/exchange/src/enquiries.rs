//! What costs much and others can ask for as often as they like: one at a time in the whole gateway.

use std::sync::Arc;

use proto::records::Side;
use records::{ExchangeId, FindError, Found, Records};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who may enquire now. Clones share it.
#[derive(Clone, Debug)]
pub struct Enquiries {
    systems: Arc<Semaphore>,
    log: Arc<Semaphore>,
}

impl Default for Enquiries {
    fn default() -> Self {
        Self { systems: Arc::new(Semaphore::new(1)), log: Arc::new(Semaphore::new(1)) }
    }
}

impl Enquiries {
    /// Waits for one's turn to ask a legacy system what it remembers; it lasts until the permit is dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.systems.clone().acquire_owned().await.ok()
    }

    /// The same, where it is one's turn already.
    pub(crate) fn turn_now(&self) -> Option<OwnedSemaphorePermit> {
        self.systems.clone().try_acquire_owned().ok()
    }

    /// Finds the record that settled an exchange at this gateway as provider, off the runtime that carries exchanges: it may lie far back
    /// in the log. Waits for its turn.
    ///
    /// # Errors
    ///
    /// As [`Records::find`].
    pub(crate) async fn settled(&self, records: &Records, id: ExchangeId) -> Result<Option<Found>, FindError> {
        let Ok(alone) = self.log.clone().acquire_owned().await else { return Ok(None) };
        let records = records.clone();
        let search = move || {
            // Goes with the search, which goes on where nobody waits for it any more.
            let _alone = alone;
            records.find(id, Side::Provider)
        };
        tokio::task::spawn_blocking(search).await.unwrap_or(Ok(None))
    }

    /// Says whether somebody searches the log.
    pub(crate) fn log_is_busy(&self) -> bool {
        self.log.available_permits() == 0
    }
}
