//! The commit, and what becomes of one whose answer is lost.

use super::*;
use crate::contract::{guarded, of, open, query};
use crate::id::CommitId;
use crate::secret::SpaceKey;
use crate::shell::lock_operations;
use crate::store::{Answer, Reading, Versioned};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_commit_applies_everything_and_ends_the_transaction() {
    block_on(async {
        let stage = Stage::new();
        hold(&stage.scope, &["order/1"]).await;
        put(&stage.scope, &guarded(), "1", "x").await;
        put(&stage.scope, &open(), "a", "y").await;
        let committed = stage.transaction.commit().await.unwrap().unwrap();
        for (collection, at) in [(guarded(), "1"), (open(), "a")] {
            let version = stage.world.get(&collection, at).await.unwrap().version;
            assert_eq!(version, committed.number);
        }
        assert_eq!(stage.world.holder("order/1").await, None);
        assert_eq!(stage.transaction.commit().await, Err(CommitError::Aborted));
        stage.transaction.abort();
    });
}

#[test]
fn a_transaction_that_staged_nothing_only_ends() {
    block_on(async {
        let stage = Stage::new();
        hold(&stage.scope, &["a"]).await;
        get(&stage.scope, &open(), "a").await;
        stage.world.write(&open(), &[("a", "1")]).await;
        assert_eq!(stage.transaction.commit().await, Ok(None));
        assert_eq!(stage.world.holder("a").await, None);
    });
}

#[test]
fn a_refused_commit_applies_nothing_and_gives_the_guards_back() {
    block_on(async {
        // One that read something stale, one that forgot the lock.
        let stage = Stage::new();
        hold(&stage.scope, &["order/1"]).await;
        get(&stage.scope, &open(), "a").await;
        put(&stage.scope, &guarded(), "1", "x").await;
        stage.world.write(&open(), &[("a", "1")]).await;
        let refusal = stage.transaction.commit().await;
        assert!(
            matches!(refusal, Err(CommitError::Conflict { .. })),
            "{refusal:?}"
        );
        assert_eq!(stage.world.get(&guarded(), "1").await, None);
        assert!(stage.world.holder("order/1").await.is_some());
        drop((stage.scope, stage.transaction));
        assert_eq!(stage.world.holder("order/1").await, None);

        let forgetful = another(&stage.world);
        put(&forgetful.scope(), &guarded(), "1", "x").await;
        put(&forgetful.scope(), &open(), "b", "x").await;
        let expected = CommitError::Unguarded {
            name: name("order/1"),
        };
        assert_eq!(forgetful.commit().await, Err(expected));
        assert_eq!(stage.world.get(&open(), "b").await, None);
    });
}

#[test]
fn reads_of_a_callee_that_failed_are_validated_all_the_same() {
    block_on(async {
        let stage = Stage::new();
        let nested = stage.scope.nest().await.unwrap();
        get(nested.scope(), &open(), "seen").await;
        drop(nested);
        put(&stage.scope, &open(), "a", "1").await;
        stage.world.write(&open(), &[("seen", "1")]).await;
        let refusal = stage.transaction.commit().await;
        assert!(
            matches!(refusal, Err(CommitError::Conflict { .. })),
            "{refusal:?}"
        );
    });
}

#[test]
fn a_listing_is_validated_and_a_new_key_read_as_absent_needs_no_lock() {
    block_on(async {
        let stage = Stage::new();
        let (one, two) = (stage.another(), stage.another());
        for transaction in [&one, &two] {
            let all = query("", None, Order::Ascending, 10);
            transaction.scope().list(&open(), all).await.unwrap();
        }
        put(&one.scope(), &open(), "a", "1").await;
        put(&two.scope(), &open(), "b", "1").await;
        assert!(one.commit().await.is_ok());
        assert!(two.commit().await.is_err());

        assert_eq!(get(&stage.scope, &guarded(), "new").await, None);
        put(&stage.scope, &guarded(), "new", "1").await;
        assert!(stage.transaction.commit().await.is_ok());
    });
}

#[test]
fn a_dropped_commit_gives_the_guards_back() {
    block_on(async {
        let lossy = Lossy::new(Loss::Never, 0);
        let transaction = lossy.begin();
        hold(&transaction.scope(), &["a"]).await;
        put(&transaction.scope(), &open(), "a", "1").await;
        let mut commit = Box::pin(transaction.commit());
        assert!(poll_once(&mut commit).await.is_none());
        drop(commit);
        assert_eq!(lossy.world.holder("a").await, None);
    });
}

