//! What is asked of locks, and what is answered.

use super::{StoreError, Token};
use crate::id::{GrantId, SessionId, TransactionId};
use crate::name::LockName;
use crate::pattern::Permission;
use crate::time::Time;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

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

/// The longest [`Party::label`], in bytes.
pub const LABEL_BYTES_MAX: usize = 256;

/// The longest name of an owner, in bytes.
pub const OWNER_BYTES_MAX: usize = 256;

/// How many holders and how many waiters of one lock are shown at most; how
/// many there are is told beside them.
pub const SHOWN_MAX: usize = 100;

/// How many may hold a lock together with a grant of this mode. Grants of
/// different modes exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nobody. The only mode that permits guarded writes.
    #[default]
    Exclusive,
    /// Any number.
    Shared,
    /// So many, this one included. As long as a lock is held or waited for
    /// with one number, a request with another is refused.
    Permits(NonZeroU32),
}

/// On whose life a grant hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A transaction: gets views of what it holds, and its grants end with it.
    Transaction(TransactionId),
    /// A session: its grants have no lease of their own, and end with it.
    Session(SessionId),
    /// A caller outside, on its own. Its grants always have a lease.
    Caller,
}

/// Who authenticated: grants may only be renewed and released by the principal
/// that acquired them, and quotas are counted by principal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Who authenticated.
    pub principal: Principal,
    /// Whose waits are looked at together for deadlocks, scoped to the
    /// principal. Without it, the transaction or the session is the owner; a
    /// caller without either is its own. A transaction names the same in all its
    /// requests. Those that name the same wait for each other, and are told at
    /// once that it would never end.
    pub owner: Option<Arc<str>>,
    /// Who it is, in words for an operator; at most [`LABEL_BYTES_MAX`] bytes.
    pub label: Arc<str>,
}

/// What to acquire.
#[derive(Clone, Debug)]
pub struct Acquire {
    /// Minted by the caller, or made from the caller's request id: asked again
    /// with the same id while the grant or the wait lasts, the answer is the
    /// same grant.
    pub id: GrantId,
    /// Whether `id` was made from a request id and may be asked again: then it
    /// is remembered for [`MEMORY`](super::MEMORY) after it ended.
    pub repeatable: bool,
    /// 1 to [`NAMES_PER_GRANT_MAX`] names. Repeated names count once.
    pub names: Vec<LockName>,
    /// Who else may hold them meanwhile.
    pub mode: Mode,
    /// On whose life the grant hangs.
    pub holder: Holder,
    /// How long the grant lasts unless renewed. A caller's needs one, a
    /// session's has none; a transaction's without one lasts until the
    /// transaction ends.
    pub lease: Option<Duration>,
    /// How long to wait; zero means do not wait.
    pub wait: Duration,
    /// Who asks.
    pub party: Party,
}

/// Locks that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The token of each name asked for, in the order of the request without
    /// repetitions. Names that were held already keep their token.
    pub tokens: Vec<(LockName, Token)>,
    /// The names that are newly held under the grant's id, in the same order;
    /// empty if the transaction held all of them, and then there is no grant of
    /// that id.
    pub acquired: Vec<LockName>,
    /// When they were granted.
    pub since: Time,
    /// How long they are held unless renewed; `None` means until the session
    /// or the transaction ends.
    pub remaining: Option<Duration>,
    /// How long it was waited for them.
    pub waited: Duration,
}

/// A grant as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it covers.
    pub names: Vec<LockName>,
    /// How.
    pub mode: Mode,
    /// Its fencing token.
    pub token: Token,
    /// When it was granted.
    pub since: Time,
    /// How long it lasts unless renewed; `None` means until its transaction
    /// ends. That of a session's grant is how long its session does.
    pub remaining: Option<Duration>,
    /// Its holder.
    pub party: Party,
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
    /// The wait would never end.
    #[error("waiting would never end: {0}")]
    Deadlock(Cycle),
    /// The wait was ended by [`Store::release`](super::Store::release),
    /// [`Store::cancel`](super::Store::cancel) or the end of the transaction
    /// or session; or the id was cancelled before it was seen.
    #[error("the wait was given up")]
    Cancelled,
    /// The id was granted before, and that grant has ended.
    #[error("what was granted to this request has ended")]
    Lost,
    /// The session has ended, or never was.
    #[error("the session has ended")]
    NoSession,
    /// The session is another principal's.
    #[error("the session is somebody else's")]
    NotHolder,
    /// The request is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A limit is reached, named in the text.
    #[error("{0}")]
    Quota(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A part of a request that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Invalid {
    /// Which part.
    pub field: Field,
    /// Why, as a sentence that names the value.
    pub why: String,
}

/// The parts of a request that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The names, or how many they are.
    Names,
    /// The mode, or a change of it.
    Mode,
    /// The number of permits.
    Permits,
    /// The lease.
    Lease,
    /// The wait.
    Wait,
    /// The label.
    Label,
    /// The owner.
    Owner,
    /// The id, which stands for another request.
    RequestId,
    /// The session's times.
    Session,
}

