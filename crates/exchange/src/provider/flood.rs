//! A flood of refusals is recorded in aggregate, so that a hostile peer cannot fill the disk.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use proto::records::{Kind, Private, Shared, Side};
use records::Draft;

use crate::{account::Account, house::House};

/// Refusals of one member that are recorded one by one, each second.
const EACH_SECOND: u64 = 50;

/// Counts refusals by member.
#[derive(Default)]
pub(crate) struct Flood {
    counts: Mutex<HashMap<String, Count>>,
}

#[derive(Default)]
struct Count {
    second: u64,
    recorded: u64,
    withheld: u64,
    since: u64,
}

impl Flood {
    /// Returns whether this refusal gets a record of its own. Writes the aggregate of what did not, at the latest with
    /// the first refusal of the next second.
    pub(crate) fn admits(&self, account: &Account, house: &House) -> bool {
        let now = house.millis();
        let member = account.private.consumer.clone();
        let (admitted, aggregate) = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.entry(member.clone()).or_default().add(now)
        };
        if let Some((count, since)) = aggregate {
            let private = Private {
                time: now,
                consumer: member,
                provider: account.private.provider.clone(),
                outcome: "refused".to_owned(),
                detail: format!("more than {EACH_SECOND} refusals a second"),
                count,
                since,
                conditions: house.conditions.clone(),
                ..Private::default()
            };
            let shared = Shared { kind: Kind::Aggregate.into(), side: Side::Provider.into(), ..Shared::default() };
            let records = house.records.clone();
            // Nobody waits for it: it is durable with the batch that it joins.
            tokio::spawn(async move {
                if let Err(error) = records.append(Draft { shared, private }, None).await {
                    tracing::error!(%error, "cannot record an aggregate of refusals");
                }
            });
        }
        admitted
    }
}

impl Count {
    fn add(&mut self, now: u64) -> (bool, Option<(u64, u64)>) {
        let second = now / 1000;
        let mut aggregate = None;
        if second != self.second {
            if self.withheld > 0 {
                aggregate = Some((self.withheld, self.since));
            }
            *self = Self { second, ..Self::default() };
        }
        if self.recorded < EACH_SECOND {
            self.recorded = self.recorded.saturating_add(1);
            return (true, aggregate);
        }
        if self.withheld == 0 {
            self.since = now;
        }
        self.withheld = self.withheld.saturating_add(1);
        (false, aggregate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_recorded_singly_is_counted() {
        let mut count = Count::default();
        let admitted = (0..80).filter(|_| count.add(5_000).0).count();
        assert_eq!(admitted, 50);
        assert_eq!(count.add(6_000), (true, Some((30, 5_000))));
        assert_eq!(count.add(7_000), (true, None));
    }
}
