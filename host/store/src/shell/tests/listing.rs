//! Listings: in turns, and with an order that is kept only for them.

use super::super::listing::{LISTS_MAX, ORDER_KEPT, STEPS};
use super::*;
use crate::store::{LIST_LIMIT_MAX, LockPage, LockQuery};

pub(super) fn page_of(limit: usize) -> LockQuery {
    LockQuery {
        permission: Permission::all(),
        prefix: String::new(),
        after: None,
        limit,
    }
}

/// A page, and in how many turns it was gathered.
async fn turns(desk: &Desk, query: LockQuery) -> (LockPage, usize) {
    let mut list: Answer<'_, _> = Box::pin(desk.shell.locks(query));
    let mut turns = 1;
    loop {
        match poll_once(&mut list).await {
            Some(page) => return (page.unwrap(), turns),
            None => turns += 1,
        }
    }
}

#[test]
fn so_many_list_locks_at_once() {
    block_on(async {
        let desk = Desk::new();
        desk.acquire(&of(TransactionId::mint(), &["a"]))
            .await
            .unwrap();
        let list = || -> Answer<'_, _> { Box::pin(desk.shell.locks(page_of(10))) };
        let mut lists: Vec<_> = (0..=listing::LISTS_MAX).map(|_| list()).collect();
        for list in &mut lists {
            assert!(poll_once(list).await.is_none(), "it lets others through");
        }
        let (last, first) = lists.split_last_mut().unwrap();
        for _ in 0..10 {
            assert!(poll_once(last).await.is_none(), "it is not its turn");
        }
        for list in first {
            assert_eq!(list.await.unwrap().locks.len(), 1);
        }
        assert!(lists.pop().unwrap().await.is_ok());
    });
}

#[test]
fn a_page_takes_as_many_turns_as_it_shows_locks_however_many_there_are() {
    const LOCKS: usize = 20_000;
    block_on(async {
        let desk = Desk::new();
        let own = TransactionId::mint();
        for number in 0..LOCKS {
            let name = format!("{:05}", number * 7919 % LOCKS);
            desk.acquire(&of(own, &[&name])).await.unwrap();
        }
        let (mut page, first) = turns(&desk, page_of(LIST_LIMIT_MAX)).await;
        assert!(first >= LOCKS / STEPS, "{first}: all were put in order");
        let mut seen = page.locks.len();
        while page.more {
            let query = LockQuery {
                after: page.locks.pop().map(|it| it.name),
                ..page_of(LIST_LIMIT_MAX)
            };
            let later = turns(&desk, query).await;
            page = later.0;
            seen += page.locks.len();
            assert!(later.1 <= LIST_LIMIT_MAX / STEPS + 2, "{}", later.1);
        }
        assert_eq!(seen, LOCKS);
    });
}

#[test]
fn names_are_kept_in_order_for_a_while_after_a_listing() {
    block_on(async {
        let desk = Desk::new();
        let names = || desk.shell.step(|core, _, _| core.names("", None).count());
        desk.acquire(&of(TransactionId::mint(), &["a", "b"]))
            .await
            .unwrap();
        assert_eq!(names(), 0, "nobody has listed");
        for _ in 0..2 {
            desk.shell.locks(page_of(10)).await.unwrap();
            assert_eq!(names(), 2);
            desk.clock.advance(ORDER_KEPT - SECOND);
        }
        assert_eq!(names(), 2, "somebody lists from time to time");
        let due = desk.shell.state().next_deadline();
        assert_eq!(due, Some(desk.shell.now() + SECOND), "the timer is told");
        desk.clock.advance(SECOND);
        assert_eq!(names(), 0);
        assert_eq!(desk.shell.state().next_deadline(), None);
        assert_eq!(desk.shell.locks(page_of(10)).await.unwrap().locks.len(), 2);
    });
}
