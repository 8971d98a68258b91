//! What is not allowed, and what is too much.

use super::*;

#[test]
fn what_is_not_allowed_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let id = world.open();
    let many: Vec<LockName> = (0..65).map(|it| name(&format!("n{it}"))).collect();
    let good = single(&["a"]);
    let named = |names| Acquire {
        names,
        ..good.clone()
    };
    let leased = |lease| Acquire {
        lease,
        ..good.clone()
    };
    for (wrong, field) in [
        (named(vec![]), Field::Names),
        (named(many.clone()), Field::Names),
        (
            labelled(&"x".repeat(LABEL_BYTES_MAX + 1), good.clone()),
            Field::Label,
        ),
        (
            of_owner(&"x".repeat(OWNER_BYTES_MAX + 1), good.clone()),
            Field::Owner,
        ),
        (waiting(WAIT_MAX + MICRO, good.clone()), Field::Wait),
        (leased(Some(LEASE_MIN - MICRO)), Field::Lease),
        (leased(Some(LEASE_MAX + MICRO)), Field::Lease),
        (
            Acquire {
                lease: None,
                ..caller(&["a"])
            },
            Field::Lease,
        ),
        (
            Acquire {
                lease: Some(SECOND),
                ..request(Holder::Session(id), &["a"])
            },
            Field::Lease,
        ),
    ] {
        assert_eq!(world.invalid(&wrong), field, "{wrong:?}");
    }
    assert!(!world.is_held("a"));
    world.hold(&Acquire {
        names: [&many[..64], &many[..64]].concat(),
        ..good
    });
}

#[test]
fn a_lock_takes_so_many_waiters() {
    let mut world = World::with(Limits {
        waiters_per_lock: 2,
        ..Limits::default()
    });
    world.hold(&single(&["a"]));
    (0..2).for_each(|_| world.wait(&single(&["a", "b"])));
    for names in [&["a"][..], &["b"], &["c", "b"]] {
        assert!(world.is_over_quota(&single(names)));
    }
    assert_eq!(world.count("b"), (0, 2));
    assert_eq!(world.core.statistics().over_quota, 3);
}

#[test]
fn a_lock_takes_so_many_readers_those_that_wait_included() {
    let mut world = World::with(Limits {
        holders_per_lock: 3,
        ..Limits::default()
    });
    world.hold(&shared(single(&["a"])));
    world.hold(&shared(single(&["a"])));
    let writer = single(&["a"]);
    world.wait(&writer);
    let reader = shared(single(&["a"]));
    world.wait(&reader);
    assert!(world.is_over_quota(&shared(single(&["a"]))));
    world.release(&writer);
    assert_eq!(world.served(), [reader.id]);
    assert_eq!(world.count("a"), (3, 0));
    assert!(world.is_over_quota(&shared(single(&["a"]))));
    assert!(world.is_over_quota(&permits(4, single(&["b"]))));
    world.hold(&permits(3, single(&["b"])));
}

#[test]
fn a_principal_has_so_many_locks_those_it_waits_for_included() {
    let mut world = World::with(Limits {
        locks_per_principal: 2,
        ..Limits::default()
    });
    let anna = |names: &[&str]| of_principal("anna", caller(names));
    let first = anna(&["a"]);
    world.hold(&first);
    world.wait(&anna(&["a"]));
    assert!(world.is_over_quota(&anna(&["b"])));
    assert!(world.is_over_quota(&anna(&["a"])));
    world.hold(&of_principal("ben", caller(&["b"])));
    // Transactions are not counted, whoever they are for.
    for it in 0..5 {
        world.hold(&of_principal("anna", single(&[&format!("t{it}")])));
    }
    world.release(&first);
    world.hold(&anna(&["c"]));
    assert!(world.is_over_quota(&anna(&["d"])));
}

#[test]
fn a_grant_counts_once_for_each_of_its_names() {
    let mut world = World::with(Limits {
        locks_per_principal: 3,
        ..Limits::default()
    });
    let anna = |names: &[&str]| of_principal("anna", caller(names));
    assert!(world.is_over_quota(&anna(&["a", "b", "c", "d"])));
    let first = anna(&["a", "b"]);
    world.hold(&first);
    assert!(world.is_over_quota(&anna(&["c", "d"])));
    // Names that are waited for count from the start, and are served as such.
    let waiter = anna(&["a"]);
    world.wait(&waiter);
    assert!(world.is_over_quota(&anna(&["c"])));
    world.release(&first);
    assert_eq!(world.served(), [waiter.id]);
    assert!(world.is_over_quota(&anna(&["b", "c", "d"])));
    world.hold(&anna(&["b", "c"]));
    assert!(world.is_over_quota(&anna(&["d"])));
}

