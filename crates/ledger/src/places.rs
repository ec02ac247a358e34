//! Where in the journal a leaf lies: a mark every so often, from which batch headers lead on.

/// Bytes of a segment between two marks. Finding a leaf reads about half as many; a mark takes 16 bytes.
const STRIDE: u64 = 256 << 10;

/// Marks for every segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    segments: Vec<SegmentPlaces>,
}

#[derive(Debug, Clone)]
struct SegmentPlaces {
    first: u64,
    /// Index and offset of batches, in order.
    marks: Vec<(u64, u64)>,
}

/// A batch at or before a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The segment, by its first index.
    pub segment: u64,
    /// First index of the batch.
    pub index: u64,
    /// Its offset in the segment.
    pub offset: u64,
}

impl Places {
    /// Begins a segment.
    pub fn begin(&mut self, first: u64) {
        self.segments.push(SegmentPlaces { first, marks: Vec::new() });
    }

    /// Marks a batch of the last segment, if it is time.
    pub fn mark(&mut self, index: u64, offset: u64) {
        if let Some(segment) = self.segments.last_mut()
            && segment.marks.last().is_none_or(|(_, last)| offset - last >= STRIDE)
        {
            segment.marks.push((index, offset));
        }
    }

    /// Finds the last marked batch that begins at or before `index`.
    pub fn find(&self, index: u64) -> Option<Place> {
        let after = self.segments.partition_point(|segment| segment.first <= index);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        let after = segment.marks.partition_point(|(first, _)| *first <= index);
        let (index, offset) = *segment.marks.get(after.checked_sub(1)?)?;
        Some(Place { segment: segment.first, index, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_at_or_before_a_leaf_is_found() {
        let mut places = Places::default();
        assert_eq!(places.find(0), None);
        places.begin(0);
        assert_eq!(places.find(0), None, "nothing was written yet");
        for batch in 0..1000 {
            places.mark(batch * 3, 512 + batch * 1024);
        }
        places.begin(3000);
        places.mark(3000, 512);
        assert_eq!(places.find(0), Some(Place { segment: 0, index: 0, offset: 512 }));
        assert_eq!(places.find(767), Some(Place { segment: 0, index: 0, offset: 512 }));
        assert_eq!(places.find(768), Some(Place { segment: 0, index: 768, offset: 512 + STRIDE }));
        assert_eq!(places.find(2999), Some(Place { segment: 0, index: 2304, offset: 512 + 3 * STRIDE }));
        assert_eq!(places.find(5000), Some(Place { segment: 3000, index: 3000, offset: 512 }));
    }
}
