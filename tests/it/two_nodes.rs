//! Several nodes on one space in Redis: what one does the others see, first come
//! is first served over all of them, and the death of one frees what it held and
//! costs nobody else anything. `LOCKPORT_TEST_LONG=1` asks for the sizes that
//! the lines of the design name.

use crate::harness::{
    Builder, HeldLock, IsRefused, LockApi, Node, RedisServer, Speaks, Told, acquire,
    acquire_waiting, assert_served_in_order, check_events, eventually, is_long, millis, report,
    steps,
};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{Event, OpenSession, WatchRequest};
use rustix::process::Signal;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a node of these tests lives without a beat.
const LEASE: Duration = Duration::from_secs(1);

/// How much later than the store frees it a lock may be granted, on a machine
/// that is busy with everything else.
const LATE_MAX: Duration = Duration::from_secs(10);

/// Locks of L5, and as many waiters; and the lease of its nodes: ten thousand
/// hand-overs are a second's work for a node on a busy machine.
const LOCKS_SHORT: (usize, Duration) = (1_000, LEASE);
const LOCKS_LONG: (usize, Duration) = (10_000, Duration::from_secs(5));

/// Names in one grant of L5, and such grants in one request.
const NAMES: usize = 50;
const GRANTS: usize = 10;

/// How many of the locks of L5 a session holds.
const IN_SESSION: usize = 100;

/// Waiters of L14, and nodes.
const WAITERS: u32 = 50;
const NODES: usize = 5;

/// Nodes of one space, in a server of their own.
fn space() -> Builder {
    let server = Arc::new(RedisServer::start());
    let lease = format!("{}ms", LEASE.as_millis());
    Node::builder()
        .redis(&server, "shared")
        .set("store.lease", lease)
}

/// A node that runs the probe, which may take its time.
fn patient(builder: &Builder) -> Builder {
    builder.beside().patient_probe()
}

#[test]
fn l5_a_node_that_is_killed_frees_all_it_held_and_each_waiter_elsewhere_is_granted_once() {
    let (locks, lease) = if is_long() { LOCKS_LONG } else { LOCKS_SHORT };
    let space = space()
        .set("locks.events", 200_000)
        .set("store.lease", format!("{}ms", lease.as_millis()));
    let (holder, node) = (patient(&space).start(), space.beside().start());
    let api = LockApi::of(&node);
    let mut watching = api.watch(WatchRequest::default()).expect("it may");
    let of_requests = locks - IN_SESSION;
    let by_requests: Vec<String> = (0..of_requests).map(|at| format!("item/{at}")).collect();
    let by_session: Vec<String> = (0..IN_SESSION).map(|at| format!("session/{at}")).collect();
    let names: Vec<String> = by_requests.iter().chain(&by_session).cloned().collect();

    let (held, _) = LockApi::of(&holder).session(unheard()).expect("it may");
    for name in &by_session {
        held.grant(acquire([name]));
    }
    let requests: Vec<_> = by_requests
        .chunks(NAMES * GRANTS)
        .map(|of_one| {
            let acquire = of_one
                .chunks(NAMES)
                .map(|it| format!("acquire {}", it.join(" ")));
            let steps = steps("probe", acquire.chain(["sleep 100000".to_owned()]));
            let mut connection = holder.connect();
            connection.send(&steps.to_bytes()).expect("the node reads");
            connection
        })
        .collect();
    let grants = by_requests.len() / NAMES + IN_SESSION;
    let mut events = count_events(&mut watching, Kind::Granted, grants);

    let (waiting, _) = api.session(unheard()).expect("it may");
    let waits: Vec<_> = names
        .iter()
        .map(|name| waiting.send(Operation::Acquire(acquire_waiting([name]))))
        .collect();
    events.extend(count_events(&mut watching, Kind::Queued, names.len()));

    holder.kill();
    let killed = Instant::now();
    let mut times = Vec::new();
    for (name, wait) in names.iter().zip(waits) {
        let granted = wait.answer().expect("it is granted");
        times.push(killed.elapsed());
        let Told::Acquire(granted) = granted else {
            panic!("an acquire was answered {granted:?}");
        };
        let grant = granted.grant.expect("there is a grant");
        assert_eq!(grant.names, [name.as_str()]);
    }
    drop(requests);
    let (freed, freed_session) = (times[of_requests - 1], times[locks - 1]);
    report(format_args!(
        "{of_requests} locks of requests were granted {freed:?} after the kill, and \
         {IN_SESSION} of a session {freed_session:?} (lease {lease:?}, grace 1 s)"
    ));
    assert!(freed < lease + LATE_MAX, "{freed:?}");

    events.extend(count_events(&mut watching, Kind::Granted, names.len()));
    check_events(&events);
    let again = api.list("", 1_000).len();
    assert_eq!(again, names.len(), "each is held once, and nothing else is");
    assert_granted_once(&events, &names);
    waiting.close();
}

