//! Searches for deadlocks that take more than one call.

use super::deadlock::PAUSE;
use super::deadlocks::owned;
use super::locks::LockSlot;
use super::races::Dice;
use super::request::Request;
use super::slab::At;
use super::*;
use std::collections::BTreeSet;

/// An owner `x` that many others wait behind one another for, so that a search
/// from it is long: `o0` waits for `x`, `o1` for `o0`, and so on. What it would
/// have to ask for is answered.
fn chain(world: &mut World, length: usize) -> Acquire {
    world.hold(&owned("x", &["0"]));
    for it in 0..length {
        world.hold(&owned(&format!("o{it}"), &[&(it + 1).to_string()]));
    }
    // The last first: then no other search is long.
    for it in (0..length).rev() {
        world.wait(&owned(&format!("o{it}"), &[&it.to_string()]));
    }
    owned("x", &[&length.to_string()])
}

fn tick_until_idle(world: &mut World) -> usize {
    let mut ticks = 0;
    while world.core.searches.due().is_some() {
        world.pass(PAUSE);
        let before = world.core.table.searched.get();
        world.tick();
        ticks += 1;
        let steps = world.core.table.searched.get() - before;
        assert!(steps <= deadlock::STEPS as u64, "{steps} steps in one call");
        assert!(ticks < 1_000);
    }
    ticks
}

#[test]
fn a_long_search_goes_on_later_and_finds_the_cycle() {
    let mut world = World::new();
    let last = chain(&mut world, 1_000);
    world.wait(&last);
    assert!(tick_until_idle(&mut world) > 1);
    let told = world.told();
    let [Effect::Deadlock(id, cycle)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*id, cycle.0.len()), (last.id, 1_001));
    assert_eq!(world.core.statistics().deadlocks, 1);
    assert_eq!(world.count("1000"), (1, 0));
}

#[test]
fn a_long_search_that_the_graph_changes_under_tells_nobody_of_what_is_gone() {
    let mut world = World::new();
    let last = chain(&mut world, 1_000);
    world.wait(&last);
    world.pass(PAUSE);
    world.tick();
    // The chain breaks at its far end, and behind the search.
    for at in [1, 999] {
        let lock = world.look(&at.to_string());
        let holder = lock.holders[0].grant;
        let node = Principal::node();
        world
            .core
            .release(holder, &node, world.now, &mut world.effects)
            .unwrap();
    }
    tick_until_idle(&mut world);
    let deadlocks = |it: &Effect| matches!(it, Effect::Deadlock(..));
    assert!(!world.told().iter().any(deadlocks));
    assert_eq!(world.core.searches.due(), None);
}

#[test]
fn of_two_long_searches_for_one_cycle_the_younger_waiter_is_told() {
    let mut world = World::new();
    let first = chain(&mut world, 1_000);
    // Somebody new comes into the cycle while the search goes on: X waits for
    // the last of the chain by way of Z.
    world.hold(&owned("z", &["z"]));
    world.wait(&owned("x", &["z"]));
    let second = owned("z", &["1000"]);
    world.wait(&second);
    assert_eq!(world.core.next_deadline(), Some(world.now + PAUSE));
    world.wait(&first);
    tick_until_idle(&mut world);
    let told = world.told().into_iter().filter_map(|it| match it {
        Effect::Deadlock(id, _) => Some(id),
        _ => None,
    });
    // Each closed a cycle of its own, and each is its youngest.
    let told: BTreeSet<_> = told.collect();
    assert_eq!(told, BTreeSet::from([first.id, second.id]));
}

/// Whether a request waits for itself, told without any index: every pair of
/// requests is looked at.
fn is_deadlocked(core: &Core, id: GrantId) -> bool {
    let table = &core.table;
    let all: Vec<_> = table.all().collect();
    let blocks = |at: At<Request>, waiter: At<Request>, lock: At<LockSlot>| {
        let (other, waiter) = (&table.requests[at], &table.requests[waiter]);
        let both_read = other.mode == Mode::Shared && waiter.mode == Mode::Shared;
        let is_in_the_way = match (other.mode, waiter.mode) {
            (Mode::Permits(most), Mode::Permits(_)) if other.is_held() => {
                let holders = all.iter().map(|it| (*it, &table.requests[*it]));
                let holders = holders.filter(|it| it.1.is_held() && it.1.locks.contains(lock));
                let owners: Vec<_> = holders.map(|it| table.owner_of(it.0)).collect();
                let is_same = |it: &u64| *it == owners[0];
                owners.len() == most.get() as usize && owners.iter().all(is_same)
            }
            _ => other.is_held() || other.arrival < waiter.arrival,
        };
        other.locks.contains(lock) && is_in_the_way && !both_read
    };
    let blockers = |waiter: At<Request>| {
        let others = all.iter().copied().filter(move |it| *it != waiter);
        let locks = table.requests[waiter].locks.as_slice();
        let in_the_way =
            others.filter(move |it| locks.iter().any(|lock| blocks(*it, waiter, *lock)));
        in_the_way.map(|it| table.owner_of(it)).collect::<Vec<_>>()
    };
    let from = table.find(id).unwrap();
    let (mut reached, mut next) = (BTreeSet::new(), blockers(from));
    while let Some(owner) = next.pop() {
        if owner == table.owner_of(from) {
            return true;
        }
        if reached.insert(owner) {
            let own = all.iter().filter(|it| table.owner_of(**it) == owner);
            let waits = own.filter(|it| !table.requests[**it].is_held());
            next.extend(waits.flat_map(|it| blockers(*it)));
        }
    }
    false
}