#[test]
fn a_session_has_so_many_grants_those_it_waits_for_included() {
    let mut world = World::with(Limits {
        grants_per_session: 2,
        ..Limits::default()
    });
    let (first, second) = (world.open(), world.open());
    let of = |id, names: &[&str]| request(Holder::Session(id), names);
    world.hold(&single(&["a"]));
    let waiter = of(first, &["a"]);
    world.wait(&waiter);
    world.hold(&of(first, &["b"]));
    assert!(world.is_over_quota(&of(first, &["c"])));
    assert!(world.is_over_quota(&of(first, &["a"])));
    world.hold(&of(second, &["c"]));
    world.release(&waiter);
    world.hold(&of(first, &["d"]));
    assert!(world.is_over_quota(&of(first, &["e"])));
    assert_eq!(world.core.statistics().over_quota, 3);
}

/// Cancels what was never seen; whether that was allowed.
fn cancels_unseen(world: &mut World, principal: &str) -> bool {
    let by = Principal::new(principal);
    let (now, effects) = (world.now, &mut world.effects);
    let cancelled = world.core.cancel(GrantId::mint(), &by, now, effects);
    match cancelled {
        Ok(found) => found == Cancelled::Cancelled,
        Err(error) => {
            assert!(matches!(error, ReleaseError::Quota(_)), "{error:?}");
            false
        }
    }
}

#[test]
fn a_principal_makes_nobody_forget_by_cancelling_what_was_not_seen() {
    let mut world = World::with(Limits {
        cancels_per_principal: 3,
        ended: 5,
        ..Limits::default()
    });
    let ended = repeatable(caller(&["a"]));
    world.hold(&ended);
    world.release(&ended);
    for allowed in [true, true, true, false, false] {
        assert_eq!(cancels_unseen(&mut world, "anna"), allowed);
    }
    assert_eq!(world.core.ended.len(), 4);
    assert_eq!(world.refused(&ended), AcquireError::Lost);
    assert_eq!(world.core.statistics().over_quota, 2);
    // What ends otherwise is not counted, nor what others cancel.
    let held = of_principal("anna", repeatable(caller(&["a"])));
    world.hold(&held);
    assert_eq!(world.cancel(&held), Cancelled::Granted);
    assert!(!cancels_unseen(&mut world, "anna"));
    // Two of hers are forgotten: for want of room the oldest go first.
    (0..3).for_each(|_| assert!(cancels_unseen(&mut world, "ben")));
    assert!(cancels_unseen(&mut world, "anna"));
    // And all when their time is over.
    world.pass(MEMORY + MICRO);
    for allowed in [true, true, true, false] {
        assert_eq!(cancels_unseen(&mut world, "anna"), allowed);
    }
}

#[test]
fn a_principal_has_so_many_requests_that_wait() {
    let mut world = World::with(Limits {
        waiters_per_principal: 2,
        ..Limits::default()
    });
    world.hold(&single(&["a"]));
    let anna = || of_principal("anna", caller(&["a"]));
    let first = anna();
    world.wait(&first);
    world.wait(&anna());
    assert!(world.is_over_quota(&anna()));
    world.wait(&of_principal("ben", caller(&["a"])));
    world.wait(&of_principal("anna", single(&["a"])));
    world.release(&first);
    world.wait(&anna());
}

#[test]
fn a_principal_has_so_many_sessions() {
    let mut world = World::with(Limits {
        sessions_per_principal: 2,
        ..Limits::default()
    });
    let (first, _) = (world.open(), world.open());
    let (now, effects) = (world.now, &mut world.effects);
    let third = session(&Principal::node());
    let refusal = world.core.open_session(third, now, effects);
    assert!(matches!(refusal, Err(SessionError::Quota(_))));
    let other = session(&Principal::new("anna"));
    assert_eq!(world.core.open_session(other, now, effects), Ok(()));
    world.close(first);
    world.open();
}

#[test]
fn principals_that_have_nothing_are_forgotten() {
    let mut world = World::new();
    for number in 0..1_000 {
        let ask = of_principal(&format!("p{number}"), caller(&["a"]));
        world.hold(&ask);
        world.release(&ask);
    }
    assert!(world.core.table.principals.len() < 100);
    assert!(world.core.table.is_empty());
}
