//! What both sides of a gateway share: who it is, what it has agreed, where it records, and the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use contract::Contracts;
use federation::{Federation, GatewayId};
use ledger::{AppendError, SealInput, Sealer};
use policy::{Agreements, Meters};
use records::{ExchangeId, Prepared, Recorded, Records};

use crate::{
    deadline,
    enquiries::Enquiries,
    flood::Flood,
    ports::LegacySystem,
    refusal::{Refusal, Status},
    trace::Sampling,
};

/// One consistent set of everything that is decided from files. Replaced whole; an exchange takes it once, and keeps it to its end.
pub struct Rules {
    /// What can be asked.
    pub contracts: Contracts,
    /// Who may ask it.
    pub agreements: Agreements,
    /// Who is who, and where.
    pub federation: Arc<Federation>,
    /// What answers others: a member's own systems, behind its bindings.
    pub legacy: Arc<dyn LegacySystem>,
}

/// Limits of the exchanges of one gateway. Clones share what can be set.
#[derive(Clone, Debug)]
pub struct Limits {
    message: Arc<AtomicUsize>,
    /// In milliseconds.
    stream_idle: Arc<AtomicU64>,
    /// How far another gateway's clock may differ, in milliseconds.
    pub clock_skew: u64,
}

impl Default for Limits {
    /// 4 MiB (tonic's own limit for decoding), [`deadline::STREAM_IDLE`] and two minutes.
    fn default() -> Self {
        let limits = Self {
            message: Arc::new(AtomicUsize::new(4 * 1024 * 1024)),
            stream_idle: Arc::default(),
            clock_skew: 120_000,
        };
        limits.set_stream_idle(deadline::STREAM_IDLE);
        limits
    }
}

impl Limits {
    /// Returns the largest message in bytes, request or answer.
    #[must_use]
    pub fn message(&self) -> usize {
        self.message.load(Ordering::Relaxed)
    }

    /// Sets the largest message in bytes. It holds from the next message on, for all clones.
    pub fn set_message(&self, bytes: usize) {
        self.message.store(bytes, Ordering::Relaxed);
    }

    /// Returns how long nothing may pass on a stream, because its reader or its writer has stopped.
    #[must_use]
    pub fn stream_idle(&self) -> Duration {
        Duration::from_millis(self.stream_idle.load(Ordering::Relaxed))
    }

    /// Sets how long nothing may pass on a stream, in whole milliseconds. It holds at once, for open streams and for all clones.
    pub fn set_stream_idle(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.stream_idle.store(millis, Ordering::Relaxed);
    }
}

/// What both sides of one gateway share.
pub struct House {
    /// This gateway.
    pub gateway: GatewayId,
    /// The rules in force.
    pub rules: Arc<ArcSwap<Rules>>,
    /// The exchange log.
    pub records: Records,
    /// Signs claims.
    pub sealer: Sealer,
    /// Reads the clock. Given by whoever starts the gateway.
    pub clock: fn() -> SystemTime,
    /// Limits.
    pub limits: Limits,
    /// Counts refusals that come in floods.
    pub flood: Arc<Flood>,
    /// What was used of agreements' limits. Shared by all runtimes.
    pub meters: Arc<Meters>,
    /// What an auditor should know of every record, as `development`.
    pub conditions: Vec<String>,
    /// Which exchanges are timed for traces.
    pub sampling: Sampling,
    /// What others have looked up. Shared by all runtimes.
    pub enquiries: Enquiries,
}

impl House {
    /// Returns the status of a refusal that is not recorded, because no exchange began.
    #[must_use]
    pub fn unrecorded_status(&self, refusal: &Refusal) -> Status {
        refusal.status(self.new_id())
    }

    /// Writes a record that was made ready, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// Why it could not be made ready, or the ledger does not take it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the record back.
    pub(crate) async fn write(
        &self,
        record: Result<Prepared, AppendError>,
        seal: Option<SealInput>,
    ) -> Result<Recorded, AppendError> {
        self.records.write(record?, seal).await
    }

    /// Returns a new exchange id.
    #[must_use]
    pub fn new_id(&self) -> ExchangeId {
        let mut random = [0; 10];
        // Without random bytes ids still differ by time; the nonce of an exchange then fails, and it is refused.
        let _ = ledger::random::fill(&mut random);
        ExchangeId::new((self.clock)(), random)
    }

    /// Returns the time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(&self) -> u64 {
        millis((self.clock)())
    }
}

/// Returns the moment so many milliseconds after the Unix epoch.
#[must_use]
pub fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// Returns `time` in milliseconds since the Unix epoch.
#[must_use]
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
