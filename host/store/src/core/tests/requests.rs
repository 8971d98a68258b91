//! Requests that are asked again, cancelled and abandoned; and strangers.

use super::*;

// L7.
#[test]
fn a_request_asked_a_hundred_times_is_one_grant_with_one_token() {
    let mut world = World::new();
    let ask = repeatable(caller(&["a", "b"]));
    let first = world.granted(&ask);
    let mut turned = ask.clone();
    turned.names.reverse();
    for _ in 0..100 {
        world.pass(SECOND / 100);
        let again = world.granted(&turned);
        assert_eq!(again.tokens[1], first.tokens[0]);
        assert_eq!(again.acquired, turned.names);
        assert_eq!(again.since, first.since);
        let gone = world.now.since(first.since);
        assert_eq!(again.remaining, Some(LEASE - gone));
    }
    assert_eq!(world.core.statistics().granted, 1);
    assert_eq!(world.count("a"), (1, 0));
}

#[test]
fn a_request_that_waits_is_one_wait_however_often_it_is_asked() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    let ask = repeatable(caller(&["a"]));
    world.wait(&ask);
    world.wait(&ask);
    assert_eq!(world.count("a"), (1, 1));
    world.release(&holder);
    assert_eq!(world.served(), [ask.id]);
    assert_eq!(world.granted(&ask).waited, Duration::ZERO);
}

#[test]
fn a_request_id_stands_for_one_request() {
    let mut world = World::new();
    let id = world.open();
    let ask = repeatable(caller(&["a", "b"]));
    world.hold(&ask);
    let names = |names: &[&str]| names.iter().map(|it| name(it)).collect();
    for other in [
        Acquire {
            names: names(&["a"]),
            ..ask.clone()
        },
        Acquire {
            names: names(&["a", "b", "c"]),
            ..ask.clone()
        },
        shared(ask.clone()),
        Acquire {
            holder: Holder::Session(id),
            lease: None,
            ..ask.clone()
        },
        Acquire {
            repeatable: false,
            ..ask.clone()
        },
    ] {
        assert_eq!(world.invalid(&other), Field::RequestId, "{other:?}");
    }
    let minted = caller(&["c"]);
    world.hold(&minted);
    assert_eq!(world.invalid(&minted), Field::RequestId);
    assert_eq!(world.invalid(&repeatable(minted)), Field::RequestId);
}

#[test]
fn a_request_that_was_granted_and_has_ended_is_refused_for_as_long_as_it_is_known() {
    let ends: [fn(&mut World, &Acquire); 3] = [
        |world, it| assert_eq!(world.release(it), Released::Released),
        |world, _| drop(world.force("a")),
        |world, _| world.pass(LEASE),
    ];
    for end in ends {
        let mut world = World::new();
        let ask = repeatable(caller(&["a"]));
        world.hold(&ask);
        end(&mut world, &ask);
        world.tick();
        let ended = world.now;
        assert_eq!(world.refused(&ask), AcquireError::Lost);
        assert_eq!(world.cancel(&ask), Cancelled::Granted);
        world.pass(MEMORY);
        assert_eq!(world.refused(&ask), AcquireError::Lost);
        assert_eq!(world.now, ended + MEMORY);
        world.pass(MICRO);
        world.hold(&ask);
    }
}

// L8.
#[test]
fn a_release_that_comes_again_leaves_the_next_holder_alone() {
    let mut world = World::new();
    let ask = repeatable(caller(&["a"]));
    world.hold(&ask);
    assert_eq!(world.release(&ask), Released::Released);
    let next = caller(&["a"]);
    world.hold(&next);
    assert_eq!(world.release(&ask), Released::Already);
    assert_eq!(world.look("a").holders[0].grant, next.id);
}

#[test]
fn a_request_that_is_cancelled_before_it_comes_is_refused_when_it_does() {
    let mut world = World::new();
    let ask = repeatable(caller(&["a"]));
    assert_eq!(world.cancel(&ask), Cancelled::Cancelled);
    assert_eq!(world.cancel(&ask), Cancelled::Cancelled);
    assert_eq!(world.refused(&ask), AcquireError::Cancelled);
    assert!(!world.is_held("a"));
    assert_eq!(world.core.ended.len(), 1, "it is remembered once");
}

