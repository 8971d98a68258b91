//! The core without indices: one list of requests, one of sessions, and loops.
//! As naive as can be, so that it can be seen to be right.

mod acquire;
mod graph;
mod sessions;
mod show;

use super::*;
use crate::store::{EventKind, Granted, MEMORY};

/// The state machine without indices.
pub(super) struct Model {
    limits: Limits,
    /// In the order they arrived.
    requests: Vec<Request>,
    sessions: Vec<Session>,
    ended: Vec<(GrantId, Time, Ended)>,
    /// Who cancelled what had not been seen, and when.
    unseen: Vec<(Principal, Time)>,
    last_token: Token,
    revision: u64,
    arrivals: u64,
}

#[derive(Clone)]
struct Request {
    id: GrantId,
    repeatable: bool,
    arrival: u64,
    holder: Holder,
    /// What its transaction had already comes with its token.
    asked: Vec<(LockName, Option<Token>)>,
    mode: Mode,
    lease: Option<Duration>,
    party: Party,
    asked_at: Time,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Waiting {
        until: Time,
    },
    Held {
        token: Token,
        since: Time,
        until: Option<Time>,
    },
}

struct Session {
    what: OpenSession,
    arrival: u64,
    until: Time,
    attachment: u64,
    attached: bool,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    GivenBack,
    Abandoned,
    Closed,
    RanOut,
    SessionRanOut,
    Forced,
}

impl Request {
    fn names(&self) -> Vec<LockName> {
        let own = self.asked.iter().filter(|it| it.1.is_none());
        own.map(|it| it.0.clone()).collect()
    }

    fn covers(&self, name: &LockName) -> bool {
        self.asked.iter().any(|it| it.0 == *name && it.1.is_none())
    }

    fn token(&self) -> Token {
        match self.stage {
            Stage::Held { token, .. } => token,
            Stage::Waiting { .. } => 0,
        }
    }

    fn is_held(&self) -> bool {
        self.token() != 0
    }

    fn is_transaction(&self) -> bool {
        matches!(self.holder, Holder::Transaction(_))
    }
}

impl Model {
    pub(super) fn new(limits: Limits, now: Time) -> Self {
        Self {
            limits,
            requests: Vec::new(),
            sessions: Vec::new(),
            ended: Vec::new(),
            unseen: Vec::new(),
            last_token: 0,
            revision: now.as_micros(),
            arrivals: 0,
        }
    }

