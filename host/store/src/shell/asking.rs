//! Those who ask for locks, and what they hear.
//!
//! ```text
//!               answered at once
//!   asks --+--------------------------------------------------> Heard
//!          |                                                     ^
//!          | waits, or is withheld                               |
//!          +----------------------> Pending -- told, and polled -+
//!                                     |
//!                                     | goes away, told or not
//!                                     v
//!                                    Left
//! ```
//!
//! Several may ask the same if its id was made from a request id. When the last
//! of them has left and none has heard that it was granted, nobody knows of it:
//! then the wait ends or the grant is given back, and the id may be asked again.

use super::journal::{Journal, NoRoom, Withheld};
use super::{Outbox, Shell, State, Written, gone};
use crate::core::{Acquired, Core, Effect};
use crate::id::GrantId;
use crate::store::{Acquire, AcquireError, Granted, Holder};
use crate::time::Time;
use tokio::sync::oneshot;

/// How many may wait for the answer to one request id at once.
pub(super) const ASKERS_MAX: usize = 1_000;

pub(super) type Reply = oneshot::Sender<Result<Granted, AcquireError>>;

/// Those who wait for one request to be served.
pub(super) struct Askers {
    is_outside: bool,
    replies: Vec<(AskerNumber, Reply)>,
}

/// Tells those who ask the same from each other.
type AskerNumber = u64;

/// Those who asked under one request id and have neither heard nor left.
pub(super) struct Interest {
    pending: usize,
    /// Whether somebody has heard that it was granted.
    is_known: bool,
}

/// A request for locks that was answered at once, or will be.
enum Begun {
    Answered(Result<Granted, AcquireError>),
    Refused(Written<AcquireError>),
    Pending(Pending),
}

/// Who waits for an answer.
struct Pending {
    receiver: oneshot::Receiver<Result<Granted, AcquireError>>,
    number: AskerNumber,
}

/// Takes somebody's leave who goes away without having heard.
struct Asker<'a> {
    shell: &'a Shell,
    id: GrantId,
    number: AskerNumber,
    repeatable: bool,
    is_pending: bool,
}

impl Shell {
    pub(crate) async fn acquire(&self, request: Acquire) -> Result<Granted, AcquireError> {
        let (id, repeatable) = (request.id, request.repeatable);
        let begun = self.enter(|state, now, outbox| state.acquire(request, now, outbox));
        let Pending { receiver, number } = match begun {
            Begun::Answered(answer) => return answer,
            Begun::Refused(refusal) => return Err(refusal.settled().await?),
            Begun::Pending(pending) => pending,
        };
        let asker = Asker {
            shell: self,
            id,
            number,
            repeatable,
            is_pending: true,
        };
        let answer = receiver.await.unwrap_or_else(|_| Err(gone().into()));
        asker.hears(answer.is_ok());
        answer
    }
}

impl State {
    fn acquire(&mut self, request: Acquire, now: Time, outbox: &mut Outbox) -> Begun {
        let (id, repeatable) = (request.id, request.repeatable);
        let is_outside = !matches!(request.holder, Holder::Transaction(_));
        if let Err(error) = self.check_askers(id, is_outside) {
            return Begun::Answered(Err(error));
        }
        let looks_for_new = is_outside && self.journal.is_some();
        let mut is_new = !looks_for_new;
        let acquired = self.step(now, outbox, |core, now, effects| {
            let acquired = core.acquire(request, now, effects);
            if looks_for_new {
                is_new = effects.iter().any(|it| is_about(it, id));
            }
            acquired
        });
        match acquired {
            Acquired::Refused(error) => self.refused(error, is_outside, outbox),
            Acquired::Granted(granted) if !self.must_wait(&granted, is_outside) => {
                if let Some(interest) = self.interests.get_mut(&id) {
                    interest.is_known = true;
                }
                Begun::Answered(Ok(granted))
            }
            Acquired::Granted(granted) => {
                let (reply, receiver) = oneshot::channel();
                self.withhold(id, granted, reply, is_new, outbox);
                let number = self.pend(id, repeatable, !is_new);
                Begun::Pending(Pending { receiver, number })
            }
            Acquired::Waiting => {
                let (reply, receiver) = oneshot::channel();
                let number = self.pend(id, repeatable, false);
                let askers = self.waiting.entry(id).or_insert_with(|| Askers {
                    is_outside,
                    replies: Vec::with_capacity(1),
                });
                askers.replies.push((number, reply));
                Begun::Pending(Pending { receiver, number })
            }
        }
    }

    /// Whether one more may ask for this.
    fn check_askers(&self, id: GrantId, is_outside: bool) -> Result<(), AcquireError> {
        if !is_outside {
            return Ok(());
        }
        self.check_room()?;
        match self.interests.get(&id) {
            Some(interest) if interest.pending >= ASKERS_MAX => Err(AcquireError::Quota(format!(
                "at most {ASKERS_MAX} callers wait for the answer to one request id"
            ))),
            _ => Ok(()),
        }
    }

    /// The answer to a request that got nothing. That its id has ended rests on
    /// what is on the disk; that somebody else is served may be told at once.
    fn refused(&mut self, error: AcquireError, is_outside: bool, outbox: &mut Outbox) -> Begun {
        match error {
            AcquireError::Lost | AcquireError::Cancelled if is_outside => {
                Begun::Refused(self.settle(error, outbox))
            }
            error => Begun::Answered(Err(error)),
        }
    }

