//! Guards: who has them, who may give them back, and when they are lost.

use super::*;
use crate::contract::{guarded, of, open, waiting};
use crate::store::{LABEL_BYTES_MAX, RenewError};

#[test]
fn a_guard_knows_its_names_and_tokens() {
    block_on(async {
        let stage = Stage::new();
        let guard = hold(&stage.scope, &["a", "b"]).await;
        let names: Vec<_> = guard.names().map(LockName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(guard.token("a"), stage.world.holder("a").await);
        assert_eq!(guard.token("c"), None);
        let view = hold(&stage.scope, &["c", "a"]).await;
        assert_eq!(view.token("a"), guard.token("a"));
        assert!(view.token("c") > guard.token("a"));
    });
}

#[test]
fn a_child_never_waits_for_its_root_and_commits_on_its_own() {
    block_on(async {
        let world = World::memory(Setting::Narrow);
        let limits = Limits::default();
        let root = Transaction::begin_root(world.store.clone(), limits, "root".to_owned());
        let scope = root.scope();
        hold(&scope, &["a"]).await;
        put(&scope, &open(), "k", "staged").await;
        let child = root.begin_child("child");
        let grandchild = child.begin_child("grandchild");
        for other in [&child, &grandchild] {
            let waits = other.scope().acquire(vec![name("a")], SECOND, None).await;
            let told = matches!(waits, Err(LockError::Acquire(AcquireError::Deadlock(_))));
            assert!(told, "{:?}", waits.err());
            assert_eq!(get(&other.scope(), &open(), "k").await, None);
        }
        put(&child.scope(), &open(), "own", "1").await;
        child.commit().await.unwrap();
        root.abort();
        let after = Transaction::begin(world.store.clone(), limits, "after".to_owned());
        assert_eq!(
            get(&after.scope(), &open(), "own").await.as_deref(),
            Some("1")
        );
        assert_eq!(get(&after.scope(), &open(), "k").await, None);
        hold(&grandchild.scope(), &["a"]).await;
    });
}

#[test]
fn dropping_a_guard_releases_nothing_and_the_transaction_does() {
    block_on(async {
        let stage = Stage::new();
        drop(hold(&stage.scope, &["a"]).await);
        assert!(stage.world.holder("a").await.is_some());
        let Stage {
            world,
            transaction,
            scope,
        } = stage;
        drop(transaction);
        assert!(world.holder("a").await.is_some(), "a scope keeps it alive");
        drop(scope);
        assert_eq!(world.holder("a").await, None);
    });
}

#[test]
fn a_guard_is_released_by_who_acquired_it_alone() {
    block_on(async {
        let stage = Stage::new();
        let transaction = &stage.transaction;
        transaction
            .acquire_for_route(vec![name("route")], NO_WAIT)
            .await
            .unwrap();
        let release = async |scope: &Scope, guard| scope.release(guard).await;
        let is_in_use = |it| matches!(it, Err(LockError::InUse(_)));

        let own = hold(&stage.scope, &["own"]).await;
        let view = hold(&stage.scope, &["own", "more"]).await;
        assert!(
            is_in_use(release(&stage.scope, own).await),
            "another guard covers it"
        );
        assert_eq!(release(&stage.scope, view).await, Ok(()));
        assert_eq!(stage.world.holder("more").await, None);
        assert!(
            stage.world.holder("own").await.is_some(),
            "a view releases its own part"
        );
        let view = hold(&stage.scope, &["own"]).await;
        assert!(
            is_in_use(release(&stage.scope, view).await),
            "it acquired nothing"
        );

        let order = hold(&stage.scope, &["order/1"]).await;
        put(&stage.scope, &guarded(), "1", "x").await;
        assert!(
            is_in_use(release(&stage.scope, order).await),
            "something is staged under it"
        );

        for inherited in stage.scope.inherited(&|_| true) {
            assert!(is_in_use(release(&stage.scope, inherited).await));
        }
        let free = hold(&stage.scope, &["free"]).await;
        assert_eq!(release(&stage.scope, free).await, Ok(()));
        assert_eq!(stage.world.holder("free").await, None);
    });
}

#[test]
fn a_guard_that_was_given_back_is_no_part_of_the_commit() {
    block_on(async {
        let stage = Stage::new();
        let guard = hold(&stage.scope, &["a"]).await;
        stage.scope.release(guard).await.unwrap();
        put(&stage.scope, &open(), "a", "1").await;
        assert!(stage.transaction.commit().await.is_ok());
    });
}

#[test]
fn a_lost_guard_shows_and_fences_the_commit_even_if_it_is_given_back() {
    block_on(async {
        for give_back in [true, false] {
            let stage = Stage::new();
            let acquire = stage.scope.acquire(vec![name("a")], NO_WAIT, Some(SECOND));
            let guard = acquire.await.unwrap();
            assert_eq!(stage.scope.remaining(&guard).await, Ok(Some(SECOND)));
            stage.scope.renew(&guard, 2 * SECOND).await.unwrap();
            stage.world.clock.advance(2 * SECOND);
            assert_eq!(
                stage.scope.remaining(&guard).await,
                Ok(Some(Duration::ZERO))
            );
            assert_eq!(
                stage.scope.renew(&guard, SECOND).await,
                Err(LockError::Lost)
            );
            if give_back {
                assert_eq!(stage.scope.release(guard).await, Err(LockError::Lost));
            }
            put(&stage.scope, &open(), "a", "1").await;
            let expected = CommitError::Fenced {
                name: name("a"),
                current: 0,
            };
            assert_eq!(stage.transaction.commit().await, Err(expected));
        }
    });
}

#[test]
fn a_guard_lasts_as_long_as_the_least_of_its_grants() {
    block_on(async {
        let stage = Stage::new();
        let unleased = hold(&stage.scope, &["a"]).await;
        assert_eq!(stage.scope.remaining(&unleased).await, Ok(None));
        assert_eq!(stage.scope.renew(&unleased, SECOND).await, Ok(()));
        let names = || vec![name("a"), name("b")];
        let mixed = stage
            .scope
            .acquire(names(), NO_WAIT, Some(SECOND))
            .await
            .unwrap();
        assert_eq!(stage.scope.remaining(&mixed).await, Ok(Some(SECOND)));
        let view = stage.scope.acquire(names(), NO_WAIT, None).await.unwrap();
        assert_eq!(stage.scope.remaining(&view).await, Ok(Some(SECOND)));
        let renewal = stage.scope.renew(&view, SECOND).await;
        assert!(matches!(renewal, Err(LockError::Invalid(_))), "{renewal:?}");
        let renewal = stage.scope.renew(&mixed, NO_WAIT).await;
        assert!(matches!(renewal, Err(LockError::Invalid(_))), "{renewal:?}");
    });
}

#[test]
fn a_scope_inherits_the_route_s_guards_and_a_callee_its_callers() {
    block_on(async {
        let stage = Stage::new();
        let names = vec![name("r/1"), name("r/2")];
        stage
            .transaction
            .acquire_for_route(names, NO_WAIT)
            .await
            .unwrap();
        let _own = hold(&stage.scope, &["own"]).await;
        let seen = |scope: &Scope, allowed: &dyn Fn(&LockName) -> bool| -> Vec<Vec<String>> {
            let guards = scope.inherited(allowed);
            let names = |it: &Guard| it.names().map(|it| it.to_string()).collect();
            guards.iter().map(names).collect()
        };
        assert_eq!(seen(&stage.scope, &|_| true), [["r/1", "r/2"]]);
        let nested = stage.scope.nest().await.unwrap();
        let _callee = hold(nested.scope(), &["callee"]).await;
        let all = seen(nested.scope(), &|_| true);
        assert_eq!(all, [vec!["r/1", "r/2"], vec!["own"]]);
        // Of a grant only what is allowed is shown.
        let some = seen(nested.scope(), &|it| it.as_str() != "r/2");
        assert_eq!(some, [["r/1"], ["own"]]);
        drop(nested);
        assert!(
            stage.world.holder("callee").await.is_some(),
            "it stays with the transaction"
        );
    });
}

#[test]
fn a_refused_acquire_says_why_and_leaves_nothing() {
    block_on(async {
        let stage = Stage::new();
        stage.world.hold(&of(TransactionId::mint(), &["a"])).await;
        let acquire = |wait| stage.scope.acquire(vec![name("a")], wait, None);
        let refusal = acquire(NO_WAIT).await.err();
        assert_eq!(refusal, Some(AcquireError::Held(name("a")).into()));
        let mut waiting = Box::pin(acquire(SECOND));
        assert!(poll_once(&mut waiting).await.is_none());
        stage.world.clock.advance(SECOND);
        assert_eq!(waiting.await.err(), Some(AcquireError::TimedOut.into()));
    });
}

#[test]
fn a_transaction_holds_so_many_guards() {
    block_on(async {
        let stage = Stage::with(Limits {
            guards: 2,
            ..Limits::default()
        });
        let first = hold(&stage.scope, &["a"]).await;
        stage
            .transaction
            .acquire_for_route(vec![name("b")], NO_WAIT)
            .await
            .unwrap();
        let over = stage
            .scope
            .acquire(vec![name("c")], NO_WAIT, None)
            .await
            .err();
        assert!(
            matches!(over, Some(LockError::Acquire(AcquireError::Quota(_)))),
            "{over:?}"
        );
        stage.scope.release(first).await.unwrap();
        hold(&stage.scope, &["c"]).await;
    });
}

#[test]
fn an_acquire_that_is_dropped_or_comes_too_late_leaves_nothing() {
    block_on(async {
        let stage = Stage::new();
        let holder = of(TransactionId::mint(), &["a"]);
        stage.world.hold(&holder).await;
        let acquire = || Box::pin(stage.scope.acquire(vec![name("a")], SECOND, None));

        let mut dropped = acquire();
        assert!(poll_once(&mut dropped).await.is_none());
        drop(dropped);
        assert_eq!(stage.world.store.lock(name("a")).await.unwrap().waiting, 0);

        // Granted, but the scope is sealed before it hears of it.
        let mut late = acquire();
        assert!(poll_once(&mut late).await.is_none());
        stage.world.release(&holder).await.unwrap();
        stage.scope.seal();
        assert_eq!(late.await.err(), Some(LockError::Closed));
        assert_eq!(stage.world.holder("a").await, None);
    });
}

#[test]
fn a_wait_ends_with_the_transaction_and_a_grant_that_races_it_is_given_back() {
    block_on(async {
        for granted_first in [true, false] {
            let stage = Stage::new();
            let holder = of(TransactionId::mint(), &["a"]);
            stage.world.hold(&holder).await;
            let mut acquire = Box::pin(stage.scope.acquire(vec![name("a")], SECOND, None));
            assert!(poll_once(&mut acquire).await.is_none());
            if granted_first {
                stage.world.release(&holder).await.unwrap();
            }
            stage.transaction.abort();
            assert_eq!(acquire.await.err(), Some(LockError::Closed));
            let lock = stage.world.store.lock(name("a")).await.unwrap();
            assert_eq!((lock.holding > 0, lock.waiting), (!granted_first, 0));
        }
    });
}

#[test]
fn a_grant_that_arrives_after_the_end_is_given_back() {
    block_on(async {
        // The store hears of the end first and of the acquire afterwards.
        let stage = Stage::new();
        stage.transaction.abort();
        let (id, _) = stage
            .transaction
            .ask(vec![name("a")], NO_WAIT, None)
            .await
            .unwrap();
        stage.transaction.give_back(id).await;
        assert_eq!(stage.world.holder("a").await, None);
        let renewal = stage.world.store.renew(id, Principal::node(), None).await;
        assert_eq!(renewal, Err(RenewError::Lost));
    });
}

#[test]
fn a_committed_transaction_hands_its_guards_to_who_waits() {
    block_on(async {
        let stage = Stage::new();
        hold(&stage.scope, &["order/1"]).await;
        put(&stage.scope, &guarded(), "1", "x").await;
        let next = waiting(SECOND, of(TransactionId::mint(), &["order/1"]));
        let queued = stage.world.queue(&next).await;
        stage.transaction.commit().await.unwrap();
        assert!(queued.await.is_ok());
    });
}

#[test]
fn a_label_that_is_too_long_for_the_store_is_cut() {
    block_on(async {
        let stage = Stage::new();
        // 2 bytes each, behind one: the limit falls into a character.
        let label = format!("x{}", "\u{e4}".repeat(LABEL_BYTES_MAX));
        let store = stage.world.store.clone();
        let transaction = Transaction::begin(store, Limits::default(), label);
        hold(&transaction.scope(), &["a"]).await;
        let lock = stage.world.store.lock(name("a")).await.unwrap();
        assert_eq!(lock.holders[0].party.label.len(), LABEL_BYTES_MAX - 1);
    });
}
