//! What became of commits: remembered for [`MEMORY`], or for as long as there
//! is room, so that a commit that is sent again changes nothing and one that
//! was given up stays so.
//!
//! An id that may have been forgotten is refused. That is decided by the id's
//! own time alone, before any record is looked at, so when a record is swept
//! cannot be observed.

use crate::id::CommitId;
use crate::store::{CommitError, Committed, MEMORY, Resolved};
use crate::time::Time;
use std::collections::BTreeMap;

/// What is recorded of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied.
    Committed(Committed),
    /// It was given up before it arrived.
    Aborted,
}

/// The oldest time at which a commit may have been minted to be still known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Ids minted at or before this were forgotten for lack of room.
    pub swept: Option<Time>,
}

impl Horizon {
    /// Whether the store may have forgotten what became of `id`.
    pub fn is_beyond(self, id: CommitId, now: Time) -> bool {
        id.minted + MEMORY < now || self.swept.is_some_and(|it| id.minted <= it)
    }
}

impl Outcome {
    /// What a commit that is sent again is answered.
    pub fn to_commit(self) -> Result<Committed, CommitError> {
        match self {
            Outcome::Committed(it) => Ok(it),
            Outcome::Aborted => Err(CommitError::Aborted),
        }
    }

    /// What who asks for it is answered.
    pub fn to_resolve(self) -> Resolved {
        match self {
            Outcome::Committed(it) => Resolved::Committed(it),
            Outcome::Aborted => Resolved::Aborted,
        }
    }
}

/// The records of a store without a file.
#[derive(Debug)]
pub struct Records {
    outcomes: BTreeMap<CommitId, Outcome>,
    horizon: Horizon,
    room: usize,
}

impl Records {
    /// No records, and room for so many.
    pub fn new(room: usize) -> Self {
        Self {
            outcomes: BTreeMap::new(),
            horizon: Horizon::default(),
            room,
        }
    }

    /// What is known of `id`; `Err` if it may have been forgotten.
    pub fn get(&self, id: CommitId, now: Time) -> Result<Option<Outcome>, Forgotten> {
        if self.horizon.is_beyond(id, now) {
            return Err(Forgotten);
        }
        Ok(self.outcomes.get(&id).copied())
    }

    /// Records an outcome, and sweeps what need not be known any more.
    pub fn insert(&mut self, id: CommitId, outcome: Outcome, now: Time) {
        self.outcomes.insert(id, outcome);
        // Two at most for each that is added: bounded work, and it keeps up.
        for _ in 0..2 {
            let Some(oldest) = self.outcomes.first_entry() else {
                return;
            };
            let minted = oldest.key().minted;
            if self.horizon.is_beyond(*oldest.key(), now) {
                oldest.remove();
            } else if self.outcomes.len() > self.room {
                self.outcomes.pop_first();
                self.horizon.swept = Some(minted);
            }
        }
    }
}

/// An id so old that nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DONE: Outcome = Outcome::Committed(Committed { number: 1 });

    fn id(second: u64, random: u64) -> CommitId {
        CommitId {
            minted: Time::from_micros(second * 1_000_000),
            random,
        }
    }

    #[test]
    fn an_outcome_is_known_for_its_memory_and_refused_after() {
        let mut records = Records::new(10);
        let commit = id(5, 1);
        records.insert(commit, DONE, commit.minted);
        let last = commit.minted + MEMORY;
        assert_eq!(records.get(commit, last), Ok(Some(DONE)));
        assert_eq!(
            records.get(commit, last + Duration::from_micros(1)),
            Err(Forgotten)
        );
    }

    #[test]
    fn records_are_swept_as_others_are_added() {
        let mut records = Records::new(10_000);
        for second in 0..5_000 {
            let commit = id(second, second);
            records.insert(commit, DONE, commit.minted);
        }
        assert_eq!(records.outcomes.len() as u64, MEMORY.as_secs() + 1);
    }

    #[test]
    fn without_room_the_oldest_are_forgotten_and_refused() {
        let mut records = Records::new(3);
        let now = id(1, 0).minted;
        // Two of the same moment: forgetting one refuses both.
        for commit in [id(0, 1), id(0, 2), id(0, 3), id(1, 4)] {
            records.insert(commit, DONE, now);
        }
        assert_eq!(records.get(id(0, 1), now), Err(Forgotten));
        assert_eq!(records.get(id(0, 3), now), Err(Forgotten));
        assert_eq!(records.get(id(1, 4), now), Ok(Some(DONE)));
        assert!(records.outcomes.len() <= 3);
    }
}
