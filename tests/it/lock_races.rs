//! Two ends of one wait, or of one lease, at the same moment: one of them is
//! what happened, never both and never neither.

use crate::harness::{
    Answered, Ask, LockApi, Node, Speaks, Storage, acquire, acquire_waiting, brief_grant, duration,
    millis, wait_for,
};
use lockport_proto::lock::cancel_response::Outcome as CancelOutcome;
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::{AcquireRequest, AcquireResponse};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

on_every_store! {
    l10_a_hand_over_and_a_cancel_at_once_are_one_or_the_other,
    l10_a_hand_over_and_the_end_of_the_wait_at_once_are_one_or_the_other,
    l20_a_renewal_at_the_deadline_renews_or_is_lost,
    an_acquire_whose_client_goes_away_leaves_nothing,
}

/// How often each race is run; over how many locks at once.
const ROUNDS: usize = 60;
const LANES: usize = 4;

/// How often L20 is run, over how many locks at once.
const DEADLINES: usize = 4;
const DEADLINE_LANES: usize = 16;

/// What the two sides of a race were told.
struct Raced {
    waited: Answered<AcquireResponse>,
    was_cancelled: Option<CancelOutcome>,
}

fn l10_a_hand_over_and_a_cancel_at_once_are_one_or_the_other(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let outcomes = in_lanes(&node, LANES, |api, lane| {
        let mut granted = 0;
        for round in 0..ROUNDS {
            let raced = race(
                api,
                &format!("lane/{lane}"),
                &format!("{lane}.{round}"),
                true,
            );
            match (raced.waited, raced.was_cancelled.expect("it was cancelled")) {
                // It was told of the grant, which then was given back.
                (Ok(_), CancelOutcome::Granted) => granted += 1,
                (Err(refused), CancelOutcome::Cancelled) => {
                    assert_eq!(refused.reason, "CANCELLED", "{refused:?}");
                }
                // The grant was given back before it was told of.
                (Err(refused), CancelOutcome::Granted) => {
                    assert!(
                        ["CANCELLED", "LOST"].contains(&refused.reason.as_str()),
                        "{refused:?}",
                    );
                }
                (waited, cancelled) => panic!("{waited:?} and {cancelled:?}"),
            }
            let lock = api.look(&format!("lane/{lane}"));
            assert_eq!((lock.holder_count, lock.waiter_count), (0, 0), "{lock:?}");
        }
        granted
    });
    assert!(outcomes.iter().sum::<usize>() <= LANES * ROUNDS);
}

fn l10_a_hand_over_and_the_end_of_the_wait_at_once_are_one_or_the_other(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    in_lanes(&node, LANES, |api, lane| {
        let name = format!("lane/{lane}");
        for round in 0..ROUNDS {
            let raced = race(api, &name, &format!("{lane}.{round}"), false);
            let lock = api.look(&name);
            match raced.waited {
                Ok(told) => {
                    let grant = told.grant.expect("there is a grant");
                    assert_eq!(lock.holder_count, 1, "{lock:?}");
                    assert_eq!(lock.last_fencing_token, grant.fencing_token);
                    assert_eq!(api.release(&grant.id), Ok(Outcome::Released));
                }
                Err(refused) => {
                    assert_eq!(refused.reason, "TIMED_OUT", "{refused:?}");
                    assert_eq!(lock.holder_count, 0, "{lock:?}");
                }
            }
            assert_eq!(api.look(&name).waiter_count, 0);
        }
    });
}

/// Holds a lock, has somebody wait for it, and at once gives it back and
/// cancels the wait, or lets it run out.
#[track_caller]
fn race(api: &LockApi, name: &str, id: &str, cancels: bool) -> Raced {
    let holder = api.grant(acquire([name]));
    let request = AcquireRequest {
        request_id: id.to_owned(),
        ..acquire_waiting([name])
    };
    let request = match cancels {
        true => request,
        false => AcquireRequest {
            wait: millis(5),
            ..request
        },
    };
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| api.acquire(request));
        // One that has run out already is no race, and no fault.
        if cancels {
            api.wait_until_waiting(name, 1);
        }
        let cancelling = cancels.then(|| {
            scope.spawn(|| {
                start.wait();
                let told = api.cancel(id).expect("it may");
                told.outcome()
            })
        });
        if cancels {
            start.wait();
        }
        assert_eq!(api.release(&holder.id), Ok(Outcome::Released));
        Raced {
            waited: waiting.join().expect("it is told"),
            was_cancelled: cancelling.map(|it| it.join().expect("it is told")),
        }
    })
}

fn l20_a_renewal_at_the_deadline_renews_or_is_lost(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    in_lanes(&node, DEADLINE_LANES, |api, lane| {
        let name = format!("lane/{lane}");
        for round in 0..DEADLINES {
            let grant = brief_grant(api, &name, 100);
            let next = thread::scope(|scope| {
                let next = scope.spawn(|| api.grant(acquire_waiting([&name])));
                // As near as a client can come; a little before it, or behind.
                let near = Duration::from_micros(500 * (round as u64 + lane as u64 % 4));
                crate::harness::eventually("the lease is almost over", || {
                    let lock = api.look(&name);
                    let ours = lock.last_fencing_token == grant.fencing_token;
                    let left = lock.holders.first().and_then(|it| it.remaining);
                    (!ours || duration(left) <= near.max(Duration::from_millis(8))).then_some(())
                });
                match api.renew(&grant.id, millis(60_000)) {
                    Ok(renewed) => {
                        assert_eq!(renewed.fencing_token, grant.fencing_token);
                        let lock = api.look(&name);
                        assert_eq!(lock.last_fencing_token, grant.fencing_token, "{lock:?}");
                        assert!(!next.is_finished(), "it was renewed, and handed over");
                        assert_eq!(api.release(&grant.id), Ok(Outcome::Released));
                    }
                    Err(lost) => {
                        assert_eq!(lost.reason, "LOST", "{lost:?}");
                        assert_eq!(api.release(&grant.id), Ok(Outcome::Already));
                    }
                }
                next.join().expect("it is granted")
            });
            assert!(next.fencing_token > grant.fencing_token);
            api.release(&next.id).expect("it is held");
        }
    });
}

fn an_acquire_whose_client_goes_away_leaves_nothing(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let holder = api.grant(acquire(["a"]));
    for round in 0..ROUNDS {
        let ask = Ask::Acquire(acquire_waiting(["a"]));
        // Dropping the call resets its stream.
        let gone = wait_for("the end of a call", async {
            let patience = Duration::from_millis(round as u64 % 4);
            tokio::time::timeout(patience, api.call(ask)).await
        });
        assert!(gone.is_err(), "it is held: {gone:?}");
    }
    api.wait_until_waiting("a", 0);
    api.release(&holder.id).expect("it is held");
    let grant = api.grant(acquire(["a"]));
    api.release(&grant.id).expect("it is held");
}

/// Runs the same on several locks at once, each with a connection of its own.
fn in_lanes<T: Send>(
    node: &Node,
    lanes: usize,
    run: impl Fn(&LockApi, usize) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|lane| {
                let run = &run;
                scope.spawn(move || run(&LockApi::of(node), lane))
            })
            .collect();
        let joined = lanes.into_iter().map(|it| it.join().expect("it holds"));
        joined.collect()
    })
}
