//! Drives the [core](crate::core) for both stores: one mutex, the time, those
//! who wait, and a timer.
//!
//! Operations run in the caller's thread; the mutex is held for the time of one
//! operation of the core, and nobody is woken under it. What has to outlive a
//! restart goes to the [journal](Journal), and what must not be told before it
//! is written down stays there until it is.

mod timer;

pub(crate) use timer::Timer;

use crate::clock::Clock;
use crate::core::hash::IdMap;
use crate::core::{Acquired, CallerGrant, Core, Effect};
use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{
    Acquire, AcquireError, Granted, Holder, Lock, Released, RenewError, StoreError, Taken, Token,
};
use crate::time::Time;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// The core, and what surrounds it.
pub(crate) struct Shell {
    clock: Clock,
    state: Mutex<State>,
    /// Wakes the timer when a deadline comes before the one it sleeps until.
    deadline_moved: Condvar,
    /// Wakes whoever writes the journal. Must not block.
    nudge: Option<Nudge>,
}

pub(crate) type Nudge = Box<dyn Fn() + Send + Sync>;

struct State {
    core: Core,
    /// Room for the effects of one operation.
    effects: Vec<Effect>,
    waiting: IdMap<GrantId, Reply>,
    /// `None` if nothing outlives the process.
    journal: Option<Journal>,
    /// Until when the timer sleeps; time zero while it is awake.
    timer_sleeps_until: Time,
    closed: bool,
}

type Reply = oneshot::Sender<Result<Granted, AcquireError>>;

/// What has to be written down, in order, and who waits for that.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) changes: Vec<Change>,
    withheld: Vec<Withheld>,
    /// How many answers may be withheld before callers are refused.
    room: usize,
}

/// One thing to write down.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Keep(CallerGrant),
    Forget(GrantId),
    Reserve(Token),
}

/// What nobody is told before the journal is written.
enum Withheld {
    Grant(GrantId, Granted, Reply),
    Done(oneshot::Sender<Result<(), StoreError>>),
}

/// Who is told what, once the mutex is free.
#[derive(Default)]
struct Outbox {
    waiters: Vec<(Reply, Result<Granted, AcquireError>)>,
    /// Whether there is something to write down.
    nudges: bool,
    /// Whether it is about a grant, so that the answer has to wait for it.
    is_kept: bool,
}

/// A request for locks that was answered at once, or will be.
enum Begun {
    Answered(Result<Granted, AcquireError>),
    Pending(oneshot::Receiver<Result<Granted, AcquireError>>),
}

/// An answer that may have to wait for the journal.
struct Written<T>(T, Option<oneshot::Receiver<Result<(), StoreError>>>);

impl Shell {
    /// For a store that does not outlive the process.
    pub(crate) fn volatile(core: Core, clock: Clock) -> Arc<Self> {
        Self::new(core, clock, None, None)
    }

    /// For a store that writes the journal when it is nudged. `unwritten` is
    /// how many answers may wait for that.
    pub(crate) fn durable(core: Core, clock: Clock, nudge: Nudge, unwritten: usize) -> Arc<Self> {
        let journal = Journal {
            room: unwritten,
            ..Journal::default()
        };
        Self::new(core, clock, Some(journal), Some(nudge))
    }

    fn new(core: Core, clock: Clock, journal: Option<Journal>, nudge: Option<Nudge>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::new(State {
                core,
                effects: Vec::new(),
                waiting: IdMap::default(),
                journal,
                timer_sleeps_until: Time::default(),
                closed: false,
            }),
            deadline_moved: Condvar::new(),
            nudge,
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Does one step of the core, and what follows from it.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R) -> R {
        self.enter(|state, now, outbox| state.step(now, outbox, step))
    }

    pub(crate) async fn acquire(&self, request: Acquire) -> Result<Granted, AcquireError> {
        let id = request.id;
        let receiver = match self.enter(|state, now, outbox| state.acquire(request, now, outbox)) {
            Begun::Answered(answer) => return answer,
            Begun::Pending(receiver) => receiver,
        };
        let mut cancel = CancelOnDrop {
            shell: self,
            id: Some(id),
        };
        let answer = receiver.await.unwrap_or_else(|_| Err(gone().into()));
        cancel.id = None;
        answer
    }

    pub(crate) async fn renew(
        &self,
        grant: GrantId,
        lease: Duration,
    ) -> Result<Duration, RenewError> {
        let step = |core: &mut Core, now, effects: &mut _| core.renew(grant, lease, now, effects);
        self.written(step).settled().await?
    }

