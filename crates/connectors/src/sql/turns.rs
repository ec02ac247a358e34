//! Who may use a connection of a database next, and whose reader has to give one up.
//!
//! Connections are few, and a stream has its own for as long as its reader takes. So askers share them: whoever has least is next, one
//! connection is kept for questions with one answer, and another for streams of those who have none. The surprising fact: nothing is
//! taken from anybody, and nothing is kept free, while one asker is alone.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::engine::Pace;
use crate::{Asker, ConnectorError};

/// How long a reader may take nothing while others wait, unless configured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long an asker is one for whom a connection is kept.
const KNOWN: Duration = Duration::from_mins(1);

/// How often who waits looks for a reader that has stopped.
const LOOK: Duration = Duration::from_millis(100);

/// The turns at the connections of one database.
pub(crate) struct Turns {
    most: usize,
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    free: usize,
    askers: HashMap<Asker, Standing>,
    streams: Vec<Seated>,
    /// Turns and waits so far.
    count: u64,
    looked: Instant,
}

/// What one asker has, and waits for.
struct Standing {
    held: usize,
    asked: Instant,
    /// Questions with one answer, and streams; each with its place in the order of all.
    whole: VecDeque<(u64, oneshot::Sender<Turn>)>,
    pulled: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// A stream under way.
struct Seated {
    turn: u64,
    asker: Asker,
    clock: Arc<Clock>,
    seat: Weak<Seat>,
}

/// Turns that were given and not handed over, which has to wait until the state is not locked any more.
type Given = Vec<(oneshot::Sender<Turn>, Turn)>;

impl Turns {
    /// Makes `most` turns that can be had at once.
    pub(crate) fn new(most: usize, patience: Option<Duration>) -> Arc<Self> {
        let most = most.max(1);
        let state = State { free: most, askers: HashMap::new(), streams: Vec::new(), count: 0, looked: Instant::now() };
        Arc::new(Self { most, patience: patience.unwrap_or(PATIENCE), state: Mutex::new(state) })
    }

    /// Waits for a turn.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the turn to the next.
    pub(crate) async fn take(self: &Arc<Self>, asker: &Asker, pace: Pace) -> Turn {
        loop {
            let mut given = match self.enter(asker, pace, Instant::now()) {
                Ok(turn) => return turn,
                Err(given) => given,
            };
            loop {
                match tokio::time::timeout(LOOK, &mut given).await {
                    Ok(Ok(turn)) => return turn,
                    // Not to be expected: who waits is kept.
                    Ok(Err(_)) => break,
                    Err(_) => self.look(Instant::now()),
                }
            }
        }
    }

    /// Takes a turn where there is one and nobody waits, or says where it will be given.
    fn enter(self: &Arc<Self>, asker: &Asker, pace: Pace, now: Instant) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut state = self.lock();
        state.skip_gone();
        let alone = state.askers.values().all(|standing| !standing.waits());
        if !state.askers.contains_key(asker) {
            state.askers.retain(|_, standing| standing.is_known(now));
            state.askers.insert(asker.clone(), Standing::new(now));
        }
        let known = state.known(now);
        let free = state.free;
        let order = state.next();
        let Some(standing) = state.askers.get_mut(asker) else { return Err(oneshot::channel().1) };
        standing.asked = now;
        if alone && free > standing.leaves(self.most, known, pace) {
            standing.held += 1;
            state.free -= 1;
            drop(state);
            return Ok(self.turn(asker, order));
        }
        let (sender, mut given) = oneshot::channel();
        standing.queue(pace).push_back((order, sender));
        let given_now = self.give(&mut state, now);
        drop(state);
        hand_over(given_now);
        given.try_recv().map_err(|_| given)
    }

    /// Gives what is free to those who wait, as long as somebody may have it.
    fn give(self: &Arc<Self>, state: &mut State, now: Instant) -> Given {
        let mut given = Given::new();
        while state.free > 0 {
            state.skip_gone();
            let known = state.known(now);
            let Some((asker, pace)) =
                state.first(|standing, pace| state.free > standing.leaves(self.most, known, pace))
            else {
                break;
            };
            let Some(standing) = state.askers.get_mut(&asker) else { break };
            let Some((_, sender)) = standing.queue(pace).pop_front() else { break };
            standing.held += 1;
            state.free -= 1;
            let turn = state.next();
            given.push((sender, self.turn(&asker, turn)));
        }
        given
    }

