//! The state machine of locks: who holds what, who waits, which commit may be
//! applied. It does no I/O, reads no clock, draws no random numbers and never
//! waits; whoever drives it says what time it is. So every history of it is a
//! plain list of operations, and any two implementations of it can be compared
//! answer by answer.
//!
//! # A lock
//!
//! ```text
//!                 acquire
//!     Free -----------------> Held ---+  the last holder has gone, or there is
//!      ^                      |  ^ ^  |  room, and the first in the queue has
//!      |  the last holder has  |  | +--+  all it needs: hand-over
//!      |  gone, nobody waits  |  |
//!      +----------------------+  |
//!      |                      |  |  the first has all it needs now, or has gone
//!      |  the same, and the   |  |  and the next has: hand-over
//!      |  first needs another |  |
//!      |  lock as well        v  |
//!      +------------------ Reserved
//!         every waiter has gone
//! ```
//!
//! A holder goes by any end of its grant: release, end of its transaction or
//! session, lease over, force-release. A lock is held in one mode at a time:
//!
//! ```text
//!   held            room for
//!   ---------       -----------------------------------------------
//!   exclusive       nobody
//!   shared          readers, if nobody who is none waits ahead
//!   permits N       permits of the same N while fewer than N hold it
//! ```
//!
//! Every grant and every hand-over draws a new token; a hand-over happens in
//! the step that makes it possible. The queue is one, whatever the modes, and
//! nobody overtakes, not even a try: all but readers go one by one, in the order
//! they came, and readers as soon as only readers are ahead of them. A reserved
//! lock has no holder and is kept for its first waiter.
//!
//! # A request for locks
//!
//! ```text
//!              not allowed, a limit, a deadlock,
//!              or not free and wait 0
//!   acquire --+-----------------------> Refused
//!             |
//!             | all free      +-------+ renew (never shortens)
//!             +-------------> | Held  |--+
//!             |               |       |<-+
//!             | otherwise     +-------+ ---- its holder goes -------+
//!             v                   ^                                 v
//!          Waiting -- hand-over --+                               Ended
//!             |                                                     ^
//!             +-- wait over, release, cancel, end of its            |
//!                 transaction or session, deadlock -----------------+
//! ```
//!
//! No edge leads out of *Ended*: nothing revives a grant. It is forgotten at
//! once, but for the ids of requests that may be asked again (`ended.rs`).
//! Sessions have a drawing of their own, in `store/sessions.rs`. What cannot be:
//!
//! - A request that waits and holds: `Stage` in `request.rs` is one or the
//!   other, and the end of a wait is told by exactly one effect.
//! - Two grants of one lock that exclude each other (S1): whoever is to hold a
//!   lock is asked by `LockSlot::admits` in `locks.rs`.
//! - Somebody who goes before his turn (F1): whoever waits is asked by
//!   `LockSlot::is_turn_of`, and whoever comes by
//!   `LockSlot::is_open_to_new`.
//! - A waiter that could be served and is not (L1): whatever takes a holder or a
//!   waiter away says whom that may let through, and every operation ends by
//!   serving those, oldest first.
//! - A waiter that is served after its session or transaction has ended: all
//!   requests of a party end before anybody is served.
//! - A wait that could never end and goes on (D1): see `deadlock.rs`.
//! - A grant past its deadline: every operation first lets time pass. (But a
//!   lock that a checked commit relies on stays until that has settled.)
//! - A token that was given before (S2): there is one counter (`tokens.rs`).
//!
//! # Cost
//!
//! Nothing walks over waiters. An operation costs the logarithm of what is
//! queued for each name it touches, plus the same for each request it ends or
//! serves. The end of a session or a transaction ends all its requests in one
//! operation: so a session has only so many (`Limits::grants_per_session`).
//! Whatever has run out since the operation before ends in the next, which pays
//! for it. A reader is looked at at most twice for each of its names before it
//! is served: when nobody is ahead of it any more that excludes it, and when the
//! lock is not held in another mode any more. All others are looked at only
//! while they are the first. A search for deadlocks makes a limited number of
//! steps in an operation, goes on later if it is not finished, and looks at
//! nobody twice; none is made for who holds and awaits nothing else. A
//! transaction that asks for a lock held in common looks through its own
//! grants for the one that holds it.