    /// What the model itself must never do.
    pub(super) fn assert_sound(&self) {
        for request in self.requests.iter().filter(|it| it.is_held()) {
            for name in request.names() {
                let holders = self.holders(&name).count();
                assert!(self.holders(&name).all(|it| it.mode == request.mode));
                match request.mode {
                    Mode::Exclusive => assert_eq!(holders, 1, "{name} has two writers"),
                    Mode::Permits(most) => assert!(holders <= most.get() as usize),
                    Mode::Shared => assert!(holders <= self.limits.holders_per_lock),
                }
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        operation: &Operation,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Answer {
        self.pass(now, effects);
        let answer = match operation {
            Operation::Acquire(it) => Answer::Acquired(self.acquire(it, now, effects)),
            Operation::Cancel(id, by) => Answer::Cancelled(self.cancel(*id, by, now, effects)),
            Operation::Abandon(id) => {
                self.finish(*id, End::Abandoned, now, effects);
                Answer::Done
            }
            Operation::Renew(id, by, lease) => {
                Answer::Renewed(self.renew(*id, by, *lease, now, effects))
            }
            Operation::Release(id, by) => Answer::Released(self.release(*id, by, now, effects)),
            Operation::ForceRelease(name, permission) => {
                Answer::Taken(self.force(name, permission, now, effects))
            }
            Operation::OpenSession(it) => Answer::Session(self.open(it, now, effects)),
            Operation::Attach(id, by) => Answer::Attached(self.attach(*id, by, now, effects)),
            Operation::Beat(id, it) => Answer::Session(self.beat(*id, *it, now)),
            Operation::Detach(id, attachment) => {
                for session in &mut self.sessions {
                    let is_this = session.what.id == *id && session.attached;
                    if is_this && session.attachment == attachment.0 {
                        session.attached = false;
                        session.until = now + session.what.grace;
                    }
                }
                Answer::Done
            }
            Operation::CloseSession(id, by) => Answer::Session(match self.session(*id, by) {
                Ok(_) => {
                    self.end_session(*id, End::Closed, now, effects);
                    Ok(())
                }
                Err(SessionError::Lost) => Ok(()),
                Err(error) => Err(error),
            }),
            Operation::End(transaction) => {
                let holder = Holder::Transaction(*transaction);
                self.end_all(holder, End::Closed, now, effects);
                Answer::Done
            }
            Operation::Look(name) => Answer::Lock(self.look(name, now)),
            Operation::Tick => Answer::Done,
        };
        self.serve(now, effects);
        answer
    }

    fn pass(&mut self, now: Time, effects: &mut Vec<Effect>) {
        loop {
            let requests = self.requests.iter().filter_map(|it| match it.stage {
                Stage::Held { until, .. } => Some((until?, 1, it.arrival, Ok(it.id))),
                Stage::Waiting { until } => Some((until, 2, it.arrival, Ok(it.id))),
            });
            let sessions = self.sessions.iter();
            let sessions = sessions.map(|it| (it.until, 0, it.arrival, Err(it.what.id)));
            match requests.chain(sessions).min_by_key(|it| (it.0, it.1, it.2)) {
                Some((until, _, _, what)) if until <= now => match what {
                    Ok(id) => self.finish(id, End::RanOut, now, effects),
                    Err(id) => self.end_session(id, End::SessionRanOut, now, effects),
                },
                _ => return,
            }
            self.serve(now, effects);
        }
    }

    fn finish(&mut self, id: GrantId, end: End, now: Time, effects: &mut Vec<Effect>) {
        let Some(at) = self.requests.iter().position(|it| it.id == id) else {
            return;
        };
        let request = self.requests.remove(at);
        if request.is_held() {
            let kind = match end {
                End::RanOut | End::SessionRanOut => EventKind::Expired,
                End::Forced => EventKind::Forced,
                End::GivenBack | End::Abandoned | End::Closed => EventKind::Released,
            };
            if !request.is_transaction() {
                effects.push(Effect::Forget(id));
            }
            if request.repeatable && end != End::Abandoned {
                self.remember(id, Ended::WasGranted, now, effects);
            }
            if let (Holder::Session(session), End::Forced) = (request.holder, end) {
                let (token, names) = (request.token(), request.names());
                effects.push(Effect::Lost(session, LostGrant { token, names }));
            }
            self.tell(&request, kind, now, effects);
        } else {
            effects.push(if end == End::RanOut {
                Effect::TimedOut(id)
            } else {
                Effect::Cancelled(id)
            });
            if request.repeatable && end == End::GivenBack {
                self.remember(id, Ended::NeverGranted, now, effects);
            }
            self.tell(&request, EventKind::Left, now, effects);
        }
    }

    fn end_all(&mut self, holder: Holder, end: End, now: Time, effects: &mut Vec<Effect>) {
        let of = self.requests.iter().filter(|it| it.holder == holder);
        for id in of.map(|it| it.id).collect::<Vec<_>>() {
            self.finish(id, end, now, effects);
        }
    }

    fn remember(&mut self, id: GrantId, how: Ended, now: Time, effects: &mut Vec<Effect>) {
        self.ended.retain(|it| it.0 != id);
        self.ended.push((id, now, how));
        effects.push(Effect::Remember(id, how));
    }

    fn known_end(&self, id: GrantId, now: Time) -> Option<Ended> {
        let known = self.ended.iter().find(|it| it.0 == id)?;
        (known.1 + MEMORY >= now).then_some(known.2)
    }

    fn tell(&mut self, of: &Request, kind: EventKind, now: Time, effects: &mut Vec<Effect>) {
        self.revision += 1;
        effects.push(Effect::Event(LockEvent {
            revision: self.revision,
            time: now,
            kind,
            names: of.names(),
            mode: of.mode,
            token: of.token(),
            party: of.party.clone(),
        }));
    }

    fn find(&self, id: GrantId, by: &Principal) -> Option<Result<&Request, ()>> {
        let request = self.requests.iter().find(|it| it.id == id)?;
        Some(if may(&request.party.principal, by) {
            Ok(request)
        } else {
            Err(())
        })
    }

    fn cancel(
        &mut self,
        id: GrantId,
        by: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Cancelled, ReleaseError> {
        let found = match self.find(id, by) {
            Some(Err(())) => return Err(ReleaseError::NotHolder),
            Some(Ok(it)) if it.is_held() => Cancelled::Granted,
            Some(Ok(_)) => Cancelled::Cancelled,
            None => {
                return Ok(match self.known_end(id, now) {
                    Some(Ended::WasGranted) => Cancelled::Granted,
                    Some(Ended::NeverGranted) => Cancelled::Cancelled,
                    None => {
                        self.unseen.retain(|it| it.1 + MEMORY >= now);
                        let mine = self.unseen.iter().filter(|it| it.0 == *by).count();
                        if mine >= self.limits.cancels_per_principal {
                            return Err(ReleaseError::Quota(String::new()));
                        }
                        self.unseen.push((by.clone(), now));
                        self.remember(id, Ended::NeverGranted, now, effects);
                        Cancelled::Cancelled
                    }
                });
            }
        };
        self.finish(id, End::GivenBack, now, effects);
        Ok(found)
    }

    fn release(
        &mut self,
        id: GrantId,
        by: &Principal,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Released, ReleaseError> {
        match self.find(id, by) {
            Some(Err(())) => Err(ReleaseError::NotHolder),
            None => Ok(Released::Already),
            Some(Ok(_)) => {
                self.finish(id, End::GivenBack, now, effects);
                Ok(Released::Released)
            }
        }
    }

    fn force(
        &mut self,
        name: &LockName,
        permission: &Permission,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Vec<Taken>, ForceError> {
        let mut holders: Vec<_> = self.holders(name).cloned().collect();
        holders.sort_by_key(Request::token);
        for it in &holders {
            if it.names().iter().any(|name| !permission.covers(name)) {
                return Err(ForceError::NotPermitted);
            }
        }
        for it in &holders {
            self.finish(it.id, End::Forced, now, effects);
        }
        let taken = |it: Request| Taken {
            names: it.names(),
            token: it.token(),
            party: it.party,
        };
        Ok(holders.into_iter().map(taken).collect())
    }

    fn renew(
        &mut self,
        id: GrantId,
        by: &Principal,
        lease: Option<Duration>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, RenewError> {
        match self.find(id, by) {
            None => return Err(RenewError::Lost),
            Some(Err(())) => return Err(RenewError::NotHolder),
            Some(Ok(it)) if !it.is_held() => return Err(RenewError::Lost),
            Some(Ok(_)) => {}
        }
        let at = self.requests.iter().position(|it| it.id == id).unwrap();
        let request = &mut self.requests[at];
        let Stage::Held { since, until, .. } = &mut request.stage else {
            unreachable!()
        };
        let since = *since;
        let mut remaining = None;
        if let Some(until) = until {
            let lease = lease.or(request.lease).unwrap();
            *until = (*until).max(now + lease);
            remaining = Some(until.since(now));
            if request.lease < Some(lease) {
                request.lease = Some(lease);
                keep(request, effects);
            }
        }
        if let Holder::Session(id) = request.holder {
            let session = self.sessions.iter().find(|it| it.what.id == id).unwrap();
            remaining = Some(session.until.since(now));
        }
        let request = &self.requests[at];
        Ok(Grant {
            names: request.names(),
            mode: request.mode,
            token: request.token(),
            since,
            remaining,
            party: request.party.clone(),
        })
    }

    fn holders(&self, name: &LockName) -> impl Iterator<Item = &Request> {
        let of = |it: &&Request| it.is_held() && it.covers(name);
        self.requests.iter().filter(of)
    }

    fn waiters(&self, name: &LockName) -> impl Iterator<Item = &Request> {
        let of = |it: &&Request| !it.is_held() && it.covers(name);
        self.requests.iter().filter(of)
    }
}

fn keep(request: &Request, effects: &mut Vec<Effect>) {
    let life = match (request.holder, request.lease) {
        (Holder::Session(id), _) => Life::Session(id),
        (Holder::Caller, Some(lease)) => Life::Lease(lease),
        _ => return,
    };
    effects.push(Effect::Keep(CallerGrant {
        id: request.id,
        repeatable: request.repeatable,
        names: request.names(),
        mode: request.mode,
        token: request.token(),
        life,
        party: request.party.clone(),
    }));
}

fn may(of: &Principal, by: &Principal) -> bool {
    of == by || *by == Principal::node()
}
