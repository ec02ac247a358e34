//! Two gateways' logs held against one another, exchange by exchange.

use std::collections::BTreeMap;

use proto::records::{Kind, Side};

use crate::{ExchangeId, Record, STARTED, STOPPED, record::Halves};

/// How far two gateways' clocks may differ, in milliseconds: what claims are held to as well.
const CLOCK_SKEW: u64 = 120_000;
/// Reason of a refusal after which the consumer asks once more, under the same id.
const STALE_SESSION: &str = "STALE_SESSION";

/// What two logs say about the exchanges between their members.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Exchanges that both logs tell alike.
    pub agreeing: u64,
    /// Exchanges that they tell differently, or that one of them lacks.
    pub differences: Vec<Difference>,
}

/// One exchange that two logs do not tell alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The exchange.
    pub exchange: ExchangeId,
    /// What differs, for people.
    pub what: String,
    /// Both sides are explained by a cut, a cancel, a refusal before anything crossed, by a gateway that was killed before it had handed
    /// anything over, or by one that recorded a flood of refusals in aggregate: nothing is missing.
    pub explained: bool,
}

/// One side's view of one exchange.
#[derive(Clone, Debug, Default)]
struct View {
    claims: Vec<u8>,
    outcome: String,
    refusal: String,
    status: u32,
    /// Messages in the outcome or the last progress.
    messages: u64,
    closing: Vec<u8>,
    promised: Option<(u64, Vec<u8>)>,
    index: u64,
    leaf: Vec<u8>,
    settled: bool,
    /// All that there is of it is a session that the provider did not know: it was asked again, or never.
    stale: bool,
    /// When the consumer's gateway signed its claims, by its clock.
    asked: u64,
    /// When this side recorded it last, by its own clock.
    recorded: u64,
}

/// What one log says.
#[derive(Default)]
struct Told {
    views: BTreeMap<i32, BTreeMap<ExchangeId, View>>,
    /// Between which times a run of the gateway ended without order: that of its last record, and that of the next start.
    ends: Vec<(u64, u64)>,
    /// What it refused of the other member without a record for each.
    aggregates: Vec<Aggregate>,
}

/// Refusals that a provider recorded together, since more came each second than it records one by one.
struct Aggregate {
    since: u64,
    until: u64,
    /// How many of them no exchange of the consumer's has been found for yet.
    left: u64,
}

/// Compares the consumer's records in `left` with the provider's in `right`, and the other way round.
///
/// The first of each pair is the log's member: only exchanges between the two are held against each other. Records of
/// others are passed over, but events say when a gateway was killed.
#[must_use]
pub fn compare<'r>(
    left: (&str, impl Iterator<Item = &'r Record>),
    right: (&str, impl Iterator<Item = &'r Record>),
) -> Comparison {
    let (left_member, right_member) = (left.0, right.0);
    let mut left = told(left.1, left_member, right_member);
    let mut right = told(right.1, right_member, left_member);
    let mut comparison = Comparison::default();
    for (left_side, right_side) in [(Side::Consumer, Side::Provider), (Side::Provider, Side::Consumer)] {
        let (a, b) = (left.views.get(&(left_side as i32)), right.views.get(&(right_side as i32)));
        let empty = BTreeMap::new();
        let (a, b) = (a.unwrap_or(&empty), b.unwrap_or(&empty));
        let asks_left = left_side == Side::Consumer;
        let (consumer, provider) = if asks_left { (a, b) } else { (b, a) };
        let (ends, aggregates) =
            if asks_left { (&left.ends, &mut right.aggregates) } else { (&right.ends, &mut left.aggregates) };
        let ids: std::collections::BTreeSet<_> = consumer.keys().chain(provider.keys()).copied().collect();
        for id in ids {
            match difference(consumer.get(&id), provider.get(&id), (ends, aggregates)) {
                None => comparison.agreeing = comparison.agreeing.saturating_add(1),
                Some((what, explained)) => comparison.differences.push(Difference { exchange: id, what, explained }),
            }
        }
    }
    comparison
}

fn told<'r>(records: impl Iterator<Item = &'r Record>, own: &str, other: &str) -> Told {
    let mut told = Told::default();
    let (mut last, mut runs) = (0, false);
    for record in records {
        let Some(opened) = record.opened.as_ref() else { continue };
        let private = &opened.private;
        if record.kind() == Kind::Event && private.detail == STARTED && runs {
            told.ends.push((last, private.time));
        }
        runs = record.kind() != Kind::Event || private.detail != STOPPED;
        last = private.time;
        if record.kind() == Kind::Aggregate
            && record.side() == Side::Provider
            && (private.consumer.as_str(), private.provider.as_str()) == (other, own)
        {
            let (since, until, left) = (private.since, private.time, private.count);
            told.aggregates.push(Aggregate { since, until, left });
        }
        let between = [(own, other), (other, own)].contains(&(private.consumer.as_str(), private.provider.as_str()));
        if let (Some(id), true) = (record.exchange(), between) {
            told.views.entry(record.side() as i32).or_default().entry(id).or_default().add(record, opened);
        }
    }
    // An exchange is counted to the one that ended first: those after it may hold the next.
    told.aggregates.sort_by_key(|aggregate| aggregate.until);
    told
}

