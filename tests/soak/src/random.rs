//! Random choices that depend on a seed and on nothing else.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// A source of numbers that is the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random(StdRng);

impl Random {
    /// The source of this seed, and of this use of it.
    pub(crate) fn of(seed: u64, purpose: u64) -> Self {
        // Far apart for neighbours, or round 1 of seed 2 would be round 2 of 1.
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose;
        Self(StdRng::seed_from_u64(mixed))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit.max(1))
    }

    /// Whether something happens that does once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// So many milliseconds, from the one up to the other.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.0.random_range(from..=to.max(from)))
    }

    /// One of them.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
