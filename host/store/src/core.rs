//! The state machine of locks: who holds what, who waits, which commit may be
//! applied. It does no I/O, reads no clock, draws no random numbers and never
//! waits; whoever drives it says what time it is. So every history of it is a
//! plain list of operations, and any two implementations of it can be compared
//! answer by answer.
//!
//! # A lock
//!
//! ```text
//!                    acquire, nobody ahead: token
//!     Free ------------------------------------------------> Held <--+
//!      ^                                                      | |    | renew
//!      |    release, end, force-release, lease over;          | +----+
//!      +------------------------------------------------------+
//!      |    nobody waits                                      |
//!      |                                                      | the same, and
//!      |    every waiter is blocked elsewhere                 | the first in the
//!      +---------------------> Reserved <---------------------+ queue has all the
//!                                 |                           | rest: hand-over,
//!                                 | the first in the queue    | in the same step,
//!                                 | gets the rest: hand-over  | with a new token
//!                                 v                           v
//!                                Held                        Held
//! ```
//!
//! *Reserved* is a lock without a holder whose first waiter needs another lock
//! as well: it is kept for that waiter, and nobody overtakes, not even a try.
//!
//! # A request for locks
//!
//! ```text
//!               wait 0 or limit      +--> Refused
//!               -------------------- |
//!   Acquire ----+ all free           +--> Held ---- release, end of the transaction,
//!               |                          ^ |      lease over, force-release ---> Ended
//!               | otherwise                | |
//!               v            hand-over     | | renew (never shortens)
//!            Waiting ----------------------+ +-- Held
//!               |
//!               +-- wait over, release or end of the transaction -----------------> Ended
//! ```
//!
//! *Ended* is forgotten at once: there is no edge out of it, so nothing revives
//! a grant. A request is waiting or held, never both ([`Stage`](table::Stage)
//! is one or the other), and every end of a wait is reported by exactly one
//! effect. What else cannot be:
//!
//! - Two holders of one lock: a lock has room for one.
//! - A waiter that could be served and is not: every operation ends by serving
//!   all whom it unblocked, oldest first.
//! - A grant past its deadline: every operation first lets time pass.
//! - A token that was given before: there is one counter ([`tokens`]).
//!
//! # Cost
//!
//! Nothing walks over waiters. An operation costs the logarithm of what is
//! queued for each name it touches, plus the same for each request it serves.

pub mod check;
mod hash;
#[cfg(test)]
mod histories;
mod operations;
pub mod records;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use crate::id::{GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{Acquire, AcquireError, Granted, Lock, Released, RenewError, Taken, Token};
use crate::time::Time;
use std::time::Duration;

/// How much the state machine takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many may wait for one lock. Default 100 000.
    pub waiters_per_lock: usize,
    /// How many ended commits are remembered; beyond it the oldest are
    /// forgotten before their time, and their ids are refused from then on.
    /// Default 1 000 000.
    pub records: usize,
}

/// The locks of one space. See the [module](self).
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    table: table::Table,
    tokens: tokens::Tokens,
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
        }
    }
}
