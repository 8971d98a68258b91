//! Who holds and who waits, and the indices that find them: by identity, by
//! lock, by transaction, by deadline. Every change goes through here, so that
//! the indices agree.

use super::CallerGrant;
use super::hash::IdMap;
use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{Granted, Holder, Token};
use crate::time::Time;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The order in which requests arrived: the place in every queue.
pub(super) type Arrival = u64;

/// Every live request, and the indices over them.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: IdMap<GrantId, Entry>,
    locks: HashMap<LockName, LockEntry>,
    transactions: IdMap<TransactionId, BTreeMap<Arrival, GrantId>>,
    deadlines: BTreeMap<(Time, Deadline, Arrival), GrantId>,
    arrivals: Arrival,
}

/// A request that waits or is held.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) arrival: Arrival,
    pub(super) holder: Holder,
    pub(super) label: String,
    pub(super) lease: Option<Duration>,
    pub(super) stage: Stage,
}

/// Where in its life a request is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It waits until then.
    Waiting {
        until: Time,
        /// Every name it asked for. Those its transaction held already have
        /// their token and are not queued for.
        asked: Vec<(LockName, Option<Token>)>,
    },
    /// It holds these names.
    Held {
        names: Vec<LockName>,
        token: Token,
        since: Time,
        /// `None`: until its transaction ends.
        until: Option<Time>,
    },
}

/// What runs out. At the same moment leases do so before waits, so that a lock
/// that becomes free just in time is still handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    Lease,
    Wait,
}

/// One lock that is not idle.
#[derive(Debug, Default)]
struct LockEntry {
    holder: Option<GrantId>,
    queue: BTreeMap<Arrival, GrantId>,
}

/// How a lock stands to somebody who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody holds it, nobody waits.
    Free,
    /// The asking transaction holds it already.
    Own(Token),
    /// Somebody holds it or waits for it; so many wait.
    Taken { waiting: usize },
}