/// Who waits for whom, in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<Link>);

/// One step of a [`Cycle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who waits, in words.
    pub waiter: Arc<str>,
    /// For which lock. The next link's waiter holds it or is ahead in its
    /// queue.
    pub name: LockName,
}

/// Why a grant was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// The grant has ended, or never was.
    #[error("the grant is not held any more")]
    Lost,
    /// The grant is another principal's.
    #[error("the grant is somebody else's")]
    NotHolder,
    /// The lease is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a grant was not given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The grant is another principal's.
    #[error("the grant is somebody else's")]
    NotHolder,
    /// A limit is reached, named in the text. Only who cancels what was not
    /// seen yet is told this.
    #[error("{0}")]
    Quota(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a lock was not taken away from its holders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForceError {
    /// A grant that holds it covers a name that whoever asked may not touch.
    #[error("a grant of this lock covers others that may not be taken away")]
    NotPermitted,
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

/// What a cancel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Nothing had been granted, and nothing will be.
    Cancelled,
    /// It had been granted before. If that grant was still held, it has been
    /// given back.
    Granted,
}

/// What a forced release took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The grant's names.
    pub names: Vec<LockName>,
    /// Its fencing token.
    pub token: Token,
    /// Its holder.
    pub party: Party,
}

/// A lock, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: LockName,
    /// How it is held, or else how the first in its queue asks for it; `None`
    /// if it is idle.
    pub mode: Option<Mode>,
    /// Its holders, the longest first; at most [`SHOWN_MAX`] of them.
    pub holders: Vec<LockHolder>,
    /// How many hold it.
    pub holding: usize,
    /// Who waits, in the order they are served; at most [`SHOWN_MAX`] of them.
    pub waiters: Vec<LockWaiter>,
    /// How many wait.
    pub waiting: usize,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Which grant: not a secret, the secret cannot be made from it.
    pub grant: GrantId,
    /// The fencing token.
    pub token: Token,
    /// Who it is.
    pub party: Party,
    /// On whose life it hangs.
    pub holder: Holder,
    /// When it was granted.
    pub since: Time,
    /// How long for; `None` means until its transaction or session ends.
    pub remaining: Option<Duration>,
    /// How long it has held it.
    pub held_for: Duration,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaiter {
    /// Who it is.
    pub party: Party,
    /// How it asks for the lock.
    pub mode: Mode,
    /// For how long it has waited.
    pub waited: Duration,
    /// For how much longer it will.
    pub remaining: Duration,
}

/// Which locks to list: those that are held or waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockQuery {
    /// Only names that this covers.
    pub permission: Permission,
    /// Only names that begin with this; may be empty.
    pub prefix: String,
    /// Only names behind this one.
    pub after: Option<LockName>,
    /// How many at most; 1 to [`LIST_LIMIT_MAX`](super::LIST_LIMIT_MAX).
    pub limit: usize,
}

/// A page of locks, by name, byte by byte. It is gathered in steps, between
/// which others go on: what changes meanwhile may be seen or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockPage {
    /// The locks.
    pub locks: Vec<Lock>,
    /// Whether there is more behind the last of them.
    pub more: bool,
}

impl Granted {
    /// The token of the grant itself; `None` if there is none of that id.
    pub(crate) fn own_token(&self) -> Option<Token> {
        let first = self.acquired.first()?;
        let own = self.tokens.iter().find(|(name, _)| name == first);
        own.map(|(_, token)| *token)
    }
}

impl Principal {
    /// The principal of this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The node itself: whoever asks through it needs no permission of ours.
    pub fn node() -> Self {
        static NAME: std::sync::OnceLock<Principal> = std::sync::OnceLock::new();
        NAME.get_or_init(|| Self::new("node")).clone()
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Party {
    /// A party of the node itself, with a label that is cut to what is allowed.
    pub fn node(label: &str) -> Self {
        Self {
            principal: Principal::node(),
            owner: None,
            label: label[..label.floor_char_boundary(LABEL_BYTES_MAX)].into(),
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Link { waiter, name }) in self.0.iter().enumerate() {
            let then = if at == 0 { "" } else { ", " };
            write!(f, "{then}`{waiter}` waits for `{name}`")?;
        }
        Ok(())
    }
}
