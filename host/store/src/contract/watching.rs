//! What those who watch are told.

use super::*;
use crate::store::{EventKind, LockEvent, MEMORY, Revision, Watch, WatchQuery, Watched};
use EventKind::{Expired, Forced, Granted, Left, Queued, Released as GivenBack};

contract!(
    Narrow:
    what_happens_to_a_lock_is_told_in_order,
    an_event_tells_whose_grant_of_what_it_is,
    only_what_has_the_prefix_is_told,
    a_watcher_that_comes_back_misses_nothing,
    a_watcher_that_was_away_for_too_long_is_told_of_a_gap,
    a_watcher_that_is_slow_is_told_of_a_gap,
    a_watcher_of_another_life_of_the_store_is_told_of_a_gap,
    what_nobody_watches_is_not_remembered_for_ever,
    a_wait_for_the_next_event_that_is_dropped_misses_nothing,
    what_was_listed_is_no_older_than_the_watch,
    a_watcher_is_told_when_the_store_is_closed,
);

contract!(
    broad, Real:
    every_event_is_told_once_and_in_order_to_each_watcher,
);

fn prefix(prefix: &str) -> WatchQuery {
    WatchQuery {
        prefix: prefix.to_owned(),
        after: None,
    }
}

fn behind(revision: Revision) -> WatchQuery {
    WatchQuery {
        prefix: String::new(),
        after: Some(revision),
    }
}

async fn watch(world: &World, query: WatchQuery) -> Watch {
    world.store.watch(query).await.unwrap()
}

async fn event(watch: &mut Watch) -> Arc<LockEvent> {
    match watch.next().await {
        Some(Watched::Event(event)) => event,
        told => panic!("{told:?}"),
    }
}

/// Takes and frees a lock: two events.
async fn touch(world: &World, text: &str) {
    let request = of(TransactionId::mint(), &[text]);
    world.hold(&request).await;
    world.release(&request).await.unwrap();
}

async fn kinds(watch: &mut Watch, count: usize) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push(event(watch).await.kind);
    }
    kinds
}

async fn what_happens_to_a_lock_is_told_in_order(world: Arc<World>) {
    let mut watch = watch(&world, prefix("")).await;
    let first = of_caller(&["a"]);
    world.hold(&first).await;
    let second = waiting(SECOND, of_caller(&["a"]));
    let queued = world.queue(&second).await;
    world.release(&first).await.unwrap();
    queued.await.unwrap();
    assert_eq!(
        kinds(&mut watch, 4).await,
        [Granted, Queued, GivenBack, Granted]
    );

    let third = world.queue(&waiting(SECOND, of_caller(&["a"]))).await;
    drop(third);
    world.clock.advance(10 * SECOND);
    assert_eq!(kinds(&mut watch, 3).await, [Queued, Left, Expired]);
    let taken = of_caller(&["a"]);
    world.hold(&taken).await;
    let forced = world.store.force_release(
        name("a"),
        Principal::node(),
        Permission::all(),
        "a test".to_owned(),
    );
    forced.await.unwrap();
    assert_eq!(kinds(&mut watch, 2).await, [Granted, Forced]);
}

async fn an_event_tells_whose_grant_of_what_it_is(world: Arc<World>) {
    let mut watch = watch(&world, prefix("")).await;
    let before = watch.revision();
    let request = in_mode(Mode::Shared, of_caller(&["a", "b"]));
    let granted = world.hold(&request).await;
    let event = event(&mut watch).await;
    let expected = LockEvent {
        revision: watch.revision(),
        time: world.store.now(),
        kind: Granted,
        names: request.names,
        mode: Mode::Shared,
        token: granted.tokens[0].1,
        party: caller(),
    };
    assert_eq!(*event, expected);
    assert!(event.revision > before);
}

async fn only_what_has_the_prefix_is_told(world: Arc<World>) {
    let mut watch = watch(&world, prefix("a/")).await;
    for text in ["a", "b", "a/1"] {
        touch(&world, text).await;
    }
    assert_eq!(event(&mut watch).await.names, [name("a/1")]);
    assert_eq!(event(&mut watch).await.kind, GivenBack);
    // Any of its names will do.
    world.hold(&of(TransactionId::mint(), &["b", "a/2"])).await;
    assert_eq!(event(&mut watch).await.names.len(), 2);
    assert!(poll_once(&mut Box::pin(watch.next())).await.is_none());
}

async fn a_watcher_that_comes_back_misses_nothing(world: Arc<World>) {
    let mut first = watch(&world, prefix("")).await;
    touch(&world, "a").await;
    event(&mut first).await;
    let seen = first.revision();
    drop(first);
    touch(&world, "b").await;
    let mut again = watch(&world, behind(seen)).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let event = event(&mut again).await;
        told.push((event.names[0].to_string(), event.kind));
    }
    let expected = [("a", GivenBack), ("b", Granted), ("b", GivenBack)];
    assert_eq!(told, expected.map(|(text, kind)| (text.to_owned(), kind)));
}

