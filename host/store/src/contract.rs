//! The contract of [`Store`](crate::store::Store), as tests that every store
//! runs: each function in the modules below is one test per store.
//!
//! A new store adds its [`World`] here, and a line to the macro.

mod deadlocks;
mod limits;
mod listing;
mod locks;
mod modes;
mod races;
mod requests;
mod sessions;
mod state;
mod strangers;
mod watching;

use crate::clock::{Clock, ManualClock};
use crate::core::Limits;
use crate::embedded::{self, Embedded};
use crate::id::{CommitId, GrantId, SessionId, TransactionId};
use crate::memory::Memory;
use crate::name::{Collection, Key, LockName};
use crate::pattern::{LockPattern, Permission};
use crate::redis::Redis;
use crate::redis::server::Server;
use crate::redis::server::cluster::Cluster;
use crate::store::{
    Acquire, AcquireError, Attached, Commit, CommitError, Committed, ForceError, Granted, Guarding,
    Holder, Mode, OpenSession, Order, Page, Party, Principal, Query, ReleaseError, Released, Store,
    Token, Versioned, Write,
};
use crate::time::Time;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Makes each function of this module a test of each store, in such a
/// [`Setting`]. A second setting in one module needs a name.
macro_rules! contract {
    ($setting:ident: $($name:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $name() {
                use $crate::contract::{Setting, World, run};
                run(World::memory(Setting::$setting), super::$name);
            })*
        }
        mod embedded {
            $(#[test]
            fn $name() {
                use $crate::contract::{Setting, World, run};
                run(World::embedded(Setting::$setting), super::$name);
            })*
        }
        mod redis {
            $(#[test]
            fn $name() {
                use $crate::contract::{Setting, World, run};
                run(World::redis(Setting::$setting), super::$name);
            })*
        }
    };
    ($also:ident, $setting:ident: $($name:ident),* $(,)?) => {
        mod $also {
            $(use super::$name;)*
            $crate::contract::contract!($setting: $($name),*);
        }
    };
}
pub(crate) use contract;

/// Makes each of these functions, which are tests of every store, a test of a
/// space in a cluster, too.
macro_rules! in_a_cluster {
    ($setting:ident: $($name:ident),* $(,)?) => {
        mod cluster {
            $(#[test]
            fn $name() {
                use $crate::contract::{Setting, World, run};
                run(World::in_a_cluster(Setting::$setting), super::$name);
            })*
        }
    };
}
pub(crate) use in_a_cluster;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const NO_WAIT: Duration = Duration::ZERO;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Small ones, so that tests run into them.
pub(crate) const LIMITS: Limits = Limits {
    holders_per_lock: 3,
    waiters_per_lock: 3,
    locks_per_principal: 80,
    waiters_per_principal: 5,
    sessions_per_principal: 3,
    grants_per_session: 15,
    cancels_per_principal: 5,
    watchers: 2,
    events: 8,
    event_bytes: 64 * 1024,
    ended: 10,
    records: 100,
    unwritten: 4,
};

/// How long sessions of tests live after a beat, and after their connection
/// broke.
pub(crate) const TTL: Duration = Duration::from_secs(10);
/// See [`TTL`].
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// The shortest time there is.
pub(crate) const TICK: Duration = Duration::from_micros(1);

/// What a test needs of its store.
#[derive(Clone, Copy)]
pub(crate) enum Setting {
    /// [`LIMITS`], and time in the test's hands.
    Narrow,
    /// The default limits, and the machine's time.
    Real,
}

impl Setting {
    fn limits_and_clock(self, manual: &ManualClock) -> (Limits, Clock) {
        match self {
            Setting::Narrow => (LIMITS, manual.clone().into()),
            Setting::Real => (Limits::default(), Clock::machine()),
        }
    }
}

/// A store, and its time.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    /// Its clock, in the [`Setting::Narrow`].
    pub(crate) clock: ManualClock,
    /// Whether what nobody waits for has been done as soon as it was asked.
    is_immediate: bool,
    /// How much earlier than the store whoever keeps a session takes it for
    /// lost, at most.
    pub(crate) margin: Duration,
    /// Removed after the store is closed.
    _directory: Option<tempfile::TempDir>,
    /// Killed after the store is closed.
    _servers: Vec<Server>,
}

/// Runs one test to its end, within reason.
pub(crate) fn run<F: Future<Output = ()>>(world: World, test: impl FnOnce(Arc<World>) -> F) {
    let world = Arc::new(world);
    block_on(test(world));
}

/// Runs a future on a runtime of its own, within reason.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_within(PATIENCE, future)
}

/// As [`block_on`], with a bound of its own.
pub(crate) fn block_on_within<F: Future>(patience: Duration, future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    let bounded = async { tokio::time::timeout(patience, future).await };
    runtime.block_on(bounded).expect("it ends within reason")
}

