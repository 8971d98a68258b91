//! Networks that lose answers and clients that vanish: nothing is granted
//! twice, nothing is taken from whoever may still believe to have it, and
//! nothing stays locked.

use crate::harness::{
    Ask, IsRefused, JsonApi, LockApi, Node, Proxy, Speaks, Storage, Way, acquire, acquire_waiting,
    address_of, eventually, millis, python,
};
use lockport_proto::lock::event::Kind;
use lockport_proto::lock::release_response::Outcome;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{AcquireRequest, OpenSession, ReleaseRequest, WatchRequest};
use std::thread;
use std::time::{Duration, Instant};
use tonic::Code;

on_every_store! {
    l7_an_answer_lost_after_the_grant_and_a_hundred_retries_are_one_grant,
    l7_two_that_ask_with_the_same_id_while_it_waits_are_told_of_one_grant,
    l8_an_answer_lost_after_the_release_and_its_retry_leave_the_next_holder_alone,
    l4_a_client_that_is_killed_loses_its_locks_after_its_grace_and_not_before,
    l4_a_client_that_is_not_heard_any_more_loses_its_locks_after_its_ttl_and_not_before,
    l4_a_client_that_comes_back_within_its_grace_keeps_its_locks,
    l12_a_session_that_dies_at_the_head_of_a_queue_is_skipped,
}

/// A time to live or a grace that no test outlasts.
const FOREVER: u64 = 3_600_000;

/// The shortest there is.
const SHORT: Duration = Duration::from_secs(1);

/// Soon over, and long enough for a busy machine to get there.
const SOON: Duration = Duration::from_secs(4);

/// Retries of L7.
const RETRIES: usize = 100;

fn l7_an_answer_lost_after_the_grant_and_a_hundred_retries_are_one_grant(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let request = AcquireRequest {
        request_id: "once".to_owned(),
        ..acquire(["a", "b"])
    };
    lose_the_answer(&node, Ask::Acquire(request.clone()), || {
        api.look("a").holder_count == 1
    });
    let first = api.grant(request.clone());
    assert_eq!(first.fencing_token, api.look("b").last_fencing_token);
    for retry in 0..RETRIES {
        let by: &dyn Speaks = if retry % 2 == 0 { &api } else { &json };
        let again = by.grant(request.clone());
        assert_eq!(again.id, first.id);
        assert_eq!(again.fencing_token, first.fencing_token);
        assert_eq!(again.acquire_time, first.acquire_time);
    }
    assert_eq!(api.look("a").holder_count, 1);
    assert_eq!(api.release(&first.id), Ok(Outcome::Released));
    // What has ended is not begun again by a retry that was on its way.
    assert_eq!(api.acquire(request).expect_refused().reason, "LOST");
    assert!(api.list("", 10).is_empty());
}

fn l7_two_that_ask_with_the_same_id_while_it_waits_are_told_of_one_grant(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let holder = api.grant(acquire(["a"]));
    let request = AcquireRequest {
        request_id: "once".to_owned(),
        ..acquire_waiting(["a"])
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| api.grant(request.clone()));
        api.wait_until_waiting("a", 1);
        let second = scope.spawn(|| json.grant(request.clone()));
        // A third that goes away takes the wait from nobody.
        let proxy = Proxy::to(address_of(&node));
        let third = LockApi::at(proxy.address());
        third.look("a");
        let ask = Ask::Acquire(request.clone());
        let mut gone = None;
        proxy.wait_until_passed(|| {
            gone = Some(scope.spawn(move || third.ask_for_status(ask)));
        });
        proxy.cut_and_heal();
        let gone = gone.expect("it was asked").join();
        assert!(gone.expect("it is told").is_err());
        api.release(&holder.id).expect("it is held");
        (first.join(), second.join())
    });
    let (first, second) = (first.expect("granted"), second.expect("granted"));
    assert_eq!(first.id, second.id);
    assert_eq!(first.fencing_token, second.fencing_token);
    let lock = api.look("a");
    assert_eq!((lock.holder_count, lock.waiter_count), (1, 0), "{lock:?}");
}

fn l8_an_answer_lost_after_the_release_and_its_retry_leave_the_next_holder_alone(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let (api, json) = (LockApi::of(&node), JsonApi::of(&node));
    let grant = api.grant(acquire(["a"]));
    let release = Ask::Release(ReleaseRequest {
        grant: grant.id.clone(),
    });
    lose_the_answer(&node, release, || api.look("a").holder_count == 0);
    let next = api.grant(acquire(["a"]));
    for by in [&api as &dyn Speaks, &json] {
        assert_eq!(by.release(&grant.id), Ok(Outcome::Already));
    }
    let lock = api.look("a");
    assert_eq!(lock.holders[0].fencing_token, next.fencing_token);
    assert_eq!(api.release(&next.id), Ok(Outcome::Released));
}

/// Asks through a network that swallows the answer, and is cut when the node
/// has done what it was asked.
#[track_caller]
fn lose_the_answer(node: &Node, ask: Ask, is_done: impl Fn() -> bool) {
    let proxy = Proxy::to(address_of(node));
    let api = LockApi::at(proxy.address());
    // There is a connection, so that only the answer is lost.
    api.look("nothing");
    proxy.swallow(Way::ToClient);
    let lost = thread::scope(|scope| {
        let asking = scope.spawn(|| api.ask_for_status(ask));
        eventually("the node has done it", || is_done().then_some(()));
        proxy.wait_until_swallowed();
        proxy.cut_and_heal();
        asking.join().expect("it is told that it is lost")
    });
    let status = lost.expect_err("the answer was lost");
    assert!(
        matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        ),
        "{status:?}",
    );
}

