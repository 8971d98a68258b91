//! What begins again after a conflict, and what comes first then.

use super::*;
use crate::contract::{guarded, open};
use crate::store::{LockQuery, MEMORY};

/// A conflict over a key that was read and written, on a stage.
async fn conflict_over(stage: &Stage, at: &str) -> CommitError {
    get(&stage.transaction.scope(), &open(), at).await;
    put(&stage.transaction.scope(), &open(), at, "mine").await;
    stage.world.write(&open(), &[(at, "theirs")]).await;
    let conflict = stage.transaction.commit().await.unwrap_err();
    assert!(
        matches!(&conflict, CommitError::Conflict { key, .. } if key == at),
        "{conflict:?}"
    );
    conflict
}

async fn begin_again(transaction: &Arc<Transaction>, conflict: &CommitError) {
    let begun = transaction.begin_again(conflict, SECOND).await;
    begun.unwrap();
}

/// Whether somebody holds or awaits the turn at a key.
async fn is_turn_taken(stage: &Stage, at: Option<&str>) -> (usize, usize) {
    let name = LockName::turn(open().name(), at);
    let lock = stage.world.store.lock(name).await.unwrap();
    (lock.holding, lock.waiting)
}

#[test]
fn what_begins_again_has_the_routes_guards_and_nothing_else() {
    block_on(async {
        let stage = Stage::new();
        let route = vec![name("order/1")];
        let transaction = &stage.transaction;
        transaction.acquire_for_route(route, NO_WAIT).await.unwrap();
        let guard = hold(&stage.scope, &["a"]).await;
        transaction.leave();
        stage.scope.keep();
        let conflict = conflict_over(&stage, "k").await;
        assert!(stage.world.holder("a").await.is_some());
        assert!(transaction.begin_again(&conflict, SECOND).await.is_ok());

        assert_eq!(stage.world.holder("a").await, None);
        assert!(stage.world.holder("order/1").await.is_some());
        assert!(!transaction.kept() && transaction.is_read_only());
        assert!(transaction.has_left(), "that stays done");
        // What is left of the first run has no effect.
        let (collection, at) = (open(), key("k"));
        let late = stage
            .scope
            .put(&collection, at.clone(), value("late"))
            .await;
        assert_eq!(late, Err(StateError::Closed));
        assert_eq!(stage.scope.release(guard).await, Err(LockError::Closed));

        let scope = transaction.scope();
        assert_eq!(scope.inherited(&|_| true).len(), 1, "the turn is no guard");
        assert_eq!(get(&scope, &collection, "k").await.unwrap(), "theirs");
        put(&scope, &guarded(), "1", "under the route's lock").await;
        put(&scope, &collection, "k", "mine").await;
        assert!(transaction.commit().await.unwrap().is_some());
        assert_eq!(is_turn_taken(&stage, Some("k")).await, (0, 0));
    });
}

#[test]
fn who_begins_again_comes_before_who_did_not_wait() {
    block_on(async {
        let stage = Stage::new();
        let conflict = conflict_over(&stage, "k").await;
        stage
            .transaction
            .begin_again(&conflict, SECOND)
            .await
            .unwrap();
        let scope = stage.transaction.scope();
        get(&scope, &open(), "k").await;

        // One that has read nothing old, and would have been first.
        let hasty = stage.another();
        get(&hasty.scope(), &open(), "k").await;
        put(&hasty.scope(), &open(), "k", "hasty").await;
        let overtaken = hasty.commit().await.unwrap_err();
        assert!(matches!(overtaken, CommitError::Conflict { .. }));
        let mut queued = Box::pin(hasty.begin_again(&overtaken, SECOND));
        assert!(poll_once(&mut queued).await.is_none(), "it queues");

        put(&scope, &open(), "k", "mine").await;
        assert!(stage.transaction.commit().await.is_ok());
        queued.await.unwrap();
        assert_eq!(get(&hasty.scope(), &open(), "k").await.unwrap(), "mine");
        put(&hasty.scope(), &open(), "k", "hasty").await;
        assert!(hasty.commit().await.is_ok());
    });
}

#[test]
fn t10_who_listed_comes_before_whoever_writes_there() {
    block_on(async {
        let stage = Stage::new();
        let all = || Query {
            prefix: String::new(),
            after: None,
            order: Order::Ascending,
            limit: 10,
        };
        stage.scope.list(&open(), all()).await.unwrap();
        put(&stage.scope, &open(), "a", "booked").await;
        stage.world.write(&open(), &[("b", "booked")]).await;
        let conflict = stage.transaction.commit().await.unwrap_err();
        stage
            .transaction
            .begin_again(&conflict, SECOND)
            .await
            .unwrap();
        let scope = stage.transaction.scope();
        let page = scope.list(&open(), all()).await.unwrap();
        assert_eq!(page.entries.len(), 1);

        let hasty = stage.another();
        put(&hasty.scope(), &open(), "c", "booked").await;
        let overtaken = hasty.commit().await.unwrap_err();
        let expected = CommitError::Conflict {
            collection: open().name().to_owned(),
            key: "*".to_owned(),
        };
        assert_eq!(overtaken, expected);
        assert!(stage.transaction.commit().await.is_ok());
    });
}