impl Table {
    /// Whether nothing is left in any index.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.locks.is_empty()
            && self.transactions.is_empty()
            && self.deadlines.is_empty()
    }

    pub(super) fn contains(&self, id: GrantId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(super) fn get(&self, id: GrantId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// The grant that holds `name`.
    pub(super) fn holder(&self, name: &LockName) -> Option<(GrantId, &Entry)> {
        let id = self.locks.get(name)?.holder?;
        Some((id, self.entries.get(&id)?))
    }

    /// The token of the grant that holds `name`, if `transaction` has it.
    fn own_token(&self, holder: GrantId, asker: Holder) -> Option<Token> {
        let entry = self.entries.get(&holder)?;
        match (asker, &entry.stage) {
            (Holder::Transaction(_), Stage::Held { token, .. }) if entry.holder == asker => {
                Some(*token)
            }
            _ => None,
        }
    }

    /// How `name` stands to `asker`, who is not in its queue.
    pub(super) fn standing(&self, name: &LockName, asker: Holder) -> Standing {
        let Some(lock) = self.locks.get(name) else {
            return Standing::Free;
        };
        match lock.holder.and_then(|it| self.own_token(it, asker)) {
            Some(token) => Standing::Own(token),
            None => Standing::Taken {
                waiting: lock.queue.len(),
            },
        }
    }

    /// Who waits for `name`, first come first.
    pub(super) fn queue(&self, name: &LockName) -> impl ExactSizeIterator<Item = &Entry> {
        static NOBODY: BTreeMap<Arrival, GrantId> = BTreeMap::new();
        let queue = self.locks.get(name).map_or(&NOBODY, |it| &it.queue);
        queue.values().map(|id| &self.entries[id])
    }

    /// The first in the queue of `name`.
    pub(super) fn first(&self, name: &LockName) -> Option<(Arrival, GrantId)> {
        let (arrival, id) = self.locks.get(name)?.queue.first_key_value()?;
        Some((*arrival, *id))
    }

    /// Whether the waiting request `id` can be served: it is the first in each
    /// of its queues, and nobody else holds one of those locks.
    pub(super) fn is_servable(&self, id: GrantId) -> bool {
        let Some(entry) = self.entries.get(&id) else {
            return false;
        };
        let Stage::Waiting { asked, .. } = &entry.stage else {
            return false;
        };
        asked
            .iter()
            .filter(|(_, own)| own.is_none())
            .all(|(name, _)| {
                let lock = &self.locks[name];
                let others = lock
                    .holder
                    .is_some_and(|it| self.own_token(it, entry.holder).is_none());
                !others
                    && lock
                        .queue
                        .first_key_value()
                        .is_some_and(|(_, it)| *it == id)
            })
    }

    /// The requests of a transaction, in the order they arrived.
    pub(super) fn of_transaction(&self, transaction: TransactionId) -> Vec<GrantId> {
        self.transactions
            .get(&transaction)
            .map(|it| it.values().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first_key_value().map(|(key, _)| key.0)
    }

    /// What has run out by `now`, first what did so first.
    pub(super) fn overdue(&self, now: Time) -> Option<GrantId> {
        let ((time, ..), id) = self.deadlines.first_key_value()?;
        (*time <= now).then_some(*id)
    }

    /// Takes in a request. Its names are free for it to hold or, if it waits,
    /// it is queued for those it does not have.
    pub(super) fn insert(
        &mut self,
        id: GrantId,
        holder: Holder,
        label: String,
        lease: Option<Duration>,
        stage: Stage,
    ) {
        self.arrivals += 1;
        let entry = Entry {
            arrival: self.arrivals,
            holder,
            label,
            lease,
            stage,
        };
        if let Holder::Transaction(transaction) = holder {
            let requests = self.transactions.entry(transaction).or_default();
            requests.insert(entry.arrival, id);
        }
        self.attach(id, entry);
    }

    /// Puts a request that was written down back to what it held. `false`, and
    /// nothing is changed, if somebody has one of its names.
    pub(super) fn restore(&mut self, grant: CallerGrant, now: Time) -> bool {
        let taken = |name| self.locks.contains_key(name);
        if grant.names.iter().any(taken) || self.contains(grant.id) {
            return false;
        }
        let stage = Stage::Held {
            names: grant.names,
            token: grant.token,
            since: now,
            until: Some(now + grant.lease),
        };
        let lease = Some(grant.lease);
        self.insert(grant.id, Holder::Caller, grant.label, lease, stage);
        true
    }

    /// Takes a request out, whatever it is doing.
    pub(super) fn remove(&mut self, id: GrantId) -> Option<Entry> {
        let entry = self.detach(id)?;
        self.leave_transaction(&entry);
        Some(entry)
    }

    /// Serves a waiting request that is servable: it now holds, under `token`,
    /// what it was queued for. What its transaction has come to hold meanwhile
    /// stays with the grant that has it; if that is everything, no grant is
    /// left.
    pub(super) fn serve(&mut self, id: GrantId, token: Token, now: Time) -> Option<Granted> {
        let mut entry = self.detach(id)?;
        let Stage::Waiting { asked, .. } = &entry.stage else {
            self.attach(id, entry);
            return None;
        };
        let mut tokens = Vec::with_capacity(asked.len());
        let mut acquired = Vec::with_capacity(asked.len());
        for (name, own) in asked {
            let own = own.or_else(|| match self.standing(name, entry.holder) {
                Standing::Own(token) => Some(token),
                Standing::Free | Standing::Taken { .. } => None,
            });
            if own.is_none() {
                acquired.push(name.clone());
            }
            tokens.push((name.clone(), own.unwrap_or(token)));
        }
        if acquired.is_empty() {
            self.leave_transaction(&entry);
        } else {
            entry.stage = Stage::Held {
                names: acquired.clone(),
                token,
                since: now,
                until: entry.lease.map(|it| now + it),
            };
            self.attach(id, entry);
        }
        Some(Granted { tokens, acquired })
    }

    /// Makes a held grant last until `until`, and remembers the longest lease
    /// it was given. Whether `lease` is that.
    pub(super) fn prolong(&mut self, id: GrantId, until: Time, lease: Duration) -> bool {
        let Some(mut entry) = self.detach(id) else {
            return false;
        };
        if let Stage::Held { until: end, .. } = &mut entry.stage {
            *end = Some(until);
        }
        let longer = entry.lease.is_none_or(|it| it < lease);
        if longer {
            entry.lease = Some(lease);
        }
        self.attach(id, entry);
        longer
    }

    /// Keeps a held grant from running out.
    pub(super) fn suspend(&mut self, id: GrantId) {
        if let Some((key, _)) = self.lease_deadline(id) {
            self.deadlines.remove(&key);
        }
    }

    /// Lets a grant that was suspended run out again.
    pub(super) fn resume(&mut self, id: GrantId) {
        if let Some((key, id)) = self.lease_deadline(id) {
            self.deadlines.insert(key, id);
        }
    }

    fn lease_deadline(&self, id: GrantId) -> Option<((Time, Deadline, Arrival), GrantId)> {
        let entry = self.entries.get(&id)?;
        match entry.stage {
            Stage::Held { until, .. } => Some(((until?, Deadline::Lease, entry.arrival), id)),
            Stage::Waiting { .. } => None,
        }
    }

    /// Enters a request into the indices that depend on its stage.
    fn attach(&mut self, id: GrantId, entry: Entry) {
        match &entry.stage {
            Stage::Waiting { until, asked } => {
                for (name, _) in asked.iter().filter(|(_, own)| own.is_none()) {
                    let lock = self.locks.entry(name.clone()).or_default();
                    lock.queue.insert(entry.arrival, id);
                }
                let key = (*until, Deadline::Wait, entry.arrival);
                self.deadlines.insert(key, id);
            }
            Stage::Held { names, until, .. } => {
                for name in names {
                    let lock = self.locks.entry(name.clone()).or_default();
                    debug_assert!(lock.holder.is_none(), "two holders of {name}");
                    lock.holder = Some(id);
                }
                if let Some(until) = until {
                    let key = (*until, Deadline::Lease, entry.arrival);
                    self.deadlines.insert(key, id);
                }
            }
        }
        self.entries.insert(id, entry);
    }

    /// Strikes a request from the indices that depend on its stage.
    fn detach(&mut self, id: GrantId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        match &entry.stage {
            Stage::Waiting { until, asked } => {
                for (name, _) in asked.iter().filter(|(_, own)| own.is_none()) {
                    self.change(name, |lock| {
                        lock.queue.remove(&entry.arrival);
                    });
                }
                let key = (*until, Deadline::Wait, entry.arrival);
                self.deadlines.remove(&key);
            }
            Stage::Held { names, until, .. } => {
                for name in names {
                    self.change(name, |lock| lock.holder = None);
                }
                if let Some(until) = until {
                    let key = (*until, Deadline::Lease, entry.arrival);
                    self.deadlines.remove(&key);
                }
            }
        }
        Some(entry)
    }

    /// Changes a lock, and forgets it if that makes it idle.
    fn change(&mut self, name: &LockName, change: impl FnOnce(&mut LockEntry)) {
        let Some(lock) = self.locks.get_mut(name) else {
            return;
        };
        change(lock);
        if lock.holder.is_none() && lock.queue.is_empty() {
            self.locks.remove(name);
        }
    }

    fn leave_transaction(&mut self, entry: &Entry) {
        if let Holder::Transaction(transaction) = entry.holder
            && let Some(requests) = self.transactions.get_mut(&transaction)
        {
            requests.remove(&entry.arrival);
            if requests.is_empty() {
                self.transactions.remove(&transaction);
            }
        }
    }
}

impl Entry {
    /// The locks it holds or is queued for.
    pub(super) fn touched(&self) -> impl Iterator<Item = &LockName> {
        let (held, asked) = match &self.stage {
            Stage::Held { names, .. } => (names.as_slice(), [].as_slice()),
            Stage::Waiting { asked, .. } => ([].as_slice(), asked.as_slice()),
        };
        let queued = asked.iter().filter(|(_, own)| own.is_none());
        held.iter().chain(queued.map(|(name, _)| name))
    }
}
