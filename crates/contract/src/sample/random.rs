//! Numbers that look random, and are the same for the same seed on every machine and in every version.

/// A stream of numbers.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014 (`SplitMix64`).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Returns the stream of one part of a whole, as of one field of a message: a part that is added changes no other.
    pub(super) fn of(seed: u64, part: u64) -> Self {
        Self(split(seed, part))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Returns a number below `limit`; 0 below 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or_default()
    }

    /// Returns a position in a list of this length.
    pub(super) fn position(&mut self, length: usize) -> usize {
        u64::try_from(length).ok().and_then(|length| usize::try_from(self.below(length)).ok()).unwrap_or_default()
    }

    /// Returns a number from `least` to `most`, both included.
    pub(super) fn between(&mut self, least: i128, most: i128) -> i128 {
        let Some(span @ 1..) = most.checked_sub(least).and_then(|span| span.checked_add(1)) else { return least };
        let drawn = i128::from(self.next()).saturating_mul(1 << 32).saturating_add(i128::from(self.next() >> 32));
        least.saturating_add(drawn.checked_rem(span).unwrap_or_default())
    }

    /// Returns a number from 0 up to, and without, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns whether something happens that happens once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns one of several; the default of nothing.
    pub(super) fn pick<T: Clone + Default>(&mut self, several: &[T]) -> T {
        several.get(self.position(several.len())).cloned().unwrap_or_default()
    }

    /// Returns so many of these characters.
    pub(super) fn characters(&mut self, of: &str, count: usize) -> String {
        let of: Vec<char> = of.chars().collect();
        (0..count).map(|_| self.pick(&of)).collect()
    }
}

/// Returns the seed of a part of a whole.
pub(super) fn split(seed: u64, part: u64) -> u64 {
    mixed(seed ^ mixed(part.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_on_every_machine() {
        // Of the published algorithm, begun at 0.
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf);
        assert_ne!(Random::of(1, 1).next(), Random::of(1, 2).next());
    }

    #[test]
    fn a_number_stays_within_its_bounds() {
        for seed in 0..1000 {
            let mut random = Random::of(seed, 0);
            assert!((-3..=4).contains(&random.between(-3, 4)));
            assert!((0.0..1.0).contains(&random.fraction()));
            assert!(random.below(7) < 7);
        }
        let (least, most) = (i128::from(i64::MIN), i128::from(u64::MAX));
        assert!((least..=most).contains(&Random::of(0, 0).between(least, most)));
        assert_eq!(Random::of(0, 0).between(5, 4), 5);
    }
}
