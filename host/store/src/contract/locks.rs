//! What every store promises of locks. How the core does it, edge by edge, is
//! tested there; here it is seen through the store, with those who wait.

use super::*;
use crate::store::{Grant, Lock, LockHolder, LockWaiter, RenewError, Taken};

contract!(
    Narrow:
    a_lock_is_held_until_it_is_released,
    a_held_lock_is_refused_without_a_wait,
    a_wait_ends_with_a_hand_over_in_the_order_of_arrival,
    a_wait_ends_when_it_runs_out,
    a_wait_ends_when_it_is_released,
    a_wait_ends_with_its_transaction,
    a_wait_that_nobody_awaits_any_more_is_cancelled,
    a_grant_that_nobody_awaited_is_given_back,
    an_acquire_that_was_never_polled_is_nothing,
    all_names_are_acquired_or_none,
    nobody_overtakes_a_waiter,
    a_transaction_gets_views_of_what_it_holds,
    a_caller_gets_none_of_what_it_holds,
    a_lease_runs_out_and_the_next_is_served,
    a_renewed_grant_lasts,
    the_end_of_a_transaction_frees_its_locks,
    a_forced_release_is_told_to_nobody_but_shows,
    a_lock_is_taken_away_with_all_its_names_or_not_at_all,
    a_lock_shows_its_holder_and_its_waiters,
    a_grant_says_since_when_and_how_long_it_was_waited_for,
    what_happens_is_counted,
);

in_a_cluster!(Narrow: a_wait_ends_with_a_hand_over_in_the_order_of_arrival, all_names_are_acquired_or_none);

fn transaction() -> TransactionId {
    TransactionId::mint()
}

async fn a_lock_is_held_until_it_is_released(world: Arc<World>) {
    for request in [
        of(transaction(), &["a", "b", "a"]),
        of_caller(&["a", "b", "a"]),
    ] {
        let granted = world.hold(&request).await;
        assert_eq!(granted.acquired, [name("a"), name("b")]);
        let names: Vec<_> = granted.tokens.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(world.holder("a").await, Some(granted.tokens[0].1));
        let release = || world.release(&request);
        assert_eq!(release().await, Ok(Released::Released));
        assert_eq!(world.holder("a").await, None);
        // A second one harms nobody.
        let next = of(transaction(), &["a"]);
        let token = world.hold(&next).await.tokens[0].1;
        assert!(token > granted.tokens[0].1);
        assert_eq!(release().await, Ok(Released::Already));
        assert_eq!(world.holder("a").await, Some(token));
        world.release(&next).await.unwrap();
    }
}

async fn a_held_lock_is_refused_without_a_wait(world: Arc<World>) {
    world.hold(&of(transaction(), &["b"])).await;
    for request in [of(transaction(), &["a", "b"]), of_caller(&["a", "b"])] {
        assert_eq!(world.refusal(&request).await, AcquireError::Held(name("b")));
    }
    assert_eq!(world.holder("a").await, None);
}

async fn a_wait_ends_with_a_hand_over_in_the_order_of_arrival(world: Arc<World>) {
    let mut holder = of(transaction(), &["a"]);
    let mut token = world.hold(&holder).await.tokens[0].1;
    let requests = [
        waiting(SECOND, of(transaction(), &["a"])),
        waiting(SECOND, of_caller(&["a"])),
        waiting(SECOND, of(transaction(), &["a"])),
    ];
    let mut queued = Vec::new();
    for request in &requests {
        queued.push(world.queue(request).await);
    }
    for (request, next) in requests.into_iter().zip(queued) {
        world.release(&holder).await.unwrap();
        let granted = next.await.unwrap();
        assert!(granted.tokens[0].1 > token);
        token = granted.tokens[0].1;
        assert_eq!(world.holder("a").await, Some(token));
        holder = request;
    }
}

async fn a_wait_ends_when_it_runs_out(world: Arc<World>) {
    world.hold(&of(transaction(), &["a"])).await;
    let request = waiting(SECOND, of(transaction(), &["a"]));
    let mut queued = world.queue(&request).await;
    world.clock.advance(SECOND - Duration::from_micros(1));
    assert!(poll_once(&mut queued).await.is_none());
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(queued.await, Err(AcquireError::TimedOut));
    assert_eq!(world.release(&request).await, Ok(Released::Already));
}

