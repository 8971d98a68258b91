//! Sessions: many grants of one client that live and end together.
//!
//! ```text
//!                      beat: ttl from now
//!                         +---+
//!   open, attach          |   v          close, or the ttl is over
//!  ----------------> Attached ------------------------------------> Ended
//!                     ^    |                                          ^
//!        attach again |    | detach: the connection broke             |
//!                     |    v                                          |
//!                    Detached ---------- close, or the grace is over -+
//! ```
//!
//! A session that ends releases its grants and ends its waits in the same step. In
//! Redis that takes several if there are very many; from the first on it has ended
//! for whoever asks.

use super::locks::{Invalid, Party};
use super::{StoreError, Token};
use crate::id::SessionId;
use crate::name::LockName;
use std::time::Duration;
use tokio::sync::mpsc;

/// The shortest and the longest time to live, and grace.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// See [`TTL_MIN`].
pub const TTL_MAX: Duration = Duration::from_secs(60 * 60);
/// The time to live of a session that names none.
pub const TTL_DEFAULT: Duration = Duration::from_secs(30);

/// What session to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Minted by the caller.
    pub id: SessionId,
    /// How long it lives after each beat.
    pub ttl: Duration,
    /// How long it lives after its connection broke.
    pub grace: Duration,
    /// Whose it is.
    pub party: Party,
}

/// A session that is attached to a connection.
///
/// Dropping this does not detach it; [`Store::detach`](super::Store::detach)
/// does.
#[derive(Debug)]
pub struct Attached {
    /// Tells this attachment from earlier and later ones.
    pub attachment: Attachment,
    /// Whose the session is, as it was opened: whoever comes back need not say
    /// it again.
    pub party: Party,
    /// How long the session lives after each beat.
    pub ttl: Duration,
    /// How long it lives after its connection broke.
    pub grace: Duration,
    /// The fencing tokens of the grants the session holds, in the order they
    /// were asked for. Whoever comes back and misses one of its own has lost it.
    pub held: Vec<Token>,
    /// The session's grants that are taken away from now on, each once. Closes when the
    /// session has ended or is attached elsewhere.
    pub lost: mpsc::UnboundedReceiver<LostGrant>,
}

/// Which connection of a session: each attaching makes a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment(pub u64);

/// A grant of a session that was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostGrant {
    /// Its fencing token, which tells it from all others of the space.
    pub token: Token,
    /// What it covered.
    pub names: Vec<LockName>,
}

/// Why a session was not opened, attached or kept alive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It has ended, or never was.
    #[error("the session has ended")]
    Lost,
    /// It is attached to another connection now.
    #[error("the session is attached to another connection")]
    Elsewhere,
    /// It is another principal's.
    #[error("the session is somebody else's")]
    NotHolder,
    /// Its times are not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A limit is reached, named in the text.
    #[error("{0}")]
    Quota(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
