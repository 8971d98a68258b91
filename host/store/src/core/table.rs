//! Who holds and who waits, and the indices that find them: by identity, by
//! lock, by transaction, session and owner, by deadline. Every change of a
//! request goes through here, so that the indices agree.

mod deadlines;
mod stages;

use deadlines::Deadlines;
pub(super) use deadlines::Overdue;

use super::groups::{Chain, Group, Groups, Kind};
use super::hash::IdMap;
use super::locks::{LockSlot, Locks};
use super::principals::Principals;
use super::request::{Arrival, Links, LockList, Request, Stage, View, Views};
use super::slab::{At, Slab};
use crate::id::GrantId;
use crate::name::LockName;
use crate::store::{Acquire, Holder, Mode, Party, Token};
use crate::time::Time;
use std::collections::BTreeSet;

/// Every live request, and the indices over them.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) requests: Slab<Request>,
    ids: IdMap<GrantId, At<Request>>,
    pub(super) locks: Locks,
    pub(super) groups: Groups,
    pub(super) principals: Principals,
    deadlines: Deadlines,
    arrivals: Arrival,
    /// How often it was looked whether a waiter can be served.
    #[cfg(test)]
    pub(super) examined: std::cell::Cell<u64>,
    /// How many steps searches for deadlocks have made.
    #[cfg(test)]
    pub(super) searched: std::cell::Cell<u64>,
}

/// Waiters that may be able to go now, in the order they arrived.
pub(super) type Woken = BTreeSet<(Arrival, At<Request>)>;

