//! Tags, numbers and lengths, read off the front of a slice.
//!
//! Each function returns what it read and the bytes behind it. Source: protobuf's encoding guide,
//! <https://protobuf.dev/programming-guides/encoding/>.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use crate::malformed::{Defect, Fault};
use crate::wire::MAX_DEPTH;

pub(crate) type Read<'a, T> = Result<(T, &'a [u8]), Fault>;

/// How a value is laid out on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    Fixed64,
    Length,
    GroupStart,
    GroupEnd,
    Fixed32,
}

impl Wire {
    /// Returns the number that stands for it in a tag.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Varint => 0,
            Self::Fixed64 => 1,
            Self::Length => 2,
            Self::GroupStart => 3,
            Self::GroupEnd => 4,
            Self::Fixed32 => 5,
        }
    }
}

/// Reads a number of one to ten bytes.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Read<'_, u64> {
    match bytes.split_first() {
        Some((&byte, after)) if byte < 0x80 => Ok((u64::from(byte), after)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Read<'_, u64> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0_u32..70).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Err(Fault::new(bytes.len(), Defect::Truncated));
        };
        // The tenth byte holds the one bit that is left of 64.
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        if byte < 0x80 {
            return Ok((value, after));
        }
        rest = after;
    }
    Err(Fault::new(bytes.len(), Defect::Varint))
}

/// Reads a field's number and how its value is laid out.
#[inline]
pub(crate) fn tag(bytes: &[u8]) -> Read<'_, (u32, Wire)> {
    let (key, after) = varint(bytes)?;
    let wire = match key & 7 {
        0 => Wire::Varint,
        1 => Wire::Fixed64,
        2 => Wire::Length,
        3 => Wire::GroupStart,
        4 => Wire::GroupEnd,
        5 => Wire::Fixed32,
        _ => return Err(Fault::new(bytes.len(), Defect::Tag)),
    };
    match u32::try_from(key) {
        Ok(key) if key >= 8 => Ok(((key >> 3, wire), after)),
        _ => Err(Fault::new(bytes.len(), Defect::Tag)),
    }
}

/// Reads a length and that many bytes.
#[inline]
pub(crate) fn delimited(bytes: &[u8]) -> Read<'_, &[u8]> {
    let (length, after) = varint(bytes)?;
    usize::try_from(length)
        .ok()
        .and_then(|length| after.split_at_checked(length))
        .ok_or_else(|| Fault::new(bytes.len(), Defect::Truncated))
}

/// Skips `count` bytes.
#[inline]
pub(crate) fn fixed(bytes: &[u8], count: usize) -> Result<&[u8], Fault> {
    match bytes.split_at_checked(count) {
        Some((_, after)) => Ok(after),
        None => Err(Fault::new(bytes.len(), Defect::Truncated)),
    }
}

/// Skips the value behind a tag, whatever the field is. A group is skipped to its end, `depth` levels down already.
#[inline]
pub(crate) fn skip(number: u32, wire: Wire, bytes: &[u8], depth: u32) -> Result<&[u8], Fault> {
    match wire {
        Wire::Varint => varint(bytes).map(|(_, after)| after),
        Wire::Fixed64 => fixed(bytes, 8),
        Wire::Fixed32 => fixed(bytes, 4),
        Wire::Length => delimited(bytes).map(|(_, after)| after),
        Wire::GroupStart => skip_group(number, bytes, depth),
        Wire::GroupEnd => Err(Fault::new(bytes.len(), Defect::Group)),
    }
}

fn skip_group(number: u32, bytes: &[u8], depth: u32) -> Result<&[u8], Fault> {
    if depth >= MAX_DEPTH {
        return Err(Fault::new(bytes.len(), Defect::Depth));
    }
    let mut rest = bytes;
    loop {
        if rest.is_empty() {
            return Err(Fault::new(bytes.len(), Defect::Truncated));
        }
        let ((inner, wire), after) = tag(rest)?;
        if wire == Wire::GroupEnd {
            return if inner == number { Ok(after) } else { Err(Fault::new(rest.len(), Defect::Group)) };
        }
        rest = skip(inner, wire, after, depth.saturating_add(1))?;
    }
}
