//! The connections of one server: how many, who waits, which are kept, and what becomes of one whose question was taken back.
//!
//! A lease that ends while its statement runs has it cancelled from a second connection and then closes its own, since the driver
//! would otherwise read all that is left of the answer. A transaction that rests is rolled back, and its connection kept. Whoever
//! waits for the lease's place waits for that too, so that the limit holds on the server.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, PgConnection, Row as _};
use tokio::runtime::Handle;

use super::address::Address;
use super::failures::{Aftermath, cannot_connect, failed};
use crate::sql::engine::{Pace, Question};
use crate::sql::turns::{Seat, Turn, Turns};
use crate::{Asker, ConnectorError, Failure};

/// How long a lease waits for a connection when the question has no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long cancelling a statement, or rolling back, may take before the connection is given up.
const LONGEST_MENDING: Duration = Duration::from_secs(5);

/// After how long without use a connection is tried before it is used: a firewall may have forgotten it.
const TRY_AFTER: Duration = Duration::from_secs(30);

/// How long that may take.
const LONGEST_TRY: Duration = Duration::from_secs(1);

/// By how much the server's own limit of time lies behind the deadline, which the gateway keeps first.
const NET_BEHIND: Duration = Duration::from_secs(1);

/// The connections of one server.
pub(super) struct Pool {
    shared: Arc<Shared>,
    turns: Arc<Turns>,
}

/// What outlives a lease.
struct Shared {
    address: Address,
    lock_timeout: Duration,
    /// The last connection given is the first one taken.
    idle: Mutex<Vec<Held>>,
    /// Counts how often the tables have changed. A connection that was opened before the last time is not kept.
    changes: AtomicU64,
    /// Where connections are mended.
    runtime: Option<Handle>,
}

impl Pool {
    /// Makes the pool. Nothing is opened yet. Must run within a tokio runtime.
    pub(super) fn new(address: Address, lock_timeout: Duration, turns: Arc<Turns>) -> Self {
        let runtime = Handle::try_current().ok();
        let shared =
            Arc::new(Shared { address, lock_timeout, idle: Mutex::default(), changes: AtomicU64::new(0), runtime });
        Self { shared, turns }
    }

    pub(super) fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Takes a connection, waiting for one up to the deadline.
    ///
    /// # Errors
    ///
    /// [`ConnectorError::Timeout`] when none became free in time; else why none can be opened.
    pub(super) async fn lease(
        &self,
        deadline: Option<Instant>,
        (asker, pace): (&Asker, Pace),
    ) -> Result<Lease, ConnectorError> {
        in_time(deadline, async {
            let turn = self.turns.take(asker, pace).await;
            let mut lease = Lease { held: None, kept: false, shared: Arc::clone(&self.shared), turn: Some(turn) };
            while lease.held.is_none() {
                let Some(kept) = self.shared.idle().pop() else {
                    lease.held = Some(self.shared.open().await?);
                    lease.kept = false;
                    break;
                };
                lease.held = kept.answering().await;
                lease.kept = true;
            }
            lease.net(deadline).await?;
            Ok(lease)
        })
        .await
    }

    /// Keeps no connection that is open now, since it remembers statements and types as they were.
    pub(super) fn forget(&self) {
        let mut idle = self.shared.idle();
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        idle.clear();
    }

    /// Opens a connection that is not one of the pool's.
    pub(super) async fn beside(&self) -> Result<PgConnection, ConnectorError> {
        Ok(self.shared.open().await?.connection)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.shared.idle().len()).finish_non_exhaustive()
    }
}

/// Ends what takes longer than the deadline.
pub(super) async fn in_time<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, ConnectorError>>,
) -> Result<T, ConnectorError> {
    let end = deadline.unwrap_or_else(|| Instant::now() + LONGEST_WAIT);
    tokio::time::timeout_at(end.into(), work).await.unwrap_or(Err(ConnectorError::Timeout))
}

