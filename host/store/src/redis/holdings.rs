//! What this node has, as far as it has heard: what it says when the server was
//! replaced by one that may know less.
//!
//! A grant is entered when whoever asked for it is about to hear of it, and when
//! it is renewed here; it leaves when it is given back, with what it hangs on,
//! or when the store says that it has ended otherwise. One that runs out is not
//! said any more, and is swept out in time.
//!
//! What is heard of may come from a server that was replaced meanwhile. If it is
//! entered before what the node has is said, it is said with it; if not, it is not
//! known to be true any more, and is not entered.

use super::codec::Held;
use crate::core::hash::IdMap;
use crate::id::{GrantId, SessionId, TransactionId};
use crate::store::{Acquire, Granted, Holder};
use crate::time::Time;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// How many there are at least before those that ran out are swept.
const SWEPT_FROM: usize = 1_024;

/// A grant that is said to be held, and for how long if it has a lease.
pub(super) type Said = (GrantId, Held, Option<Duration>);

/// How many recoveries there have been when something was asked of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recoveries(u64);

/// See the module.
#[derive(Default)]
pub(super) struct Holdings(Mutex<Table>);

#[derive(Default)]
struct Table {
    held: IdMap<GrantId, Holding>,
    of_transactions: IdMap<TransactionId, HashSet<GrantId>>,
    of_sessions: IdMap<SessionId, HashSet<GrantId>>,
    /// How many there have to be before they are swept again.
    sweep_at: usize,
    /// How many recoveries have begun.
    recoveries: Recoveries,
}

struct Holding {
    held: Held,
    /// When its lease is over, by this side's clock.
    until: Option<Time>,
}

impl Holdings {
    /// How many recoveries have begun.
    pub(super) fn recoveries(&self) -> Recoveries {
        self.table().recoveries
    }

    /// A request was granted, as was heard of what was asked after so many
    /// recoveries. False if there was another since: then it may not be so.
    #[must_use]
    pub(super) fn granted(
        &self,
        request: &Acquire,
        granted: &Granted,
        now: Time,
        after: Recoveries,
    ) -> bool {
        let Some(token) = granted.own_token() else {
            return true;
        };
        let held = Held {
            names: granted.acquired.clone(),
            mode: request.mode,
            token,
            since: granted.since,
            lease: request.lease,
            party: request.party.clone(),
            holder: request.holder,
            repeatable: request.repeatable,
        };
        self.has(request.id, held, granted.remaining, now, after)
    }

    /// A grant is held here, for so long if it has a lease; see
    /// [`Holdings::granted`].
    #[must_use]
    pub(super) fn has(
        &self,
        id: GrantId,
        held: Held,
        remaining: Option<Duration>,
        now: Time,
        after: Recoveries,
    ) -> bool {
        let mut table = self.table();
        if table.recoveries != after {
            return false;
        }
        // What hangs on something lasts as long as that.
        let until = match held.holder {
            Holder::Session(_) => None,
            Holder::Transaction(_) | Holder::Caller => remaining.map(|it| now + it),
        };
        table.enter(id, Holding { held, until });
        table.sweep(now);
        true
    }

    /// A grant has ended.
    pub(super) fn ended(&self, id: GrantId) {
        self.table().forget(id);
    }

    /// A transaction has ended, and with it all its grants.
    pub(super) fn transaction_ended(&self, transaction: TransactionId) {
        let mut table = self.table();
        let members = table.of_transactions.remove(&transaction);
        table.forget_all(members);
    }

    /// A session is not attached here any more.
    pub(super) fn session_left(&self, session: SessionId) {
        let mut table = self.table();
        let members = table.of_sessions.remove(&session);
        table.forget_all(members);
    }

    /// The node's lease is over: only what hangs on nothing is left.
    pub(super) fn node_is_over(&self) {
        let mut table = self.table();
        table.of_transactions.clear();
        table.of_sessions.clear();
        table.held.retain(|_, it| it.held.holder == Holder::Caller);
    }

    /// Whether a grant is held by now.
    pub(super) fn contains(&self, id: GrantId, now: Time) -> bool {
        let table = self.table();
        table.held.get(&id).is_some_and(|it| !it.is_over(now))
    }

    /// A recovery begins. All that is held by now: transactions' and sessions' only
    /// if they still count.
    pub(super) fn recover(&self, now: Time, lives: bool) -> Vec<Said> {
        let mut table = self.table();
        table.recoveries.0 += 1;
        let counts =
            |it: &&Holding| !it.is_over(now) && (lives || it.held.holder == Holder::Caller);
        let held = table.held.iter().filter(|(_, it)| counts(it));
        let say = |(id, it): (&GrantId, &Holding)| {
            let remaining = it.until.map(|until| until.since(now));
            (*id, it.held.clone(), remaining)
        };
        held.map(say).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Holding {
    fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|it| it <= now)
    }
}

impl Table {
    fn enter(&mut self, id: GrantId, holding: Holding) {
        match holding.held.holder {
            Holder::Transaction(transaction) => {
                let others = self.of_transactions.entry(transaction).or_default();
                others.insert(id);
            }
            Holder::Session(session) => {
                self.of_sessions.entry(session).or_default().insert(id);
            }
            Holder::Caller => {}
        }
        self.held.insert(id, holding);
    }

    /// Forgets those that hung on something that is struck out already.
    fn forget_all(&mut self, members: Option<HashSet<GrantId>>) {
        for id in members.into_iter().flatten() {
            self.held.remove(&id);
        }
    }

    fn forget(&mut self, id: GrantId) {
        let Some(holding) = self.held.remove(&id) else {
            return;
        };
        match holding.held.holder {
            Holder::Transaction(transaction) => {
                strike(&mut self.of_transactions, transaction, id);
            }
            Holder::Session(session) => strike(&mut self.of_sessions, session, id),
            Holder::Caller => {}
        }
    }

    /// Forgets what has run out, whenever there is twice as much as was left the
    /// last time: so it costs each that is entered the same.
    fn sweep(&mut self, now: Time) {
        if self.held.len() < self.sweep_at.max(SWEPT_FROM) {
            return;
        }
        let over = self.held.iter();
        let over = over.filter(|(_, it)| it.is_over(now));
        let over: Vec<GrantId> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.forget(id));
        self.sweep_at = 2 * self.held.len();
    }
}

fn strike<K: Eq + std::hash::Hash>(groups: &mut IdMap<K, HashSet<GrantId>>, group: K, id: GrantId) {
    if let Some(members) = groups.get_mut(&group) {
        members.remove(&id);
        if members.is_empty() {
            groups.remove(&group);
        }
    }
}
