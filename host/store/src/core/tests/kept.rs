//! What is written down, and what comes back.

use super::*;

fn of(request: &Acquire, token: Token) -> CallerGrant {
    let life = match request.holder {
        Holder::Session(id) => Life::Session(id),
        _ => Life::Lease(request.lease.unwrap()),
    };
    CallerGrant {
        id: request.id,
        repeatable: request.repeatable,
        names: request.names.clone(),
        mode: request.mode,
        token,
        life,
        party: request.party.clone(),
    }
}

#[test]
fn grants_of_callers_and_sessions_are_kept_and_those_of_transactions_are_not() {
    let mut world = World::new();
    let opened = session(&Principal::node());
    let (now, effects) = (world.now, &mut world.effects);
    world
        .core
        .open_session(opened.clone(), now, effects)
        .unwrap();
    assert_eq!(world.written(), [Effect::KeepSession(opened.clone())]);
    let a = of_owner("me", caller(&["a"]));
    let b = shared(request(Holder::Session(opened.id), &["b"]));
    for ask in [&a, &b] {
        let token = world.hold(ask);
        assert_eq!(world.written(), [Effect::Keep(of(ask, token))]);
    }
    world.release(&a);
    world.close(opened.id);
    let struck = [
        Effect::Forget(a.id),
        Effect::Forget(b.id),
        Effect::ForgetSession(opened.id),
    ];
    assert_eq!(world.written(), struck);

    let leased = Acquire {
        lease: Some(SECOND),
        ..single(&["a"])
    };
    world.hold(&leased);
    world.pass(SECOND);
    world.tick();
    assert_eq!(world.written(), []);
}

#[test]
fn only_a_lease_that_is_longer_than_what_is_written_down_is_written_again() {
    let mut world = World::new();
    let ask = caller(&["a"]);
    let token = world.hold(&ask);
    world.written();
    world.renew(&ask, Some(LEASE / 2)).unwrap();
    world.renew(&ask, None).unwrap();
    assert_eq!(world.written(), []);
    world.renew(&ask, Some(2 * LEASE)).unwrap();
    let longer = Acquire {
        lease: Some(2 * LEASE),
        ..ask
    };
    assert_eq!(world.written(), [Effect::Keep(of(&longer, token))]);
}

#[test]
fn a_hand_over_is_kept_before_it_is_told() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    let waiter = caller(&["a"]);
    world.wait(&waiter);
    world.effects.clear();
    world.release(&holder);
    let keeps = |it: &Effect| matches!(it, Effect::Keep(grant) if grant.id == waiter.id);
    let tells = |it: &Effect| matches!(it, Effect::Granted(id, _) if *id == waiter.id);
    let kept = world.effects.iter().position(keeps).unwrap();
    assert!(kept < world.effects.iter().position(tells).unwrap());
}

#[test]
fn an_id_is_remembered_only_if_it_may_be_asked_again() {
    let mut world = World::new();
    let (once, often) = (caller(&["a"]), repeatable(caller(&["b"])));
    for ask in [&once, &often] {
        world.hold(ask);
    }
    world.written();
    world.release(&once);
    world.release(&often);
    let expected = [
        Effect::Forget(once.id),
        Effect::Forget(often.id),
        Effect::Remember(often.id, Ended::WasGranted),
    ];
    assert_eq!(world.written(), expected);
}

#[test]
fn a_space_comes_back_as_it_was_written_down() {
    let opened = session(&Principal::node());
    let a = repeatable(caller(&["a"]));
    let b = shared(request(Holder::Session(opened.id), &["b"]));
    let also = shared(of_owner("me", caller(&["b"])));
    let (ended, cancelled) = (GrantId::mint(), GrantId::mint());
    let now = Time::from_micros(5_000_000);
    let written = Written {
        high_water: 100,
        sessions: vec![opened.clone()],
        grants: vec![of(&a, 7), of(&b, 8), of(&also, 9)],
        ended: vec![
            (Time::from_micros(1), ended, Ended::WasGranted),
            (Time::from_micros(2), cancelled, Ended::NeverGranted),
        ],
    };
    let mut world = World::new();
    world.now = now;
    world.core = Core::restore(Limits::default(), written, now, &mut world.effects);
    assert_eq!(world.effects, []);
    assert_sound(&world.core);

    // Grants have their full lease, sessions their grace, ended ids are known.
    let again = world.granted(&a);
    assert_eq!(again.tokens, [(name("a"), 7)]);
    assert_eq!(again.remaining, Some(LEASE));
    let lock = world.look("b");
    let tokens: Vec<_> = lock.holders.iter().map(|it| it.token).collect();
    assert_eq!((lock.mode, tokens), (Some(Mode::Shared), vec![8, 9]));
    assert_eq!(lock.holders[1].party.owner.as_deref(), Some("me"));
    assert_eq!(world.renew(&b, None), Ok(Some(GRACE)));
    for (id, how, found) in [
        (ended, AcquireError::Lost, Cancelled::Granted),
        (cancelled, AcquireError::Cancelled, Cancelled::Cancelled),
    ] {
        let late = Acquire {
            id,
            ..repeatable(caller(&["z"]))
        };
        assert_eq!(world.refused(&late), how);
        assert_eq!(world.cancel(&late), found);
    }

    // Tokens go on above the mark, and are asked for.
    assert_eq!(world.core.token_limit(), 100);
    let first = world.core.first_reservation(now);
    world.core.reserved(first);
    assert!(world.hold(&caller(&["c"])) > 100);
    world.pass(GRACE);
    assert_eq!(world.look("b").holding, 0);
    assert_eq!(world.core.statistics().held, 0);
}

#[test]
fn what_cannot_have_been_held_together_is_struck_out() {
    let gone = SessionId::mint();
    let high = repeatable(caller(&["b", "c"]));
    let low = repeatable(caller(&["a", "b"]));
    let reader = shared(caller(&["c"]));
    let orphan = request(Holder::Session(gone), &["d"]);
    let written = Written {
        high_water: 10,
        grants: vec![of(&low, 3), of(&orphan, 6), of(&high, 5), of(&reader, 4)],
        ..Written::default()
    };
    let mut world = World::new();
    world.core = Core::restore(Limits::default(), written, world.now, &mut world.effects);
    let lost = world.effects.iter().filter_map(|it| match it {
        Effect::StruckOut(it) => Some(it.token),
        _ => None,
    });
    assert_eq!(lost.collect::<Vec<_>>(), [6, 4, 3], "the higher token wins");
    let struck = [
        Effect::Forget(orphan.id),
        Effect::Forget(reader.id),
        Effect::Forget(low.id),
        Effect::Remember(low.id, Ended::WasGranted),
    ];
    assert_eq!(world.written(), struck);
    assert_eq!(world.look("c").holders[0].token, 5);
    assert!(!world.is_held("a") && !world.is_held("d"));
    assert_eq!(world.refused(&low), AcquireError::Lost);
}
