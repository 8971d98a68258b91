//! Guests that take all the processor there is: whoever holds a lock keeps it,
//! because what keeps it alive does not wait for guests.

use crate::harness::{
    Builder, LockApi, Node, RedisServer, Speaks, Storage, Told, Watching, acquire, address_of,
    check_events, guest_dir, is_long, millis, report, steps, wait_for,
};
use lockport_client::{Client, Guard, Options, Session, SessionOptions};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{AcquireRequest, Event, OpenSession, WatchRequest};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use toml::Value as Toml;

on_every_store! {
    l18_nothing_that_is_held_runs_out_while_guests_spin_on_every_core,
}

/// How many guests spin for each core there is.
const PER_CORE: usize = 4;

/// How long each of them spins until its deadline ends it, and how often all of
/// them do, one after the other.
const LONG: (Duration, usize) = (Duration::from_secs(20), 3);
/// See [`LONG`].
const SHORT: (Duration, usize) = (Duration::from_secs(5), 1);

/// How long a node of Redis lives without a beat.
const NODE_LEASE: &str = "1s";

/// How long what our own client holds lasts without being renewed. It is renewed
/// by way of what the guests keep busy, and of this process.
const LEASE: Duration = Duration::from_secs(3);

fn l18_nothing_that_is_held_runs_out_while_guests_spin_on_every_core(storage: Storage) {
    let (spin, rounds) = if is_long() { LONG } else { SHORT };
    let builder = busy(storage, spin);
    let node = builder.start();
    // Whoever looks on is not kept waiting, if there can be another node.
    let other = (storage == Storage::Redis).then(|| builder.beside().start());
    let api = LockApi::of(other.as_ref().unwrap_or(&node));
    let items = WatchRequest {
        prefix: "item/".to_owned(),
        ..WatchRequest::default()
    };
    let mut watching = api.watch(items).expect("it may");
    let gate = api.grant(AcquireRequest {
        lease: millis(3_600_000),
        ..acquire(["item/gate"])
    });
    let (session, guards) = hold(&node);
    let list = [
        "acquire item/a",
        "log holds it",
        "acquire item/gate wait=600000",
        "put items a kept",
    ];
    let mut request = node.connect();
    let list = steps("probe", list);
    request.send(&list.to_bytes()).expect("the node reads");
    node.logs().wait_for("holds it");
    let (waiting, _) = api.session(unheard()).expect("it may");
    let next = waiting.send(Operation::Acquire(AcquireRequest {
        wait: millis(600_000),
        ..acquire(["item/a"])
    }));
    api.wait_until_waiting("item/a", 1);

    let slowest = (0..rounds).map(|_| spin_on_every_core(&node)).max();
    report(format_args!(
        "{storage:?}: {} guests spun {rounds} times for {spin:?}; the slowest pair of an \
         acquire and a release took {:?} meanwhile",
        spinners(),
        slowest.unwrap_or_default(),
    ));
    assert_eq!(guards.each_ref().map(Guard::is_held), [true, true]);
    for guard in guards {
        let released = wait_for("the release", guard.release());
        assert!(released.is_ok(), "{released:?}");
    }
    assert_eq!(api.release(&gate.id), Ok(Outcome::Released));
    let answer = request.answer_to("POST").expect("it is answered");
    answer.expect(200);
    let granted = next.answer();
    assert!(matches!(granted, Ok(Told::Acquire(_))), "{granted:?}");
    waiting.close();
    wait_for("the close", session.close()).expect("it lives");
    assert_eq!(node.value("items", "a").as_deref(), Some("kept"));
    assert_nothing_ran_out(&mut watching, &api);
}

/// A node with a guest that may spin for so long, and a probe that may take
/// longer than the test.
fn busy(storage: Storage, spin: Duration) -> Builder {
    let builder = match storage {
        Storage::Redis => {
            let server = Arc::new(RedisServer::start());
            let builder = Node::builder().redis(&server, "busy");
            builder.set("store.lease", NODE_LEASE)
        }
        _ => Node::builder().storage(storage),
    };
    let deadline = format!("{}ms", spin.as_millis());
    builder.patient_probe().changed(&guest_dir("tight"), |it| {
        it["limits"]["deadline"] = Toml::from(deadline);
    })
}

/// A session that nobody beats.
fn unheard() -> OpenSession {
    OpenSession {
        ttl: millis(3_600_000),
        ..OpenSession::default()
    }
}

/// How many guests spin at once.
fn spinners() -> usize {
    PER_CORE * thread::available_parallelism().map_or(1, |it| it.get())
}

/// Has guests spin on every core until all have been ended; how long the slowest
/// pair of an acquire and a release took meanwhile.
#[track_caller]
fn spin_on_every_core(node: &Node) -> Duration {
    let api = LockApi::of(node);
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        let spinning: Vec<_> = (0..spinners())
            .map(|_| scope.spawn(|| node.run("tight", ["spin"])))
            .collect();
        while !spinning.iter().all(|it| it.is_finished()) {
            let asked = Instant::now();
            let grant = api.grant(acquire(["pair"]));
            api.release(&grant.id).expect("it is held");
            slowest = slowest.max(asked.elapsed());
        }
        for spun in spinning {
            let answer = spun.join().expect("it is answered");
            answer.expect_problem(504, "DEADLINE");
        }
    });
    slowest
}

/// Locks that renew themselves: one by a session, one by itself.
#[track_caller]
fn hold(node: &Node) -> (Session, [Guard; 2]) {
    let options = Options::server(address_of(node).to_string());
    let options_of_session = SessionOptions {
        ttl: Some(LEASE),
        grace: Some(LEASE),
        ..SessionOptions::default()
    };
    wait_for("two grants", async {
        let client = Client::connect(options).await.expect("the node listens");
        let session = client.session(options_of_session).await.expect("it may");
        let by_session = session
            .acquire(["item/by-session"])
            .await
            .expect("it is free");
        let by_guard = client.acquire(["item/by-guard"]).lease(LEASE).await;
        (session, [by_session, by_guard.expect("it is free")])
    })
}

/// Fails if a lock was lost by its holder since the watch began.
#[track_caller]
fn assert_nothing_ran_out(watching: &mut Watching, api: &LockApi) {
    let grant = api.grant(acquire(["item/end"]));
    api.release(&grant.id).expect("it is held");
    let events = watching.events_until_kind(Kind::Released, "item/end");
    let is_loss = |it: &&Event| matches!(it.kind(), Kind::Expired | Kind::Lost | Kind::Forced);
    let losses: Vec<&Event> = events.iter().filter(is_loss).collect();
    assert!(losses.is_empty(), "{losses:#?}");
    check_events(&events);
}