mod acquire;
pub mod check;
mod deadlock;
mod ended;
mod groups;
pub(crate) mod hash;
#[cfg(test)]
mod histories;
mod locks;
mod look;
mod operations;
mod order;
mod principals;
pub mod records;
mod request;
mod restore;
mod sessions;
mod settling;
mod slab;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use acquire::{validate, validate_lease, without_repetitions};
pub(crate) use sessions::validate as validate_session;

pub(crate) use deadlock::STEPS;

use crate::id::{GrantId, SessionId, TransactionId};
use crate::name::LockName;
use crate::pattern::Permission;
use crate::store::{
    Acquire, AcquireError, Attachment, Cancelled, Cycle, ForceError, Grant, Granted, Lock,
    LockEvent, LostGrant, Mode, OpenSession, Party, Principal, ReleaseError, Released, RenewError,
    SessionError, Taken, Token,
};
use crate::time::Time;
use std::time::Duration;

/// How much a store takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many may hold one lock together, readers that wait for it included.
    /// Default 10 000.
    pub holders_per_lock: usize,
    /// How many may wait for one lock. Default 100 000.
    pub waiters_per_lock: usize,
    /// How many locks one principal may hold, those it waits for included: a
    /// grant counts once for each of its names. Those of transactions are not
    /// counted. Default 1 000 000.
    pub locks_per_principal: usize,
    /// How many requests of one principal may wait; those of transactions are
    /// not counted. Default 200 000.
    pub waiters_per_principal: usize,
    /// How many sessions one principal may have open. Default 100 000.
    pub sessions_per_principal: usize,
    /// How many grants one session may hold, those it waits for included: they
    /// all end in one step. Default 10 000.
    pub grants_per_session: usize,
    /// How many ids are remembered that one principal cancelled before they
    /// were seen. Default 10 000.
    pub cancels_per_principal: usize,
    /// How many may watch. Default 1 000.
    pub watchers: usize,
    /// How many events are remembered for watchers that are behind. Default
    /// 16 384.
    pub events: usize,
    /// How many bytes of events are, about. Default 32 MiB.
    pub event_bytes: usize,
    /// How many ended ids are remembered; beyond it the oldest are forgotten
    /// before their time. Default 1 000 000.
    pub ended: usize,
    /// How many ended commits are remembered; beyond it the oldest are
    /// forgotten before their time, and their ids are refused from then on.
    /// Default 1 000 000.
    pub records: usize,
    /// How many answers may wait to be written down, if the store has a disk;
    /// beyond it no caller outside is granted anything. Default 10 000.
    pub unwritten: usize,
}

/// The locks and sessions of one space. See the [module](self).
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    table: table::Table,
    tokens: tokens::Tokens,
    settling: settling::Settling,
    ended: ended::EndedIds,
    searches: deadlock::Searches,
    tally: tally::Tally,
    /// Whether grants are written down.
    has_disk: bool,
}

/// What the state machine is asked, as data: the methods of [`Core`] by name.
#[derive(Clone, Debug)]
pub enum Operation {
    /// [`Core::acquire`].
    Acquire(Acquire),
    /// [`Core::cancel`].
    Cancel(GrantId, Principal),
    /// [`Core::abandon`].
    Abandon(GrantId),
    /// [`Core::renew`].
    Renew(GrantId, Principal, Option<Duration>),
    /// [`Core::release`].
    Release(GrantId, Principal),
    /// [`Core::force_release`].
    ForceRelease(LockName, Permission),
    /// [`Core::open_session`].
    OpenSession(OpenSession),
    /// [`Core::attach`].
    Attach(SessionId, Principal),
    /// [`Core::beat`].
    Beat(SessionId, Attachment),
    /// [`Core::detach`].
    Detach(SessionId, Attachment),
    /// [`Core::close_session`].
    CloseSession(SessionId, Principal),
    /// [`Core::end`].
    End(TransactionId),
    /// [`Core::look`].
    Look(LockName),
    /// [`Core::tick`].
    Tick,
}

