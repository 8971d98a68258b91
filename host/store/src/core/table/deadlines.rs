//! What runs out, and when.

use super::Table;
use crate::core::groups::Group;
use crate::core::request::{Arrival, NEVER, Request, Stage};
use crate::core::slab::At;
use crate::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// When requests and sessions run out, the first first.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    requests: BTreeMap<(Time, Due), At<Request>>,
    sessions: BTreeMap<(Time, Arrival), At<Group>>,
}

/// What runs out first of requests at the same moment: leases before waits, so
/// that a lock that becomes free just in time is still handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due(u64);

/// What has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Overdue {
    Request(At<Request>),
    Session(At<Group>),
}

impl Table {
    /// Makes a held grant last until `until`, and remembers the longest lease
    /// it was given. Whether `lease` is that.
    pub(in crate::core) fn prolong(
        &mut self,
        at: At<Request>,
        until: Time,
        lease: Duration,
    ) -> bool {
        self.suspend(at);
        let request = &mut self.requests[at];
        if let Stage::Held { until: end, .. } = &mut request.stage {
            *end = until;
        }
        let longer = request.lease.is_none_or(|it| it < lease);
        if longer {
            request.lease = Some(lease);
        }
        self.resume(at);
        longer
    }

    pub(in crate::core) fn next_deadline(&self) -> Option<Time> {
        let requests = first(&self.deadlines.requests).into_iter();
        let sessions = first(&self.deadlines.sessions).into_iter();
        requests.map(|it| it.0).chain(sessions.map(|it| it.0)).min()
    }

    /// What has run out by `now`, first what did so first; and at the same moment
    /// sessions before requests, so that a lock that becomes free is never handed
    /// to a session that is over.
    pub(in crate::core) fn overdue(&self, now: Time) -> Option<Overdue> {
        let session = first(&self.deadlines.sessions).filter(|it| it.0 <= now);
        let request = first(&self.deadlines.requests).filter(|it| it.0 <= now);
        match (session, request) {
            (Some(session), request) if request.is_none_or(|it| session.0 <= it.0) => {
                Some(Overdue::Session(session.1))
            }
            (_, request) => request.map(|it| Overdue::Request(it.1)),
        }
    }

    /// Keeps a request from running out.
    pub(in crate::core) fn suspend(&mut self, at: At<Request>) {
        if let Some(key) = self.deadline(at) {
            self.deadlines.requests.remove(&key);
        }
    }

    /// Lets a request that was suspended run out again.
    pub(in crate::core) fn resume(&mut self, at: At<Request>) {
        if let Some(key) = self.deadline(at) {
            self.deadlines.requests.insert(key, at);
        }
    }

    /// Makes a session last until `until`; `None` takes its deadline away.
    pub(in crate::core) fn keep_session(&mut self, at: At<Group>, until: Option<Time>) {
        let serial = self.groups.get(at).serial;
        let Some(session) = self.groups.session_mut(at) else {
            return;
        };
        let sessions = &mut self.deadlines.sessions;
        sessions.remove(&(session.until, serial));
        if let Some(until) = until {
            session.until = until;
            sessions.insert((until, serial), at);
        }
    }

    pub(super) fn deadline(&self, at: At<Request>) -> Option<(Time, Due)> {
        let request = &self.requests[at];
        match request.stage {
            Stage::Held { until: NEVER, .. } => None,
            Stage::Held { until, .. } => Some((until, Due::lease(request.arrival))),
            Stage::Waiting { until } => Some((until, Due::wait(request.arrival))),
        }
    }
}

impl Deadlines {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.sessions.is_empty()
    }

    #[cfg(test)]
    pub(super) fn has(&self, key: (Time, Due)) -> bool {
        self.requests.contains_key(&key)
    }
}

impl Due {
    fn lease(arrival: Arrival) -> Self {
        Self(arrival)
    }

    fn wait(arrival: Arrival) -> Self {
        Self(1 << 63 | arrival)
    }
}

/// What is first, and when.
fn first<K: Ord, T: Copy>(of: &BTreeMap<(Time, K), T>) -> Option<(Time, T)> {
    of.first_key_value().map(|(key, what)| (key.0, *what))
}
