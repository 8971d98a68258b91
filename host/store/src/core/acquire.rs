//! Asking for locks.

use super::locks::LockSlot;
use super::request::{LockList, NEVER, Request, Stage, View};
use super::slab::At;
use super::table::covers;
use super::{Acquired, Core, Effect};
use crate::id::SessionId;
use crate::name::LockName;
use crate::store::{
    Acquire, AcquireError, EventKind, Field, Granted, Holder, Invalid, LABEL_BYTES_MAX, LEASE_MAX,
    LEASE_MIN, Mode, NAMES_PER_GRANT_MAX, OWNER_BYTES_MAX, Party, Principal, WAIT_MAX,
};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How the names of a request stand.
#[derive(Default)]
struct Survey {
    /// Those its transaction holds already.
    views: Vec<View>,
    /// The first that is not to be had at once.
    blocked: Option<LockName>,
    /// The limit that is reached if it is held, and if it waits.
    over: Option<String>,
    over_waiting: Option<String>,
}

impl Core {
    /// Acquires every name, all or none, or queues for what is not free.
    pub fn acquire(&mut self, request: Acquire, now: Time, effects: &mut Vec<Effect>) -> Acquired {
        self.pass(now, effects);
        let acquired = self.try_acquire(request, now, effects);
        acquired.unwrap_or_else(|error| {
            self.tally.refuse(&error);
            Acquired::Refused(error)
        })
    }

