//! How an engine's instances stand, and how its components failed: for whoever
//! watches a node. Nothing is counted for a request that goes well.

use crate::failure::Failure;
use std::sync::atomic::{AtomicU64, Ordering};

/// How an engine stands.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// How many instances there may be at once.
    pub instances_max: u64,
    /// The components that are loaded.
    pub components: Vec<ComponentStatistics>,
}

/// How a component stands.
#[derive(Clone, Debug, Default)]
pub struct ComponentStatistics {
    /// Its name.
    pub name: String,
    /// Instances that serve a request now; calls that went in beyond the
    /// component's own limit are not counted.
    pub busy: u64,
    /// Instances that wait for one.
    pub idle: u64,
    /// Requests that wait for an instance.
    pub waiting: u64,
    /// Requests and calls it gave no whole answer to, by the kind of the
    /// failure.
    pub failures: [(&'static str, u64); KINDS.len()],
}

/// The kinds of failures, in the order of [`kind`].
const KINDS: [&str; 5] = ["trap", "deadline", "no_response", "overloaded", "host"];

/// Counts the failures of one component.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; KINDS.len()]);

impl Tally {
    /// Counts a failure, if it is one.
    pub(crate) fn note<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &outcome {
            self.0[kind(failure)].fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    pub(crate) fn counts(&self) -> [(&'static str, u64); KINDS.len()] {
        let mut at = 0;
        KINDS.map(|kind| {
            let count = self.0[at].load(Ordering::Relaxed);
            at += 1;
            (kind, count)
        })
    }
}

fn kind(failure: &Failure) -> usize {
    match failure {
        Failure::Trapped(_) => 0,
        Failure::Deadline => 1,
        Failure::NoResponse(_) => 2,
        Failure::Overloaded => 3,
        Failure::Host(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_counted_under_its_own_kind() {
        let tally = Tally::default();
        let text = String::new;
        for (at, failure) in [
            Failure::Trapped(text()),
            Failure::Deadline,
            Failure::NoResponse(text()),
            Failure::Overloaded,
            Failure::Host(text()),
        ]
        .into_iter()
        .enumerate()
        {
            for _ in 0..=at {
                assert!(tally.note::<()>(Err(failure.clone())).is_err());
            }
        }
        assert_eq!(tally.note(Ok(7)), Ok(7));
        let counts: Vec<u64> = tally.counts().iter().map(|it| it.1).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5]);
    }
}
