//! Looking at locks, for people and listings.

use super::request::{Request, Stage};
use super::{Core, Effect};
use crate::id::GrantId;
use crate::name::LockName;
use crate::store::{Granted, Lock, LockHolder, LockWaiter, SHOWN_MAX};
use crate::time::Time;
use std::time::Duration;

impl Core {
    /// Who holds a lock and who waits for it.
    pub fn look(&mut self, name: &LockName, now: Time, effects: &mut Vec<Effect>) -> Lock {
        self.pass(now, effects);
        let mut lock = Lock {
            name: name.clone(),
            mode: None,
            holders: Vec::new(),
            holding: 0,
            waiters: Vec::new(),
            waiting: 0,
        };
        let Some(slot) = self.table.locks.get(name) else {
            return lock;
        };
        let requests = &self.table.requests;
        let first = slot.queue().and_then(|it| it.first());
        lock.mode = if slot.holders.is_empty() {
            first.map(|it| requests[it.1].mode)
        } else {
            Some(slot.mode)
        };
        lock.holding = slot.holders.len();
        lock.waiting = slot.waiting();
        let holders = slot.holders.iter().take(SHOWN_MAX);
        let holders = holders.map(|it| self.show_holder(&requests[it], now));
        lock.holders = holders.collect();
        let waiters = slot.queue().into_iter().flat_map(|it| it.iter());
        let waiters = waiters.take(SHOWN_MAX);
        lock.waiters = waiters
            .map(|it| self.show_waiter(&requests[it], now))
            .collect();
        lock
    }

    /// How long a grant that was drawn up earlier is still held, without a limit
    /// if it hangs on a session or a transaction; `None` if it has ended.
    pub(crate) fn remaining(
        &self,
        id: GrantId,
        granted: &Granted,
        now: Time,
    ) -> Option<Option<Duration>> {
        let request = &self.table.requests[self.table.find(id)?];
        let Stage::Held { token, .. } = request.stage else {
            return None;
        };
        // Its id may have been granted anew.
        let is_same = granted.tokens.iter().any(|(_, it)| *it == token);
        is_same.then(|| request.remaining(now))
    }

    fn show_holder(&self, request: &Request, now: Time) -> LockHolder {
        let since = match request.stage {
            Stage::Held { since, .. } => since,
            Stage::Waiting { .. } => now,
        };
        LockHolder {
            grant: request.id,
            token: request.token(),
            party: self.table.party(request),
            holder: self.table.holder(request),
            since,
            remaining: request.remaining(now),
            held_for: now.since(since),
        }
    }

    fn show_waiter(&self, request: &Request, now: Time) -> LockWaiter {
        let until = match request.stage {
            Stage::Waiting { until } => until,
            Stage::Held { .. } => now,
        };
        LockWaiter {
            party: self.table.party(request),
            mode: request.mode,
            waited: now.since(request.asked),
            remaining: until.since(now),
        }
    }
}