/// What an [`Operation`] is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Operation::Acquire`].
    Acquired(Acquired),
    /// To [`Operation::Cancel`].
    Cancelled(Result<Cancelled, ReleaseError>),
    /// To [`Operation::Renew`].
    Renewed(Result<Grant, RenewError>),
    /// To [`Operation::Release`].
    Released(Result<Released, ReleaseError>),
    /// To [`Operation::ForceRelease`].
    Taken(Result<Vec<Taken>, ForceError>),
    /// To [`Operation::Attach`].
    Attached(Result<AttachedSession, SessionError>),
    /// To [`Operation::OpenSession`], [`Operation::Beat`] and
    /// [`Operation::CloseSession`].
    Session(Result<(), SessionError>),
    /// To [`Operation::Look`].
    Lock(Lock),
    /// To the others.
    Done,
}

/// What became of a request for locks at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// They are held.
    Granted(Granted),
    /// It waits; an effect of a later operation tells how that ends. If it was
    /// asked before, both are told.
    Waiting,
    /// Nothing was acquired, and nothing waits.
    Refused(AcquireError),
}

/// A session that was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedSession {
    /// Which connection it is now.
    pub attachment: Attachment,
    /// Whose it is, as it was opened.
    pub party: Party,
    /// How long it lives after each beat.
    pub ttl: Duration,
    /// How long it lives after its connection broke.
    pub grace: Duration,
}

/// What whoever drives the state machine has to do after an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A wait ended well: tell it.
    Granted(GrantId, Granted),
    /// A wait ran out: tell it.
    TimedOut(GrantId),
    /// A wait was ended by its owner: tell it.
    Cancelled(GrantId),
    /// A wait would never have ended: tell it.
    Deadlock(GrantId, Cycle),
    /// This grant of a session was taken away: tell the session.
    Lost(SessionId, LostGrant),
    /// This session has ended, or is attached elsewhere: tell the connection it
    /// was attached to.
    Unattached(SessionId),
    /// This grant outlives a restart: write it down, or its longer lease,
    /// before telling anybody.
    Keep(CallerGrant),
    /// This grant has ended: strike it out.
    Forget(GrantId),
    /// This grant was written down and cannot be held, and is struck out: say
    /// so. Only [`Core::restore`] finds one.
    StruckOut(CallerGrant),
    /// This id has ended, so, and may be asked again: write that down.
    Remember(GrantId, Ended),
    /// This session outlives a restart: write it down before telling anybody.
    KeepSession(OpenSession),
    /// This session has ended: strike it out.
    ForgetSession(SessionId),
    /// Tokens up to this one will be needed: write that down, then say so with
    /// [`Core::reserved`].
    Reserve(Token),
    /// Something happened that watchers are told.
    Event(LockEvent),
}

/// A grant of a caller or of a session, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerGrant {
    /// Its identity.
    pub id: GrantId,
    /// Whether that was made from a request id.
    pub repeatable: bool,
    /// What it covers.
    pub names: Vec<LockName>,
    /// How.
    pub mode: Mode,
    /// Its fencing token.
    pub token: Token,
    /// The session it hangs on, or the longest lease it was given, which begins
    /// anew after a restart.
    pub life: Life,
    /// Its holder.
    pub party: Party,
}

/// How an id that may be asked again has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was granted to it has ended.
    WasGranted,
    /// It was cancelled before anything was granted, and nothing will be.
    NeverGranted,
}

/// What keeps a grant that is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// A session.
    Session(SessionId),
    /// A lease.
    Lease(Duration),
}

/// What was written down of a space.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The mark no token has passed.
    pub high_water: Token,
    /// The sessions that had not ended.
    pub sessions: Vec<OpenSession>,
    /// The grants that had not ended.
    pub grants: Vec<CallerGrant>,
    /// The ids that had ended and are remembered, the oldest first: when, and
    /// how.
    pub ended: Vec<(Time, GrantId, Ended)>,
}