    pub(crate) async fn release(&self, grant: GrantId) -> Result<Released, StoreError> {
        let step = |core: &mut Core, now, effects: &mut _| core.release(grant, now, effects);
        self.written(step).settled().await
    }

    pub(crate) async fn force_release(
        &self,
        name: LockName,
        reason: String,
    ) -> Result<Option<Taken>, StoreError> {
        let step = |core: &mut Core, now, effects: &mut _| core.force_release(&name, now, effects);
        let written = self.written(step);
        if let Some(taken) = &written.0 {
            tracing::warn!(lock = %name, token = taken.token, holder = taken.label, reason, "lock taken away");
        }
        written.settled().await
    }

    pub(crate) fn look(&self, name: &LockName) -> Lock {
        self.step(|core, now, effects| core.look(name, now, effects))
    }

    pub(crate) fn end(&self, transaction: TransactionId) {
        self.step(|core, now, effects| core.end(transaction, now, effects));
    }

    pub(crate) fn settled(&self, transaction: TransactionId) {
        self.step(|core, now, effects| core.settled(transaction, now, effects));
    }

    pub(crate) fn unsettled(&self, transaction: TransactionId) {
        self.step(|core, now, effects| core.unsettled(transaction, now, effects));
    }

    pub(crate) fn tick(&self) {
        self.step(|core, now, effects| core.tick(now, effects));
    }

    /// Takes what has to be written down now. Whoever takes it says how that
    /// went: [`Shell::journal_written`] or [`Shell::journal_failed`].
    pub(crate) fn take_journal(&self) -> Journal {
        let mut state = self.lock();
        state
            .journal
            .as_mut()
            .map(Journal::take)
            .unwrap_or_default()
    }

    /// The journal is on the disk: who waited for that is told.
    pub(crate) fn journal_written(&self, journal: Journal) {
        let mut state = self.lock();
        for change in &journal.changes {
            if let Change::Reserve(token) = change {
                state.core.reserved(*token);
            }
        }
        drop(state);
        for withheld in journal.withheld {
            // A receiver that is gone has cancelled what it asked for.
            match withheld {
                Withheld::Grant(_, granted, reply) => drop(reply.send(Ok(granted))),
                Withheld::Done(reply) => drop(reply.send(Ok(()))),
            }
        }
    }

    /// The journal could not be written. Grants that nobody was told of are
    /// given back; the rest has happened, and is tried again with what comes.
    pub(crate) fn journal_failed(&self, journal: Journal, error: &StoreError) {
        let mut refused = Vec::new();
        self.enter(|state, now, outbox| {
            if let Some(later) = &mut state.journal {
                later.changes.splice(..0, journal.changes);
            }
            for withheld in journal.withheld {
                match withheld {
                    Withheld::Grant(id, _, reply) => {
                        state.step(now, outbox, |core, now, effects| {
                            core.release(id, now, effects)
                        });
                        outbox.waiters.push((reply, Err(error.clone().into())));
                    }
                    Withheld::Done(reply) => refused.push(reply),
                }
            }
        });
        for reply in refused {
            drop(reply.send(Err(error.clone())));
        }
    }

    /// Does one step whose answer waits for what it adds to the journal.
    fn written<R>(&self, step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R) -> Written<R> {
        self.enter(|state, now, outbox| {
            let answer = state.step(now, outbox, step);
            let receiver = outbox.is_kept.then(|| state.withhold(outbox)).flatten();
            Written(answer, receiver)
        })
    }

