//! Commits that have been checked and are not on the disk yet.
//!
//! ```text
//!             check          written: end of the transaction
//!   Held ----------> Settling ------------------------------> Free, or handed over
//!                       |
//!                       | not written: what ended meanwhile ends now
//!                       v
//!                     Held, or Free
//! ```
//!
//! Between its check and the moment its values can be read, a commit keeps
//! every lock it relies on: those its transaction holds, and the free ones
//! under which it writes new keys. Otherwise the next holder could read the old
//! value, and see the new one appear under its own lock. So while a commit
//! settles, no lease of its transaction runs out, and whoever takes one of its
//! locks away, or ends the transaction, is answered at once but heeded only
//! when it has settled: the commit was checked before, so it comes first.
//!
//! A store whose commits can be read in the step that checks them needs none of
//! this.

use super::check::Current;
use super::hash::IdMap;
use super::operations::End;
use super::request::Request;
use super::slab::At;
use super::{Core, Effect};
use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{Acquire, Commit, CommitError, Holder, Mode, Party, Write};
use crate::time::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// The transactions whose commits settle.
#[derive(Debug, Default)]
pub(super) struct Settling(IdMap<TransactionId, Kept>);

/// What a commit that settles keeps.
#[derive(Debug, Default)]
struct Kept {
    /// The grant of the free locks it writes new keys under.
    reserved: Option<GrantId>,
    /// Its grants that were to end meanwhile.
    doomed: BTreeSet<GrantId>,
}

impl Settling {
    /// Whether a commit of this holder settles.
    pub(super) fn has(&self, holder: Holder) -> bool {
        match holder {
            Holder::Transaction(transaction) => self.0.contains_key(&transaction),
            Holder::Session(_) | Holder::Caller => false,
        }
    }

    /// Remembers that a grant of this holder is to end. `false` if none of its
    /// commits settles, and the grant ends now.
    pub(super) fn doom(&mut self, holder: Holder, id: GrantId) -> bool {
        let Holder::Transaction(transaction) = holder else {
            return false;
        };
        let kept = self.0.get_mut(&transaction);
        kept.map(|it| it.doomed.insert(id)).is_some()
    }
}

impl Core {
    /// As [`Core::check`]; what passes settles until [`Core::settled`] or
    /// [`Core::unsettled`].
    pub fn check_and_keep(
        &mut self,
        commit: &Commit,
        current: &Current,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CommitError> {
        self.check(commit, current, now, effects)?;
        let reserved = self.reserve(commit, now, effects);
        for at in self.grants_of(commit.transaction) {
            self.table.suspend(at);
        }
        let kept = Kept {
            reserved,
            doomed: BTreeSet::new(),
        };
        self.settling.0.insert(commit.transaction, kept);
        Ok(())
    }

    /// What a transaction committed can be read: it ends.
    pub fn settled(&mut self, transaction: TransactionId, now: Time, effects: &mut Vec<Effect>) {
        self.settling.0.remove(&transaction);
        self.end(transaction, now, effects);
    }

    /// What a transaction committed was not written: it goes on as it was, less
    /// what ended meanwhile.
    pub fn unsettled(&mut self, transaction: TransactionId, now: Time, effects: &mut Vec<Effect>) {
        let Some(kept) = self.settling.0.remove(&transaction) else {
            return;
        };
        for at in self.grants_of(transaction) {
            self.table.resume(at);
        }
        for id in kept.doomed.into_iter().chain(kept.reserved) {
            if let Some(at) = self.table.find(id) {
                self.end_one(at, End::GivenBack, now, effects);
            }
        }
        self.pass(now, effects);
    }

    fn grants_of(&self, transaction: TransactionId) -> Vec<At<Request>> {
        let group = self.table.groups.transaction(transaction);
        let members = group.into_iter().flat_map(|it| self.table.members_at(it));
        members
            .filter(|it| self.table.requests[*it].is_held())
            .collect()
    }

    /// Takes the free locks that guard the commit's new keys.
    fn reserve(
        &mut self,
        commit: &Commit,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Option<GrantId> {
        let guards = commit.writes.iter().filter_map(|it| it.guard.as_ref());
        let free: BTreeSet<&LockName> = guards
            .filter(|it| self.table.locks.find(it).is_none())
            .collect();
        if free.is_empty() {
            return None;
        }
        let id = GrantId::of_commit(commit.id);
        let request = Acquire {
            id,
            repeatable: false,
            names: Vec::new(),
            mode: Mode::Exclusive,
            holder: Holder::Transaction(commit.transaction),
            lease: None,
            wait: Duration::ZERO,
            party: Party::node("a commit that creates what it guards"),
        };
        let names = free.into_iter().cloned().collect();
        self.hold(request, names, Vec::new(), now, effects);
        Some(id)
    }

    /// Whether the lock of a write is kept by another commit that settles: it
    /// will be free in a moment, with other data.
    pub(super) fn is_settling(&self, name: &LockName) -> bool {
        let lock = self.table.locks.get(name);
        let holder = lock.and_then(|it| it.holders.only());
        let holder = holder.map(|it| self.table.holder(&self.table.requests[it]));
        holder.is_some_and(|it| self.settling.has(it))
    }
}

/// Why a write has to wait for another commit.
pub(super) fn in_between(write: &Write) -> CommitError {
    CommitError::Conflict {
        collection: write.collection.name().to_owned(),
        key: write.key.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests;
