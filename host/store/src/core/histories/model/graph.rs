//! Who waits for whom in the model: every pair of requests is looked at.

use super::*;
use std::sync::Arc;

/// Whose waits are looked at together.
#[derive(Clone, PartialEq)]
enum Owner {
    Transaction(TransactionId),
    Session(SessionId),
    Named(Principal, Arc<str>),
    Itself(GrantId),
}

impl Model {
    /// Whether the owner of a request that waits now waits for itself.
    pub(super) fn is_deadlocked(&self, request: &Request) -> bool {
        let own = owner(request);
        let mut reached: Vec<Owner> = Vec::new();
        let mut next: Vec<Owner> = self.blockers(request).map(owner).collect();
        while let Some(other) = next.pop() {
            if other == own {
                return true;
            }
            if reached.contains(&other) {
                continue;
            }
            let waits = self.requests.iter().filter(|it| owner(it) == other);
            for waiting in waits.filter(|it| !it.is_held()) {
                next.extend(self.blockers(waiting).map(owner));
            }
            reached.push(other);
        }
        false
    }

    /// The requests that a request waits for, lock by lock.
    fn blockers<'a>(&'a self, waiter: &'a Request) -> impl Iterator<Item = &'a Request> {
        let others = self.requests.iter().filter(|it| it.id != waiter.id);
        others.filter(|it| {
            let names = waiter.names();
            let mut common = names.iter().filter(|name| it.covers(name));
            common.any(|name| self.blocks(it, waiter, name))
        })
    }

    fn blocks(&self, other: &Request, waiter: &Request, name: &LockName) -> bool {
        let view = other.mode == Mode::Exclusive || other.mode == waiter.mode;
        if waiter.is_transaction() && other.holder == waiter.holder && view {
            return false;
        }
        let both_read = other.mode == Mode::Shared && waiter.mode == Mode::Shared;
        if !other.is_held() {
            return other.arrival < waiter.arrival && !both_read;
        }
        match (other.mode, waiter.mode) {
            (Mode::Permits(most), Mode::Permits(_)) => {
                let holders: Vec<_> = self.holders(name).collect();
                holders.len() >= most.get() as usize
                    && holders.iter().all(|it| owner(it) == owner(other))
            }
            _ => !both_read,
        }
    }
}

fn owner(request: &Request) -> Owner {
    let party = &request.party;
    match (request.holder, &party.owner) {
        (_, Some(name)) => Owner::Named(party.principal.clone(), name.clone()),
        (Holder::Transaction(id), None) => Owner::Transaction(id),
        (Holder::Session(id), None) => Owner::Session(id),
        (Holder::Caller, None) => Owner::Itself(request.id),
    }
}
