//! A flood of refusals is recorded in aggregate, so that a hostile peer or a broken system cannot fill the disk.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ledger::AppendError;
use proto::records::{Kind, Private, Shared, Side};
use records::Draft;

use crate::{account::Account, house::House};

/// Refusals of one asker that are recorded one by one, each second.
pub const EACH_SECOND: u64 = 50;

/// Counts refusals by who asked: another member, or a system of the own one. Shared by all runtimes of a gateway.
#[derive(Default)]
pub struct Flood {
    counts: Mutex<HashMap<Asker, Count>>,
}

/// Whose refusals are counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asker {
    side: Side,
    member: String,
    /// Of an own system; empty for another member.
    system: String,
}

#[derive(Default)]
struct Count {
    second: u64,
    recorded: u64,
    /// Not recorded one by one since the last aggregate, and when the first of them was.
    withheld: u64,
    since: u64,
}

impl Flood {
    /// Returns whether this refusal gets a record of its own; else it is counted for the next aggregate.
    pub(crate) fn admits(&self, account: &Account, now: u64) -> bool {
        let side = account.shared.side();
        let private = &account.private;
        let system = if side == Side::Consumer { private.system.clone() } else { String::new() };
        let asker = Asker { side, member: private.consumer.clone(), system };
        self.counts().entry(asker).or_default().add(now)
    }

    /// Records what was counted since the last call, one record an asker. To be called each second, and at the end.
    ///
    /// # Errors
    ///
    /// [`AppendError`] when the log takes no record; what was counted then stays in the application log alone.
    pub async fn flush(&self, house: &House) -> Result<(), AppendError> {
        let second = house.millis() / 1000;
        let counted: Vec<(Asker, u64, u64)> = {
            let mut counts = self.counts();
            counts.retain(|_, count| count.withheld > 0 || count.second.saturating_add(1) >= second);
            let withheld = counts.iter_mut().filter(|(_, count)| count.withheld > 0);
            withheld.map(|(asker, count)| (asker.clone(), std::mem::take(&mut count.withheld), count.since)).collect()
        };
        // All of them first: the log may take none.
        for (asker, count, _) in &counted {
            tracing::warn!(consumer = asker.member, count, "refusals were recorded in aggregate");
        }
        for (asker, count, since) in counted {
            let provider =
                if asker.side == Side::Provider { house.gateway.member().to_string() } else { String::new() };
            let private = Private {
                time: house.millis(),
                consumer: asker.member,
                system: asker.system,
                provider,
                outcome: "refused".to_owned(),
                detail: format!("more than {EACH_SECOND} refusals a second"),
                count,
                since,
                conditions: house.conditions.clone(),
                ..Private::default()
            };
            let shared = Shared { kind: Kind::Aggregate.into(), side: asker.side.into(), ..Shared::default() };
            house.records.append(Draft { shared, private }, None).await?;
        }
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Asker, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn add(&mut self, now: u64) -> bool {
        let second = now / 1000;
        if second != self.second {
            (self.second, self.recorded) = (second, 0);
        }
        if self.recorded < EACH_SECOND {
            self.recorded = self.recorded.saturating_add(1);
            return true;
        }
        if self.withheld == 0 {
            self.since = now;
        }
        self.withheld = self.withheld.saturating_add(1);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_recorded_singly_is_counted() {
        let mut count = Count::default();
        assert_eq!((0..80).filter(|_| count.add(5_000)).count(), 50);
        assert!(count.add(6_000));
        assert_eq!((count.withheld, count.since), (30, 5_000));
    }
}