#[test]
fn a_turn_that_does_not_come_leaves_the_transaction_to_end() {
    block_on(async {
        let stage = Stage::new();
        let conflict = conflict_over(&stage, "k").await;
        stage
            .transaction
            .begin_again(&conflict, NO_WAIT)
            .await
            .unwrap();
        let other = Stage {
            transaction: stage.another(),
            ..Stage::new()
        };
        let other = other.transaction;
        get(&other.scope(), &open(), "k").await;
        put(&other.scope(), &open(), "k", "x").await;
        let overtaken = other.commit().await.unwrap_err();
        let late = other.begin_again(&overtaken, NO_WAIT).await;
        assert!(matches!(
            late,
            Err(LockError::Acquire(AcquireError::Held(_)))
        ));
        drop(other);
        assert_eq!(is_turn_taken(&stage, Some("k")).await, (1, 0));
        drop((stage.scope, stage.transaction));
        let world = stage.world;
        let name = LockName::turn(open().name(), Some("k"));
        assert_eq!(world.store.lock(name).await.unwrap().holding, 0);
    });
}

#[test]
fn who_has_a_turn_gives_it_back_before_it_waits_for_a_lock() {
    block_on(async {
        let stage = Stage::new();
        let first = conflict_over(&stage, "k").await;
        begin_again(&stage.transaction, &first).await;
        let other = stage.another();
        let route = vec![name("order/1")];
        other
            .acquire_for_route(route.clone(), NO_WAIT)
            .await
            .unwrap();
        // What is free, or not waited for, is acquired with the turn kept.
        let scope = stage.transaction.scope();
        scope.acquire(vec![name("b")], SECOND, None).await.unwrap();
        assert!(scope.acquire(route.clone(), NO_WAIT, None).await.is_err());
        assert_eq!(is_turn_taken(&stage, Some("k")).await, (1, 0));
        let mut waiting = Box::pin(scope.acquire(route, MEMORY, None));
        assert!(poll_once(&mut waiting).await.is_none(), "it waits");
        assert_eq!(is_turn_taken(&stage, Some("k")).await, (0, 0));

        // So who has the lock may write there, and nobody stands still.
        get(&other.scope(), &open(), "k").await;
        put(&other.scope(), &open(), "k", "x").await;
        assert!(other.commit().await.is_ok());
        assert!(waiting.await.is_ok());
    });
}

#[test]
fn who_has_a_turn_gives_it_back_for_its_child() {
    block_on(async {
        let stage = Stage::new();
        let conflict = conflict_over(&stage, "k").await;
        begin_again(&stage.transaction, &conflict).await;
        stage.transaction.give_turns_back().await.unwrap();
        let child = stage.transaction.begin_child("child");
        put(&child.scope(), &open(), "k", "x").await;
        assert!(child.commit().await.is_ok());
    });
}

#[test]
fn t3_turns_are_asked_for_together_so_that_nobody_waits_in_a_circle() {
    block_on(async {
        let stage = Stage::new();
        let (one, other) = (&stage.transaction, stage.another());
        let write_both = async |of: &Arc<Transaction>| {
            let scope = of.scope();
            for at in ["a", "b"] {
                get(&scope, &open(), at).await;
                put(&scope, &open(), at, "x").await;
            }
        };
        // Each comes to have the turn at another key, and writes both.
        for (transaction, at) in [(one, "a"), (&other, "b")] {
            write_both(transaction).await;
            stage.world.write(&open(), &[(at, "theirs")]).await;
            let conflict = transaction.commit().await.unwrap_err();
            begin_again(transaction, &conflict).await;
        }
        write_both(one).await;
        let met = one.commit().await.unwrap_err();
        let mut queued = Box::pin(one.begin_again(&met, SECOND));
        assert!(poll_once(&mut queued).await.is_none(), "it queues");
        write_both(&other).await;
        assert!(
            other.commit().await.is_ok(),
            "the other has given up its turn"
        );
        queued.await.unwrap();
        write_both(one).await;
        assert!(one.commit().await.is_ok());
    });
}