/// Polls a future once: what it answers at once, if it does.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *future).poll(context) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        })
    })
    .await
}

impl World {
    pub(crate) fn memory(setting: Setting) -> Self {
        let clock = ManualClock::new(Time::default() + 1_000 * SECOND);
        let (limits, time) = setting.limits_and_clock(&clock);
        Self {
            store: Arc::new(Memory::with(limits, time)),
            clock,
            is_immediate: true,
            margin: TICK,
            _directory: None,
            _servers: Vec::new(),
        }
    }

    pub(crate) fn embedded(setting: Setting) -> Self {
        let clock = ManualClock::new(Time::default() + 1_000 * SECOND);
        let (limits, time) = setting.limits_and_clock(&clock);
        let directory = tempfile::tempdir().unwrap();
        let options = embedded::Options {
            // The disk is not what is tested here.
            durability: embedded::Durability::Relaxed,
            limits,
            clock: time,
        };
        let store = Embedded::open_with(directory.path(), options).unwrap();
        Self {
            store: Arc::new(store),
            clock,
            is_immediate: true,
            margin: TICK,
            _directory: Some(directory),
            _servers: Vec::new(),
        }
    }

    pub(crate) fn redis(setting: Setting) -> Self {
        let server = Server::start();
        Self::in_redis(setting, &server.url(), vec![server])
    }

    pub(crate) fn in_a_cluster(setting: Setting) -> Self {
        let cluster = Cluster::start();
        Self::in_redis(setting, &cluster.url("contract"), cluster.masters)
    }

    fn in_redis(setting: Setting, url: &str, servers: Vec<Server>) -> Self {
        let clock = ManualClock::new(Time::default() + 1_000 * SECOND);
        let opened = block_on(async {
            match setting {
                Setting::Narrow => Redis::by_hand(url, LIMITS, &clock).await,
                Setting::Real => Redis::open(url).await,
            }
        });
        Self {
            store: Arc::new(opened.unwrap()),
            clock,
            is_immediate: false,
            margin: TTL / 50,
            _directory: None,
            _servers: servers,
        }
    }

    /// Acquires what is free.
    pub(crate) async fn hold(&self, request: &Acquire) -> Granted {
        self.store.acquire(request.clone()).await.unwrap()
    }

    /// Waits until nobody holds a lock or waits for it: what was asked by somebody
    /// who left before hearing of it is given up once it is answered.
    pub(crate) async fn until_nobody_has(&self, text: &str) {
        loop {
            let lock = self.store.lock(name(text)).await.unwrap();
            if lock.holding + lock.waiting == 0 {
                return;
            }
        }
    }

    /// The refusal of a request that gets nothing.
    pub(crate) async fn refusal(&self, request: &Acquire) -> AcquireError {
        self.store.acquire(request.clone()).await.unwrap_err()
    }

    /// Queues a request that has to wait.
    pub(crate) async fn queue(
        &self,
        request: &Acquire,
    ) -> Pin<Box<dyn Future<Output = Result<Granted, AcquireError>> + Send + '_>> {
        let mut waiting = self.store.acquire(request.clone());
        assert!(poll_once(&mut waiting).await.is_none(), "it waits");
        // What is asked later is answered later.
        drop(self.store.lock(request.names[0].clone()).await);
        assert!(poll_once(&mut waiting).await.is_none(), "it waits");
        waiting
    }

    /// Gives back what a request was granted, or ends its wait.
    pub(crate) async fn release(&self, request: &Acquire) -> Result<Released, ReleaseError> {
        let principal = request.party.principal.clone();
        self.store.release(request.id, principal).await
    }

    /// The token of the one who holds a lock.
    pub(crate) async fn holder(&self, text: &str) -> Option<Token> {
        let tokens = self.holders(text).await;
        assert!(tokens.len() < 2, "{tokens:?}");
        tokens.first().copied()
    }

    /// The tokens of those who hold a lock.
    pub(crate) async fn holders(&self, text: &str) -> Vec<Token> {
        let lock = self.store.lock(name(text)).await.unwrap();
        assert_eq!(lock.holding, lock.holders.len());
        lock.holders.iter().map(|it| it.token).collect()
    }

    /// Nobody holds a lock any more: at once, or as soon as the store has heard
    /// of what it was not asked.
    pub(crate) async fn is_freed(&self, text: &str) {
        while !self.is_immediate && self.holder(text).await.is_some() {}
        assert_eq!(self.holder(text).await, None);
    }

    /// How many wait for a lock.
    pub(crate) async fn waiting(&self, text: &str) -> usize {
        self.store.lock(name(text)).await.unwrap().waiting
    }

    /// Opens a session and attaches it.
    pub(crate) async fn attached(&self) -> (SessionId, Attached) {
        let session = session();
        let (id, principal) = (session.id, session.party.principal.clone());
        self.store.open_session(session).await.unwrap();
        (id, self.store.attach(id, principal).await.unwrap())
    }

    pub(crate) async fn get(&self, collection: &Collection, text: &str) -> Option<Versioned> {
        let got = self.store.get(collection.clone(), key(text)).await;
        got.unwrap()
    }

    pub(crate) async fn list(&self, collection: &Collection, query: Query) -> Page {
        self.store.list(collection.clone(), query).await.unwrap()
    }

    /// A commit of a transaction that has nothing yet.
    pub(crate) fn commit(&self) -> Commit {
        self.commit_of(TransactionId::mint())
    }

    pub(crate) fn commit_of(&self, transaction: TransactionId) -> Commit {
        Commit {
            id: CommitId::mint(self.store.now()),
            transaction,
            began: Time::default(),
            guards: vec![],
            reads: vec![],
            ranges: vec![],
            writes: vec![],
        }
    }

    pub(crate) async fn apply(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.store.commit(commit).await
    }

    /// Writes values without further ado; answers the commit's number.
    pub(crate) async fn write(&self, collection: &Collection, values: &[(&str, &str)]) -> u64 {
        let mut commit = self.commit();
        for (key, value) in values {
            commit.writes.push(put(collection, key, value));
        }
        self.apply(commit).await.unwrap().number
    }
}

