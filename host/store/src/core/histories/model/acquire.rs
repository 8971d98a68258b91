//! How the model grants.

use super::*;
use crate::store::{Field, Invalid};

impl Model {
    pub(super) fn acquire(
        &mut self,
        request: &Acquire,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Acquired {
        match self.try_acquire(request, now, effects) {
            Ok(acquired) => acquired,
            Err(error) => Acquired::Refused(error),
        }
    }

    fn try_acquire(
        &mut self,
        ask: &Acquire,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Acquired, AcquireError> {
        let by = &ask.party.principal;
        if let Holder::Session(id) = ask.holder {
            self.session(id, by).map_err(|it| match it {
                SessionError::NotHolder => AcquireError::NotHolder,
                _ => AcquireError::NoSession,
            })?;
        }
        let mut names: Vec<LockName> = Vec::new();
        for name in &ask.names {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if let Some(acquired) = self.again(ask, &names, now)? {
            return Ok(acquired);
        }
        let mut asked = Vec::new();
        for name in &names {
            let view = self.view(name, ask.holder, ask.mode)?;
            if view.is_none() {
                self.check_permits(name, ask.mode)?;
            }
            asked.push((name.clone(), view));
        }
        let is_view = asked.iter().all(|it| it.1.is_some());
        let wanted = asked.iter().filter(|it| it.1.is_none()).map(|it| &it.0);
        let wanted: Vec<_> = wanted.cloned().collect();
        if is_view {
            let tokens = asked.into_iter().map(|it| (it.0, it.1.unwrap()));
            return Ok(Acquired::Granted(Granted {
                tokens: tokens.collect(),
                acquired: vec![],
                since: now,
                remaining: None,
                waited: Duration::ZERO,
            }));
        }
        let blocked = wanted
            .iter()
            .find(|it| self.is_blocked(it, ask.mode, ask.holder, u64::MAX));
        if let Some(name) = blocked
            && ask.wait.is_zero()
        {
            return Err(AcquireError::Held(name.clone()));
        }
        let must_wait = blocked.is_some();
        self.check_limits(ask, &wanted, must_wait)?;
        self.enter(ask, asked, must_wait, now, effects)
    }

    fn enter(
        &mut self,
        ask: &Acquire,
        asked: Vec<(LockName, Option<Token>)>,
        must_wait: bool,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Acquired, AcquireError> {
        self.arrivals += 1;
        let request = Request {
            id: ask.id,
            repeatable: ask.repeatable,
            arrival: self.arrivals,
            holder: ask.holder,
            asked,
            mode: ask.mode,
            lease: ask.lease,
            party: ask.party.clone(),
            asked_at: now,
            stage: Stage::Waiting {
                until: now + ask.wait,
            },
        };
        self.requests.push(request.clone());
        if !must_wait {
            return Ok(Acquired::Granted(self.grant(ask.id, now, effects)));
        }
        if self.is_deadlocked(&request) {
            self.requests.pop();
            return Err(AcquireError::Deadlock(crate::store::Cycle(vec![])));
        }
        self.tell(&request, EventKind::Queued, now, effects);
        Ok(Acquired::Waiting)
    }

    /// What is answered to an id that has been used.
    fn again(
        &self,
        ask: &Acquire,
        names: &[LockName],
        now: Time,
    ) -> Result<Option<Acquired>, AcquireError> {
        let Some(before) = self.requests.iter().find(|it| it.id == ask.id) else {
            let known = self.known_end(ask.id, now).filter(|_| ask.repeatable);
            return match known {
                None => Ok(None),
                Some(Ended::WasGranted) => Err(AcquireError::Lost),
                Some(Ended::NeverGranted) => Err(AcquireError::Cancelled),
            };
        };
        let mut same: Vec<_> = before.asked.iter().map(|it| &it.0).collect();
        let mut now_asked: Vec<_> = names.iter().collect();
        same.sort();
        now_asked.sort();
        let is_same = ask.repeatable
            && before.repeatable
            && same == now_asked
            && before.mode == ask.mode
            && before.holder == ask.holder
            && may(&before.party.principal, &ask.party.principal);
        if !is_same {
            return Err(invalid(Field::RequestId));
        }
        Ok(Some(match before.stage {
            Stage::Waiting { .. } if ask.wait.is_zero() => {
                let wanted = before.asked.iter().filter(|it| it.1.is_none());
                let mut wanted = wanted.map(|it| &it.0);
                let (mode, holder, arrival) = (before.mode, before.holder, before.arrival);
                let blocked = wanted.find(|it| self.is_blocked(it, mode, holder, arrival));
                return Err(AcquireError::Held(blocked.unwrap().clone()));
            }
            Stage::Waiting { .. } => Acquired::Waiting,
            Stage::Held {
                token,
                since,
                until,
            } => Acquired::Granted(Granted {
                tokens: names
                    .iter()
                    .map(|name| {
                        let mut asked = before.asked.iter();
                        let own = asked.find(|it| it.0 == *name).unwrap().1;
                        (name.clone(), own.unwrap_or(token))
                    })
                    .collect(),
                // In the order of the request that asks now, like the tokens.
                acquired: (names.iter())
                    .filter(|name| before.names().contains(name))
                    .cloned()
                    .collect(),
                since,
                remaining: until.map(|it| it.since(now)),
                waited: since.since(before.asked_at),
            }),
        }))
    }

    /// The token of what a transaction holds already.
    fn view(
        &self,
        name: &LockName,
        holder: Holder,
        mode: Mode,
    ) -> Result<Option<Token>, AcquireError> {
        let Some(own) = self.own(name, holder) else {
            return Ok(None);
        };
        match (own.mode, mode) {
            (Mode::Exclusive, _) => Ok(Some(own.token())),
            (held, asked) if held == asked => Ok(Some(own.token())),
            (Mode::Permits(_), Mode::Permits(_)) => Err(invalid(Field::Permits)),
            _ => Err(invalid(Field::Mode)),
        }
    }

    fn own(&self, name: &LockName, holder: Holder) -> Option<&Request> {
        let of = |it: &&Request| it.is_transaction() && it.holder == holder;
        self.holders(name).find(of)
    }

    fn check_permits(&self, name: &LockName, mode: Mode) -> Result<(), AcquireError> {
        let Mode::Permits(_) = mode else {
            return Ok(());
        };
        let both = self.holders(name).chain(self.waiters(name));
        let mut others = both.filter(|it| matches!(it.mode, Mode::Permits(_)));
        if others.any(|it| it.mode != mode) {
            return Err(invalid(Field::Permits));
        }
        Ok(())
    }

    fn check_limits(
        &self,
        ask: &Acquire,
        wanted: &[LockName],
        must_wait: bool,
    ) -> Result<(), AcquireError> {
        let limits = &self.limits;
        let readers = |name| {
            let both = self.holders(name).chain(self.waiters(name));
            both.filter(|it| it.mode == Mode::Shared).count()
        };
        let full = ask.mode == Mode::Shared
            && wanted
                .iter()
                .any(|it| readers(it) >= limits.holders_per_lock);
        let crowded = |it| self.waiters(it).count() >= limits.waiters_per_lock;
        let mine =
            |it: &&Request| !it.is_transaction() && it.party.principal == ask.party.principal;
        let mine: Vec<_> = self.requests.iter().filter(mine).collect();
        let counted = !matches!(ask.holder, Holder::Transaction(_));
        let waiting = mine.iter().filter(|it| !it.is_held()).count();
        let locks: usize = mine.iter().map(|it| it.names().len()).sum();
        let with_it = self.requests.iter().filter(|it| it.holder == ask.holder);
        let in_session = matches!(ask.holder, Holder::Session(_)).then(|| with_it.count());
        let over = full
            || (must_wait && wanted.iter().any(crowded))
            || (counted && locks + wanted.len() > limits.locks_per_principal)
            || in_session.is_some_and(|it| it >= limits.grants_per_session)
            || (counted && must_wait && waiting >= limits.waiters_per_principal);
        if over {
            return Err(AcquireError::Quota(String::new()));
        }
        Ok(())
    }

    /// Whether somebody else holds `name`, or waits for it and came before.
    fn is_blocked(&self, name: &LockName, mode: Mode, holder: Holder, arrival: u64) -> bool {
        let ahead = self.waiters(name).filter(|it| it.arrival < arrival);
        let is_behind = ahead.into_iter().any(|it| !both_read(it.mode, mode));
        let own = self.own(name, holder);
        let is_view = own.is_some_and(|it| it.mode == Mode::Exclusive || it.mode == mode);
        let holders: Vec<_> = self.holders(name).collect();
        let excludes = match mode {
            Mode::Exclusive => !holders.is_empty(),
            Mode::Shared => holders.iter().any(|it| it.mode != Mode::Shared),
            Mode::Permits(most) => {
                holders.iter().any(|it| it.mode != mode) || holders.len() >= most.get() as usize
            }
        };
        is_behind || (excludes && !is_view)
    }

    fn grant(&mut self, id: GrantId, now: Time, effects: &mut Vec<Effect>) -> Granted {
        let by_time = now.as_micros() / 1000 * 4096;
        let token = by_time.max(self.last_token + 1);
        self.last_token = token;
        let at = self.requests.iter().position(|it| it.id == id).unwrap();
        let mut request = self.requests[at].clone();
        let waiting = request.clone();
        for (name, own) in &mut request.asked {
            if own.is_none() {
                let before = self.own(name, request.holder);
                *own = before.map(Request::token);
            }
        }
        let tokens = request.asked.iter();
        let granted = Granted {
            tokens: tokens
                .map(|it| (it.0.clone(), it.1.unwrap_or(token)))
                .collect(),
            acquired: request.names(),
            since: now,
            remaining: request.lease.filter(|_| !request.names().is_empty()),
            waited: now.since(request.asked_at),
        };
        if granted.acquired.is_empty() {
            self.requests.remove(at);
            self.tell(&waiting, EventKind::Left, now, effects);
            return granted;
        }
        request.stage = Stage::Held {
            token,
            since: now,
            until: request.lease.map(|it| now + it),
        };
        keep(&request, effects);
        self.tell(&request, EventKind::Granted, now, effects);
        self.requests[at] = request;
        granted
    }

    /// Grants, oldest first, until nobody can be granted anything.
    pub(super) fn serve(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let servable = |it: &&Request| {
            let names = it.names();
            let mut blocked = names
                .iter()
                .map(|name| self.is_blocked(name, it.mode, it.holder, it.arrival));
            !it.is_held() && !blocked.any(|it| it)
        };
        if let Some(id) = self.requests.iter().find(servable).map(|it| it.id) {
            let granted = self.grant(id, now, effects);
            effects.push(Effect::Granted(id, granted));
            self.serve(now, effects);
        }
    }
}

fn both_read(one: Mode, other: Mode) -> bool {
    one == Mode::Shared && other == Mode::Shared
}

fn invalid(field: Field) -> AcquireError {
    let why = String::new();
    Invalid { field, why }.into()
}
