//! Pages of locks.

use super::*;
use crate::store::{LIST_LIMIT_MAX, LockPage, LockQuery};

contract!(
    Narrow:
    locks_are_listed_by_name_page_by_page,
    only_locks_with_the_prefix_are_listed,
    only_permitted_locks_are_listed,
    what_is_waited_for_is_listed_and_what_is_idle_is_not,
    a_page_shows_what_a_look_at_each_lock_does,
);

contract!(
    broad, Real:
    a_page_is_the_smallest_of_very_many,
);

fn after(prefix: &str, after: Option<&str>, limit: usize) -> LockQuery {
    LockQuery {
        permission: Permission::all(),
        prefix: prefix.to_owned(),
        after: after.map(name),
        limit,
    }
}

async fn page(world: &World, query: LockQuery) -> LockPage {
    world.store.locks(query).await.unwrap()
}

fn names(page: &LockPage) -> (Vec<&str>, bool) {
    let names = page.locks.iter().map(|it| it.name.as_str());
    (names.collect(), page.more)
}

async fn locks_are_listed_by_name_page_by_page(world: Arc<World>) {
    for text in ["b", "d", "a", "\u{e4}", "c"] {
        world.hold(&of(TransactionId::mint(), &[text])).await;
    }
    let first = page(&world, after("", None, 2)).await;
    assert_eq!(names(&first), (vec!["a", "b"], true));
    let second = page(&world, after("", Some("b"), 2)).await;
    assert_eq!(names(&second), (vec!["c", "d"], true));
    let third = page(&world, after("", Some("d"), 2)).await;
    assert_eq!(names(&third), (vec!["\u{e4}"], false));
    let exact = page(&world, after("", Some("b"), 3)).await;
    assert_eq!(names(&exact), (vec!["c", "d", "\u{e4}"], false));
    // What it is behind need not be there.
    let between = page(&world, after("", Some("bb"), 1)).await;
    assert_eq!(names(&between), (vec!["c"], true));
    let nothing = page(&world, after("", Some("\u{e5}"), 10)).await;
    assert_eq!(names(&nothing), (vec![], false));
    // A page has one entry at least.
    let least = page(&world, after("", None, 0)).await;
    assert_eq!(names(&least), (vec!["a"], true));
}

async fn only_locks_with_the_prefix_are_listed(world: Arc<World>) {
    // Adversarial L27: no character means anything but itself.
    let odd = ["a", "a/b", "a/c", "a*", "{a}", "a0", "b/a"];
    for text in odd {
        world.hold(&of(TransactionId::mint(), &[text])).await;
    }
    for prefix in ["a/", "a*", "{", "a", "", "b/a", "c", "*"] {
        let found = page(&world, after(prefix, None, 100)).await;
        let mut expected: Vec<_> = odd.iter().filter(|it| it.starts_with(prefix)).collect();
        expected.sort_unstable();
        let (found, more) = names(&found);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{prefix}");
        assert!(!more);
    }
    let behind = page(&world, after("a/", Some("a/b"), 100)).await;
    assert_eq!(names(&behind), (vec!["a/c"], false));
}

async fn only_permitted_locks_are_listed(world: Arc<World>) {
    for text in ["a/1", "a/2", "a/b/1", "b/1", "b/2", "c/1", "d"] {
        world.hold(&of(TransactionId::mint(), &[text])).await;
    }
    let listed = async |patterns: &[&str], query: LockQuery| {
        let patterns = patterns.iter().map(|it| LockPattern::parse(it).unwrap());
        let permission = Permission::of(patterns.collect());
        let page = page(
            &world,
            LockQuery {
                permission,
                ..query
            },
        )
        .await;
        let found = names(&page);
        format!("{} {}", found.0.join(" "), found.1)
    };
    let all = || after("", None, 10);
    assert_eq!(listed(&["b/2", "a/*"], all()).await, "a/1 a/2 b/2 false");
    assert_eq!(listed(&["a/**", "a/*"], all()).await, "a/1 a/2 a/b/1 false");
    assert_eq!(listed(&[], all()).await, " false");
    // What is left out neither fills a page nor counts as more.
    let some = ["*/1", "d"];
    assert_eq!(listed(&some, after("", None, 2)).await, "a/1 b/1 true");
    let behind = after("", Some("b/1"), 2);
    assert_eq!(listed(&some, behind).await, "c/1 d false");
    let with_prefix = after("b", None, 1);
    assert_eq!(listed(&some, with_prefix).await, "b/1 false");
}

async fn what_is_waited_for_is_listed_and_what_is_idle_is_not(world: Arc<World>) {
    let holder = of(TransactionId::mint(), &["a"]);
    world.hold(&holder).await;
    let both = waiting(SECOND, of(TransactionId::mint(), &["a", "b"]));
    let queued = world.queue(&both).await;
    let found = page(&world, after("", None, 10)).await;
    assert_eq!(names(&found).0, ["a", "b"]);
    assert_eq!((found.locks[1].holding, found.locks[1].waiting), (0, 1));
    drop(queued);
    world.release(&holder).await.unwrap();
    let found = page(&world, after("", None, 10)).await;
    assert_eq!(names(&found), (vec![], false));
}

async fn a_page_shows_what_a_look_at_each_lock_does(world: Arc<World>) {
    world.hold(&in_mode(Mode::Shared, of_caller(&["a"]))).await;
    world.hold(&of_caller(&["b"])).await;
    let _queued = world.queue(&waiting(SECOND, of_caller(&["a"]))).await;
    world.clock.advance(SECOND / 2);
    for lock in page(&world, after("", None, 10)).await.locks {
        let look = world.store.lock(lock.name.clone()).await.unwrap();
        assert_eq!(lock, look);
    }
}

async fn a_page_is_the_smallest_of_very_many(world: Arc<World>) {
    // More than are gone through in one go, in no order of their names.
    const LOCKS: usize = 5_000;
    let own = TransactionId::mint();
    for number in 0..LOCKS {
        let text = format!("{:04}", number * 7919 % LOCKS);
        world.hold(&of(own, &[&text])).await;
    }
    let mut seen = 0;
    let mut last: Option<LockName> = None;
    loop {
        let query = LockQuery {
            permission: Permission::all(),
            prefix: String::new(),
            after: last.take(),
            limit: usize::MAX,
        };
        let page = page(&world, query).await;
        assert!(page.locks.len() <= LIST_LIMIT_MAX);
        for lock in &page.locks {
            assert_eq!(lock.name.as_str(), format!("{seen:04}"));
            seen += 1;
        }
        last = page.locks.last().map(|it| it.name.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, LOCKS);
}
