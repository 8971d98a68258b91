//! What only a store with a directory does: it comes back, it keeps others
//! out, and it survives a disk that fails. The rest is in
//! [`contract`](crate::contract).

use super::*;
use crate::clock::ManualClock;
use crate::contract::{
    LIMITS, SECOND, block_on, create, guarded, guarding, key, name, of, of_caller, open, poll_once,
    put, query, waiting,
};
use crate::store::{Holder, LIST_LIMIT_MAX, LockHolder, Order, Token};
use rusqlite::Connection;
use std::sync::Arc;
use tempfile::TempDir;

/// A directory, and a clock that goes on while the store is closed.
struct Place {
    directory: TempDir,
    clock: ManualClock,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: ManualClock::new(Time::default() + 1_000 * SECOND),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn open(&self) -> Embedded {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Embedded, OpenError> {
        let options = Options {
            durability: Durability::Sync,
            limits: LIMITS,
            clock: self.clock.clone().into(),
        };
        Embedded::open_with(&self.path(), options)
    }

    /// The database, as somebody else sees it.
    fn database(&self) -> Connection {
        Connection::open(self.path().join(DATABASE)).unwrap()
    }
}

fn commit_of(store: &Embedded, transaction: TransactionId) -> Commit {
    Commit {
        id: CommitId::mint(store.now()),
        transaction,
        guards: vec![],
        reads: vec![],
        ranges: vec![],
        writes: vec![],
    }
}

fn writing(store: &Embedded, key: &str, value: &str) -> Commit {
    let mut commit = commit_of(store, TransactionId::mint());
    commit.writes.push(put(&open(), key, value));
    commit
}

async fn holder(store: &Embedded, text: &str) -> Option<LockHolder> {
    store.lock(name(text)).await.unwrap().holder
}

async fn token(store: &Embedded, request: Acquire) -> Token {
    store.acquire(request).await.unwrap().tokens[0].1
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let first = writing(&store, "a", "1");
        let committed = store.commit(first.clone()).await.unwrap();
        let given_up = writing(&store, "b", "1");
        store.resolve(given_up.id).await.unwrap();
        drop(store);

        let store = place.open();
        let found = store.get(open(), crate::contract::key("a")).await.unwrap();
        assert_eq!(found.unwrap().version, committed.number);
        let all = query("", None, Order::Ascending, LIST_LIMIT_MAX);
        let page = store.list(open(), all).await.unwrap();
        assert_eq!((page.entries.len(), page.change), (1, committed.number));
        // Records too: nothing is applied twice, and what was given up is.
        assert_eq!(store.commit(first).await, Ok(committed));
        assert_eq!(store.commit(given_up).await, Err(CommitError::Aborted));
        let next = store.commit(writing(&store, "c", "1")).await.unwrap();
        assert!(next.number > committed.number);
    });
}

#[test]
fn tokens_and_time_only_rise_over_restarts() {
    block_on(async {
        let place = Place::new();
        let mut last = 0;
        for _ in 0..5 {
            let store = place.open();
            for names in [&["a"], &["b"]] {
                let next = token(&store, of(TransactionId::mint(), names)).await;
                assert!(next > last);
                last = next;
            }
        }
        // A clock that was set back meanwhile does not take the store along.
        let store = place.open();
        place.clock.advance(60 * SECOND);
        store.commit(writing(&store, "a", "1")).await.unwrap();
        let before = store.now();
        drop(store);
        let options = Options {
            clock: ManualClock::new(Time::default()).into(),
            ..Options::default()
        };
        let store = Embedded::open_with(&place.path(), options).unwrap();
        assert!(store.now() >= before);
        assert!(token(&store, of(TransactionId::mint(), &["a"])).await > last);
    });
}

#[test]
fn a_caller_s_grant_outlives_a_restart_with_its_full_lease() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let (kept, renewed) = (of_caller(&["a", "b"]), of_caller(&["c"]));
        let kept_token = token(&store, kept.clone()).await;
        token(&store, renewed.clone()).await;
        store.renew(renewed.id, 20 * SECOND).await.unwrap();
        store.renew(renewed.id, SECOND).await.unwrap();
        let released = of_caller(&["d"]);
        token(&store, released.clone()).await;
        store.release(released.id).await.unwrap();
        let expired = Acquire {
            lease: Some(SECOND),
            ..of_caller(&["e"])
        };
        token(&store, expired).await;
        let leased = Acquire {
            lease: Some(60 * SECOND),
            ..of(TransactionId::mint(), &["f"])
        };
        token(&store, leased).await;
        place.clock.advance(5 * SECOND);
        drop(store);

        let store = place.open();
        let back = holder(&store, "b").await.unwrap();
        assert_eq!((back.token, &*back.label), (kept_token, "a caller"));
        assert_eq!(back.remaining, Some(10 * SECOND));
        let back = holder(&store, "c").await.unwrap();
        assert_eq!(
            back.remaining,
            Some(20 * SECOND),
            "the longest it was given"
        );
        for gone in ["d", "e", "f"] {
            assert_eq!(holder(&store, gone).await, None, "{gone}");
        }
        assert_eq!(store.release(kept.id).await, Ok(Released::Released));
        place.clock.advance(20 * SECOND);
        assert_eq!(holder(&store, "c").await, None);
        drop(store);
        let store = place.open();
        assert_eq!(holder(&store, "a").await, None, "released for good");
        assert_eq!(holder(&store, "c").await, None, "expired for good");
    });
}

