//! Shared locks, permits, and who goes first.

use super::*;

#[test]
fn readers_share_a_lock_and_exclude_everybody_else() {
    let mut world = World::new();
    let readers: Vec<_> = (0..3).map(|_| shared(single(&["a"]))).collect();
    let tokens: Vec<_> = readers.iter().map(|it| world.hold(it)).collect();
    assert!(tokens.is_sorted_by(|a, b| a < b));
    for other in [single(&["a"]), permits(9, single(&["a"]))] {
        let refusal = world.refused(&trying(other));
        assert_eq!(refusal, AcquireError::Held(name("a")));
    }
    let lock = world.look("a");
    assert_eq!((lock.mode, lock.holding), (Some(Mode::Shared), 3));
    let shown: Vec<_> = lock.holders.iter().map(|it| it.token).collect();
    assert_eq!(shown, tokens, "the longest first");
}

#[test]
fn so_many_hold_a_lock_as_it_has_permits() {
    let mut world = World::new();
    let holders: Vec<_> = (0..3).map(|_| permits(3, single(&["a"]))).collect();
    world.hold_all(&holders);
    let next = permits(3, single(&["a"]));
    world.wait(&next);
    for other in [single(&["a"]), shared(single(&["a"]))] {
        let refusal = world.refused(&trying(other));
        assert_eq!(refusal, AcquireError::Held(name("a")));
    }
    world.release(&holders[1]);
    assert_eq!(world.served(), [next.id]);
    assert_eq!(world.count("a"), (3, 0));
}

#[test]
fn another_number_of_permits_is_refused_while_the_lock_is_in_use() {
    let mut world = World::new();
    let holder = permits(2, single(&["a"]));
    world.hold(&holder);
    assert_eq!(world.invalid(&permits(3, single(&["a"]))), Field::Permits);
    let writer = single(&["a"]);
    world.wait(&writer);
    let waiter = permits(2, single(&["a"]));
    world.wait(&waiter);
    world.release(&holder);
    assert_eq!(world.served(), [writer.id]);
    let refusal = world.invalid(&permits(3, single(&["a"])));
    assert_eq!(refusal, Field::Permits, "it is waited for with 2");
    world.release(&waiter);
    world.release(&writer);
    world.hold(&permits(3, single(&["a"])));
}

#[test]
fn a_permit_that_becomes_free_is_reserved_for_the_first_in_the_queue() {
    let mut world = World::new();
    let holders = [0, 1].map(|_| permits(2, single(&["a"])));
    world.hold_all(&holders);
    let other = single(&["b"]);
    world.hold(&other);
    let first = permits(2, single(&["a", "b"]));
    let second = permits(2, single(&["a"]));
    world.wait(&first);
    world.wait(&second);
    world.release(&holders[0]);
    assert_eq!(world.served(), [], "the first still needs the other lock");
    world.release(&other);
    assert_eq!(world.served(), [first.id]);
    world.release(&holders[1]);
    assert_eq!(world.served(), [second.id]);
}

// L14, as far as one node goes.
#[test]
fn fifty_waiters_are_served_in_the_order_they_came() {
    let mut world = World::new();
    let mut holder = single(&["a"]);
    world.hold(&holder);
    let waiters: Vec<_> = (0..50).map(|_| single(&["a"])).collect();
    world.wait_all(&waiters);
    for next in waiters {
        world.release(&holder);
        assert_eq!(world.served(), [next.id]);
        holder = next;
    }
}

// L15.
#[test]
fn a_writer_goes_after_the_readers_that_were_there_and_before_those_that_come() {
    let mut world = World::new();
    let there: Vec<_> = (0..5).map(|_| shared(single(&["a"]))).collect();
    world.hold_all(&there);
    let writer = single(&["a"]);
    world.wait(&writer);
    // Readers never stop coming; each that was there leaves.
    let mut come = Vec::new();
    for reader in &there {
        let refusal = world.refused(&trying(shared(single(&["a"]))));
        assert_eq!(refusal, AcquireError::Held(name("a")));
        let next = shared(single(&["a"]));
        world.wait(&next);
        come.push(next.id);
        assert_eq!(world.served(), []);
        world.release(reader);
    }
    assert_eq!(world.served(), [writer.id]);
    world.release(&writer);
    assert_eq!(world.served(), come, "all together, in order");
}

