//! Drives the [core](crate::core) for both stores: one mutex, the time, those
//! who wait, those who watch, and a timer.
//!
//! Operations run in the caller's thread; the mutex is held for the time of one
//! operation of the core, and nobody is woken under it. What has to outlive a
//! restart goes to the [journal], and what must not be told before it is written
//! down stays there until it is. Read in this order: this, `asking.rs` (who
//! waits for a lock), `journal.rs`, `operations.rs` (everything else that is
//! asked), `sessions.rs`, `watch.rs`.

mod asking;
mod forward;
mod journal;
mod listing;
mod operations;
mod sessions;
#[cfg(test)]
mod tests;
mod timer;
mod watch;

pub(crate) use forward::lock_operations;
pub(crate) use journal::Changes;
pub(crate) use operations::log_taken;
pub(crate) use sessions::Lines;
pub(crate) use timer::Timer;
pub(crate) use watch::Ring;
pub use watch::Watch;

use crate::clock::Clock;
use crate::core::hash::IdMap;
use crate::core::{Core, Effect, Limits};
use crate::id::GrantId;
use crate::store::{AcquireError, Granted, LockEvent, Principal, StoreError};
use crate::time::Time;
use asking::{Askers, Interest, Reply};
use journal::{Journal, Withheld};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How long after the disk failed it is tried again, if nobody asks for it
/// earlier.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many effects and events of a step room is kept for once it is done. A
/// single one may have had very many.
const ROOM_KEPT: usize = 1024;

/// The core, and what surrounds it.
pub(crate) struct Shell {
    clock: Clock,
    state: Mutex<State>,
    /// Wakes the timer when a deadline comes before the one it sleeps until.
    deadline_moved: Condvar,
    /// Wakes whoever writes the journal. Must not block.
    nudge: Option<Nudge>,
    ring: Arc<Ring>,
    /// The turns of those who list locks.
    lists: Semaphore,
}

pub(crate) type Nudge = Box<dyn Fn() + Send + Sync>;

struct State {
    core: Core,
    /// Room for the effects of one operation.
    effects: Vec<Effect>,
    waiting: IdMap<GrantId, Askers>,
    /// Those who asked under a request id, while some have not heard.
    interests: IdMap<GrantId, Interest>,
    /// How many have ever waited for an answer.
    asked: u64,
    lines: Lines,
    /// `None` if nothing outlives the process.
    journal: Option<Journal>,
    /// When to try again what could not be written.
    retry_at: Option<Time>,
    /// Until when the names of the locks are kept in order, if they are.
    ordered_until: Option<Time>,
    /// The events of one operation; empty unless somebody watches.
    events: Vec<LockEvent>,
    /// Whether somebody watches, or may come back to.
    is_watched: bool,
    /// Until when the timer sleeps; time zero while it is awake.
    timer_sleeps_until: Time,
    closed: bool,
}

/// Who is told what, once the mutex is free.
#[derive(Default)]
struct Outbox {
    waiters: Vec<(Reply, Result<Granted, AcquireError>)>,
    /// Whether there is something to write down.
    nudges: bool,
    /// Whether there is something for those who watch.
    has_news: bool,
}

/// An answer that may have to wait for the journal.
struct Written<T>(T, Option<oneshot::Receiver<Result<(), StoreError>>>);

impl Shell {
    /// For a store that does not outlive the process.
    pub(crate) fn volatile(core: Core, clock: Clock, limits: Limits) -> Arc<Self> {
        Self::new(core, clock, limits, None)
    }

    /// For a store that writes the journal when it is nudged.
    pub(crate) fn durable(core: Core, clock: Clock, limits: Limits, nudge: Nudge) -> Arc<Self> {
        Self::new(core, clock, limits, Some(nudge))
    }

