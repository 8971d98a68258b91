//! What a request does with a store: staged reads and writes, guards, and one
//! commit.
//!
//! A [`Transaction`] belongs to one request. Each component that takes part in
//! it, the one that serves the request and every one it calls, has a [`Scope`]
//! of it: same overlay, same guards. While a callee runs, its caller's scope
//! waits; a callee that fails is rolled back to the savepoint its scope began
//! with.
//!
//! # A transaction
//!
//! ```text
//!           commit (applied, refused or unknown), abort, drop
//!   Open ----------------------------------------------------> Ended
//!    |                                                           ^
//!    | a read finds something else than an earlier one           |
//!    +------------------> Poisoned ------------------------------+
//!                          (commit answers the conflict)
//! ```
//!
//! Nothing leads back, and every way to *Ended* gives the guards back: the
//! commit does in its own step, everything else by [`Store::end`].
//!
//! # A scope
//!
//! ```text
//!               seal; kept or dropped (nested); end of the transaction
//!      Open -----------------------------------------------------------> Closed
//!      |  ^
//! nest |  | the nested scope is kept or dropped
//!      v  |
//!     Waiting
//! ```
//!
//! One operation of a scope is under way at a time (its *turn*), and a nested
//! scope has its caller's turn for as long as it lasts. So only the innermost
//! scope stages anything, and its frame is the top of the overlay. Every
//! operation looks at the state before it asks the store *and* after: an answer
//! that arrives too late changes nothing, and a grant that does is given back.

mod error;
mod guard;
mod overlay;
mod reads;
mod scope;
#[cfg(test)]
mod tests;

pub use error::{LockError, StateError};
pub use guard::Guard;
pub use scope::{Nested, Scope};

use crate::id::{CommitId, GrantId, TransactionId};
use crate::name::LockName;
use crate::store::{
    Acquire, AcquireError, Commit, CommitError, Committed, Granted, Guarding, Holder, Mode, Party,
    Principal, Resolved, Store, StoreError, Write,
};
use crate::time::Time;
use guard::Grant;
use overlay::Overlay;
use reads::{Reads, Stale};
use scope::ScopeState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a commit whose answer was lost is resolved before its outcome is
/// given up as unknown. Each attempt takes as long as the store lets it.
const RESOLVE_ATTEMPTS: usize = 3;

/// How much one transaction may do. Exceeding one is [`StateError::Quota`] or,
/// for guards, [`AcquireError::Quota`], with the limit's name in the text.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Reads, writes and listings. Default 1 000.
    pub operations: usize,
    /// Keys and values staged, in bytes. Default 8 MiB.
    pub staged_bytes: usize,
    /// One value, in bytes. Default 1 MiB.
    pub value_bytes: usize,
    /// Grants held at once. Default 64.
    pub guards: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: 1_000,
            staged_bytes: 8 * 1024 * 1024,
            value_bytes: 1024 * 1024,
            guards: 64,
        }
    }
}

/// The staged reads and writes of one request, and the guards it holds.
///
/// Dropping it without a commit discards what is staged and gives the guards
/// back ([`Store::end`]). Every [`Scope`] keeps it alive.
pub struct Transaction {
    id: TransactionId,
    store: Arc<dyn Store>,
    limits: Limits,
    party: Party,
    /// Before it read anything.
    began: Time,
    root: Arc<ScopeState>,
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    overlay: Overlay,
    reads: Reads,
    /// What the transaction acquired and has not given back, oldest first. A
    /// grant that was lost stays, so that the commit is fenced.
    grants: Vec<Arc<Grant>>,
    /// How many grants there have been.
    granted: u64,
    /// How many scopes there have been.
    scopes: u64,
    operations: usize,
    kept: bool,
    left: bool,
}

enum Phase {
    Open,
    Poisoned(Stale),
    Ended,
}

impl Transaction {
    /// Begins a transaction. `label` is shown to operators as the holder of
    /// its locks; what is longer than
    /// [`LABEL_BYTES_MAX`](crate::store::LABEL_BYTES_MAX) is cut.
    pub fn begin(store: Arc<dyn Store>, limits: Limits, label: String) -> Arc<Self> {
        Self::begin_as(TransactionId::mint(), store, limits, Party::node(&label))
    }

    /// Begins one that can have children ([`Transaction::begin_child`]). Its
    /// locks name an owner, which is all that tells it from others and costs
    /// the store a little.
    pub fn begin_root(store: Arc<dyn Store>, limits: Limits, label: String) -> Arc<Self> {
        let id = TransactionId::mint();
        let owner = Some(format!("transaction {:032x}", id.to_u128()).into());
        let party = Party {
            owner,
            ..Party::node(&label)
        };
        Self::begin_as(id, store, limits, party)
    }