#[test]
fn readers_go_as_soon_as_the_writer_ahead_of_them_gives_up() {
    let mut world = World::new();
    world.hold(&shared(single(&["a"])));
    let first = waiting(SECOND, single(&["a"]));
    let ahead: Vec<_> = (0..2).map(|_| shared(single(&["a"]))).collect();
    let second = single(&["a"]);
    let behind = shared(single(&["a"]));
    world.wait(&first);
    world.wait_all(&ahead);
    world.wait(&second);
    world.wait(&behind);
    world.pass(SECOND);
    world.tick();
    assert_eq!(world.served(), [ahead[0].id, ahead[1].id]);
    world.release(&second);
    assert_eq!(world.served(), [behind.id]);
}

#[test]
fn a_reader_that_needs_more_does_not_hold_up_other_readers_but_a_writer() {
    let mut world = World::new();
    let (holder, other) = (single(&["a"]), single(&["b"]));
    world.hold(&holder);
    world.hold(&other);
    let both = shared(single(&["a", "b"]));
    let reader = shared(single(&["a"]));
    let writer = single(&["a"]);
    world.wait(&both);
    world.wait(&reader);
    world.wait(&writer);
    world.release(&holder);
    assert_eq!(world.served(), [reader.id]);
    world.release(&reader);
    assert_eq!(world.served(), [], "the writer is behind the other reader");
    // A new reader passes nobody: the writer is ahead of it.
    let refusal = world.refused(&trying(shared(single(&["a"]))));
    assert_eq!(refusal, AcquireError::Held(name("a")));
    world.release(&other);
    assert_eq!(world.served(), [both.id]);
    world.release(&both);
    assert_eq!(world.served(), [writer.id]);
}

#[test]
fn the_oldest_waiter_for_several_locks_is_not_starved_by_others() {
    let mut world = World::new();
    let names = ["a", "b", "c", "d"];
    let mut holders: Vec<_> = names.iter().map(|it| single(&[it])).collect();
    world.hold_all(&holders);
    let all = single(&names);
    world.wait(&all);
    for (at, text) in names.iter().enumerate() {
        let next = single(&[text]);
        world.wait(&next);
        let before = std::mem::replace(&mut holders[at], next);
        world.release(&before);
    }
    assert_eq!(world.served(), [all.id]);
}

#[test]
fn an_exclusive_hold_gives_its_transaction_views_in_every_mode() {
    let mut world = World::new();
    let own = transaction();
    let token = world.hold(&request(own, &["a"]));
    for weaker in [
        shared(request(own, &["a"])),
        permits(3, request(own, &["a"])),
    ] {
        let granted = world.granted(&weaker);
        assert_eq!(granted.tokens, [(name("a"), token)]);
        assert_eq!(granted.acquired, []);
    }
}

#[test]
fn a_shared_hold_gives_its_transaction_views_among_many_holders() {
    let mut world = World::new();
    let own = transaction();
    world.hold(&shared(single(&["a"])));
    world.hold(&request(own, &["b"]));
    let token = world.hold(&shared(request(own, &["c", "a"])));
    world.hold(&shared(single(&["a"])));
    world.wait(&single(&["a"]));
    let granted = world.granted(&shared(request(own, &["a"])));
    assert_eq!(granted.tokens, [(name("a"), token)]);
    assert_eq!(granted.acquired, []);
}

#[test]
fn a_transaction_cannot_change_the_mode_it_holds_a_lock_in() {
    let mut world = World::new();
    let own = transaction();
    world.hold(&shared(request(own, &["a"])));
    world.hold(&permits(3, request(own, &["b"])));
    for (wrong, field) in [
        (request(own, &["a"]), Field::Mode),
        (permits(3, request(own, &["a"])), Field::Mode),
        (request(own, &["b"]), Field::Mode),
        (shared(request(own, &["b"])), Field::Mode),
        (permits(4, request(own, &["b"])), Field::Permits),
    ] {
        assert_eq!(world.invalid(&wrong), field, "{wrong:?}");
    }
}

#[test]
fn a_transaction_that_waits_to_write_and_to_read_gets_both_at_once() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    let own = transaction();
    let (write, read) = (request(own, &["a"]), shared(request(own, &["a"])));
    let stranger = shared(single(&["a"]));
    world.wait(&write);
    world.wait(&stranger);
    world.wait(&read);
    world.release(&holder);
    assert_eq!(world.served(), [write.id, read.id]);
    world.release(&write);
    assert_eq!(world.served(), [stranger.id]);
}