async fn a_wait_ends_when_it_is_released(world: Arc<World>) {
    world.hold(&of(transaction(), &["a"])).await;
    let request = waiting(SECOND, of(transaction(), &["a"]));
    let queued = world.queue(&request).await;
    assert_eq!(world.release(&request).await, Ok(Released::Released));
    assert_eq!(queued.await, Err(AcquireError::Cancelled));
}

async fn a_wait_ends_with_its_transaction(world: Arc<World>) {
    world.hold(&of(transaction(), &["a"])).await;
    let own = transaction();
    let queued = world.queue(&waiting(SECOND, of(own, &["a"]))).await;
    world.store.end(own);
    assert_eq!(queued.await, Err(AcquireError::Cancelled));
}

async fn a_wait_that_nobody_awaits_any_more_is_cancelled(world: Arc<World>) {
    let holder = of(transaction(), &["a"]);
    world.hold(&holder).await;
    for request in [of(transaction(), &["a", "b"]), of_caller(&["a", "b"])] {
        drop(world.queue(&waiting(SECOND, request)).await);
        let lock = world.store.lock(name("a")).await.unwrap();
        assert_eq!(lock.waiting, 0);
        // Whom it kept away is let through.
        let next = of(transaction(), &["b"]);
        world.hold(&next).await;
        world.release(&next).await.unwrap();
    }
}

async fn a_grant_that_nobody_awaited_is_given_back(world: Arc<World>) {
    for request in [of(transaction(), &["a"]), of_caller(&["a"])] {
        let holder = of(transaction(), &["a"]);
        world.hold(&holder).await;
        let queued = world.queue(&waiting(SECOND, request)).await;
        // It wins the race, and its answer is dropped unread.
        world.release(&holder).await.unwrap();
        drop(queued);
        world.is_freed("a").await;
    }
}

async fn an_acquire_that_was_never_polled_is_nothing(world: Arc<World>) {
    drop(world.store.acquire(of(transaction(), &["a"])));
    assert_eq!(world.holder("a").await, None);
}

async fn all_names_are_acquired_or_none(world: Arc<World>) {
    let (one, two) = (of(transaction(), &["a"]), of(transaction(), &["b"]));
    world.hold(&one).await;
    world.hold(&two).await;
    let mut both = world
        .queue(&waiting(SECOND, of(transaction(), &["a", "b"])))
        .await;
    world.release(&one).await.unwrap();
    assert!(poll_once(&mut both).await.is_none());
    assert_eq!(world.holder("a").await, None, "kept for it, not held");
    world.release(&two).await.unwrap();
    let granted = both.await.unwrap();
    assert_eq!(granted.acquired.len(), 2);
    assert_eq!(world.holder("a").await, world.holder("b").await);
}

async fn nobody_overtakes_a_waiter(world: Arc<World>) {
    let holder = of(transaction(), &["a"]);
    world.hold(&holder).await;
    let both = world
        .queue(&waiting(SECOND, of(transaction(), &["a", "b"])))
        .await;
    let refusal = world.refusal(&of(transaction(), &["b"])).await;
    assert_eq!(refusal, AcquireError::Held(name("b")), "not even a try");
    let mut behind = world
        .queue(&waiting(SECOND, of(transaction(), &["b"])))
        .await;
    world.release(&holder).await.unwrap();
    assert!(both.await.is_ok());
    assert!(poll_once(&mut behind).await.is_none());
}

async fn a_transaction_gets_views_of_what_it_holds(world: Arc<World>) {
    let own = transaction();
    let first = of(own, &["a"]);
    let token = world.hold(&first).await.tokens[0].1;
    let view = of(own, &["a"]);
    let granted = world.hold(&view).await;
    assert_eq!(granted.tokens, [(name("a"), token)]);
    assert_eq!(granted.acquired, []);
    assert_eq!(world.release(&view).await, Ok(Released::Already));

    let both = world.hold(&of(own, &["b", "a"])).await;
    assert_eq!(both.acquired, [name("b")]);
    assert_eq!(both.tokens[1], (name("a"), token));
    assert!(both.tokens[0].1 > token);
}

