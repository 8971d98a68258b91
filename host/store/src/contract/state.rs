//! What every store promises of state and of commits.

use super::*;
use crate::store::{LIST_BYTES_MAX, LIST_LIMIT_MAX, MEMORY, Reading, Resolved};

contract!(
    Narrow:
    what_was_committed_is_read_with_its_version,
    commit_numbers_rise_and_so_do_change_numbers,
    a_stale_read_is_a_conflict,
    a_stale_absence_is_a_conflict,
    a_stale_range_is_a_conflict,
    what_was_read_is_valid_until_it_changes,
    nobody_writes_what_is_somebody_else_s_turn,
    a_guarded_write_needs_its_lock,
    a_lost_guard_fences_the_whole_commit,
    a_guard_of_somebody_else_is_no_guard,
    a_lost_guard_is_told_before_a_conflict,
    a_new_key_needs_no_lock_if_nobody_has_it,
    a_commit_hands_its_locks_over_with_its_values,
    a_commit_ends_the_waits_of_its_transaction,
    a_refused_commit_changes_nothing,
    t9_a_commit_that_is_sent_again_changes_nothing,
    t9_a_commit_that_was_given_up_is_refused,
    a_commit_that_is_too_old_is_refused,
    records_beyond_their_room_are_forgotten_and_refused,
    a_listing_is_ordered_bounded_and_paged,
    a_listing_takes_any_key,
    a_page_has_so_many_entries,
    a_page_has_so_many_bytes,
);

in_a_cluster!(Narrow: a_guarded_write_needs_its_lock, a_commit_hands_its_locks_over_with_its_values);

fn conflict(collection: &Collection, key: &str) -> CommitError {
    CommitError::Conflict {
        collection: collection.name().to_owned(),
        key: key.to_owned(),
    }
}

fn unguarded(text: &str) -> CommitError {
    CommitError::Unguarded { name: name(text) }
}

fn fenced(text: &str, current: Token) -> CommitError {
    let name = name(text);
    CommitError::Fenced { name, current }
}

async fn what_was_committed_is_read_with_its_version(world: Arc<World>) {
    assert_eq!(world.get(&open(), "a").await, None);
    let number = world.write(&open(), &[("a", "1"), ("b", "")]).await;
    let value = |text: &'static str, version| {
        let value = Bytes::from_static(text.as_bytes());
        Some(Versioned { value, version })
    };
    assert_eq!(world.get(&open(), "a").await, value("1", number));
    assert_eq!(world.get(&open(), "b").await, value("", number));
    assert_eq!(world.get(&guarded(), "a").await, None, "another collection");

    let mut commit = world.commit();
    commit.writes = vec![put(&open(), "a", "2"), delete(&open(), "b")];
    commit.writes.push(delete(&open(), "never"));
    let next = world.apply(commit).await.unwrap().number;
    assert_eq!(world.get(&open(), "a").await, value("2", next));
    assert_eq!(world.get(&open(), "b").await, None);
}

async fn commit_numbers_rise_and_so_do_change_numbers(world: Arc<World>) {
    let all = || query("", None, Order::Ascending, 10);
    assert_eq!(world.list(&open(), all()).await.change, 0);
    let mut last = 0;
    for _ in 0..3 {
        let number = world.write(&open(), &[("a", "1")]).await;
        assert!(number > last);
        assert_eq!(world.list(&open(), all()).await.change, number);
        last = number;
    }
    let other = Collection::new("shop", "other", None).unwrap();
    world.write(&other, &[("a", "1")]).await;
    assert_eq!(world.list(&open(), all()).await.change, last);
}

async fn a_stale_read_is_a_conflict(world: Arc<World>) {
    let number = world.write(&open(), &[("a", "1"), ("b", "1")]).await;
    let reading = || {
        let mut commit = world.commit();
        commit.reads.push((open(), key("a"), number));
        commit.writes.push(put(&open(), "b", "2"));
        commit
    };
    assert!(world.apply(reading()).await.is_ok());
    for change in [put(&open(), "a", "1"), delete(&open(), "a")] {
        let mut commit = world.commit();
        commit.writes.push(change);
        world.apply(commit).await.unwrap();
        assert_eq!(world.apply(reading()).await, Err(conflict(&open(), "a")));
    }
}

