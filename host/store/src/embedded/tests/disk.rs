//! A disk that fails, or that takes its time: what waits for it, what is given
//! back, and what never needs it.

use super::*;

#[test]
fn a_commit_that_cannot_be_written_changes_nothing() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let own = TransactionId::mint();
        let lock = of(own, &["order/1"]);
        let token = token(&store, lock.clone()).await;
        let mut commit = commit_of(&store, own);
        commit.guards.push(guarding(&lock));
        commit.writes.push(put(&open(), "a", "1"));
        let records = place.database();
        records
            .execute_batch("ALTER TABLE commits RENAME TO away")
            .unwrap();
        let unknown = store.commit(commit.clone()).await;
        assert!(matches!(unknown, Err(CommitError::Store(_))), "{unknown:?}");
        let unknown = store.resolve(commit.id).await;
        assert!(unknown.is_err());
        assert_eq!(store.get(open(), crate::contract::key("a")).await, Ok(None));
        assert_eq!(holder(&store, "order/1").unwrap().token, token);

        // As good as new once the disk is.
        records
            .execute_batch("ALTER TABLE away RENAME TO commits")
            .unwrap();
        assert!(store.commit(commit).await.is_ok());
        assert_eq!(holder(&store, "order/1"), None);
    });
}

#[test]
fn a_grant_that_cannot_be_written_down_is_told_to_nobody_and_given_back() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let kept = of_caller(&["kept"]);
        token(&store, kept.clone()).await;
        let grants = place.database();
        grants
            .execute_batch("ALTER TABLE grants RENAME TO away")
            .unwrap();

        let refused = store.acquire(of_caller(&["a"])).await;
        assert!(
            matches!(refused, Err(AcquireError::Store(_))),
            "{refused:?}"
        );
        assert_eq!(holder(&store, "a"), None);
        // So is one that was waited for, and the next after it.
        let first = of(TransactionId::mint(), &["a"]);
        token(&store, first.clone()).await;
        let mut queued = Vec::new();
        for _ in 0..2 {
            let mut next = store.acquire(waiting(SECOND, of_caller(&["a"])));
            assert!(poll_once(&mut next).await.is_none());
            queued.push(next);
        }
        store.end(match first.holder {
            Holder::Transaction(it) => it,
            _ => unreachable!(),
        });
        for next in queued {
            assert!(matches!(next.await, Err(AcquireError::Store(_))));
        }
        assert_eq!(holder(&store, "a"), None);
        // A transaction does not need the disk.
        token(&store, of(TransactionId::mint(), &["b"])).await;
        // A release has happened, but may be forgotten by a restart.
        assert!(release(&store, &kept).await.is_err());
        assert_eq!(holder(&store, "kept"), None);

        // What could not be written is, when the store is closed at the latest.
        grants
            .execute_batch("ALTER TABLE away RENAME TO grants")
            .unwrap();
        drop(store);
        let store = place.open();
        assert_eq!(holder(&store, "kept"), None);
    });
}

#[test]
fn a_token_above_what_is_reserved_waits_for_the_disk() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        // An idle hour: the first token is the last of the block.
        place.clock.advance(3600 * SECOND);
        let marks = place.database();
        marks
            .execute_batch("ALTER TABLE meta RENAME TO away")
            .unwrap();
        let last = token(&store, of(TransactionId::mint(), &["a"])).await;
        let refused = store.acquire(of(TransactionId::mint(), &["b"])).await;
        assert!(
            matches!(refused, Err(AcquireError::Store(_))),
            "{refused:?}"
        );
        assert_eq!(holder(&store, "b"), None);
        marks
            .execute_batch("ALTER TABLE away RENAME TO meta")
            .unwrap();
        let next = token(&store, of(TransactionId::mint(), &["b"])).await;
        assert!(next > last);
        // A block is reserved now: the next does not wait.
        let mut acquire = store.acquire(of(TransactionId::mint(), &["c"]));
        assert!(poll_once(&mut acquire).await.is_some(), "at once");
        drop(acquire);
        drop(store);
        let store = place.open();
        assert!(token(&store, of(TransactionId::mint(), &["a"])).await > next);
    });
}

#[test]
fn so_many_answers_wait_for_the_disk() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        // Somebody keeps the writer out.
        let outside = place.database();
        outside.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut unwritten = Vec::new();
        for number in 0..LIMITS.unwritten {
            let mut acquire = store.acquire(of_caller(&[&number.to_string()]));
            assert!(poll_once(&mut acquire).await.is_none());
            unwritten.push(acquire);
        }
        let refused = store.acquire(of_caller(&["one more"])).await;
        assert!(
            matches!(refused, Err(AcquireError::Store(_))),
            "{refused:?}"
        );
        token(&store, of(TransactionId::mint(), &["x"])).await;
        outside.execute_batch("COMMIT").unwrap();
        for acquire in unwritten {
            assert!(acquire.await.is_ok());
        }
    });
}

#[test]
fn a_transaction_takes_and_frees_locks_without_the_disk() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let own = TransactionId::mint();
        for names in [&["a"], &["b"]] {
            let mut acquire = store.acquire(of(own, names));
            assert!(poll_once(&mut acquire).await.is_some(), "at once");
        }
        let mut release = store.release(of(own, &["a"]).id, Principal::node());
        assert!(poll_once(&mut release).await.is_some(), "at once");
    });
}

#[test]
fn a_session_that_cannot_be_written_down_is_told_to_nobody_and_closed() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let sessions = place.database();
        sessions
            .execute_batch("ALTER TABLE sessions RENAME TO away")
            .unwrap();
        let opened = store.open_session(session()).await;
        assert!(matches!(opened, Err(SessionError::Store(_))), "{opened:?}");
        assert_eq!(store.statistics().sessions, 0);
    });
}

#[test]
fn what_could_not_be_written_is_without_anybody_asking() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let kept = of_caller(&["kept"]);
        token(&store, kept.clone()).await;
        let grants = place.database();
        grants
            .execute_batch("ALTER TABLE grants RENAME TO away")
            .unwrap();
        assert!(release(&store, &kept).await.is_err());
        grants
            .execute_batch("ALTER TABLE away RENAME TO grants")
            .unwrap();
        assert_eq!(place.count("grants"), 1);
        place.clock.advance(SECOND);
        while place.count("grants") > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_batch_that_fails_early_leaves_the_journal_to_the_next() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let outside = place.database();
        // While the writer is kept out, a batch gathers behind what it has.
        outside.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut first = store.commit(writing(&store, "a", "1"));
        let mut second = store.commit(writing(&store, "b", "1"));
        let mut acquire = store.acquire(of_caller(&["a"]));
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut second).await.is_none());
        assert!(poll_once(&mut acquire).await.is_none());
        let break_it = "ALTER TABLE commits RENAME TO away; COMMIT";
        outside.execute_batch(break_it).unwrap();
        assert!(first.await.is_err() && second.await.is_err());
        drop(acquire.await);
        outside
            .execute_batch("ALTER TABLE away RENAME TO commits")
            .unwrap();
        let mut acquire = store.acquire(of_caller(&["b"]));
        for _ in 0..1_000_000 {
            if let Some(answer) = poll_once(&mut acquire).await {
                assert!(answer.is_ok(), "{answer:?}");
                return;
            }
            std::thread::yield_now();
        }
        panic!("it is withheld without end");
    });
}
