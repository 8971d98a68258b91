//! Scopes: what they see, when they wait, when they are closed, and limits.

use super::*;
use crate::contract::{guarded, open, query};

#[test]
fn a_transaction_reads_what_it_has_staged_and_nobody_else_does() {
    block_on(async {
        let stage = Stage::new();
        assert!(stage.transaction.is_read_only());
        put(&stage.scope, &open(), "a", "1").await;
        assert!(!stage.transaction.is_read_only());
        let staged = stage.scope.get(&open(), &key("a")).await.unwrap().unwrap();
        assert_eq!((staged.version, staged.value), (0, value("1")));
        assert_eq!(get(&stage.another().scope(), &open(), "a").await, None);
        stage.scope.delete(&open(), key("a")).await.unwrap();
        assert_eq!(get(&stage.scope, &open(), "a").await, None);
    });
}

#[test]
fn a_nested_scope_sees_its_caller_s_writes_and_is_rolled_back_alone() {
    block_on(async {
        let stage = Stage::new();
        put(&stage.scope, &open(), "caller", "1").await;
        let nested = stage.scope.nest().await.unwrap();
        assert_eq!(
            get(nested.scope(), &open(), "caller").await.as_deref(),
            Some("1")
        );
        put(nested.scope(), &open(), "caller", "2").await;
        put(nested.scope(), &open(), "callee", "1").await;
        drop(nested);
        assert_eq!(
            get(&stage.scope, &open(), "caller").await.as_deref(),
            Some("1")
        );
        assert_eq!(get(&stage.scope, &open(), "callee").await, None);

        let nested = stage.scope.nest().await.unwrap();
        put(nested.scope(), &open(), "callee", "2").await;
        nested.keep();
        assert_eq!(
            get(&stage.scope, &open(), "callee").await.as_deref(),
            Some("2")
        );
    });
}

#[test]
fn what_was_rolled_back_leaves_a_transaction_that_stages_nothing() {
    block_on(async {
        let stage = Stage::new();
        let nested = stage.scope.nest().await.unwrap();
        put(nested.scope(), &open(), "a", "1").await;
        drop(nested);
        assert!(stage.transaction.is_read_only());
        assert_eq!(stage.transaction.commit().await, Ok(None));
    });
}

#[test]
fn a_caller_waits_while_its_callee_runs() {
    block_on(async {
        let stage = Stage::new();
        let nested = stage.scope.nest().await.unwrap();
        let at = key("a");
        let collection = open();
        let mut waiting = Box::pin(stage.scope.get(&collection, &at));
        assert!(poll_once(&mut waiting).await.is_none());
        let mut second = Box::pin(stage.scope.nest());
        assert!(poll_once(&mut second).await.is_none());
        put(nested.scope(), &open(), "a", "1").await;
        nested.keep();
        let found = waiting.await.unwrap().unwrap();
        assert_eq!(found.value, value("1"), "it sees what was kept");
        assert!(second.await.is_ok());
    });
}

#[test]
fn a_callee_that_is_over_is_closed_whatever_it_left_behind() {
    block_on(async {
        let stage = Stage::new();
        for keep in [true, false] {
            let nested = stage.scope.nest().await.unwrap();
            let left = nested.scope().clone();
            put(&left, &open(), "callee", "1").await;
            // A call of its own that it never ended.
            let inner = left.nest().await.unwrap();
            put(inner.scope(), &open(), "inner", "1").await;
            if keep {
                nested.keep()
            } else {
                drop(nested)
            }
            assert_eq!(left.nest_at_once().await, None, "its turn is taken");
            let answer = inner.scope().put(&open(), key("late"), value("1")).await;
            assert_eq!(answer, Err(StateError::Closed));
            drop(inner);
            let answer = left.put(&open(), key("late"), value("1")).await;
            assert_eq!(answer, Err(StateError::Closed));
            let callee = get(&stage.scope, &open(), "callee").await;
            assert_eq!(callee.is_some(), keep);
            let undecided = get(&stage.scope, &open(), "inner").await;
            assert_eq!(undecided, None, "nobody decided on it");
            stage.scope.delete(&open(), key("callee")).await.unwrap();
        }
    });
}

