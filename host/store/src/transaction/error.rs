//! Why what a component asks of its transaction is not done.

use crate::store::{AcquireError, StoreError};

/// Why an operation on state failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A key, value or query is not allowed.
    #[error("{0}")]
    Invalid(String),
    /// Something read has changed: the transaction can only end.
    #[error("something the transaction has read has changed")]
    Conflict,
    /// A limit of the transaction is reached.
    #[error("{0}")]
    Quota(String),
    /// The scope is sealed or the transaction has ended.
    #[error("the transaction takes nothing more")]
    Closed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a lock operation of a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Nothing was acquired.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The grant has ended.
    #[error("the lock is not held any more")]
    Lost,
    /// A lease is not allowed, or the guard has none to renew.
    #[error("{0}")]
    Invalid(String),
    /// The guard may not be released.
    #[error("the guard may not be released: {0}")]
    InUse(&'static str),
    /// The scope is sealed, or the transaction has ended or can only end.
    #[error("the transaction takes nothing more")]
    Closed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
