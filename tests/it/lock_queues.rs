//! Who comes next: first come, first served, writers among readers, and
//! circles of waiters that would never have ended.

use crate::harness::{
    Answered, IsRefused, LockApi, Node, Speaks, Storage, acquire, acquire_waiting,
    assert_served_in_order, check_events, shared,
};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::{AcquireRequest, AcquireResponse, Event, Mode, WatchRequest};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

on_every_store! {
    l14_fifty_waiters_are_granted_in_the_order_in_which_they_came,
    l15_a_writer_is_granted_after_the_readers_that_were_there_and_before_later_ones,
    l26_each_circle_of_owners_ends_with_exactly_one_deadlock,
    permits_let_in_as_many_as_there_are,
}

/// Waiters of L14, and over how many connections they come.
const WAITERS: u32 = 50;
const CONNECTIONS: usize = 5;

/// Readers of L15, who begin again as soon as they end.
const READERS: usize = 4;

fn l14_fifty_waiters_are_granted_in_the_order_in_which_they_came(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let connections: Vec<LockApi> = (0..CONNECTIONS).map(|_| LockApi::of(&node)).collect();
    assert_served_in_order(&connections, WAITERS);
}

fn l15_a_writer_is_granted_after_the_readers_that_were_there_and_before_later_ones(
    storage: Storage,
) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let mut watching = api.watch(WatchRequest::default()).expect("it may");
    let over = AtomicBool::new(false);
    let read = || AcquireRequest {
        mode: shared(),
        ..acquire_waiting(["a"])
    };
    // It reads all the time until the writer waits, so that there is no moment
    // without a reader.
    let first = api.grant(read());
    let writer = thread::scope(|scope| {
        for _ in 0..READERS {
            let by = LockApi::of(&node);
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let grant = by.grant(read());
                    by.release(&grant.id).expect("it is held");
                }
            });
        }
        let writing = scope.spawn(|| {
            let grant = api.grant(acquire_waiting(["a"]));
            over.store(true, Ordering::Relaxed);
            api.release(&grant.id).expect("it is held");
            grant
        });
        watching.events_until(|it| it.kind() == Kind::Queued && it.mode() != Mode::Shared);
        api.release(&first.id).expect("it is held");
        writing.join().expect("it is granted")
    });
    // Everything from the beginning: no reader overtook it.
    let mut again = api
        .watch(WatchRequest {
            from_revision: watching.began,
            ..WatchRequest::default()
        })
        .expect("it may");
    let is_last =
        |it: &Event| it.kind() == Kind::Released && it.fencing_token == writer.fencing_token;
    let events = again.events_until(is_last);
    check_events(&events);
    let after = events.iter().skip_while(|it| it.mode() == Mode::Shared);
    assert!(
        after.filter(|it| it.kind() == Kind::Granted).count() == 1,
        "a reader was granted while the writer waited: {events:#?}",
    );
}

fn l26_each_circle_of_owners_ends_with_exactly_one_deadlock(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    for length in 2..=5 {
        let name = |at: usize| format!("circle/{length}/{}", at % length);
        let named = |at: usize, request: AcquireRequest| AcquireRequest {
            owner: format!("owner {at}"),
            ..request
        };
        let grants: Vec<_> = (0..length)
            .map(|at| api.grant(named(at, acquire([name(at)]))))
            .collect();
        let outcomes = thread::scope(|scope| {
            let waiting: Vec<_> = (0..length)
                .map(|at| {
                    let request = named(at, acquire_waiting([name(at + 1)]));
                    let (api, id) = (&api, &grants[at].id);
                    let thread = scope.spawn(move || circle_step(api, request, id));
                    if at + 1 < length {
                        api.wait_until_waiting(&name(at + 1), 1);
                    }
                    thread
                })
                .collect();
            let joined = waiting.into_iter().map(|it| it.join().expect("it is told"));
            joined.collect::<Vec<_>>()
        });
        let refused: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().err()).collect();
        assert_eq!(refused.len(), 1, "a circle of {length}: {outcomes:?}");
        assert_eq!(refused[0].reason, "DEADLOCK");
        assert!(outcomes[length - 1].is_err(), "the youngest is refused");
        for at in 0..length {
            let listed = refused[0].message.contains(&name(at));
            assert!(listed, "the circle is not listed: {}", refused[0].message);
        }
        assert!(
            api.list("circle/", 10).is_empty(),
            "something is still held"
        );
    }
}

/// Waits for the next lock of a circle; then, whatever came of it, gives back
/// what it has.
fn circle_step(api: &LockApi, request: AcquireRequest, first: &str) -> Answered<AcquireResponse> {
    let outcome = api.acquire(request);
    if let Ok(told) = &outcome {
        let grant = told.grant.as_ref().expect("there is a grant");
        api.release(&grant.id).expect("it is held");
    }
    api.release(first).expect("it is held");
    outcome
}

fn permits_let_in_as_many_as_there_are(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let request = AcquireRequest {
        mode: Mode::Permits.into(),
        permits: 3,
        ..acquire(["a"])
    };
    let grants: Vec<_> = (0..3).map(|_| api.grant(request.clone())).collect();
    assert_eq!(api.acquire(request.clone()).expect_refused().reason, "HELD");
    let lock = api.look("a");
    assert_eq!((lock.permits, lock.holder_count), (3, 3), "{lock:?}");
    thread::scope(|scope| {
        let next = scope.spawn(|| {
            api.grant(AcquireRequest {
                wait: acquire_waiting(["a"]).wait,
                ..request.clone()
            })
        });
        api.wait_until_waiting("a", 1);
        api.release(&grants[1].id).expect("it is held");
        let next = next.join().expect("it is granted");
        assert!(next.fencing_token > grants[2].fencing_token);
    });
    for other in [
        acquire(["a"]),
        AcquireRequest {
            mode: shared(),
            ..acquire(["a"])
        },
    ] {
        assert_eq!(api.acquire(other).expect_refused().reason, "HELD");
    }
}
