//! One component's part in a transaction.

use super::guard::{Grant, Guard, Origin};
use super::overlay::{Merged, ScopeNumber, Staged};
use super::reads::Stale;
use super::{Inner, LockError, Phase, StateError, Transaction};
use crate::listing::{Bounds, Filling};
use crate::name::{Collection, Key, LockName};
use crate::store::{
    AcquireError, LIST_LIMIT_MAX, Lock, Page, Principal, Query, ReleaseError, Released, RenewError,
    Versioned,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The number of the scope that every other is nested in.
pub(super) const ROOT: ScopeNumber = 0;

/// One component's part in a transaction.
///
/// Cheap to clone: every clone is the same scope. Operations of one scope are
/// taken one at a time, and wait while a nested scope lasts.
#[derive(Clone)]
pub struct Scope {
    transaction: Arc<Transaction>,
    state: Arc<ScopeState>,
}

/// A scope inside another: what a joined call works in. Its caller's scope
/// waits until this is dropped. Dropped without [`Nested::keep`], all it staged
/// is rolled back; its reads stay in the validation and its guards with the
/// transaction.
pub struct Nested {
    scope: Scope,
    caller: Arc<ScopeState>,
    /// The caller's turn. Given back after the frame is decided on.
    _turn: OwnedMutexGuard<()>,
}

/// What the clones of a scope share.
pub(super) struct ScopeState {
    number: ScopeNumber,
    is_sealed: AtomicBool,
    /// Held by the operation under way, or by the nested scope.
    turn: Arc<Mutex<()>>,
    inherits: Inherits,
}

/// What a scope was entered with.
enum Inherits {
    /// The route's grants.
    Route,
    /// Every grant up to this ordinal: the route's and the callers'.
    UpTo(u64),
}

impl Scope {
    /// From now on this scope answers `Closed`. What a component does after
    /// its response is set has no effect.
    pub fn seal(&self) {
        self.state.seal();
    }

    /// The value of a key: what is staged, else what the store has. Staged
    /// values have version 0.
    pub async fn get(
        &self,
        collection: &Collection,
        key: &Key,
    ) -> Result<Option<Versioned>, StateError> {
        let _turn = self.state.turn.lock().await;
        {
            let mut inner = self.transaction.lock();
            self.begin_operation(&mut inner)?;
            if let Some(staged) = inner.overlay.get(collection, key) {
                let version = 0;
                let value = staged.value.clone();
                return Ok(value.map(|value| Versioned { value, version }));
            }
        }
        let store = &self.transaction.store;
        let found = store.get(collection.clone(), key.clone()).await?;
        let mut inner = self.transaction.lock();
        self.check_open(&inner)?;
        let version = found.as_ref().map_or(0, |it| it.version);
        let seen = inner.reads.see_key(collection, key, version);
        seen.map_err(|it| inner.poison(it))?;
        Ok(found)
    }

    /// A page of a collection, with what is staged in it. Staged values have
    /// version 0. [`Page::change`] is of no use to a component.
    pub async fn list(&self, collection: &Collection, query: Query) -> Result<Page, StateError> {
        if query.limit == 0 || query.limit > LIST_LIMIT_MAX {
            let text = format!("a page has 1 to {LIST_LIMIT_MAX} entries");
            return Err(StateError::Invalid(text));
        }
        let _turn = self.state.turn.lock().await;
        let mut merge = {
            let mut inner = self.transaction.lock();
            self.begin_operation(&mut inner)?;
            let bounds = Bounds::of(&query);
            inner.overlay.within(collection, &bounds, query.order)
        };
        let mut next = query;
        let mut filling: Option<Filling> = None;
        // Each round is a full page or consumes a staged removal, so there are
        // no more rounds than operations.
        loop {
            let store = &self.transaction.store;
            let page = store.list(collection.clone(), next.clone()).await?;
            {
                let mut inner = self.transaction.lock();
                self.check_open(&inner)?;
                let seen = inner.reads.see_page(collection, &next, &page);
                seen.map_err(|it| inner.poison(it))?;
            }
            next.after = page.entries.last().map(|(key, _)| key.as_str().to_owned());
            let filling = filling.get_or_insert_with(|| Filling::new(next.limit, page.change));
            if merge.add(page, filling) == Merged::Complete {
                break;
            }
        }
        Ok(filling.map_or_else(|| Filling::new(1, 0).finish(), Filling::finish))
    }

    /// Stages a value.
    pub async fn put(
        &self,
        collection: &Collection,
        key: Key,
        value: Bytes,
    ) -> Result<(), StateError> {
        let max = self.transaction.limits.value_bytes;
        if value.len() > max {
            let text = format!("a value has at most {max} bytes");
            return Err(StateError::Quota(text));
        }
        self.stage(collection, key, Some(value)).await
    }

    /// Stages the removal of a key.
    pub async fn delete(&self, collection: &Collection, key: Key) -> Result<(), StateError> {
        self.stage(collection, key, None).await
    }

    async fn stage(
        &self,
        collection: &Collection,
        key: Key,
        value: Option<Bytes>,
    ) -> Result<(), StateError> {
        let guard = collection
            .guard(&key)
            .map_err(|it| StateError::Invalid(format!("the lock that guards the key {it}")))?;
        let _turn = self.state.turn.lock().await;
        let mut inner = self.transaction.lock();
        self.begin_operation(&mut inner)?;
        let staged = Staged { value, guard };
        let max = self.transaction.limits.staged_bytes;
        if inner.overlay.bytes_after(collection, &key, &staged) > max {
            let text = format!("a transaction stages at most {max} bytes");
            return Err(StateError::Quota(text));
        }
        inner.overlay.put(collection.clone(), key, staged);
        Ok(())
    }

    /// Commit even if the answer is an error. No effect in a nested scope.
    pub fn keep(&self) {
        let mut inner = self.transaction.lock();
        if self.state.number == ROOT && self.check_open(&inner).is_ok() {
            inner.kept = true;
        }
    }

    /// Acquires locks for the transaction. `lease: None` means until it ends.
    pub async fn acquire(
        &self,
        names: Vec<LockName>,
        wait: Duration,
        lease: Option<Duration>,
    ) -> Result<Guard, LockError> {
        let _turn = self.state.turn.lock().await;
        self.check_open_for_locks()?;
        self.transaction.check_room()?;
        let asked = self.transaction.ask_without_turns(names, wait, lease);
        let asked = asked.await;
        if let Err(LockError::Acquire(
            AcquireError::Held(_) | AcquireError::TimedOut | AcquireError::Deadlock(_),
        )) = asked
        {
            self.transaction.lock().was_refused_a_lock = true;
        }
        let (id, granted) = asked?;
        let admitted = self
            .check_open_for_locks()
            .and_then(|()| self.transaction.admit(id, &granted, Origin::Component));
        if admitted.is_err() {
            self.transaction.give_back(id).await;
        }
        admitted
    }

    /// What the scope was entered with: the route's locks and, in a nested
    /// scope, the guards of its callers; one guard per grant, of those of its
    /// names that satisfy `allowed`, if any does.
    pub fn inherited(&self, allowed: &dyn Fn(&LockName) -> bool) -> Vec<Guard> {
        let inner = self.transaction.lock();
        if self.check_open(&inner).is_err() {
            return Vec::new();
        }
        let is_inherited = |it: &&Arc<Grant>| match (it.origin, &self.state.inherits) {
            (Origin::Host | Origin::Turn, _) => false,
            (origin, Inherits::Route) => origin == Origin::Route,
            (_, Inherits::UpTo(ordinal)) => it.ordinal <= *ordinal,
        };
        let grants = inner.grants.iter().filter(is_inherited);
        grants.filter_map(|it| Guard::view(it, allowed)).collect()
    }

    /// Makes the guard's own grants last at least `lease` from now. One that
    /// has no lease stays as it is; a guard that acquired nothing itself is
    /// `Invalid`.
    pub async fn renew(&self, guard: &Guard, lease: Duration) -> Result<(), LockError> {
        let _turn = self.state.turn.lock().await;
        self.check_open_for_locks()?;
        let Some(own) = guard.own() else {
            let text = "the guard is a view and has no lease of its own";
            return Err(LockError::Invalid(text.to_owned()));
        };
        let store = &self.transaction.store;
        match store.renew(own.id, Principal::node(), Some(lease)).await {
            Ok(_) => Ok(()),
            // Nobody is refused the node's own grants.
            Err(RenewError::Lost | RenewError::NotHolder) => Err(LockError::Lost),
            Err(RenewError::Invalid(error)) => Err(LockError::Invalid(error.why)),
            Err(RenewError::Store(error)) => Err(LockError::Store(error)),
        }
    }

    /// Releases what the guard acquired. See `in-use` in `wit/locks.wit`.
    pub async fn release(&self, guard: Guard) -> Result<(), LockError> {
        let _turn = self.state.turn.lock().await;
        self.check_open_for_locks()?;
        let own = {
            let mut inner = self.transaction.lock();
            let own = inner.check_releasable(&guard)?;
            // From here on the commit does not rely on it.
            inner.grants.retain(|it| it.id != own.id);
            own
        };
        let store = &self.transaction.store;
        match store.release(own.id, Principal::node()).await {
            Ok(Released::Released) => Ok(()),
            Ok(Released::Already) | Err(ReleaseError::NotHolder) => {
                // It was lost before it could be given back, and with it what
                // the transaction did under it: the commit must be fenced.
                self.transaction.lock().grants.push(own);
                Err(LockError::Lost)
            }
            // Only a cancel is told this.
            Err(ReleaseError::Quota(text)) => Err(AcquireError::Quota(text).into()),
            Err(ReleaseError::Store(error)) => Err(LockError::Store(error)),
        }
    }

    /// How long the guard's locks are still held: zero if lost, `None` if
    /// until the transaction ends.
    pub async fn remaining(&self, guard: &Guard) -> Result<Option<Duration>, LockError> {
        let _turn = self.state.turn.lock().await;
        self.check_open_for_locks()?;
        let mut least = None;
        for grant in guard.grants() {
            let Some(name) = grant.names.first() else {
                continue;
            };
            let lock = self.transaction.store.lock(name.clone()).await?;
            if let Some(remaining) = remaining_of(grant, &lock) {
                least = Some(least.map_or(remaining, |it: Duration| it.min(remaining)));
            }
        }
        Ok(least)
    }

    /// Begins a nested scope. Waits for the operation of this scope that is
    /// under way, if one is. `Err(Closed)` if the scope is sealed.
    pub async fn nest(&self) -> Result<Nested, StateError> {
        let turn = self.state.turn.clone().lock_owned().await;
        let mut inner = self.transaction.lock();
        self.check_open(&inner)?;
        let number = inner.scopes;
        inner.scopes += 1;
        inner.overlay.open(number);
        let inherits = Inherits::UpTo(inner.granted);
        let state = Arc::new(ScopeState::new(number, inherits));
        Ok(Nested {
            scope: Self::new(self.transaction.clone(), state),
            caller: self.state.clone(),
            _turn: turn,
        })
    }

    pub(super) fn new(transaction: Arc<Transaction>, state: Arc<ScopeState>) -> Self {
        Self { transaction, state }
    }

    /// Whether the scope takes operations now.
    fn check_open(&self, inner: &Inner) -> Result<(), StateError> {
        let is_sealed = self.state.is_sealed.load(Ordering::Acquire);
        if is_sealed || !inner.overlay.has(self.state.number) {
            return Err(StateError::Closed);
        }
        match inner.phase {
            Phase::Open => Ok(()),
            Phase::Poisoned(_) => Err(StateError::Conflict),
            Phase::Sealed | Phase::Ended => Err(StateError::Closed),
        }
    }

    fn check_open_for_locks(&self) -> Result<(), LockError> {
        let inner = self.transaction.lock();
        self.check_open(&inner).map_err(|_| LockError::Closed)
    }

    fn begin_operation(&self, inner: &mut Inner) -> Result<(), StateError> {
        self.check_open(inner)?;
        let max = self.transaction.limits.operations;
        if inner.operations >= max {
            let text = format!("a transaction takes at most {max} operations");
            return Err(StateError::Quota(text));
        }
        inner.operations += 1;
        Ok(())
    }
}

impl Nested {
    /// The scope the callee works in.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Keeps what was staged: it is now the caller's. The callee's scope is
    /// closed. A caller that was sealed meanwhile did not wait for the call:
    /// then nothing is kept.
    pub fn keep(self) {
        let mut inner = self.scope.transaction.lock();
        if !self.caller.is_sealed.load(Ordering::Acquire) {
            inner.overlay.keep(self.scope.state.number);
        }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let mut inner = self.scope.transaction.lock();
        // After `keep` there is no frame left to roll back.
        inner.overlay.roll_back(self.scope.state.number);
    }
}

impl ScopeState {
    pub(super) fn root() -> Self {
        Self::new(ROOT, Inherits::Route)
    }

    pub(super) fn seal(&self) {
        self.is_sealed.store(true, Ordering::Release);
    }

    fn new(number: ScopeNumber, inherits: Inherits) -> Self {
        Self {
            number,
            is_sealed: AtomicBool::new(false),
            turn: Arc::default(),
            inherits,
        }
    }
}

impl Inner {
    /// The transaction can only end from here.
    fn poison(&mut self, stale: Stale) -> StateError {
        self.phase = Phase::Poisoned(stale);
        StateError::Conflict
    }

    /// The grant that giving `guard` back would release.
    fn check_releasable(&self, guard: &Guard) -> Result<Arc<Grant>, LockError> {
        let own = guard
            .own()
            .ok_or(LockError::InUse("it did not acquire the locks itself"))?;
        if !self.grants.iter().any(|it| it.id == own.id) {
            return Err(LockError::Lost);
        }
        if Grant::guards(own) > 1 {
            return Err(LockError::InUse("another guard covers its locks"));
        }
        if self.overlay.needs_any(&own.names) {
            return Err(LockError::InUse("something is staged under it"));
        }
        Ok(own.clone())
    }
}

/// How long a grant is still held, given what its lock looks like now. `None`
/// means until the transaction ends.
fn remaining_of(grant: &Grant, lock: &Lock) -> Option<Duration> {
    let own = lock.holders.iter().find(|it| it.token == grant.token);
    own.map_or(Some(Duration::ZERO), |it| it.remaining)
}
