//! Waits that would never end, and those that only look so.

use super::races::Dice;
use super::*;
use std::collections::BTreeSet;

fn links(cycle: &Cycle) -> Vec<(String, String)> {
    let link = |it: &Link| (it.waiter.to_string(), it.name.as_str().to_owned());
    cycle.0.iter().map(link).collect()
}

/// A caller's request, labelled as its owner is named.
pub(super) fn owned(owner: &str, names: &[&str]) -> Acquire {
    labelled(owner, of_owner(owner, caller(names)))
}

// L26.
#[test]
fn a_cycle_of_two_to_five_owners_is_found_when_it_closes_and_told_to_the_last_alone() {
    for length in 2..=5 {
        let kinds: [fn(&mut World) -> Holder; 3] = [
            |_| transaction(),
            |world| Holder::Session(world.open()),
            |_| Holder::Caller,
        ];
        for kind in kinds {
            let mut world = World::new();
            let owners: Vec<_> = (0..length).map(|_| kind(&mut world)).collect();
            let ask = |it: usize, lock: usize| {
                let ask = request(owners[it], &[&format!("l{lock}")]);
                labelled(&it.to_string(), of_owner(&format!("owner {it}"), ask))
            };
            for it in 0..length {
                world.hold(&ask(it, it));
            }
            (0..length - 1).for_each(|it| world.wait(&ask(it, it + 1)));
            let last = ask(length - 1, 0);
            let cycle = world.cycle(&last);
            let mut expected: Vec<_> = (0..length)
                .map(|it| (it.to_string(), format!("l{}", (it + 1) % length)))
                .collect();
            expected.rotate_right(1);
            assert_eq!(links(&cycle), expected);
            assert_eq!(world.told(), [], "nobody else is told");
            assert_eq!(world.core.statistics().deadlocks, 1);
            let still: usize = (0..length).map(|it| world.count(&format!("l{it}")).1).sum();
            assert_eq!(still, length - 1, "the others wait on");
            // Without waiting there is no deadlock.
            let refusal = world.refused(&trying(last));
            assert_eq!(refusal, AcquireError::Held(name("l0")));
        }
    }
}

#[test]
fn who_would_wait_for_itself_is_told_at_once() {
    let mut world = World::new();
    let id = world.open();
    let asks = [
        owned("me", &["a"]),
        labelled("me", request(Holder::Session(id), &["b"])),
        shared(owned("me", &["c"])),
    ];
    for (ask, text) in asks.iter().zip(["a", "b", "c"]) {
        world.hold(ask);
        let again = Acquire {
            id: GrantId::mint(),
            mode: Mode::Exclusive,
            ..ask.clone()
        };
        assert_eq!(links(&world.cycle(&again)), [("me".into(), text.into())]);
        let refusal = world.refused(&trying(again));
        assert_eq!(refusal, AcquireError::Held(name(text)));
    }
    // What it waits for already it would hold.
    world.hold(&single(&["d"]));
    world.wait(&owned("you", &["d"]));
    world.cycle(&owned("you", &["d"]));
    // Callers without an owner are each their own.
    world.hold(&caller(&["e"]));
    world.wait(&caller(&["e"]));
}

#[test]
fn an_owner_is_its_principal_s_alone() {
    let mut world = World::new();
    world.hold(&of_principal("anna", owned("x", &["a"])));
    world.hold(&of_principal("ben", owned("x", &["b"])));
    world.wait(&of_principal("anna", owned("x", &["b"])));
    world.cycle(&of_principal("ben", owned("x", &["a"])));
    world.hold(&of_principal("cora", owned("x", &["c"])));
    world.wait(&of_principal("cora", owned("x", &["a"])));
}

#[test]
fn waiters_ahead_are_waited_for_as_holders_are() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    world.hold(&owned("y", &["b"]));
    // X waits for A's holder, Y behind X. X wants what Y has.
    world.wait(&owned("x", &["a"]));
    world.wait(&owned("y", &["a"]));
    let cycle = world.cycle(&owned("x", &["b"]));
    let expected = [("x", "b"), ("y", "a")].map(|it| (it.0.to_owned(), it.1.to_owned()));
    assert_eq!(links(&cycle), expected);
}

#[test]
fn a_reader_waits_for_all_that_a_writer_ahead_of_it_waits_for() {
    let mut world = World::new();
    world.hold(&shared(owned("x", &["a"])));
    world.hold(&owned("y", &["b"]));
    world.wait(&owned("x", &["b"]));
    // Readers share; only the stranger in between makes it a cycle.
    let writer = single(&["a"]);
    world.wait(&writer);
    world.cycle(&shared(owned("y", &["a"])));
    world.release(&writer);
    world.hold(&shared(owned("y", &["a"])));
}

#[test]
fn a_reader_does_not_wait_for_readers() {
    let mut world = World::new();
    let holder = single(&["a"]);
    world.hold(&holder);
    world.hold(&owned("y", &["b"]));
    world.wait(&shared(owned("x", &["a"])));
    world.wait(&shared(owned("y", &["a"])));
    world.wait(&owned("x", &["b"]));
}

