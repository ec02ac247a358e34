//! The places for exchanges at once, and how members share them, so that one that floods does not keep the others out.
//!
//! Those who share are the other members, and each system of one's own: a caller that leaves its streams unread keeps out no other
//! one either. Both are called members here. Two things are shared. **Room**: a member that has more than its share leaves the last
//! eighth of all places to the others; what nobody else wants is lent. **Time**: where the gateway falls behind, a member that has
//! more than its share under way waits until one of its own exchanges has ended; those that ask for little pass it by. The surprising
//! fact: nothing is measured, and nobody waits, while a member is alone or asks for little.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use federation::{MemberId, SystemId};
use tokio::sync::{Mutex as Turn, Notify};

/// Exchanges that a member may always have under way, however far behind the gateway is.
const ALWAYS: usize = 4;
/// What is left to others is one of so many parts of all places.
const RESERVE: usize = 8;
/// How long it takes a task to get its turn from when on the gateway is behind.
const BEHIND: Duration = Duration::from_millis(1);
/// How long a member that asked is one among whom time is shared.
const ACTIVE: Duration = Duration::from_secs(1);
/// How long a member that asked is one for whom room is left.
const KNOWN: Duration = Duration::from_mins(10);
/// How often who waits looks whether the gateway is still behind.
const LOOK: Duration = Duration::from_millis(5);
/// How long an exchange may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who shares the places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Another member, whose gateways ask.
    Member(MemberId),
    /// A system of one's own member.
    System(SystemId),
}

/// The places of one gateway, shared by all of its runtimes.
pub(crate) struct Places {
    most: AtomicUsize,
    state: Mutex<State>,
    /// Told when the last place is given back.
    empty: Notify,
}

#[derive(Default)]
struct State {
    taken: usize,
    members: HashMap<Holder, Holding>,
}

/// What one member holds. There are no more of them than members in the directory, and systems with a certificate.
struct Holding {
    taken: usize,
    /// Of those that are taken: not begun yet.
    waiting: usize,
    asked: Instant,
    queue: Arc<Queue>,
}

/// Where a member's exchanges wait for their turn, one behind the other.
#[derive(Default)]
struct Queue {
    turn: Turn<()>,
    /// Told when an exchange of the member has ended.
    ended: Notify,
}

/// A place, held until the exchange has settled and its answer has left.
pub(crate) type Place = Arc<Taken>;

/// A place of a member. Dropping the last hold on it gives it back.
pub(crate) struct Taken {
    places: Arc<Places>,
    member: Holder,
}