fn l4_a_client_that_is_killed_loses_its_locks_after_its_grace_and_not_before(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let address = address_of(&node).to_string();
    let ttl = FOREVER.to_string();
    let grace = SHORT.as_millis().to_string();
    let client = python("session.py", [&address, "a", &ttl, &grace]);
    let holding = client.stdout.wait_for("holding");
    let token: u64 = holding
        .rsplit(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .expect("it says its token");
    thread::scope(|scope| {
        let next = scope.spawn(|| {
            let grant = api.grant(acquire_waiting(["a"]));
            (grant, Instant::now())
        });
        api.wait_until_waiting("a", 1);
        let killed = Instant::now();
        client.kill();
        let (grant, told) = next.join().expect("it is granted");
        assert!(grant.fencing_token > token);
        assert!(told - killed >= SHORT, "freed {:?} after", told - killed);
    });
}

fn l4_a_client_that_is_not_heard_any_more_loses_its_locks_after_its_ttl_and_not_before(
    storage: Storage,
) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let proxy = Proxy::to(address_of(&node));
    let through = LockApi::at(proxy.address());
    let (stream, _) = through
        .session(OpenSession {
            ttl: millis(SOON.as_millis() as u64),
            grace: millis(FOREVER),
            ..OpenSession::default()
        })
        .expect("a session is opened");
    let grant = stream.grant(acquire(["a"]));
    let sent = Instant::now();
    stream.beat().expect("it is heard");
    proxy.swallow(Way::ToNode);
    let next = api.grant(acquire_waiting(["a"]));
    let told = Instant::now();
    assert!(next.fencing_token > grant.fencing_token);
    assert!(told - sent >= SOON, "freed {:?} after", told - sent);
    // The other way still works: the client is told.
    let status = stream.wait_for_end().expect("it did not just end");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert!(status.message().contains("ended"), "{status:?}");
}

fn l4_a_client_that_comes_back_within_its_grace_keeps_its_locks(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let proxy = Proxy::to(address_of(&node));
    let through = LockApi::at(proxy.address());
    let (stream, opened) = through
        .session(OpenSession {
            ttl: millis(FOREVER),
            ..OpenSession::default()
        })
        .expect("a session is opened");
    let grant = stream.grant(acquire(["a"]));
    proxy.cut_and_heal();
    let _status = stream.wait_for_end();
    let attach = || OpenSession {
        session: opened.session.clone(),
        ..OpenSession::default()
    };
    let through = LockApi::at(proxy.address());
    let (second, again) = through.session(attach()).expect("it is still open");
    assert_eq!(again.session, opened.session);
    assert_eq!((again.ttl, again.grace), (opened.ttl, opened.grace));
    assert_eq!(
        again.fencing_tokens,
        [grant.fencing_token],
        "it is told what it holds"
    );
    let renewed = second.renew(&grant.id, None).expect("it is still held");
    assert_eq!(renewed.fencing_token, grant.fencing_token);

    // Whoever comes last has it; the one before is told.
    let (third, _) = api.session(attach()).expect("it is still open");
    let status = second.wait_for_end().expect("it did not just end");
    assert_eq!(status.code(), Code::Aborted, "{status:?}");
    assert_eq!(third.release(&grant.id), Ok(Outcome::Released));
    third.close();
    let refused = api.session(attach()).map(|_| ()).expect_refused();
    assert_eq!(refused.reason, "LOST");
}

fn l12_a_session_that_dies_at_the_head_of_a_queue_is_skipped(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let watch = WatchRequest::default();
    let mut watching = api.watch(watch).expect("it may");
    let proxy = Proxy::to(address_of(&node));
    let through = LockApi::at(proxy.address());
    let holder = api.grant(acquire(["a"]));
    let (stream, _) = through
        .session(OpenSession {
            ttl: millis(SOON.as_millis() as u64),
            ..OpenSession::default()
        })
        .expect("a session is opened");
    let head = stream.send(Operation::Acquire(AcquireRequest {
        holder: "dies".to_owned(),
        ..acquire_waiting(["a"])
    }));
    api.wait_until_waiting("a", 1);
    thread::scope(|scope| {
        let next = scope.spawn(|| {
            api.grant(AcquireRequest {
                holder: "lives".to_owned(),
                ..acquire_waiting(["a"])
            })
        });
        api.wait_until_waiting("a", 2);
        stream.beat().expect("it is heard");
        proxy.swallow(Way::ToNode);
        api.wait_until_waiting("a", 1);
        api.release(&holder.id).expect("it is held");
        next.join().expect("it is granted");
    });
    drop(head);
    let lives = |event: &lockport_proto::lock::Event| event.holder == "lives";
    let events = watching.events_until(|it| it.kind() == Kind::Granted && lives(it));
    let dead = events.iter().filter(|event| event.holder == "dies");
    let kinds: Vec<Kind> = dead.map(|event| event.kind()).collect();
    assert_eq!(kinds, [Kind::Queued, Kind::Left], "{events:#?}");
}