fn deadlocked(core: &Core) -> BTreeSet<GrantId> {
    let waits = core.table.all().map(|it| &core.table.requests[it]);
    let waits = waits.filter(|it| !it.is_held()).map(|it| it.id);
    waits.filter(|it| is_deadlocked(core, *it)).collect()
}

/// Plays so many rounds in which owners ask for what is made up by `ask`, while
/// every search is interrupted after few steps. How many deadlocks were told:
/// every one there was, and none that there was not.
fn interrupt_searches(rounds: u64, ask: impl Fn(&mut Dice) -> Acquire) -> usize {
    let mut found = 0;
    for round in 0..rounds {
        let mut dice = Dice(round);
        let mut world = World::new();
        world.core.searches.steps = 1 + dice.below(3);
        let mut asks: Vec<Acquire> = Vec::new();
        for _ in 0..60 {
            match dice.below(10) {
                0..5 => {
                    let ask = ask(&mut dice);
                    world.acquire(&ask);
                    asks.push(ask);
                }
                5..7 if !asks.is_empty() => {
                    let at = dice.below(asks.len());
                    world.release(&asks[at]);
                }
                _ => {}
            }
            world.told();
            let before = deadlocked(&world.core);
            world.pass(PAUSE);
            world.tick();
            for told in world.told() {
                if let Effect::Deadlock(id, cycle) = told {
                    assert!(before.contains(&id), "round {round}: {cycle}");
                    found += 1;
                }
            }
            let is_idle = world.core.searches.due().is_none();
            let left = deadlocked(&world.core);
            assert!(!is_idle || left.is_empty(), "round {round}: {left:?}");
            assert_sound(&world.core);
        }
        tick_until_idle(&mut world);
        assert_eq!(deadlocked(&world.core), BTreeSet::new(), "round {round}");
    }
    found
}

const OWNERS: [&str; 5] = ["v", "w", "x", "y", "z"];

#[test]
fn searches_that_are_interrupted_at_every_step_find_every_cycle_and_nothing_else() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let found = interrupt_searches(150, |dice| {
        let owner = OWNERS[dice.below(5)];
        let several = [names[dice.below(6)], names[dice.below(6)]];
        let ask = owned(owner, &several[..1 + dice.below(2)]);
        if dice.below(3) == 0 { shared(ask) } else { ask }
    });
    assert!(found > 100, "{found}");
}

#[test]
fn searches_that_are_interrupted_see_permits_change_hands() {
    // The permits are passed on between owners who also wait for each other
    // elsewhere: those who hold them are of several owners, then of one.
    let found = interrupt_searches(3_000, |dice| {
        let owner = OWNERS[dice.below(3)];
        match dice.below(4) {
            0..2 => permits(2, owned(owner, &["p"])),
            _ => owned(owner, &[["a", "b", "c"][dice.below(3)]]),
        }
    });
    assert!(found > 100, "{found}");
}

#[test]
fn a_search_for_a_wait_that_ends_is_given_up() {
    let mut world = World::new();
    let last = chain(&mut world, 1_000);
    world.wait(&last);
    let other = Acquire {
        id: GrantId::mint(),
        ..last.clone()
    };
    // It is behind its own owner: that is found at once, search or no search.
    let refusal = world.acquire(&other);
    assert!(refusal != Acquired::Waiting);
    assert!(world.core.searches.due().is_some());
    world.release(&last);
    assert_eq!(world.core.searches.due(), None);
}