/// A connection in use. Dropping it gives the connection back, and stops what it still runs.
pub(super) struct Lease {
    held: Option<Held>,
    /// Whether the connection was used before, and so may be gone without anybody having noticed.
    kept: bool,
    shared: Arc<Shared>,
    turn: Option<Turn>,
}

impl Lease {
    /// Makes a seat for what is going to run.
    pub(super) fn seat(&self, question: &Question) -> Arc<Seat> {
        match &self.turn {
            Some(turn) if question.pace == Pace::Pulled => turn.seat(question.stalled.clone()),
            _ => Arc::default(),
        }
    }

    /// Returns the connection to send a command. It counts as running until [`Lease::rest`] or [`Lease::finish`].
    pub(super) fn running(&mut self) -> Result<&mut PgConnection, ConnectorError> {
        let held = self.held.as_mut().ok_or(ConnectorError::Failed { why: Failure::Internal })?;
        held.state = State::Running;
        Ok(&mut held.connection)
    }

    /// Says that the command has ended, in a transaction that goes on.
    pub(super) fn rest(&mut self) {
        self.state(State::Transaction);
    }

    /// Says that the command has ended, and any transaction with it.
    pub(super) fn finish(&mut self) {
        self.state(State::Ready);
    }

    fn state(&mut self, state: State) {
        if let Some(held) = self.held.as_mut() {
            held.state = state;
        }
    }

    /// Takes note that the command has failed, and says what that means.
    pub(super) fn failed(&mut self, error: &sqlx::Error) -> ConnectorError {
        let (error, aftermath) = failed(error);
        if aftermath == Aftermath::Lost {
            self.held = None;
            // What ended one connection has probably ended all.
            self.shared.idle().clear();
        } else if let Some(held) = self.held.as_mut() {
            // The driver reads the end of the answer before it sends another command; in a transaction that has failed, that is
            // a rollback.
            held.state = State::Transaction;
        }
        error
    }

    /// Opens another connection in the place of one that had been kept and was lost, once. Says whether there is one.
    pub(super) async fn renewed(&mut self, deadline: Option<Instant>) -> Result<bool, ConnectorError> {
        if self.held.is_some() || !self.kept {
            return Ok(false);
        }
        self.kept = false;
        let opened = in_time(deadline, self.shared.open()).await?;
        self.held = Some(opened);
        in_time(deadline, self.net(deadline)).await?;
        Ok(true)
    }

