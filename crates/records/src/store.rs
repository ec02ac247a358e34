//! The records of one gateway, written through its ledger and found again.
//!
//! Finding by exchange id needs no index on disk: an id carries its time, records lie in the order of time, and the
//! newest are remembered in memory.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ledger::{AppendError, Ledger, ReadError, Reader, SealInput};
use proto::{
    link::LeafOpening,
    records::{Kind, Side},
};

use crate::{
    Commands, Draft, ExchangeId, Prepared, Record, Unreadable,
    usage::{Tally, Usage},
};

/// How many of the newest settled exchanges are found without reading the log.
const RECENT: usize = 65_536;
/// One remembered place in the log for each so many records.
const STRIDE: u64 = 256;
/// How far behind the newest record of its time an exchange is still looked for, in milliseconds: the longest that a
/// record may come after its exchange began and still be found by id.
const LONGEST_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// The records of one gateway.
#[derive(Clone)]
pub struct Records {
    inner: Arc<Inner>,
}

struct Inner {
    ledger: Ledger,
    folder: PathBuf,
    places: Mutex<Places>,
}

/// Where settled exchanges lie.
#[derive(Default)]
struct Places {
    newest: HashMap<(ExchangeId, bool), u64>,
    order: VecDeque<(ExchangeId, bool)>,
    /// (time in milliseconds, index), one for each [`STRIDE`] records.
    marks: Vec<(u64, u64)>,
}

/// A record that is durable.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Place in the log, from 0.
    pub index: u64,
    /// What opens the leaf's shared half, with the promise.
    pub opening: LeafOpening,
    /// The signature over claims and promise, where one was asked for.
    pub seal: Option<ledger::Seal>,
}

/// What reading the log at start has shown.
pub struct Opened {
    /// The records.
    pub records: Records,
    /// Intents without an outcome, in the order of the log.
    pub unsettled: Vec<Unsettled>,
    /// What the consumer's side was promised and may not have checked yet: in records since the time that the last event
    /// `promises-checked` names.
    pub promises: Vec<LeafOpening>,
    /// What the provider's side knows of commands.
    pub commands: Commands,
    /// What was used of agreements' limits on the newest day and the one before it.
    pub usage: Vec<Usage>,
    /// Number of records read.
    pub read: u64,
}

/// An intent without an outcome.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The intent.
    pub intent: Record,
    /// Its last progress.
    pub progress: Option<Record>,
    /// The last progress of its request, where that is a stream.
    pub requests: Option<Record>,
}

/// A settled exchange, found again.
pub struct Found {
    /// The outcome or refusal.
    pub record: Record,
}

/// The log could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The ledger could not be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// A body does not fit its leaf.
    #[error("the log holds a record that cannot be read")]
    Unreadable(#[from] Unreadable),
}

/// Detail of the event that opens a run of the gateway. Where no [`STOPPED`] stands right before it, the run before was killed.
pub const STARTED: &str = "started";
/// Detail of the event that closes a run of the gateway in order.
pub const STOPPED: &str = "stopped";
/// Detail of the event that says which promises need not be checked at the next start, see [`promises_checked`].
const PROMISES_CHECKED: &str = "promises-checked";

/// Returns the detail of the event that says: every promise in a record from before `time` (milliseconds since the Unix epoch)
/// was checked.
#[must_use]
pub fn promises_checked(time: u64) -> String {
    format!("{PROMISES_CHECKED} before={time}")
}

/// Reads what [`promises_checked`] writes, in milliseconds since the Unix epoch; `None` for any other detail.
#[must_use]
pub fn checked_before(detail: &str) -> Option<u64> {
    detail.strip_prefix(PROMISES_CHECKED)?.trim_start().strip_prefix("before=")?.parse().ok()
}

