//! What can be done to locks. Each operation first lets time pass, then does
//! its own, and ends by serving whom it unblocked.

use super::table::{Arrival, Entry, Stage, Standing};
use super::{Acquired, CallerGrant, Core, Effect};
use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{
    Acquire, AcquireError, Granted, Holder, LABEL_BYTES_MAX, LEASE_MAX, LEASE_MIN, Lock,
    LockHolder, NAMES_PER_GRANT_MAX, Released, RenewError, Taken, Token, WAIT_MAX,
};
use crate::time::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// How many waiters [`Core::look`] names.
const WAITERS_SHOWN: usize = 100;

impl Core {
    /// Acquires every name, all or none, or queues for what is not free.
    pub fn acquire(&mut self, request: Acquire, now: Time, effects: &mut Vec<Effect>) -> Acquired {
        self.tick(now, effects);
        self.try_acquire(request, now, effects)
            .unwrap_or_else(Acquired::Refused)
    }

    fn try_acquire(
        &mut self,
        mut request: Acquire,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Acquired, AcquireError> {
        validate(&request)?;
        let names = without_repetitions(std::mem::take(&mut request.names))?;
        if self.table.contains(request.id) {
            let text = "the grant's id is in use".to_owned();
            return Err(AcquireError::Invalid(text));
        }
        let mut asked = Vec::with_capacity(names.len());
        let mut blocked = None;
        let mut longest = 0;
        for name in names {
            let own = match self.table.standing(&name, request.holder) {
                Standing::Own(token) => Some(token),
                Standing::Free => None,
                Standing::Taken { waiting } => {
                    blocked.get_or_insert_with(|| name.clone());
                    longest = longest.max(waiting);
                    None
                }
            };
            asked.push((name, own));
        }
        match blocked {
            None => Ok(Acquired::Granted(self.hold(request, asked, now, effects))),
            Some(name) if request.wait.is_zero() => Err(AcquireError::Held(name)),
            Some(_) if longest >= self.limits.waiters_per_lock => {
                Err(AcquireError::Quota(format!(
                    "a lock takes at most {} waiters",
                    self.limits.waiters_per_lock
                )))
            }
            Some(_) => {
                let until = now + request.wait;
                let stage = Stage::Waiting { until, asked };
                let Acquire {
                    id,
                    holder,
                    lease,
                    label,
                    ..
                } = request;
                self.table.insert(id, holder, label, lease, stage);
                Ok(Acquired::Waiting)
            }
        }
    }

    /// Gives a request what it asked for and nobody else has.
    fn hold(
        &mut self,
        request: Acquire,
        asked: Vec<(LockName, Option<Token>)>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Granted {
        let free = asked.iter().filter(|(_, own)| own.is_none());
        let acquired: Vec<_> = free.map(|(name, _)| name.clone()).collect();
        if acquired.is_empty() {
            let own = |(name, own): (LockName, Option<Token>)| Some((name, own?));
            return Granted {
                tokens: asked.into_iter().filter_map(own).collect(),
                acquired,
            };
        }
        let token = self.next_token(now, effects);
        let stage = Stage::Held {
            names: acquired.clone(),
            token,
            since: now,
            until: request.lease.map(|it| now + it),
        };
        let Acquire {
            id,
            holder,
            lease,
            label,
            ..
        } = request;
        self.table.insert(id, holder, label, lease, stage);
        self.keep(id, effects);
        let tokens = asked
            .into_iter()
            .map(|(name, own)| (name, own.unwrap_or(token)))
            .collect();
        Granted { tokens, acquired }
    }

    /// Makes a grant last at least `lease` from now; answers how long it does.
    pub fn renew(
        &mut self,
        id: GrantId,
        lease: Duration,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Duration, RenewError> {
        self.tick(now, effects);
        validate_lease(lease).map_err(RenewError::Invalid)?;
        let Some(entry) = self.table.get(id) else {
            return Err(RenewError::Lost);
        };
        let Stage::Held { until, .. } = &entry.stage else {
            return Err(RenewError::Lost);
        };
        // Its transaction is being committed, which is its end.
        if self.settling.has(entry.holder) {
            return Err(RenewError::Lost);
        }
        let Some(until) = *until else {
            return Ok(Duration::MAX);
        };
        let until = until.max(now + lease);
        if self.table.prolong(id, until, lease) {
            self.keep(id, effects);
        }
        Ok(until.since(now))
    }

    /// Ends a grant, or the wait for it.
    pub fn release(&mut self, id: GrantId, now: Time, effects: &mut Vec<Effect>) -> Released {
        self.tick(now, effects);
        if !self.table.contains(id) {
            return Released::Already;
        }
        if let Some(entry) = self.finish(id, Effect::Cancelled, effects) {
            self.hand_over(entry.touched(), now, effects);
        }
        Released::Released
    }

    /// Takes the grant that holds `name`, with all its names, from its holder.
    pub fn force_release(
        &mut self,
        name: &LockName,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Option<Taken> {
        self.tick(now, effects);
        let (id, entry) = self.table.holder(name)?;
        let Stage::Held { names, token, .. } = &entry.stage else {
            return None;
        };
        let taken = Taken {
            names: names.clone(),
            token: *token,
            label: entry.label.clone(),
        };
        if let Some(entry) = self.finish(id, Effect::Cancelled, effects) {
            self.hand_over(entry.touched(), now, effects);
        }
        Some(taken)
    }

    /// Ends every grant and every wait of a transaction.
    pub fn end(&mut self, transaction: TransactionId, now: Time, effects: &mut Vec<Effect>) {
        self.tick(now, effects);
        let mut ended = Vec::new();
        for id in self.table.of_transaction(transaction) {
            ended.extend(self.finish(id, Effect::Cancelled, effects));
        }
        self.hand_over(ended.iter().flat_map(Entry::touched), now, effects);
    }

    /// A lock, for people to look at.
    pub fn look(&mut self, name: &LockName, now: Time, effects: &mut Vec<Effect>) -> Lock {
        self.tick(now, effects);
        let holder = self.table.holder(name).and_then(|(_, entry)| {
            let Stage::Held {
                token,
                since,
                until,
                ..
            } = &entry.stage
            else {
                return None;
            };
            Some(LockHolder {
                token: *token,
                label: entry.label.clone(),
                remaining: until.map(|it| it.since(now)),
                held_for: now.since(*since),
            })
        });
        let queue = self.table.queue(name);
        Lock {
            holder,
            waiting: queue.len(),
            waiters: queue
                .take(WAITERS_SHOWN)
                .map(|it| it.label.clone())
                .collect(),
        }
    }

    /// Lets time pass: what has run out by `now` ends, in the order in which it
    /// ran out, and each end serves whom it unblocks before the next.
    pub fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        while let Some(id) = self.table.overdue(now) {
            if let Some(entry) = self.finish(id, Effect::TimedOut, effects) {
                self.hand_over(entry.touched(), now, effects);
            }
        }
    }

    /// Takes a request out of the table. If it waited, `told` is what it is
    /// told; if it was written down, it is struck out. `None`: a commit keeps
    /// it, and it ends when that has settled.
    fn finish(
        &mut self,
        id: GrantId,
        told: fn(GrantId) -> Effect,
        effects: &mut Vec<Effect>,
    ) -> Option<Entry> {
        let entry = self.table.get(id)?;
        let is_held = matches!(entry.stage, Stage::Held { .. });
        if is_held && self.settling.doom(entry.holder, id) {
            return None;
        }
        let entry = self.table.remove(id)?;
        match (&entry.stage, entry.holder) {
            (Stage::Waiting { .. }, _) => effects.push(told(id)),
            (Stage::Held { .. }, Holder::Caller) => effects.push(Effect::Forget(id)),
            (Stage::Held { .. }, Holder::Transaction(_)) => {}
        }
        Some(entry)
    }

    /// Serves, oldest first, every waiter that can be served now that something
    /// in the queues of `touched` has changed.
    ///
    /// Only the first of a queue can be. Serving it makes another the first,
    /// which may belong to the same transaction and so be served as well; it
    /// arrived later, so the order holds.
    fn hand_over<'a>(
        &mut self,
        touched: impl Iterator<Item = &'a LockName>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let mut candidates: BTreeSet<(Arrival, GrantId)> =
            touched.filter_map(|it| self.table.first(it)).collect();
        while let Some((_, id)) = candidates.pop_first() {
            if !self.table.is_servable(id) {
                continue;
            }
            let token = self.next_token(now, effects);
            let Some(granted) = self.table.serve(id, token, now) else {
                continue;
            };
            let names = granted.tokens.iter().map(|(name, _)| name);
            candidates.extend(names.filter_map(|it| self.table.first(it)));
            self.keep(id, effects);
            effects.push(Effect::Granted(id, granted));
        }
    }

    pub(super) fn next_token(&mut self, now: Time, effects: &mut Vec<Effect>) -> Token {
        let (token, reserve) = self.tokens.next(now);
        effects.extend(reserve.map(Effect::Reserve));
        token
    }

    /// Has a caller's grant written down.
    fn keep(&self, id: GrantId, effects: &mut Vec<Effect>) {
        if let Some(entry) = self.table.get(id)
            && let (Holder::Caller, Some(lease)) = (entry.holder, entry.lease)
            && let Stage::Held { names, token, .. } = &entry.stage
        {
            effects.push(Effect::Keep(CallerGrant {
                id,
                names: names.clone(),
                token: *token,
                lease,
                label: entry.label.clone(),
            }));
        }
    }
}

/// Whether a request is allowed, but for its names.
fn validate(request: &Acquire) -> Result<(), AcquireError> {
    let invalid = |text: String| Err(AcquireError::Invalid(text));
    if request.label.len() > LABEL_BYTES_MAX {
        return invalid(format!("a label has at most {LABEL_BYTES_MAX} bytes"));
    }
    if request.wait > WAIT_MAX {
        return invalid(format!("a wait is at most {} s", WAIT_MAX.as_secs()));
    }
    match (request.lease, request.holder) {
        (Some(lease), _) => validate_lease(lease).map_err(AcquireError::Invalid),
        (None, Holder::Transaction(_)) => Ok(()),
        (None, Holder::Caller) => invalid("a caller's grant needs a lease".to_owned()),
    }
}

/// The names asked for, each once, in the order they were asked for.
fn without_repetitions(names: Vec<LockName>) -> Result<Vec<LockName>, AcquireError> {
    let invalid = |text: String| Err(AcquireError::Invalid(text));
    // By far the most requests are of one name.
    if names.len() == 1 {
        return Ok(names);
    }
    let mut once = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &names {
        if seen.insert(name) {
            once.push(name.clone());
        }
        if once.len() > NAMES_PER_GRANT_MAX {
            return invalid(format!("a grant has at most {NAMES_PER_GRANT_MAX} names"));
        }
    }
    if once.is_empty() {
        return invalid("a grant has at least one name".to_owned());
    }
    Ok(once)
}

fn validate_lease(lease: Duration) -> Result<(), String> {
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return Ok(());
    }
    Err(format!(
        "a lease lasts {} ms to {} h",
        LEASE_MIN.as_millis(),
        LEASE_MAX.as_secs() / 3600
    ))
}
