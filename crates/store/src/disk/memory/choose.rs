//! Who decides what survives a power cut.
//!
//! A cut is a series of decisions, each among so many outcomes: 0 is "nothing newer than the last sync", the
//! last is "everything that was written". The order of the decisions depends on the disk's state alone, so a
//! number or a seed names an outcome for good.

/// SplitMix64: small, seedable, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator; every seed is as good as another.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The bias is below n / 2^64.
        usize::try_from((u128::from(self.next_u64()) * (n as u128)) >> 64).unwrap_or(0)
    }
}

/// Decides outcomes.
pub(super) trait Choose {
    /// A number below `outcomes`, which is at least 1.
    fn pick(&mut self, outcomes: usize) -> usize;
    /// Whether the oldest lost write of a sector is torn: its first bytes are there, the rest is not.
    /// The number of bytes, below 512; 0 is a clean loss.
    fn torn(&mut self) -> usize {
        0
    }
}

/// How eager the random outcome is to keep things. Drawn once per cut, so that the extremes, which find most
/// bugs, are as common as the mixtures.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Lose,
    Keep,
    Even,
    MostlyLose,
    MostlyKeep,
}

/// Outcomes by chance.
#[derive(Debug)]
pub(super) struct Random {
    rng: Rng,
    mood: Mood,
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut rng = Rng::new(seed);
        let moods = [Mood::Lose, Mood::Keep, Mood::Even, Mood::Even, Mood::MostlyLose, Mood::MostlyKeep];
        let mood = moods.get(rng.below(moods.len())).copied().unwrap_or(Mood::Even);
        Random { rng, mood }
    }
}

impl Choose for Random {
    fn pick(&mut self, outcomes: usize) -> usize {
        let rare = self.rng.below(8) == 0;
        match (self.mood, rare) {
            (Mood::Lose, _) | (Mood::MostlyLose, false) => 0,
            (Mood::Keep, _) | (Mood::MostlyKeep, false) => outcomes - 1,
            (Mood::Even, _) | (_, true) => self.rng.below(outcomes),
        }
    }

    fn torn(&mut self) -> usize {
        let torn = !matches!(self.mood, Mood::Lose | Mood::Keep) && self.rng.below(16) == 0;
        if torn { self.rng.below(512) } else { 0 }
    }
}

/// Outcomes by rule, for going through all of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// The n-th combination, counted as a number whose digits are the decisions.
    Number(u64),
    /// All survives but decision n.
    AllBut(usize),
    /// Only decision n survives.
    Only(usize),
}

/// Follows a [`Rule`] and counts the decisions.
#[derive(Debug)]
pub(super) struct Ruled {
    rule: Rule,
    /// Decisions so far.
    pub(super) decisions: usize,
    /// Combinations so far, saturating.
    pub(super) combinations: u64,
}

impl Ruled {
    pub(super) fn new(rule: Rule) -> Ruled {
        Ruled { rule, decisions: 0, combinations: 1 }
    }
}

impl Choose for Ruled {
    fn pick(&mut self, outcomes: usize) -> usize {
        let at = self.decisions;
        self.decisions += 1;
        self.combinations = self.combinations.saturating_mul(outcomes as u64);
        match &mut self.rule {
            Rule::Number(rest) => {
                let digit = *rest % outcomes as u64;
                *rest /= outcomes as u64;
                digit as usize
            }
            Rule::AllBut(n) => {
                if *n == at {
                    0
                } else {
                    outcomes - 1
                }
            }
            Rule::Only(n) => {
                if *n == at {
                    outcomes - 1
                } else {
                    0
                }
            }
        }
    }
}