async fn a_caller_gets_none_of_what_it_holds(world: Arc<World>) {
    world.hold(&of_caller(&["a"])).await;
    let refusal = world.refusal(&of_caller(&["a"])).await;
    assert_eq!(refusal, AcquireError::Held(name("a")));
}

async fn a_lease_runs_out_and_the_next_is_served(world: Arc<World>) {
    let leased = Acquire {
        lease: Some(10 * SECOND),
        ..of(transaction(), &["a"])
    };
    for holder in [leased, of_caller(&["a"])] {
        let token = world.hold(&holder).await.tokens[0].1;
        let next = waiting(60 * SECOND, of(transaction(), &["a"]));
        let mut queued = world.queue(&next).await;
        world.clock.advance(10 * SECOND - Duration::from_micros(1));
        assert!(poll_once(&mut queued).await.is_none());
        world.clock.advance(Duration::from_micros(1));
        assert!(queued.await.unwrap().tokens[0].1 > token);
        let renewal = renew(&world, &holder, SECOND).await;
        assert_eq!(renewal, Err(RenewError::Lost), "never revives");
        assert_eq!(world.release(&holder).await, Ok(Released::Already));
        world.release(&next).await.unwrap();
    }
}

async fn a_renewed_grant_lasts(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    let token = world.hold(&holder).await.tokens[0].1;
    let since = world.store.now();
    let remaining = async |lease| renew(&world, &holder, lease).await.unwrap().remaining;
    assert_eq!(remaining(SECOND).await, Some(10 * SECOND), "never shortens");
    assert_eq!(remaining(20 * SECOND).await, Some(20 * SECOND));
    world.clock.advance(19 * SECOND);
    assert_eq!(remaining(SECOND).await, Some(SECOND), "the longer of both");
    // Without a lease it is the longest it was given.
    let principal = holder.party.principal.clone();
    let renewed = world.store.renew(holder.id, principal, None).await.unwrap();
    let expected = Grant {
        names: holder.names.clone(),
        mode: Mode::Exclusive,
        token,
        since,
        remaining: Some(20 * SECOND),
        party: holder.party.clone(),
    };
    assert_eq!(renewed, expected);

    let unleased = of(transaction(), &["b"]);
    world.hold(&unleased).await;
    let renewal = renew(&world, &unleased, SECOND).await;
    assert_eq!(renewal.unwrap().remaining, None);
    let unknown = renew(&world, &of_caller(&["b"]), SECOND).await;
    assert_eq!(unknown, Err(RenewError::Lost));
}

async fn the_end_of_a_transaction_frees_its_locks(world: Arc<World>) {
    let own = transaction();
    world.hold(&of(own, &["a"])).await;
    world.hold(&of(own, &["b"])).await;
    let next = world
        .queue(&waiting(SECOND, of(transaction(), &["a", "b"])))
        .await;
    world.store.end(own);
    world.store.end(own);
    assert!(next.await.is_ok());
}

async fn a_forced_release_is_told_to_nobody_but_shows(world: Arc<World>) {
    for holder in [of(transaction(), &["a", "b"]), of_caller(&["a", "b"])] {
        let token = world.hold(&holder).await.tokens[0].1;
        let operator = Principal::new("an operator");
        let force = async || {
            let (by, all) = (operator.clone(), Permission::all());
            (world.store)
                .force_release(name("b"), by, all, "why".to_owned())
                .await
        };
        let taken = Taken {
            names: holder.names.clone(),
            token,
            party: holder.party.clone(),
        };
        assert_eq!(force().await, Ok(vec![taken]));
        assert_eq!(world.holder("a").await, None);
        assert_eq!(force().await, Ok(vec![]));
        let renewal = renew(&world, &holder, SECOND).await;
        assert_eq!(renewal, Err(RenewError::Lost));
    }
}

