//! What happens to locks, as it happens.

use super::locks::{Mode, Party};
use super::{StoreError, Token};
use crate::name::LockName;
use crate::time::Time;
use std::sync::Arc;

/// The number of an event: greater than that of every earlier one, over
/// restarts too.
pub type Revision = u64;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchQuery {
    /// Only locks whose names begin with this; may be empty.
    pub prefix: String,
    /// Events behind this revision; `None` means from now on.
    pub after: Option<Revision>,
}

/// Why nobody may watch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// A limit is reached, named in the text.
    #[error("{0}")]
    Quota(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Something happened.
    Event(Arc<LockEvent>),
    /// Events were missed, because they are not remembered any more: the
    /// watcher was away for too long or too slow. What is told next is behind
    /// this revision.
    Gap(Revision),
}

/// Something that happened to a grant, or to the wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEvent {
    /// Its number.
    pub revision: Revision,
    /// When it happened.
    pub time: Time,
    /// What happened.
    pub kind: EventKind,
    /// What the grant covers, or would.
    pub names: Vec<LockName>,
    /// In which mode.
    pub mode: Mode,
    /// The grant's fencing token; 0 if it was never granted.
    pub token: Token,
    /// Whose it is, or would be.
    pub party: Party,
}

/// What can happen to a grant, or to the wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It waits.
    Queued,
    /// It is held.
    Granted,
    /// Its holder gave it back, or the holder's transaction or session was
    /// closed.
    Released,
    /// Its lease, or that of its session, ran out.
    Expired,
    /// It was lost with the store's memory: nobody has vouched for it.
    Lost,
    /// An operator took it away.
    Forced,
    /// It waits no more, and was never granted.
    Left,
}
