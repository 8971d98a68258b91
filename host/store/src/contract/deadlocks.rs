//! Waits that would never end (promise D1). The graphs are tested in the core;
//! here it is seen who is told.

use super::*;

contract!(
    Narrow:
    the_youngest_of_a_circle_is_told_and_the_others_go_on,
    owners_that_wait_for_each_other_are_a_circle,
    who_waits_for_what_it_holds_itself_is_told_at_once,
    callers_without_an_owner_are_never_in_a_circle,
    transactions_of_one_owner_never_wait_for_each_other,
    transactions_of_one_owner_are_one_in_a_circle,
);

fn cycle(error: AcquireError) -> Vec<(String, String)> {
    let AcquireError::Deadlock(cycle) = error else {
        panic!("{error:?}");
    };
    let links = cycle.0.iter();
    links
        .map(|it| (it.waiter.to_string(), it.name.to_string()))
        .collect()
}

async fn the_youngest_of_a_circle_is_told_and_the_others_go_on(world: Arc<World>) {
    let (first, second) = (TransactionId::mint(), TransactionId::mint());
    let held = of(first, &["a"]);
    world.hold(&held).await;
    world.hold(&of(second, &["b"])).await;
    let older = world.queue(&waiting(60 * SECOND, of(first, &["b"]))).await;
    let younger = waiting(60 * SECOND, of(second, &["a"]));
    let mut told = cycle(world.refusal(&younger).await);
    told.sort();
    let waiter = || "a transaction".to_owned();
    assert_eq!(
        told,
        [(waiter(), "a".to_owned()), (waiter(), "b".to_owned())]
    );
    world.store.end(second);
    assert!(older.await.is_ok());
    assert_eq!(world.store.statistics().deadlocks, 1);
}

async fn owners_that_wait_for_each_other_are_a_circle(world: Arc<World>) {
    let (session, _attached) = world.attached().await;
    world.hold(&owned_by("one", of_caller(&["a"]))).await;
    let other = of_session(session, &["b"]);
    world.hold(&other).await;
    let one = waiting(SECOND, owned_by("one", of_caller(&["b"])));
    let one = world.queue(&one).await;
    let refusal = world
        .refusal(&waiting(SECOND, of_session(session, &["a"])))
        .await;
    assert_eq!(cycle(refusal).len(), 2);
    world.release(&other).await.unwrap();
    assert!(one.await.is_ok());
}

async fn who_waits_for_what_it_holds_itself_is_told_at_once(world: Arc<World>) {
    let (session, _attached) = world.attached().await;
    for request in [
        owned_by("one", of_caller(&["a"])),
        of_session(session, &["b"]),
    ] {
        world.hold(&request).await;
        let again = Acquire {
            id: GrantId::mint(),
            ..request
        };
        let refusal = world.refusal(&again).await;
        assert!(matches!(refusal, AcquireError::Held(_)), "{refusal:?}");
        let refusal = world.refusal(&waiting(SECOND, again)).await;
        assert!(matches!(refusal, AcquireError::Deadlock(_)), "{refusal:?}");
    }
}

async fn transactions_of_one_owner_never_wait_for_each_other(world: Arc<World>) {
    let (root, child) = (TransactionId::mint(), TransactionId::mint());
    let of_one = |id, names: &[&str]| owned_by("one", of(id, names));
    world.hold(&of_one(root, &["a"])).await;
    let refusal = world.refusal(&of_one(child, &["a"])).await;
    assert!(matches!(refusal, AcquireError::Held(_)), "{refusal:?}");
    let refusal = world
        .refusal(&waiting(SECOND, of_one(child, &["b", "a"])))
        .await;
    assert!(matches!(refusal, AcquireError::Deadlock(_)), "{refusal:?}");
    // What it holds itself it has, and what its root gives back it gets.
    assert_eq!(world.hold(&of_one(root, &["a"])).await.acquired, []);
    world.store.end(root);
    world.hold(&waiting(SECOND, of_one(child, &["a"]))).await;
}

async fn transactions_of_one_owner_are_one_in_a_circle(world: Arc<World>) {
    let (root, child) = (TransactionId::mint(), TransactionId::mint());
    let stranger = TransactionId::mint();
    world.hold(&owned_by("one", of(root, &["a"]))).await;
    world.hold(&of(stranger, &["b"])).await;
    let waits = world
        .queue(&waiting(60 * SECOND, of(stranger, &["a"])))
        .await;
    let refusal = world
        .refusal(&waiting(60 * SECOND, owned_by("one", of(child, &["b"]))))
        .await;
    assert_eq!(cycle(refusal).len(), 2);
    world.store.end(root);
    assert!(waits.await.is_ok());
}

async fn callers_without_an_owner_are_never_in_a_circle(world: Arc<World>) {
    world.hold(&of_caller(&["a"])).await;
    world.hold(&of_caller(&["b"])).await;
    let one = world.queue(&waiting(SECOND, of_caller(&["a"]))).await;
    let two = world.queue(&waiting(SECOND, of_caller(&["b"]))).await;
    world.clock.advance(SECOND);
    assert_eq!(one.await, Err(AcquireError::TimedOut));
    assert_eq!(two.await, Err(AcquireError::TimedOut));
}
