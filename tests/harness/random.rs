//! Random choices that can be made again: a test that fails has printed its
//! seed, and `SEED=<number>` runs it with the same one.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Where the seed is taken from, if it is set.
const SEED: &str = "SEED";

/// A source of numbers that is the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    numbers: StdRng,
}

impl Random {
    /// With a new seed, or the one that is asked for. Prints it.
    #[expect(clippy::print_stdout, reason = "a failing test shows it")]
    pub(crate) fn seeded() -> Self {
        let asked = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = asked.unwrap_or_else(rand::random);
        println!("the seed is {seed}; run it again with {SEED}={seed}");
        Self::of(seed)
    }

    /// Another source, which depends on this one's seed and the number alone.
    pub(crate) fn fork(&self, number: u64) -> Self {
        Self::of(self.seed.wrapping_add(number + 1))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.numbers.random_range(0..limit)
    }

    fn of(seed: u64) -> Self {
        Self {
            seed,
            numbers: StdRng::seed_from_u64(seed),
        }
    }
}
