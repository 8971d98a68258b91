//! One lock after another: grants, waits, hand-over, leases.

use super::*;

#[test]
fn a_free_lock_is_held_with_a_token_and_a_released_one_is_free() {
    let mut world = World::new();
    let first = single(&["a"]);
    let token = world.hold(&first);
    let lock = world.look("a");
    assert_eq!(lock.mode, Some(Mode::Exclusive));
    assert_eq!(lock.holders[0].token, token);
    assert_eq!(lock.holders[0].grant, first.id);
    assert_eq!(lock.holders[0].holder, first.holder);
    assert_eq!(world.release(&first), Released::Released);
    assert_eq!(world.release(&first), Released::Already);
    assert_eq!(world.count("a"), (0, 0));
    assert_eq!(world.look("a").mode, None);
    assert!(world.hold(&single(&["a"])) > token);
}

#[test]
fn a_request_that_does_not_wait_is_refused_with_the_first_name_in_its_way() {
    let mut world = World::new();
    world.hold(&single(&["b"]));
    let refusal = world.refused(&trying(single(&["a", "b", "c"])));
    assert_eq!(refusal, AcquireError::Held(name("b")));
    assert!(!world.is_held("a"), "all or none");
}

#[test]
fn a_wait_that_runs_out_is_told_once_and_leaves_the_queue() {
    let mut world = World::new();
    world.hold(&single(&["a"]));
    let waiter = waiting(SECOND, single(&["a"]));
    world.wait(&waiter);
    world.pass(SECOND - MICRO);
    world.tick();
    assert_eq!(world.told(), []);
    let lock = world.look("a");
    assert_eq!(lock.waiters[0].remaining, MICRO);
    assert_eq!(lock.waiters[0].waited, SECOND - MICRO);
    assert_eq!(world.core.next_deadline(), Some(world.now + MICRO));
    world.pass(MICRO);
    world.tick();
    assert_eq!(world.told(), [Effect::TimedOut(waiter.id)]);
    assert_eq!(world.count("a"), (1, 0));
    assert_eq!(world.core.next_deadline(), None);
}

#[test]
fn a_release_hands_over_to_who_came_first_in_the_same_step() {
    let mut world = World::new();
    let holder = single(&["a"]);
    let token = world.hold(&holder);
    let waiters: Vec<_> = (0..3).map(|_| single(&["a"])).collect();
    for waiter in &waiters {
        world.wait(waiter);
    }
    world.pass(SECOND);
    world.release(&holder);
    assert_eq!(world.count("a"), (1, 2));
    assert!(world.look("a").holders[0].token > token);
    let [Effect::Granted(id, granted)] = &world.told()[..] else {
        panic!("one is told");
    };
    assert_eq!((*id, granted.waited), (waiters[0].id, SECOND));
    assert_eq!(granted.since, world.now);
    for pair in waiters.windows(2) {
        world.release(&pair[0]);
        assert_eq!(world.served(), [pair[1].id]);
    }
}

#[test]
fn a_reserved_lock_is_overtaken_by_nobody() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    let both = single(&["a", "b"]);
    world.wait(&both);
    for modest in [
        single(&["b"]),
        shared(single(&["b"])),
        permits(2, single(&["b"])),
    ] {
        let refusal = world.refused(&trying(modest));
        assert_eq!(refusal, AcquireError::Held(name("b")));
    }
    let behind = single(&["b"]);
    world.wait(&behind);
    world.release(&holder);
    assert_eq!(world.served(), [both.id]);
    world.release(&both);
    assert_eq!(world.served(), [behind.id]);
}

#[test]
fn a_waiter_that_goes_lets_those_behind_it_through() {
    let ends: [fn(&mut World, &Acquire); 4] = [
        |world, it| assert_eq!(world.release(it), Released::Released),
        |world, it| assert_eq!(world.cancel(it), Cancelled::Cancelled),
        |world, it| world.core.abandon(it.id, world.now, &mut world.effects),
        |world, _| {
            world.pass(SECOND);
            world.tick();
        },
    ];
    for end in ends {
        let mut world = World::new();
        world.hold(&single(&["a"]));
        let both = waiting(SECOND, single(&["a", "b"]));
        world.wait(&both);
        let behind = single(&["b"]);
        world.wait(&behind);
        end(&mut world, &both);
        assert_eq!(world.served(), [behind.id]);
    }
}

#[test]
fn a_lease_ends_at_its_moment_and_not_before() {
    let mut world = World::new();
    let holder = caller(&["a"]);
    assert_eq!(world.granted(&holder).remaining, Some(LEASE));
    world.pass(LEASE - MICRO);
    assert_eq!(world.look("a").holders[0].remaining, Some(MICRO));
    world.pass(MICRO);
    assert_eq!(world.count("a"), (0, 0));
    assert_eq!(world.renew(&holder, None), Err(RenewError::Lost));
    assert_eq!(world.core.statistics().lost, 1);
    assert_eq!(world.release(&holder), Released::Already);
}

#[test]
fn a_lease_that_ends_as_a_wait_does_is_handed_over() {
    let mut world = World::new();
    world.hold(&caller(&["a"]));
    let waiter = waiting(LEASE, single(&["a"]));
    world.wait(&waiter);
    // A timer that comes late changes nothing: what ran out first ends first.
    world.pass(6 * LEASE);
    world.tick();
    assert_eq!(world.served(), [waiter.id]);
}