    /// Whether a grant must not be told yet: its token is above what has been
    /// reserved; or it is a caller's, and something is not on the disk.
    fn must_wait(&self, granted: &Granted, is_outside: bool) -> bool {
        let Some(journal) = &self.journal else {
            return false;
        };
        let limit = self.core.token_limit();
        is_outside && journal.is_behind() || granted.tokens.iter().any(|(_, it)| *it > limit)
    }

    fn withhold(
        &mut self,
        id: GrantId,
        granted: Granted,
        reply: Reply,
        is_new: bool,
        outbox: &mut Outbox,
    ) {
        match &mut self.journal {
            Some(journal) => {
                journal.withhold(Withheld::Grant {
                    id,
                    granted,
                    reply,
                    is_new,
                });
                outbox.nudges |= journal.is_pending();
            }
            None => outbox.waiters.push((reply, Ok(granted))),
        }
    }

    /// Tells a grant that is written down by now, or that it has ended since.
    /// Its end may not be written down yet, and then that waits.
    pub(super) fn tell_grant(
        &mut self,
        id: GrantId,
        mut granted: Granted,
        reply: Reply,
        now: Time,
        outbox: &mut Outbox,
    ) {
        // Without a grant of its own it is a view of others.
        if !granted.acquired.is_empty() {
            match self.core.remaining(id, &granted, now) {
                Some(remaining) => granted.remaining = remaining,
                None => return self.tell_lost(reply, outbox),
            }
        }
        outbox.waiters.push((reply, Ok(granted)));
    }

    fn tell_lost(&mut self, reply: Reply, outbox: &mut Outbox) {
        match &mut self.journal {
            Some(journal) if journal.is_behind() => {
                journal.withhold(Withheld::Refusal(reply, AcquireError::Lost));
                outbox.nudges |= journal.is_pending();
            }
            _ => outbox.waiters.push((reply, Err(AcquireError::Lost))),
        }
    }

    /// Somebody waits for an answer. Whether the grant is known already is said
    /// by who asks first: whoever comes later may find one that nobody has
    /// heard of.
    fn pend(&mut self, id: GrantId, repeatable: bool, is_known: bool) -> AskerNumber {
        if repeatable {
            let interest = self.interests.entry(id).or_insert(Interest {
                pending: 0,
                is_known,
            });
            interest.pending += 1;
        }
        self.asked += 1;
        self.asked
    }

    /// One of those who wait has heard or left. Whether that was the last, and
    /// none has heard of a grant.
    fn unpend(&mut self, id: GrantId, hears_of_grant: bool) -> bool {
        let Some(interest) = self.interests.get_mut(&id) else {
            return false;
        };
        interest.is_known |= hears_of_grant;
        interest.pending -= 1;
        if interest.pending > 0 {
            return false;
        }
        let is_known = interest.is_known;
        self.interests.remove(&id);
        !is_known
    }

    /// A wait ended well: those who wait are told, or will be.
    pub(super) fn serve(&mut self, id: GrantId, granted: Granted, outbox: &mut Outbox) {
        let Some(askers) = self.waiting.remove(&id) else {
            return;
        };
        let must_wait = self.must_wait(&granted, askers.is_outside);
        for (_, reply) in askers.replies {
            let granted = granted.clone();
            if must_wait {
                self.withhold(id, granted, reply, true, outbox);
            } else {
                outbox.waiters.push((reply, Ok(granted)));
            }
        }
    }

    /// A wait ended badly.
    pub(super) fn refuse(&mut self, id: GrantId, error: AcquireError, outbox: &mut Outbox) {
        let askers = self.waiting.remove(&id).into_iter();
        for (_, reply) in askers.flat_map(|it| it.replies) {
            outbox.waiters.push((reply, Err(error.clone())));
        }
    }

    fn leave(&mut self, asker: &Asker<'_>, now: Time, outbox: &mut Outbox) {
        if let Some(askers) = self.waiting.get_mut(&asker.id) {
            askers.replies.retain(|(number, _)| *number != asker.number);
            if askers.replies.is_empty() {
                self.waiting.remove(&asker.id);
            }
        }
        if !asker.repeatable || self.unpend(asker.id, false) {
            self.abandon(asker.id, now, outbox);
        }
    }

    /// Nobody knows of this request, and nobody will.
    pub(super) fn abandon(&mut self, id: GrantId, now: Time, outbox: &mut Outbox) {
        let step = |core: &mut Core, now, effects: &mut _| core.abandon(id, now, effects);
        self.step(now, outbox, step);
    }

    /// Whether the journal takes something new.
    pub(super) fn check_room(&self) -> Result<(), NoRoom> {
        self.journal.as_ref().map_or(Ok(()), Journal::check_room)
    }
}

impl Asker<'_> {
    /// The answer has arrived.
    fn hears(mut self, of_grant: bool) {
        self.is_pending = false;
        if self.repeatable {
            self.shell.state().unpend(self.id, of_grant);
        }
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        if self.is_pending {
            self.shell
                .enter(|state, now, outbox| state.leave(self, now, outbox));
        }
    }
}

/// Whether an effect writes down something about this grant.
pub(super) fn is_about(effect: &Effect, id: GrantId) -> bool {
    match effect {
        Effect::Keep(grant) => grant.id == id,
        Effect::Forget(it) | Effect::Remember(it, _) => *it == id,
        _ => false,
    }
}
