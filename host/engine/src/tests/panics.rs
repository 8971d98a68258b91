//! Panics of the host below a guest.

use super::*;
use lockport_store::secret::SpaceKey;
use lockport_store::statistics::Statistics;
use lockport_store::store::{
    Acquire, AcquireError, Answer, Attached, Attachment, Cancelled, Commit, CommitError, Committed,
    ForceError, Grant, Granted, Lock, LockPage, LockQuery, OpenSession, Page, Principal, Query,
    Reading, ReleaseError, Released, RenewError, Resolved, SessionError, StoreError, Taken,
    Versioned, Watch, WatchError, WatchQuery,
};
use lockport_store::{
    CommitId, GrantId, Key, LockName, Permission, SessionId, Time, TransactionId,
};

/// A store whose every answer is a bug.
struct Broken;

impl Store for Broken {
    fn summary(&self) -> String {
        "broken".to_owned()
    }

    fn now(&self) -> Time {
        Time::default()
    }

    fn key(&self) -> SpaceKey {
        panic!("a bug in key")
    }

    fn statistics(&self) -> Statistics {
        panic!("a bug in statistics")
    }

    fn acquire(&self, _: Acquire) -> Answer<'_, Result<Granted, AcquireError>> {
        panic!("a bug in acquire")
    }

    fn cancel(&self, _: GrantId, _: Principal) -> Answer<'_, Result<Cancelled, ReleaseError>> {
        panic!("a bug in cancel")
    }

    fn renew(
        &self,
        _: GrantId,
        _: Principal,
        _: Option<Duration>,
    ) -> Answer<'_, Result<Grant, RenewError>> {
        panic!("a bug in renew")
    }

    fn release(&self, _: GrantId, _: Principal) -> Answer<'_, Result<Released, ReleaseError>> {
        panic!("a bug in release")
    }

    fn force_release(
        &self,
        _: LockName,
        _: Principal,
        _: Permission,
        _: String,
    ) -> Answer<'_, Result<Vec<Taken>, ForceError>> {
        panic!("a bug in force-release")
    }

    fn lock(&self, _: LockName) -> Answer<'_, Result<Lock, StoreError>> {
        panic!("a bug in lock")
    }

    fn locks(&self, _: LockQuery) -> Answer<'_, Result<LockPage, StoreError>> {
        panic!("a bug in locks")
    }

    fn watch(&self, _: WatchQuery) -> Answer<'_, Result<Watch, WatchError>> {
        panic!("a bug in watch")
    }

    fn open_session(&self, _: OpenSession) -> Answer<'_, Result<(), SessionError>> {
        panic!("a bug in open-session")
    }

    fn attach(&self, _: SessionId, _: Principal) -> Answer<'_, Result<Attached, SessionError>> {
        panic!("a bug in attach")
    }

    fn beat(&self, _: SessionId, _: Attachment) -> Result<(), SessionError> {
        panic!("a bug in beat")
    }

    fn detach(&self, _: SessionId, _: Attachment) {
        panic!("a bug in detach")
    }

    fn close_session(&self, _: SessionId, _: Principal) -> Answer<'_, Result<(), SessionError>> {
        panic!("a bug in close-session")
    }

    fn get(&self, _: Collection, _: Key) -> Answer<'_, Result<Option<Versioned>, StoreError>> {
        Box::pin(async { panic!("a bug in get") })
    }

    fn list(&self, _: Collection, _: Query) -> Answer<'_, Result<Page, StoreError>> {
        panic!("a bug in list")
    }

    fn commit(&self, _: Commit) -> Answer<'_, Result<Committed, CommitError>> {
        panic!("a bug in commit")
    }

    fn validate(&self, _: Reading) -> Answer<'_, Result<(), CommitError>> {
        panic!("a bug in validate")
    }

    fn resolve(&self, _: CommitId) -> Answer<'_, Result<Resolved, StoreError>> {
        panic!("a bug in resolve")
    }

    fn end(&self, _: TransactionId) {}
}

/// Host functions run on the guest's stack: the panic has to get through it.
#[tokio::test]
async fn a_panic_in_a_host_function_ends_only_its_request() {
    let mut bench = Bench::new();
    let component = bench.load(
        "(call $get (i32.const 544) (i32.const 6) (i32.const 512) (i32.const 7) (i32.const 0))
         (call $answer (local.get $out) (global.get $count))",
    );
    let whole = std::mem::replace(&mut bench.store, Arc::new(Broken));
    for _ in 0..2 {
        assert_eq!(
            bench.failure(&component).await,
            Failure::Host("it panicked: a bug in get".to_owned())
        );
    }
    bench.store = whole;
    assert_eq!(bench.body(&component).await, [1]);
}
