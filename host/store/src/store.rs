//! The contract every store keeps.
//!
//! A store holds one *space*: locks, sessions, state and commit records that
//! change together. Each operation below is atomic, and all of them are
//! ordered: what one caller was answered, every later caller sees, after a
//! restart too. Time is the store's own ([`Time`]); durations that callers hand
//! in are relative.
//!
//! A future that is dropped before it answers leaves nothing behind that its
//! caller would have to know of: an acquire that was dropped is abandoned, a
//! grant that won the race is given back, and the same id may be asked again. A
//! commit that was dropped may still take effect; [`Store::resolve`] tells.

mod locks;
mod sessions;
mod state;
mod watch;

pub use locks::*;
pub use sessions::*;
pub use state::*;
pub use watch::*;

pub use crate::shell::Watch;

use crate::id::{CommitId, GrantId, SessionId, TransactionId};
use crate::name::{Collection, Key, LockName};
use crate::pattern::Permission;
use crate::secret::SpaceKey;
use crate::statistics::Statistics;
use crate::time::Time;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What an operation of a store returns: a future that may be sent elsewhere.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long ended commits, ended grants of repeatable requests and cancels are
/// remembered, in store time.
pub const MEMORY: Duration = Duration::from_secs(10 * 60);

/// A fencing token: greater than that of every earlier grant of the same lock,
/// over restarts too. Never 0, below 2^53. No two grants of a space have the
/// same.
pub type Token = u64;

