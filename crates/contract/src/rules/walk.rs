//! The walk over a request's bytes that holds them against the rules. It runs behind the check of their form, which finds
//! everything that is not of the contract's form; so here nothing is wrong with them but their values.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::collections::HashSet;

use crate::malformed::{Defect, Fault};
use crate::rules::plan::{Arity, Content, FieldPlan, MessageRules, Plans, Slot};
use crate::rules::value::{Budget, Raw, ValueRule};
use crate::rules::violation::{At, Found};
use crate::rules::{Rule, Violations};
use crate::wire::reader::{self, Read, Wire};

/// How many fields with rules a message may have before their tallies take memory of their own.
const FEW: usize = 16;

impl Plans {
    /// Holds a message of the form at `position` against all rules. The message has passed the check of its form.
    ///
    /// # Errors
    ///
    /// All rules that are broken.
    pub(crate) fn check(&self, position: usize, message: &[u8]) -> Result<(), Violations> {
        let Some(rules) = self.at(position) else {
            return Ok(());
        };
        let mut walk = Walk { plans: self, found: Found::new(), budget: Budget::new() };
        // A fault cannot be: the check of the form would have found it.
        let _ = walk.message(rules, message, None);
        walk.found.finish()
    }
}

struct Walk<'p> {
    plans: &'p Plans,
    found: Found,
    budget: Budget,
}

/// What was seen of one field in one message.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// How many values.
    count: usize,
    /// Whether one of them counts as given.
    given: bool,
}

impl Walk<'_> {
    fn message(&mut self, rules: &MessageRules, bytes: &[u8], within: Option<&At<'_>>) -> Result<(), Fault> {
        let mut few = [Tally::default(); FEW];
        let mut many = Vec::new();
        let tallies = if rules.count <= FEW {
            few.as_mut_slice()
        } else {
            many.resize(rules.count, Tally::default());
            many.as_mut_slice()
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let ((number, wire), value) = reader::tag(rest)?;
            if wire == Wire::GroupEnd {
                break;
            }
            rest = match rules.fields.get(number).and_then(|field| Some((field, tallies.get_mut(field.position)?))) {
                Some((field, tally)) => self.field(field, number, wire, value, tally, within)?,
                None => reader::skip(number, wire, value, 0)?,
            };
        }
        for (number, field) in rules.fields.iter() {
            let tally = tallies.get(field.position).copied().unwrap_or_default();
            self.complete(*number, field, tally, bytes, &At { within, name: &field.name, element: None })?;
        }
        Ok(())
    }

    /// Looks at one value of a field, or at a packed list of them, and returns what is behind.
    fn field<'a>(
        &mut self,
        field: &FieldPlan,
        number: u32,
        wire: Wire,
        value: &'a [u8],
        tally: &mut Tally,
        within: Option<&At<'_>>,
    ) -> Result<&'a [u8], Fault> {
        if field.layout.packable && wire == Wire::Length {
            let (mut list, after) = reader::delimited(value)?;
            while !list.is_empty() {
                let (raw, next) = raw(number, field.layout.wire, list)?;
                list = next;
                self.value(field, raw, tally, within)?;
            }
            return Ok(after);
        }
        let (raw, after) = raw(number, wire, value)?;
        self.value(field, raw, tally, within)?;
        Ok(after)
    }

    fn value(
        &mut self,
        field: &FieldPlan,
        raw: Raw<'_>,
        tally: &mut Tally,
        within: Option<&At<'_>>,
    ) -> Result<(), Fault> {
        tally.count = tally.count.saturating_add(1);
        let mut at = At { within, name: &field.name, element: None };
        match (&field.content, field.arity) {
            (Content::Entry(slots), _) => {
                tally.given = true;
                return self.entry(slots, raw, &at);
            }
            (_, Arity::Many) => at.element = Some(tally.count),
            // Decoders take the last of several values, or melt messages together: that would slip through.
            (_, Arity::Single | Arity::Implicit) if tally.count == 2 => {
                self.found.add(&at, Rule::Once, || "may be there only once".to_owned());
            }
            (_, Arity::Single | Arity::Implicit) => {}
        }
        tally.given = field.arity != Arity::Implicit || !raw.is_default();
        if tally.given { self.content(&field.content, field.rules.value.as_ref(), raw, &at) } else { Ok(()) }
    }

    fn content(&mut self, content: &Content, rule: Option<&ValueRule>, raw: Raw<'_>, at: &At<'_>) -> Result<(), Fault> {
        match (content, raw) {
            (Content::Message(position), Raw::Bytes(bytes)) => {
                let plans = self.plans;
                plans.at(*position).map_or(Ok(()), |rules| self.message(rules, bytes, Some(at)))
            }
            (Content::Plain(numeral), raw) => {
                if let Some(rule) = rule {
                    rule.check(*numeral, raw, at, &mut self.found, &mut self.budget);
                }
                Ok(())
            }
            (Content::Message(_) | Content::Entry(_), _) => Ok(()),
        }
    }

    /// Looks at the entry of a map. A key or value that is left out is its type's default, and is looked at as that.
    fn entry(&mut self, slots: &[Slot; 2], entry: Raw<'_>, map: &At<'_>) -> Result<(), Fault> {
        let [key, value] = slots;
        for (number, slot) in [(1, key), (2, value)] {
            let at = At { within: Some(map), name: slot.name, element: None };
            let mut seen = 0_usize;
            each(entry, |(found, wire), bytes| {
                let (raw, after) = raw(found, wire, bytes)?;
                if found == number {
                    seen = seen.saturating_add(1);
                    self.content(&slot.content, slot.rule.as_ref(), raw, &at)?;
                }
                Ok(after)
            })?;
            match seen {
                0 => self.content(&slot.content, slot.rule.as_ref(), slot.absent(), &at)?,
                1 => {}
                _ => self.found.add(&at, Rule::Once, || "may be there only once".to_owned()),
            }
        }
        Ok(())
    }

    /// Looks at what can be said of a field once all of a message was seen.
    fn complete(
        &mut self,
        number: u32,
        field: &FieldPlan,
        tally: Tally,
        bytes: &[u8],
        at: &At<'_>,
    ) -> Result<(), Fault> {
        let rules = &field.rules;
        if rules.required && !tally.given {
            self.found.add(at, Rule::Required, || "has to be given".to_owned());
        } else if field.arity == Arity::Many && !rules.items.contain(tally.count) {
            self.found.add(at, Rule::Items, || format!("has to have {} entries", rules.items.described()));
        } else if rules.distinct && tally.count > 1 && repeats(number, field, bytes)? {
            let what = if matches!(field.content, Content::Entry(_)) { "key" } else { "element" };
            self.found.add(at, Rule::Unique, || format!("may have no {what} twice"));
        }
        Ok(())
    }
}

