//! Counters of what happened to locks, for whoever watches a node.

use std::time::Duration;

/// What happened to locks since a store was opened, and how things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Grants that are held now.
    pub held: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Sessions that are open now.
    pub sessions: u64,
    /// Watchers there are now.
    pub watchers: u64,
    /// Grants ever given.
    pub granted: u64,
    /// Requests that found a lock taken: those that then waited and those that
    /// did not.
    pub contended: u64,
    /// Requests that were refused because they would not wait.
    pub refused: u64,
    /// Waits that ran out.
    pub timed_out: u64,
    /// Waits that were given up.
    pub cancelled: u64,
    /// Waits that would never have ended.
    pub deadlocks: u64,
    /// Requests that ran into a limit.
    pub over_quota: u64,
    /// Grants given back.
    pub released: u64,
    /// Grants whose lease, or whose session's, ran out.
    pub expired: u64,
    /// Grants taken away by an operator.
    pub forced: u64,
    /// Holders that were told that a grant is lost: renewals that came too late.
    pub lost: u64,
    /// Guarded writes refused because a lock was lost.
    pub fenced: u64,
    /// Guarded writes refused because a lock was never acquired.
    pub unguarded: u64,
    /// How long it was waited for grants that were not given at once.
    pub wait: Histogram,
    /// How long grants were held.
    pub hold: Histogram,
}

/// How many values fell into which range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were up to each bound of [`BOUNDS`], not counting those of
    /// smaller bounds; the last are those above all bounds.
    pub counts: [u64; BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

/// The upper bounds of the ranges: from where nothing waits for a disk to the
/// longest lease.
pub const BOUNDS: [Duration; 14] = [
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(5 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        let range = BOUNDS.partition_point(|bound| *bound < value);
        self.counts[range] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_range_whose_bound_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for value in [Duration::ZERO, BOUNDS[0], BOUNDS[0] * 2, BOUNDS[13] * 2] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts[..2], [2, 1]);
        assert_eq!(histogram.counts[BOUNDS.len()], 1);
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.sum, BOUNDS[0] * 3 + BOUNDS[13] * 2);
    }
}
