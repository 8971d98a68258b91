//! Requests that may be asked again: one grant, however often.

use super::*;
use crate::store::{Cancelled, Field, Invalid, MEMORY};

contract!(
    Narrow:
    the_same_request_again_is_the_same_grant,
    a_request_that_waits_may_be_awaited_by_several,
    who_leaves_takes_nothing_from_those_who_stay,
    what_all_have_left_is_given_back_and_may_be_asked_again,
    what_one_has_heard_of_stays_when_the_others_leave,
    a_request_whose_grant_has_ended_is_refused_while_it_is_remembered,
    a_request_that_got_nothing_may_be_asked_again,
    a_request_id_stands_for_one_request,
    a_cancel_ends_a_wait_for_good,
    a_cancel_gives_back_what_was_granted,
    a_cancel_that_comes_first_is_heeded,
    a_release_that_is_sent_again_harms_nobody,
    an_id_that_is_not_repeatable_is_refused_while_it_is_in_use,
    so_many_ended_ids_are_remembered,
    a_principal_cancels_so_many_unseen,
);

async fn the_same_request_again_is_the_same_grant(world: Arc<World>) {
    // Adversarial L7.
    let request = repeatable(of_caller(&["a", "b"]));
    let first = world.hold(&request).await;
    world.clock.advance(SECOND);
    for _ in 0..100 {
        let again = world.hold(&request).await;
        assert_eq!(again.tokens, first.tokens);
        assert_eq!((again.since, again.waited), (first.since, first.waited));
        assert_eq!(again.remaining, Some(9 * SECOND), "not renewed by asking");
    }
    assert_eq!(world.store.statistics().granted, 1);
    assert_eq!(world.release(&request).await, Ok(Released::Released));
    assert_eq!(world.holder("a").await, None);
}

async fn a_request_that_waits_may_be_awaited_by_several(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let request = repeatable(waiting(SECOND, of_caller(&["a"])));
    let first = world.queue(&request).await;
    world.clock.advance(SECOND / 2);
    let second = world.queue(&request).await;
    assert_eq!(world.waiting("a").await, 1, "it waits once");
    world.release(&holder).await.unwrap();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(first, second);
    assert_eq!(first.waited, SECOND / 2);

    // However it ends.
    let next = repeatable(waiting(SECOND, of_caller(&["a"])));
    let queued = [world.queue(&next).await, world.queue(&next).await];
    world.clock.advance(SECOND);
    for queued in queued {
        assert_eq!(queued.await, Err(AcquireError::TimedOut));
    }
}

async fn who_leaves_takes_nothing_from_those_who_stay(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let request = repeatable(waiting(SECOND, of_caller(&["a"])));
    let gone = [world.queue(&request).await, world.queue(&request).await];
    let stays = world.queue(&request).await;
    let late = world.queue(&request).await;
    drop(gone);
    assert_eq!(world.waiting("a").await, 1);
    world.release(&holder).await.unwrap();
    // One more leaves with the answer unread.
    drop(late);
    let granted = stays.await.unwrap();
    assert_eq!(world.holder("a").await, Some(granted.tokens[0].1));
}

async fn what_all_have_left_is_given_back_and_may_be_asked_again(world: Arc<World>) {
    for granted_first in [false, true] {
        let holder = of_caller(&["a"]);
        world.hold(&holder).await;
        let request = repeatable(waiting(SECOND, of_caller(&["a"])));
        let gone = [world.queue(&request).await, world.queue(&request).await];
        if granted_first {
            world.release(&holder).await.unwrap();
            drop(gone);
        } else {
            drop(gone);
            assert_eq!(world.waiting("a").await, 0);
            world.release(&holder).await.unwrap();
        }
        world.is_freed("a").await;
        // The answer was lost, not the request.
        let token = world.hold(&request).await.tokens[0].1;
        assert_eq!(world.holder("a").await, Some(token));
        world.release(&request).await.unwrap();
    }
}

async fn what_one_has_heard_of_stays_when_the_others_leave(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let request = repeatable(waiting(SECOND, of_caller(&["a"])));
    let unread = world.queue(&request).await;
    world.release(&holder).await.unwrap();
    let token = world.hold(&request).await.tokens[0].1;
    drop(unread);
    assert_eq!(world.holder("a").await, Some(token));
    // Somebody who asks once more and leaves.
    let mut again = world.store.acquire(request.clone());
    drop(poll_once(&mut again).await);
    drop(again);
    assert_eq!(world.holder("a").await, Some(token));
}

async fn a_request_whose_grant_has_ended_is_refused_while_it_is_remembered(world: Arc<World>) {
    let (released, expired) = (repeatable(of_caller(&["a"])), repeatable(of_caller(&["b"])));
    world.hold(&released).await;
    world.hold(&expired).await;
    world.release(&released).await.unwrap();
    world.clock.advance(10 * SECOND);
    for request in [&released, &expired] {
        assert_eq!(world.refusal(request).await, AcquireError::Lost);
    }
    world.clock.advance(MEMORY - 10 * SECOND);
    assert_eq!(world.refusal(&released).await, AcquireError::Lost);
    assert_eq!(world.holder("a").await, None);
}

