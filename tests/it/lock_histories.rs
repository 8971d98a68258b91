//! Histories of many clients at once: what each was told, and what the node
//! says happened, go through a checker that knows the promises.

use crate::harness::{
    Held, History, JsonApi, LockApi, Node, Random, Speaks, Storage, Watching, acquire_waiting,
    check_events, is_long, millis, report, shared, steps,
};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::{AcquireRequest, Event, OpenSession, WatchRequest};
use std::thread;
use std::time::{Duration, Instant};

on_every_store! {
    l1_eight_clients_on_ten_locks_make_a_history_that_keeps_every_promise,
    l25_random_subsets_of_twenty_locks_are_all_or_nothing_and_never_deadlock,
}

/// Clients of L1, half of them components.
const CLIENTS: usize = 8;

/// Locks of L1.
const LOCKS: usize = 10;

/// How long each client of L1 goes on, and what it does in the short form.
const LONG: Duration = Duration::from_secs(60);
const OPERATIONS: usize = 80;

/// After how many events a watcher goes away, and comes back for the rest.
const RESUME_EVERY: usize = 1_000;

/// Of L25.
const SUBSET_CLIENTS: usize = 16;
const SUBSET_LOCKS: usize = 20;
const SUBSETS: usize = 1_000;

/// When a client of L1 has done enough.
#[derive(Clone, Copy)]
enum Until {
    Done(usize),
    Time(Instant),
}

/// What was acknowledged to a client of L1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Acknowledged {
    /// Grants from outside.
    grants: usize,
    /// Increments by a component.
    increments: usize,
}

fn l1_eight_clients_on_ten_locks_make_a_history_that_keeps_every_promise(storage: Storage) {
    let node = Node::builder().guest("probe").storage(storage).start();
    let api = LockApi::of(&node);
    let watching = api.watch(events_of("item/", 0)).expect("it may");
    let history = History::default();
    let random = Random::seeded();
    let until = match is_long() {
        true => Until::Time(Instant::now() + LONG),
        false => Until::Done(OPERATIONS),
    };
    let (done, events) = thread::scope(|scope| {
        // It reads meanwhile: the node does not remember them all.
        let watcher = scope.spawn(|| follow(&api, watching, "item/"));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let random = random.fork(client as u64);
                let (node, history) = (&node, &history);
                scope.spawn(move || match client % 2 {
                    0 => lock_from_outside(node, client, random, history, until),
                    _ => count_in_a_component(node, random, until),
                })
            })
            .collect();
        let joined: Vec<_> = clients.into_iter().map(|it| it.join()).collect();
        // Whatever they came to, for the watcher would go on for ever.
        end(&api, "item/");
        let done = joined.into_iter().map(|it| it.expect("it is served"));
        let done = done.fold(Acknowledged::default(), Acknowledged::and);
        (done, watcher.join().expect("it is told"))
    });
    let counted: usize = (0..LOCKS).map(|lock| count(&node, lock)).sum();
    assert_eq!(counted, done.increments, "what was acknowledged");
    assert_eq!(history.len(), done.grants);

    let checking = Instant::now();
    history.check();
    history.check_against(&events);
    check_events(&events);
    report(format_args!(
        "{storage:?}: {done:?}, {} events, checked in {:?}",
        events.len(),
        checking.elapsed(),
    ));
}

/// Takes random locks, by gRPC, in JSON or on a session's stream, exclusively
/// or shared.
fn lock_from_outside(
    node: &Node,
    client: usize,
    mut random: Random,
    history: &History,
    until: Until,
) -> Acknowledged {
    let api = LockApi::of(node);
    let json = JsonApi::of(node);
    let session = api.session(OpenSession {
        // Nobody beats.
        ttl: millis(3_600_000),
        ..OpenSession::default()
    });
    let (stream, _) = session.expect("a session is opened");
    let mut grants = 0;
    while until.is_ahead(grants) {
        let by: &dyn Speaks = match random.below(3) {
            0 => &api,
            1 => &json,
            _ => &stream,
        };
        let names: Vec<String> = (0..=random.below(2))
            .map(|_| format!("item/{}", random.below(LOCKS)))
            .collect();
        let reads = random.below(3) == 0;
        let held = hold(by, names, reads, format!("{client}.{grants}"));
        history.add(held);
        grants += 1;
    }
    stream.close();
    Acknowledged {
        grants,
        increments: 0,
    }
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

/// Has the component add one to a counter, under the counter's lock.
fn count_in_a_component(node: &Node, mut random: Random, until: Until) -> Acknowledged {
    let mut client = node.client();
    let mut increments = 0;
    while until.is_ahead(increments) {
        let lock = random.below(LOCKS);
        let add = [
            format!("acquire item/{lock} wait=9000"),
            format!("add items {lock} 1"),
        ];
        client.send(&steps("probe", add)).expect(200);
        increments += 1;
    }
    Acknowledged {
        grants: 0,
        increments,
    }
}

#[track_caller]
fn count(node: &Node, lock: usize) -> usize {
    let value = node.value("items", &lock.to_string());
    value.map_or(0, |it| it.parse().expect("it is a counter"))
}

fn l25_random_subsets_of_twenty_locks_are_all_or_nothing_and_never_deadlock(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let watching = api.watch(events_of("set/", 0)).expect("it may");
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
    end(&api, "set/");
    let events = follow(&api, watching, "set/");
    assert!(
        events.iter().any(|event| event.kind() == Kind::Queued),
        "nobody ever waited",
    );
    history.check();
    history.check_against(&events);
    check_events(&events);
}

/// Makes the last events of a history: whoever follows it stops there.
#[track_caller]
fn end(api: &LockApi, prefix: &str) {
    let grant = api.grant(acquire_waiting([format!("{prefix}end")]));
    api.release(&grant.id).expect("it is held");
}

/// Every event up to the [`end`], over several watches: each goes on where the
/// one before it has stopped, and nothing may be missing in between.
#[track_caller]
fn follow(api: &LockApi, mut watching: Watching, prefix: &str) -> Vec<Event> {
    let last = format!("{prefix}end");
    let mut events = Vec::new();
    loop {
        let event = watching.next_event();
        let revision = event.revision;
        let is_last = event.kind() == Kind::Released && event.names.contains(&last);
        events.push(event);
        if is_last {
            return events;
        }
        if events.len().is_multiple_of(RESUME_EVERY) {
            let rest = api.watch(events_of(prefix, revision));
            watching = rest.expect("it may");
        }
    }
}

fn events_of(prefix: &str, from_revision: u64) -> WatchRequest {
    WatchRequest {
        prefix: prefix.to_owned(),
        from_revision,
    }
}

// === impl Until ===

impl Until {
    /// Whether a client that has done so much goes on.
    fn is_ahead(self, done: usize) -> bool {
        match self {
            Self::Done(enough) => done < enough,
            Self::Time(end) => Instant::now() < end,
        }
    }
}

// === impl Acknowledged ===

impl Acknowledged {
    fn and(self, other: Self) -> Self {
        Self {
            grants: self.grants + other.grants,
            increments: self.increments + other.increments,
        }
    }
}