    /// Gives what may be had by now, and takes one connection from a reader that has stopped, if somebody waits for it.
    fn look(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        if now.saturating_duration_since(state.looked) < LOOK / 2 {
            return;
        }
        state.looked = now;
        let given = self.give(&mut state, now);
        let stopped = state.stopped(self.patience);
        drop(state);
        hand_over(given);
        if let Some(seat) = stopped.as_deref() {
            seat.revoke();
        }
    }

    fn turn(self: &Arc<Self>, asker: &Asker, id: u64) -> Turn {
        Turn { turns: Arc::clone(self), asker: asker.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hand_over(given: Given) {
    for (sender, turn) in given {
        // Who has gone leaves it to the next.
        drop(sender.send(turn));
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.count
    }

    /// Passes over those who were next and have gone.
    fn skip_gone(&mut self) {
        for standing in self.askers.values_mut() {
            for queue in [&mut standing.whole, &mut standing.pulled] {
                while queue.front().is_some_and(|(_, sender)| sender.is_closed()) {
                    queue.pop_front();
                }
            }
        }
    }

    /// How many askers there are for whom something is kept.
    fn known(&self, now: Instant) -> usize {
        self.askers.values().filter(|standing| standing.is_known(now)).count()
    }

    /// Who is next of those that `may`: an asker who has least, and of those the one who came first.
    fn first(&self, may: impl Fn(&Standing, Pace) -> bool) -> Option<(Asker, Pace)> {
        let waiting = self.askers.iter().flat_map(|(asker, standing)| {
            let fronts = [(Pace::Whole, standing.whole.front()), (Pace::Pulled, standing.pulled.front())];
            fronts.into_iter().filter_map(move |(pace, front)| Some((asker, standing, pace, front?.0)))
        });
        let next = waiting
            .filter(|(_, standing, pace, _)| may(standing, *pace))
            .min_by_key(|(_, standing, _, order)| (standing.held, *order));
        next.map(|(asker, _, pace, _)| (asker.clone(), pace))
    }

    /// The reader that has taken nothing for longest, of the asker who has most, where somebody else has less, or the asker itself waits.
    fn stopped(&mut self, patience: Duration) -> Option<Arc<Seat>> {
        for standing in self.askers.values_mut() {
            standing.forget_gone();
        }
        let (waiting, _) = self.first(|_, _| true)?;
        let held = |asker: &Asker| self.askers.get(asker).map_or(0, |standing| standing.held);
        let least = held(&waiting);
        let stopped = self.streams.iter().filter_map(|stream| {
            let stalled = stream.clock.stalled().filter(|stalled| *stalled >= patience)?;
            let has = held(&stream.asker);
            (stream.asker == waiting || has > least).then_some((has, stalled, stream))
        });
        stopped.max_by_key(|(has, stalled, _)| (*has, *stalled)).and_then(|(_, _, stream)| stream.seat.upgrade())
    }
}

impl Standing {
    fn new(now: Instant) -> Self {
        Self { held: 0, asked: now, whole: VecDeque::new(), pulled: VecDeque::new() }
    }

    fn queue(&mut self, pace: Pace) -> &mut VecDeque<(u64, oneshot::Sender<Turn>)> {
        match pace {
            Pace::Whole => &mut self.whole,
            Pace::Pulled => &mut self.pulled,
        }
    }

    fn waits(&self) -> bool {
        !self.whole.is_empty() || !self.pulled.is_empty()
    }

    fn forget_gone(&mut self) {
        self.whole.retain(|(_, sender)| !sender.is_closed());
        self.pulled.retain(|(_, sender)| !sender.is_closed());
    }

    fn is_known(&self, now: Instant) -> bool {
        self.held > 0 || self.waits() || now.saturating_duration_since(self.asked) < KNOWN
    }

    /// How many free connections this asker has to leave to others, of `most`, where so many askers are known.
    fn leaves(&self, most: usize, known: usize, pace: Pace) -> usize {
        if pace == Pace::Whole || known < 2 || most < 2 {
            return 0;
        }
        let share = ((most - 1) / known).max(1);
        if self.held < share { 1 } else { 2 }
    }
}

/// The right to one connection. Dropping it gives it to the next.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    asker: Asker,
    id: u64,
}

impl Turn {
    /// Makes a seat for the stream of this turn, which it may have to leave while its reader takes nothing.
    /// Where it has to, `stalled` fires.
    pub(crate) fn seat(&self, stalled: Option<CancellationToken>) -> Arc<Seat> {
        let seat = Arc::new(Seat { stalled, ..Seat::default() });
        let (clock, weak) = (Arc::clone(&seat.clock), Arc::downgrade(&seat));
        let seated = Seated { turn: self.id, asker: self.asker.clone(), clock, seat: weak };
        self.turns.lock().streams.push(seated);
        seat
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.streams.retain(|stream| stream.turn != self.id);
        state.free += 1;
        if let Some(standing) = state.askers.get_mut(&self.asker) {
            standing.held = standing.held.saturating_sub(1);
        }
        let given = if state.askers.values().any(Standing::waits) {
            self.turns.give(&mut state, Instant::now())
        } else {
            Given::new()
        };
        drop(state);
        hand_over(given);
    }
}

/// Where a statement runs, polled by its reader, until it ends or has to leave.
#[derive(Default)]
pub(crate) struct Seat {
    pump: Mutex<Slot>,
    clock: Arc<Clock>,
    stalled: Option<CancellationToken>,
}

/// What polls a statement to its end.
pub(crate) type Pump = BoxFuture<'static, Result<(), ConnectorError>>;

#[derive(Default)]
enum Slot {
    Runs(Pump),
    #[default]
    Ended,
    Revoked,
}

impl Seat {
    /// Sets the statement down.
    pub(crate) fn set(&self, pump: Pump) {
        *self.lock() = Slot::Runs(pump);
        self.rests();
    }

    /// Polls the statement for its reader. Nothing is polled once it has ended.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<(), ConnectorError>> {
        let mut slot = self.lock();
        let ended = match &mut *slot {
            Slot::Runs(pump) => {
                let waker = self.clock.waits(context.waker());
                pump.as_mut().poll(&mut Context::from_waker(&waker))
            }
            Slot::Ended => Poll::Ready(Ok(())),
            Slot::Revoked => Poll::Ready(Err(ConnectorError::Stalled)),
        };
        if ended.is_ready() {
            *slot = Slot::Ended;
        }
        ended
    }

    /// Stops the statement.
    pub(crate) fn stop(&self) {
        *self.lock() = Slot::Ended;
    }

    /// Says that the reader has something, and is waited for.
    pub(crate) fn rests(&self) {
        self.clock.rests();
    }

    /// Takes the connection away, unless the reader is back.
    fn revoke(&self) {
        let mut slot = match self.pump.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if matches!(*slot, Slot::Runs(_)) {
            let pump = std::mem::replace(&mut *slot, Slot::Revoked);
            drop(slot);
            drop(pump);
            if let Some(stalled) = &self.stalled {
                stalled.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since when a reader is waited for. It is what the database wakes: from then on there is something for the reader, whether it
/// comes for it or not.
struct Clock {
    begun: Instant,
    /// Milliseconds after `begun`, and one more; 0 while the reader waits itself.
    since: AtomicU64,
    reader: Mutex<Option<Waker>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { begun: Instant::now(), since: AtomicU64::new(0), reader: Mutex::default() }
    }
}

impl Wake for Clock {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = self.millis().saturating_add(1);
        // Who rests already does not begin anew.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        let reader = self.reader().take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Clock {
    /// The reader has something.
    fn rests(&self) {
        self.since.store(self.millis().saturating_add(1), Ordering::Relaxed);
    }

    /// The reader waits; returns what the database wakes.
    fn waits(self: &Arc<Self>, reader: &Waker) -> Waker {
        self.since.store(0, Ordering::Relaxed);
        *self.reader() = Some(reader.clone());
        Waker::from(Arc::clone(self))
    }

    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the reader is waited for. None: it waits itself.
    fn stalled(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.millis().saturating_sub(since)))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
