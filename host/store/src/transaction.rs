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
//!           commit, discard               applied, fenced, unknown; abort, drop
//!   Open ----------------------> Sealed ----------------------------------> Ended
//!    |  ^                        ^    |
//!    |  |   begins again         |    | conflict: may begin again
//!    |  +------------------------|----+
//!    |                           | (answers the conflict)
//!    +------------------> Poisoned
//!      a read finds something else than an earlier one
//! ```
//!
//! Only a conflict leads back. Every way to *Ended* gives the guards back: the
//! commit does in its own step, everything else by [`Store::end`].
//!
//! # Turns
//!
//! A transaction that conflicts begins again, and might conflict for ever with
//! others that come and go. So before it begins again it queues for a lock of
//! our own on what it conflicted over, its *turn*: a key, or a collection it
//! listed. While it has the turn, a commit of anybody else that writes there is
//! a conflict, and who made it queues behind. So every contender comes first
//! once. What it acquired for its handler is given back before it queues,
//! because whoever is ahead may need it. A turn is no guard: losing it loses
//! only the place.
//!
//! Who has a turn waits for nothing: all turns are asked for at once, and a
//! handler that has to wait for a lock, or for a child of its transaction, gives
//! them back first. So no circle of waiters ever goes through a turn.
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
use crate::name::{Collection, Key, LockName};
use crate::store::{
    Acquire, AcquireError, Commit, CommitError, Committed, Granted, Guarding, Holder, Mode, Party,
    Principal, Reading, ReleaseError, Resolved, Store, StoreError, Write,
};
use crate::time::Time;
use bytes::Bytes;
use guard::{Grant, Origin};
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
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    /// Before it read anything.
    began: Time,
    root: Arc<ScopeState>,
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
    /// What the commit writes for the host.
    records: Vec<Write>,
    /// A component was refused a lock, which is what its answer is about.
    was_refused_a_lock: bool,
}

/// What of a run is not told, or not before it was validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// An error that its handler answered.
    Answer,
    /// It failed: it trapped, or gave no answer.
    Failure,
}

enum Phase {
    Open,
    Poisoned(Stale),
    Sealed,
    Ended,
}

