//! Taking from a message what may not leave, in one pass over its bytes.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use bytes::Bytes;

use super::{Node, Projection, Step};
use crate::malformed::{Defect, Fault, Malformed};
use crate::wire::MAX_DEPTH;
use crate::wire::reader::{self, Wire};

impl Projection {
    /// Returns the message without what may not leave.
    ///
    /// Where nothing has to be taken out, these are the very bytes that came in, and nothing was copied. What stays is in the
    /// order and the encoding in which it came; only the lengths of messages around what was taken out are written anew.
    ///
    /// Bytes that set two fields of one oneof, which no encoder writes, mean the last of them. Where that one is withheld and the one
    /// before it is released, the one before it is what is left.
    ///
    /// # Errors
    ///
    /// The first defect met, where one can be met without looking into values: text that is not UTF-8 is none here.
    pub fn apply(&self, message: Bytes) -> Result<Bytes, Malformed> {
        let intact = self.intact(0, None, &message, 0).map_err(|fault| fault.finish(message.len()))?;
        if intact.is_some() {
            return Ok(message);
        }
        let mut out = Vec::with_capacity(message.len());
        match self.copy(0, None, &message, &mut out, 0) {
            Ok(_) => Ok(out.into()),
            Err(fault) => Err(fault.finish(message.len())),
        }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "positions are made by the compiler of selectors, never by a peer")]
    fn node(&self, position: usize) -> &Node {
        &self.nodes[position]
    }

    /// Returns what is behind the message (or, in a group, behind its end) when nothing has to be taken out of it.
    fn intact<'a>(
        &self,
        node: usize,
        group: Option<u32>,
        bytes: &'a [u8],
        depth: u32,
    ) -> Result<Option<&'a [u8]>, Fault> {
        let node = self.node(node);
        let mut rest = bytes;
        while !rest.is_empty() {
            let ((number, wire), value) = reader::tag(rest)?;
            if wire == Wire::GroupEnd {
                return ends(group, number, rest, value).map(Some);
            }
            let Some(step) = node.get(number) else {
                return Ok(None);
            };
            step.fits(wire, rest)?;
            let Some(into) = step.into else {
                rest = reader::skip(number, wire, value, depth).map_err(|fault| fault.of(&step.name))?;
                continue;
            };
            let deeper = step.deeper(depth, rest)?;
            let after = if wire == Wire::GroupStart {
                self.intact(into, Some(number), value, deeper).map_err(|fault| fault.of(&step.name))?
            } else {
                let (inner, after) = reader::delimited(value).map_err(|fault| fault.of(&step.name))?;
                let intact =
                    self.intact(into, None, inner, deeper).map_err(|fault| fault.inside(&step.name, after.len()))?;
                intact.map(|_| after)
            };
            match after {
                Some(after) => rest = after,
                None => return Ok(None),
            }
        }
        if group.is_some() { Err(Fault::new(bytes.len(), Defect::Truncated)) } else { Ok(Some(rest)) }
    }

    /// Copies what may leave, and returns what is behind the message (or, in a group, behind its end).
    fn copy<'a>(
        &self,
        node: usize,
        group: Option<u32>,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<&'a [u8], Fault> {
        let node = self.node(node);
        // From here up to where the walk is, everything leaves as it came, and has not been copied yet.
        let mut kept = bytes;
        let mut rest = bytes;
        while !rest.is_empty() {
            let ((number, wire), value) = reader::tag(rest)?;
            if wire == Wire::GroupEnd {
                let after = ends(group, number, rest, value)?;
                flush(out, kept, after);
                return Ok(after);
            }
            let Some(step) = node.get(number) else {
                flush(out, kept, rest);
                rest = reader::skip(number, wire, value, depth)?;
                kept = rest;
                continue;
            };
            step.fits(wire, rest)?;
            let Some(into) = step.into else {
                rest = reader::skip(number, wire, value, depth).map_err(|fault| fault.of(&step.name))?;
                continue;
            };
            flush(out, kept, value);
            let deeper = step.deeper(depth, rest)?;
            rest = if wire == Wire::GroupStart {
                self.copy(into, Some(number), value, out, deeper).map_err(|fault| fault.of(&step.name))?
            } else {
                let (inner, after) = reader::delimited(value).map_err(|fault| fault.of(&step.name))?;
                let start = out.len();
                // The length as it came, to be corrected below: what leaves is never longer.
                flush(out, value, inner_start(value, inner, after));
                let body = out.len();
                self.copy(into, None, inner, out, deeper).map_err(|fault| fault.inside(&step.name, after.len()))?;
                correct(out, start, body, inner.len());
                after
            };
            kept = rest;
        }
        if group.is_some() {
            return Err(Fault::new(bytes.len(), Defect::Truncated));
        }
        flush(out, kept, rest);
        Ok(rest)
    }
}

impl Step {
    #[inline]
    fn fits(&self, wire: Wire, start: &[u8]) -> Result<(), Fault> {
        if self.layout.takes(wire) {
            return Ok(());
        }
        let (found, expected) = (wire.number(), self.layout.wire.number());
        Err(Fault::new(start.len(), Defect::WireType { found, expected }).of(&self.name))
    }

    #[inline]
    fn deeper(&self, depth: u32, at: &[u8]) -> Result<u32, Fault> {
        if self.entry {
            return Ok(depth);
        }
        if depth >= MAX_DEPTH {
            return Err(Fault::new(at.len(), Defect::Depth).of(&self.name));
        }
        Ok(depth.saturating_add(1))
    }
}

/// Returns what is behind the end of a group, if it is the one that is open.
fn ends<'a>(group: Option<u32>, number: u32, start: &[u8], after: &'a [u8]) -> Result<&'a [u8], Fault> {
    if group == Some(number) { Ok(after) } else { Err(Fault::new(start.len(), Defect::Group)) }
}

/// Copies what lies from the start of `from` to the start of `to`, which is a tail of it.
#[inline]
fn flush(out: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    if let Some((run, _)) = from.split_at_checked(from.len().saturating_sub(to.len())) {
        out.extend_from_slice(run);
    }
}

/// Returns the tail of `value` that starts with `inner`, given what is behind `inner`.
#[inline]
fn inner_start<'a>(value: &'a [u8], inner: &[u8], after: &[u8]) -> &'a [u8] {
    let length = value.len().saturating_sub(inner.len()).saturating_sub(after.len());
    value.split_at_checked(length).map_or(value, |(_, tail)| tail)
}

/// Writes the length of what was copied from `body` in place of the one that stands from `start` to `body`, if it changed.
fn correct(out: &mut Vec<u8>, start: usize, body: usize, before: usize) {
    let length = out.len().saturating_sub(body);
    if length == before {
        return;
    }
    let mut bytes = [0_u8; 10];
    let mut used = 0_usize;
    let mut left = u64::try_from(length).unwrap_or(u64::MAX);
    for slot in &mut bytes {
        let low = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        used = used.saturating_add(1);
        *slot = if left == 0 { low } else { low | 0x80 };
        if left == 0 {
            break;
        }
    }
    for (to, from) in out.iter_mut().skip(start).zip(bytes.iter().take(used)) {
        *to = *from;
    }
    let moved = start.saturating_add(used);
    if moved < body {
        out.copy_within(body.., moved);
        out.truncate(moved.saturating_add(length));
    }
}