#[test]
fn a_cancel_ends_the_wait_or_gives_back_the_grant() {
    let mut world = World::new();
    let holder = repeatable(caller(&["a"]));
    world.hold(&holder);
    let waiter = repeatable(caller(&["a"]));
    world.wait(&waiter);
    assert_eq!(world.cancel(&waiter), Cancelled::Cancelled);
    assert_eq!(world.told(), [Effect::Cancelled(waiter.id)]);
    assert_eq!(world.refused(&waiter), AcquireError::Cancelled);
    assert_eq!(world.cancel(&holder), Cancelled::Granted);
    assert!(!world.is_held("a"));
    assert_eq!(world.refused(&holder), AcquireError::Lost);
}

#[test]
fn a_try_that_failed_may_be_asked_again() {
    let mut world = World::new();
    let holder = caller(&["a"]);
    world.hold(&holder);
    let ask = trying(repeatable(caller(&["a"])));
    assert_eq!(world.refused(&ask), AcquireError::Held(name("a")));
    let wait = waiting(SECOND, ask.clone());
    world.wait(&wait);
    world.pass(SECOND);
    world.tick();
    assert_eq!(world.told(), [Effect::TimedOut(ask.id)]);
    world.release(&holder);
    world.hold(&ask);
}

#[test]
fn what_is_abandoned_may_be_asked_again() {
    let mut world = World::new();
    let ask = repeatable(caller(&["a"]));
    world.hold(&ask);
    world.core.abandon(ask.id, world.now, &mut world.effects);
    assert!(!world.is_held("a"));
    world.hold(&ask);
    let waiter = repeatable(caller(&["a"]));
    world.wait(&waiter);
    world.core.abandon(waiter.id, world.now, &mut world.effects);
    assert_eq!(world.count("a"), (1, 0));
    world.wait(&waiter);
}

#[test]
fn the_oldest_ended_ids_are_forgotten_when_there_is_no_room() {
    let limits = Limits {
        ended: 3,
        ..Limits::default()
    };
    let mut world = World::with(limits);
    let asks: Vec<_> = (0..5).map(|_| repeatable(caller(&["a"]))).collect();
    for ask in &asks {
        world.hold(ask);
        world.release(ask);
    }
    assert_eq!(world.core.ended.len(), 3);
    for ask in &asks[2..] {
        assert_eq!(world.refused(ask), AcquireError::Lost);
    }
    world.hold(&asks[0]);
}

#[test]
fn ended_ids_are_swept_two_by_two() {
    let mut world = World::new();
    for _ in 0..10 {
        world.cancel(&repeatable(caller(&["a"])));
    }
    world.pass(MEMORY + MICRO);
    for _ in 0..3 {
        world.cancel(&repeatable(caller(&["a"])));
    }
    assert_eq!(world.core.ended.len(), 10 - 3 * 2 + 3);
}

// L9.
#[test]
fn a_stranger_can_neither_renew_nor_release_nor_cancel() {
    let mut world = World::new();
    let held = of_principal("anna", caller(&["a"]));
    let waits = of_principal("anna", caller(&["a"]));
    world.hold(&held);
    world.wait(&waits);
    world.effects.clear();
    let before = world.look("a");
    for ask in [&held, &waits] {
        let stranger = of_principal("ben", ask.clone());
        let (by, now) = (&stranger.party.principal, world.now);
        let (core, effects) = (&mut world.core, &mut world.effects);
        let released = core.release(ask.id, by, now, effects);
        assert_eq!(released, Err(ReleaseError::NotHolder));
        let cancelled = core.cancel(ask.id, by, now, effects);
        assert_eq!(cancelled, Err(ReleaseError::NotHolder));
        let renewed = core.renew(ask.id, by, None, now, effects);
        assert_eq!(renewed, Err(RenewError::NotHolder));
    }
    assert_eq!(world.effects, []);
    assert_eq!(world.look("a"), before);
    // The node itself may.
    let node = Principal::node();
    let (now, effects) = (world.now, &mut world.effects);
    let released = world.core.release(held.id, &node, now, effects);
    assert_eq!(released, Ok(Released::Released));
}

#[test]
fn a_request_that_waits_and_is_asked_again_without_a_wait_is_held() {
    let mut world = World::new();
    let holder = caller(&["a"]);
    world.hold(&holder);
    let ask = repeatable(caller(&["free", "a"]));
    world.wait(&ask);
    let again = Acquire {
        wait: Duration::ZERO,
        ..ask.clone()
    };
    assert_eq!(world.refused(&again), AcquireError::Held(name("a")));
    assert_eq!(world.count("a"), (1, 1), "the first still waits");
}