impl Table {
    /// Whether nothing is left in any index.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.len() == 0
            && self.ids.is_empty()
            && self.locks.is_empty()
            && self.groups.is_empty()
            && self.principals.is_idle()
            && self.deadlines.is_empty()
    }

    /// Every request, in no order.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = At<Request>> {
        self.ids.values().copied()
    }

    /// Whether the indices agree with each other.
    #[cfg(test)]
    pub(super) fn assert_agrees(&self) {
        for at in self.ids.values() {
            let request = &self.requests[*at];
            let entangled = self.is_entangled(*at);
            assert!(!request.locks.as_slice().is_empty(), "{request:?}");
            for lock in request.locks.as_slice() {
                let lock = &self.locks.slots[*lock];
                if request.is_held() {
                    assert!(lock.holders.iter().any(|it| it == *at), "{request:?}");
                    assert_eq!(lock.mode, request.mode);
                    continue;
                }
                let queue = lock.queue().expect("it waits");
                let arrival = request.arrival;
                assert!(queue.iter().any(|it| it == *at), "{request:?}");
                let ahead = queue.entangled_between(arrival - 1, arrival + 1);
                assert_eq!(ahead.is_some(), entangled, "{request:?}");
            }
            assert!(!self.is_servable(*at), "{request:?} could be served");
            let deadline = self.deadline(*at);
            assert!(deadline.is_none_or(|it| self.deadlines.has(it)));
        }
    }

    pub(super) fn find(&self, id: GrantId) -> Option<At<Request>> {
        self.ids.get(&id).copied()
    }

    pub(super) fn get(&self, id: GrantId) -> Option<&Request> {
        self.find(id).map(|at| &self.requests[at])
    }

    /// A number that no request and no group had before.
    pub(super) fn next_arrival(&mut self) -> Arrival {
        self.arrivals += 1;
        self.arrivals
    }

    pub(super) fn holder(&self, request: &Request) -> Holder {
        let life = request.life.map(|it| self.groups.get(it).holder());
        life.unwrap_or(Holder::Caller)
    }

    /// The transaction that a request belongs to.
    pub(super) fn transaction(&self, request: &Request) -> Option<At<Group>> {
        request
            .life
            .filter(|it| self.groups.get(*it).is_transaction())
    }

    pub(super) fn party(&self, request: &Request) -> Party {
        let owner = request.named.map(|it| &self.groups.get(it).kind);
        Party {
            principal: self.principals.get(request.principal).principal.clone(),
            owner: owner.and_then(|it| match it {
                Kind::Named(_, name) => Some(name.clone()),
                Kind::Transaction(_) | Kind::Session(_) => None,
            }),
            label: request.label.clone(),
        }
    }

    /// The names of the locks a request holds or is queued for.
    pub(super) fn names(&self, request: &Request) -> Vec<LockName> {
        let locks = request.locks.as_slice().iter();
        locks.map(|it| self.locks.slots[*it].name.clone()).collect()
    }

    /// How a transaction holds a lock, and by which token.
    pub(super) fn own(&self, lock: &LockSlot, transaction: At<Group>) -> Option<(Mode, Token)> {
        let is_own = |it: At<Request>| self.requests[it].life == Some(transaction);
        if let Some(holder) = lock.holders.only() {
            return is_own(holder).then(|| (lock.mode, self.requests[holder].token()));
        }
        if lock.holders.is_empty() {
            return None;
        }
        let at = self.locks.find(&lock.name)?;
        let mut own = self.members(transaction);
        let holder = own.find(|it| it.is_held() && it.locks.contains(at))?;
        Some((lock.mode, holder.token()))
    }

    /// The requests of a group, in the order they arrived.
    pub(super) fn members(&self, group: At<Group>) -> impl Iterator<Item = &Request> {
        self.members_at(group).map(|it| &self.requests[it])
    }

    /// See [`Table::members`].
    pub(super) fn members_at(&self, group: At<Group>) -> impl Iterator<Item = At<Request>> {
        let group = self.groups.get(group);
        let chain = group.chain();
        std::iter::successors(group.first, move |it| self.requests[*it].next_in(chain))
    }

    /// Takes in a request that holds `locks`, or waits for them. Whoever calls
    /// has seen that it may.
    pub(super) fn insert(
        &mut self,
        acquire: Acquire,
        locks: LockList,
        views: Vec<View>,
        stage: Stage,
        now: Time,
    ) -> At<Request> {
        let arrival = self.next_arrival();
        let serials = [self.next_arrival(), self.next_arrival()];
        let life = match acquire.holder {
            Holder::Transaction(id) => Some(self.groups.enter_transaction(id, serials[0])),
            Holder::Session(id) => self.groups.session(id),
            Holder::Caller => None,
        };
        let Party {
            principal,
            owner,
            label,
        } = acquire.party;
        let principal = self.principals.enter(&principal);
        let enter = |it| self.groups.enter_named(principal, it, serials[1]);
        let named = owner.as_ref().map(enter);
        let request = Request {
            id: acquire.id,
            repeatable: acquire.repeatable,
            arrival,
            asked: now,
            mode: acquire.mode,
            locks,
            views: (!views.is_empty()).then(|| Box::new(Views(views))),
            lease: acquire.lease,
            stage,
            principal,
            label,
            life,
            named,
            in_life: Links::default(),
            in_named: Links::default(),
        };
        let at = self.requests.insert(request);
        self.ids.insert(acquire.id, at);
        for (group, chain) in [(life, Chain::Life), (named, Chain::Named)] {
            if let Some(group) = group {
                self.groups.join(group, at, chain, &mut self.requests);
                self.entangle_other(group, at, true);
            }
        }
        self.enter_stage(at);
        at
    }

    /// Takes a request out, whatever it is doing. `woken` are those who may be
    /// able to go now.
    pub(super) fn remove(&mut self, at: At<Request>, woken: &mut Woken) -> Option<Request> {
        self.leave_stage(at, woken);
        let request = self.requests.get(at)?;
        let chains = [
            (request.life, request.in_life, Chain::Life),
            (request.named, request.in_named, Chain::Named),
        ];
        for (group, links, chain) in chains {
            if let Some(group) = group {
                self.entangle_other(group, at, false);
                self.groups.leave(group, links, chain, &mut self.requests);
            }
        }
        let request = self.requests.remove(at)?;
        self.ids.remove(&request.id);
        self.principals.leave(request.principal);
        Some(request)
    }

    /// The token by which a transaction holds a lock in a mode that gives it
    /// what it asks for.
    pub(super) fn view(
        &self,
        lock: &LockSlot,
        transaction: Option<At<Group>>,
        mode: Mode,
    ) -> Option<Token> {
        let (held, token) = self.own(lock, transaction?)?;
        covers(held, mode).then_some(token)
    }

    /// The token of each name of a request, in the order it named them.
    pub(super) fn tokens(&self, at: At<Request>) -> Vec<(LockName, Token)> {
        let token = self.requests[at].token();
        self.tokens_with(at, |_| token)
    }

    fn tokens_with(
        &self,
        at: At<Request>,
        token: impl Fn(usize) -> Token,
    ) -> Vec<(LockName, Token)> {
        let request = &self.requests[at];
        let locks = request.locks.as_slice().iter().enumerate();
        let name = |it: &At<LockSlot>| self.locks.slots[*it].name.clone();
        let mut tokens: Vec<_> = locks.map(|(i, it)| (name(it), token(i))).collect();
        for view in request.views.iter().flat_map(|it| &it.0) {
            let place = view.place.min(tokens.len());
            tokens.insert(place, (view.name.clone(), view.token));
        }
        tokens
    }

    /// The group whose waits are looked at together with those of a request;
    /// without one it is its own.
    pub(super) fn owner(&self, request: &Request) -> Option<At<Group>> {
        request.named.or(request.life)
    }

    /// Whether a request may lead from one queue to another: its owner has
    /// others, or it waits for several locks.
    fn is_entangled(&self, at: At<Request>) -> bool {
        let request = &self.requests[at];
        let owner = self.owner(request);
        request.locks.as_slice().len() > 1 || owner.is_some_and(|it| self.groups.get(it).count > 1)
    }

    /// A group has come to have two requests, or is about to have one again, by
    /// `this`: that changes whether the other is entangled.
    fn entangle_other(&mut self, group: At<Group>, this: At<Request>, does: bool) {
        if self.groups.get(group).count != 2 {
            return;
        }
        let Some(other) = self.members_at(group).find(|it| *it != this) else {
            return;
        };
        let request = &self.requests[other];
        if let [lock] = request.locks.as_slice()
            && !request.is_held()
            && self.owner(request) == Some(group)
        {
            let arrival = request.arrival;
            self.locks.slots[*lock].entangle(arrival, other, does);
        }
    }
}

/// Whether who holds a lock in one mode has what another gives.
pub(super) fn covers(held: Mode, asked: Mode) -> bool {
    held == Mode::Exclusive || held == asked
}