pub(crate) fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A collection that anybody may write.
pub(crate) fn open() -> Collection {
    Collection::new("shop", "notes", None).unwrap()
}

/// A collection whose values are guarded by `order/{key}`.
pub(crate) fn guarded() -> Collection {
    Collection::new("shop", "orders", Some("order/{key}")).unwrap()
}

pub(crate) fn of(transaction: TransactionId, names: &[&str]) -> Acquire {
    Acquire {
        id: GrantId::mint(),
        repeatable: false,
        names: names.iter().map(|it| name(it)).collect(),
        mode: Mode::Exclusive,
        holder: Holder::Transaction(transaction),
        lease: None,
        wait: NO_WAIT,
        party: Party::node("a transaction"),
    }
}

pub(crate) fn of_caller(names: &[&str]) -> Acquire {
    Acquire {
        holder: Holder::Caller,
        lease: Some(10 * SECOND),
        party: caller(),
        ..of(TransactionId::mint(), names)
    }
}

pub(crate) fn of_session(session: SessionId, names: &[&str]) -> Acquire {
    Acquire {
        holder: Holder::Session(session),
        lease: None,
        ..of_caller(names)
    }
}

/// The party of all callers and sessions here.
pub(crate) fn caller() -> Party {
    Party {
        principal: Principal::new("somebody"),
        owner: None,
        label: "a caller".into(),
    }
}

pub(crate) fn session() -> OpenSession {
    OpenSession {
        id: SessionId::mint(),
        ttl: TTL,
        grace: GRACE,
        party: caller(),
    }
}

/// A request that may be asked again.
pub(crate) fn repeatable(request: Acquire) -> Acquire {
    Acquire {
        repeatable: true,
        ..request
    }
}

pub(crate) fn in_mode(mode: Mode, request: Acquire) -> Acquire {
    Acquire { mode, ..request }
}

pub(crate) fn owned_by(owner: &str, request: Acquire) -> Acquire {
    let party = Party {
        owner: Some(owner.into()),
        ..request.party
    };
    Acquire { party, ..request }
}

pub(crate) fn waiting(wait: Duration, request: Acquire) -> Acquire {
    Acquire { wait, ..request }
}

pub(crate) fn guarding(request: &Acquire) -> Guarding {
    Guarding {
        grant: request.id,
        names: request.names.clone(),
    }
}

/// A write without the lock it may need, of a key that was not read.
pub(crate) fn put(collection: &Collection, text: &str, value: &str) -> Write {
    Write {
        collection: collection.clone(),
        key: key(text),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        guard: collection.guard(&key(text)).unwrap(),
        absence_read: false,
    }
}

pub(crate) fn delete(collection: &Collection, text: &str) -> Write {
    Write {
        value: None,
        ..put(collection, text, "")
    }
}

/// A write of a key that was read as absent.
pub(crate) fn create(collection: &Collection, text: &str, value: &str) -> Write {
    Write {
        absence_read: true,
        ..put(collection, text, value)
    }
}

pub(crate) fn query(prefix: &str, after: Option<&str>, order: Order, limit: usize) -> Query {
    Query {
        prefix: prefix.to_owned(),
        after: after.map(str::to_owned),
        order,
        limit,
    }
}

/// The keys of a page, and whether there is more.
pub(crate) fn keys(page: &Page) -> (Vec<&str>, bool) {
    let keys = page.entries.iter().map(|(key, _)| key.as_str());
    (keys.collect(), page.more)
}