impl Records {
    /// Reads the whole log behind `ledger`, which lies in `folder`, once: finds intents without outcome, learns where exchanges
    /// lie, and counts what was used of agreements' limits.
    ///
    /// # Errors
    ///
    /// [`FindError`] when an entry cannot be read or does not fit its leaf. The gateway does not start then.
    pub fn open(ledger: Ledger, folder: PathBuf) -> Result<Opened, FindError> {
        let mut places = Places::default();
        let mut open: HashMap<(ExchangeId, bool), Unsettled> = HashMap::new();
        let mut promises: Vec<(u64, LeafOpening)> = Vec::new();
        let commands = Commands::default();
        let (mut tally, mut read) = (Tally::default(), 0_u64);
        for stored in Reader::open(&folder)?.entries() {
            let record = Record::open(stored?)?;
            let index = record.index;
            read = read.saturating_add(1);
            tally.settled(&record);
            let side = record.side() == Side::Consumer;
            if let Some(opened) = &record.opened {
                places.note(opened.private.time, index);
                if let Some(checked) = checked_before(&opened.private.detail).filter(|_| record.kind() == Kind::Event) {
                    promises.retain(|(time, _)| *time >= checked);
                }
                if record.side() == Side::Consumer {
                    let made = [&opened.shared.provider_opening_leaf, &opened.shared.provider_closing_leaf];
                    let made = made.into_iter().flatten().cloned();
                    promises.extend(made.map(|leaf| (opened.private.time, leaf)));
                }
            }
            let Some(id) = record.exchange() else { continue };
            commands.learn(&record);
            match record.kind() {
                Kind::Intent => {
                    open.insert((id, side), Unsettled { intent: record, progress: None, requests: None });
                }
                Kind::Progress => {
                    if let Some(unsettled) = open.get_mut(&(id, side)) {
                        let of_request = record.opened.as_ref().is_some_and(|o| !o.shared.request_digest.is_empty());
                        let last = if of_request { &mut unsettled.requests } else { &mut unsettled.progress };
                        *last = Some(record);
                    }
                }
                Kind::Outcome | Kind::Refusal => {
                    open.remove(&(id, side));
                    places.settled(id, side, index);
                }
                Kind::Unspecified | Kind::Aggregate | Kind::Event => {}
            }
        }
        let mut unsettled: Vec<_> = open.into_values().collect();
        unsettled.sort_by_key(|u| u.intent.index);
        for open in &unsettled {
            tally.unsettled(open);
        }
        let records = Self { inner: Arc::new(Inner { ledger, folder, places: Mutex::new(places) }) };
        let promises = promises.into_iter().map(|(_, leaf)| leaf).collect();
        Ok(Opened { records, unsettled, promises, commands, usage: tally.into_usage(), read })
    }

    /// Returns the ledger behind the records.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Writes a record and waits until it is on disk; signs `seal` together with the promise of its leaf.
    ///
    /// # Errors
    ///
    /// [`AppendError`] when the ledger cannot take it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the record back.
    pub async fn append(&self, draft: Draft, seal: Option<SealInput>) -> Result<Recorded, AppendError> {
        let prepared = draft.prepare()?;
        drop(draft);
        self.write(prepared, seal).await
    }

    /// As [`Records::append`], for a record that is prepared.
    ///
    /// # Errors
    ///
    /// [`AppendError`] when the ledger cannot take it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the record back.
    pub async fn write(&self, prepared: Prepared, seal: Option<SealInput>) -> Result<Recorded, AppendError> {
        let Prepared { leaf, body, salt, time, settles } = prepared;
        let (ledger, entry) = (&self.inner.ledger, ledger::Entry { leaf, body, seal });
        // What settles an exchange is the last that it does; beside an intent or progress something else may go on.
        let append = if settles.is_some() { ledger.append_and_wait(entry) } else { ledger.append(entry) };
        let appended = append.await?;
        {
            let mut places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.note(time, appended.index);
            if let Some((id, consumer)) = settles {
                places.settled(id, consumer, appended.index);
            }
        }
        // All of it in one piece, of which the parts are views.
        let mut salt_and_hashes = Bytes::from([salt, appended.promise.leaf.0, leaf.private.0].concat());
        let opening = LeafOpening {
            origin: appended.promise.origin,
            index: appended.index,
            salt: salt_and_hashes.split_to(32),
            leaf: salt_and_hashes.split_to(32),
            private: salt_and_hashes,
        };
        Ok(Recorded { index: appended.index, opening, seal: appended.seal })
    }

    /// Finds the record that settled an exchange on this gateway's `side`.
    ///
    /// The newest 65,536 are found at once; older ones by the time in their id, reading the log from there.
    ///
    /// # Errors
    ///
    /// [`FindError`] when the log cannot be read.
    pub fn find(&self, id: ExchangeId, side: Side) -> Result<Option<Found>, FindError> {
        let consumer = side == Side::Consumer;
        let (near, from) = {
            let places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
            (places.newest.get(&(id, consumer)).copied(), places.before(id.time()))
        };
        if let Some(index) = near {
            return Ok(Some(Found { record: Record::open(self.inner.ledger.read(index)?)? }));
        }
        for stored in Reader::open(&self.inner.folder)?.entries_from(from) {
            let record = Record::open(stored?)?;
            if record.settles() && record.side() == side && record.exchange() == Some(id) {
                return Ok(Some(Found { record }));
            }
            let time = record.opened.as_ref().map_or(0, |o| o.private.time);
            if time > id.time().saturating_add(LONGEST_MILLIS) {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

impl Places {
    fn note(&mut self, time: u64, index: u64) {
        if index.is_multiple_of(STRIDE) {
            self.marks.push((time, index));
        }
    }

    fn settled(&mut self, id: ExchangeId, consumer: bool, index: u64) {
        if self.order.len() >= RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.newest.remove(&oldest);
        }
        self.order.push_back((id, consumer));
        self.newest.insert((id, consumer), index);
    }

    /// The last remembered place that lies well before `time`. A minute of slack covers batches that cross.
    fn before(&self, time: u64) -> u64 {
        let after = self.marks.partition_point(|(marked, _)| marked.saturating_add(60_000) < time);
        after.checked_sub(1).and_then(|at| self.marks.get(at)).map_or(0, |(_, index)| *index)
    }
}
