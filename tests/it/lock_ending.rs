//! A node that ends while a component is at work: whoever holds a lock, perhaps
//! for the sake of that very request, holds it until the answer is out.

use crate::harness::{
    Ask, Builder, HeldLock, LockApi, Node, Refused, Speaks, Storage, acquire, acquire_waiting,
    address_of, eventually, wait_for,
};
use lockport_client::{Client, Guard, Options, Session, SessionOptions};
use lockport_proto::lock::OpenSession;
use lockport_proto::lock::release_response::Outcome;
use std::thread;
use std::time::{Duration, Instant};
use tonic::Code;

on_every_store! {
    what_is_held_is_kept_until_the_last_answer_of_a_component_is_out,
    a_node_that_waits_for_a_component_begins_nothing_that_lasts,
}

/// How long a lock and a session last unless they are renewed.
const SHORT: Duration = Duration::from_secs(3);

/// How long the component takes, in milliseconds: so long that what is not
/// renewed meanwhile is lost.
const WORK: u128 = 8_000;

fn what_is_held_is_kept_until_the_last_answer_of_a_component_is_out(storage: Storage) {
    let mut node = patient().storage(storage).start();
    let api = LockApi::of(&node);
    let (session, guards) = hold(&node);
    let mut connection = node.connect();
    let work = HeldLock::request("item/drain", WORK);
    connection.send(&work.to_bytes()).expect("the node reads");
    node.wait_until_held("item/drain");
    node.signal_term();
    let told = Instant::now();
    let last = thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let answer = connection.answer_to("POST").expect("it is finished");
            answer.expect(200);
            // Still theirs when the answer is there.
            guards.each_ref().map(Guard::is_held)
        });
        let last = ask_until_it_ends(&api, told);
        assert_eq!(answer.join().expect("it is answered"), [true, true]);
        last
    });
    assert!(last > SHORT, "others were refused for {last:?} only");
    assert_eq!(node.wait().code(), Some(0));
    drop((session, guards));
}

/// Asks for what is held until nobody answers any more; how long that took, of
/// which the last answer is known. Nothing may be granted.
#[track_caller]
fn ask_until_it_ends(api: &LockApi, since: Instant) -> Duration {
    let mut last = Duration::ZERO;
    for name in ["by-session", "by-guard"].iter().cycle() {
        let request = Ask::Acquire(acquire([*name]));
        match api.ask_for_status(request) {
            Ok(granted) => panic!("it was granted to another: {granted:?}"),
            // The connection was closed.
            Err(status) if status.code() != Code::AlreadyExists => return last,
            Err(_) => last = since.elapsed(),
        }
    }
    last
}

fn a_node_that_waits_for_a_component_begins_nothing_that_lasts(storage: Storage) {
    let mut node = patient().storage(storage).start();
    let api = LockApi::of(&node);
    let open = || OpenSession::default();
    let (stream, opened) = api.session(open()).expect("it may");
    let grant = stream.grant(acquire(["a"]));
    let held = HeldLock::hold(&node, "item/drain");
    node.signal_term();
    eventually("the lock API has heard of it", || {
        let waits = api.acquire(acquire_waiting(["free"]));
        waits.is_err_and(|it| it.reason == "DRAINING").then_some(())
    });
    let refused = api.session(open()).map(|_| ()).expect_err("it may not");
    assert_eq!(refused.reason, "DRAINING");
    // What is answered at once is, on new connections too, and who comes back
    // is let in.
    stream.beat().expect("it is heard");
    let late = LockApi::of(&node);
    let brief = late.grant(acquire(["brief"]));
    assert_eq!(late.release(&brief.id), Ok(Outcome::Released));
    late.renew(&grant.id, None).expect("it is held");
    drop(stream);
    let attach = OpenSession {
        session: opened.session,
        ..open()
    };
    let (stream, again) = late.session(attach).expect("it is open");
    assert_eq!(again.fencing_tokens, [grant.fencing_token]);
    assert_eq!(stream.release(&grant.id), Ok(Outcome::Released));

    // The component's client goes away, and with it the last request.
    drop(held);
    let status = stream.wait_for_end().expect("it does not just end");
    assert_eq!(Refused::of_status(&status).reason, "DRAINING");
    assert_eq!(node.wait().code(), Some(0));
}

/// Locks that renew themselves: one by a session, one by itself.
#[track_caller]
fn hold(node: &Node) -> (Session, [Guard; 2]) {
    let options = Options::server(address_of(node).to_string());
    let client = wait_for("a connection", Client::connect(options)).expect("the node listens");
    let options = SessionOptions {
        ttl: Some(SHORT),
        grace: Some(SHORT),
        ..SessionOptions::default()
    };
    // On a busy machine it may be over before it is told of.
    eventually("grants are told of in time", || {
        wait_for("two grants", async {
            let session = client.session(options.clone()).await.ok()?;
            let by_session = session.acquire(["by-session"]).await.ok()?;
            let by_guard = client.acquire(["by-guard"]).lease(SHORT).await.ok()?;
            Some((session, [by_session, by_guard]))
        })
    })
}

/// A node whose probe may take longer than any of these tests.
fn patient() -> Builder {
    Node::builder().set("limits.drain", "60s").patient_probe()
}