/// Locks, sessions, state and commit records of one space. See the
/// [module](self) for what holds for all of its operations.
pub trait Store: Send + Sync + 'static {
    /// One line for people: what and where, `embedded at data`.
    fn summary(&self) -> String;

    /// The store's time. Never goes back.
    fn now(&self) -> Time;

    /// The key under which the space's secrets are made. It lasts as long as
    /// what the store keeps.
    fn key(&self) -> SpaceKey;

    /// Counters of all that happened to locks since the store was opened.
    fn statistics(&self) -> Statistics;

    /// Acquires every name of `request`, all or none, first come first served.
    ///
    /// Names that `request.holder` holds already in the same mode, if it is a
    /// transaction, are not waited for and keep their grant. Any other holder
    /// that asks for what it holds gets `held`, or `deadlock` if it would wait.
    ///
    /// Asked again with the same id by the same principal, for the same names
    /// in the same mode: while the wait lasts, which stays that of the first,
    /// all are told how it ends, but for who asks with no wait and is told
    /// `held` at once; while the grant lasts, the answer is the same grant. A
    /// grant that has ended before it could be told is lost. An id that was cancelled
    /// or has ended, and is remembered, is refused.
    fn acquire(&self, request: Acquire) -> Answer<'_, Result<Granted, AcquireError>>;

    /// Ends the wait of `grant`, or gives back what it was granted; and if the
    /// store has never seen it, refuses it when it comes. For ids that are made
    /// from request ids. A principal may refuse only so many it never sends.
    fn cancel(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Answer<'_, Result<Cancelled, ReleaseError>>;

    /// Makes a grant last at least `lease` from now; without one, the longest
    /// lease it was given. Never shortens, never revives. A grant that hangs on
    /// a session or a transaction without a lease stays so.
    fn renew(
        &self,
        grant: GrantId,
        principal: Principal,
        lease: Option<Duration>,
    ) -> Answer<'_, Result<Grant, RenewError>>;

    /// Gives a grant back, or ends the wait for it. Idempotent.
    fn release(
        &self,
        grant: GrantId,
        principal: Principal,
    ) -> Answer<'_, Result<Released, ReleaseError>>;

    /// Takes every grant that holds `name` away from its holder, with all its
    /// names; or none of them, if any covers a name that `permission` does not.
    /// Nothing is answered if the lock is free. A holder's next guarded write
    /// is refused. `by` and `reason` go to the log.
    ///
    /// If it cannot be written down, what was taken away stays so, and the
    /// answer is [`StoreError::Unavailable`]: whoever asks again is answered
    /// what is held by then.
    fn force_release(
        &self,
        name: LockName,
        by: Principal,
        permission: Permission,
        reason: String,
    ) -> Answer<'_, Result<Vec<Taken>, ForceError>>;

    /// Who holds a lock and who waits for it. Like [`Store::locks`], answers
    /// what is so, once that is on the disk; but while the disk fails, what is
    /// so all the same, so that people can see what is going on: a restart may
    /// not know of it.
    fn lock(&self, name: LockName) -> Answer<'_, Result<Lock, StoreError>>;

    /// A page of the locks that are held or waited for. Costs what it shows, and
    /// the first for a while the number of locks; but names that begin as asked
    /// and are not permitted are gone by one by one.
    fn locks(&self, query: LockQuery) -> Answer<'_, Result<LockPage, StoreError>>;

    /// Tells what happens to locks from now on, or from a revision on. Events
    /// may be told before they are on the disk; after a restart there is a gap.
    fn watch(&self, query: WatchQuery) -> Answer<'_, Result<Watch, WatchError>>;

    /// Opens a session. It is detached, and lives for its grace.
    fn open_session(&self, request: OpenSession) -> Answer<'_, Result<(), SessionError>>;

    /// Attaches a session to a connection; it lives for its time to live from
    /// now. An earlier connection is told that it is attached elsewhere.
    fn attach(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Answer<'_, Result<Attached, SessionError>>;

    /// Keeps a session alive for its time to live from now.
    fn beat(&self, session: SessionId, attachment: Attachment) -> Result<(), SessionError>;

    /// Says that the connection broke: the session lives for its grace from
    /// now. Nothing happens if it is attached elsewhere or has ended.
    fn detach(&self, session: SessionId, attachment: Attachment);

    /// Ends a session: its grants are released and its waits end. Idempotent.
    fn close_session(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Answer<'_, Result<(), SessionError>>;

    /// The value of a key as of the latest commit, or `None`.
    fn get(
        &self,
        collection: Collection,
        key: Key,
    ) -> Answer<'_, Result<Option<Versioned>, StoreError>>;

    /// A page of a collection and the collection's change number, read in one
    /// step.
    fn list(&self, collection: Collection, query: Query) -> Answer<'_, Result<Page, StoreError>>;

    /// Applies a transaction, or refuses it and changes nothing.
    ///
    /// In one step: every guard of the transaction is still held, every version
    /// and every range read is still current, every guarded write is covered,
    /// and what is found wrong first, in this order, is the refusal; then the
    /// writes are applied, the outcome is recorded under the commit's id, and
    /// every grant of the transaction is released and its waits end.
    ///
    /// What is written while somebody else holds its [turn](crate::transaction)
    /// is a conflict, too.
    ///
    /// The same id again answers what was recorded, and changes nothing. A
    /// refusal is not recorded. An id older than [`MEMORY`], or than the oldest
    /// a store still has room to remember, is refused.
    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>>;

    /// Whether everything that was read is still current, in one step: what is
    /// answered from it is then as if it had been read at one moment. Changes
    /// nothing, and needs no guard. The only refusals are
    /// [`CommitError::Conflict`] and [`CommitError::Store`].
    fn validate(&self, reading: Reading) -> Answer<'_, Result<(), CommitError>>;

    /// What became of a commit whose answer was lost. If nothing did, it is
    /// recorded as aborted in the same step, so that a delayed original is
    /// refused.
    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>>;

    /// Ends a transaction without a commit: its grants are released and its
    /// waits end. Never blocks; idempotent. What is released is free within
    /// 10 ms while the store answers.
    fn end(&self, transaction: TransactionId);
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It gave no answer; what was asked may have happened. The text is for
    /// the log.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it runs on was replaced, and it still finds out who holds what.
    /// Nothing was done.
    #[error("the store is recovering")]
    Recovering,
}
