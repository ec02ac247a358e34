use std::thread;

use super::*;

/// 2026-11-26T23:59:00Z, a minute before midnight.
const EVENING: u64 = 1_795_737_540;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn no_limits() -> Limits {
    Limits::default()
}

/// Admits a call and lets it count.
fn call(meter: &Meter, limits: &Limits, seconds: u64) -> Result<(), Exceeded> {
    let mut admitted = meter.admit(limits, Answers::Many, at(seconds))?;
    admitted.keep();
    Ok(())
}

fn reached(limit: Limit, most: u64, until: Option<u64>) -> Result<(), Exceeded> {
    Err(Exceeded { limit, most, until: until.map(at) })
}

#[test]
fn so_many_calls_pass_in_a_second_and_the_next_second_has_room_again() {
    let (meter, limits) = (Meter::default(), Limits { calls_per_second: Some(2), ..no_limits() });
    assert_eq!(
        [100, 100, 100].map(|now| call(&meter, &limits, now)),
        [Ok(()), Ok(()), reached(Limit::CallsPerSecond, 2, Some(101))]
    );
    assert_eq!(call(&meter, &limits, 101), Ok(()));
}

#[test]
fn a_late_call_counts_in_the_newest_second_so_that_no_second_is_used_twice() {
    let (meter, limits) = (Meter::default(), Limits { calls_per_second: Some(1), ..no_limits() });
    assert_eq!(call(&meter, &limits, 200), Ok(()));
    // Another gateway of the same member, whose clock is behind.
    assert_eq!(call(&meter, &limits, 199), reached(Limit::CallsPerSecond, 1, Some(200)));
    // A clock that was set back is no late call.
    assert_eq!(call(&meter, &limits, 100_000), Ok(()));
    assert_eq!(call(&meter, &limits, 300), Ok(()));
}

#[test]
fn a_day_ends_at_midnight_by_utc_and_late_calls_of_the_day_before_still_count_there() {
    let (meter, limits) = (Meter::default(), Limits { calls_per_day: Some(2), ..no_limits() });
    let midnight = EVENING + 60;
    assert_eq!(call(&meter, &limits, EVENING), Ok(()));
    assert_eq!(call(&meter, &limits, midnight), Ok(()));
    assert_eq!(call(&meter, &limits, midnight - 1), Ok(()));
    assert_eq!(call(&meter, &limits, midnight - 1), reached(Limit::CallsPerDay, 2, Some(midnight)));
    assert_eq!(call(&meter, &limits, midnight + 1), Ok(()));
    assert_eq!(call(&meter, &limits, midnight + 2), reached(Limit::CallsPerDay, 2, Some(midnight + 86_400)));
    assert_eq!([EVENING, midnight, midnight + 86_400].map(|now| meter.used(at(now)).calls), [2, 2, 0]);
}

#[test]
fn a_call_that_is_not_kept_never_was_but_for_its_second() {
    let limits = Limits { calls_per_second: Some(3), calls_per_day: Some(1), rows_per_day: Some(1), ..no_limits() };
    let meter = Meter::default();
    for _ in 0..2 {
        let mut admitted = meter.admit(&limits, Answers::One, at(EVENING)).unwrap();
        admitted.passed(1);
        drop(admitted);
    }
    assert_eq!(meter.used(at(EVENING)), Used::default());
    assert_eq!(call(&meter, &limits, EVENING), Ok(()));
    // Three were admitted in this second.
    assert_eq!(call(&meter, &limits, EVENING), reached(Limit::CallsPerSecond, 3, Some(EVENING + 1)));
}

#[test]
fn an_answer_ends_at_the_rows_of_a_call_and_waiting_does_not_help() {
    let (meter, limits) = (Meter::default(), Limits { rows_per_call: Some(2), ..no_limits() });
    for _ in 0..2 {
        let mut admitted = meter.admit(&limits, Answers::Many, at(EVENING)).unwrap();
        assert_eq!([(); 3].map(|()| admitted.row()), [Ok(()), Ok(()), reached(Limit::RowsPerCall, 2, None)]);
    }
}

