//! A core, a time, and what came of it; and requests in few words.

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MICRO: Duration = Duration::from_micros(1);
pub(super) const NO_WAIT: Duration = Duration::ZERO;
/// The lease of a caller's requests.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How sessions live.
pub(super) const TTL: Duration = Duration::from_secs(5);
/// See [`TTL`].
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// A core to try things on. After each operation its indices are compared.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Time,
    pub(super) effects: Vec<Effect>,
}

impl Effect {
    /// Whether somebody who waits or is attached is told.
    pub(crate) fn is_told(&self) -> bool {
        matches!(
            self,
            Effect::Granted(..)
                | Effect::TimedOut(_)
                | Effect::Cancelled(_)
                | Effect::Deadlock(..)
                | Effect::Lost(..)
                | Effect::Unattached(_)
        )
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let now = Time::from_micros(1_000_000);
        Self {
            core: Core::volatile(limits, now),
            now,
            effects: Vec::new(),
        }
    }

    pub(super) fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    pub(super) fn tick(&mut self) {
        self.core.tick(self.now, &mut self.effects);
    }

    pub(super) fn acquire(&mut self, request: &Acquire) -> Acquired {
        self.core
            .acquire(request.clone(), self.now, &mut self.effects)
    }

    pub(super) fn granted(&mut self, request: &Acquire) -> Granted {
        match self.acquire(request) {
            Acquired::Granted(granted) => granted,
            other => panic!("not granted: {other:?}"),
        }
    }

    /// Acquires what is free; answers the token of the first name.
    pub(super) fn hold(&mut self, request: &Acquire) -> Token {
        self.granted(request).tokens[0].1
    }

    pub(super) fn wait(&mut self, request: &Acquire) {
        assert_eq!(self.acquire(request), Acquired::Waiting);
    }

    pub(super) fn hold_all(&mut self, requests: &[Acquire]) {
        for request in requests {
            self.hold(request);
        }
    }

    pub(super) fn wait_all(&mut self, requests: &[Acquire]) {
        for request in requests {
            self.wait(request);
        }
    }

    pub(super) fn refused(&mut self, request: &Acquire) -> AcquireError {
        match self.acquire(request) {
            Acquired::Refused(error) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Which part of a request is found wrong.
    pub(super) fn invalid(&mut self, request: &Acquire) -> Field {
        match self.refused(request) {
            AcquireError::Invalid(it) => it.field,
            other => panic!("refused for another reason: {other:?}"),
        }
    }

    pub(super) fn cycle(&mut self, request: &Acquire) -> Cycle {
        match self.refused(request) {
            AcquireError::Deadlock(cycle) => cycle,
            other => panic!("refused for another reason: {other:?}"),
        }
    }

    pub(super) fn is_over_quota(&mut self, request: &Acquire) -> bool {
        matches!(self.refused(request), AcquireError::Quota(_))
    }

    pub(super) fn release(&mut self, request: &Acquire) -> Released {
        let by = &request.party.principal;
        let released = self
            .core
            .release(request.id, by, self.now, &mut self.effects);
        released.unwrap()
    }

    pub(super) fn cancel(&mut self, request: &Acquire) -> Cancelled {
        let by = &request.party.principal;
        let cancelled = self
            .core
            .cancel(request.id, by, self.now, &mut self.effects);
        cancelled.unwrap()
    }

    pub(super) fn renew(
        &mut self,
        request: &Acquire,
        lease: Option<Duration>,
    ) -> Result<Option<Duration>, RenewError> {
        let by = &request.party.principal;
        let renewed = self
            .core
            .renew(request.id, by, lease, self.now, &mut self.effects);
        renewed.map(|it| it.remaining)
    }

    pub(super) fn force(&mut self, text: &str) -> Vec<Taken> {
        let all = Permission::all();
        let taken = self
            .core
            .force_release(&name(text), &all, self.now, &mut self.effects);
        taken.unwrap()
    }

    pub(super) fn end(&mut self, holder: Holder) {
        let Holder::Transaction(id) = holder else {
            panic!("not a transaction: {holder:?}");
        };
        self.core.end(id, self.now, &mut self.effects);
    }

    /// Opens a session of the node's.
    pub(super) fn open(&mut self) -> SessionId {
        let request = session(&Principal::node());
        let id = request.id;
        let opened = self.core.open_session(request, self.now, &mut self.effects);
        opened.unwrap();
        id
    }

    pub(super) fn attach(&mut self, id: SessionId) -> Result<Attachment, SessionError> {
        let node = Principal::node();
        let attached = self.core.attach(id, &node, self.now, &mut self.effects);
        attached.map(|it| it.attachment)
    }

    pub(super) fn beat(&mut self, id: SessionId, of: Attachment) -> Result<(), SessionError> {
        self.core.beat(id, of, self.now, &mut self.effects)
    }

    pub(super) fn detach(&mut self, id: SessionId, of: Attachment) {
        self.core.detach(id, of, self.now, &mut self.effects);
    }

    pub(super) fn close(&mut self, id: SessionId) {
        let node = Principal::node();
        let closed = self
            .core
            .close_session(id, &node, self.now, &mut self.effects);
        closed.unwrap();
    }

    pub(super) fn look(&mut self, text: &str) -> Lock {
        self.core.look(&name(text), self.now, &mut self.effects)
    }

    /// How many hold a lock, and how many wait for it.
    pub(super) fn count(&mut self, text: &str) -> (usize, usize) {
        let lock = self.look(text);
        assert_sound(&self.core);
        (lock.holding, lock.waiting)
    }

    pub(super) fn is_held(&mut self, text: &str) -> bool {
        self.count(text).0 > 0
    }

    /// What was told to whoever waits or is attached, since the last time this
    /// was asked.
    pub(super) fn told(&mut self) -> Vec<Effect> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        effects.filter(Effect::is_told).collect()
    }

    /// What is to be written down, since the last time this was asked.
    pub(super) fn written(&mut self) -> Vec<Effect> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let written = |it: &Effect| {
            matches!(
                it,
                Effect::Keep(_)
                    | Effect::Forget(_)
                    | Effect::Remember(..)
                    | Effect::KeepSession(_)
                    | Effect::ForgetSession(_)
            )
        };
        effects.filter(written).collect()
    }