async fn a_stale_absence_is_a_conflict(world: Arc<World>) {
    let creating = || {
        let mut commit = world.commit();
        commit.reads.push((guarded(), key("1"), 0));
        commit.writes.push(create(&guarded(), "1", "x"));
        commit
    };
    let (first, second) = (creating(), creating());
    assert!(world.apply(first).await.is_ok());
    assert_eq!(world.apply(second).await, Err(conflict(&guarded(), "1")));
}

async fn a_stale_range_is_a_conflict(world: Arc<World>) {
    let page = world
        .list(&open(), query("", None, Order::Ascending, 10))
        .await;
    let booking = |key| {
        let mut commit = world.commit();
        commit.ranges.push((open(), page.change));
        commit.writes.push(put(&open(), key, "booked"));
        commit
    };
    let (first, second) = (booking("a"), booking("b"));
    assert!(world.apply(first).await.is_ok());
    assert_eq!(world.apply(second).await, Err(conflict(&open(), "*")));
    assert_eq!(world.get(&open(), "b").await, None);
}

async fn what_was_read_is_valid_until_it_changes(world: Arc<World>) {
    let number = world.write(&open(), &[("a", "1"), ("b", "1")]).await;
    let reading = |change| Reading {
        began: world.store.now(),
        reads: vec![(open(), key("a"), number), (open(), key("c"), 0)],
        ranges: vec![(open(), change)],
    };
    let valid = async |change| world.store.validate(reading(change)).await;
    assert_eq!(valid(number).await, Ok(()));
    let next = world.write(&open(), &[("b", "2")]).await;
    assert_eq!(valid(number).await, Err(conflict(&open(), "*")));
    assert_eq!(valid(next).await, Ok(()));
    let last = world.write(&open(), &[("c", "2")]).await;
    assert_eq!(valid(last).await, Err(conflict(&open(), "c")));
    let empty = Reading {
        began: world.store.now(),
        reads: vec![],
        ranges: vec![],
    };
    assert_eq!(world.store.validate(empty).await, Ok(()));
}

async fn nobody_writes_what_is_somebody_else_s_turn(world: Arc<World>) {
    let owner = TransactionId::mint();
    let turn_of = async |at: Option<&str>| {
        let names = vec![LockName::turn(open().name(), at)];
        let request = Acquire {
            names,
            ..of(owner, &["any"])
        };
        world.hold(&request).await;
        request
    };
    let writing = |by| {
        let mut commit = world.commit_of(by);
        commit.writes = vec![put(&open(), "a", "1"), put(&guarded(), "a", "1")];
        commit.writes[1].guard = None;
        commit
    };
    let stranger = TransactionId::mint();
    for (at, told) in [(Some("a"), "a"), (None, "*")] {
        let turn = turn_of(at).await;
        let refused = world.apply(writing(stranger)).await;
        assert_eq!(refused, Err(conflict(&open(), told)));
        assert!(world.apply(writing(owner)).await.is_ok());
        // The commit has ended it.
        assert!(world.apply(writing(stranger)).await.is_ok(), "{turn:?}");
    }
    // A key's turn is not another's.
    turn_of(Some("b")).await;
    assert!(world.apply(writing(stranger)).await.is_ok());
}

async fn a_guarded_write_needs_its_lock(world: Arc<World>) {
    // Someone who has it, so that the key is there.
    let owner = TransactionId::mint();
    let lock = of(owner, &["order/1"]);
    world.hold(&lock).await;
    let mut commit = world.commit_of(owner);
    commit.guards.push(guarding(&lock));
    commit.writes.push(put(&guarded(), "1", "first"));
    world.apply(commit).await.unwrap();

    let refused = async |transaction, guards: Vec<Guarding>| {
        let mut commit = world.commit_of(transaction);
        commit.guards = guards;
        commit.writes.push(put(&open(), "side", "effect"));
        commit.writes.push(put(&guarded(), "1", "second"));
        world.apply(commit).await
    };
    // No lock at all; another key's; one that somebody else holds.
    let nobody = TransactionId::mint();
    assert_eq!(refused(nobody, vec![]).await, Err(unguarded("order/1")));
    let other = of(nobody, &["order/2"]);
    world.hold(&other).await;
    let answer = refused(nobody, vec![guarding(&other)]).await;
    assert_eq!(answer, Err(unguarded("order/1")));
    let caller = of_caller(&["order/1"]);
    world.hold(&caller).await;
    let answer = refused(nobody, vec![guarding(&other)]).await;
    assert_eq!(answer, Err(unguarded("order/1")));
    world.release(&caller).await.unwrap();
    // Its own, but given back before the commit.
    let own = of(nobody, &["order/1"]);
    world.hold(&own).await;
    world.release(&own).await.unwrap();
    let answer = refused(nobody, vec![guarding(&other)]).await;
    assert_eq!(answer, Err(unguarded("order/1")));

    assert_eq!(&*world.get(&guarded(), "1").await.unwrap().value, b"first");
    assert_eq!(world.get(&open(), "side").await, None);
}

