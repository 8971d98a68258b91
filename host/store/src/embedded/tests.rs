//! What only a store with a directory does: it comes back, it keeps others
//! out, and it survives a disk that fails. The rest is in
//! [`contract`](crate::contract).

mod disk;
mod restart;

use super::*;
use crate::clock::ManualClock;
use crate::contract::{
    GRACE, LIMITS, SECOND, block_on, caller, create, guarded, guarding, in_mode, key, name, of,
    of_caller, of_session, open, owned_by, poll_once, put, query, repeatable, session, waiting,
};
use crate::id::TransactionId;
use crate::pattern::Permission;
use crate::store::{
    Acquire, AcquireError, Cancelled, Holder, LIST_LIMIT_MAX, LockHolder, MEMORY, Mode, Order,
    Principal, ReleaseError, Released, SessionError, Token, WatchQuery, Watched,
};
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;
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

    /// How many rows a table has.
    fn count(&self, table: &str) -> usize {
        let count = format!("SELECT count(*) FROM {table}");
        let count: u32 = (self.database())
            .query_row(&count, [], |row| row.get(0))
            .unwrap();
        count as usize
    }
}

fn commit_of(store: &Embedded, transaction: TransactionId) -> Commit {
    Commit {
        id: CommitId::mint(store.now()),
        transaction,
        began: Time::default(),
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

/// Who holds a lock, whatever the disk does.
fn holder(store: &Embedded, text: &str) -> Option<LockHolder> {
    let name = name(text);
    let look = |core: &mut Core, now, effects: &mut _| core.look(&name, now, effects);
    store.shell.step(look).holders.pop()
}

async fn release(store: &Embedded, request: &Acquire) -> Result<Released, ReleaseError> {
    let principal = request.party.principal.clone();
    store.release(request.id, principal).await
}

async fn renew(store: &Embedded, request: &Acquire, lease: Duration) {
    let principal = request.party.principal.clone();
    let renewal = store.renew(request.id, principal, Some(lease));
    renewal.await.unwrap();
}

async fn token(store: &Embedded, request: Acquire) -> Token {
    store.acquire(request).await.unwrap().tokens[0].1
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
        .pragma_update(None, "user_version", 3)
        .unwrap();
    let refused = place.try_open().err().unwrap();
    assert!(
        matches!(refused, OpenError::Newer { found: 3, known: 2 }),
        "{refused}"
    );
}

#[test]
fn a_database_of_a_version_that_was_never_released_is_refused_by_name() {
    let place = Place::new();
    drop(place.open());
    place
        .database()
        .pragma_update(None, "user_version", 1)
        .unwrap();
    let refused = place.try_open().err().unwrap();
    assert!(
        matches!(refused, OpenError::Unreleased { found: 1 }),
        "{refused}"
    );
    assert!(refused.to_string().contains("development version"));
}

#[cfg(unix)]
#[test]
fn the_files_are_their_owner_s_alone_whatever_the_directory_is() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::create_dir(place.path()).unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let _store = place.open();
    let files = std::fs::read_dir(place.path()).unwrap();
    let modes = files.map(|it| {
        let file = it.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        (file.file_name(), mode)
    });
    let modes: Vec<_> = modes.collect();
    assert!(modes.len() >= 3, "the database, its log and the lock");
    assert!(modes.iter().all(|it| it.1 == 0o600), "{modes:?}");
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
        assert_eq!(place.count("commits"), LIMITS.records);
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