impl Slot {
    /// Returns what stands for a value that is not there.
    fn absent(&self) -> Raw<'static> {
        if self.wire == Wire::Length { Raw::Bytes(&[]) } else { Raw::Number(0) }
    }
}

/// Returns whether a value of a list, or a key of a map, is there twice. There are few: the field has a limit, and it was kept.
fn repeats(number: u32, field: &FieldPlan, bytes: &[u8]) -> Result<bool, Fault> {
    let mut known = HashSet::new();
    let mut repeated = false;
    each(Raw::Bytes(bytes), |(found, wire), value| {
        if found != number {
            return reader::skip(found, wire, value, 0);
        }
        if field.layout.packable && wire == Wire::Length {
            let (mut list, after) = reader::delimited(value)?;
            while !list.is_empty() {
                let (raw, next) = raw(number, field.layout.wire, list)?;
                list = next;
                repeated |= !known.insert(field.content.same(raw));
            }
            return Ok(after);
        }
        let (raw, after) = raw(number, wire, value)?;
        let compared = match &field.content {
            Content::Entry(slots) => {
                let [key, _] = slots.as_ref();
                key.content.same(key_of(key, raw)?)
            }
            Content::Plain(_) | Content::Message(_) => field.content.same(raw),
        };
        repeated |= !known.insert(compared);
        Ok(after)
    })?;
    Ok(repeated)
}

impl Content {
    /// Returns the bits that decoders see: those of 32-bit kinds are cut off.
    fn same<'a>(&self, raw: Raw<'a>) -> Same<'a> {
        match (self, raw) {
            (Self::Plain(Some(numeral)), Raw::Number(bits)) => Same::Number(numeral.whole(bits)),
            // Of the kinds that are compared only `bool`, as a key, has no numeral.
            (_, Raw::Number(bits)) => Same::Number(i128::from(bits != 0)),
            (_, Raw::Bytes(bytes)) => Same::Bytes(bytes),
        }
    }
}

/// A value as it is compared with others.
#[derive(PartialEq, Eq, Hash)]
enum Same<'a> {
    Number(i128),
    Bytes(&'a [u8]),
}

fn key_of<'a>(slot: &Slot, entry: Raw<'a>) -> Result<Raw<'a>, Fault> {
    let mut key = slot.absent();
    each(entry, |(number, wire), value| {
        let (raw, after) = raw(number, wire, value)?;
        if number == 1 {
            key = raw;
        }
        Ok(after)
    })?;
    Ok(key)
}

/// Calls `look` with each field of a message; it returns what is behind the value.
fn each<'a>(
    message: Raw<'a>,
    mut look: impl FnMut((u32, Wire), &'a [u8]) -> Result<&'a [u8], Fault>,
) -> Result<(), Fault> {
    let Raw::Bytes(mut rest) = message else {
        return Ok(());
    };
    while !rest.is_empty() {
        let ((number, wire), value) = reader::tag(rest)?;
        if wire == Wire::GroupEnd {
            break;
        }
        rest = look((number, wire), value)?;
    }
    Ok(())
}

/// Reads one value. A group is everything up to and with its end tag.
fn raw(number: u32, wire: Wire, value: &[u8]) -> Read<'_, Raw<'_>> {
    match wire {
        Wire::Varint => reader::varint(value).map(|(bits, after)| (Raw::Number(bits), after)),
        Wire::Fixed32 => value
            .split_first_chunk()
            .map(|(bits, after)| (Raw::Number(u64::from(u32::from_le_bytes(*bits))), after))
            .ok_or_else(|| Fault::new(value.len(), Defect::Truncated)),
        Wire::Fixed64 => value
            .split_first_chunk()
            .map(|(bits, after)| (Raw::Number(u64::from_le_bytes(*bits)), after))
            .ok_or_else(|| Fault::new(value.len(), Defect::Truncated)),
        Wire::Length => reader::delimited(value).map(|(bytes, after)| (Raw::Bytes(bytes), after)),
        Wire::GroupStart | Wire::GroupEnd => {
            let after = reader::skip(number, wire, value, 0)?;
            let group =
                value.split_at_checked(value.len().saturating_sub(after.len())).map_or(value, |(group, _)| group);
            Ok((Raw::Bytes(group), after))
        }
    }
}