impl Core {
    /// An empty space that does not outlive the process: no token is ever
    /// reserved.
    pub fn volatile(limits: Limits, now: Time) -> Self {
        let tokens = tokens::Tokens::volatile();
        Self::new(limits, tokens, tally::Tally::new(now))
    }

    fn new(limits: Limits, tokens: tokens::Tokens, tally: tally::Tally) -> Self {
        Self {
            limits,
            table: table::Table::default(),
            tokens,
            settling: settling::Settling::default(),
            ended: ended::EndedIds::new(limits.ended),
            searches: deadlock::Searches::default(),
            tally,
            has_disk: true,
        }
    }

    /// Says that nobody writes anything down: then no effect says what to write
    /// down of grants and of ids.
    pub fn has_no_disk(&mut self) {
        self.has_disk = false;
    }

    /// Does one operation at `now`. What has to be done besides answering is
    /// appended to `effects`, in order.
    pub fn apply(&mut self, operation: Operation, now: Time, effects: &mut Vec<Effect>) -> Answer {
        use Operation as Do;
        match operation {
            Do::Acquire(it) => Answer::Acquired(self.acquire(it, now, effects)),
            Do::Cancel(id, by) => Answer::Cancelled(self.cancel(id, &by, now, effects)),
            Do::Renew(id, by, lease) => Answer::Renewed(self.renew(id, &by, lease, now, effects)),
            Do::Release(id, by) => Answer::Released(self.release(id, &by, now, effects)),
            Do::ForceRelease(name, permission) => {
                Answer::Taken(self.force_release(&name, &permission, now, effects))
            }
            Do::OpenSession(it) => Answer::Session(self.open_session(it, now, effects)),
            Do::Attach(id, by) => Answer::Attached(self.attach(id, &by, now, effects)),
            Do::Beat(id, attachment) => Answer::Session(self.beat(id, attachment, now, effects)),
            Do::CloseSession(id, by) => Answer::Session(self.close_session(id, &by, now, effects)),
            Do::Look(name) => Answer::Lock(self.look(&name, now, effects)),
            Do::Abandon(id) => {
                self.abandon(id, now, effects);
                Answer::Done
            }
            Do::Detach(id, attachment) => {
                self.detach(id, attachment, now, effects);
                Answer::Done
            }
            Do::End(transaction) => {
                self.end(transaction, now, effects);
                Answer::Done
            }
            Do::Tick => {
                self.tick(now, effects);
                Answer::Done
            }
        }
    }

    /// When the next lease, session or wait runs out, or a time that has come
    /// if a search for deadlocks is not finished: [`Core::tick`] is due then.
    pub fn next_deadline(&self) -> Option<Time> {
        let deadlines = self.table.next_deadline().into_iter();
        deadlines.chain(self.searches.due()).min()
    }

    /// The highest token that may be told to anybody: what has been written
    /// down. A grant with a higher one is to be withheld until it has.
    pub fn token_limit(&self) -> Token {
        self.tokens.reserved
    }

    /// The token to write down before the first grant after a restart.
    pub fn first_reservation(&mut self, now: Time) -> Token {
        self.tokens.first_reservation(now)
    }

    /// Says that tokens up to `token` have been written down.
    pub fn reserved(&mut self, token: Token) {
        self.tokens.reserved = self.tokens.reserved.max(token);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            holders_per_lock: 10_000,
            waiters_per_lock: 100_000,
            locks_per_principal: 1_000_000,
            waiters_per_principal: 200_000,
            sessions_per_principal: 100_000,
            grants_per_session: 10_000,
            cancels_per_principal: 10_000,
            watchers: 1_000,
            events: 16_384,
            event_bytes: 32 * 1024 * 1024,
            ended: 1_000_000,
            records: 1_000_000,
            unwritten: 10_000,
        }
    }
}
