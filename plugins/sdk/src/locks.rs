//! Fenced locks, shared by every component and every other program that uses
//! the same store.
//!
//! A guard belongs to the transaction of the request. **Dropping it releases
//! nothing**: the host gives the locks back when the request ends, however it
//! ends, after its changes are applied. So this does what it says:
//!
//! ```no_run
//! # use lockport_guest::{Collection, Error, locks};
//! # const ORDERS: Collection<u32> = Collection::new("orders");
//! # fn example() -> Result<(), Error> {
//! let _guard = locks::acquire(["order/1"])?;
//! ORDERS.put("1", &42)?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use crate::host;

/// Locks that this transaction holds.
#[derive(Debug)]
pub struct Guard {
    handle: host::Guard,
}

/// How to acquire locks. The default is not to wait and to hold the locks
/// until the transaction ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long to wait while somebody else holds one of the locks. The
    /// request's deadline ends every wait.
    pub wait: Duration,

    /// How long the locks are held unless renewed.
    pub lease: Option<Duration>,
}

/// Why an operation on a lock failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The component's manifest does not grant it this name.
    #[error("the component is not granted this lock")]
    AccessDenied,

    /// A name, a duration or the number of names is not allowed.
    #[error("{0}")]
    InvalidArgument(String),

    /// Somebody else holds one of the locks and `wait` was zero.
    #[error("somebody else holds the lock")]
    Held,

    /// Somebody else held one of the locks for the whole of `wait`.
    #[error("somebody else held the lock for as long as we waited")]
    TimedOut,

    /// Waiting would never have ended.
    #[error("waiting for the lock would never have ended")]
    Deadlock,

    /// The lock is no longer this transaction's.
    #[error("the lock was lost")]
    Lost,

    /// The guard may not be released here.
    #[error("the guard may not be released here")]
    InUse,

    /// A limit of the host is reached.
    #[error("a limit is reached: {0}")]
    Quota(String),

    /// The store is recovering and grants nothing new yet.
    #[error("the store is recovering")]
    Recovering,

    /// The store gave no answer.
    #[error("the store gave no answer: {0}")]
    Unavailable(String),

    /// The response has been set, or the request is over.
    #[error("the request is over")]
    Closed,
}

/// Acquires every lock in `names` exclusively, all or none, without waiting.
///
/// # Errors
///
/// [`Error::Held`] if somebody else holds one of them; see [`Error`].
pub fn acquire<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Guard, Error> {
    acquire_with(names, Options::default())
}

/// The same, waiting for at most `wait`.
///
/// # Errors
///
/// [`Error::TimedOut`] if somebody else held one of them all that time, and
/// [`Error::Deadlock`] if waiting would not have ended; see [`Error`].
pub fn acquire_within<N: Into<String>>(
    names: impl IntoIterator<Item = N>,
    wait: Duration,
) -> Result<Guard, Error> {
    acquire_with(names, Options { wait, lease: None })
}

/// The same, with every option.
///
/// # Errors
///
/// See [`Error`].
pub fn acquire_with<N: Into<String>>(
    names: impl IntoIterator<Item = N>,
    options: Options,
) -> Result<Guard, Error> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    host::acquire(&names, options).map(|handle| Guard { handle })
}

/// The guards of the caller or of the route, as far as this component's own
/// grants cover them.
#[must_use]
pub fn inherited() -> Vec<Guard> {
    host::inherited()
        .into_iter()
        .map(|handle| Guard { handle })
        .collect()
}

/// Whether the caller or the route holds this lock for us.
#[must_use]
pub fn inherits(name: &str) -> bool {
    inherited().iter().any(|guard| guard.token(name) != 0)
}

// === impl Guard ===

impl Guard {
    /// The names it covers.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.handle.names()
    }

    /// The fencing token of one of its names, greater than that of every
    /// earlier grant of the same lock; 0, which is no token, if the guard does
    /// not cover the name or the request is over.
    #[must_use]
    pub fn token(&self, name: &str) -> u64 {
        self.handle.token(name)
    }

    /// How long the locks are still held; zero if they are lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.handle.remaining()
    }

    /// Makes the locks held for at least `lease` from now.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it is too late; see [`Error`].
    pub fn renew(&self, lease: Duration) -> Result<(), Error> {
        self.handle.renew(lease)
    }

    /// Releases the locks before the transaction ends.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] unless this transaction acquired them, this is the
    /// only guard that covers them, and nothing is staged under them.
    pub fn release(self) -> Result<(), Error> {
        self.handle.release()
    }
}