impl Scope {
    /// Whether a nested scope can be begun without waiting, and how it went.
    async fn nest_at_once(&self) -> Option<Result<(), StateError>> {
        let answer = poll_once(&mut Box::pin(self.nest())).await;
        answer.map(|it| it.map(drop))
    }
}

#[test]
fn a_caller_that_was_sealed_keeps_nothing_of_the_call_it_did_not_wait_for() {
    block_on(async {
        let stage = Stage::new();
        put(&stage.scope, &open(), "caller", "1").await;
        let nested = stage.scope.nest().await.unwrap();
        put(nested.scope(), &open(), "callee", "1").await;
        stage.scope.seal();
        nested.keep();
        assert!(stage.transaction.commit().await.unwrap().is_some());
        assert!(stage.world.get(&open(), "caller").await.is_some());
        assert_eq!(stage.world.get(&open(), "callee").await, None);
    });
}

#[test]
fn a_sealed_scope_takes_nothing_more() {
    block_on(async {
        let stage = Stage::new();
        let guard = hold(&stage.scope, &["a"]).await;
        put(&stage.scope, &open(), "a", "1").await;
        stage.scope.seal();
        assert_closed(&stage.scope, &guard).await;
        // What was staged before is committed.
        assert!(stage.transaction.commit().await.unwrap().is_some());
    });
}

#[test]
fn a_transaction_that_has_ended_takes_nothing_more() {
    block_on(async {
        let stage = Stage::new();
        let guard = hold(&stage.scope, &["a"]).await;
        put(&stage.scope, &open(), "a", "1").await;
        stage.transaction.abort();
        stage.transaction.abort();
        assert!(stage.transaction.is_read_only(), "what was staged is gone");
        assert_closed(&stage.scope, &guard).await;
        assert_eq!(stage.transaction.commit().await, Err(CommitError::Aborted));
        assert_eq!(stage.world.get(&open(), "a").await, None);
        assert_eq!(stage.world.holder("a").await, None);
    });
}

async fn assert_closed(scope: &Scope, guard: &Guard) {
    let (collection, at) = (open(), key("a"));
    assert_eq!(scope.get(&collection, &at).await, Err(StateError::Closed));
    let listed = scope
        .list(&collection, query("", None, Order::Ascending, 1))
        .await;
    assert_eq!(listed, Err(StateError::Closed));
    let put = scope.put(&collection, at.clone(), value("1")).await;
    assert_eq!(put, Err(StateError::Closed));
    let deleted = scope.delete(&collection, at).await;
    assert_eq!(deleted, Err(StateError::Closed));
    assert_eq!(scope.nest().await.err(), Some(StateError::Closed));
    let acquired = scope.acquire(vec![name("b")], NO_WAIT, None).await;
    assert_eq!(acquired.err(), Some(LockError::Closed));
    assert_eq!(scope.renew(guard, SECOND).await, Err(LockError::Closed));
    assert_eq!(scope.remaining(guard).await, Err(LockError::Closed));
    assert!(scope.inherited(&|_| true).is_empty());
    scope.keep();
}

#[test]
fn keep_counts_in_the_outermost_scope_while_it_is_open() {
    block_on(async {
        let stage = Stage::new();
        let nested = stage.scope.nest().await.unwrap();
        nested.scope().keep();
        assert!(!stage.transaction.kept());
        drop(nested);
        stage.scope.keep();
        assert!(stage.transaction.kept());

        let sealed = stage.another();
        sealed.scope().seal();
        sealed.scope().keep();
        assert!(!sealed.kept());
    });
}

