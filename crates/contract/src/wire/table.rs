//! A look-up by field number: a step into a small array for the usual numbers, a binary search for the rest.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

/// Numbers from here upward are searched for.
const DENSE: u32 = 64;

/// Marks a number that has no entry.
const NONE: u16 = u16::MAX;

/// Values by field number.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    dense: Box<[u16]>,
    sorted: Box<[(u32, T)]>,
}

impl<T> Table<T> {
    /// Takes entries in any order; each number may occur once.
    pub(crate) fn new(mut entries: Vec<(u32, T)>) -> Self {
        entries.sort_by_key(|entry| entry.0);
        let top = entries.last().map_or(0, |entry| entry.0.saturating_add(1)).min(DENSE);
        let dense = (0..top)
            .map(|number| {
                entries
                    .iter()
                    .position(|entry| entry.0 == number)
                    .and_then(|position| u16::try_from(position).ok())
                    .unwrap_or(NONE)
            })
            .collect();
        Self { dense, sorted: entries.into() }
    }

    /// Returns the entry of a number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        if number < DENSE {
            let position = *self.dense.get(usize::try_from(number).ok()?)?;
            return self.sorted.get(usize::from(position)).map(|entry| &entry.1);
        }
        let position = self.sorted.binary_search_by_key(&number, |entry| entry.0).ok()?;
        self.sorted.get(position).map(|entry| &entry.1)
    }

    /// Returns all entries by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(u32, T)> {
        self.sorted.iter()
    }
}
