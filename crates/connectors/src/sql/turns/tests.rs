//! Turns among askers, by the clock that each test says.

use super::*;

fn turns(most: usize) -> Arc<Turns> {
    Turns::new(most, None)
}

fn asker(name: &str) -> Asker {
    Asker::from(name)
}

/// A turn that is there at once.
fn taken(turns: &Arc<Turns>, name: &str, pace: Pace) -> Option<Turn> {
    turns.enter(&asker(name), pace, Instant::now()).ok()
}

/// As many turns for streams as an asker has at once. What it waits for beyond them is given up.
fn streams(turns: &Arc<Turns>, name: &str) -> Vec<Turn> {
    std::iter::from_fn(|| taken(turns, name, Pace::Pulled)).collect()
}

/// Says that an asker is known, since it has asked and was answered.
fn known(turns: &Arc<Turns>, name: &str) {
    drop(taken(turns, name, Pace::Whole).unwrap());
}

#[test]
fn who_is_alone_has_every_turn() {
    let turns = turns(4);
    assert_eq!(streams(&turns, "planning").len(), 4);
}

#[test]
fn a_turn_is_left_to_questions_with_one_answer_and_one_to_streams_of_others() {
    let turns = turns(4);
    known(&turns, "revenues");
    let planning = streams(&turns, "planning");
    assert_eq!(planning.len(), 2);
    let revenues = taken(&turns, "revenues", Pace::Pulled);
    assert!(revenues.is_some(), "it has no stream yet");
    assert!(taken(&turns, "revenues", Pace::Pulled).is_none());
    assert!(taken(&turns, "revenues", Pace::Whole).is_some());
}

#[test]
fn of_a_single_connection_nothing_is_left() {
    let turns = turns(1);
    known(&turns, "revenues");
    assert_eq!(streams(&turns, "planning").len(), 1);
}

#[test]
fn whoever_has_least_is_next_and_then_whoever_came_first() {
    let turns = turns(3);
    let held: Vec<_> = (0..3).map(|_| taken(&turns, "planning", Pace::Whole).unwrap()).collect();
    let wait = |name: &str| turns.enter(&asker(name), Pace::Whole, Instant::now()).err().unwrap();
    let (mut own, mut first, mut second, mut other) =
        (wait("planning"), wait("revenues"), wait("revenues"), wait("housing"));
    let mut held = held.into_iter();
    // They are kept: a turn that is dropped goes to the next.
    let mut kept = Vec::new();
    held.next();
    kept.push(first.try_recv().expect("who has nothing and came first"));
    held.next();
    kept.push(other.try_recv().expect("who has nothing"));
    held.next();
    kept.push(own.try_recv().expect("of those who have as much, who came first"));
    assert!(second.try_recv().is_err());
    kept.clear();
    assert!(second.try_recv().is_ok());
}

#[test]
fn who_has_gone_leaves_its_turn_to_the_next() {
    let turns = turns(1);
    let held = taken(&turns, "planning", Pace::Whole);
    let wait = || turns.enter(&asker("revenues"), Pace::Whole, Instant::now()).err().unwrap();
    let (gone, mut stays) = (wait(), wait());
    drop(gone);
    drop(held);
    let turn = stays.try_recv().unwrap();
    assert!(taken(&turns, "planning", Pace::Whole).is_none(), "there is one connection");
    drop(turn);
}

#[test]
fn an_asker_that_has_not_asked_for_long_is_forgotten() {
    let turns = turns(4);
    known(&turns, "revenues");
    let later = Instant::now() + KNOWN;
    let mut held = Vec::new();
    while let Ok(turn) = turns.enter(&asker("planning"), Pace::Pulled, later) {
        held.push(turn);
    }
    assert_eq!(held.len(), 4);
    assert!(!turns.lock().askers.contains_key(&asker("revenues")));
}

/// A stream that rests, with its turn in it as a statement has its connection.
fn resting(turn: Turn) -> Arc<Seat> {
    heard(turn, None)
}

/// The same, which says when it has to leave.
fn heard(turn: Turn, stalled: Option<CancellationToken>) -> Arc<Seat> {
    let seat = turn.seat(stalled);
    seat.set(Box::pin(async move {
        let _turn = turn;
        std::future::pending().await
    }));
    seat
}

fn poll(seat: &Seat) -> Poll<Result<(), ConnectorError>> {
    seat.poll(&mut Context::from_waker(Waker::noop()))
}

fn stalled() -> Poll<Result<(), ConnectorError>> {
    Poll::Ready(Err(ConnectorError::Stalled))
}

#[test]
fn a_reader_that_takes_nothing_loses_its_turn_only_while_somebody_waits_and_only_after_the_patience() {
    let look = |turns: &Arc<Turns>, times| turns.look(Instant::now() + LOOK * times);
    let wait = |turns: &Arc<Turns>| turns.enter(&asker("revenues"), Pace::Whole, Instant::now()).err().unwrap();
    let turns = Turns::new(1, Some(Duration::ZERO));
    let left = CancellationToken::new();
    let seat = heard(taken(&turns, "planning", Pace::Pulled).unwrap(), Some(left.clone()));
    look(&turns, 1);
    assert!(poll(&seat).is_pending(), "nobody waits");
    seat.rests();
    let mut given = wait(&turns);
    assert!(!left.is_cancelled());
    look(&turns, 2);
    // Said before its reader is back.
    assert!(left.is_cancelled());
    assert_eq!(poll(&seat), stalled());
    assert!(given.try_recv().is_ok());

    let turns = Turns::new(1, Some(Duration::from_hours(1)));
    let seat = resting(taken(&turns, "planning", Pace::Pulled).unwrap());
    let mut given = wait(&turns);
    look(&turns, 1);
    assert!(poll(&seat).is_pending() && given.try_recv().is_err());
}

#[test]
fn a_reader_that_waits_for_its_database_keeps_its_turn_until_there_is_something_for_it() {
    let turns = Turns::new(1, Some(Duration::ZERO));
    let turn = taken(&turns, "planning", Pace::Pulled).unwrap();
    let seat = turn.seat(None);
    let (row, came) = oneshot::channel::<()>();
    seat.set(Box::pin(async move {
        let _turn = turn;
        let _ = came.await;
        Ok(())
    }));
    assert!(poll(&seat).is_pending());
    let mut given = turns.enter(&asker("revenues"), Pace::Whole, Instant::now()).err().unwrap();
    turns.look(Instant::now() + LOOK);
    assert!(given.try_recv().is_err());
    row.send(()).unwrap();
    turns.look(Instant::now() + LOOK * 2);
    assert!(given.try_recv().is_ok());
    assert_eq!(poll(&seat), stalled());
}

#[test]
fn turns_are_taken_from_whoever_has_most_and_not_for_whom_who_has_more_itself() {
    let turns = Turns::new(3, Some(Duration::ZERO));
    let planning: Vec<_> = (0..2).map(|_| resting(taken(&turns, "planning", Pace::Pulled).unwrap())).collect();
    let revenues = resting(taken(&turns, "revenues", Pace::Whole).unwrap());
    let mut given = turns.enter(&asker("revenues"), Pace::Whole, Instant::now()).err().unwrap();
    turns.look(Instant::now() + LOOK);
    let turn = given.try_recv().unwrap();
    assert_eq!(planning.iter().filter(|seat| poll(seat) == stalled()).count(), 1);
    // Planning has one now, and revenues two of the three.
    let _waits = turns.enter(&asker("planning"), Pace::Whole, Instant::now()).err().unwrap();
    turns.look(Instant::now() + LOOK * 2);
    assert_eq!(poll(&revenues), stalled());
    drop(turn);
}
