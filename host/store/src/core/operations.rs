//! What can be done to grants and waits. Each operation first lets time pass,
//! then does its own, and ends by serving whom it unblocked.

use super::acquire::validate_lease;
use super::groups::Group;
use super::request::{NEVER, Request, Stage};
use super::slab::At;
use super::table::{Overdue, Woken};
use super::{CallerGrant, Core, Effect, Ended, Life};
use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::pattern::Permission;
use crate::store::{
    Cancelled, Cycle, EventKind, ForceError, Grant, Holder, LostGrant, Principal, ReleaseError,
    Released, RenewError, Taken, Token,
};
use crate::time::Time;
use std::time::Duration;

/// How a request ends.
#[derive(Debug)]
pub(super) enum End {
    /// Whoever has it said so.
    GivenBack,
    /// Whoever asked has gone, and heard nothing.
    Abandoned,
    /// Its transaction or session was closed.
    Closed,
    /// Its lease or its wait is over.
    RanOut,
    /// Its session's time is over.
    SessionRanOut,
    /// An operator takes the grant away.
    Forced,
    /// The wait would never end.
    Deadlock(Cycle),
}

impl Core {
    /// Makes a grant last at least `lease` from now, or the longest lease it
    /// was given.
    pub fn renew(
        &mut self,
        id: GrantId,
        principal: &Principal,
        lease: Option<Duration>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, RenewError> {
        self.pass(now, effects);
        lease.map_or(Ok(()), validate_lease)?;
        let renewed = self.prolong(id, principal, lease, now, effects);
        if renewed == Err(RenewError::Lost) {
            self.tally.statistics.lost += 1;
        }
        renewed
    }

    fn prolong(
        &mut self,
        id: GrantId,
        principal: &Principal,
        lease: Option<Duration>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, RenewError> {
        let at = self.table.find(id).ok_or(RenewError::Lost)?;
        let request = &self.table.requests[at];
        if !self.is_of(request, principal) {
            return Err(RenewError::NotHolder);
        }
        let Stage::Held {
            token,
            since,
            until,
        } = request.stage
        else {
            return Err(RenewError::Lost);
        };
        // Its transaction is being committed, which is its end.
        if self.settling.has(self.table.holder(request)) {
            return Err(RenewError::Lost);
        }
        if let Some(lease) = lease.or(request.lease)
            && until != NEVER
        {
            let longer = self.table.prolong(at, until.max(now + lease), lease);
            if longer {
                self.keep(at, effects);
            }
        }
        let request = &self.table.requests[at];
        let of_session = || self.session_remaining(request, now);
        Ok(Grant {
            names: self.table.names(request),
            mode: request.mode,
            token,
            since,
            remaining: request.remaining(now).or_else(of_session),
            party: self.table.party(request),
        })
    }

    /// Ends a grant, or the wait for it.
    pub fn release(
        &mut self,
        id: GrantId,
        principal: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Released, ReleaseError> {
        self.pass(now, effects);
        let Some(at) = self.table.find(id) else {
            return Ok(Released::Already);
        };
        if !self.is_of(&self.table.requests[at], principal) {
            return Err(ReleaseError::NotHolder);
        }
        self.end_one(at, End::GivenBack, now, effects);
        Ok(Released::Released)
    }

    /// Ends a grant, or the wait for it; or refuses an id that was never seen
    /// when it comes.
    pub fn cancel(
        &mut self,
        id: GrantId,
        principal: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Cancelled, ReleaseError> {
        self.pass(now, effects);
        let Some(at) = self.table.find(id) else {
            return match self.ended.get(id, now) {
                Some(ended) => Ok(ended.to_cancel()),
                None => self.cancel_unseen(id, principal, now, effects),
            };
        };
        let request = &self.table.requests[at];
        if !self.is_of(request, principal) {
            return Err(ReleaseError::NotHolder);
        }
        let found = if request.is_held() {
            Cancelled::Granted
        } else {
            Cancelled::Cancelled
        };
        self.end_one(at, End::GivenBack, now, effects);
        Ok(found)
    }

    /// Ends a grant that nobody heard of, or the wait for it: the same id may
    /// be asked again.
    pub fn abandon(&mut self, id: GrantId, now: Time, effects: &mut Vec<Effect>) {
        self.pass(now, effects);
        if let Some(at) = self.table.find(id) {
            self.end_one(at, End::Abandoned, now, effects);
        }
    }

    /// Takes every grant that holds `name`, with all its names, from its holder;
    /// or none, if `permission` does not cover all of those names.
    pub fn force_release(
        &mut self,
        name: &LockName,
        permission: &Permission,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<Taken>, ForceError> {
        self.pass(now, effects);
        let Some(lock) = self.table.locks.get(name) else {
            return Ok(Vec::new());
        };
        let holders: Vec<_> = lock.holders.iter().collect();
        let taken = |at: &At<Request>| {
            let request = &self.table.requests[*at];
            Taken {
                names: self.table.names(request),
                token: request.token(),
                party: self.table.party(request),
            }
        };
        let taken: Vec<_> = holders.iter().map(taken).collect();
        let mut names = taken.iter().flat_map(|it| &it.names);
        if !names.all(|it| permission.covers(it)) {
            return Err(ForceError::NotPermitted);
        }
        let mut woken = Woken::new();
        for at in holders {
            self.finish(at, End::Forced, now, &mut woken, effects);
        }
        self.hand_over(woken, now, effects);
        Ok(taken)
    }

    /// Ends every grant and every wait of a transaction.
    pub fn end(&mut self, transaction: TransactionId, now: Time, effects: &mut Vec<Effect>) {
        self.pass(now, effects);
        if let Some(group) = self.table.groups.transaction(transaction) {
            let mut woken = Woken::new();
            self.end_group(group, || End::Closed, now, &mut woken, effects);
            self.hand_over(woken, now, effects);
        }
    }

    /// Ends every request of a group, in the order they arrived.
    pub(super) fn end_group(
        &mut self,
        group: At<Group>,
        end: fn() -> End,
        now: Time,
        woken: &mut Woken,
        effects: &mut Vec<Effect>,
    ) {
        let members: Vec<_> = self.table.members_at(group).collect();
        for at in members {
            self.finish(at, end(), now, woken, effects);
        }
    }

    /// Lets time pass, and goes on with a search for deadlocks that is not
    /// finished.
    pub fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.pass(now, effects);
        self.search_on(now, effects);
    }

    /// Lets time pass: what has run out by `now` ends, in the order in which it
    /// ran out, and each end serves whom it unblocks before the next.
    pub(super) fn pass(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while let Some(what) = self.table.overdue(now) {
            match what {
                Overdue::Request(at) => self.end_one(at, End::RanOut, now, effects),
                Overdue::Session(at) => self.end_session(at, || End::SessionRanOut, now, effects),
            }
        }
    }

    pub(super) fn end_one(
        &mut self,
        at: At<Request>,
        end: End,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let mut woken = Woken::new();
        self.finish(at, end, now, &mut woken, effects);
        self.hand_over(woken, now, effects);
    }

    /// Takes a request out of the table, and says what has to be said of that.
    /// But a grant that a commit keeps ends when that has settled.
    pub(super) fn finish(
        &mut self,
        at: At<Request>,
        end: End,
        now: Time,
        woken: &mut Woken,
        effects: &mut Vec<Effect>,
    ) {
        let request = &self.table.requests[at];
        let id = request.id;
        let holder = self.table.holder(request);
        match request.stage {
            Stage::Held { since, .. } => {
                if self.settling.doom(holder, id) {
                    return;
                }
                self.tell_end_of_grant(at, &end, now.since(since), now, effects);
            }
            Stage::Waiting { .. } => self.tell_end_of_wait(at, end, now, effects),
        }
        self.searches.forget(self.table.requests[at].arrival);
        self.searches.step_over(&self.table, at);
        self.table.remove(at, woken);
    }

    fn tell_end_of_grant(
        &mut self,
        at: At<Request>,
        end: &End,
        held: Duration,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let request = &self.table.requests[at];
        let (id, repeatable) = (request.id, request.repeatable);
        let holder = self.table.holder(request);
        let kind = match end {
            End::RanOut | End::SessionRanOut => EventKind::Expired,
            End::Forced => EventKind::Forced,
            End::GivenBack | End::Abandoned | End::Closed | End::Deadlock(_) => EventKind::Released,
        };
        self.tally.end_grant(kind, held);
        if self.has_disk && !matches!(holder, Holder::Transaction(_)) {
            effects.push(Effect::Forget(id));
        }
        if repeatable && !matches!(end, End::Abandoned) {
            self.remember(id, Ended::WasGranted, now, effects);
        }
        if let (Holder::Session(session), End::Forced) = (holder, end) {
            let request = &self.table.requests[at];
            let token = request.token();
            let names = self.table.names(request);
            effects.push(Effect::Lost(session, LostGrant { token, names }));
        }
        self.tell(at, kind, now, effects);
    }

    fn tell_end_of_wait(
        &mut self,
        at: At<Request>,
        end: End,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let request = &self.table.requests[at];
        let (id, repeatable) = (request.id, request.repeatable);
        let statistics = &mut self.tally.statistics;
        statistics.waiting -= 1;
        let is_remembered = repeatable && matches!(end, End::GivenBack);
        effects.push(match end {
            End::RanOut => {
                statistics.timed_out += 1;
                Effect::TimedOut(id)
            }
            End::Deadlock(cycle) => {
                statistics.deadlocks += 1;
                Effect::Deadlock(id, cycle)
            }
            End::GivenBack | End::Abandoned | End::Closed | End::SessionRanOut | End::Forced => {
                statistics.cancelled += 1;
                Effect::Cancelled(id)
            }
        });
        if is_remembered {
            self.remember(id, Ended::NeverGranted, now, effects);
        }
        self.tell(at, EventKind::Left, now, effects);
    }

    /// Serves, oldest first, every waiter that can be served now.
    ///
    /// Serving one may wake others, which arrived later (or belong to the same
    /// transaction and so are served as well), so the order holds.
    pub(super) fn hand_over(&mut self, mut woken: Woken, now: Time, effects: &mut Vec<Effect>) {
        while let Some((_, at)) = woken.pop_first() {
            if !self.table.is_servable(at) {
                continue;
            }
            self.searches.forget(self.table.requests[at].arrival);
            let token = self.next_token(now, effects);
            // What its transaction has come to hold meanwhile needs no grant.
            let needs_grant = !self.table.has_all(at);
            if !needs_grant {
                self.tell(at, EventKind::Left, now, effects);
            }
            let granted = self.table.serve(at, token, now, &mut woken);
            self.tally.statistics.waiting -= 1;
            self.tally.statistics.wait.record(granted.waited);
            let id = self.table.requests[at].id;
            if needs_grant {
                self.granted(at, now, effects);
            } else {
                self.table.remove(at, &mut woken);
            }
            effects.push(Effect::Granted(id, granted));
        }
    }

    pub(super) fn next_token(&mut self, now: Time, effects: &mut Vec<Effect>) -> Token {
        let (token, reserve) = self.tokens.next(now);
        effects.extend(reserve.map(Effect::Reserve));
        token
    }

    /// Asks for a grant of a caller or a session to be written down.
    pub(super) fn keep(&self, at: At<Request>, effects: &mut Vec<Effect>) {
        if !self.has_disk {
            return;
        }
        let request = &self.table.requests[at];
        let life = match (self.table.holder(request), request.lease) {
            (Holder::Session(session), _) => Life::Session(session),
            (Holder::Caller, Some(lease)) => Life::Lease(lease),
            (Holder::Caller, None) | (Holder::Transaction(_), _) => return,
        };
        effects.push(Effect::Keep(CallerGrant {
            id: request.id,
            repeatable: request.repeatable,
            names: self.table.names(request),
            mode: request.mode,
            token: request.token(),
            life,
            party: self.table.party(request),
        }));
    }
}
