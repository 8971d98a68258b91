//! What has happened: counted, and told to whoever watches.

use super::request::Request;
use super::slab::At;
use super::{Core, Effect};
use crate::statistics::Statistics;
use crate::store::{AcquireError, CommitError, EventKind, LockEvent, Revision};
use crate::time::Time;
use std::time::Duration;

/// The counters, and the number of the latest event.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) statistics: Statistics,
    /// Begins at the store's time, so that it rises over restarts: there are
    /// never more events than microseconds.
    revision: Revision,
    /// Whether events are counted but not told.
    is_muted: bool,
}

impl Tally {
    pub(super) fn new(now: Time) -> Self {
        Self {
            statistics: Statistics::default(),
            revision: now.as_micros(),
            is_muted: false,
        }
    }

    /// Counts a request that was refused.
    pub(super) fn refuse(&mut self, error: &AcquireError) {
        let statistics = &mut self.statistics;
        match error {
            AcquireError::Held(_) => {
                statistics.contended += 1;
                statistics.refused += 1;
            }
            AcquireError::Deadlock(_) => statistics.deadlocks += 1,
            AcquireError::Quota(_) => statistics.over_quota += 1,
            _ => {}
        }
    }

    /// Counts the end of a grant.
    pub(super) fn end_grant(&mut self, kind: EventKind, held: Duration) {
        let statistics = &mut self.statistics;
        statistics.held -= 1;
        statistics.hold.record(held);
        match kind {
            EventKind::Expired => statistics.expired += 1,
            EventKind::Forced => statistics.forced += 1,
            _ => statistics.released += 1,
        }
    }

    /// Counts what a commit was refused for.
    pub(super) fn refuse_commit(&mut self, error: &CommitError) {
        match error {
            CommitError::Fenced { .. } => self.statistics.fenced += 1,
            CommitError::Unguarded { .. } => self.statistics.unguarded += 1,
            _ => {}
        }
    }

    pub(super) fn next_revision(&mut self) -> Revision {
        self.revision += 1;
        self.revision
    }
}

impl Core {
    /// The number of the latest event; all that come have a greater one.
    pub fn revision(&self) -> Revision {
        self.tally.revision
    }

    /// Whether to tell nobody of events: each still has its number. They are
    /// told unless this is asked for, which makes everything cheaper.
    pub fn mute(&mut self, is_muted: bool) {
        self.tally.is_muted = is_muted;
    }

    /// Counters of all that happened since this was made, but for `watchers`.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            sessions: self.table.groups.sessions() as u64,
            ..self.tally.statistics.clone()
        }
    }

    /// Tells what happens to a request.
    pub(super) fn tell(
        &mut self,
        at: At<Request>,
        kind: EventKind,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let revision = self.tally.next_revision();
        if self.tally.is_muted {
            return;
        }
        let request = &self.table.requests[at];
        effects.push(Effect::Event(LockEvent {
            revision,
            time: now,
            kind,
            names: self.table.names(request),
            mode: request.mode,
            token: request.token(),
            party: self.table.party(request),
        }));
    }
}
