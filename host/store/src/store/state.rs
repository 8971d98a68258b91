//! Values, listings and commits.

use super::{StoreError, Token};
use crate::id::{CommitId, GrantId, TransactionId};
use crate::name::{Collection, Key, LockName};
use crate::time::Time;
use bytes::Bytes;

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
    /// When it began, before it read anything.
    pub began: Time,
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

/// What a transaction has read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When it began, before it read anything.
    pub began: Time,
    /// The keys read and the version each had; 0 for absent.
    pub reads: Vec<(Collection, Key, u64)>,
    /// The collections listed and the change number each had.
    pub ranges: Vec<(Collection, u64)>,
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
    /// Something that was read is no longer current, or what is written is
    /// somebody else's turn.
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
    /// [`Store::resolve`](super::Store::resolve) recorded the id as aborted before.
    #[error("the commit was given up before it arrived")]
    Aborted,
    /// The id is older than [`MEMORY`](super::MEMORY).
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
    /// Its id is older than [`MEMORY`](super::MEMORY): nobody knows any more.
    Forgotten,
}