#[test]
fn t9_a_lost_answer_is_found_out() {
    block_on(async {
        // Applied, and the answer lost; resolved at the second attempt.
        let lossy = Lossy::new(Loss::After, 1);
        let transaction = lossy.begin();
        hold(&transaction.scope(), &["a"]).await;
        put(&transaction.scope(), &open(), "a", "1").await;
        let number = transaction.commit().await.unwrap().unwrap().number;
        assert_eq!(lossy.world.get(&open(), "a").await.unwrap().version, number);
        assert_eq!(lossy.resolved.load(Ordering::Relaxed), 2);

        // Never applied, and now it never will be.
        let lossy = Lossy::new(Loss::Before, 0);
        let transaction = lossy.begin();
        put(&transaction.scope(), &open(), "a", "1").await;
        assert_eq!(transaction.commit().await, Err(CommitError::Aborted));
    });
}

#[test]
fn t9_an_outcome_that_cannot_be_found_out_is_unknown_and_the_guards_are_given_back() {
    block_on(async {
        let lossy = Lossy::new(Loss::Before, usize::MAX);
        let transaction = lossy.begin();
        hold(&transaction.scope(), &["a"]).await;
        put(&transaction.scope(), &open(), "a", "1").await;
        let unknown = transaction.commit().await;
        assert!(matches!(unknown, Err(CommitError::Store(_))), "{unknown:?}");
        assert_eq!(lossy.resolved.load(Ordering::Relaxed), RESOLVE_ATTEMPTS);
        assert_eq!(lossy.world.holder("a").await, None);
    });
}

/// When a commit's answer is lost.
#[derive(Clone, Copy)]
enum Loss {
    /// Before it is applied.
    Before,
    /// After it is applied.
    After,
    /// There is no answer at all.
    Never,
}

/// A store that loses the answers to commits, and fails to resolve so often.
struct Lossy {
    world: World,
    loss: Loss,
    failures: usize,
    resolved: AtomicUsize,
}

impl Lossy {
    fn new(loss: Loss, failures: usize) -> Arc<Self> {
        let world = World::memory(Setting::Narrow);
        let resolved = AtomicUsize::new(0);
        Arc::new(Self {
            world,
            loss,
            failures,
            resolved,
        })
    }

    fn begin(self: &Arc<Self>) -> Arc<Transaction> {
        Transaction::begin(self.clone(), Limits::default(), "test".to_owned())
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("lost".to_owned())
}

impl Store for Lossy {
    fn commit(&self, commit: Commit) -> Answer<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            match self.loss {
                Loss::Before => {}
                Loss::After => drop(self.world.store.commit(commit).await?),
                Loss::Never => std::future::pending().await,
            }
            Err(lost().into())
        })
    }

    fn validate(&self, reading: Reading) -> Answer<'_, Result<(), CommitError>> {
        self.world.store.validate(reading)
    }

    fn resolve(&self, id: CommitId) -> Answer<'_, Result<Resolved, StoreError>> {
        Box::pin(async move {
            if self.resolved.fetch_add(1, Ordering::Relaxed) < self.failures {
                return Err(lost());
            }
            self.world.store.resolve(id).await
        })
    }

    fn summary(&self) -> String {
        self.world.store.summary()
    }

    fn key(&self) -> SpaceKey {
        self.world.store.key()
    }

    lock_operations!(self => self.world.store);

    fn get(
        &self,
        collection: Collection,
        key: Key,
    ) -> Answer<'_, Result<Option<Versioned>, StoreError>> {
        self.world.store.get(collection, key)
    }

    fn list(&self, collection: Collection, query: Query) -> Answer<'_, Result<Page, StoreError>> {
        self.world.store.list(collection, query)
    }
}

#[test]
fn a_transaction_of_another_does_not_pass_for_its_own() {
    block_on(async {
        let stage = Stage::new();
        stage
            .world
            .hold(&of(TransactionId::mint(), &["order/1"]))
            .await;
        put(&stage.scope, &guarded(), "1", "x").await;
        let expected = CommitError::Unguarded {
            name: name("order/1"),
        };
        assert_eq!(stage.transaction.commit().await, Err(expected));
    });
}