    /// Sets the server's own limit of time for a statement a little behind the deadline. It is only a net, so a limit that is
    /// somewhat longer is left as it is.
    async fn net(&mut self, deadline: Option<Instant>) -> Result<(), ConnectorError> {
        let Some(held) = self.held.as_mut() else {
            return Ok(());
        };
        let wanted = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()) + NET_BEHIND);
        let fits = match (held.net, wanted) {
            (None, None) => true,
            (Some(net), Some(wanted)) => net >= wanted && net <= wanted * 4,
            (None, Some(_)) | (Some(_), None) => false,
        };
        // The role's own limit, if it is the shorter one, has been there from the start.
        if fits || (held.net.is_none() && held.own_net.zip(wanted).is_some_and(|(own, wanted)| own <= wanted)) {
            return Ok(());
        }
        let net = wanted.map(|wanted| wanted * 2);
        // The server takes no more than an `int4`, some 24 days.
        let most = u128::from(i32::MAX.unsigned_abs());
        let shortest = net.into_iter().chain(held.own_net).min().map_or(0, |net| net.as_millis().min(most));
        held.state = State::Running;
        let sql = format!("SET statement_timeout = {shortest}");
        let set = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut held.connection).await;
        held.state = State::Ready;
        held.net = net;
        match set {
            Ok(_) => Ok(()),
            // A kept connection that is gone shows with the question's own command, which is then sent on another.
            Err(_) if self.kept => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        if held.state == State::Ready {
            self.shared.keep(held);
            return;
        }
        let Some(runtime) = &self.shared.runtime else {
            return;
        };
        // The turn goes along: whoever waits for it finds the server at rest.
        let (shared, turn) = (Arc::clone(&self.shared), self.turn.take());
        drop(runtime.spawn(async move {
            shared.mend(held).await;
            drop(turn);
        }));
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Held>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for the next question, unless the tables have changed since it was opened.
    fn keep(&self, held: Held) {
        let mut idle = self.idle();
        if held.changes == self.changes.load(Ordering::Relaxed) {
            idle.push(Held { used: Instant::now(), ..held });
        }
    }

    /// Opens a connection that only reads.
    async fn open(&self) -> Result<Held, ConnectorError> {
        let changes = self.changes.load(Ordering::Relaxed);
        let options = self.address.options().await?;
        let mut connection = options.connect().await.map_err(|error| cannot_connect(&error))?;
        // Where the server can, it looks after a client that is gone while a statement runs.
        let looks = if connection.server_version_num().is_some_and(|version| version >= 140_000) {
            "CASE WHEN version() LIKE '%linux%' THEN set_config('client_connection_check_interval', '1000', false) END"
        } else {
            "NULL"
        };
        let sql = format!(
            "SELECT pg_backend_pid(), setting::bigint, set_config('default_transaction_read_only', 'on', false), \
             set_config('lock_timeout', '{}', false), set_config('standard_conforming_strings', 'on', false), \
             set_config('client_min_messages', 'error', false), {looks} \
             FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'",
            self.lock_timeout.as_millis()
        );
        let row =
            connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(|error| cannot_connect(&error))?;
        let process: i32 = row.try_get(0).map_err(|error| cannot_connect(&error))?;
        let own: i64 = row.try_get(1).unwrap_or_default();
        let own_net = u64::try_from(own).ok().filter(|own| *own > 0).map(Duration::from_millis);
        Ok(Held { connection, process, state: State::Ready, own_net, net: None, used: Instant::now(), changes })
    }

    /// Brings what a lease has left behind to an end.
    async fn mend(&self, mut held: Held) {
        if held.state == State::Transaction {
            let rollback = tokio::time::timeout(LONGEST_MENDING, held.connection.execute("ROLLBACK"));
            if matches!(rollback.await, Ok(Ok(_))) {
                held.state = State::Ready;
                self.keep(held);
            }
            return;
        }
        // While the connection is open the process is this one and no other.
        let cancel = async {
            let options = self.address.options().await.ok()?;
            let mut side = options.connect().await.ok()?;
            let cancel = sqlx::query("SELECT pg_cancel_backend($1)").persistent(false).bind(held.process);
            side.execute(cancel).await.ok()?;
            side.close().await.ok()
        };
        if !matches!(tokio::time::timeout(LONGEST_MENDING, cancel).await, Ok(Some(()))) {
            tracing::warn!("a statement could not be cancelled on the server; its connection is closed all the same");
        }
        let _ = tokio::time::timeout(LONGEST_MENDING, held.connection.close_hard()).await;
    }
}

/// A connection with what is known of it.
struct Held {
    connection: PgConnection,
    /// The server's process, which is what is cancelled.
    process: i32,
    state: State,
    /// The role's own limit of time for a statement.
    own_net: Option<Duration>,
    /// The limit of time that the gateway has set; `None` for none.
    net: Option<Duration>,
    used: Instant,
    /// How often the tables had changed when it was opened.
    changes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// A command has been sent, and its answer is not read to its end.
    Running,
    /// Nothing runs, in a transaction.
    Transaction,
}

impl Held {
    /// Itself, if the server still answers.
    async fn answering(mut self) -> Option<Self> {
        if self.used.elapsed() < TRY_AFTER {
            return Some(self);
        }
        let ping = tokio::time::timeout(LONGEST_TRY, self.connection.ping()).await;
        matches!(ping, Ok(Ok(()))).then_some(self)
    }
}
