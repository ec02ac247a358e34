//! What the walk has to know of each message, laid out so that messages name one another by position.
//!
//! Messages may contain themselves, so a plan cannot own the plans within it.
#![warn(clippy::indexing_slicing)]

use prost_reflect::{Cardinality, FieldDescriptor, MessageDescriptor};

use crate::descriptors::Positions;
use crate::wire::reader::Wire;
use crate::wire::table::Table;

/// The plans of all messages that the methods of a load can reach.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    messages: Vec<MessagePlan>,
}

impl Plans {
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "positions are made by the planner that made the plans, never by a peer"
    )]
    pub(super) fn at(&self, position: usize) -> &MessagePlan {
        &self.messages[position]
    }
}

/// The fields of one message.
#[derive(Debug)]
pub(crate) struct MessagePlan {
    pub(super) fields: Table<FieldPlan>,
    /// One bit for each required field.
    pub(super) required: u64,
}

/// One field.
#[derive(Debug)]
pub(crate) struct FieldPlan {
    pub(super) name: Box<str>,
    pub(super) layout: Layout,
    pub(super) content: Content,
    /// The bit of a required field, else 0.
    pub(super) required: u64,
}

/// How the values of a field are laid out on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The wire type of one value.
    pub(crate) wire: Wire,
    /// Whether values may also come packed in one length-delimited list.
    pub(crate) packable: bool,
}

impl Layout {
    pub(crate) fn of(field: &FieldDescriptor) -> Self {
        let wire = if field.is_group() { Wire::GroupStart } else { wire(field.kind().wire_type()) };
        let packable = field.is_list() && matches!(wire, Wire::Varint | Wire::Fixed32 | Wire::Fixed64);
        Self { wire, packable }
    }

    /// Returns whether a value with this wire type is one of the field's.
    #[inline]
    pub(crate) fn takes(self, wire: Wire) -> bool {
        wire == self.wire || (self.packable && wire == Wire::Length)
    }
}

/// What lies within a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Nothing to look at: a number, or bytes.
    Plain,
    /// Text, which has to be UTF-8.
    Text,
    /// A message, or a group, whose plan is at this position.
    Message(usize),
    /// The entry of a map. It is no level of its own.
    Entry(usize),
}

/// Makes plans, one for each message however often it is asked for.
#[derive(Default)]
pub(crate) struct Planner {
    reached: Positions,
}

impl Planner {
    /// Returns the position that the plan of `message` has once [`Planner::finish`] made it.
    pub(crate) fn position(&mut self, message: &MessageDescriptor) -> usize {
        self.reached.of(message)
    }

    /// Makes the plans of everything asked for, and of what that reaches.
    pub(crate) fn finish(mut self) -> Plans {
        let mut messages = Vec::new();
        while let Some(message) = self.reached.at(messages.len()) {
            let plan = self.plan(&message);
            messages.push(plan);
        }
        Plans { messages }
    }

    fn plan(&mut self, message: &MessageDescriptor) -> MessagePlan {
        let mut required = 0;
        let mut bit = 1_u64;
        let mut fields = Vec::new();
        for field in message.fields() {
            let mut plan = self.field(&field);
            if field.cardinality() == Cardinality::Required {
                plan.required = bit;
                required |= bit;
                // More than 64 are refused when the contract loads; here they would share the last bit's fate of 0.
                bit = bit.wrapping_shl(1);
            }
            fields.push((field.number(), plan));
        }
        MessagePlan { fields: Table::new(fields), required }
    }

    fn field(&mut self, field: &FieldDescriptor) -> FieldPlan {
        let kind = field.kind();
        let content = match kind.as_message() {
            Some(message) if field.is_map() => Content::Entry(self.position(message)),
            Some(message) => Content::Message(self.position(message)),
            None if kind == prost_reflect::Kind::String => Content::Text,
            None => Content::Plain,
        };
        FieldPlan { name: field.name().into(), layout: Layout::of(field), content, required: 0 }
    }
}

fn wire(wire: prost::encoding::WireType) -> Wire {
    use prost::encoding::WireType;
    match wire {
        WireType::Varint => Wire::Varint,
        WireType::SixtyFourBit => Wire::Fixed64,
        WireType::LengthDelimited => Wire::Length,
        WireType::StartGroup => Wire::GroupStart,
        WireType::EndGroup => Wire::GroupEnd,
        WireType::ThirtyTwoBit => Wire::Fixed32,
    }
}
