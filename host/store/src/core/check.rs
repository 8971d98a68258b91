//! Whether a transaction may be applied.

use super::locks::LockSlot;
use super::settling::in_between;
use super::{Core, Effect};
use crate::id::TransactionId;
use crate::name::{Collection, Key, LockName};
use crate::store::{Commit, CommitError, Holder, Mode, Token, Write};
use crate::time::Time;

/// What a store has now of what a commit names, each list in the commit's own
/// order. An absent key has version 0, an unwritten collection change 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// The version of each of [`Commit::reads`].
    pub reads: Vec<u64>,
    /// The change number of each of [`Commit::ranges`].
    pub ranges: Vec<u64>,
    /// The version of each of [`Commit::writes`].
    pub writes: Vec<u64>,
}

impl Core {
    /// Whether `commit` may be applied at `now` to a store that has `current`.
    ///
    /// A lost guard is looked for first: who lost a lock mostly finds the data
    /// changed as well, and the lost lock is what it has to be told of.
    pub fn check(
        &mut self,
        commit: &Commit,
        current: &Current,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CommitError> {
        self.pass(now, effects);
        let checked = self.check_all(commit, current);
        checked.inspect_err(|error| self.tally.refuse_commit(error))
    }

    fn check_all(&self, commit: &Commit, current: &Current) -> Result<(), CommitError> {
        self.check_guards(commit)?;
        check_versions(&commit.reads, &current.reads)?;
        check_changes(&commit.ranges, &current.ranges)?;
        self.check_turns(commit)?;
        let covered = commit.writes.iter().zip(&current.writes);
        for (write, version) in covered {
            if let Some(name) = &write.guard {
                self.check_cover(commit.transaction, name, write, *version)?;
            }
        }
        Ok(())
    }

    /// Every grant the transaction relies on is still its own.
    fn check_guards(&self, commit: &Commit) -> Result<(), CommitError> {
        let transaction = Holder::Transaction(commit.transaction);
        for guard in &commit.guards {
            let held = self
                .table
                .get(guard.grant)
                .is_some_and(|it| self.table.holder(it) == transaction && it.is_held());
            if held {
                continue;
            }
            // Of its names, the one that somebody else has by now tells most.
            let taken = guard.names.iter().find(|it| self.current_token(it) != 0);
            return Err(match taken.or(guard.names.first()) {
                Some(name) => CommitError::Fenced {
                    name: name.clone(),
                    current: self.current_token(name),
                },
                // A guard without names is not one; refuse it all the same.
                None => CommitError::Aborted,
            });
        }
        Ok(())
    }

    /// Nobody else has a turn at what is written: whoever lost a race for it
    /// before comes first now. Otherwise those who never queue could make it
    /// conflict for ever.
    fn check_turns(&self, commit: &Commit) -> Result<(), CommitError> {
        let own = self.table.groups.transaction(commit.transaction);
        let mut name = String::new();
        for Write {
            collection, key, ..
        } in &commit.writes
        {
            for key in [Some(key.as_str()), None] {
                LockName::write_turn(&mut name, collection.name(), key);
                let turn = self.table.locks.get_by_text(&name);
                let is_another = |it: &LockSlot| {
                    let own = own.and_then(|own| self.table.own(it, own));
                    !it.holders.is_empty() && own.is_none()
                };
                if turn.is_some_and(is_another) {
                    return Err(conflict(collection, key.unwrap_or("*")));
                }
            }
        }
        Ok(())
    }

    /// The lock of a guarded write is held by the transaction; or the key is
    /// new, is known to be so, and nobody has or awaits the lock.
    fn check_cover(
        &self,
        transaction: TransactionId,
        name: &LockName,
        write: &Write,
        version: u64,
    ) -> Result<(), CommitError> {
        let Some(lock) = self.table.locks.get(name) else {
            // Nobody holds it, nobody waits.
            return if write.absence_read && version == 0 {
                Ok(())
            } else {
                Err(CommitError::Unguarded { name: name.clone() })
            };
        };
        let own = self.table.groups.transaction(transaction);
        match own.and_then(|it| self.table.own(lock, it)) {
            Some((Mode::Exclusive, _)) => Ok(()),
            None if write.absence_read && self.is_settling(name) => Err(in_between(write)),
            Some(_) | None => Err(CommitError::Unguarded { name: name.clone() }),
        }
    }

    /// The token of who has held `name` for the longest; 0 if nobody holds it.
    fn current_token(&self, name: &LockName) -> Token {
        let lock = self.table.locks.get(name);
        let holder = lock.and_then(|it| it.holders.iter().next());
        holder.map_or(0, |it| self.table.requests[it].token())
    }
}

/// Every key that was read has the version that it has now.
pub(crate) fn check_versions(
    reads: &[(Collection, Key, u64)],
    current: &[u64],
) -> Result<(), CommitError> {
    let stale = reads
        .iter()
        .zip(current)
        .find(|(seen, now)| seen.2 != **now);
    stale.map_or(Ok(()), |((collection, key, _), _)| {
        Err(conflict(collection, key.as_str()))
    })
}

/// No collection that was listed has changed.
pub(crate) fn check_changes(
    ranges: &[(Collection, u64)],
    current: &[u64],
) -> Result<(), CommitError> {
    let stale = ranges
        .iter()
        .zip(current)
        .find(|(seen, now)| seen.1 != **now);
    stale.map_or(Ok(()), |((collection, _), _)| {
        Err(conflict(collection, "*"))
    })
}

fn conflict(collection: &Collection, key: &str) -> CommitError {
    CommitError::Conflict {
        collection: collection.name().to_owned(),
        key: key.to_owned(),
    }
}