#[test]
fn who_waits_for_a_permit_waits_for_its_holders_only_if_they_are_one() {
    let mut world = World::new();
    world.hold(&permits(2, owned("x", &["a"])));
    let other = permits(2, single(&["a"]));
    world.hold(&other);
    world.hold(&owned("y", &["b"]));
    let first = permits(2, owned("y", &["a"]));
    world.wait(&first);
    let of_x = owned("x", &["b"]);
    world.wait(&of_x);
    assert_eq!(world.release(&of_x), Released::Released);
    world.release(&other);
    assert_eq!(world.served().last(), Some(&first.id));

    // All of them are one's: nobody else can make room.
    let mut world = World::new();
    world.hold(&permits(2, owned("x", &["a"])));
    world.hold(&permits(2, owned("x", &["a"])));
    world.hold(&owned("y", &["b"]));
    world.wait(&permits(2, owned("y", &["a"])));
    world.cycle(&owned("x", &["b"]));
}

#[test]
fn a_request_for_several_locks_leads_from_one_queue_to_another() {
    let mut world = World::new();
    world.hold(&owned("x", &["a"]));
    world.hold(&owned("y", &["b"]));
    // It has no owner, holds nothing, and waits for X and Y.
    world.wait(&single(&["c", "a"]));
    world.hold(&single(&["d"]));
    world.wait(&owned("y", &["c"]));
    world.cycle(&owned("x", &["b"]));
}

#[test]
fn a_transaction_that_waits_behind_who_waits_for_it_would_wait_forever() {
    let mut world = World::new();
    world.hold(&single(&["a"]));
    let own = transaction();
    world.wait(&labelled("first", request(own, &["a"])));
    world.wait(&request(own, &["a"]));
    world.wait(&labelled("stranger", single(&["a"])));
    let cycle = world.cycle(&labelled("third", request(own, &["a"])));
    let expected = [("third", "a"), ("stranger", "a")];
    assert_eq!(
        links(&cycle),
        expected.map(|it| (it.0.to_owned(), it.1.to_owned()))
    );
    // It waits to read; to write it would have to wait for itself.
    let reads = transaction();
    world.wait(&shared(request(reads, &["a"])));
    world.cycle(&request(reads, &["a"]));
}

// L26.
#[test]
fn owners_that_acquire_in_one_order_are_never_told_of_a_deadlock() {
    let mut dice = Dice(26);
    for _ in 0..100_000 {
        let mut world = World::new();
        let names = ["a", "b", "c", "d", "e"];
        let mut asks = Vec::new();
        let mut next = [0; 4];
        let owners = [(); 4].map(|()| transaction());
        for _ in 0..8 {
            let who = dice.below(4);
            // Each goes on to greater names only.
            let at = next[who] + dice.below(2);
            if at >= names.len() {
                continue;
            }
            let ask = request(owners[who], &[names[at]]);
            let ask = if dice.below(3) == 0 { shared(ask) } else { ask };
            next[who] = at + 1;
            if world.acquire(&ask) == Acquired::Waiting {
                next[who] = names.len();
            }
            asks.push(ask);
        }
        assert_eq!(world.core.statistics().deadlocks, 0, "{asks:?}");
    }
}

// L25.
#[test]
fn subsets_acquired_in_one_request_never_deadlock_and_are_all_or_nothing() {
    let mut world = World::new();
    let mut dice = Dice(25);
    let names: Vec<_> = (0..20).map(|it| format!("n{it}")).collect();
    let owners = [(); 16].map(|()| transaction());
    let mut busy: Vec<Option<Acquire>> = vec![None; 16];
    let (mut begun, mut ended) = (0, 0);
    let mut held = BTreeSet::new();
    while ended < 1_000 {
        let who = dice.below(16);
        if let Some(ask) = busy[who].take() {
            if held.remove(&ask.id) {
                assert_eq!(world.release(&ask), Released::Released);
                ended += 1;
            } else {
                busy[who] = Some(ask);
            }
        } else if begun < 1_000 {
            begun += 1;
            let subset: Vec<_> = names.iter().filter(|_| dice.below(4) == 0).collect();
            let subset: Vec<_> = subset.iter().map(|it| it.as_str()).collect();
            let subset = if subset.is_empty() {
                vec!["n0"]
            } else {
                subset
            };
            let ask = request(owners[who], &subset);
            match world.acquire(&ask) {
                Acquired::Granted(_) => assert!(held.insert(ask.id)),
                Acquired::Waiting => {}
                Acquired::Refused(error) => panic!("{error}"),
            }
            busy[who] = Some(ask);
        }
        held.extend(world.served());
        let holds: usize = busy
            .iter()
            .flatten()
            .map(|it| match held.contains(&it.id) {
                true => it.names.len(),
                false => 0,
            })
            .sum();
        let locked: usize = names.iter().map(|it| world.look(it).holding).sum();
        assert_eq!(holds, locked, "all or nothing");
    }
    assert!(world.core.table.is_empty());
}