    fn new(mut core: Core, clock: Clock, limits: Limits, nudge: Option<Nudge>) -> Arc<Self> {
        core.mute(true);
        if nudge.is_none() {
            core.has_no_disk();
        }
        Arc::new(Self {
            clock,
            state: Mutex::new(State {
                core,
                effects: Vec::new(),
                waiting: IdMap::default(),
                interests: IdMap::default(),
                asked: 0,
                lines: Lines::default(),
                journal: nudge.is_some().then(|| Journal::new(limits.unwritten)),
                retry_at: None,
                ordered_until: None,
                events: Vec::new(),
                is_watched: false,
                timer_sleeps_until: Time::default(),
                closed: false,
            }),
            deadline_moved: Condvar::new(),
            nudge,
            ring: Arc::new(Ring::new(limits)),
            lists: Semaphore::new(listing::LISTS_MAX),
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Does one step of the core, and what follows from it.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut Core, Time, &mut Vec<Effect>) -> R) -> R {
        self.enter(|state, now, outbox| state.step(now, outbox, step))
    }

    /// Lets time pass.
    pub(crate) fn tick(&self) {
        self.enter(|state, now, outbox| {
            state.step(now, outbox, |core, now, effects| core.tick(now, effects));
            if state.retry_at.is_some_and(|it| it <= now) {
                state.retry_at = None;
                outbox.nudges = true;
            }
            state.forget_order(now);
        });
    }

    /// Takes what has to be written down now. Whoever takes it says how that
    /// went: [`Shell::journal_written`] or [`Shell::journal_failed`].
    pub(crate) fn take_journal(&self) -> Changes {
        let mut state = self.state();
        state.retry_at = None;
        state
            .journal
            .as_mut()
            .map(Journal::take)
            .unwrap_or_default()
    }

    /// The journal is on the disk: who waited for that is told. A grant that
    /// has ended meanwhile is told as lost.
    pub(crate) fn journal_written(&self, changes: Changes) {
        let mut done = Vec::new();
        self.enter(|state, now, outbox| {
            if let Some(token) = changes.token {
                state.core.reserved(token);
            }
            let told = state.journal.as_mut().map(Journal::written);
            // What runs out now ends before it is told.
            state.step(now, outbox, |core, now, effects| core.tick(now, effects));
            for withheld in told.unwrap_or_default() {
                match withheld {
                    Withheld::Grant {
                        id, granted, reply, ..
                    } => state.tell_grant(id, granted, reply, now, outbox),
                    Withheld::Refusal(reply, error) => outbox.waiters.push((reply, Err(error))),
                    Withheld::Session(_, reply) | Withheld::Done(reply) => done.push(reply),
                }
            }
        });
        for reply in done {
            // A receiver that is gone has taken leave.
            drop(reply.send(Ok(())));
        }
    }

    /// The journal could not be written. Grants and sessions that nobody was
    /// told of are given back; the rest has happened, and is tried again: with
    /// what comes, or after a pause.
    pub(crate) fn journal_failed(&self, changes: Changes, error: &StoreError) {
        let mut refused = Vec::new();
        self.enter(|state, now, outbox| {
            let Some(journal) = &mut state.journal else {
                return;
            };
            for withheld in journal.failed(changes) {
                match withheld {
                    Withheld::Grant {
                        id, reply, is_new, ..
                    } => {
                        if is_new {
                            state.abandon(id, now, outbox);
                        }
                        outbox.waiters.push((reply, Err(error.clone().into())));
                    }
                    Withheld::Refusal(reply, _) => {
                        outbox.waiters.push((reply, Err(error.clone().into())));
                    }
                    Withheld::Session(id, reply) => {
                        let node = Principal::node();
                        // It is not there any more at worst.
                        drop(state.step(now, outbox, |core, now, effects| {
                            core.close_session(id, &node, now, effects)
                        }));
                        refused.push(reply);
                    }
                    Withheld::Done(reply) => refused.push(reply),
                }
            }
            state.retry_at = Some(now + RETRY_AFTER);
        });
        for reply in refused {
            drop(reply.send(Err(error.clone())));
        }
    }

    /// Holds the mutex for `operation`, and does outside it what follows.
    fn enter<R>(&self, operation: impl FnOnce(&mut State, Time, &mut Outbox) -> R) -> R {
        let mut outbox = Outbox::default();
        let mut state = self.state();
        // Read under the mutex, so that time rises from one step to the next.
        let now = self.clock.now();
        let answer = operation(&mut state, now, &mut outbox);
        if !state.events.is_empty() {
            let is_watched = self.ring.record(state.events.drain(..), now);
            state.heed_watchers(is_watched);
            state.events.shrink_to(ROOM_KEPT);
            outbox.has_news = true;
        }
        let deadline_moved = state
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
        if outbox.has_news {
            self.ring.tell();
        }
        for (reply, answer) in outbox.waiters {
            // A receiver that is gone has taken leave, or is about to.
            drop(reply.send(answer));
        }
        answer
    }

    fn state(&self) -> MutexGuard<'_, State> {
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
        for effect in effects.drain(..) {
            match effect {
                Effect::Granted(id, granted) => self.serve(id, granted, outbox),
                Effect::TimedOut(id) => self.refuse(id, AcquireError::TimedOut, outbox),
                Effect::Cancelled(id) => self.refuse(id, AcquireError::Cancelled, outbox),
                Effect::Deadlock(id, cycle) => {
                    self.refuse(id, AcquireError::Deadlock(cycle), outbox);
                }
                Effect::Lost(session, lost) => self.lines.lose(session, lost),
                Effect::Unattached(session) => self.lines.cut(session),
                Effect::Event(event) => self.events.push(event),
                // These come before the grants that rest on them are told.
                kept => {
                    if let Effect::ForgetSession(session) = kept {
                        self.lines.cut(session);
                    }
                    if let Some(journal) = &mut self.journal {
                        outbox.nudges |= journal.add(kept, now);
                    }
                }
            }
        }
        effects.shrink_to(ROOM_KEPT);
        self.effects = effects;
        answer
    }

    /// An answer to a caller outside: it waits until all that has happened so
    /// far is on the disk.
    fn settle<T>(&mut self, answer: T, outbox: &mut Outbox) -> Written<T> {
        self.settle_as(answer, Withheld::Done, outbox)
    }

    fn settle_as<T>(
        &mut self,
        answer: T,
        withheld: impl FnOnce(journal::Done) -> Withheld,
        outbox: &mut Outbox,
    ) -> Written<T> {
        let receiver = match &mut self.journal {
            Some(journal) if journal.is_behind() => {
                let (reply, receiver) = oneshot::channel();
                journal.withhold(withheld(reply));
                outbox.nudges |= journal.is_pending();
                Some(receiver)
            }
            _ => None,
        };
        Written(answer, receiver)
    }

    /// Has the core tell what happens, or not.
    fn heed_watchers(&mut self, are_there: bool) {
        self.is_watched = are_there;
        self.core.mute(!are_there);
    }

    /// When the next thing happens by itself.
    fn next_deadline(&self) -> Option<Time> {
        let core = self.core.next_deadline();
        let own = self.retry_at.into_iter().chain(self.ordered_until);
        core.into_iter().chain(own).min()
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

/// The store was closed while somebody waited for it.
fn gone() -> StoreError {
    StoreError::Unavailable("it was closed".to_owned())
}
