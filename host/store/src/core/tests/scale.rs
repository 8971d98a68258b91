//! A hundred thousand of each: what one operation looks at does not grow.

use super::*;
use groups::Group;
use principals::Account;
use request::Request;
use slab::At;
use std::sync::Arc;

const MANY: usize = 100_000;

/// How many waiters were looked at since this was asked last.
fn examined(world: &World) -> u64 {
    world.core.table.examined.replace(0)
}

#[test]
fn a_hundred_thousand_waiters_come_go_and_are_served_one_look_at_each() {
    let mut world = World::new();
    let mut holder = single(&["a"]);
    world.hold(&holder);
    let waiters: Vec<_> = (0..MANY).map(|_| single(&["a"])).collect();
    for waiter in &waiters {
        world.wait(waiter);
    }
    assert_eq!(examined(&world), 0, "who comes looks at nobody");
    let (gone, stay): (Vec<_>, Vec<_>) = waiters
        .into_iter()
        .enumerate()
        .partition(|it| it.0 % 2 == 0);
    for (_, waiter) in gone.iter().rev() {
        world.release(waiter);
        assert!(examined(&world) <= 1, "who goes looks at the first at most");
    }
    world.effects.clear();
    for (_, waiter) in stay {
        world.release(&holder);
        assert!(examined(&world) <= 2, "the next, and the one behind");
        assert_eq!(world.served(), [waiter.id]);
        holder = waiter;
    }
    assert_eq!(world.count("a"), (1, 0));
}

#[test]
fn readers_are_looked_at_once_or_twice_each_however_often_writers_come_and_go() {
    let mut world = World::with(Limits {
        holders_per_lock: MANY,
        ..Limits::default()
    });
    let holder = single(&["a"]);
    world.hold(&holder);
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..100 {
        writers.push(single(&["a"]));
        world.wait(&writers[writers.len() - 1]);
        for _ in 0..100 {
            readers.push(shared(single(&["a"])));
            world.wait(&readers[readers.len() - 1]);
        }
    }
    // Many writers give up, and many come behind, while the lock is held.
    for writer in writers.iter().skip(50) {
        world.release(writer);
    }
    assert_eq!(examined(&world), 0);
    world.release(&holder);
    for (at, writer) in writers.iter().enumerate().take(50) {
        world.release(writer);
        for reader in &readers[at * 100..(at + 1) * 100] {
            world.release(reader);
        }
    }
    assert!(examined(&world) <= 3 * 10_000, "each a few times at most");
}

#[test]
fn a_hundred_thousand_held_locks_do_not_change_what_one_operation_looks_at() {
    let mut world = World::new();
    for it in 0..MANY {
        world.hold(&caller(&[&it.to_string()]));
    }
    world.effects.clear();
    let (holder, waiter) = (caller(&["a"]), of_owner("me", caller(&["a", "b"])));
    world.hold(&holder);
    world.wait(&waiter);
    world.release(&holder);
    assert_eq!(examined(&world), 1);
    assert_eq!(world.core.table.searched.get(), 0);
}

#[test]
fn waiters_of_owners_that_have_nothing_else_cost_no_search() {
    let mut world = World::new();
    world.hold(&of_owner("x", caller(&["a"])));
    for _ in 0..1_000 {
        world.wait(&single(&["a"]));
    }
    assert_eq!(world.core.table.searched.get(), 0);
    // And a search passes them by.
    world.hold(&of_owner("y", caller(&["b"])));
    world.wait(&of_owner("y", caller(&["a"])));
    world.cycle(&of_owner("x", caller(&["b"])));
    assert!(world.core.table.searched.get() < 20);
}

#[test]
fn a_waiter_takes_no_more_memory_than_it_must() {
    // Its own record. With its places in the indices a hundred thousand callers
    // that wait for one lock took 277 bytes each when that was measured.
    let record = size_of::<Option<Request>>();
    assert!(record <= 160, "{record}");
    let place = size_of::<(GrantId, At<Request>)>();
    assert!(place <= 24, "{place}");
    // What its owner or its transaction takes if it is the only one of it.
    let group = size_of::<Option<Group>>();
    assert!(group <= 48, "{group}");
    let transaction = size_of::<(TransactionId, At<Group>)>();
    assert!(transaction <= 24, "{transaction}");
    let named = size_of::<((At<Account>, Arc<str>), At<Group>)>();
    assert!(named <= 32, "{named}");
}
