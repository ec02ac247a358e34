//! What was used of agreements' limits lately, as the log has it: calls and rows, by grant and day.
//!
//! A record says itself which grant it counts against (`Private.counted_grant`), so that nothing has to be decided again.

use std::collections::HashMap;

use proto::records::Private;

use crate::{Record, record::Halves, store::Unsettled};

/// Milliseconds of a day by UTC.
const DAY_MILLIS: u64 = 86_400_000;

/// What one grant has seen on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Digest of the agreement.
    pub agreement: [u8; 32],
    /// Position of the grant in it, from 0.
    pub grant: usize,
    /// Days since the Unix epoch, by UTC.
    pub day: u64,
    /// Calls.
    pub calls: u64,
    /// Messages of their answers.
    pub rows: u64,
}

/// Collects usage while the log is read. Keeps the newest day and the one before it.
#[derive(Default)]
pub(crate) struct Tally {
    newest: u64,
    used: HashMap<([u8; 32], usize, u64), (u64, u64)>,
}

impl Tally {
    /// Counts a record that settles an exchange; every other counts nothing.
    pub fn settled(&mut self, record: &Record) {
        if let Some(opened) = record.opened.as_ref().filter(|_| record.settles()) {
            self.count(opened, opened.messages());
        }
    }

    /// Counts an exchange that nothing has settled, with the rows of its last progress.
    pub fn unsettled(&mut self, unsettled: &Unsettled) {
        let Some(intent) = &unsettled.intent.opened else { return };
        let progress = unsettled.progress.as_ref().and_then(|progress| progress.opened.as_ref());
        self.count(intent, progress.map_or(0, Halves::messages));
    }

    /// Returns what was counted.
    pub fn into_usage(self) -> Vec<Usage> {
        let newest = self.newest;
        let recent = self.used.into_iter().filter(|((_, _, day), _)| day.saturating_add(1) >= newest);
        recent.map(|((agreement, grant, day), (calls, rows))| Usage { agreement, grant, day, calls, rows }).collect()
    }

    fn count(&mut self, opened: &Halves, rows: u64) {
        let Some((agreement, grant)) = grant(&opened.private) else { return };
        let time = opened.claims.as_ref().map_or(opened.private.time, |claims| claims.time);
        let day = time / DAY_MILLIS;
        if day > self.newest {
            self.newest = day;
            self.used.retain(|(_, _, kept), _| kept.saturating_add(1) >= day);
        }
        let (calls, all) = self.used.entry((agreement, grant, day)).or_default();
        *calls = calls.saturating_add(1);
        *all = all.saturating_add(rows);
    }
}

fn grant(private: &Private) -> Option<([u8; 32], usize)> {
    let grant = usize::try_from(private.counted_grant.checked_sub(1)?).ok()?;
    Some((private.agreement_digest.as_ref().try_into().ok()?, grant))
}

#[cfg(test)]
mod tests {
    use proto::{
        link::{ConsumerClaims, ProviderClosing},
        records::{Kind, Shared},
    };

    use super::*;

    /// Twelve minutes past midnight of a day.
    const DAY: u64 = 20_783;
    const NIGHT: u64 = DAY * DAY_MILLIS + 720_000;

    /// A record that counts against the first grant of agreement 7, with claims of `time`.
    fn record(kind: Kind, time: u64, messages: u64) -> Record {
        let claims = Some(ConsumerClaims { time, ..ConsumerClaims::default() });
        // As the provider keeps it: the count is in what it signed.
        let closing = (kind != Kind::Progress).then(|| ProviderClosing { messages, ..ProviderClosing::default() });
        let shared = Shared {
            kind: kind.into(),
            messages: if kind == Kind::Progress { messages } else { 0 },
            ..Shared::default()
        };
        let private = Private {
            time: time + 600_000,
            agreement_digest: vec![7; 32].into(),
            counted_grant: 1,
            ..Private::default()
        };
        let leaf = ledger::Leaf { shared: ledger::Hash([0; 32]), private: ledger::Hash([0; 32]) };
        let opened = Halves { shared_bytes: Vec::new(), salt: [0; 32], shared, private, claims, closing };
        Record { index: 0, leaf, seal: None, opened: Some(opened) }
    }

    fn usage(day: u64, calls: u64, rows: u64) -> Usage {
        Usage { agreement: [7; 32], grant: 0, day, calls, rows }
    }

    #[test]
    fn what_settles_an_exchange_counts_once_on_the_day_of_its_claims() {
        let mut tally = Tally::default();
        for record in [
            record(Kind::Intent, NIGHT, 0),
            record(Kind::Progress, NIGHT, 40),
            record(Kind::Outcome, NIGHT, 50),
            record(Kind::Refusal, NIGHT, 6),
            // Its record is of today, its claims are of the day before.
            record(Kind::Outcome, DAY * DAY_MILLIS - 1, 1),
        ] {
            tally.settled(&record);
        }
        let mut found = tally.into_usage();
        found.sort_by_key(|usage| usage.day);
        assert_eq!(found, [usage(DAY - 1, 1, 1), usage(DAY, 2, 56)]);
    }

    #[test]
    fn an_exchange_that_nothing_settled_counts_with_its_last_progress() {
        let mut tally = Tally::default();
        let progress = Some(record(Kind::Progress, NIGHT, 40));
        tally.unsettled(&Unsettled { intent: record(Kind::Intent, NIGHT, 0), progress, requests: None });
        assert_eq!(tally.into_usage(), [usage(DAY, 1, 40)]);
    }

    #[test]
    fn older_days_and_what_counts_against_nothing_are_let_go() {
        let mut tally = Tally::default();
        let mut uncounted = record(Kind::Refusal, NIGHT, 9);
        uncounted.opened.as_mut().unwrap().private.counted_grant = 0;
        for record in [
            record(Kind::Outcome, NIGHT - 3 * DAY_MILLIS, 1),
            record(Kind::Outcome, NIGHT, 2),
            record(Kind::Outcome, NIGHT - 2 * DAY_MILLIS, 3),
            uncounted,
        ] {
            tally.settled(&record);
        }
        assert_eq!(tally.into_usage(), [usage(DAY, 1, 2)]);
    }
}
