//! Tells a write that was cut short from damage.
//!
//! A segment is full of zeros before it is written, and a batch is one write that is synced before the next begins. So when a
//! crash cuts it short, what is missing of it is whole sectors that still are zero, and nothing comes after it. Anything else
//! that does not fit was once whole: that is damage, and is never moved out of the way.

use super::frame::{BATCH_HEADER, BatchHeader, Frame, MAX_BATCH_BYTES, SECTOR};
use super::scan::{Kind, Scan};
use crate::files::{Damage, Unreadable};

const CHUNK: usize = 1 << 16;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// As many zeros at the end of a batch mean that its end was not written: it ends in 16 bytes of authentication tag.
const ZERO_END: usize = 8;

/// What follows the last whole batch of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Zeros, or nothing.
    Clean,
    /// A batch that was cut short, of this many bytes.
    Torn { bytes: usize },
}

impl Scan {
    /// Looks at what follows the last whole batch.
    ///
    /// `last` says whether this is the journal's last segment: only there can a batch be cut short.
    pub fn end(&mut self, last: bool) -> Result<End, Unreadable> {
        let Some(extent) = self.extent()? else {
            return Ok(End::Clean);
        };
        let damage = |scan: &Self| {
            let first = scan.fault.map(|fault| fault.damage(&scan.path));
            first.unwrap_or_else(|| {
                Damage::new(&scan.path, "a batch header is gone").at(scan.offset).leaf(scan.chain.next)
            })
        };
        if let Some(later) = extent.later_batch {
            let mut damage = damage(self);
            damage.what = format!("{}, and whole batches follow at byte {later}", damage.what);
            return Err(damage.into());
        }
        let bytes = extent.end - self.offset;
        match usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_BATCH_BYTES) {
            Some(bytes) if last && self.is_cut_short(bytes)? => Ok(End::Torn { bytes }),
            Some(_) if self.fault.is_some() => Err(damage(self).into()),
            _ => {
                let damage = Damage::new(&self.path, "there are bytes where nothing has been written");
                Err(damage.at(extent.end - 1).leaf(self.chain.next).into())
            }
        }
    }

    /// Says whether `bytes` bytes from the current offset are a batch of which whole sectors are missing.
    fn is_cut_short(&mut self, bytes: usize) -> Result<bool, Unreadable> {
        let (offset, fault, next) = (self.offset, self.fault, self.chain.next);
        let start = self.peek(offset, bytes.next_multiple_of(SECTOR))?;
        let head = start.get(..SECTOR).unwrap_or(start);
        let Some(header) = BatchHeader::parse(head) else {
            // The header's sector was not written, or the write ended within the header.
            return Ok(is_zero(head) || bytes < BATCH_HEADER);
        };
        if header.first != next || bytes > header.padded() {
            return Ok(false);
        }
        let Some(fault) = fault.filter(|fault| matches!(fault.kind, Kind::Frame(_))) else {
            return Ok(false);
        };
        let batch = self.peek(offset, header.padded())?;
        let Ok(from) = usize::try_from(fault.offset - offset) else {
            return Ok(false);
        };
        let whole = header.length as usize;
        if batch.get(whole.saturating_sub(ZERO_END).max(from)..whole).is_none_or(is_zero) {
            return Ok(true);
        }
        // The frame's own length counts only if the sector that holds it was written.
        let sector = |at: usize| {
            batch.get(at - at % SECTOR..).map(|rest| rest.get(..SECTOR).unwrap_or(rest)).unwrap_or_default()
        };
        let claimed = batch.get(from..whole).and_then(Frame::claimed_length).filter(|_| !is_zero(sector(from + 4)));
        let end = claimed.map_or(whole, |length| from + length);
        Ok((from - from % SECTOR..end).step_by(SECTOR).any(|at| is_zero(sector(at))))
    }

    /// How far the bytes after the last whole batch reach, or `None` when there are only zeros.
    fn extent(&mut self) -> Result<Option<Extent>, Unreadable> {
        let (mut at, end, next) = (self.offset, self.header.length, self.chain.next);
        let mut extent: Option<Extent> = None;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let chunk = self.peek(at, length)?;
            if chunk.is_empty() {
                break;
            }
            if !is_zero(chunk) {
                for (sector, place) in chunk.chunks(SECTOR).zip((at..).step_by(SECTOR)) {
                    let Some(last) = sector.iter().rposition(|byte| *byte != 0) else {
                        continue;
                    };
                    let later = BatchHeader::parse(sector).is_some_and(|header| header.first > next);
                    let found = extent.get_or_insert(Extent { end: 0, later_batch: None });
                    found.end = place + last as u64 + 1;
                    found.later_batch = found.later_batch.or(later.then_some(place));
                }
            }
            at += length as u64;
        }
        Ok(extent)
    }
}

struct Extent {
    /// Offset after the last byte that is not zero.
    end: u64,
    /// Offset of a valid header of a later batch.
    later_batch: Option<u64>,
}

/// Says whether all bytes are zero; compared in pieces, which is fast in unoptimised builds too.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(CHUNK).all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}
