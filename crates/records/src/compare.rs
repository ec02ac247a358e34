//! Two gateways' logs held against one another, exchange by exchange.

use std::collections::BTreeMap;

use proto::records::{Kind, Side};

use crate::{ExchangeId, Record};

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
    /// Both sides are explained by a cut, a cancel or a refusal before anything crossed: nothing is missing.
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
}

/// Compares the consumer's records in `left` with the provider's in `right`, and the other way round.
///
/// `left_member` and `right_member` are the logs' members: only exchanges between the two are held against each other.
#[must_use]
pub fn compare<'r>(
    left: (&str, impl Iterator<Item = &'r Record>),
    right: (&str, impl Iterator<Item = &'r Record>),
) -> Comparison {
    let (left_member, right_member) = (left.0, right.0);
    let left = views(left.1, left_member, right_member);
    let right = views(right.1, right_member, left_member);
    let mut comparison = Comparison::default();
    for (left_side, right_side) in [(Side::Consumer, Side::Provider), (Side::Provider, Side::Consumer)] {
        let (a, b) = (left.get(&(left_side as i32)), right.get(&(right_side as i32)));
        let empty = BTreeMap::new();
        let (a, b) = (a.unwrap_or(&empty), b.unwrap_or(&empty));
        let (consumer, provider) = if left_side == Side::Consumer { (a, b) } else { (b, a) };
        let ids: std::collections::BTreeSet<_> = consumer.keys().chain(provider.keys()).copied().collect();
        for id in ids {
            match difference(consumer.get(&id), provider.get(&id)) {
                None => comparison.agreeing = comparison.agreeing.saturating_add(1),
                Some((what, explained)) => comparison.differences.push(Difference { exchange: id, what, explained }),
            }
        }
    }
    comparison
}

fn views<'r>(
    records: impl Iterator<Item = &'r Record>,
    own: &str,
    other: &str,
) -> BTreeMap<i32, BTreeMap<ExchangeId, View>> {
    let mut views: BTreeMap<i32, BTreeMap<ExchangeId, View>> = BTreeMap::new();
    for record in records {
        let (Some(id), Some(opened)) = (record.exchange(), record.opened.as_ref()) else { continue };
        let private = &opened.private;
        let between = [(own, other), (other, own)].contains(&(private.consumer.as_str(), private.provider.as_str()));
        if !between {
            continue;
        }
        let view = views.entry(record.side() as i32).or_default().entry(id).or_default();
        let shared = &opened.shared;
        if !shared.consumer_claims.is_empty() {
            view.claims = shared.consumer_claims.to_vec();
        }
        view.messages = view.messages.max(opened.messages());
        if matches!(record.kind(), Kind::Outcome | Kind::Refusal) {
            view.settled = true;
            view.outcome.clone_from(&private.outcome);
            opened.refusal().clone_into(&mut view.refusal);
            view.status = opened.status();
            view.closing = shared.provider_closing.to_vec();
            view.promised = shared.provider_closing_leaf.as_ref().map(|l| (l.index, l.leaf.to_vec()));
            view.index = record.index;
            view.leaf = record.leaf.hash().0.to_vec();
        }
    }
    views
}

/// Returns what differs, and whether it is explained; `None` when both tell the same.
fn difference(consumer: Option<&View>, provider: Option<&View>) -> Option<(String, bool)> {
    let (consumer, provider) = match (consumer, provider) {
        (Some(c), Some(p)) => (c, p),
        (Some(c), None) => {
            let never_sent = c.settled && c.closing.is_empty() && !c.refusal.is_empty() && c.messages == 0;
            let what = format!("only the consumer has it: {}", c.told());
            return Some((what, never_sent));
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
    fn told(&self) -> String {
        if !self.settled {
            return format!("not settled, {} messages in its last record", self.messages);
        }
        let reason = if self.refusal.is_empty() { String::new() } else { format!(" ({})", self.refusal) };
        format!("{}{reason}, {} messages", self.outcome, self.messages)
    }
}