/// Returns what differs, and whether it is explained; `None` when both tell the same. `ends` are those of the consumer's runs, the
/// aggregates are the provider's.
fn difference(
    consumer: Option<&View>,
    provider: Option<&View>,
    (ends, aggregates): (&[(u64, u64)], &mut [Aggregate]),
) -> Option<(String, bool)> {
    // A session that was not known is no answer to the claims that were sent after it.
    let answers = |p: &&View| !p.stale || consumer.is_none_or(|c| c.claims == p.claims);
    let (consumer, provider) = match (consumer, provider.filter(answers)) {
        (Some(c), Some(p)) => (c, p),
        (Some(c), None) => {
            let never_sent = c.settled && c.closing.is_empty() && !c.refusal.is_empty() && c.messages == 0;
            let what = format!("only the consumer has it: {}", c.told());
            if !never_sent && c.is_counted_in(aggregates) {
                let why = "the provider recorded refusals of that time in aggregate";
                return Some((format!("{what}; {why}"), true));
            }
            return Some((what, never_sent));
        }
        (None, Some(p)) if p.stale => return Some(("only the provider has it: nothing was asked".to_owned(), true)),
        (None, Some(p)) if p.settled && p.was_open_at(ends) => {
            let what = "the consumer's gateway was killed at that time, before it had handed anything over";
            return Some((format!("only the provider has it: {}; {what}", p.told()), true));
        }
        (None, Some(p)) => return Some((format!("only the provider has it: {}", p.told()), false)),
        (None, None) => return None,
    };
    if consumer.claims != provider.claims {
        return Some(("the consumer's claims differ".to_owned(), false));
    }
    if !consumer.settled || !provider.settled {
        let which = if consumer.settled { "provider" } else { "consumer" };
        return Some((format!("the {which} has not settled it"), true));
    }
    if consumer.closing.is_empty() || provider.closing.is_empty() || consumer.closing != provider.closing {
        // One side was cut off: what counts is that neither hides what passed.
        let cut = consumer.closing.is_empty();
        let what = format!("consumer: {}; provider: {}", consumer.told(), provider.told());
        return Some((what, cut));
    }
    if consumer.promised.as_ref().is_some_and(|(index, leaf)| (*index, leaf) != (provider.index, &provider.leaf)) {
        return Some(("the provider's log holds another leaf than it promised".to_owned(), false));
    }
    (consumer.messages != provider.messages).then(|| {
        (format!("{} messages at the consumer, {} at the provider", consumer.messages, provider.messages), false)
    })
}

impl View {
    fn add(&mut self, record: &Record, opened: &Halves) {
        let (shared, private) = (&opened.shared, &opened.private);
        let settles = matches!(record.kind(), Kind::Outcome | Kind::Refusal);
        let stale = record.side() == Side::Provider && opened.refusal() == STALE_SESSION;
        if stale && self.recorded > 0 && !self.stale {
            return;
        }
        self.stale = stale;
        self.recorded = private.time;
        if !shared.consumer_claims.is_empty() {
            self.claims = shared.consumer_claims.to_vec();
        }
        self.asked = opened.claims.as_ref().map_or(self.asked, |claims| claims.time);
        self.messages = self.messages.max(opened.messages());
        if settles {
            self.settled = true;
            self.outcome.clone_from(&private.outcome);
            opened.refusal().clone_into(&mut self.refusal);
            self.status = opened.status();
            self.closing = shared.provider_closing.to_vec();
            self.promised = shared.provider_closing_leaf.as_ref().map(|l| (l.index, l.leaf.to_vec()));
            self.index = record.index;
            self.leaf = record.leaf.hash().0.to_vec();
        }
    }

    /// Whether the consumer's gateway may have been killed while the exchange was open: it had asked before its next start,
    /// and the provider settled no earlier than the last that it recorded. Times of two clocks are compared with their slack.
    fn was_open_at(&self, ends: &[(u64, u64)]) -> bool {
        ends.iter().any(|(last, start)| self.asked <= *start && self.recorded.saturating_add(CLOCK_SKEW) >= *last)
    }

    /// Whether the provider may have refused it without a record of its own: at that time, as one of no more than it counted. Where it
    /// has promised a record, there is to be one.
    fn is_counted_in(&self, aggregates: &mut [Aggregate]) -> bool {
        if !self.settled || self.refusal.is_empty() || self.messages > 0 || self.promised.is_some() {
            return false;
        }
        let holds = |aggregate: &&mut Aggregate| {
            aggregate.left > 0
                && self.asked <= aggregate.until.saturating_add(CLOCK_SKEW)
                && self.recorded.saturating_add(CLOCK_SKEW) >= aggregate.since
        };
        let Some(aggregate) = aggregates.iter_mut().find(holds) else { return false };
        aggregate.left = aggregate.left.saturating_sub(1);
        true
    }

    fn told(&self) -> String {
        if !self.settled {
            return format!("not settled, {} messages in its last record", self.messages);
        }
        let reason = if self.refusal.is_empty() { String::new() } else { format!(" ({})", self.refusal) };
        format!("{}{reason}, {} messages", self.outcome, self.messages)
    }
}

#[cfg(test)]
mod tests;
