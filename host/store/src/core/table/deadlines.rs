//! What runs out, and when.

use super::Table;
use crate::core::groups::Group;
use crate::core::request::{Arrival, NEVER, Request, Stage};
use crate::core::slab::At;
use crate::time::Time;
use std::time::Duration;

/// What runs out first at the same moment: sessions before leases, so that a
/// lock that becomes free is never handed to a session that is over; both before
/// waits, so that a lock that becomes free just in time is still handed over.
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
        self.deadlines.first_key_value().map(|(key, _)| key.0)
    }

    /// What has run out by `now`, first what did so first.
    pub(in crate::core) fn overdue(&self, now: Time) -> Option<Overdue> {
        let ((time, _), what) = self.deadlines.first_key_value()?;
        (*time <= now).then_some(*what)
    }

    /// Keeps a request from running out.
    pub(in crate::core) fn suspend(&mut self, at: At<Request>) {
        if let Some((key, _)) = self.deadline(at) {
            self.deadlines.remove(&key);
        }
    }

    /// Lets a request that was suspended run out again.
    pub(in crate::core) fn resume(&mut self, at: At<Request>) {
        if let Some((key, what)) = self.deadline(at) {
            self.deadlines.insert(key, what);
        }
    }

    /// Makes a session last until `until`; `None` takes its deadline away.
    pub(in crate::core) fn keep_session(&mut self, at: At<Group>, until: Option<Time>) {
        let serial = self.groups.get(at).serial;
        let Some(session) = self.groups.session_mut(at) else {
            return;
        };
        self.deadlines
            .remove(&(session.until, Due::session(serial)));
        if let Some(until) = until {
            session.until = until;
            let key = (until, Due::session(serial));
            self.deadlines.insert(key, Overdue::Session(at));
        }
    }

    pub(super) fn deadline(&self, at: At<Request>) -> Option<((Time, Due), Overdue)> {
        let request = &self.requests[at];
        let key = match request.stage {
            Stage::Held { until: NEVER, .. } => return None,
            Stage::Held { until, .. } => (until, Due::lease(request.arrival)),
            Stage::Waiting { until } => (until, Due::wait(request.arrival)),
        };
        Some((key, Overdue::Request(at)))
    }
}

impl Due {
    fn session(serial: Arrival) -> Self {
        Self(serial)
    }

    fn lease(arrival: Arrival) -> Self {
        Self(1 << 62 | arrival)
    }

    fn wait(arrival: Arrival) -> Self {
        Self(2 << 62 | arrival)
    }
}