    fn try_acquire(
        &mut self,
        mut request: Acquire,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Acquired, AcquireError> {
        validate(&request)?;
        let names = without_repetitions(std::mem::take(&mut request.names))?;
        self.check_session(&request)?;
        if let Some(acquired) = self.asked_before(&request, &names, now)? {
            return Ok(acquired);
        }
        let survey = self.survey(&request, &names)?;
        if survey.views.len() == names.len() {
            return Ok(Acquired::Granted(only_views(survey.views, now)));
        }
        match survey.blocked {
            None => self.check_quota(&request, names.len(), survey.over, None)?,
            Some(name) if request.wait.is_zero() => return Err(AcquireError::Held(name)),
            Some(_) => {
                self.tally.statistics.contended += 1;
                self.check_quota(&request, names.len(), survey.over, survey.over_waiting)?;
                return self.queue(request, names, survey.views, now, effects);
            }
        }
        Ok(Acquired::Granted(self.hold(
            request,
            names,
            survey.views,
            now,
            effects,
        )))
    }

    /// A session that is asked for can be used.
    fn check_session(&self, request: &Acquire) -> Result<(), AcquireError> {
        let Holder::Session(id) = request.holder else {
            return Ok(());
        };
        let session = self.table.groups.session(id);
        let session = session.ok_or(AcquireError::NoSession)?;
        if self.is_session_of(session, &request.party.principal) {
            Ok(())
        } else {
            Err(AcquireError::NotHolder)
        }
    }

    /// What is answered if the id has been used. The same request, asked again,
    /// is told how the first one stands.
    fn asked_before(
        &self,
        request: &Acquire,
        names: &[LockName],
        now: Time,
    ) -> Result<Option<Acquired>, AcquireError> {
        let invalid = |why: &str| Err(Invalid::new(Field::RequestId, why).into());
        let Some(at) = self.table.find(request.id) else {
            let ended = request
                .repeatable
                .then(|| self.ended.get(request.id, now))
                .flatten();
            return ended.map_or(Ok(None), |it| Err(it.to_acquire()));
        };
        let before = &self.table.requests[at];
        if !request.repeatable || !before.repeatable {
            return invalid("the grant's id is in use");
        }
        let tokens: BTreeMap<_, _> = self.table.tokens(at).into_iter().collect();
        let is_same = tokens.len() == names.len()
            && names.iter().all(|it| tokens.contains_key(it))
            && before.mode == request.mode
            && self.table.holder(before) == request.holder
            && self.is_of(before, &request.party.principal);
        if !is_same {
            return invalid("the request id stands for another request");
        }
        let Stage::Held { since, .. } = before.stage else {
            // Whoever does not wait is not kept waiting by an earlier asker.
            return match self.table.awaited(before) {
                Some(lock) if request.wait.is_zero() => Err(AcquireError::Held(lock.name.clone())),
                _ => Ok(Some(Acquired::Waiting)),
            };
        };
        // In the order of this request, which may be another than that of the first.
        let own: BTreeSet<_> = self.table.names(before).into_iter().collect();
        let acquired = names.iter().filter(|it| own.contains(*it)).cloned();
        Ok(Some(Acquired::Granted(Granted {
            acquired: acquired.collect(),
            tokens: names.iter().map(|it| (it.clone(), tokens[it])).collect(),
            since,
            remaining: before.remaining(now),
            waited: since.since(before.asked),
        })))
    }

    /// Looks at every name.
    fn survey(&self, request: &Acquire, names: &[LockName]) -> Result<Survey, AcquireError> {
        let own = match request.holder {
            Holder::Transaction(id) => self.table.groups.transaction(id),
            Holder::Session(_) | Holder::Caller => None,
        };
        let mut survey = Survey::default();
        for (place, name) in names.iter().enumerate() {
            let Some(lock) = self.table.locks.get(name) else {
                continue;
            };
            match own.and_then(|it| self.table.own(lock, it)) {
                Some((held, token)) if covers(held, request.mode) => {
                    let name = name.clone();
                    survey.views.push(View { place, name, token });
                }
                Some((held, _)) => return Err(change(held, request.mode, name)),
                None => self.survey_lock(lock, request.mode, &mut survey)?,
            }
        }
        Ok(survey)
    }

    fn survey_lock(
        &self,
        lock: &LockSlot,
        mode: Mode,
        survey: &mut Survey,
    ) -> Result<(), AcquireError> {
        if let Mode::Permits(asked) = mode
            && let Some(number) = lock.permits(&self.table.requests)
            && number != asked
        {
            let why = format!("`{}` has {number} permits, not {asked}", lock.name);
            return Err(Invalid::new(Field::Permits, why).into());
        }
        if !lock.admits(mode) || !lock.is_open_to_new(mode) {
            survey.blocked.get_or_insert_with(|| lock.name.clone());
        }
        let Self { limits, .. } = self;
        if mode == Mode::Shared && lock.readers() >= limits.holders_per_lock {
            survey.over = Some(too_many_holders(limits.holders_per_lock));
        }
        if lock.waiting() >= limits.waiters_per_lock {
            let most = limits.waiters_per_lock;
            survey.over_waiting = Some(format!("a lock takes at most {most} waiters"));
        }
        Ok(())
    }

    /// No limit is reached: of a lock, a session, or the principal's. Who waits
    /// for locks has its place among the principal's already.
    fn check_quota(
        &self,
        request: &Acquire,
        locks: usize,
        over: Option<String>,
        over_waiting: Option<String>,
    ) -> Result<(), AcquireError> {
        let limits = &self.limits;
        if let Mode::Permits(number) = request.mode
            && number.get() as usize > limits.holders_per_lock
        {
            let text = too_many_holders(limits.holders_per_lock);
            return Err(AcquireError::Quota(text));
        }
        if let Some(text) = over.or(over_waiting) {
            return Err(AcquireError::Quota(text));
        }
        let Party { principal, .. } = &request.party;
        match request.holder {
            Holder::Transaction(_) => return Ok(()),
            Holder::Session(id) => self.check_session_quota(id)?,
            Holder::Caller => {}
        }
        let account = self.table.principals.find(principal);
        if account.map_or(0, |it| it.locks) + locks > limits.locks_per_principal {
            let most = limits.locks_per_principal;
            let text = format!("a principal holds and awaits at most {most} locks");
            return Err(AcquireError::Quota(text));
        }
        Ok(())
    }

    fn check_session_quota(&self, id: SessionId) -> Result<(), AcquireError> {
        let most = self.limits.grants_per_session;
        let session = self.table.groups.session(id);
        if session.is_some_and(|it| self.table.groups.get(it).count >= most) {
            let text = format!("a session holds and awaits at most {most} grants");
            return Err(AcquireError::Quota(text));
        }
        Ok(())
    }

    /// Lets a request wait, unless that would never end.
    fn queue(
        &mut self,
        request: Acquire,
        names: Vec<LockName>,
        views: Vec<View>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Acquired, AcquireError> {
        let Party { principal, .. } = &request.party;
        let is_counted = !matches!(request.holder, Holder::Transaction(_));
        let account = self.table.principals.find(principal);
        let most = self.limits.waiters_per_principal;
        if is_counted && account.is_some_and(|it| it.waiting >= most) {
            let text = format!("a principal has at most {most} requests that wait");
            return Err(AcquireError::Quota(text));
        }
        let until = now + request.wait;
        let locks = self.enter_locks(names, &views);
        let stage = Stage::Waiting { until };
        let at = self.table.insert(request, locks, views, stage, now);
        if let Some(cycle) = self.search_from(at, now) {
            // It is the last in every queue: nobody gets anything by its going.
            self.table.remove(at, &mut BTreeSet::new());
            return Err(AcquireError::Deadlock(cycle));
        }
        self.tally.statistics.waiting += 1;
        self.tell(at, EventKind::Queued, now, effects);
        Ok(Acquired::Waiting)
    }

    /// Gives a request what it asked for and nobody else has.
    pub(super) fn hold(
        &mut self,
        request: Acquire,
        names: Vec<LockName>,
        views: Vec<View>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Granted {
        let token = self.next_token(now, effects);
        let stage = Stage::Held {
            token,
            since: now,
            until: request.lease.map_or(NEVER, |it| now + it),
        };
        let remaining = request.lease;
        let locks = self.enter_locks(names, &views);
        let at = self.table.insert(request, locks, views, stage, now);
        self.granted(at, now, effects);
        let request = &self.table.requests[at];
        Granted {
            tokens: self.table.tokens(at),
            acquired: self.table.names(request),
            since: now,
            remaining,
            waited: Duration::ZERO,
        }
    }

    /// What every new grant brings with it.
    pub(super) fn granted(&mut self, at: At<Request>, now: Time, effects: &mut Vec<Effect>) {
        self.tally.statistics.granted += 1;
        self.tally.statistics.held += 1;
        self.keep(at, effects);
        self.tell(at, EventKind::Granted, now, effects);
    }

    /// The locks of the names that are not seen through views.
    fn enter_locks(&mut self, names: Vec<LockName>, views: &[View]) -> LockList {
        let mut locks = Vec::new();
        let only = names.len() == 1;
        for (place, name) in names.into_iter().enumerate() {
            if views.iter().any(|it| it.place == place) {
                continue;
            }
            let lock = self.table.locks.find_or_add(name);
            if only {
                return LockList::One(lock);
            }
            locks.push(lock);
        }
        LockList::from(locks)
    }

    /// Whether a principal may do what the holder of a request may.
    pub(super) fn is_of(&self, request: &Request, principal: &Principal) -> bool {
        let of = &self.table.principals.get(request.principal).principal;
        of == principal || *principal == Principal::node()
    }
}

/// Whether a request is allowed, but for its names.
pub(crate) fn validate(request: &Acquire) -> Result<(), Invalid> {
    validate_party(&request.party)?;
    if request.wait > WAIT_MAX {
        let why = format!("a wait is at most {} s", WAIT_MAX.as_secs());
        return Err(Invalid::new(Field::Wait, why));
    }
    match (request.lease, request.holder) {
        (Some(_), Holder::Session(_)) => {
            let why = "a session's grant has no lease of its own";
            Err(Invalid::new(Field::Lease, why))
        }
        (Some(lease), Holder::Transaction(_) | Holder::Caller) => validate_lease(lease),
        (None, Holder::Transaction(_) | Holder::Session(_)) => Ok(()),
        (None, Holder::Caller) => Err(Invalid::new(Field::Lease, "a caller's grant needs a lease")),
    }
}

/// Whether what is said about who asks is allowed.
pub(super) fn validate_party(party: &Party) -> Result<(), Invalid> {
    if party.label.len() > LABEL_BYTES_MAX {
        let why = format!("a label has at most {LABEL_BYTES_MAX} bytes");
        return Err(Invalid::new(Field::Label, why));
    }
    if party
        .owner
        .as_ref()
        .is_some_and(|it| it.len() > OWNER_BYTES_MAX)
    {
        let why = format!("an owner has at most {OWNER_BYTES_MAX} bytes");
        return Err(Invalid::new(Field::Owner, why));
    }
    Ok(())
}

pub(crate) fn validate_lease(lease: Duration) -> Result<(), Invalid> {
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return Ok(());
    }
    let (min, max) = (LEASE_MIN.as_millis(), LEASE_MAX.as_secs() / 3600);
    let why = format!("a lease lasts {min} ms to {max} h");
    Err(Invalid::new(Field::Lease, why))
}

/// The names asked for, each once, in the order they were asked for.
pub(crate) fn without_repetitions(names: Vec<LockName>) -> Result<Vec<LockName>, Invalid> {
    // By far the most requests are of one name.
    if names.len() == 1 {
        return Ok(names);
    }
    let invalid = |why: String| Err(Invalid::new(Field::Names, why));
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

/// What a request is answered that its transaction needs nothing for.
fn only_views(views: Vec<View>, now: Time) -> Granted {
    Granted {
        tokens: views.into_iter().map(|it| (it.name, it.token)).collect(),
        acquired: Vec::new(),
        since: now,
        remaining: None,
        waited: Duration::ZERO,
    }
}

/// Why a transaction cannot have in one mode what it holds in another.
fn change(held: Mode, asked: Mode, name: &LockName) -> AcquireError {
    let field = match (held, asked) {
        (Mode::Permits(_), Mode::Permits(_)) => Field::Permits,
        _ => Field::Mode,
    };
    let why = format!("the transaction holds `{name}` in another mode, which cannot be changed");
    Invalid::new(field, why).into()
}

fn too_many_holders(most: usize) -> String {
    format!("a lock has at most {most} holders")
}

impl Invalid {
    pub(super) fn new(field: Field, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { field, why }
    }
}