#[test]
fn the_lease_of_a_hand_over_begins_with_it() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    world.wait(&caller(&["a"]));
    world.pass(30 * SECOND);
    world.release(&holder);
    assert_eq!(world.look("a").holders[0].remaining, Some(LEASE));
}

#[test]
fn a_renewal_prolongs_and_never_shortens() {
    let mut world = World::new();
    let holder = caller(&["a"]);
    world.hold(&holder);
    assert_eq!(world.renew(&holder, Some(SECOND)), Ok(Some(LEASE)));
    assert_eq!(world.renew(&holder, Some(2 * LEASE)), Ok(Some(2 * LEASE)));
    world.pass(LEASE + SECOND);
    assert!(world.is_held("a"));
    let longest = world.renew(&holder, None);
    assert_eq!(longest, Ok(Some(2 * LEASE)), "the longest it was given");
    for wrong in [LEASE_MIN - MICRO, LEASE_MAX + SECOND] {
        let refusal = world.renew(&holder, Some(wrong));
        assert!(matches!(refusal, Err(RenewError::Invalid(it)) if it.field == Field::Lease));
    }
}

#[test]
fn a_transaction_without_a_lease_holds_on_whatever_is_renewed() {
    let mut world = World::new();
    let holder = single(&["a"]);
    assert_eq!(world.granted(&holder).remaining, None);
    assert_eq!(world.renew(&holder, Some(SECOND)), Ok(None));
    world.pass(100 * SECOND);
    assert!(world.is_held("a"), "it has no lease still");
}

#[test]
fn who_waits_renews_nothing() {
    let mut world = World::new();
    world.hold(&single(&["a"]));
    let waiter = caller(&["a"]);
    world.wait(&waiter);
    assert_eq!(world.renew(&waiter, None), Err(RenewError::Lost));
}

#[test]
fn a_transaction_gets_views_of_what_it_holds_and_waits_for_the_rest() {
    let mut world = World::new();
    let own = transaction();
    let token = world.hold(&request(own, &["a", "b"]));

    // Everything is held: no grant.
    let view = request(own, &["b", "a", "b"]);
    let granted = world.granted(&view);
    assert_eq!(granted.tokens, [(name("b"), token), (name("a"), token)]);
    assert_eq!(granted.acquired, []);
    assert_eq!(world.release(&view), Released::Already);

    // Part is: the rest is acquired, or waited for.
    let other = single(&["c"]);
    world.hold(&other);
    let rest = request(own, &["a", "c", "b"]);
    world.wait(&rest);
    world.told();
    world.release(&other);
    let [Effect::Granted(id, granted)] = &world.told()[..] else {
        panic!("one is told");
    };
    assert_eq!(*id, rest.id);
    assert_eq!(granted.acquired, [name("c")]);
    let names: Vec<_> = granted.tokens.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(names, ["a", "c", "b"]);
    assert_eq!((granted.tokens[0].1, granted.tokens[2].1), (token, token));
    assert!(granted.tokens[1].1 > token);
}

#[test]
fn a_transaction_that_waits_twice_for_a_lock_gets_a_grant_and_a_view() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    let own = transaction();
    let (one, two) = (request(own, &["a"]), request(own, &["a"]));
    world.wait(&one);
    world.wait(&two);
    world.release(&holder);
    let told = world.told();
    let [Effect::Granted(_, first), Effect::Granted(_, second)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(first.acquired, [name("a")]);
    assert_eq!(second.acquired, []);
    assert_eq!(first.tokens, second.tokens);
    assert_eq!(world.count("a"), (1, 0));
}

#[test]
fn a_caller_that_asks_for_what_it_holds_is_refused() {
    let mut world = World::new();
    world.hold(&caller(&["a"]));
    let refusal = world.refused(&trying(caller(&["a"])));
    assert_eq!(refusal, AcquireError::Held(name("a")));
}

#[test]
fn the_end_of_a_transaction_releases_its_grants_and_ends_its_waits() {
    let mut world = World::new();
    let own = transaction();
    world.hold(&request(own, &["a"]));
    world.hold(&request(own, &["b"]));
    world.hold(&single(&["c"]));
    let waiting = request(own, &["c"]);
    world.wait(&waiting);
    let next = single(&["a", "b"]);
    world.wait(&next);
    world.end(own);
    let told = world.told();
    assert_eq!(told[0], Effect::Cancelled(waiting.id));
    assert!(matches!(&told[1..], [Effect::Granted(id, _)] if *id == next.id));
    world.end(own);
    assert_eq!(world.effects, []);
}

#[test]
fn a_forced_release_takes_every_grant_of_the_lock_and_hands_it_over() {
    let mut world = World::new();
    let holders = [&["a", "b"], &["c", "a"]].map(|it| shared(single(it)));
    let tokens = holders.each_ref().map(|it| world.hold(it));
    let waiter = single(&["b", "c"]);
    world.wait(&waiter);
    let taken = world.force("a");
    let expected = |names: [&str; 2], token| Taken {
        names: names.map(name).to_vec(),
        token,
        party: Party::node("test"),
    };
    let [one, two] = tokens;
    assert_eq!(
        taken,
        [expected(["a", "b"], one), expected(["c", "a"], two)]
    );
    assert_eq!(world.served(), [waiter.id]);
    assert_eq!(world.release(&holders[0]), Released::Already);
    assert_eq!(world.force("a"), []);
}
