//! The contract every store keeps.
//!
//! A store holds one *space*: locks, state and commit records that change
//! together. Each operation below is atomic, and all of them are ordered: what
//! one caller was answered, every later caller sees. Time is the store's own
//! ([`Time`]); durations that callers hand in are relative.
//!
//! A future that is dropped before it answers leaves nothing behind that its
//! caller would have to know of: an acquire that was dropped is cancelled, and
//! a grant that won the race is given back. A commit that was dropped may
//! still take effect; [`Store::resolve`] tells.

use crate::id::{CommitId, GrantId, TransactionId};
use crate::name::{Collection, Key, LockName};
use crate::time::Time;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What an operation of a store returns: a future that may be sent elsewhere.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How many names one grant covers at most.
pub const NAMES_PER_GRANT_MAX: usize = 64;

/// The shortest and the longest lease.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// See [`LEASE_MIN`].
pub const LEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The lease of a caller that names none.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);

/// The longest wait for a lock.
pub const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// How long ended commits are remembered, in store time.
pub const MEMORY: Duration = Duration::from_secs(10 * 60);

/// A fencing token: greater than that of every earlier grant of the same lock,
/// over restarts too. Never 0, below 2^53.
pub type Token = u64;

/// Locks, state and commit records of one space. See the [module](self) for
/// what holds for all of its operations.
pub trait Store: Send + Sync + 'static {
    /// One line for people: what and where, `embedded at data`.
    fn summary(&self) -> String;

    /// The store's time. Never goes back.
    fn now(&self) -> Time;

    /// Acquires every name of `request`, all or none, first come first served.
    ///
    /// Names that `request.holder` holds already, if it is a transaction, are
    /// not waited for and keep their grant. Any other holder that asks for
    /// what it holds gets `held`.
    ///
    /// A retry with the same [`GrantId`] while the grant or the wait lasts
    /// is refused as [`AcquireError::Invalid`]; ids are minted anew each time.
    fn acquire(&self, request: Acquire) -> Answer<'_, Result<Granted, AcquireError>>;

    /// Makes a grant last at least `lease` from now and answers how long it
    /// lasts. Never shortens, never revives. A grant that is held by a
    /// transaction without a lease stays so, and [`Duration::MAX`] is the
    /// answer.
    fn renew(&self, grant: GrantId, lease: Duration) -> Answer<'_, Result<Duration, RenewError>>;

    /// Gives a grant back, or ends the wait for it. Idempotent.
    fn release(&self, grant: GrantId) -> Answer<'_, Result<Released, StoreError>>;

    /// Takes the grant that holds `name` away from its holder, with all its
    /// names. `None` if the lock is free. The holder's next guarded write is
    /// refused. `reason` goes to the log.
    fn force_release(
        &self,
        name: LockName,
        reason: String,
    ) -> Answer<'_, Result<Option<Taken>, StoreError>>;

    /// Who holds a lock and who waits for it.
    fn lock(&self, name: LockName) -> Answer<'_, Result<Lock, StoreError>>;

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
    /// The same id again answers what was recorded, and changes nothing. A
    /// refusal is not recorded. An id older than [`MEMORY`], or than the oldest
    /// a store still has room to remember, is refused.
    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>>;

    /// What became of a commit whose answer was lost. If nothing did, it is
    /// recorded as aborted in the same step, so that a delayed original is
    /// refused.
    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>>;

    /// Ends a transaction without a commit: its grants are released and its
    /// waits end. Never blocks; idempotent. What is released is free within
    /// 10 ms while the store answers.
    fn end(&self, transaction: TransactionId);
}

/// Who asks for locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A transaction: gets views of what it holds, and its grants end with it.
    Transaction(TransactionId),
    /// A caller outside, on its own. Its grants always have a lease.
    Caller,
}

/// What to acquire.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// Minted by the caller.
    pub id: GrantId,
    /// 1 to [`NAMES_PER_GRANT_MAX`] names. Repeated names count once.
    pub names: Vec<LockName>,
    /// Who asks.
    pub holder: Holder,
    /// How long the grant lasts unless renewed. `None`, for a transaction
    /// only, means until the transaction ends.
    pub lease: Option<Duration>,
    /// How long to wait; zero means do not wait.
    pub wait: Duration,
    /// Who it is, in words for an operator; at most
    /// [`LABEL_BYTES_MAX`] bytes.
    pub label: String,
}

/// The longest [`Acquire::label`], in bytes.
pub const LABEL_BYTES_MAX: usize = 256;

/// Locks that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The token of each name asked for, in the order of the request without
    /// repetitions. Names that were held already keep their token.
    pub tokens: Vec<(LockName, Token)>,
    /// The names that are newly held under the grant's id; empty if the
    /// transaction held all of them, and then there is no grant of that id.
    pub acquired: Vec<LockName>,
}