    /// Holds the mutex for `operation`, and does outside it what follows.
    fn enter<R>(&self, operation: impl FnOnce(&mut State, Time, &mut Outbox) -> R) -> R {
        let mut outbox = Outbox::default();
        let mut state = self.lock();
        // Read under the mutex, so that time rises from one step to the next.
        let now = self.clock.now();
        let answer = operation(&mut state, now, &mut outbox);
        let deadline_moved = state
            .core
            .next_deadline()
            .is_some_and(|it| it < state.timer_sleeps_until);
        drop(state);
        if deadline_moved {
            self.deadline_moved.notify_one();
        }
        if let Some(nudge) = &self.nudge
            && outbox.nudges
        {
            nudge();
        }
        for (reply, answer) in outbox.waiters {
            // A receiver that is gone has cancelled, or is about to.
            drop(reply.send(answer));
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl State {
    fn step<R>(
        &mut self,
        now: Time,
        outbox: &mut Outbox,
        step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R,
    ) -> R {
        let mut effects = std::mem::take(&mut self.effects);
        let answer = step(&mut self.core, now, &mut effects);
        let mut kept = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Granted(id, granted) => {
                    let Some(reply) = self.waiting.remove(&id) else {
                        continue;
                    };
                    self.tell(id, granted, kept.contains(&id), reply, outbox);
                }
                Effect::TimedOut(id) => self.refuse(id, AcquireError::TimedOut, outbox),
                Effect::Cancelled(id) => self.refuse(id, AcquireError::Cancelled, outbox),
                Effect::Keep(grant) => {
                    kept.push(grant.id);
                    self.write(Change::Keep(grant), outbox);
                }
                Effect::Forget(id) => self.write(Change::Forget(id), outbox),
                Effect::Reserve(token) => self.write(Change::Reserve(token), outbox),
            }
        }
        self.effects = effects;
        answer
    }

    fn acquire(&mut self, request: Acquire, now: Time, outbox: &mut Outbox) -> Begun {
        let id = request.id;
        if let (Some(journal), Holder::Caller) = (&self.journal, request.holder)
            && journal.withheld.len() >= journal.room
        {
            return Begun::Answered(Err(AcquireError::Quota(format!(
                "the store writes down at most {} answers at once",
                journal.room
            ))));
        }
        let is_this = |it: &Effect| matches!(it, Effect::Keep(grant) if grant.id == id);
        let mut kept = false;
        let acquired = self.step(now, outbox, |core, now, effects| {
            let acquired = core.acquire(request, now, effects);
            kept = effects.iter().any(is_this);
            acquired
        });
        match acquired {
            Acquired::Refused(error) => Begun::Answered(Err(error)),
            Acquired::Granted(granted) if !self.must_wait(&granted, kept) => {
                Begun::Answered(Ok(granted))
            }
            Acquired::Granted(granted) => {
                let (reply, receiver) = oneshot::channel();
                self.tell(id, granted, kept, reply, outbox);
                Begun::Pending(receiver)
            }
            Acquired::Waiting => {
                let (reply, receiver) = oneshot::channel();
                self.waiting.insert(id, reply);
                Begun::Pending(receiver)
            }
        }
    }

    /// Whether a grant must be written down before anybody hears of it: it is
    /// itself to be kept, or its token is above what has been reserved.
    fn must_wait(&self, granted: &Granted, kept: bool) -> bool {
        let limit = self.core.token_limit();
        let above = granted.tokens.iter().any(|(_, token)| *token > limit);
        self.journal.is_some() && (kept || above)
    }

    fn tell(
        &mut self,
        id: GrantId,
        granted: Granted,
        kept: bool,
        reply: Reply,
        outbox: &mut Outbox,
    ) {
        let must_wait = self.must_wait(&granted, kept);
        match &mut self.journal {
            Some(journal) if must_wait => {
                journal.withheld.push(Withheld::Grant(id, granted, reply));
                outbox.nudges = true;
            }
            _ => outbox.waiters.push((reply, Ok(granted))),
        }
    }

    fn refuse(&mut self, id: GrantId, error: AcquireError, outbox: &mut Outbox) {
        if let Some(reply) = self.waiting.remove(&id) {
            outbox.waiters.push((reply, Err(error)));
        }
    }

    fn write(&mut self, change: Change, outbox: &mut Outbox) {
        if let Some(journal) = &mut self.journal {
            outbox.nudges = true;
            outbox.is_kept |= !matches!(change, Change::Reserve(_));
            journal.changes.push(change);
        }
    }

    fn withhold(
        &mut self,
        outbox: &mut Outbox,
    ) -> Option<oneshot::Receiver<Result<(), StoreError>>> {
        let journal = self.journal.as_mut()?;
        let (reply, receiver) = oneshot::channel();
        journal.withheld.push(Withheld::Done(reply));
        outbox.nudges = true;
        Some(receiver)
    }
}

impl Journal {
    /// Takes what there is, and leaves room for as much.
    fn take(&mut self) -> Self {
        let empty = Self {
            room: self.room,
            ..Self::default()
        };
        std::mem::replace(self, empty)
    }
}

impl<T> Written<T> {
    async fn settled(self) -> Result<T, StoreError> {
        if let Some(receiver) = self.1 {
            receiver.await.unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(self.0)
    }
}

/// Gives back what was asked for if nobody waits for the answer any more, be it
/// still waited for or granted meanwhile.
struct CancelOnDrop<'a> {
    shell: &'a Shell,
    id: Option<GrantId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shell
                .step(|core, now, effects| core.release(id, now, effects));
        }
    }
}

/// The store was closed while somebody waited for it.
fn gone() -> StoreError {
    StoreError::Unavailable("it was closed".to_owned())
}
