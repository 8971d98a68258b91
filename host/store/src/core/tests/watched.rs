//! What watchers are told, and what is counted.

use super::*;

#[test]
fn every_grant_and_every_wait_is_told_from_its_beginning_to_its_end() {
    use EventKind::{Expired, Forced, Granted, Left, Queued, Released};
    let mut world = World::new();
    let id = world.open();
    let holder = labelled("holder", caller(&["a", "b"]));
    let next = labelled("next", request(Holder::Session(id), &["a"]));
    let last = labelled("last", waiting(SECOND, caller(&["a"])));
    let token = world.hold(&holder);
    world.wait(&next);
    world.wait(&last);
    world.pass(SECOND);
    world.tick();
    world.release(&holder);
    world.force("a");
    world.hold(&labelled("leased", caller(&["a"])));
    world.pass(LEASE);
    world.tick();
    let events = world.events();
    let told: Vec<_> = events
        .iter()
        .map(|it| (it.kind, it.party.label.to_string()))
        .collect();
    let expected = [
        (Granted, "holder"),
        (Queued, "next"),
        (Queued, "last"),
        (Left, "last"),
        (Released, "holder"),
        (Granted, "next"),
        (Forced, "next"),
        (Granted, "leased"),
        (Expired, "leased"),
    ];
    assert_eq!(told, expected.map(|it| (it.0, it.1.to_owned())));
    assert_eq!(events[0].names, [name("a"), name("b")]);
    assert_eq!(events[0].token, token);
    assert_eq!((events[1].token, events[3].token), (0, 0));
    assert_eq!(events[4].token, token);
    let revisions: Vec<_> = events.iter().map(|it| it.revision).collect();
    let first = revisions[0];
    assert!(first > 1_000_000, "it begins at the store's time");
    assert_eq!(revisions, (first..first + 9).collect::<Vec<_>>());
    assert_eq!(world.core.revision(), first + 8);
}

#[test]
fn views_refusals_and_cycles_are_no_events() {
    let mut world = World::new();
    let own = transaction();
    world.hold(&request(own, &["a"]));
    world.hold(&of_owner("x", caller(&["b"])));
    world.events();
    world.granted(&request(own, &["a"]));
    world.refused(&trying(single(&["a"])));
    world.cycle(&of_owner("x", caller(&["b"])));
    assert_eq!(world.events(), []);
}

#[test]
fn what_happens_is_counted() {
    let mut world = World::new();
    let holder = caller(&["a"]);
    world.hold(&holder);
    world.refused(&trying(single(&["a"])));
    let waiters = [(); 3].map(|()| caller(&["a"]));
    world.wait_all(&waiters);
    world.cancel(&waiters[1]);
    let short = waiting(SECOND, single(&["a"]));
    world.wait(&short);
    world.pass(SECOND);
    world.release(&holder);
    world.open();
    let counted = world.core.statistics();
    assert_eq!((counted.held, counted.waiting, counted.sessions), (1, 1, 1));
    assert_eq!((counted.granted, counted.released), (2, 1));
    assert_eq!((counted.contended, counted.refused), (5, 1));
    assert_eq!((counted.timed_out, counted.cancelled), (1, 1));
    assert_eq!((counted.wait.count(), counted.wait.sum), (1, SECOND));
    assert_eq!((counted.hold.count(), counted.hold.sum), (1, SECOND));
    world.force("a");
    world.force("a");
    assert_eq!(world.core.statistics().forced, 2);
}

#[test]
fn a_commit_that_lost_its_lock_is_counted_apart_from_one_that_never_had_it() {
    use crate::contract::{guarded, guarding, put};
    let mut world = World::new();
    let id = TransactionId::mint();
    let ask = request(Holder::Transaction(id), &["order/1"]);
    let mut commit = Commit {
        id: crate::id::CommitId::mint(world.now),
        transaction: id,
        began: Time::default(),
        guards: vec![],
        reads: vec![],
        ranges: vec![],
        writes: vec![put(&guarded(), "1", "new")],
    };
    let current = check::Current {
        writes: vec![1],
        ..check::Current::default()
    };
    let refusal = world
        .core
        .check(&commit, &current, world.now, &mut world.effects);
    assert!(matches!(refusal, Err(CommitError::Unguarded { .. })));
    let reader = shared(ask.clone());
    world.hold(&reader);
    commit.guards = vec![guarding(&reader)];
    let refusal = world
        .core
        .check(&commit, &current, world.now, &mut world.effects);
    assert!(
        matches!(refusal, Err(CommitError::Unguarded { .. })),
        "it only reads"
    );
    world.force("order/1");
    let refusal = world
        .core
        .check(&commit, &current, world.now, &mut world.effects);
    assert!(matches!(refusal, Err(CommitError::Fenced { .. })));
    let counted = world.core.statistics();
    assert_eq!((counted.unguarded, counted.fenced), (2, 1));
}

#[test]
fn a_lock_shows_its_first_hundred_holders_and_waiters_and_how_many_there_are() {
    let mut world = World::new();
    let readers: Vec<_> = (0..150).map(|_| shared(single(&["a"]))).collect();
    world.hold_all(&readers);
    let waiters: Vec<_> = (0..150u32)
        .map(|it| {
            let ask = single(&["a"]);
            labelled(&it.to_string(), if it % 2 == 0 { ask } else { shared(ask) })
        })
        .collect();
    world.wait_all(&waiters);
    let lock = world.look("a");
    assert_eq!((lock.holding, lock.waiting), (150, 150));
    assert_eq!(lock.holders.len(), SHOWN_MAX);
    let shown: Vec<_> = lock
        .waiters
        .iter()
        .map(|it| it.party.label.to_string())
        .collect();
    let first: Vec<_> = (0..100).map(|it| it.to_string()).collect();
    assert_eq!(shown, first, "in the order they are served");
    assert_eq!(lock.waiters[1].mode, Mode::Shared);
}
