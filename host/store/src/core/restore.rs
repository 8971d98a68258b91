//! A space as it was written down, brought back.

use super::request::{NEVER, Stage};
use super::tally::Tally;
use super::tokens::Tokens;
use super::{CallerGrant, Core, Effect, Ended, Life, Limits, Written};
use crate::store::{Acquire, Holder, NAMES_PER_GRANT_MAX};
use crate::time::Time;
use std::time::Duration;

impl Core {
    /// The space as it was written down: no token up to `high_water` is given
    /// again, every session has its grace from `now`, and every grant is held
    /// for its full lease from `now`. Of grants that exclude each other the one
    /// with the highest token wins, and one whose session is not there has
    /// lost; those are struck out.
    pub fn restore(limits: Limits, written: Written, now: Time, effects: &mut Vec<Effect>) -> Self {
        let tokens = Tokens::restored(written.high_water);
        let mut core = Self::new(limits, tokens, Tally::new(now));
        for (at, id, how) in written.ended {
            core.ended.insert(id, how, at, now);
        }
        for session in &written.sessions {
            core.enter_session(session, now);
        }
        let mut grants = written.grants;
        grants.sort_by_key(|it| std::cmp::Reverse(it.token));
        for grant in grants {
            if core.can_restore(&grant) {
                core.restore_grant(grant, now);
            } else {
                core.strike_out(grant, now, effects);
            }
        }
        core
    }

    /// Whether nobody has what a grant covered.
    fn can_restore(&self, grant: &CallerGrant) -> bool {
        let is_free = |name| {
            let lock = self.table.locks.get(name);
            lock.is_none_or(|it| it.admits(grant.mode))
        };
        let has_life = match grant.life {
            Life::Session(id) => self.table.groups.session(id).is_some(),
            Life::Lease(_) => true,
        };
        let has_names = (1..=NAMES_PER_GRANT_MAX).contains(&grant.names.len());
        has_names
            && has_life
            && grant.names.iter().all(is_free)
            && self.table.find(grant.id).is_none()
    }

    fn restore_grant(&mut self, grant: CallerGrant, now: Time) {
        let (holder, lease) = match grant.life {
            Life::Session(id) => (Holder::Session(id), None),
            Life::Lease(lease) => (Holder::Caller, Some(lease)),
        };
        let locks = grant.names.into_iter();
        let locks: Vec<_> = locks.map(|it| self.table.locks.find_or_add(it)).collect();
        let request = Acquire {
            id: grant.id,
            repeatable: grant.repeatable,
            names: Vec::new(),
            mode: grant.mode,
            holder,
            lease,
            wait: Duration::ZERO,
            party: grant.party,
        };
        let stage = Stage::Held {
            token: grant.token,
            since: now,
            until: lease.map_or(NEVER, |it| now + it),
        };
        let locks = locks.into();
        self.table.insert(request, locks, Vec::new(), stage, now);
        self.tally.statistics.held += 1;
    }

    fn strike_out(&mut self, grant: CallerGrant, now: Time, effects: &mut Vec<Effect>) {
        effects.push(Effect::Forget(grant.id));
        if grant.repeatable && self.table.find(grant.id).is_none() {
            self.remember(grant.id, Ended::WasGranted, now, effects);
        }
        effects.push(Effect::StruckOut(grant));
    }
}
