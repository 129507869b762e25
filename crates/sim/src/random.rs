//! The one source of chance: a seed. Equal seeds give equal runs on every machine.

/// SplitMix64. Small, good enough for schedules, useless for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; every seed is as good as another.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// An independent generator for one part of the world, so that one more draw in a client does not change
    /// every delay of the network.
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "a generator never ends, an iterator may")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias is below n / 2^64.
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `[low, high]`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).unwrap_or(0) + 1;
        low + i64::try_from(self.below(span)).unwrap_or(0)
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several; the first if there is only one.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_range_comes() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            let n = random.between(-2, 3);
            seen[usize::try_from(n + 2).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| *n > 800), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }
}