    /// Begins a transaction on the same store and with the same limits, for
    /// something that this one waits for: it commits or not on its own, sees
    /// nothing of what this one has staged, and holds nothing of what it holds.
    /// But all that descend from one root count as one where it is looked for
    /// deadlocks: a child that would wait for a lock of its root is told so at
    /// once, and so is one that would wait for a sibling's.
    ///
    /// The child of a transaction that no root is among the ancestors of is a
    /// stranger to it.
    pub fn begin_child(&self, label: &str) -> Arc<Self> {
        let party = Party {
            owner: self.party.owner.clone(),
            ..Party::node(label)
        };
        let id = TransactionId::mint();
        Self::begin_as(id, self.store.clone(), self.limits, party)
    }

    fn begin_as(
        id: TransactionId,
        store: Arc<dyn Store>,
        limits: Limits,
        party: Party,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            began: store.now(),
            store,
            limits,
            party,
            root: Arc::new(ScopeState::root()),
            inner: Mutex::new(Inner {
                phase: Phase::Open,
                overlay: Overlay::new(scope::ROOT),
                reads: Reads::default(),
                grants: Vec::new(),
                granted: 0,
                scopes: 1,
                operations: 0,
                kept: false,
                left: false,
            }),
        })
    }

    /// Its identity.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Acquires a route's locks: they belong to the request, cannot be
    /// released by a component, and every scope entered later inherits them.
    pub async fn acquire_for_route(
        &self,
        names: Vec<LockName>,
        wait: Duration,
    ) -> Result<(), LockError> {
        self.check_room()?;
        let (id, granted) = self.ask(names, wait, None).await?;
        let admitted = self.admit(id, &granted, guard::Origin::Route);
        if admitted.is_err() {
            self.give_back(id).await;
        }
        admitted.map(drop)
    }

    /// The scope of the component that serves the request.
    pub fn scope(self: &Arc<Self>) -> Scope {
        Scope::new(self.clone(), self.root.clone())
    }

    /// Whether nothing is staged. A transaction that staged nothing needs no
    /// commit.
    pub fn is_read_only(&self) -> bool {
        self.lock().overlay.is_empty()
    }

    /// Whether a component asked to commit in spite of an error answer.
    pub fn kept(&self) -> bool {
        self.lock().kept
    }

    /// Notes that something is about to be done for the request that does not
    /// belong to the transaction: a call to the world outside, or one that opts
    /// out. It stays done whatever becomes of the transaction, so the request
    /// is not run again.
    pub fn leave(&self) {
        self.lock().left = true;
    }

    /// Whether [`Transaction::leave`] was called.
    pub fn has_left(&self) -> bool {
        self.lock().left
    }

    /// What a component was told has changed since it was read, if it was: then
    /// whatever it answers is computed from data that does not fit together.
    /// The same error that [`Transaction::commit`] would answer.
    pub fn conflict(&self) -> Option<CommitError> {
        match &self.lock().phase {
            Phase::Poisoned(stale) => Some(stale.clone().into()),
            Phase::Open | Phase::Ended => None,
        }
    }

    /// Seals every scope and applies what is staged, in one step. Without
    /// anything staged it only ends. A lost answer is resolved by the commit's
    /// id; [`StoreError::Unavailable`] is left only if that fails too. What a
    /// nested scope has staged that was not kept is discarded. A transaction
    /// that has ended answers [`CommitError::Aborted`].
    ///
    /// On any error nothing is applied, and the transaction has ended.
    /// Dropping the future may leave the outcome unknown; the guards are given
    /// back all the same.
    pub async fn commit(&self) -> Result<Option<Committed>, CommitError> {
        // Also if this future is dropped, and after a refusal, which leaves the
        // grants held. After a success there is nothing left to end.
        let _end = EndOnDrop(self);
        let Some(commit) = self.seal_for_commit()? else {
            return Ok(None);
        };
        let id = commit.id;
        match self.store.commit(commit).await {
            Err(CommitError::Store(error @ StoreError::Unavailable(_))) => {
                self.resolve(id, error).await.map(Some)
            }
            answer => answer.map(Some),
        }
    }

    /// Ends it now: what is staged is discarded, the guards are given back,
    /// every scope is closed. Idempotent; after a commit it does nothing.
    pub fn abort(&self) {
        {
            let mut inner = self.lock();
            if matches!(inner.phase, Phase::Ended) {
                return;
            }
            inner.phase = Phase::Ended;
            // A scope may be kept long after; what it staged need not be.
            drop(inner.overlay.take());
        }
        self.store.end(self.id);
    }

    /// Ends the transaction for everybody else and takes what is to be applied;
    /// `None` if nothing is.
    fn seal_for_commit(&self) -> Result<Option<Commit>, CommitError> {
        let mut inner = self.lock();
        match std::mem::replace(&mut inner.phase, Phase::Ended) {
            Phase::Ended => return Err(CommitError::Aborted),
            Phase::Poisoned(stale) => return Err(stale.into()),
            Phase::Open => {}
        }
        let staged = inner.overlay.take();
        if staged.is_empty() {
            return Ok(None);
        }
        let guards = inner.grants.iter().map(|it| Guarding {
            grant: it.id,
            names: it.names.clone(),
        });
        let writes = staged.into_iter().map(|(collection, key, staged)| Write {
            absence_read: inner.reads.version(&collection, &key) == Some(0),
            collection,
            key,
            value: staged.value,
            guard: staged.guard,
        });
        Ok(Some(Commit {
            id: CommitId::mint(self.store.now()),
            transaction: self.id,
            began: self.began,
            guards: guards.collect(),
            reads: inner.reads.keys().collect(),
            ranges: inner.reads.ranges().collect(),
            writes: writes.collect(),
        }))
    }

    /// Finds out what became of a commit whose answer was lost.
    async fn resolve(&self, id: CommitId, error: StoreError) -> Result<Committed, CommitError> {
        for _ in 0..RESOLVE_ATTEMPTS {
            match self.store.resolve(id).await {
                Ok(Resolved::Committed(committed)) => return Ok(committed),
                Ok(Resolved::Aborted) => return Err(CommitError::Aborted),
                Ok(Resolved::Forgotten) => break,
                Err(_) => {}
            }
        }
        Err(error.into())
    }

    // --- What scopes build on. ---

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever a panic left behind can still be ended, which is all that is
        // done with it, and a second panic in a destructor would be worse.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one grant more may be held.
    fn check_room(&self) -> Result<(), LockError> {
        let inner = self.lock();
        if !matches!(inner.phase, Phase::Open) {
            return Err(LockError::Closed);
        }
        if inner.grants.len() >= self.limits.guards {
            return Err(LockError::Acquire(AcquireError::Quota(format!(
                "a transaction holds at most {} guards",
                self.limits.guards
            ))));
        }
        Ok(())
    }

    /// Asks the store for locks.
    async fn ask(
        &self,
        names: Vec<LockName>,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<(GrantId, Granted), LockError> {
        let id = GrantId::mint();
        let request = Acquire {
            id,
            repeatable: false,
            names,
            mode: Mode::Exclusive,
            holder: Holder::Transaction(self.id),
            lease,
            wait,
            party: self.party.clone(),
        };
        match self.store.acquire(request).await {
            Ok(granted) => Ok((id, granted)),
            // Only the end of the transaction cancels a wait that is awaited.
            Err(AcquireError::Cancelled) => Err(LockError::Closed),
            Err(AcquireError::Store(error)) => Err(LockError::Store(error)),
            Err(error) => Err(LockError::Acquire(error)),
        }
    }

    /// Takes a grant into the transaction, if that is still open.
    fn admit(
        &self,
        id: GrantId,
        granted: &Granted,
        origin: guard::Origin,
    ) -> Result<Guard, LockError> {
        let mut inner = self.lock();
        if !matches!(inner.phase, Phase::Open) {
            return Err(LockError::Closed);
        }
        let mut own = None;
        if !granted.acquired.is_empty() {
            inner.granted += 1;
            let grant = Arc::new(Grant {
                id,
                ordinal: inner.granted,
                names: granted.acquired.clone(),
                token: granted.own_token().unwrap_or(0),
                origin,
            });
            inner.grants.push(grant.clone());
            own = Some(grant);
        }
        Ok(Guard::new(own, granted, &inner.grants))
    }

    /// Gives back a grant that came too late.
    async fn give_back(&self, id: GrantId) {
        if matches!(self.lock().phase, Phase::Ended) {
            // It may have come after everything else was given back.
            self.store.end(self.id);
        } else if let Err(error) = self.store.release(id, Principal::node()).await {
            tracing::debug!(%error, "a grant that came too late is given back with the rest");
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Gives back what a transaction still holds.
struct EndOnDrop<'a>(&'a Transaction);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store.end(self.0.id);
    }
}