async fn a_request_that_got_nothing_may_be_asked_again(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let request = repeatable(of_caller(&["a"]));
    assert_eq!(world.refusal(&request).await, AcquireError::Held(name("a")));
    let request = waiting(SECOND, request);
    let queued = world.queue(&request).await;
    world.clock.advance(SECOND);
    assert_eq!(queued.await, Err(AcquireError::TimedOut));
    world.release(&holder).await.unwrap();
    world.hold(&request).await;
}

async fn a_request_id_stands_for_one_request(world: Arc<World>) {
    let request = repeatable(of_caller(&["a"]));
    let token = world.hold(&request).await.tokens[0].1;
    for other in [
        Acquire {
            names: vec![name("b")],
            ..request.clone()
        },
        in_mode(Mode::Shared, request.clone()),
    ] {
        let refusal = world.refusal(&other).await;
        let is_id = matches!(
            refusal,
            AcquireError::Invalid(Invalid {
                field: Field::RequestId,
                ..
            })
        );
        assert!(is_id, "{refusal:?}");
    }
    assert_eq!(world.holder("a").await, Some(token));
    assert_eq!(world.holder("b").await, None);
}

async fn cancel(world: &World, request: &Acquire) -> Result<Cancelled, ReleaseError> {
    let principal = request.party.principal.clone();
    world.store.cancel(request.id, principal).await
}

async fn a_cancel_ends_a_wait_for_good(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    let request = repeatable(waiting(SECOND, of_caller(&["a"])));
    let queued = world.queue(&request).await;
    for _ in 0..2 {
        assert_eq!(cancel(&world, &request).await, Ok(Cancelled::Cancelled));
    }
    assert_eq!(queued.await, Err(AcquireError::Cancelled));
    world.release(&holder).await.unwrap();
    assert_eq!(world.refusal(&request).await, AcquireError::Cancelled);
    assert_eq!(world.holder("a").await, None);
}

async fn a_cancel_gives_back_what_was_granted(world: Arc<World>) {
    let request = repeatable(of_caller(&["a"]));
    world.hold(&request).await;
    let next = world.queue(&waiting(SECOND, of_caller(&["a"]))).await;
    assert_eq!(cancel(&world, &request).await, Ok(Cancelled::Granted));
    let token = next.await.unwrap().tokens[0].1;
    assert!(world.store.acquire(request).await.is_err());
    assert_eq!(world.holder("a").await, Some(token));
}

async fn a_cancel_that_comes_first_is_heeded(world: Arc<World>) {
    let request = repeatable(of_caller(&["a"]));
    assert_eq!(cancel(&world, &request).await, Ok(Cancelled::Cancelled));
    assert_eq!(world.refusal(&request).await, AcquireError::Cancelled);
    assert_eq!(world.holder("a").await, None);
}

async fn a_release_that_is_sent_again_harms_nobody(world: Arc<World>) {
    // Adversarial L8.
    for first in [of_caller(&["a"]), repeatable(of_caller(&["a"]))] {
        world.hold(&first).await;
        assert_eq!(world.release(&first).await, Ok(Released::Released));
        let next = of_caller(&["a"]);
        let token = world.hold(&next).await.tokens[0].1;
        assert_eq!(world.release(&first).await, Ok(Released::Already));
        assert_eq!(world.holder("a").await, Some(token));
        assert_eq!(world.release(&next).await, Ok(Released::Released));
        // And if nobody has held it since.
        assert_eq!(world.release(&next).await, Ok(Released::Already));
    }
}

async fn an_id_that_is_not_repeatable_is_refused_while_it_is_in_use(world: Arc<World>) {
    for request in [of(TransactionId::mint(), &["a"]), of_caller(&["b"])] {
        world.hold(&request).await;
        let refusal = world.refusal(&request).await;
        assert!(matches!(refusal, AcquireError::Invalid(_)), "{refusal:?}");
    }
}

async fn a_principal_cancels_so_many_unseen(world: Arc<World>) {
    let request = || repeatable(of_caller(&["a"]));
    for _ in 0..LIMITS.cancels_per_principal {
        cancel(&world, &request()).await.unwrap();
    }
    let refused = cancel(&world, &request()).await;
    assert!(
        matches!(refused, Err(ReleaseError::Quota(_))),
        "{refused:?}"
    );
    // What is held or waited for may be cancelled still.
    let held = request();
    world.hold(&held).await;
    assert_eq!(cancel(&world, &held).await, Ok(Cancelled::Granted));
    world.clock.advance(MEMORY + SECOND);
    cancel(&world, &request()).await.unwrap();
}

async fn so_many_ended_ids_are_remembered(world: Arc<World>) {
    let first = repeatable(of_caller(&["a"]));
    world.hold(&first).await;
    world.release(&first).await.unwrap();
    for number in 0..LIMITS.ended {
        assert_eq!(world.refusal(&first).await, AcquireError::Lost);
        world.clock.advance(Duration::from_micros(1));
        let mut request = repeatable(of_caller(&["b"]));
        request.party.principal = Principal::new(&format!("canceller {number}"));
        cancel(&world, &request).await.unwrap();
    }
    // Forgotten before its time, for lack of room.
    world.hold(&first).await;
}
