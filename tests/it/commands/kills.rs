//! SIGKILL of either gateway, again and again, at moments that a seed chooses. The caller asks with the same key until it is told
//! something that is final. Nothing is ever done twice, and what is said to be undone is undone.

use drawbridge_tests::faults::Random;
use exchange::Hop;

use super::*;

/// How often a gateway is killed.
const KILLS: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_twice_and_nothing_is_wrongly_said_undone() {
    let mut homes = Homes::started().await;
    let mut random = Random::seeded("DRAWBRIDGE_COMMAND_SEED", 2026);
    let (mut answered, mut unknown) = (0, 0);
    for round in 0..KILLS {
        let (key, home) = (format!("booking-{round}"), format!("{round} High Street"));
        let victim = if random.within(0, 2) == 0 { COUNCIL } else { TRUST };
        let pause = Duration::from_micros(random.within(0, 12_000));
        let call = homes.book_as("revenues", Some(&key), &home);
        let kill = async {
            tokio::time::sleep(pause).await;
        };
        // What the caller is told first, if it is told anything: the kill comes in its midst or after it.
        let mut told = {
            tokio::pin!(call);
            tokio::select! {
                reply = &mut call => Some(reply),
                () = kill => None,
            }
        };
        homes.federation.take(victim).kill();
        let mut lost = !matches!(told, Some(Ok(_)));
        if let Some(Ok(reply)) = &told {
            holds(&homes, reply, &home, lost).await;
        }
        homes.federation.restart(victim);
        loop {
            let Some(Ok(reply)) = told.take() else {
                told = Some(homes.book_as("revenues", Some(&key), &home).await);
                lost |= !matches!(told, Some(Ok(_)));
                continue;
            };
            holds(&homes, &reply, &home, lost).await;
            match (reply.status.code, reply.reason()) {
                (0, _) | (6, Some(Reason::AlreadyDone)) => {
                    answered += 1;
                    break;
                }
                // The database is asked about it somewhere else right now; it says soon what became of it.
                (2, Some(Reason::Unanswered)) if unknown < 1_000 => unknown += 1,
                // Nothing was done, or it is being done: ask again.
                (14, Some(Reason::LinkDown | Reason::StaleSession | Reason::ConnectorFailed))
                | (10, Some(Reason::InProgress)) => {}
                other => panic!("round {round}: {other:?} {:?}", reply.status),
            }
        }
    }
    // How many end in the midst depends on the machine.
    assert!(answered >= KILLS / 8, "{answered} of {KILLS}");
    for id in [COUNCIL, TRUST] {
        let folder = &homes.federation.member(id).folder;
        process::succeed(folder, ["log", "verify", "--data", "data", "--directory", "directory.note"]);
    }
    let twice: i64 =
        sqlx::query_scalar("SELECT count(*) FROM (SELECT home FROM booked GROUP BY home HAVING count(*) > 1)")
            .fetch_one(&mut homes.database().await)
            .await
            .unwrap();
    assert_eq!(twice, 0);
}

/// Holds what a caller was told against the database. What a gateway says before anything is sent is about that call alone: an
/// earlier one that was `lost` may have done it.
async fn holds(homes: &Homes, reply: &Reply, home: &str, lost: bool) {
    let booked = homes.booked(home).await;
    assert!(booked <= 1, "{home} is booked {booked} times");
    match reply.status.code {
        0 | 6 => assert_eq!(booked, 1, "{home} was said to be booked: {:?}", reply.status),
        14 if lost && reply.status.hop() == Some(Hop::Consumer) => {}
        14 => assert_eq!(booked, 0, "{home} was said not to be booked: {:?}", reply.status),
        _ => {}
    }
}
