//! Histories of many clients at once: what each was told, and what the node
//! says happened, go through a checker that knows the promises.

use crate::harness::{
    Held, History, JsonApi, LockApi, Node, Random, Speaks, Storage, acquire_waiting, check_events,
    shared, steps,
};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::{AcquireRequest, Event, OpenSession, WatchRequest};
use std::thread;
use std::time::Instant;

on_every_store! {
    l1_eight_clients_on_ten_locks_make_a_history_that_keeps_every_promise,
    l25_random_subsets_of_twenty_locks_are_all_or_nothing_and_never_deadlock,
}

/// Clients of L1, half of them components.
const CLIENTS: usize = 8;

/// Locks of L1.
const LOCKS: usize = 10;

/// What each client of L1 does.
const OPERATIONS: usize = 80;

/// Of L25.
const SUBSET_CLIENTS: usize = 16;
const SUBSET_LOCKS: usize = 20;
const SUBSETS: usize = 1_000;

fn l1_eight_clients_on_ten_locks_make_a_history_that_keeps_every_promise(storage: Storage) {
    let node = Node::builder().guest("probe").storage(storage).start();
    let api = LockApi::of(&node);
    let mut watching = api.watch(prefix("item/")).expect("it may");
    let history = History::default();
    let random = Random::seeded();
    let increments: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let random = random.fork(client as u64);
                let (node, history) = (&node, &history);
                scope.spawn(move || match client % 2 {
                    0 => lock_from_outside(node, client, random, history),
                    _ => count_in_a_component(node, random),
                })
            })
            .collect();
        let joined = clients
            .into_iter()
            .map(|it| it.join().expect("it is served"));
        joined.sum()
    });
    let counted: usize = (0..LOCKS).map(|lock| count(&node, lock)).sum();
    assert_eq!(counted, increments, "increments that were acknowledged");
    assert_eq!(history.len(), CLIENTS / 2 * OPERATIONS);

    let events = rest_of(&mut watching, &api, "item/end");
    history.check();
    history.check_against(&events);
    check_events(&events);
}

/// Takes random locks, by gRPC, in JSON or on a session's stream, exclusively
/// or shared.
fn lock_from_outside(node: &Node, client: usize, mut random: Random, history: &History) -> usize {
    let api = LockApi::of(node);
    let json = JsonApi::of(node);
    let session = api.session(OpenSession::default());
    let (stream, _) = session.expect("a session is opened");
    for operation in 0..OPERATIONS {
        let by: &dyn Speaks = match random.below(3) {
            0 => &api,
            1 => &json,
            _ => &stream,
        };
        let names: Vec<String> = (0..=random.below(2))
            .map(|_| format!("item/{}", random.below(LOCKS)))
            .collect();
        let reads = random.below(3) == 0;
        let held = hold(by, names, reads, format!("{client}.{operation}"));
        history.add(held);
    }
    stream.close();
    0
}

/// Acquires, looks at the time, and gives back.
#[track_caller]
fn hold(by: &dyn Speaks, names: Vec<String>, reads: bool, holder: String) -> Held {
    let request = AcquireRequest {
        mode: if reads { shared() } else { 0 },
        holder,
        ..acquire_waiting(names)
    };
    let asked = Instant::now();
    let grant = by.grant(request);
    let told = Instant::now();
    let held = Held {
        names: grant.names,
        shared: reads,
        token: grant.fencing_token,
        asked,
        told,
        given_back: Instant::now(),
    };
    by.release(&grant.id).expect("it is held");
    held
}

/// Has the component add one to a counter, under the counter's lock; how often
/// that was acknowledged.
fn count_in_a_component(node: &Node, mut random: Random) -> usize {
    let mut client = node.client();
    for _ in 0..OPERATIONS {
        let lock = random.below(LOCKS);
        let add = [
            format!("acquire item/{lock} wait=9000"),
            format!("add items {lock} 1"),
        ];
        client.send(&steps("probe", add)).expect(200);
    }
    OPERATIONS
}

#[track_caller]
fn count(node: &Node, lock: usize) -> usize {
    let value = node.value("items", &lock.to_string());
    value.map_or(0, |it| it.parse().expect("it is a counter"))
}

fn l25_random_subsets_of_twenty_locks_are_all_or_nothing_and_never_deadlock(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let mut watching = api.watch(prefix("set/")).expect("it may");
    let history = History::default();
    let random = Random::seeded();
    thread::scope(|scope| {
        for client in 0..SUBSET_CLIENTS {
            let mut random = random.fork(client as u64);
            let (api, history) = (api.clone(), &history);
            scope.spawn(move || {
                for operation in 0..SUBSETS / SUBSET_CLIENTS {
                    let at_least = random.below(SUBSET_LOCKS);
                    let names: Vec<String> = (0..SUBSET_LOCKS)
                        .filter(|lock| *lock == at_least || random.below(4) == 0)
                        .map(|lock| format!("set/{lock}"))
                        .collect();
                    let holder = format!("{client}.{operation}");
                    history.add(hold(&api, names, false, holder));
                }
            });
        }
    });
    assert!(api.list("", 100).is_empty(), "something is still held");
    let events = rest_of(&mut watching, &api, "set/end");
    assert!(
        events.iter().any(|event| event.kind() == Kind::Queued),
        "nobody ever waited",
    );
    history.check();
    history.check_against(&events);
    check_events(&events);
}

/// Every event so far: those up to one that is made for the purpose.
#[track_caller]
fn rest_of(watching: &mut crate::harness::Watching, api: &LockApi, last: &str) -> Vec<Event> {
    let grant = api.grant(acquire_waiting([last]));
    api.release(&grant.id).expect("it is held");
    watching.events_until_kind(Kind::Released, last)
}

fn prefix(prefix: &str) -> WatchRequest {
    WatchRequest {
        prefix: prefix.to_owned(),
        from_revision: 0,
    }
}
