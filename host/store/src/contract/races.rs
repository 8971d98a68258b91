//! What every store promises when many do things at once, with real threads.

use super::*;
use crate::store::{LEASE_MIN, WAIT_MAX};
use std::sync::atomic::{AtomicUsize, Ordering};

contract!(
    Real:
    no_update_under_a_lock_is_lost,
    no_update_without_a_lock_is_lost,
    a_hand_over_and_a_cancel_never_both_win,
    what_runs_out_does_so_without_anybody_asking,
);

const WORKERS: usize = 8;

/// Runs a number of workers to their end, on threads.
async fn together<F, Fut>(world: &Arc<World>, worker: F)
where
    F: Fn(Arc<World>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| tokio::spawn(worker(world.clone())))
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

async fn counter(world: &World, collection: &Collection) -> (u64, usize) {
    let found = world.get(collection, "counter").await;
    found.map_or((0, 0), |it| {
        let text = std::str::from_utf8(&it.value).unwrap().to_owned();
        (it.version, text.parse().unwrap())
    })
}

/// A commit that adds one to what is there.
async fn increment(world: &World, collection: &Collection, transaction: TransactionId) -> Commit {
    let (version, count) = counter(world, collection).await;
    let mut commit = world.commit_of(transaction);
    commit
        .reads
        .push((collection.clone(), key("counter"), version));
    let write = put(collection, "counter", &(count + 1).to_string());
    commit.writes.push(write);
    commit
}

async fn what_runs_out_does_so_without_anybody_asking(world: Arc<World>) {
    let leased = Acquire {
        lease: Some(LEASE_MIN),
        ..of(TransactionId::mint(), &["a"])
    };
    let token = world.hold(&leased).await.tokens[0].1;
    // The first gives up before the lease is over, the second is served by it.
    let impatient = waiting(LEASE_MIN / 10, of(TransactionId::mint(), &["a"]));
    let patient = waiting(WAIT_MAX, of(TransactionId::mint(), &["a"]));
    let first = world.queue(&impatient).await;
    let second = world.queue(&patient).await;
    assert_eq!(first.await, Err(AcquireError::TimedOut));
    assert!(second.await.unwrap().tokens[0].1 > token);
}

async fn no_update_under_a_lock_is_lost(world: Arc<World>) {
    const EACH: usize = 25;
    together(&world, async |world| {
        for _ in 0..EACH {
            let transaction = TransactionId::mint();
            let lock = waiting(60 * SECOND, of(transaction, &["order/counter"]));
            world.hold(&lock).await;
            let mut commit = increment(&world, &guarded(), transaction).await;
            commit.guards.push(guarding(&lock));
            // Nobody else can have written: not one conflict.
            world.apply(commit).await.unwrap();
        }
    })
    .await;
    assert_eq!(counter(&world, &guarded()).await.1, WORKERS * EACH);
}

async fn no_update_without_a_lock_is_lost(world: Arc<World>) {
    const EACH: usize = 50;
    let applied = Arc::new(AtomicUsize::new(0));
    together(&world, |world| {
        let applied = applied.clone();
        async move {
            for _ in 0..EACH {
                let commit = increment(&world, &open(), TransactionId::mint()).await;
                match world.apply(commit).await {
                    Ok(_) => drop(applied.fetch_add(1, Ordering::Relaxed)),
                    Err(CommitError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    })
    .await;
    let applied = applied.load(Ordering::Relaxed);
    assert!(applied > 0);
    assert_eq!(counter(&world, &open()).await.1, applied);
}

async fn a_hand_over_and_a_cancel_never_both_win(world: Arc<World>) {
    for round in 0..2_000 {
        let holder = of(TransactionId::mint(), &["a"]);
        world.hold(&holder).await;
        let waiter = of(TransactionId::mint(), &["a"]);
        let waiter = waiting(
            60 * SECOND,
            if round % 8 == 0 {
                of_caller(&["a"])
            } else {
                waiter
            },
        );
        let queued = tokio::spawn({
            let (world, waiter) = (world.clone(), waiter.clone());
            async move { world.store.acquire(waiter).await }
        });
        // Whenever it comes, before or after the waiter is queued.
        let release = tokio::spawn({
            let world = world.clone();
            async move { world.store.release(holder.id).await }
        });
        let cancel = tokio::spawn({
            let (world, id) = (world.clone(), waiter.id);
            async move { world.store.release(id).await }
        });
        if round % 2 == 0 {
            queued.abort();
        }
        release.await.unwrap().unwrap();
        cancel.await.unwrap().unwrap();
        if let Ok(Ok(_)) = queued.await {
            // Granted; the cancel may have come before it asked.
            world.store.release(waiter.id).await.unwrap();
        }
        let lock = world.store.lock(name("a")).await.unwrap();
        assert_eq!((lock.holder, lock.waiting), (None, 0), "round {round}");
    }
}