async fn a_lost_guard_fences_the_whole_commit(world: Arc<World>) {
    let own = TransactionId::mint();
    let lock = Acquire {
        lease: Some(SECOND),
        ..of(own, &["order/1"])
    };
    let writing = || {
        let mut commit = world.commit_of(own);
        commit.guards.push(guarding(&lock));
        // It does not even write what the lost lock guards.
        commit.writes.push(put(&open(), "a", "1"));
        commit
    };
    world.hold(&lock).await;
    world.clock.advance(SECOND);
    assert_eq!(world.apply(writing()).await, Err(fenced("order/1", 0)));
    let next = of(TransactionId::mint(), &["order/1"]);
    let current = world.hold(&next).await.tokens[0].1;
    assert_eq!(
        world.apply(writing()).await,
        Err(fenced("order/1", current))
    );
    // Having it again is not having had it all along.
    world.release(&next).await.unwrap();
    let again = of(own, &["order/1"]);
    let current = world.hold(&again).await.tokens[0].1;
    assert_eq!(
        world.apply(writing()).await,
        Err(fenced("order/1", current))
    );
    assert_eq!(world.get(&open(), "a").await, None);

    let other = TransactionId::mint();
    let taken = of(other, &["order/2"]);
    world.hold(&taken).await;
    let force = world.store.force_release(
        name("order/2"),
        Principal::node(),
        Permission::all(),
        "a test".to_owned(),
    );
    force.await.unwrap();
    let mut commit = world.commit_of(other);
    commit.guards.push(guarding(&taken));
    commit.writes.push(put(&guarded(), "2", "x"));
    assert_eq!(world.apply(commit).await, Err(fenced("order/2", 0)));
}

async fn a_guard_of_somebody_else_is_no_guard(world: Arc<World>) {
    for theirs in [
        of(TransactionId::mint(), &["order/1"]),
        of_caller(&["order/2"]),
    ] {
        let current = world.hold(&theirs).await.tokens[0].1;
        let mut commit = world.commit();
        commit.guards.push(guarding(&theirs));
        commit.writes.push(put(&open(), "a", "1"));
        let expected = fenced(theirs.names[0].as_str(), current);
        assert_eq!(world.apply(commit).await, Err(expected));
    }
}

async fn a_lost_guard_is_told_before_a_conflict(world: Arc<World>) {
    let own = TransactionId::mint();
    let lock = of(own, &["order/1"]);
    world.hold(&lock).await;
    let force = world.store.force_release(
        name("order/1"),
        Principal::node(),
        Permission::all(),
        "a test".to_owned(),
    );
    force.await.unwrap();
    let mut commit = world.commit_of(own);
    commit.guards.push(guarding(&lock));
    commit.reads.push((open(), key("a"), 7));
    assert_eq!(world.apply(commit).await, Err(fenced("order/1", 0)));
}

async fn a_new_key_needs_no_lock_if_nobody_has_it(world: Arc<World>) {
    let creating = |text| {
        let mut commit = world.commit();
        commit.reads.push((guarded(), key(text), 0));
        commit.writes.push(create(&guarded(), text, "x"));
        commit
    };
    // Somebody holds the lock, or waits for it.
    let blocker = of(TransactionId::mint(), &["b"]);
    world.hold(&blocker).await;
    let ahead = world
        .queue(&waiting(
            SECOND,
            of(TransactionId::mint(), &["b", "order/1"]),
        ))
        .await;
    assert_eq!(world.apply(creating("1")).await, Err(unguarded("order/1")));
    world.release(&blocker).await.unwrap();
    assert!(ahead.await.is_ok());
    assert_eq!(world.apply(creating("1")).await, Err(unguarded("order/1")));

    // Nobody does, but its absence was not read.
    let mut blind = world.commit();
    blind.writes.push(put(&guarded(), "2", "x"));
    assert_eq!(world.apply(blind).await, Err(unguarded("order/2")));

    assert!(world.apply(creating("2")).await.is_ok());
    // It is not new any more, whatever is claimed.
    let mut again = world.commit();
    again.writes.push(create(&guarded(), "2", "y"));
    assert_eq!(world.apply(again).await, Err(unguarded("order/2")));
}

