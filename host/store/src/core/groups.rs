//! Requests that belong together: those of a transaction or a session, which
//! end with it, and those of a named owner, whose waits are looked at together.
//!
//! The members of a group are a chain through the requests themselves, in the
//! order they arrived: joining and leaving cost the same however many there
//! are, and a group of one needs no memory of its own for it.

use super::hash::IdMap;
use super::principals::Account;
use super::request::{Arrival, Links, Request};
use super::slab::{At, Slab};
use crate::id::{SessionId, TransactionId};
use crate::store::Holder;
use crate::time::Time;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Every group, and where to find it.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Slab<Group>,
    transactions: IdMap<TransactionId, At<Group>>,
    sessions: IdMap<SessionId, At<Group>>,
    named: HashMap<(At<Account>, Arc<str>), At<Group>>,
}

/// Some requests that belong together.
#[derive(Debug)]
pub(super) struct Group {
    /// Tells it from every other group and request there ever was.
    pub(super) serial: Arrival,
    pub(super) kind: Kind,
    pub(super) first: Option<At<Request>>,
    last: Option<At<Request>>,
    pub(super) count: usize,
}

/// What makes requests belong together.
#[derive(Debug)]
pub(super) enum Kind {
    Transaction(TransactionId),
    Session(Box<Session>),
    /// Its members keep the account of the principal in use.
    Named(At<Account>, Arc<str>),
}

/// A session that has not ended.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) ttl: Duration,
    pub(super) grace: Duration,
    pub(super) principal: At<Account>,
    /// The owner it was opened for.
    pub(super) owner: Option<Arc<str>>,
    pub(super) label: Arc<str>,
    /// When it ends unless it is heard from.
    pub(super) until: Time,
    /// The number of its latest connection.
    pub(super) attachment: u64,
    /// Whether that connection lasts.
    pub(super) attached: bool,
}

/// Which of the two chains of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Life,
    Named,
}

impl Groups {
    pub(super) fn get(&self, at: At<Group>) -> &Group {
        &self.groups[at]
    }

    /// The group with this number, unless it has gone.
    pub(super) fn known(&self, at: At<Group>, serial: Arrival) -> Option<&Group> {
        self.groups.get(at).filter(|it| it.serial == serial)
    }

    pub(super) fn transaction(&self, id: TransactionId) -> Option<At<Group>> {
        self.transactions.get(&id).copied()
    }

    pub(super) fn session(&self, id: SessionId) -> Option<At<Group>> {
        self.sessions.get(&id).copied()
    }

    pub(super) fn session_mut(&mut self, at: At<Group>) -> Option<&mut Session> {
        match &mut self.groups[at].kind {
            Kind::Session(session) => Some(session),
            Kind::Transaction(_) | Kind::Named(..) => None,
        }
    }

    /// How many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The group of a transaction that gets a request.
    pub(super) fn enter_transaction(&mut self, id: TransactionId, serial: Arrival) -> At<Group> {
        let groups = &mut self.groups;
        let new = || groups.insert(Group::new(serial, Kind::Transaction(id)));
        *self.transactions.entry(id).or_insert_with(new)
    }

    /// The group of an owner that gets a request.
    pub(super) fn enter_named(
        &mut self,
        principal: At<Account>,
        owner: &Arc<str>,
        serial: Arrival,
    ) -> At<Group> {
        let groups = &mut self.groups;
        let key = (principal, owner.clone());
        *self
            .named
            .entry(key)
            .or_insert_with_key(|(principal, owner)| {
                groups.insert(Group::new(serial, Kind::Named(*principal, owner.clone())))
            })
    }

    pub(super) fn open_session(&mut self, session: Session, serial: Arrival) -> At<Group> {
        let id = session.id;
        let kind = Kind::Session(Box::new(session));
        let at = self.groups.insert(Group::new(serial, kind));
        self.sessions.insert(id, at);
        at
    }

    /// Forgets a session. It has no requests any more.
    pub(super) fn close_session(&mut self, at: At<Group>) {
        if let Some(Group {
            kind: Kind::Session(session),
            ..
        }) = self.groups.remove(at)
        {
            self.sessions.remove(&session.id);
        }
    }

    /// Makes a request the last of a group.
    pub(super) fn join(
        &mut self,
        at: At<Group>,
        request: At<Request>,
        chain: Chain,
        requests: &mut Slab<Request>,
    ) {
        let group = &mut self.groups[at];
        *requests[request].links(chain) = Links {
            before: group.last,
            behind: None,
        };
        match group.last {
            Some(last) => requests[last].links(chain).behind = Some(request),
            None => group.first = Some(request),
        }
        group.last = Some(request);
        group.count += 1;
    }

    /// Takes a request, which is `links` in its chain, out of a group. A group
    /// without members is forgotten, unless it is a session.
    pub(super) fn leave(
        &mut self,
        at: At<Group>,
        links: Links,
        chain: Chain,
        requests: &mut Slab<Request>,
    ) {
        let group = &mut self.groups[at];
        match links.before {
            Some(before) => requests[before].links(chain).behind = links.behind,
            None => group.first = links.behind,
        }
        match links.behind {
            Some(behind) => requests[behind].links(chain).before = links.before,
            None => group.last = links.before,
        }
        group.count -= 1;
        if group.count > 0 {
            return;
        }
        if matches!(group.kind, Kind::Session(_)) {
            return;
        }
        match self.groups.remove(at).map(|it| it.kind) {
            Some(Kind::Transaction(id)) => drop(self.transactions.remove(&id)),
            Some(Kind::Named(principal, owner)) => drop(self.named.remove(&(principal, owner))),
            Some(Kind::Session(_)) | None => {}
        }
    }

    /// Whether there is no group.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.len() == 0
            && self.transactions.is_empty()
            && self.sessions.is_empty()
            && self.named.is_empty()
    }
}

impl Group {
    fn new(serial: Arrival, kind: Kind) -> Self {
        Self {
            serial,
            kind,
            first: None,
            last: None,
            count: 0,
        }
    }

    /// On whose life its members hang.
    pub(super) fn holder(&self) -> Holder {
        match &self.kind {
            Kind::Transaction(id) => Holder::Transaction(*id),
            Kind::Session(session) => Holder::Session(session.id),
            Kind::Named(..) => Holder::Caller,
        }
    }

    pub(super) fn is_transaction(&self) -> bool {
        matches!(self.kind, Kind::Transaction(_))
    }

    /// The chain that its members are linked in.
    pub(super) fn chain(&self) -> Chain {
        match self.kind {
            Kind::Transaction(_) | Kind::Session(_) => Chain::Life,
            Kind::Named(..) => Chain::Named,
        }
    }
}

impl Request {
    fn links(&mut self, chain: Chain) -> &mut Links {
        match chain {
            Chain::Life => &mut self.in_life,
            Chain::Named => &mut self.in_named,
        }
    }

    /// The next member of the group this is in.
    pub(super) fn next_in(&self, chain: Chain) -> Option<At<Request>> {
        match chain {
            Chain::Life => self.in_life.behind,
            Chain::Named => self.in_named.behind,
        }
    }
}