#[test]
fn of_two_written_grants_of_a_lock_the_higher_token_wins() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let high = token(&store, of_caller(&["a"])).await;
        drop(store);
        let stale = "INSERT INTO grants SELECT x'00112233445566778899aabbccddeeff',
                     names || char(10) || 'b', token - 1, lease, 'stale' FROM grants";
        assert_eq!(place.database().execute(stale, []).unwrap(), 1);
        let store = place.open();
        assert_eq!(holder(&store, "a").await.unwrap().token, high);
        assert_eq!(holder(&store, "b").await, None);
        drop(store);
        let count = "SELECT count(*) FROM grants";
        let left: u32 = place
            .database()
            .query_row(count, [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1, "it is struck out");
    });
}

#[test]
fn a_directory_is_one_store_s_at_a_time() {
    let place = Place::new();
    let store = place.open();
    assert!(matches!(place.try_open(), Err(OpenError::InUse { .. })));
    drop(store);
    assert!(place.try_open().is_ok());
}

#[cfg(unix)]
#[test]
fn a_new_directory_is_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    drop(place.open());
    let mode = std::fs::metadata(place.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    let place = Place::new();
    std::fs::write(place.path(), "a file").unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Directory { .. })));
}

#[test]
fn a_database_of_a_later_version_is_refused_untouched() {
    let place = Place::new();
    drop(place.open());
    place
        .database()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let refused = place.try_open().err().unwrap();
    assert!(
        matches!(refused, OpenError::Newer { found: 2, known: 1 }),
        "{refused}"
    );
}

#[test]
fn a_database_of_something_else_is_refused_untouched() {
    let place = Place::new();
    std::fs::create_dir(place.path()).unwrap();
    place
        .database()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Foreign { .. })));
    std::fs::write(place.path().join(DATABASE), "x".repeat(5000)).unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::Database(_))));
}

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
        assert_eq!(holder(&store, "order/1").await.unwrap().token, token);

        // As good as new once the disk is.
        records
            .execute_batch("ALTER TABLE away RENAME TO commits")
            .unwrap();
        assert!(store.commit(commit).await.is_ok());
        assert_eq!(holder(&store, "order/1").await, None);
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
        assert_eq!(holder(&store, "a").await, None);
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
            Holder::Caller => unreachable!(),
        });
        for next in queued {
            assert!(matches!(next.await, Err(AcquireError::Store(_))));
        }
        assert_eq!(holder(&store, "a").await, None);
        // A transaction does not need the disk.
        token(&store, of(TransactionId::mint(), &["b"])).await;
        // A release has happened, but may be forgotten by a restart.
        assert!(store.release(kept.id).await.is_err());
        assert_eq!(holder(&store, "kept").await, None);

        // What could not be written is, when the store is closed at the latest.
        grants
            .execute_batch("ALTER TABLE away RENAME TO grants")
            .unwrap();
        drop(store);
        let store = place.open();
        assert_eq!(holder(&store, "kept").await, None);
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
        assert_eq!(holder(&store, "b").await, None);
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
        let names: Vec<_> = (0..100).map(|it| it.to_string()).collect();
        let mut unwritten = Vec::new();
        let refused = loop {
            let name = names[unwritten.len()].as_str();
            let mut acquire = store.acquire(of_caller(&[name]));
            match poll_once(&mut acquire).await {
                None => unwritten.push(acquire),
                Some(answer) => break answer,
            }
        };
        assert!(
            matches!(refused, Err(AcquireError::Quota(_))),
            "{refused:?}"
        );
        // What the writer has taken already is not counted.
        assert!(unwritten.len() >= LIMITS.unwritten);
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
        let mut release = store.release(of(own, &["a"]).id);
        assert!(poll_once(&mut release).await.is_some(), "at once");
    });
}

#[test]
fn a_read_that_nobody_awaits_harms_nobody() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        store.commit(writing(&store, "a", "1")).await.unwrap();
        for _ in 0..100 {
            let mut read = store.get(open(), crate::contract::key("a"));
            drop(poll_once(&mut read).await);
            let mut commit = store.commit(writing(&store, "b", "1"));
            drop(poll_once(&mut commit).await);
        }
        let read = store.get(open(), crate::contract::key("a")).await;
        assert!(read.unwrap().is_some());
    });
}

