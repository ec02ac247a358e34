//! What the walk has to know of each message that a request can hold: only fields with rules on them or within them.
#![warn(clippy::indexing_slicing)]

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::descriptors::Positions;
use crate::rules::options::{self, FieldRules};
use crate::rules::value::{Numeral, ValueRule};
use crate::wire::plan::Layout;
use crate::wire::reader::Wire;
use crate::wire::table::Table;

/// The rules of all messages that requests of a load can reach.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    messages: Vec<MessageRules>,
}

impl Plans {
    /// Returns the rules of a message; `None` where there are none in it, however deep.
    #[inline]
    pub(super) fn at(&self, position: usize) -> Option<&MessageRules> {
        self.messages.get(position).filter(|rules| rules.count > 0)
    }
}

/// The fields of one message that have rules on them or within them.
#[derive(Debug)]
pub(super) struct MessageRules {
    pub(super) fields: Table<FieldPlan>,
    /// How many fields these are.
    pub(super) count: usize,
}

/// One such field.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) name: Box<str>,
    /// Its position among the fields of the message that have rules.
    pub(super) position: usize,
    pub(super) arity: Arity,
    pub(super) rules: FieldRules,
    /// How a value is laid out; of a map, its entry.
    pub(super) layout: Layout,
    pub(super) content: Content,
}

/// How often a field may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arity {
    /// Once, and its presence is kept.
    Single,
    /// Once; absent and its default are the same.
    Implicit,
    /// Any number of times.
    Many,
}

/// What lies within a value.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Text, bytes, or a number.
    Plain(Option<Numeral>),
    /// A message, or a group, whose rules are at this position.
    Message(usize),
    /// The entry of a map.
    Entry(Box<[Slot; 2]>),
}

/// The key or the value of a map's entry.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: &'static str,
    pub(super) wire: Wire,
    pub(super) content: Content,
    pub(super) rule: Option<ValueRule>,
}

impl Content {
    fn of(kind: &Kind, planner: &mut Planner) -> Self {
        match kind.as_message() {
            Some(message) => Self::Message(planner.position(message)),
            None => Self::Plain(Numeral::of(kind)),
        }
    }
}

/// Makes plans, one for each message however often it is asked for.
#[derive(Default)]
pub(crate) struct Planner {
    reached: Positions,
}

impl Planner {
    /// Returns the position that the rules of `message` have once [`Planner::finish`] made them.
    pub(crate) fn position(&mut self, message: &MessageDescriptor) -> usize {
        self.reached.of(message)
    }

    /// Makes the plans of everything asked for, and of what that reaches.
    pub(crate) fn finish(mut self) -> Plans {
        let mut drafts: Vec<Vec<(u32, FieldPlan)>> = Vec::new();
        while let Some(message) = self.reached.at(drafts.len()) {
            let fields = message.fields().map(|field| (field.number(), self.field(&field))).collect();
            drafts.push(fields);
        }
        let ruled = ruled(&drafts);
        let messages = drafts.into_iter().map(|fields| MessageRules::of(fields, &ruled)).collect();
        Plans { messages }
    }

    fn field(&mut self, field: &FieldDescriptor) -> FieldPlan {
        let (rules, _) = options::read(field);
        let kind = field.kind();
        let content = match kind.as_message().filter(|_| field.is_map()) {
            Some(entry) => {
                let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
                Content::Entry(Box::new([
                    self.slot("key", &key, rules.key.clone()),
                    self.slot("value", &value, rules.value.clone()),
                ]))
            }
            None => Content::of(&kind, self),
        };
        let arity = if field.is_list() || field.is_map() {
            Arity::Many
        } else if field.supports_presence() {
            Arity::Single
        } else {
            Arity::Implicit
        };
        FieldPlan { name: field.name().into(), position: 0, arity, rules, layout: Layout::of(field), content }
    }

    fn slot(&mut self, name: &'static str, field: &FieldDescriptor, rule: Option<ValueRule>) -> Slot {
        Slot { name, wire: Layout::of(field).wire, content: Content::of(&field.kind(), self), rule }
    }
}

impl MessageRules {
    fn of(fields: Vec<(u32, FieldPlan)>, ruled: &[bool]) -> Self {
        let mut kept: Vec<_> = fields.into_iter().filter(|(_, field)| field.is_ruled(ruled)).collect();
        for (position, (_, field)) in kept.iter_mut().enumerate() {
            field.position = position;
        }
        Self { count: kept.len(), fields: Table::new(kept) }
    }
}

impl FieldPlan {
    fn is_ruled(&self, ruled: &[bool]) -> bool {
        !self.rules.is_empty() || self.content.is_ruled(ruled)
    }
}

impl Content {
    fn is_ruled(&self, ruled: &[bool]) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Message(position) => ruled.get(*position).copied().unwrap_or_default(),
            Self::Entry(slots) => slots.iter().any(|slot| slot.content.is_ruled(ruled)),
        }
    }
}

/// Returns which messages have rules in them, however deep. Messages may contain themselves, so this looks until
/// nothing changes.
fn ruled(drafts: &[Vec<(u32, FieldPlan)>]) -> Vec<bool> {
    let mut ruled = vec![false; drafts.len()];
    loop {
        let next: Vec<_> = drafts.iter().map(|fields| fields.iter().any(|(_, field)| field.is_ruled(&ruled))).collect();
        if next == ruled {
            return ruled;
        }
        ruled = next;
    }
}
