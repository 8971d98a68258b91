//! What the model shows of a lock.

use super::*;
use crate::store::{LockHolder, LockWaiter, SHOWN_MAX};

impl Model {
    pub(super) fn look(&self, name: &LockName, now: Time) -> Lock {
        let mut holders: Vec<_> = self.holders(name).collect();
        holders.sort_by_key(|it| it.token());
        let waiters: Vec<_> = self.waiters(name).collect();
        let first = holders.first().or(waiters.first());
        let holder = |it: &&Request| match it.stage {
            Stage::Held {
                token,
                since,
                until,
            } => LockHolder {
                grant: it.id,
                token,
                party: it.party.clone(),
                holder: it.holder,
                since,
                remaining: until.map(|it| it.since(now)),
                held_for: now.since(since),
            },
            Stage::Waiting { .. } => unreachable!(),
        };
        let waiter = |it: &&Request| match it.stage {
            Stage::Waiting { until } => LockWaiter {
                party: it.party.clone(),
                mode: it.mode,
                waited: now.since(it.asked_at),
                remaining: until.since(now),
            },
            Stage::Held { .. } => unreachable!(),
        };
        Lock {
            name: name.clone(),
            mode: first.map(|it| it.mode),
            holders: holders.iter().take(SHOWN_MAX).map(holder).collect(),
            holding: holders.len(),
            waiters: waiters.iter().take(SHOWN_MAX).map(waiter).collect(),
            waiting: waiters.len(),
        }
    }
}