#[test]
fn calls_share_the_rows_of_a_day_to_the_last_one() {
    let (meter, limits) = (Meter::default(), Limits { rows_per_day: Some(3), ..no_limits() });
    let [mut one, mut other] = [(); 2].map(|()| meter.admit(&limits, Answers::Many, at(EVENING)).unwrap());
    let over = reached(Limit::RowsPerDay, 3, Some(EVENING + 60));
    assert_eq!([one.row(), other.row(), one.row(), other.row()], [Ok(()), Ok(()), Ok(()), over]);
    one.keep();
    other.keep();
    drop((one, other));
    assert_eq!(call(&meter, &limits, EVENING + 1), over);
    assert_eq!(meter.used(at(EVENING)), Used { calls: 2, rows: 3 });
    // A stream that began in the evening counts there, whenever its rows come.
    assert_eq!(call(&meter, &limits, EVENING + 60), Ok(()));
}

#[test]
fn one_answer_has_its_row_from_the_start_and_gives_it_back_where_there_was_none() {
    let (meter, limits) = (Meter::default(), Limits { rows_per_day: Some(1), rows_per_call: Some(1), ..no_limits() });
    let mut without = meter.admit(&limits, Answers::One, at(EVENING)).unwrap();
    let over = meter.admit(&limits, Answers::One, at(EVENING)).map(drop);
    assert_eq!(over, reached(Limit::RowsPerDay, 1, Some(EVENING + 60)));
    without.keep();
    drop(without);
    let mut answered = meter.admit(&limits, Answers::One, at(EVENING)).unwrap();
    assert_eq!(answered.row(), Ok(()));
    answered.keep();
    drop(answered);
    assert_eq!(meter.used(at(EVENING)), Used { calls: 2, rows: 1 });
}

#[test]
fn rows_that_the_other_side_let_pass_count_even_above_the_limit() {
    let (meter, limits) = (Meter::default(), Limits { rows_per_day: Some(5), ..no_limits() });
    for answers in [Answers::One, Answers::Many] {
        let mut admitted = meter.admit(&limits, answers, at(EVENING)).unwrap();
        admitted.passed(3);
        admitted.keep();
    }
    assert_eq!(meter.used(at(EVENING)).rows, 6);
    assert_eq!(call(&meter, &limits, EVENING), reached(Limit::RowsPerDay, 5, Some(EVENING + 60)));
}

#[test]
fn what_the_log_says_counts_like_what_was_seen() {
    let (meter, limits) = (Meter::default(), Limits { calls_per_day: Some(3), rows_per_day: Some(9), ..no_limits() });
    meter.restore(EVENING / 86_400, Used { calls: 2, rows: 8 });
    meter.restore(EVENING / 86_400 - 1, Used { calls: 7, rows: 7 });
    assert_eq!(call(&meter, &limits, EVENING), Ok(()));
    assert_eq!(call(&meter, &limits, EVENING), reached(Limit::CallsPerDay, 3, Some(EVENING + 60)));
    assert_eq!(meter.used(at(EVENING)), Used { calls: 3, rows: 8 });
}

#[test]
fn grants_and_agreements_count_apart() {
    let (meters, limits) = (Meters::default(), Limits { calls_per_day: Some(1), ..no_limits() });
    for (agreement, grant) in [(1, 0), (1, 1), (2, 0)] {
        let meter = meters.of(Digest([agreement; 32]), grant);
        assert_eq!(call(&meter, &limits, EVENING), Ok(()), "{agreement}, {grant}");
        let again = meters.of(Digest([agreement; 32]), grant);
        assert!(call(&again, &limits, EVENING).is_err(), "{agreement}, {grant}");
    }
}

#[test]
fn threads_together_get_no_more_than_the_limits() {
    let limits =
        Limits { calls_per_second: Some(700), calls_per_day: Some(500), rows_per_day: Some(2_000), ..no_limits() };
    let meter = Arc::new(Meter::default());
    let work = |_| {
        let meter = Arc::clone(&meter);
        thread::spawn(move || {
            let (mut calls, mut rows) = (0_u64, 0_u64);
            for _ in 0..300 {
                let Ok(mut admitted) = meter.admit(&limits, Answers::Many, at(EVENING)) else { continue };
                calls += 1;
                rows += (0..9).filter(|_| admitted.row().is_ok()).count() as u64;
                admitted.keep();
            }
            (calls, rows)
        })
    };
    let threads: Vec<_> = (0..4).map(work).collect();
    let done: Vec<(u64, u64)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let used = Used { calls: done.iter().map(|(calls, _)| calls).sum(), rows: done.iter().map(|(_, rows)| rows).sum() };
    assert_eq!(used.rows, 2_000);
    assert!(used.calls <= 500, "{used:?}");
    assert_eq!(meter.used(at(EVENING)), used);
}