#[test]
fn a_key_read_again_at_another_version_ends_the_run() {
    block_on(async {
        let stage = Stage::new();
        assert_eq!(get(&stage.scope, &open(), "a").await, None);
        stage.world.write(&open(), &[("a", "1")]).await;
        let (collection, at) = (open(), key("a"));
        for _ in 0..2 {
            assert_eq!(
                stage.scope.get(&collection, &at).await,
                Err(StateError::Conflict)
            );
        }
        let put = stage.scope.put(&collection, key("b"), value("1")).await;
        assert_eq!(put, Err(StateError::Conflict));
        let expected = CommitError::Conflict {
            collection: collection.name().to_owned(),
            key: "a".to_owned(),
        };
        assert_eq!(stage.transaction.commit().await, Err(expected));
    });
}

#[test]
fn a_collection_listed_again_after_a_change_ends_the_run() {
    block_on(async {
        let stage = Stage::new();
        let all = || query("", None, Order::Ascending, 10);
        stage.scope.list(&open(), all()).await.unwrap();
        stage.world.write(&open(), &[("a", "1")]).await;
        let again = stage.scope.list(&open(), all()).await;
        assert_eq!(again, Err(StateError::Conflict));
        assert!(matches!(
            stage.transaction.commit().await,
            Err(CommitError::Conflict { key, .. }) if key == "*"
        ));
    });
}

#[test]
fn a_transaction_takes_so_many_operations() {
    block_on(async {
        let stage = Stage::with(Limits {
            operations: 4,
            ..Limits::default()
        });
        put(&stage.scope, &open(), "a", "1").await;
        get(&stage.scope, &open(), "a").await;
        stage.scope.delete(&open(), key("b")).await.unwrap();
        let all = query("", None, Order::Ascending, 1);
        stage.scope.list(&open(), all).await.unwrap();
        let collection = open();
        let over = stage.scope.get(&collection, &key("a")).await;
        assert!(matches!(over, Err(StateError::Quota(_))), "{over:?}");
        // What is staged can still be committed.
        assert!(stage.transaction.commit().await.is_ok());
    });
}

#[test]
fn a_transaction_stages_so_many_bytes() {
    block_on(async {
        let stage = Stage::with(Limits {
            staged_bytes: 10,
            ..Limits::default()
        });
        let put = async |scope: &Scope, at: &str, bytes: usize| {
            scope
                .put(&open(), key(at), Bytes::from(vec![0; bytes]))
                .await
        };
        let is_over = |it| matches!(it, Err(StateError::Quota(_)));
        assert!(is_over(put(&stage.scope, "a", 10).await));
        for _ in 0..3 {
            assert_eq!(
                put(&stage.scope, "a", 9).await,
                Ok(()),
                "written anew, counted once"
            );
        }
        let deleted = stage.scope.delete(&open(), key("b")).await;
        assert!(is_over(deleted), "keys count");
        put(&stage.scope, "a", 4).await.unwrap();
        let nested = stage.scope.nest().await.unwrap();
        assert!(
            is_over(put(nested.scope(), "a", 5).await),
            "its caller's value is still there"
        );
        assert_eq!(put(nested.scope(), "a", 4).await, Ok(()));
        nested.keep();
        assert_eq!(put(&stage.scope, "b", 4).await, Ok(()), "now it is not");
        let nested = stage.scope.nest().await.unwrap();
        assert!(is_over(put(nested.scope(), "c", 1).await));
        drop(nested);
    });
}

#[test]
fn a_value_a_key_s_guard_and_a_page_are_checked() {
    block_on(async {
        let stage = Stage::with(Limits {
            value_bytes: 3,
            ..Limits::default()
        });
        let put = stage.scope.put(&open(), key("a"), value("1234")).await;
        assert!(matches!(put, Err(StateError::Quota(_))), "{put:?}");

        let long = "x".repeat(400);
        let template = format!("{long}/{{key}}");
        let collection = Collection::new("shop", "long", Some(&template)).unwrap();
        let put = stage.scope.put(&collection, key(&long), value("1")).await;
        assert!(matches!(put, Err(StateError::Invalid(_))), "{put:?}");

        for limit in [0, 1001] {
            let all = query("", None, Order::Ascending, limit);
            let listed = stage.scope.list(&guarded(), all).await;
            assert!(matches!(listed, Err(StateError::Invalid(_))), "{listed:?}");
        }
    });
}