async fn a_lock_is_taken_away_with_all_its_names_or_not_at_all(world: Arc<World>) {
    let of = |patterns: &[&str]| {
        let patterns = patterns.iter().map(|it| LockPattern::parse(it).unwrap());
        Permission::of(patterns.collect())
    };
    let force = async |permission| {
        let by = Principal::new("an operator");
        let answer = (world.store).force_release(name("a/1"), by, permission, String::new());
        answer.await
    };
    let narrow = in_mode(Mode::Shared, of_caller(&["a/1"]));
    let wide = in_mode(Mode::Shared, of_caller(&["a/1", "b/1"]));
    let mut tokens = Vec::new();
    for holder in [&narrow, &wide] {
        tokens.push(world.hold(holder).await.tokens[0].1);
    }
    let mut next = world.queue(&waiting(SECOND, of_caller(&["b/1"]))).await;
    for permission in [of(&["a/*"]), of(&["b/**"]), of(&[])] {
        assert_eq!(force(permission).await, Err(ForceError::NotPermitted));
        assert_eq!(world.holders("a/1").await, tokens, "nobody has lost it");
        assert!(renew(&world, &narrow, SECOND).await.is_ok());
        assert!(poll_once(&mut next).await.is_none());
    }
    let taken = force(of(&["a/1", "b/*"])).await.unwrap();
    assert_eq!(taken.iter().map(|it| it.token).collect::<Vec<_>>(), tokens);
    assert!(next.await.is_ok());
    assert_eq!(force(of(&[])).await, Ok(vec![]), "nobody has anything");
}

async fn a_lock_shows_its_holder_and_its_waiters(world: Arc<World>) {
    let idle = world.store.lock(name("a")).await.unwrap();
    let nobody = Lock {
        name: name("a"),
        mode: None,
        holders: vec![],
        holding: 0,
        waiters: vec![],
        waiting: 0,
    };
    assert_eq!(idle, nobody);
    let request = of_caller(&["a"]);
    let granted = world.hold(&request).await;
    let waiter = waiting(SECOND, of(transaction(), &["a"]));
    let _queued = world.queue(&waiter).await;
    world.clock.advance(SECOND / 4);
    let expected = Lock {
        mode: Some(Mode::Exclusive),
        holders: vec![LockHolder {
            grant: request.id,
            token: granted.tokens[0].1,
            party: request.party,
            holder: Holder::Caller,
            since: granted.since,
            remaining: Some(10 * SECOND - SECOND / 4),
            held_for: SECOND / 4,
        }],
        holding: 1,
        waiters: vec![LockWaiter {
            party: waiter.party,
            mode: Mode::Exclusive,
            waited: SECOND / 4,
            remaining: SECOND * 3 / 4,
        }],
        waiting: 1,
        ..nobody
    };
    assert_eq!(world.store.lock(name("a")).await, Ok(expected));
}

async fn a_grant_says_since_when_and_how_long_it_was_waited_for(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    let at_once = world.hold(&holder).await;
    assert_eq!(
        (at_once.since, at_once.waited),
        (world.store.now(), NO_WAIT)
    );
    assert_eq!(at_once.remaining, Some(10 * SECOND));
    let next = waiting(5 * SECOND, of(transaction(), &["a"]));
    let queued = world.queue(&next).await;
    world.clock.advance(SECOND);
    world.release(&holder).await.unwrap();
    let waited = queued.await.unwrap();
    assert_eq!((waited.since, waited.waited), (world.store.now(), SECOND));
    assert_eq!(waited.remaining, None);
}

async fn what_happens_is_counted(world: Arc<World>) {
    let holder = of_caller(&["a"]);
    world.hold(&holder).await;
    world.refusal(&of_caller(&["a"])).await;
    let next = waiting(SECOND, of(transaction(), &["a"]));
    let queued = world.queue(&next).await;
    let now = world.store.statistics();
    assert_eq!((now.held, now.waiting, now.granted), (1, 1, 1));
    assert_eq!((now.contended, now.refused), (2, 1));
    world.clock.advance(SECOND / 2);
    world.release(&holder).await.unwrap();
    queued.await.unwrap();
    let now = world.store.statistics();
    assert_eq!((now.held, now.waiting, now.granted), (1, 0, 2));
    assert_eq!((now.released, now.hold.count()), (1, 1));
    assert_eq!(now.wait.sum, SECOND / 2);
}

async fn renew(world: &World, request: &Acquire, lease: Duration) -> Result<Grant, RenewError> {
    let principal = request.party.principal.clone();
    let renewal = world.store.renew(request.id, principal, Some(lease));
    renewal.await
}
