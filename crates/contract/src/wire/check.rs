//! The check of a message's bytes against its contract.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::malformed::{Defect, Fault, Malformed};
use crate::wire::MAX_DEPTH;
use crate::wire::plan::{Content, FieldPlan, MessagePlan, Plans};
use crate::wire::reader::{self, Wire};

/// What becomes of a field that the contract does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It is a defect, and its number is named.
    Refused,
    /// It is looked at only as far as to find its end.
    Tolerated,
}

impl Plans {
    /// Looks at every byte of a message of the kind at `position`.
    ///
    /// # Errors
    ///
    /// The first defect met.
    pub(crate) fn check(&self, position: usize, message: &[u8], unknown: Unknown) -> Result<(), Malformed> {
        let walk = Walk { plans: self, unknown };
        walk.message(position, message, 0).map_err(|fault| fault.finish(message.len()))
    }
}

struct Walk<'p> {
    plans: &'p Plans,
    unknown: Unknown,
}

impl Walk<'_> {
    fn message(&self, position: usize, bytes: &[u8], depth: u32) -> Result<(), Fault> {
        let plan = self.plans.at(position);
        let mut seen = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let ((number, wire), value) = reader::tag(rest)?;
            let Some(field) = plan.fields.get(number) else {
                rest = self.stranger(number, wire, rest, value, depth)?;
                continue;
            };
            seen |= field.required;
            rest = self.value(field, number, wire, rest, value, depth)?;
        }
        complete(plan, seen, rest)
    }

    /// Looks at one value of a known field and returns what is behind it. `start` still has the tag.
    #[inline]
    fn value<'a>(
        &self,
        field: &FieldPlan,
        number: u32,
        wire: Wire,
        start: &[u8],
        value: &'a [u8],
        depth: u32,
    ) -> Result<&'a [u8], Fault> {
        if wire != field.layout.wire {
            if field.layout.packable && wire == Wire::Length {
                return packed(field, value);
            }
            if wire == Wire::GroupEnd {
                return Err(Fault::new(start.len(), Defect::Group));
            }
            let (found, expected) = (wire.number(), field.layout.wire.number());
            return Err(Fault::new(start.len(), Defect::WireType { found, expected }).of(&field.name));
        }
        match (wire, field.content) {
            (Wire::Length, Content::Text) => {
                let (text, after) = reader::delimited(value).map_err(|fault| fault.of(&field.name))?;
                if is_utf8(text) { Ok(after) } else { Err(Fault::new(value.len(), Defect::Text).of(&field.name)) }
            }
            (Wire::Length, Content::Message(position)) => {
                let (inner, after) = reader::delimited(value).map_err(|fault| fault.of(&field.name))?;
                let depth = deeper(depth, value).map_err(|fault| fault.of(&field.name))?;
                self.message(position, inner, depth).map_err(|fault| fault.inside(&field.name, after.len()))?;
                Ok(after)
            }
            (Wire::Length, Content::Entry(position)) => {
                let (inner, after) = reader::delimited(value).map_err(|fault| fault.of(&field.name))?;
                self.message(position, inner, depth).map_err(|fault| fault.inside(&field.name, after.len()))?;
                Ok(after)
            }
            (Wire::GroupStart, Content::Message(position)) => deeper(depth, value)
                .and_then(|depth| self.group(position, number, value, depth))
                .map_err(|fault| fault.of(&field.name)),
            (Wire::Length | Wire::GroupStart | Wire::GroupEnd | Wire::Varint | Wire::Fixed32 | Wire::Fixed64, _) => {
                reader::skip(number, wire, value, depth).map_err(|fault| fault.of(&field.name))
            }
        }
    }

    /// Looks at a group up to its end tag.
    fn group<'a>(&self, position: usize, group: u32, bytes: &'a [u8], depth: u32) -> Result<&'a [u8], Fault> {
        let plan = self.plans.at(position);
        let mut seen = 0;
        let mut rest = bytes;
        loop {
            if rest.is_empty() {
                return Err(Fault::new(bytes.len(), Defect::Truncated));
            }
            let ((number, wire), value) = reader::tag(rest)?;
            if wire == Wire::GroupEnd {
                if number != group {
                    return Err(Fault::new(rest.len(), Defect::Group));
                }
                complete(plan, seen, rest)?;
                return Ok(value);
            }
            let Some(field) = plan.fields.get(number) else {
                rest = self.stranger(number, wire, rest, value, depth)?;
                continue;
            };
            seen |= field.required;
            rest = self.value(field, number, wire, rest, value, depth)?;
        }
    }

    /// Looks at a field that the contract does not have.
    fn stranger<'a>(
        &self,
        number: u32,
        wire: Wire,
        start: &[u8],
        value: &'a [u8],
        depth: u32,
    ) -> Result<&'a [u8], Fault> {
        match self.unknown {
            _ if wire == Wire::GroupEnd => Err(Fault::new(start.len(), Defect::Group)),
            Unknown::Refused => Err(Fault::new(start.len(), Defect::UnknownField { number })),
            Unknown::Tolerated => reader::skip(number, wire, value, depth),
        }
    }
}

/// Looks for letters beyond ASCII first: most texts have none, and that is seen three times as fast.
#[inline]
fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

fn deeper(depth: u32, at: &[u8]) -> Result<u32, Fault> {
    if depth >= MAX_DEPTH { Err(Fault::new(at.len(), Defect::Depth)) } else { Ok(depth.saturating_add(1)) }
}

/// Looks at a list of numbers in one value.
fn packed<'a>(field: &FieldPlan, value: &'a [u8]) -> Result<&'a [u8], Fault> {
    let (list, after) = reader::delimited(value).map_err(|fault| fault.of(&field.name))?;
    let whole = match field.layout.wire {
        Wire::Fixed32 => list.len().is_multiple_of(4),
        Wire::Fixed64 => list.len().is_multiple_of(8),
        Wire::Varint => {
            let mut rest = list;
            while !rest.is_empty() {
                (_, rest) = reader::varint(rest).map_err(|fault| fault.inside(&field.name, after.len()))?;
            }
            true
        }
        Wire::Length | Wire::GroupStart | Wire::GroupEnd => false,
    };
    if whole { Ok(after) } else { Err(Fault::new(value.len(), Defect::Packed).of(&field.name)) }
}

#[inline]
fn complete(plan: &MessagePlan, seen: u64, rest: &[u8]) -> Result<(), Fault> {
    if seen & plan.required == plan.required { Ok(()) } else { Err(incomplete(plan, seen, rest)) }
}

#[cold]
fn incomplete(plan: &MessagePlan, seen: u64, rest: &[u8]) -> Fault {
    let missing = plan.fields.iter().find(|(_, field)| field.required & !seen != 0);
    let name = missing.map(|(_, field)| field.name.to_string()).unwrap_or_default();
    Fault::new(rest.len(), Defect::Required { name })
}