#[test]
fn a_callee_s_route_gives_its_locks_back_with_the_run() {
    block_on(async {
        let stage = Stage::new();
        let transaction = &stage.transaction;
        let locks = |text| vec![name(text)];
        transaction
            .acquire_for_route(locks("own"), NO_WAIT)
            .await
            .unwrap();
        let nested = stage.scope.nest().await.unwrap();
        transaction
            .acquire_for_route(locks("callee"), NO_WAIT)
            .await
            .unwrap();
        nested.keep();
        let conflict = conflict_over(&stage, "k").await;
        assert!(stage.world.holder("callee").await.is_some());
        begin_again(transaction, &conflict).await;
        assert_eq!(stage.world.holder("callee").await, None);
        assert!(stage.world.holder("own").await.is_some());
        assert_eq!(transaction.scope().inherited(&|_| true).len(), 1);
    });
}

#[test]
fn turns_are_none_of_the_guards_that_a_transaction_may_have() {
    block_on(async {
        let limits = Limits {
            guards: 1,
            ..Limits::default()
        };
        let stage = Stage::with(limits);
        let conflict = conflict_over(&stage, "k").await;
        begin_again(&stage.transaction, &conflict).await;
        assert_eq!(is_turn_taken(&stage, Some("k")).await, (1, 0));
        hold(&stage.transaction.scope(), &["a"]).await;
    });
}

#[test]
fn only_a_conflict_leads_back() {
    block_on(async {
        let stage = Stage::new();
        let conflict = conflict_over(&stage, "k").await;
        stage.transaction.abort();
        let ended = stage.transaction.begin_again(&conflict, SECOND).await;
        assert_eq!(ended, Err(LockError::Closed));

        let open_still = stage.another();
        let refused = open_still.begin_again(&conflict, SECOND).await;
        assert_eq!(refused, Err(LockError::Closed));

        let unguarded = stage.another();
        put(&unguarded.scope(), &guarded(), "1", "x").await;
        assert!(unguarded.commit().await.is_err());
        let refused = unguarded.begin_again(&conflict, SECOND).await;
        assert_eq!(refused, Err(LockError::Closed));
    });
}

#[test]
fn t10_what_was_read_at_several_moments_is_validated_whatever_is_answered() {
    block_on(async {
        let stage = Stage::new();
        let reading = async |keys: &[&str]| {
            let transaction = stage.another();
            for it in keys {
                get(&transaction.scope(), &open(), it).await;
            }
            stage.world.write(&open(), &[("a", "changed")]).await;
            transaction
        };
        // One key alone was as it was, at one moment.
        assert_eq!(reading(&["a"]).await.commit().await, Ok(None));
        assert_eq!(
            reading(&["a"]).await.discard(Discarded::Answer).await,
            Ok(())
        );
        assert_eq!(reading(&[]).await.discard(Discarded::Answer).await, Ok(()));
        let two = ["b", "a"];
        assert!(matches!(
            reading(&two).await.commit().await,
            Err(CommitError::Conflict { .. })
        ));
        assert!(matches!(
            reading(&two).await.discard(Discarded::Answer).await,
            Err(CommitError::Conflict { .. })
        ));
        // With something staged even one counts.
        let transaction = reading(&["a"]).await;
        put(&transaction.scope(), &open(), "c", "x").await;
        assert!(matches!(
            transaction.discard(Discarded::Answer).await,
            Err(CommitError::Conflict { .. })
        ));
        // What is answered about a lock is not about what was read.
        let transaction = reading(&two).await;
        hold(&stage.scope, &["l"]).await;
        let refused = transaction
            .scope()
            .acquire(vec![name("l")], NO_WAIT, None)
            .await;
        assert!(refused.is_err());
        assert_eq!(transaction.discard(Discarded::Answer).await, Ok(()));
        // A failure is.
        let transaction = reading(&two).await;
        let scope = transaction.scope();
        assert!(scope.acquire(vec![name("l")], NO_WAIT, None).await.is_err());
        let failed = transaction.discard(Discarded::Failure).await;
        assert!(matches!(failed, Err(CommitError::Conflict { .. })));
    });
}

#[test]
fn nobody_outside_sees_a_turn() {
    block_on(async {
        let stage = Stage::new();
        let conflict = conflict_over(&stage, "k").await;
        stage
            .transaction
            .begin_again(&conflict, SECOND)
            .await
            .unwrap();
        assert_eq!(is_turn_taken(&stage, Some("k")).await, (1, 0));
        let everything = LockQuery {
            prefix: String::new(),
            permission: crate::pattern::Permission::all(),
            after: None,
            limit: 10,
        };
        let page = stage.world.store.locks(everything).await.unwrap();
        assert_eq!(page.locks, []);
        assert!(LockName::new("\u{1}turn\u{1}shop/notes\u{1}k").is_err());
    });
}
