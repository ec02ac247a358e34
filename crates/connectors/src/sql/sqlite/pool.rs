//! The connections of one database: how many, who waits, and which are kept.
//!
//! A lease that ends while its statement runs stops the statement, and the connection is taken again only when SQLite has
//! really let go of it. A file that was put in the place of the old one is opened anew.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _, SqliteConnection};

use super::guard::{Guard, STEPS};
use super::{cannot_open, failed};
use crate::sql::engine::{Pace, Question};
use crate::sql::turns::{Seat, Turn, Turns};
use crate::{Asker, ConnectorError, Failure};

/// How often a kept connection is held against the file, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a connection whose statement was stopped may take to stop.
const LONGEST_STOP: Duration = Duration::from_millis(100);

/// How long a lease waits for a connection when the question has no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The connections of one database.
pub(crate) struct Pool {
    options: SqliteConnectOptions,
    file: PathBuf,
    turns: Arc<Turns>,
    idle: Arc<Idle>,
}

impl Pool {
    pub(crate) fn new(options: SqliteConnectOptions, file: PathBuf, turns: Arc<Turns>) -> Self {
        Self { options, file, turns, idle: Arc::new(Idle(Mutex::new(Vec::new()))) }
    }

    /// Takes a connection, waiting for one up to the deadline.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Timeout`] when none became free in time; else why the file cannot be opened.
    pub(crate) async fn lease(
        &self,
        deadline: Option<Instant>,
        asked: (&Asker, Pace),
    ) -> Result<Lease, ConnectorError> {
        let wait = deadline.unwrap_or_else(|| Instant::now() + LONGEST_WAIT);
        match tokio::time::timeout_at(wait.into(), self.lease_in_time(deadline, asked)).await {
            Ok(lease) => lease,
            Err(_) => Err(ConnectorError::Timeout),
        }
    }

    async fn lease_in_time(
        &self,
        deadline: Option<Instant>,
        (asker, pace): (&Asker, Pace),
    ) -> Result<Lease, ConnectorError> {
        let turn = self.turns.take(asker, pace).await;
        while let Some(kept) = self.idle.take() {
            let mut lease = Lease { held: Some(kept), idle: Arc::clone(&self.idle), turn: None };
            let Some(held) = lease.held.as_mut() else {
                continue;
            };
            // An answer means that its thread has done with whatever ran before. Rarely SQLite is in the midst of one long
            // instruction, or waits for a lock; then the connection is given up, and closed when it comes to its end.
            if held.running {
                let ping = tokio::time::timeout(LONGEST_STOP, held.connection.ping());
                if !matches!(ping.await, Ok(Ok(()))) {
                    lease.held = None;
                    continue;
                }
            }
            held.running = false;
            if !held.is_current(&self.file) {
                lease.held = None;
                continue;
            }
            return Ok(lease.begin(turn, deadline));
        }
        let lease = Lease { held: Some(self.open().await?), idle: Arc::clone(&self.idle), turn: None };
        Ok(lease.begin(turn, deadline))
    }

    /// Opens a connection that is not one of the pool's, and that stops at `deadline`.
    pub(crate) async fn beside(&self, deadline: Instant) -> Result<SqliteConnection, ConnectorError> {
        let held = self.open().await?;
        held.guard.arm(Some(deadline));
        Ok(held.connection)
    }

    async fn open(&self) -> Result<Held, ConnectorError> {
        let identity = Identity::of(&self.file);
        let mut connection = self.options.connect().await.map_err(|error| cannot_open(&self.file, &error))?;
        let guard = Guard::new();
        let asked = Arc::clone(&guard);
        connection
            .lock_handle()
            .await
            .map_err(|error| failed(&error))?
            .set_progress_handler(STEPS, move || asked.goes_on());
        Ok(Held { connection, guard, running: false, identity, looked: Instant::now() })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A connection in use. Dropping it gives the connection back, and stops what it still runs.
pub(crate) struct Lease {
    held: Option<Held>,
    idle: Arc<Idle>,
    turn: Option<Turn>,
}

impl Lease {
    fn begin(mut self, turn: Turn, deadline: Option<Instant>) -> Self {
        if let Some(held) = self.held.as_mut() {
            held.guard.arm(deadline);
            held.running = true;
        }
        self.turn = Some(turn);
        self
    }

    /// Makes a seat for what is going to run.
    pub(crate) fn seat(&self, question: &Question) -> Arc<Seat> {
        match &self.turn {
            Some(turn) if question.pace == Pace::Pulled => turn.seat(question.stalled.clone()),
            _ => Arc::default(),
        }
    }

    /// Returns the connection. From here on it counts as running until [`Lease::finish`].
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, ConnectorError> {
        self.held.as_mut().map(|held| &mut held.connection).ok_or(ConnectorError::Failed { why: Failure::Internal })
    }

    /// Says that the statement has ended by itself.
    pub(crate) fn finish(&mut self) {
        if let Some(held) = self.held.as_mut() {
            held.running = false;
        }
    }

    /// Closes the connection instead of giving it back.
    pub(crate) fn discard(&mut self) {
        if let Some(held) = self.held.take() {
            held.guard.stop();
        }
    }

    #[cfg(test)]
    pub(crate) fn guard(&self) -> Option<Arc<Guard>> {
        self.held.as_ref().map(|held| Arc::clone(&held.guard))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            if held.running {
                held.guard.stop();
            }
            self.idle.give(held);
        }
        // Whoever waits for the turn finds the connection.
        drop(self.turn.take());
    }
}

/// A connection with its guard.
struct Held {
    connection: SqliteConnection,
    guard: Arc<Guard>,
    /// Whether a statement may still run.
    running: bool,
    identity: Option<Identity>,
    looked: Instant,
}

impl Held {
    /// Whether the connection still reads the file that has the name now.
    fn is_current(&mut self, file: &Path) -> bool {
        if self.looked.elapsed() < LOOK_AGAIN {
            return true;
        }
        self.looked = Instant::now();
        self.identity == Identity::of(file)
    }
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    fn of(file: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(file).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        None
    }
}

/// The connections that nobody uses. The last one given is the first one taken.
struct Idle(Mutex<Vec<Held>>);

impl Idle {
    /// Takes one whose statement has ended if there is one, else one that is being stopped.
    fn take(&self) -> Option<Held> {
        let mut kept = self.lock();
        let at = kept.iter().rposition(|held| !held.running).or(kept.len().checked_sub(1))?;
        Some(kept.remove(at))
    }

    fn give(&self, held: Held) {
        self.lock().push(held);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