    /// What watchers are told, since the last time this was asked.
    pub(super) fn events(&mut self) -> Vec<LockEvent> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let event = |it| match it {
            Effect::Event(event) => Some(event),
            _ => None,
        };
        effects.filter_map(event).collect()
    }

    /// Who was served since the last time this was asked.
    pub(super) fn served(&mut self) -> Vec<GrantId> {
        let served = |it| match it {
            Effect::Granted(id, _) => Some(id),
            _ => None,
        };
        self.told().into_iter().filter_map(served).collect()
    }
}

/// What must hold in a core at every moment.
pub(in crate::core) fn assert_sound(core: &Core) {
    core.table.assert_agrees();
}

pub(super) fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

pub(super) fn transaction() -> Holder {
    Holder::Transaction(TransactionId::mint())
}

pub(super) fn session(principal: &Principal) -> OpenSession {
    OpenSession {
        id: SessionId::mint(),
        ttl: TTL,
        grace: GRACE,
        party: Party {
            principal: principal.clone(),
            ..Party::node("a session")
        },
    }
}

/// A request of the node's, to wait for a minute; a caller's with a lease.
pub(super) fn request(holder: Holder, names: &[&str]) -> Acquire {
    Acquire {
        id: GrantId::mint(),
        repeatable: false,
        names: names.iter().map(|it| name(it)).collect(),
        mode: Mode::Exclusive,
        holder,
        lease: (holder == Holder::Caller).then_some(LEASE),
        wait: 60 * SECOND,
        party: Party::node("test"),
    }
}

/// A request of a caller's.
pub(super) fn caller(names: &[&str]) -> Acquire {
    request(Holder::Caller, names)
}

/// A request of a transaction that has nothing else.
pub(super) fn single(names: &[&str]) -> Acquire {
    request(transaction(), names)
}

pub(super) fn shared(request: Acquire) -> Acquire {
    in_mode(Mode::Shared, request)
}

pub(super) fn permits(number: u32, request: Acquire) -> Acquire {
    in_mode(Mode::Permits(number.try_into().unwrap()), request)
}

fn in_mode(mode: Mode, request: Acquire) -> Acquire {
    Acquire { mode, ..request }
}

pub(super) fn trying(request: Acquire) -> Acquire {
    waiting(NO_WAIT, request)
}

pub(super) fn waiting(wait: Duration, request: Acquire) -> Acquire {
    Acquire { wait, ..request }
}

pub(super) fn repeatable(request: Acquire) -> Acquire {
    Acquire {
        repeatable: true,
        ..request
    }
}

pub(super) fn of_owner(owner: &str, mut request: Acquire) -> Acquire {
    request.party.owner = Some(owner.into());
    request
}

pub(super) fn labelled(label: &str, mut request: Acquire) -> Acquire {
    request.party.label = label.into();
    request
}

pub(super) fn of_principal(principal: &str, mut request: Acquire) -> Acquire {
    request.party.principal = Principal::new(principal);
    request
}
