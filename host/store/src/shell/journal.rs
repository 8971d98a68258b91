//! What has to be written down, and who waits for that.
//!
//! ```text
//!   effects --> changes ------take------> being written ----> on the disk
//!                  ^                          |    |
//!                  +--- it failed: once more -+    +-> whom it was kept from
//!                                                      is told
//! ```
//!
//! What a caller outside is told rests on what is on the disk: every answer it
//! gets while there are changes that are not, is withheld until they are. (A
//! restart would otherwise bring back what somebody was told had ended.)
//!
//! Of each grant and each session only the last change counts, but one that came
//! and went since the last write leaves a change all the same. Whoever brings in
//! something new waits for an answer, and the answers that wait are limited, so
//! the changes are too.

use super::asking::Reply;
use crate::core::hash::IdMap;
use crate::core::{CallerGrant, Effect, Ended};
use crate::id::{GrantId, SessionId};
use crate::store::{
    AcquireError, Granted, OpenSession, ReleaseError, SessionError, StoreError, Token,
};
use crate::time::Time;
use tokio::sync::oneshot;

/// What has to be written down.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The grants to keep, and those to strike out.
    pub(crate) grants: IdMap<GrantId, Option<CallerGrant>>,
    /// The sessions to keep, and those to strike out.
    pub(crate) sessions: IdMap<SessionId, Option<OpenSession>>,
    /// The ids that have ended: when, and how.
    pub(crate) ended: IdMap<GrantId, (Time, Ended)>,
    /// The mark no token may pass.
    pub(crate) token: Option<Token>,
}

/// Changes, and the answers that wait for them.
pub(super) struct Journal {
    changes: Changes,
    withheld: Vec<Withheld>,
    /// The answers that wait for what is being written; `None` if nothing is.
    flying: Option<Vec<Withheld>>,
    /// How many answers may be withheld before callers are refused, and how
    /// many changes are kept for a disk that fails.
    room: usize,
    is_failing: bool,
}

/// What nobody is told before the journal is written.
pub(super) enum Withheld {
    /// A grant. If it is new nobody has heard of it yet, and it is given back
    /// if it cannot be written.
    Grant {
        id: GrantId,
        granted: Granted,
        reply: Reply,
        is_new: bool,
    },
    /// That a grant has ended that was to be told.
    Refusal(Reply, AcquireError),
    /// A session that was opened, and is closed if it cannot be written.
    Session(SessionId, Done),
    /// Something that has happened.
    Done(Done),
}

pub(super) type Done = oneshot::Sender<Result<(), StoreError>>;

/// Why the journal takes nothing more for now.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    /// So many answers wait already: the disk is busy for a moment.
    #[error("nothing was done, {0} answers wait to be written down already")]
    Answers(usize),
    /// The disk fails, and so many changes are kept for it already.
    #[error("nothing was done, what has changed before cannot be written down")]
    Failing,
}

impl Journal {
    pub(super) fn new(room: usize) -> Self {
        Self {
            changes: Changes::default(),
            withheld: Vec::new(),
            flying: None,
            room,
            is_failing: false,
        }
    }

    /// Adds what an effect asks to write down; whether it asks for that.
    pub(super) fn add(&mut self, effect: Effect, now: Time) -> bool {
        self.changes.add(effect, now)
    }

    /// Whether there is anything that is not on the disk.
    pub(super) fn is_behind(&self) -> bool {
        self.flying.is_some() || !self.changes.is_empty()
    }

    /// Whether there is something to write that nobody is writing.
    pub(super) fn is_pending(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether something more may be asked of it that is not there yet.
    pub(super) fn check_room(&self) -> Result<(), NoRoom> {
        let flying = self.flying.as_ref().map_or(0, Vec::len);
        if self.withheld.len() + flying >= self.room {
            return Err(NoRoom::Answers(self.room));
        }
        if self.is_failing && self.changes.len() >= self.room {
            return Err(NoRoom::Failing);
        }
        Ok(())
    }

    /// Whether the last attempt to write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Withholds an answer until all there is now is written.
    pub(super) fn withhold(&mut self, withheld: Withheld) {
        match &mut self.flying {
            Some(flying) if self.changes.is_empty() => flying.push(withheld),
            _ => self.withheld.push(withheld),
        }
    }

    /// Takes what there is to write.
    pub(super) fn take(&mut self) -> Changes {
        let changes = std::mem::take(&mut self.changes);
        let withheld = std::mem::take(&mut self.withheld);
        let is_something = !changes.is_empty() || !withheld.is_empty();
        self.flying = is_something.then_some(withheld);
        changes
    }

    /// What was taken is written; answers who may be told now.
    pub(super) fn written(&mut self) -> Vec<Withheld> {
        self.is_failing = false;
        self.flying.take().unwrap_or_default()
    }

    /// What was taken could not be written: it is to be written with what came
    /// since. Answers whom to refuse. That is everybody who waits: who came
    /// later may have been told of something that is given back now.
    pub(super) fn failed(&mut self, changes: Changes) -> Vec<Withheld> {
        self.is_failing = true;
        self.changes.put_before(changes);
        let mut refused = self.flying.take().unwrap_or_default();
        refused.append(&mut self.withheld);
        refused
    }
}

impl Changes {
    /// Adds what an effect asks to write down; whether it asks for that.
    pub(crate) fn add(&mut self, effect: Effect, now: Time) -> bool {
        match effect {
            Effect::Keep(grant) => drop(self.grants.insert(grant.id, Some(grant))),
            Effect::Forget(id) => drop(self.grants.insert(id, None)),
            Effect::Remember(id, how) => drop(self.ended.insert(id, (now, how))),
            Effect::KeepSession(session) => {
                self.sessions.insert(session.id, Some(session));
            }
            Effect::ForgetSession(id) => drop(self.sessions.insert(id, None)),
            Effect::Reserve(token) => self.token = self.token.max(Some(token)),
            Effect::Granted(..)
            | Effect::TimedOut(_)
            | Effect::Cancelled(_)
            | Effect::Deadlock(..)
            | Effect::Lost(..)
            | Effect::Unattached(_)
            | Effect::StruckOut(_)
            | Effect::Event(_) => return false,
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        let token = usize::from(self.token.is_some());
        self.grants.len() + self.sessions.len() + self.ended.len() + token
    }

    /// Adds what was to be written earlier, where nothing later replaces it.
    fn put_before(&mut self, mut earlier: Changes) {
        std::mem::swap(self, &mut earlier);
        let later = earlier;
        self.grants.extend(later.grants);
        self.sessions.extend(later.sessions);
        self.ended.extend(later.ended);
        self.token = self.token.max(later.token);
    }
}

/// Both pass: whoever asks is to ask again, and is not over a quota.
impl From<NoRoom> for StoreError {
    fn from(it: NoRoom) -> Self {
        Self::Unavailable(it.to_string())
    }
}

impl From<NoRoom> for AcquireError {
    fn from(it: NoRoom) -> Self {
        Self::Store(it.into())
    }
}

impl From<NoRoom> for SessionError {
    fn from(it: NoRoom) -> Self {
        Self::Store(it.into())
    }
}

impl From<NoRoom> for ReleaseError {
    fn from(it: NoRoom) -> Self {
        Self::Store(it.into())
    }
}