/// Ends a transaction whose outcome is decided, or which nobody awaits any
/// more; unless it may begin again.
struct Deciding<'t> {
    transaction: &'t Transaction,
    may_begin_again: bool,
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
            inner: Mutex::new(Inner {
                phase: Phase::Open,
                began: store.now(),
                root: Arc::new(ScopeState::root()),
                overlay: Overlay::new(scope::ROOT),
                reads: Reads::default(),
                grants: Vec::new(),
                granted: 0,
                scopes: 1,
                operations: 0,
                kept: false,
                left: false,
                records: Vec::new(),
                was_refused_a_lock: false,
            }),
            store,
            limits,
            party,
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
        let (id, granted) = self.ask_without_turns(names, wait, None).await?;
        // A callee's are the run's, which may be another one the next time.
        let origin = match self.lock().overlay.is_nested() {
            true => Origin::Callee,
            false => Origin::Route,
        };
        self.take_in(id, &granted, origin).await
    }

    /// Acquires a lock of the host's own ([`LockName::internal`]) for the request,
    /// without waiting. It is a guard like that of a route, but no component sees
    /// it.
    pub async fn acquire_for_host(&self, name: LockName) -> Result<(), LockError> {
        let (id, granted) = self.ask(vec![name], Duration::ZERO, None).await?;
        self.take_in(id, &granted, Origin::Host).await
    }

    /// Has the commit of this run write a value for the host, or remove one;
    /// `guard` has to be held then. A component that staged nothing is committed
    /// for it, and what is discarded discards it, too.
    pub fn record(
        &self,
        collection: Collection,
        key: Key,
        value: Option<Bytes>,
        guard: Option<LockName>,
    ) {
        self.lock().records.push(Write {
            collection,
            key,
            value,
            guard,
            absence_read: false,
        });
    }

    /// Gives up its turns, if it has any: before it waits for something that
    /// others do, such as its child.
    pub async fn give_turns_back(&self) -> Result<(), LockError> {
        let turns = self.lock().take(Grant::is_turn);
        self.release_all(turns).await
    }

    /// The scope of the component that serves the request.
    pub fn scope(self: &Arc<Self>) -> Scope {
        let root = self.lock().root.clone();
        Scope::new(self.clone(), root)
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

    /// Seals every scope and applies what is staged, in one step. If nothing is,
    /// it looks whether everything that was read is still current. A lost answer
    /// is resolved by the commit's id; [`StoreError::Unavailable`] is left only
    /// if that fails too. What a nested scope has staged that was not kept is
    /// discarded. A transaction that is sealed answers [`CommitError::Aborted`].
    ///
    /// On any error nothing is applied. After a conflict the transaction may
    /// [begin again](Self::begin_again), and has its guards until it does or is
    /// dropped; otherwise it has ended. Dropping the future may leave the outcome
    /// unknown; the guards are given back all the same.
    pub async fn commit(&self) -> Result<Option<Committed>, CommitError> {
        self.decide(async {
            let began = self.seal()?;
            match self.take_commit(began) {
                Some(commit) => self.apply(commit).await.map(Some),
                None => self.validate(began).await.map(|()| None),
            }
        })
        .await
    }

    /// Seals every scope and discards what is staged. A conflict says that
    /// something the transaction has read is not current any more: then whatever
    /// its components made of it is not to be told. It is not looked for if they
    /// read a single key, or if they [answered](Discarded::Answer) and were
    /// refused a lock, which the answer is about.
    ///
    /// What becomes of the transaction is as for [`Transaction::commit`].
    pub async fn discard(&self, what: Discarded) -> Result<(), CommitError> {
        self.decide(async {
            let began = self.seal()?;
            let staged = self.lock().overlay.take();
            let is_about_a_lock = what == Discarded::Answer && self.lock().was_refused_a_lock;
            if is_about_a_lock || staged.is_empty() && self.has_read_at_one_moment() {
                return Ok(());
            }
            self.look_at_reads(began).await
        })
        .await
    }

    /// Begins again after a conflict, when it is its turn at what that was about:
    /// it waits so long at most. Nothing is staged or read any more; what its
    /// components acquired is given back, and what callees' routes did; what its
    /// own route did is still held. Scopes of before stay closed. It goes without
    /// a turn if it would have to wait for somebody who waits for it.
    ///
    /// On an error the transaction can only end.
    pub async fn begin_again(
        &self,
        conflict: &CommitError,
        wait: Duration,
    ) -> Result<(), LockError> {
        let (acquired, turns) = {
            let mut inner = self.lock();
            if !matches!(inner.phase, Phase::Sealed) {
                return Err(LockError::Closed);
            }
            inner.begin_again(self.store.now());
            let is_of_run = |it: &Grant| matches!(it.origin, Origin::Component | Origin::Callee);
            (inner.take(is_of_run), inner.take(Grant::is_turn))
        };
        let mut names: Vec<_> = turns.iter().flat_map(|it| it.names.clone()).collect();
        self.release_all(acquired.into_iter().chain(turns)).await?;
        match turn_of(conflict) {
            Some(turn) if !names.contains(&turn) => names.push(turn),
            _ => {}
        }
        if names.is_empty() {
            return Ok(());
        }
        match self.queue_for(names, wait).await {
            Err(LockError::Acquire(AcquireError::Deadlock(_) | AcquireError::Quota(_))) => Ok(()),
            queued => queued,
        }
    }

    /// Ends it now: what is staged is discarded, the guards are given back,
    /// every scope is closed. Idempotent; of a commit that was applied it only
    /// gives back what came too late to be released by it.
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

    /// Runs what decides about the transaction, which ends with it unless that
    /// is a conflict.
    async fn decide<T>(
        &self,
        deciding: impl Future<Output = Result<T, CommitError>>,
    ) -> Result<T, CommitError> {
        let mut decision = Deciding {
            transaction: self,
            may_begin_again: false,
        };
        let decided = deciding.await;
        decision.may_begin_again = matches!(decided, Err(CommitError::Conflict { .. }));
        decided
    }

    /// Closes the transaction for every scope. When it began; or the conflict, if
    /// its components were told of one.
    fn seal(&self) -> Result<Time, CommitError> {
        let mut inner = self.lock();
        match std::mem::replace(&mut inner.phase, Phase::Sealed) {
            Phase::Open => Ok(inner.began),
            Phase::Poisoned(stale) => Err(stale.into()),
            Phase::Sealed => Err(CommitError::Aborted),
            Phase::Ended => {
                inner.phase = Phase::Ended;
                Err(CommitError::Aborted)
            }
        }
    }

    /// What is to be applied; `None` if nothing is.
    fn take_commit(&self, began: Time) -> Option<Commit> {
        let mut inner = self.lock();
        let staged = inner.overlay.take();
        let records = std::mem::take(&mut inner.records);
        if staged.is_empty() && records.is_empty() {
            return None;
        }
        let relied_on = inner.grants.iter().filter(|it| !it.is_turn());
        let guards = relied_on.map(|it| Guarding {
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
        Some(Commit {
            id: CommitId::mint(self.store.now()),
            transaction: self.id,
            began,
            guards: guards.collect(),
            reads: inner.reads.keys().collect(),
            ranges: inner.reads.ranges().collect(),
            writes: writes.chain(records).collect(),
        })
    }

    async fn apply(&self, commit: Commit) -> Result<Committed, CommitError> {
        let id = commit.id;
        match self.store.commit(commit).await {
            Err(CommitError::Store(error @ StoreError::Unavailable(_))) => {
                self.resolve(id, error).await
            }
            answer => answer,
        }
    }

    /// Whether what was read is current, if it may not have been all along.
    async fn validate(&self, began: Time) -> Result<(), CommitError> {
        match self.has_read_at_one_moment() {
            true => Ok(()),
            false => self.look_at_reads(began).await,
        }
    }

    fn has_read_at_one_moment(&self) -> bool {
        self.lock().reads.are_of_one_moment()
    }

    async fn look_at_reads(&self, began: Time) -> Result<(), CommitError> {
        let reading = {
            let inner = self.lock();
            Reading {
                began,
                reads: inner.reads.keys().collect(),
                ranges: inner.reads.ranges().collect(),
            }
        };
        self.store.validate(reading).await
    }

    /// Waits for its turns.
    async fn queue_for(&self, turns: Vec<LockName>, wait: Duration) -> Result<(), LockError> {
        let (id, granted) = self.ask(turns, wait, None).await?;
        self.take_in(id, &granted, Origin::Turn).await
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
        let counted = inner.grants.iter().filter(|it| it.origin.is_counted());
        if counted.count() >= self.limits.guards {
            return Err(LockError::Acquire(AcquireError::Quota(format!(
                "a transaction holds at most {} guards",
                self.limits.guards
            ))));
        }
        Ok(())
    }

    /// Asks the store for locks. Who has a turn waits for nothing: it is given
    /// back before.
    async fn ask_without_turns(
        &self,
        names: Vec<LockName>,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<(GrantId, Granted), LockError> {
        let has_turn = self.lock().grants.iter().any(|it| it.is_turn());
        if !has_turn || wait.is_zero() {
            return self.ask(names, wait, lease).await;
        }
        match self.ask(names.clone(), Duration::ZERO, lease).await {
            Err(LockError::Acquire(AcquireError::Held(_))) => {
                self.give_turns_back().await?;
                self.ask(names, wait, lease).await
            }
            asked => asked,
        }
    }

    /// Gives grants back that the transaction does not count as its own any more.
    async fn release_all(
        &self,
        grants: impl IntoIterator<Item = Arc<Grant>>,
    ) -> Result<(), LockError> {
        for grant in grants {
            let released = self.store.release(grant.id, Principal::node()).await;
            if let Err(ReleaseError::Store(error)) = released {
                return Err(LockError::Store(error));
            }
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

    /// Takes a grant in that no component is handed; gives it back if it came too
    /// late.
    async fn take_in(
        &self,
        id: GrantId,
        granted: &Granted,
        origin: Origin,
    ) -> Result<(), LockError> {
        let admitted = self.admit(id, granted, origin);
        if admitted.is_err() {
            self.give_back(id).await;
        }
        admitted.map(drop)
    }

    /// Takes a grant into the transaction, if that is still open.
    fn admit(&self, id: GrantId, granted: &Granted, origin: Origin) -> Result<Guard, LockError> {
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

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        if !self.may_begin_again {
            self.transaction.abort();
        }
    }
}

impl Inner {
    /// As new, but for what is held and what was done outside.
    fn begin_again(&mut self, now: Time) {
        self.root.seal();
        self.root = Arc::new(ScopeState::root());
        self.phase = Phase::Open;
        self.began = now;
        self.overlay = Overlay::new(scope::ROOT);
        self.reads = Reads::default();
        self.operations = 0;
        self.kept = false;
        self.records.clear();
        self.was_refused_a_lock = false;
    }

    /// Takes grants out, which are then the caller's to give back.
    fn take(&mut self, is_taken: impl Fn(&Grant) -> bool) -> Vec<Arc<Grant>> {
        let grants = std::mem::take(&mut self.grants);
        let (taken, kept) = grants.into_iter().partition(|it| is_taken(it));
        self.grants = kept;
        taken
    }
}

/// What has to be queued for after a conflict; nothing if it was about no key,
/// but about the store having been replaced.
fn turn_of(conflict: &CommitError) -> Option<LockName> {
    match conflict {
        CommitError::Conflict { collection, .. } if collection == "*" => None,
        CommitError::Conflict { collection, key } => {
            let key = Some(key.as_str()).filter(|it| *it != "*");
            Some(LockName::turn(collection, key))
        }
        _ => None,
    }
}
