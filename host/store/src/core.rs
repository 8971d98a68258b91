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
//!     Free -----------------> Held ---+  freed, and the first in the queue has
//!      ^                      |  ^ ^  |  all it needs: hand-over
//!      |  freed, nobody       |  | +--+
//!      |  waits               |  |
//!      +----------------------+  |
//!      |                      |  |  the first has all it needs now, or has gone
//!      |  freed, and the      |  |  and the next has: hand-over
//!      |  first needs another |  |
//!      |  lock as well        v  |
//!      +------------------ Reserved
//!         every waiter has gone
//! ```
//!
//! *Freed* is any end of the grant: release, end of its transaction, lease over,
//! force-release. Every grant and every hand-over draws a new token; a hand-over
//! happens in the step that makes it possible. A reserved lock has no holder and
//! is kept for its first waiter: nobody overtakes, not even a try.
//!
//! # A request for locks
//!
//! ```text
//!              not allowed, a limit,
//!              or not free and wait 0
//!   acquire --+-----------------------> Refused
//!             |
//!             | all free      +-------+ renew (never shortens)
//!             +-------------> | Held  |--+
//!             |               |       |<-+
//!             | otherwise     +-------+ ---- freed ------------------+
//!             v                   ^                                  v
//!          Waiting -- hand-over --+                                Ended
//!             |                                                      ^
//!             +-- wait over, release, end of the transaction --------+
//! ```
//!
//! *Ended* is forgotten at once, and no edge leads out of it: nothing revives a
//! grant. A request waits or holds, never both (`Stage` in `table.rs` is one or
//! the other), and the end of a wait is told by exactly one effect. What else
//! cannot be:
//!
//! - Two holders of one lock: a lock has room for one.
//! - A waiter that could be served and is not: every operation ends by serving
//!   all whom it unblocked, oldest first.
//! - A grant past its deadline: every operation first lets time pass. (But a
//!   lock that a checked commit relies on stays until that has
//!   settled.)
//! - A token that was given before: there is one counter (`tokens.rs`).
//!
//! # Cost
//!
//! Nothing walks over waiters. An operation costs the logarithm of what is
//! queued for each name it touches, plus the same for each request it serves.

pub mod check;
pub(crate) mod hash;
#[cfg(test)]
mod histories;
mod operations;
pub mod records;
mod settling;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{Acquire, AcquireError, Granted, Lock, Released, RenewError, Taken, Token};
use crate::time::Time;
use std::time::Duration;

/// How much a store takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many may wait for one lock. Default 100 000.
    pub waiters_per_lock: usize,
    /// How many ended commits are remembered; beyond it the oldest are
    /// forgotten before their time, and their ids are refused from then on.
    /// Default 1 000 000.
    pub records: usize,
    /// How many answers may wait to be written down, if the store has a disk;
    /// beyond it no caller outside is granted anything. Default 10 000.
    pub unwritten: usize,
}

/// The locks of one space. See the [module](self).
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    table: table::Table,
    tokens: tokens::Tokens,
    settling: settling::Settling,
}

/// What the state machine is asked, as data: the methods of [`Core`] by name.
#[derive(Clone, Debug)]
pub enum Operation {
    /// [`Core::acquire`].
    Acquire(Acquire),
    /// [`Core::renew`].
    Renew(GrantId, Duration),
    /// [`Core::release`].
    Release(GrantId),
    /// [`Core::force_release`].
    ForceRelease(LockName),
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
    /// To [`Operation::Renew`].
    Renewed(Result<Duration, RenewError>),
    /// To [`Operation::Release`].
    Released(Released),
    /// To [`Operation::ForceRelease`].
    Taken(Option<Taken>),
    /// To [`Operation::Look`].
    Lock(Lock),
    /// To [`Operation::End`] and [`Operation::Tick`].
    Done,
}

/// What became of a request for locks at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// They are held.
    Granted(Granted),
    /// It waits; an effect of a later operation tells how that ends.
    Waiting,
    /// Nothing was acquired, and nothing waits.
    Refused(AcquireError),
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
    /// This grant outlives a restart: write it down, or its longer lease,
    /// before telling anybody.
    Keep(CallerGrant),
    /// This grant has ended: strike it out.
    Forget(GrantId),
    /// Tokens up to this one will be needed: write that down, then say so with
    /// [`Core::reserved`].
    Reserve(Token),
}

/// A grant of a caller outside any transaction, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerGrant {
    /// Its identity.
    pub id: GrantId,
    /// What it covers.
    pub names: Vec<LockName>,
    /// Its fencing token.
    pub token: Token,
    /// The longest lease it was given; it begins anew after a restart.
    pub lease: Duration,
    /// Its holder, in words.
    pub label: String,
}

impl Core {
    /// An empty space that does not outlive the process: no token is ever
    /// reserved.
    pub fn volatile(limits: Limits) -> Self {
        Self {
            limits,
            table: table::Table::default(),
            tokens: tokens::Tokens::volatile(),
            settling: settling::Settling::default(),
        }
    }

    /// The space as it was written down: no token up to `high_water` is given
    /// again, and every grant in `grants` is held for its full lease from
    /// `now`. Of two grants of one name the higher token wins; the other is
    /// forgotten.
    pub fn restore(
        limits: Limits,
        high_water: Token,
        mut grants: Vec<CallerGrant>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut core = Self {
            limits,
            table: table::Table::default(),
            tokens: tokens::Tokens::restored(high_water),
            settling: settling::Settling::default(),
        };
        grants.sort_by_key(|it| std::cmp::Reverse(it.token));
        for grant in grants {
            let id = grant.id;
            if !core.table.restore(grant, now) {
                effects.push(Effect::Forget(id));
            }
        }
        core
    }

    /// Does one operation at `now`. What has to be done besides answering is
    /// appended to `effects`, in order.
    pub fn apply(&mut self, operation: Operation, now: Time, effects: &mut Vec<Effect>) -> Answer {
        match operation {
            Operation::Acquire(it) => Answer::Acquired(self.acquire(it, now, effects)),
            Operation::Renew(id, lease) => Answer::Renewed(self.renew(id, lease, now, effects)),
            Operation::Release(id) => Answer::Released(self.release(id, now, effects)),
            Operation::ForceRelease(it) => Answer::Taken(self.force_release(&it, now, effects)),
            Operation::End(transaction) => {
                self.end(transaction, now, effects);
                Answer::Done
            }
            Operation::Look(name) => Answer::Lock(self.look(&name, now, effects)),
            Operation::Tick => {
                self.tick(now, effects);
                Answer::Done
            }
        }
    }

    /// When the next lease or wait runs out: [`Core::tick`] is due then.
    pub fn next_deadline(&self) -> Option<Time> {
        self.table.next_deadline()
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
            waiters_per_lock: 100_000,
            records: 1_000_000,
            unwritten: 10_000,
        }
    }
}