/// A session that nobody beats, and whose grace is as short as may be.
fn unheard() -> OpenSession {
    OpenSession {
        ttl: millis(3_600_000),
        grace: millis(1_000),
        ..OpenSession::default()
    }
}

/// The events up to and with the last of so many of this kind.
#[track_caller]
fn count_events(watching: &mut crate::harness::Watching, kind: Kind, count: usize) -> Vec<Event> {
    let (mut events, mut seen) = (Vec::new(), 0);
    while seen < count {
        let event = watching.next_event();
        seen += usize::from(event.kind() == kind);
        events.push(event);
    }
    events
}

/// Fails unless each lock was granted to one waiter alone.
#[track_caller]
fn assert_granted_once(events: &[Event], names: &[String]) {
    let mut grants: HashMap<&str, usize> = HashMap::new();
    let is_of_waiter = |it: &&Event| it.kind() == Kind::Granted && it.names.len() == 1;
    for event in events.iter().filter(is_of_waiter) {
        *grants.entry(&event.names[0]).or_default() += 1;
    }
    for name in names {
        // A session's lock was granted to the session before.
        let expected = 1 + usize::from(name.starts_with("session/"));
        assert_eq!(grants.get(name.as_str()), Some(&expected), "{name}");
    }
}

#[test]
fn l14_fifty_waiters_at_five_nodes_are_granted_in_the_order_in_which_they_came() {
    let space = space();
    let nodes: Vec<Node> = (0..NODES).map(|_| space.beside().start()).collect();
    let apis: Vec<LockApi> = nodes.iter().map(LockApi::of).collect();
    assert_served_in_order(&apis, WAITERS);
}

#[test]
fn a_grant_of_one_node_is_seen_renewed_and_given_back_at_another() {
    let space = space();
    let (one, other) = (space.beside().start(), space.beside().start());
    let (one, other) = (LockApi::of(&one), LockApi::of(&other));
    let mut watching = other.watch(WatchRequest::default()).expect("it may");
    let grant = one.grant(acquire(["a"]));
    assert_eq!(other.look("a").holder_count, 1);
    let held = other.acquire(acquire(["a"])).expect_refused();
    assert_eq!(held.reason, "HELD");
    other.renew(&grant.id, millis(60_000)).expect("it is held");
    assert_eq!(other.release(&grant.id), Ok(Outcome::Released));
    assert_eq!(one.release(&grant.id), Ok(Outcome::Already));
    let next = other.grant(acquire(["a"]));
    assert!(next.fencing_token > grant.fencing_token);
    let events = watching.events_until_kind(Kind::Granted, "a");
    assert_eq!(events[0].fencing_token, grant.fencing_token);
}