#[test]
fn a_search_that_is_not_finished_leaves_the_core_to_others_for_a_while() {
    let mut world = World::new();
    let last = chain(&mut world, 1_000);
    world.wait(&last);
    for _ in 0..2 {
        let due = world.now + PAUSE;
        assert_eq!(world.core.next_deadline(), Some(due));
        let before = world.core.table.searched.get();
        // Whoever ticks earlier than that has come for something else.
        world.tick();
        assert_eq!(world.core.table.searched.get(), before);
        // Another that is not finished does not put it off.
        world.pass(PAUSE / 2);
        let other = format!("y{before}");
        world.hold(&owned(&other, &[&other]));
        world.wait(&owned(&other, &["1000"]));
        assert_eq!(world.core.next_deadline(), Some(due));
        world.pass(PAUSE / 2);
        let before = world.core.table.searched.get();
        world.tick();
        assert!(world.core.table.searched.get() > before);
    }
}

/// What one search looks at when so many that each hold something wait for one
/// lock, and another waiter of this mode comes.
fn steps_behind(waiters: usize, mode: fn(Acquire) -> Acquire, rooms: usize) -> u64 {
    let mut world = World::new();
    world.core.searches.steps = usize::MAX;
    for it in 0..rooms {
        world.hold(&owned("holder", &[&format!("h{it}")]));
        world.hold(&mode(owned("holder", &["hot"])));
    }
    let (last, others) = (waiters, 0..waiters);
    for it in others.chain([last]) {
        let owner = format!("o{it}");
        world.hold(&owned(&owner, &[&owner]));
        world.core.table.searched.set(0);
        world.wait(&mode(owned(&owner, &["hot"])));
        // Only the last search counts; the others are not to be waited for.
        world.core.searches.steps = if it + 1 == last { usize::MAX } else { 1 };
        world.core.searches.stop();
    }
    world.core.table.searched.get()
}

#[test]
fn a_search_looks_at_everybody_in_a_long_queue_once() {
    const MANY: usize = 10_000;
    for (mode, rooms) in [
        ((|it| it) as fn(Acquire) -> Acquire, 1),
        (|it| permits(100, it), 100),
    ] {
        let steps = steps_behind(MANY, mode, rooms);
        assert!(steps > MANY as u64, "{steps}: it went through the queue");
        assert!(steps < 8 * MANY as u64, "{steps}");
    }
}

#[test]
fn a_search_goes_on_behind_an_owner_whose_requests_end_under_it() {
    let mut world = World::new();
    // X waits for Y, the last of whose many requests waits for X.
    let many = (0..200).map(|it| labelled("one of many", owned("y", &[&format!("y{it}")])));
    world.hold_all(&many.collect::<Vec<_>>());
    world.hold(&owned("y", &["y"]));
    world.hold(&owned("x", &["x"]));
    world.wait(&owned("y", &["x"]));
    world.core.searches.steps = 1;
    let last = owned("x", &["y"]);
    world.wait(&last);
    let mut ticks = 0;
    while world.core.searches.due().is_some() {
        // What it is to visit next goes before it comes to that.
        if let Some(at) = world.core.searches.next_visit() {
            let request = &world.core.table.requests[at];
            let (id, is_one) = (request.id, request.label[..] == *"one of many");
            let (now, effects) = (world.now, &mut world.effects);
            if is_one {
                let released = world.core.release(id, &Principal::node(), now, effects);
                assert_eq!(released, Ok(Released::Released));
            }
        }
        world.pass(PAUSE);
        world.tick();
        ticks += 1;
        assert!(ticks < 150, "it does not get on");
    }
    let told = world.told().into_iter().filter_map(|it| match it {
        Effect::Deadlock(id, _) => Some(id),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [last.id]);
}

#[test]
fn a_search_that_saw_permits_with_several_owners_sees_them_come_to_one() {
    let mut found = 0;
    for pause in 0..12 {
        let mut world = World::new();
        let asks = |owner| permits(2, owned(owner, &["p"]));
        world.hold(&asks("x"));
        let other = asks("y");
        world.hold(&other);
        world.hold(&owned("z", &["z"]));
        // X waits for a permit more, Z behind it, and then X for Z: whoever holds
        // permits has nothing to do with that as long as they are two.
        world.wait(&asks("x"));
        world.wait(&asks("z"));
        world.core.searches.steps = 1;
        let last = owned("x", &["z"]);
        world.wait(&last);
        // While that is looked at, X gets the other permit too.
        for _ in 0..pause {
            world.pass(PAUSE);
            world.tick();
        }
        if world.core.searches.due().is_some() {
            world.release(&other);
            assert_eq!(world.count("p"), (2, 1), "X has both, and Z waits");
            found += 1;
        }
        tick_until_idle(&mut world);
        assert_eq!(deadlocked(&world.core), BTreeSet::new(), "after {pause}");
        let is_told = |it: &Effect| matches!(it, Effect::Deadlock(id, _) if *id == last.id);
        assert!(world.told().iter().any(is_told), "after {pause}");
    }
    assert!(found > 5, "{found}");
}