async fn a_commit_hands_its_locks_over_with_its_values(world: Arc<World>) {
    let own = TransactionId::mint();
    let lock = of(own, &["order/1"]);
    world.hold(&lock).await;
    let next = waiting(SECOND, of(TransactionId::mint(), &["order/1"]));
    let queued = world.queue(&next).await;
    let mut commit = world.commit_of(own);
    commit.guards.push(guarding(&lock));
    commit.writes.push(put(&guarded(), "1", "new"));
    let committed = world.apply(commit);
    let reading = async {
        queued.await.unwrap();
        world.get(&guarded(), "1").await.unwrap()
    };
    let (committed, read) = tokio::join!(committed, reading);
    assert_eq!(read.version, committed.unwrap().number);
}

async fn a_commit_ends_the_waits_of_its_transaction(world: Arc<World>) {
    world.hold(&of(TransactionId::mint(), &["a"])).await;
    let own = TransactionId::mint();
    let queued = world.queue(&waiting(SECOND, of(own, &["a"]))).await;
    world.apply(world.commit_of(own)).await.unwrap();
    assert_eq!(queued.await, Err(AcquireError::Cancelled));
}

async fn a_refused_commit_changes_nothing(world: Arc<World>) {
    let own = TransactionId::mint();
    let lock = of(own, &["order/1"]);
    world.hold(&lock).await;
    let token = world.holder("order/1").await;
    let before = world.write(&open(), &[("a", "1")]).await;
    let mut commit = world.commit_of(own);
    commit.guards.push(guarding(&lock));
    commit.reads.push((open(), key("a"), before + 1));
    commit.writes.push(put(&open(), "b", "1"));
    assert_eq!(
        world.apply(commit.clone()).await,
        Err(conflict(&open(), "a"))
    );
    assert_eq!(world.get(&open(), "b").await, None);
    assert_eq!(world.holder("order/1").await, token, "still held");
    let all = query("", None, Order::Ascending, 10);
    assert_eq!(world.list(&open(), all).await.change, before);
    // It is not recorded either: with its read put right it goes through.
    commit.reads[0].2 = before;
    assert!(world.apply(commit).await.unwrap().number > before);
}

async fn t9_a_commit_that_is_sent_again_changes_nothing(world: Arc<World>) {
    let mut commit = world.commit();
    commit.writes.push(put(&open(), "a", "1"));
    let committed = world.apply(commit.clone()).await.unwrap();
    let later = world.write(&open(), &[("a", "2")]).await;
    assert_eq!(world.apply(commit.clone()).await, Ok(committed));
    assert_eq!(world.get(&open(), "a").await.unwrap().version, later);
    let resolved = world.store.resolve(commit.id).await;
    assert_eq!(resolved, Ok(Resolved::Committed(committed)));

    // Both at once, as a resend would be.
    let mut twice = world.commit();
    twice.writes.push(put(&open(), "b", "1"));
    let (one, two) = (world.apply(twice.clone()), world.apply(twice));
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one.unwrap(), two.unwrap());
}

async fn t9_a_commit_that_was_given_up_is_refused(world: Arc<World>) {
    let mut commit = world.commit();
    commit.writes.push(put(&open(), "a", "1"));
    for _ in 0..2 {
        let resolved = world.store.resolve(commit.id).await;
        assert_eq!(resolved, Ok(Resolved::Aborted));
    }
    assert_eq!(world.apply(commit).await, Err(CommitError::Aborted));
    assert_eq!(world.get(&open(), "a").await, None);
}

async fn a_commit_that_is_too_old_is_refused(world: Arc<World>) {
    let mut commit = world.commit();
    commit.writes.push(put(&open(), "a", "1"));
    let mut late = commit.clone();
    late.id = CommitId::mint(commit.id.minted);
    let committed = world.apply(commit.clone()).await.unwrap();
    world.clock.advance(MEMORY);
    let resolved = world.store.resolve(commit.id).await;
    assert_eq!(resolved, Ok(Resolved::Committed(committed)));
    world.clock.advance(Duration::from_micros(1));
    let resolved = world.store.resolve(commit.id).await;
    assert_eq!(resolved, Ok(Resolved::Forgotten));
    assert_eq!(world.apply(commit).await, Err(CommitError::TooOld));
    assert_eq!(world.apply(late).await, Err(CommitError::TooOld));
}