#[test]
fn records_keep_to_their_room_over_a_restart() {
    block_on(async {
        let place = Place::new();
        let mut oldest = None;
        for _ in 0..2 {
            let store = place.open();
            for _ in 0..LIMITS.records * 3 / 4 {
                place.clock.advance(SECOND / 1000);
                let commit = writing(&store, "a", "1");
                store.commit(commit.clone()).await.unwrap();
                oldest.get_or_insert(commit);
            }
        }
        let store = place.open();
        let refused = store.commit(oldest.unwrap()).await;
        assert_eq!(refused, Err(CommitError::TooOld));
        drop(store);
        let count = "SELECT count(*) FROM commits";
        let left: u32 = place
            .database()
            .query_row(count, [], |row| row.get(0))
            .unwrap();
        assert_eq!(left as usize, LIMITS.records);
    });
}

#[test]
fn nobody_elses_write_appears_under_a_lock_that_is_held() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let mut created = 0;
        for round in 0..200_u32 {
            let at = round.to_string();
            let mut commit = commit_of(&store, TransactionId::mint());
            commit.writes.push(create(&guarded(), &at, "new"));
            let mut committing = store.commit(commit);
            let at_once = poll_once(&mut committing).await;
            // At every moment between the queue and the disk.
            for _ in 0..round * 200 {
                std::hint::spin_loop();
            }
            let lock = waiting(SECOND, of(TransactionId::mint(), &[&format!("order/{at}")]));
            let granted = store.acquire(lock).await;
            assert!(granted.is_ok(), "{granted:?}");
            let read = || store.get(guarded(), key(&at));
            let before = read().await.unwrap();
            let committed = match at_once {
                Some(answer) => answer,
                None => committing.await,
            };
            // It is refused if the lock was taken first.
            created += u32::from(committed.is_ok());
            assert_eq!(read().await.unwrap(), before, "round {round}");
        }
        assert!(created > 0);
    });
}

#[test]
fn concurrent_commits_share_a_batch_and_see_each_other() {
    block_on(async {
        let place = Place::new();
        let store = Arc::new(place.open());
        // All of them create the same key: one does, whatever the batches.
        let creating = |store: &Embedded| {
            let mut commit = commit_of(store, TransactionId::mint());
            commit.reads.push((open(), crate::contract::key("one"), 0));
            commit.writes.push(create(&open(), "one", "x"));
            commit
        };
        let commits: Vec<_> = (0..64)
            .map(|_| {
                let (store, commit) = (store.clone(), creating(&store));
                tokio::spawn(async move { store.commit(commit).await })
            })
            .collect();
        let mut applied = 0;
        for commit in commits {
            match commit.await.unwrap() {
                Ok(_) => applied += 1,
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(applied, 1);
    });
}

/// What would be found if the process were killed now: the files as they are,
/// opened as a store of their own.
fn as_if_killed(place: &Place) -> (TempDir, Embedded) {
    let copy = tempfile::tempdir().unwrap();
    for file in [DATABASE, "lockport.db-wal"] {
        std::fs::copy(place.path().join(file), copy.path().join(file)).unwrap();
    }
    let options = Options {
        clock: ManualClock::new(place.clock.now()).into(),
        ..Options::default()
    };
    let store = Embedded::open_with(copy.path(), options).unwrap();
    (copy, store)
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        assert!(store.summary().starts_with("embedded at "));
        for round in 0..3 {
            let key = round.to_string();
            store.commit(writing(&store, &key, "1")).await.unwrap();
            let (_copy, killed) = as_if_killed(&place);
            let found = killed.get(open(), crate::contract::key(&key)).await;
            assert!(found.unwrap().is_some());

            let caller = of_caller(&["a"]);
            let held = token(&store, caller.clone()).await;
            let (_copy, killed) = as_if_killed(&place);
            assert_eq!(holder(&killed, "a").await.unwrap().token, held);

            store.renew(caller.id, 100 * SECOND).await.unwrap();
            let (_copy, killed) = as_if_killed(&place);
            let remaining = holder(&killed, "a").await.unwrap().remaining;
            assert_eq!(remaining, Some(100 * SECOND));

            store.release(caller.id).await.unwrap();
            let last = token(&store, of(TransactionId::mint(), &[&key])).await;
            let (_copy, killed) = as_if_killed(&place);
            assert_eq!(holder(&killed, "a").await, None);
            assert!(token(&killed, of(TransactionId::mint(), &["b"])).await > last);
            // The next round is beyond what was reserved for this one.
            place.clock.advance(60 * SECOND);
        }
    });
}