/// Why nothing was acquired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// Somebody else holds one of the locks or is ahead in its queue, and the
    /// request does not wait.
    #[error("`{0}` is held by somebody else")]
    Held(LockName),
    /// The wait ran out.
    #[error("the locks were not free within the wait")]
    TimedOut,
    /// The wait was ended by [`Store::release`] or [`Store::end`].
    #[error("the wait was given up")]
    Cancelled,
    /// The request is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// A limit is reached, named in the text.
    #[error("{0}")]
    Quota(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a grant was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// The grant has ended, or never was.
    #[error("the grant is not held any more")]
    Lost,
    /// The lease is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a release found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The grant was held, or waited for, and is no more.
    Released,
    /// It had ended before, or never was.
    Already,
}

/// What a forced release took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The grant's names.
    pub names: Vec<LockName>,
    /// Its fencing token.
    pub token: Token,
    /// Its holder's label.
    pub label: String,
}

/// A lock, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its holder, if it is held.
    pub holder: Option<LockHolder>,
    /// The labels of those who wait, in the order they are served; at most
    /// 100 of them.
    pub waiters: Vec<String>,
    /// How many wait.
    pub waiting: usize,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The fencing token.
    pub token: Token,
    /// In words for an operator.
    pub label: String,
    /// How long for; `None` means until its transaction ends.
    pub remaining: Option<Duration>,
    /// How long it has held it.
    pub held_for: Duration,
}

/// A value and the number of the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// Commit numbers begin at 1; a key that is absent has version 0.
    pub version: u64,
}

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Only keys that begin with this; may be empty.
    pub prefix: String,
    /// Only keys behind this one in the order asked for.
    pub after: Option<String>,
    /// Which end to begin at.
    pub order: Order,
    /// How many at most; 1 to [`LIST_LIMIT_MAX`].
    pub limit: usize,
}

/// The most entries one page holds. A store takes a greater limit for this
/// one, and zero for 1.
pub const LIST_LIMIT_MAX: usize = 1000;

/// The most bytes of keys and values one page holds, unless its first entry
/// alone is larger. A page that ends here has [`Page::more`] set.
pub const LIST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The order of a listing, by key, byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Greatest key first.
    Descending,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order asked for.
    pub entries: Vec<(Key, Versioned)>,
    /// Whether there is more behind the last of them.
    pub more: bool,
    /// The collection's change number: the number of the last commit that
    /// wrote to the collection; 0 if none has.
    pub change: u64,
}

/// What a transaction wants to apply.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Minted when it is sent.
    pub id: CommitId,
    /// Whose guards count.
    pub transaction: TransactionId,
    /// Every grant the transaction acquired and has not given back. If one of
    /// them has ended, the commit is fenced.
    pub guards: Vec<Guarding>,
    /// The keys read and the version each had; 0 for absent.
    pub reads: Vec<(Collection, Key, u64)>,
    /// The collections listed and the change number each had.
    pub ranges: Vec<(Collection, u64)>,
    /// What to write. No key twice.
    pub writes: Vec<Write>,
}

/// A grant that a commit relies on. Its names travel with it, because a store
/// need not remember what an ended grant covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarding {
    /// Which grant.
    pub grant: GrantId,
    /// The names that were acquired under it.
    pub names: Vec<LockName>,
}

/// One key's new value.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where.
    pub collection: Collection,
    /// Which key.
    pub key: Key,
    /// The value; `None` removes the key.
    pub value: Option<Bytes>,
    /// The lock that must be held, if the collection is guarded.
    pub guard: Option<LockName>,
    /// Whether the transaction read the key as absent: a new key may be
    /// written if its lock is free.
    pub absence_read: bool,
}

/// A commit that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The commit's number: greater than that of every earlier commit of the
    /// store. It is the version of what was written.
    pub number: u64,
}

/// Why a commit was refused. Except after [`StoreError::Unavailable`], nothing
/// was changed, and the transaction's grants are still held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Something that was read is no longer current.
    #[error("`{key}` of `{collection}` has changed since it was read")]
    Conflict {
        /// The collection's name.
        collection: String,
        /// The key, or `*` for a range.
        key: String,
    },
    /// A guarded key was written without its lock.
    #[error("the lock `{name}` was never acquired")]
    Unguarded {
        /// The lock that is missing.
        name: LockName,
    },
    /// A lock of the transaction was lost.
    #[error("the lock `{name}` was lost; its current token is {current}")]
    Fenced {
        /// The lock that was lost.
        name: LockName,
        /// The token last granted for it; 0 if the store no longer knows.
        current: Token,
    },
    /// [`Store::resolve`] recorded the id as aborted before.
    #[error("the commit was given up before it arrived")]
    Aborted,
    /// The id is older than [`MEMORY`].
    #[error("the commit is too old")]
    TooOld,
    /// The store failed. After `Unavailable` the outcome is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It was applied.
    Committed(Committed),
    /// It was not, and never will be.
    Aborted,
    /// Its id is older than [`MEMORY`]: nobody knows any more.
    Forgotten,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It gave no answer; what was asked may have happened. The text is for
    /// the log.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}