#[test]
fn a_session_whose_node_is_killed_goes_on_at_another_and_keeps_its_locks() {
    let space = space();
    let (first, second) = (space.beside().start(), space.beside().start());
    let (stream, opened) = LockApi::of(&first)
        .session(OpenSession::default())
        .expect("it may");
    let grant = stream.grant(acquire(["a"]));
    first.kill();
    let api = LockApi::of(&second);
    let open = OpenSession {
        session: opened.session,
        ..OpenSession::default()
    };
    let (stream, _) = api.session(open).expect("it lives for its grace");
    stream.beat().expect("it is attached");
    let held = api.acquire(acquire(["a"])).expect_refused();
    assert_eq!(held.reason, "HELD");
    // For longer than the node that has died was alive to the store.
    let mut watching = api.watch(WatchRequest::default()).expect("it may");
    api.grant(short_lived("b"));
    watching.events_until_kind(Kind::Expired, "b");
    assert_eq!(stream.release(&grant.id), Ok(Outcome::Released));
    stream.close();
}

/// A lock that ends by itself after two leases of a node.
fn short_lived(name: &str) -> lockport_proto::lock::AcquireRequest {
    lockport_proto::lock::AcquireRequest {
        lease: millis(2 * LEASE.as_millis() as u64),
        ..acquire([name])
    }
}

#[test]
fn a_lock_taken_away_at_one_node_fences_the_write_at_another() {
    let space = space().guest("probe");
    let (one, other) = (space.beside().start(), space.beside().start());
    let gate = HeldLock::hold(&other, "item/gate");
    let answer = thread::scope(|scope| {
        let stale = scope.spawn(|| {
            let wait = "acquire item/gate wait=9000";
            let list = ["acquire item/a", "log holds it", wait, "put items a stale"];
            one.run("probe", list)
        });
        one.logs().wait_for("holds it");
        let api = LockApi::of(&other);
        api.force_release("item/a").expect("it may");
        other
            .run("probe", ["acquire item/a", "put items a new"])
            .expect(200);
        drop(gate);
        stale.join().expect("it is answered")
    });
    answer.expect_problem(409, "FENCED");
    assert_eq!(one.value("items", "a").as_deref(), Some("new"));
}

#[test]
fn l3_a_node_that_is_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on() {
    let space = space().guest("probe");
    let (one, other) = (space.beside().start(), space.beside().start());
    let gate = HeldLock::hold(&other, "item/gate");
    let answer = thread::scope(|scope| {
        let stale = scope.spawn(|| {
            let wait = "try acquire item/gate wait=9000";
            let list = ["acquire item/a", "log holds it", wait, "put items a stale"];
            one.run("probe", list)
        });
        one.logs().wait_for("holds it");
        one.signal(Signal::STOP);
        let token = other.wait_until_free("item/a");
        assert!(token > 0);
        other
            .run("probe", ["acquire item/a", "put items a new"])
            .expect(200);
        one.signal(Signal::CONT);
        drop(gate);
        stale.join().expect("it is answered")
    });
    // Whether the store told it, or it found out by itself that its time is over.
    answer.expect_problem(409, "FENCED");
    assert_eq!(other.value("items", "a").as_deref(), Some("new"));
    // It has come anew, and works.
    eventually("the node is back", || {
        let answer = one.run("probe", ["acquire item/a", "put items a last"]);
        (answer.status == 200).then_some(())
    });
    assert_eq!(other.value("items", "a").as_deref(), Some("last"));
}

#[test]
fn an_order_of_one_node_is_whole_at_another() {
    let space = space().shop();
    let (one, other) = (space.beside().start(), space.beside().start());
    let order = one.create_order_of(3, 2.5);
    let seen = other.assert_invoice_fits(&order);
    let change = serde_json::json!({
        "quantity": 7, "update_time": crate::harness::at_minute(1)
    });
    other.patch(&order.path(), change).expect(204);
    assert_eq!(one.assert_invoice_fits(&order)["quantity"], 7);
    let user = &seen["user_id"];
    assert_eq!(one.orders_of(user).len(), 1);
    one.delete(&order.path()).expect(204);
    assert_eq!(other.assert_invoice_fits(&order)["status"], "deleted");
}