async fn a_watcher_that_was_away_for_too_long_is_told_of_a_gap(world: Arc<World>) {
    let first = watch(&world, prefix("")).await;
    let seen = first.revision();
    drop(first);
    for _ in 0..=LIMITS.events / 2 {
        touch(&world, "a").await;
    }
    let mut again = watch(&world, behind(seen)).await;
    let Some(Watched::Gap(missed)) = again.next().await else {
        panic!("no gap");
    };
    assert!(missed > seen);
    assert_eq!(again.revision(), missed);
    for _ in 0..LIMITS.events {
        assert!(event(&mut again).await.revision > missed);
    }
    assert!(poll_once(&mut Box::pin(again.next())).await.is_none());
}

async fn a_watcher_that_is_slow_is_told_of_a_gap(world: Arc<World>) {
    let mut watch = watch(&world, prefix("")).await;
    for round in 0..3 {
        for _ in 0..LIMITS.events {
            touch(&world, "a").await;
        }
        assert!(
            matches!(watch.next().await, Some(Watched::Gap(_))),
            "{round}"
        );
        for _ in 0..LIMITS.events {
            event(&mut watch).await;
        }
    }
}

async fn a_watcher_of_another_life_of_the_store_is_told_of_a_gap(world: Arc<World>) {
    touch(&world, "a").await;
    let now = watch(&world, prefix("")).await.revision();
    for revision in [0, now - 1, now + 1, Revision::MAX] {
        let mut watch = watch(&world, behind(revision)).await;
        assert_eq!(watch.next().await, Some(Watched::Gap(now)), "{revision}");
        assert!(poll_once(&mut Box::pin(watch.next())).await.is_none());
    }
    let mut watch = watch(&world, behind(now)).await;
    assert!(poll_once(&mut Box::pin(watch.next())).await.is_none());
}

async fn what_nobody_watches_is_not_remembered_for_ever(world: Arc<World>) {
    let seen = watch(&world, prefix("")).await.revision();
    touch(&world, "a").await;
    world.clock.advance(MEMORY);
    let mut kept = watch(&world, behind(seen)).await;
    assert_eq!(kinds(&mut kept, 2).await, [Granted, GivenBack]);
    let seen = kept.revision();
    drop(kept);
    touch(&world, "a").await;
    world.clock.advance(MEMORY + SECOND);
    touch(&world, "a").await;
    let mut again = watch(&world, behind(seen)).await;
    assert!(matches!(again.next().await, Some(Watched::Gap(_))));
    touch(&world, "b").await;
    assert_eq!(event(&mut again).await.names, [name("b")]);
}

async fn a_wait_for_the_next_event_that_is_dropped_misses_nothing(world: Arc<World>) {
    let mut watch = watch(&world, prefix("")).await;
    assert!(poll_once(&mut Box::pin(watch.next())).await.is_none());
    touch(&world, "a").await;
    assert_eq!(kinds(&mut watch, 2).await, [Granted, GivenBack]);
}

async fn what_was_listed_is_no_older_than_the_watch(world: Arc<World>) {
    // List, then watch: what happens in between is told.
    let mut watch = watch(&world, prefix("")).await;
    let request = of(TransactionId::mint(), &["a"]);
    let token = world.hold(&request).await.tokens[0].1;
    assert_eq!(world.holder("a").await, Some(token));
    assert_eq!(event(&mut watch).await.token, token);
}

async fn a_watcher_is_told_when_the_store_is_closed(world: Arc<World>) {
    let mut watch = watch(&world, prefix("")).await;
    touch(&world, "a").await;
    let closing = tokio::task::spawn_blocking(move || drop(world));
    kinds(&mut watch, 2).await;
    assert_eq!(watch.next().await, None);
    closing.await.unwrap();
}

async fn every_event_is_told_once_and_in_order_to_each_watcher(world: Arc<World>) {
    const EACH: usize = 500;
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push(watch(&world, prefix("x")).await);
    }
    let watching: Vec<_> = watches
        .into_iter()
        .map(|mut watch| {
            tokio::spawn(async move {
                let mut told = Vec::new();
                while told.len() < 4 * EACH * 2 {
                    told.push(event(&mut watch).await.revision);
                }
                told
            })
        })
        .collect();
    let working: Vec<_> = (0..4)
        .map(|worker| {
            let world = world.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    touch(&world, &format!("x{worker}")).await;
                    touch(&world, &format!("y{worker}")).await;
                }
            })
        })
        .collect();
    for working in working {
        working.await.unwrap();
    }
    let mut all = Vec::new();
    for watching in watching {
        let told = watching.await.unwrap();
        assert!(told.is_sorted_by(|a, b| a < b));
        all.push(told);
    }
    assert!(all.iter().all(|it| *it == all[0]));
}