impl Places {
    /// Makes `most` places.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), state: Mutex::default(), empty: Notify::new() })
    }

    /// Changes how many there are. Exchanges that go on keep their places.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Returns how many there are.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Returns how many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.state().taken
    }

    /// Takes a place for an exchange of `member`; none where there is no room for it, or its turn does not come.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place back.
    pub(crate) async fn take(self: &Arc<Self>, member: &Holder) -> Option<Place> {
        if !self.state().enter(member, self.most(), Instant::now()) {
            return None;
        }
        let place = Arc::new(Taken { places: self.clone(), member: member.clone() });
        let Some(queue) = self.state().contended(member, Instant::now()) else { return Some(place) };
        let waiting = Waiting::begin(&place);
        let begun = tokio::time::timeout(PATIENCE, self.turn(member, &queue)).await;
        drop(waiting);
        begun.is_ok().then_some(place)
    }

    /// Waits until no place is taken.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.empty.notified();
            if self.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until an exchange of the member may begin.
    async fn turn(&self, member: &Holder, queue: &Queue) {
        let _first = queue.turn.lock().await;
        while !self.state().within_share(member, Instant::now()) && lag().await >= BEHIND {
            let _ = tokio::time::timeout(LOOK, queue.ended.notified()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a place, where there is room for this member.
    fn enter(&mut self, member: &Holder, most: usize, now: Instant) -> bool {
        if !self.members.contains_key(member) {
            self.members.retain(|_, holding| holding.taken > 0 || holding.seen_within(KNOWN, now));
        }
        let others = self.others(member, KNOWN, now);
        let holding = self.members.entry(member.clone()).or_insert_with(|| Holding::new(now));
        holding.asked = now;
        let share = (most / others.saturating_add(1)).max(1);
        let reserve = if others > 0 { (most / RESERVE).max(1) } else { 0 };
        let free = most.saturating_sub(self.taken);
        if free == 0 || holding.taken >= share && free <= reserve {
            return false;
        }
        holding.taken = holding.taken.saturating_add(1);
        self.taken = self.taken.saturating_add(1);
        true
    }

    /// Returns where to wait, if the exchange may have to: its member has much under way, and others ask too.
    fn contended(&self, member: &Holder, now: Instant) -> Option<Arc<Queue>> {
        let holding = self.members.get(member)?;
        let much = holding.taken > ALWAYS && self.others(member, ACTIVE, now) > 0;
        much.then(|| holding.queue.clone())
    }

    /// Returns whether a member has no more than its share under way, or is alone by now.
    fn within_share(&self, member: &Holder, now: Instant) -> bool {
        let others = self.others(member, ACTIVE, now);
        let running: usize = self.members.values().map(Holding::running).sum();
        let own = self.members.get(member).map_or(0, Holding::running);
        others == 0 || own < ALWAYS.max(running / others.saturating_add(1))
    }

    /// Returns how many other members have asked lately, or hold a place.
    fn others(&self, member: &Holder, lately: Duration, now: Instant) -> usize {
        let others = self.members.iter().filter(|(other, _)| *other != member);
        others.filter(|(_, holding)| holding.taken > 0 || holding.seen_within(lately, now)).count()
    }

    fn wait(&mut self, member: &Holder, change: impl Fn(usize) -> usize) {
        if let Some(holding) = self.members.get_mut(member) {
            holding.waiting = change(holding.waiting);
        }
    }
}

impl Holding {
    fn new(now: Instant) -> Self {
        Self { taken: 0, waiting: 0, asked: now, queue: Arc::default() }
    }

    fn running(&self) -> usize {
        self.taken.saturating_sub(self.waiting)
    }

    fn seen_within(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < time
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.places.state();
        state.taken = state.taken.saturating_sub(1);
        if let Some(holding) = state.members.get_mut(&self.member) {
            holding.taken = holding.taken.saturating_sub(1);
            holding.queue.ended.notify_one();
        }
        if state.taken == 0 {
            self.places.empty.notify_waiters();
        }
    }
}

/// Marks a place as one whose exchange has not begun.
struct Waiting<'a>(&'a Taken);

impl<'a> Waiting<'a> {
    fn begin(place: &'a Taken) -> Self {
        place.places.state().wait(&place.member, |waiting| waiting.saturating_add(1));
        Self(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.places.state().wait(&self.0.member, |waiting| waiting.saturating_sub(1));
    }
}

/// How long this runtime takes until everything that is ready has had its turn.
async fn lag() -> Duration {
    let asked = Instant::now();
    tokio::task::yield_now().await;
    asked.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Holder {
        Holder::Member(format!("{name}.example").parse().unwrap())
    }

    /// Takes as many places as there are for a member; returns how many.
    fn fill(state: &mut State, name: &str, most: usize, now: Instant) -> usize {
        (0..=most).take_while(|_| state.enter(&member(name), most, now)).count()
    }

    #[test]
    fn who_is_alone_has_every_place() {
        let now = Instant::now();
        assert_eq!(fill(&mut State::default(), "council", 16, now), 16);
        assert_eq!(fill(&mut State::default(), "council", 1, now), 1);
    }

    #[test]
    fn a_member_that_floods_leaves_room_for_those_that_asked_before() {
        let (mut state, now) = (State::default(), Instant::now());
        assert!(state.enter(&member("police"), 16, now));
        // An eighth is left: two.
        assert_eq!(fill(&mut state, "council", 16, now), 13);
        assert_eq!(fill(&mut state, "police", 16, now), 2);
        assert!(!state.enter(&member("trust"), 16, now), "there is no place at all");
    }

    #[test]
    fn a_share_is_never_denied_while_there_is_room_for_it() {
        let (mut state, now) = (State::default(), Instant::now());
        assert!(state.enter(&member("police"), 2, now));
        assert!(state.enter(&member("council"), 2, now));
        assert!(!state.enter(&member("council"), 2, now));
    }

    #[test]
    fn a_system_that_floods_leaves_room_for_the_others_of_its_member() {
        let (mut state, now) = (State::default(), Instant::now());
        let system = |name| Holder::System(SystemId::new("council.example".parse().unwrap(), name).unwrap());
        let fill = |state: &mut State, name| (0..=16).take_while(|_| state.enter(&system(name), 16, now)).count();
        assert!(state.enter(&system("revenues"), 16, now));
        assert_eq!(fill(&mut state, "planning"), 13);
        assert_eq!(fill(&mut state, "revenues"), 2);
    }

    #[test]
    fn who_has_not_asked_for_long_is_forgotten() {
        let (mut state, now) = (State::default(), Instant::now());
        assert!(state.enter(&member("police"), 16, now));
        state.members.get_mut(&member("police")).unwrap().taken = 0;
        state.taken = 0;
        assert_eq!(fill(&mut state, "council", 16, now + KNOWN), 16);
        assert!(!state.members.contains_key(&member("police")));
    }

    #[test]
    fn only_who_has_much_under_way_beside_others_may_have_to_wait() {
        let (mut state, now) = (State::default(), Instant::now());
        let contended = |state: &State, name, now| state.contended(&member(name), now).is_some();
        for _ in 0..20 {
            state.enter(&member("council"), 4096, now);
        }
        assert!(!contended(&state, "council", now), "it is alone");
        state.enter(&member("police"), 4096, now);
        assert!(contended(&state, "council", now) && !contended(&state, "police", now));
        // Twenty-one are under way, so ten are a share; those that wait are not under way.
        assert!(!state.within_share(&member("council"), now) && state.within_share(&member("police"), now));
        state.wait(&member("council"), |_| 17);
        assert!(state.within_share(&member("council"), now));
    }

    #[tokio::test]
    async fn places_come_back_and_who_waits_for_the_last_is_told() {
        let places = Places::new(2);
        let (one, other) = (places.take(&member("council")).await.unwrap(), places.take(&member("council")).await);
        assert!(places.take(&member("council")).await.is_none());
        assert_eq!(places.taken(), 2);
        let emptied = tokio::spawn({
            let places = places.clone();
            async move { places.emptied().await }
        });
        drop(one);
        assert_eq!(places.taken(), 1);
        drop(other);
        emptied.await.unwrap();
        places.set_most(0);
        assert!(places.take(&member("council")).await.is_none());
        places.set_most(1);
        assert!(places.take(&member("council")).await.is_some());
    }

    #[tokio::test]
    async fn a_turn_comes_once_the_gateway_is_not_behind_any_more() {
        let places = Places::new(4096);
        let _police = places.take(&member("police")).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend(places.take(&member("council")).await);
        }
        // Nothing else runs here, so all had their turn at once.
        assert_eq!((held.len(), places.taken()), (100, 101));
        assert!(places.state().members.values().all(|holding| holding.waiting == 0));
    }
}