async fn records_beyond_their_room_are_forgotten_and_refused(world: Arc<World>) {
    let mut commits = Vec::new();
    for _ in 0..=LIMITS.records {
        world.clock.advance(Duration::from_millis(1));
        let commit = world.commit();
        world.apply(commit.clone()).await.unwrap();
        commits.push(commit);
    }
    assert_eq!(
        world.apply(commits[0].clone()).await,
        Err(CommitError::TooOld)
    );
    let resolved = world.store.resolve(commits[0].id).await;
    assert_eq!(resolved, Ok(Resolved::Forgotten));
    assert!(world.apply(commits[1].clone()).await.is_ok());
}

async fn a_listing_is_ordered_bounded_and_paged(world: Arc<World>) {
    let all = ["a", "a/1", "a/2", "a/3", "a0", "b"];
    let values: Vec<_> = all.iter().map(|it| (*it, "x")).collect();
    let number = world.write(&open(), &values).await;
    let (up, down) = (Order::Ascending, Order::Descending);
    for (query, expected, more) in [
        (query("", None, up, 10), &all[..], false),
        (query("", None, up, 6), &all[..], false),
        (query("", None, up, 5), &all[..5], true),
        (query("a/", None, up, 10), &all[1..4], false),
        (query("a/", None, up, 2), &all[1..3], true),
        (query("a/", Some("a/2"), up, 2), &all[3..4], false),
        (query("a/", Some("a/25"), up, 2), &all[3..4], false),
        (query("a/", Some("A"), up, 1), &all[1..2], true),
        (query("a/", Some("b"), up, 1), &[], false),
        (query("c", None, up, 1), &[], false),
        (query("", None, down, 3), &["b", "a0", "a/3"], true),
        (query("a/", None, down, 2), &["a/3", "a/2"], true),
        (query("a/", Some("a/2"), down, 2), &["a/1"], false),
        (query("a/", Some("b"), down, 1), &["a/3"], true),
        (query("a/", Some("A"), down, 1), &[], false),
    ] {
        let page = world.list(&open(), query.clone()).await;
        assert_eq!(keys(&page), (expected.to_vec(), more), "{query:?}");
        assert_eq!(page.change, number);
    }
}

async fn a_listing_takes_any_key(world: Arc<World>) {
    let odd = [
        " ",
        "%",
        "*",
        "..",
        "\u{d7ff}",
        "\u{10ffff}",
        "\u{10ffff}\u{10ffff}",
        "{",
        "\u{e4}",
    ];
    let values: Vec<_> = odd.iter().map(|it| (*it, "x")).collect();
    world.write(&open(), &values).await;
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    let page = world
        .list(&open(), query("", None, Order::Ascending, 100))
        .await;
    assert_eq!(keys(&page).0, sorted);
    let page = world
        .list(&open(), query("\u{10ffff}", None, Order::Descending, 100))
        .await;
    assert_eq!(keys(&page).0, ["\u{10ffff}\u{10ffff}", "\u{10ffff}"]);
    let page = world
        .list(&open(), query("%", None, Order::Ascending, 100))
        .await;
    assert_eq!(keys(&page).0, ["%"]);
}

async fn a_page_has_so_many_entries(world: Arc<World>) {
    let keys: Vec<_> = (0..=LIST_LIMIT_MAX).map(|it| format!("{it:05}")).collect();
    let values: Vec<_> = keys.iter().map(|it| (it.as_str(), "x")).collect();
    world.write(&open(), &values).await;
    let page = world
        .list(&open(), query("", None, Order::Ascending, usize::MAX))
        .await;
    assert_eq!((page.entries.len(), page.more), (LIST_LIMIT_MAX, true));
    let page = world
        .list(&open(), query("", None, Order::Ascending, 0))
        .await;
    assert_eq!((page.entries.len(), page.more), (1, true));
}

async fn a_page_has_so_many_bytes(world: Arc<World>) {
    let large = "x".repeat(LIST_BYTES_MAX / 2);
    world
        .write(&open(), &[("a", &large), ("b", &large), ("c", "")])
        .await;
    let page = world
        .list(&open(), query("", None, Order::Ascending, 10))
        .await;
    assert_eq!(keys(&page), (vec!["a"], true));
    let page = world
        .list(&open(), query("", Some("a"), Order::Ascending, 10))
        .await;
    assert_eq!(keys(&page), (vec!["b", "c"], false));
}
