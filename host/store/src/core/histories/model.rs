//! The core without indices: one list of grants, one list of waiters, and
//! loops. As naive as can be, so that it can be seen to be right.

use super::*;
use crate::store::LockHolder;

/// The state machine without indices.
pub(super) struct Model {
    live: Vec<Live>,
    waiting: Vec<Waiting>,
    last_token: Token,
    waiters_per_lock: usize,
}

struct Live {
    id: GrantId,
    arrival: usize,
    holder: Holder,
    names: Vec<LockName>,
    token: Token,
    since: Time,
    until: Option<Time>,
    lease: Option<Duration>,
    label: String,
}

struct Waiting {
    id: GrantId,
    arrival: usize,
    holder: Holder,
    asked: Vec<(LockName, Option<Token>)>,
    until: Time,
    lease: Option<Duration>,
    label: String,
}

impl Waiting {
    fn queues_for(&self, name: &LockName) -> bool {
        self.asked
            .iter()
            .any(|(it, own)| it == name && own.is_none())
    }
}

impl Model {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            live: Vec::new(),
            waiting: Vec::new(),
            last_token: 0,
            waiters_per_lock: limits.waiters_per_lock,
        }
    }

    /// What the model itself must never do.
    pub(super) fn assert_sound(&self) {
        let mut held: Vec<_> = self.live.iter().flat_map(|it| &it.names).collect();
        let all = held.len();
        held.sort();
        held.dedup();
        assert_eq!(held.len(), all, "two grants share a name");
    }

    pub(super) fn apply(
        &mut self,
        arrival: usize,
        operation: &Operation,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        self.tick(now, effects);
        let answer = match operation {
            Operation::Acquire(request) => {
                Answer::Acquired(self.acquire(arrival, request, now, effects))
            }
            Operation::Renew(id, lease) => Answer::Renewed(self.renew(*id, *lease, now, effects)),
            Operation::Release(id) => {
                let found = self.finish(*id, Effect::Cancelled, effects);
                Answer::Released(if found {
                    Released::Released
                } else {
                    Released::Already
                })
            }
            Operation::ForceRelease(name) => {
                let taken = self
                    .live
                    .iter()
                    .find(|it| it.names.contains(name))
                    .map(|it| {
                        let (names, label) = (it.names.clone(), it.label.clone());
                        (
                            it.id,
                            Taken {
                                names,
                                token: it.token,
                                label,
                            },
                        )
                    });
                if let Some((id, _)) = &taken {
                    self.finish(*id, Effect::Cancelled, effects);
                }
                Answer::Taken(taken.map(|it| it.1))
            }
            Operation::End(transaction) => {
                let holder = Holder::Transaction(*transaction);
                let live = self.live.iter().map(|it| (it.arrival, it.id, it.holder));
                let waiting = self.waiting.iter().map(|it| (it.arrival, it.id, it.holder));
                let mut ids: Vec<_> = live.chain(waiting).filter(|it| it.2 == holder).collect();
                ids.sort_by_key(|it| it.0);
                for (_, id, _) in ids {
                    self.finish(id, Effect::Cancelled, effects);
                }
                Answer::Done
            }
            Operation::Look(name) => Answer::Lock(self.look(name, now)),
            Operation::Tick => Answer::Done,
        };
        self.serve(now, effects);
        answer
    }

    fn tick(&mut self, now: Time, effects: &mut Vec<Effect>) {
        loop {
            let leases = self
                .live
                .iter()
                .filter_map(|it| Some((it.until?, 0, it.arrival, it.id)));
            let waits = self
                .waiting
                .iter()
                .map(|it| (it.until, 1, it.arrival, it.id));
            match leases.chain(waits).min() {
                Some((until, _, _, id)) if until <= now => {
                    self.finish(id, Effect::TimedOut, effects);
                    self.serve(now, effects);
                }
                _ => return,
            }
        }
    }

    fn finish(
        &mut self,
        id: GrantId,
        told: fn(GrantId) -> Effect,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if let Some(at) = self.waiting.iter().position(|it| it.id == id) {
            self.waiting.remove(at);
            effects.push(told(id));
            return true;
        }
        let Some(at) = self.live.iter().position(|it| it.id == id) else {
            return false;
        };
        if self.live.remove(at).holder == Holder::Caller {
            effects.push(Effect::Forget(id));
        }
        true
    }

    fn own_token(&self, name: &LockName, holder: Holder) -> Option<Token> {
        let of = |it: &&Live| it.names.contains(name) && it.holder == holder;
        self.live
            .iter()
            .find(of)
            .filter(|_| holder != Holder::Caller)
            .map(|it| it.token)
    }

    /// Whether somebody else holds `name`, or waits for it and came before.
    fn is_blocked(&self, name: &LockName, holder: Holder, arrival: usize) -> bool {
        let held = self.live.iter().any(|it| it.names.contains(name));
        let ahead = self
            .waiting
            .iter()
            .any(|it| it.arrival < arrival && it.queues_for(name));
        (held && self.own_token(name, holder).is_none()) || ahead
    }

    fn acquire(
        &mut self,
        arrival: usize,
        request: &Acquire,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Acquired {
        let mut asked: Vec<(LockName, Option<Token>)> = Vec::new();
        for name in &request.names {
            if !asked.iter().any(|(it, _)| it == name) {
                asked.push((name.clone(), self.own_token(name, request.holder)));
            }
        }
        let wanted: Vec<_> = asked
            .iter()
            .filter(|it| it.1.is_none())
            .map(|it| &it.0)
            .collect();
        let blocked = wanted
            .iter()
            .find(|it| self.is_blocked(it, request.holder, arrival));
        if let Some(name) = blocked {
            if request.wait.is_zero() {
                return Acquired::Refused(AcquireError::Held((*name).clone()));
            }
            let queue =
                |name: &LockName| self.waiting.iter().filter(|it| it.queues_for(name)).count();
            if wanted.iter().any(|it| queue(it) >= self.waiters_per_lock) {
                let text = format!("a lock takes at most {} waiters", self.waiters_per_lock);
                return Acquired::Refused(AcquireError::Quota(text));
            }
        }
        let is_blocked = blocked.is_some();
        let waiting = Waiting {
            id: request.id,
            arrival,
            holder: request.holder,
            asked,
            until: now + request.wait,
            lease: request.lease,
            label: request.label.clone(),
        };
        if is_blocked {
            self.waiting.push(waiting);
            return Acquired::Waiting;
        }
        if waiting.asked.iter().all(|it| it.1.is_some()) {
            // Nothing to grant: no token either.
            let tokens = waiting
                .asked
                .into_iter()
                .map(|(name, own)| (name, own.unwrap()));
            let (tokens, acquired) = (tokens.collect(), vec![]);
            return Acquired::Granted(Granted { tokens, acquired });
        }
        Acquired::Granted(self.grant(waiting, now, effects))
    }

    fn grant(&mut self, waiting: Waiting, now: Time, effects: &mut Vec<Effect>) -> Granted {
        let by_time = now.as_micros() / 1000 * 4096;
        let token = by_time.max(self.last_token + 1);
        self.last_token = token;
        let mut granted = Granted {
            tokens: vec![],
            acquired: vec![],
        };
        for (name, own) in waiting.asked {
            let own = own.or_else(|| self.own_token(&name, waiting.holder));
            if own.is_none() {
                granted.acquired.push(name.clone());
            }
            granted.tokens.push((name, own.unwrap_or(token)));
        }
        if granted.acquired.is_empty() {
            return granted;
        }
        let live = Live {
            id: waiting.id,
            arrival: waiting.arrival,
            holder: waiting.holder,
            names: granted.acquired.clone(),
            token,
            since: now,
            until: waiting.lease.map(|it| now + it),
            lease: waiting.lease,
            label: waiting.label,
        };
        keep(&live, effects);
        self.live.push(live);
        granted
    }

    /// Grants, oldest first, until nobody can be granted anything.
    fn serve(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let servable = |model: &Self, it: &Waiting| {
            let mut wanted = it.asked.iter().filter(|it| it.1.is_none());
            wanted.all(|(name, _)| !model.is_blocked(name, it.holder, it.arrival))
        };
        while let Some(at) = self.waiting.iter().position(|it| servable(self, it)) {
            let waiting = self.waiting.remove(at);
            let id = waiting.id;
            let granted = self.grant(waiting, now, effects);
            effects.push(Effect::Granted(id, granted));
        }
    }

    fn renew(
        &mut self,
        id: GrantId,
        lease: Duration,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Duration, RenewError> {
        let live = self
            .live
            .iter_mut()
            .find(|it| it.id == id)
            .ok_or(RenewError::Lost)?;
        let Some(until) = &mut live.until else {
            return Ok(Duration::MAX);
        };
        *until = (*until).max(now + lease);
        let remaining = until.since(now);
        if live.lease.is_none_or(|it| it < lease) {
            live.lease = Some(lease);
            keep(live, effects);
        }
        Ok(remaining)
    }

    fn look(&self, name: &LockName, now: Time) -> Lock {
        let holder = self.live.iter().find(|it| it.names.contains(name));
        let waiting: Vec<_> = self
            .waiting
            .iter()
            .filter(|it| it.queues_for(name))
            .collect();
        Lock {
            holder: holder.map(|it| LockHolder {
                token: it.token,
                label: it.label.clone(),
                remaining: it.until.map(|it| it.since(now)),
                held_for: now.since(it.since),
            }),
            waiting: waiting.len(),
            waiters: waiting.iter().map(|it| it.label.clone()).collect(),
        }
    }
}

fn keep(live: &Live, effects: &mut Vec<Effect>) {
    if let (Holder::Caller, Some(lease)) = (live.holder, live.lease) {
        effects.push(Effect::Keep(CallerGrant {
            id: live.id,
            names: live.names.clone(),
            token: live.token,
            lease,
            label: live.label.clone(),
        }));
    }
}
