//! What every store promises when many do things at once, with real threads.

use super::*;
use crate::store::{Cancelled, LEASE_MIN, WAIT_MAX};
use std::sync::atomic::{AtomicUsize, Ordering};

contract!(
    Real:
    no_update_under_a_lock_is_lost,
    no_update_without_a_lock_is_lost,
    a_hand_over_and_a_release_never_both_win,
    a_hand_over_and_a_cancel_never_both_win,
    a_request_that_many_ask_at_once_is_one_grant,
    a_session_that_ends_and_a_hand_over_to_it_leave_nothing,
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

async fn a_hand_over_and_a_release_never_both_win(world: Arc<World>) {
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
            async move { world.release(&holder).await }
        });
        let cancel = tokio::spawn({
            let (world, waiter) = (world.clone(), waiter.clone());
            async move { world.release(&waiter).await }
        });
        if round % 2 == 0 {
            queued.abort();
        }
        release.await.unwrap().unwrap();
        cancel.await.unwrap().unwrap();
        if let Ok(Ok(_)) = queued.await {
            // Granted; the cancel may have come before it asked.
            world.release(&waiter).await.unwrap();
        }
        world.until_nobody_has("a").await;
    }
}

async fn a_hand_over_and_a_cancel_never_both_win(world: Arc<World>) {
    // Adversarial L10: its caller hears of a grant or of a cancel, and in the
    // end nobody has the lock, whoever came first.
    for round in 0..1_000 {
        let holder = of(TransactionId::mint(), &["a"]);
        world.hold(&holder).await;
        let waiter = repeatable(waiting(60 * SECOND, of_caller(&["a"])));
        let queued = tokio::spawn({
            let (world, waiter) = (world.clone(), waiter.clone());
            async move { world.store.acquire(waiter).await }
        });
        let release = tokio::spawn({
            let world = world.clone();
            async move { world.release(&holder).await }
        });
        let cancel = tokio::spawn({
            let (world, waiter) = (world.clone(), waiter.clone());
            let principal = waiter.party.principal;
            async move { world.store.cancel(waiter.id, principal).await }
        });
        release.await.unwrap().unwrap();
        match (cancel.await.unwrap().unwrap(), queued.await.unwrap()) {
            (Cancelled::Granted, Ok(_) | Err(AcquireError::Lost))
            | (Cancelled::Cancelled, Err(AcquireError::Cancelled)) => {}
            both => panic!("round {round}: {both:?}"),
        }
        world.until_nobody_has("a").await;
        assert!(world.store.acquire(waiter).await.is_err());
    }
}

async fn a_request_that_many_ask_at_once_is_one_grant(world: Arc<World>) {
    // Adversarial L7, at once; and some of them go away.
    for round in 0..20 {
        let holder = of_caller(&["a"]);
        if round % 2 == 0 {
            world.hold(&holder).await;
        }
        let before = world.store.statistics().granted;
        let request = repeatable(waiting(60 * SECOND, of_caller(&["a"])));
        // One who stays has asked before any goes away: else there may be nobody
        // for a moment, and what was granted is given back.
        let mut first = world.store.acquire(request.clone());
        let told = poll_once(&mut first).await;
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let (world, request) = (world.clone(), request.clone());
                tokio::spawn(async move { world.store.acquire(request).await })
            })
            .collect();
        for asking in asking.iter().skip(1).step_by(3) {
            asking.abort();
        }
        world.release(&holder).await.unwrap();
        let told = match told {
            Some(told) => told,
            None => first.await,
        };
        let mut tokens = vec![told.unwrap().tokens[0].1];
        for (number, asking) in asking.into_iter().enumerate() {
            match asking.await {
                Ok(granted) => tokens.push(granted.unwrap().tokens[0].1),
                Err(gone) => assert!(gone.is_cancelled() && number % 3 == 1),
            }
        }
        assert!(tokens.len() >= 66);
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "round {round}");
        assert_eq!(world.store.statistics().granted, before + 1);
        assert_eq!(world.holder("a").await, Some(tokens[0]));
        world.release(&request).await.unwrap();
    }
}

async fn a_session_that_ends_and_a_hand_over_to_it_leave_nothing(world: Arc<World>) {
    for round in 0..300 {
        let holder = of(TransactionId::mint(), &["a"]);
        world.hold(&holder).await;
        let (session, _attached) = world.attached().await;
        let waiter = waiting(60 * SECOND, of_session(session, &["a"]));
        let queued = tokio::spawn({
            let world = world.clone();
            async move { world.store.acquire(waiter).await }
        });
        let release = tokio::spawn({
            let world = world.clone();
            async move { world.release(&holder).await }
        });
        let close = world.store.close_session(session, caller().principal);
        close.await.unwrap();
        release.await.unwrap().unwrap();
        match queued.await.unwrap() {
            // Lost: it was granted, and had ended before that could be told.
            Ok(_) | Err(AcquireError::Cancelled | AcquireError::NoSession | AcquireError::Lost) => {
            }
            error => panic!("round {round}: {error:?}"),
        }
        world.until_nobody_has("a").await;
    }
}
