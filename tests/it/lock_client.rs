//! Our own client in a network that misbehaves: its guards know in time that
//! they are lost, and a lost answer is nobody's loss.

use crate::harness::{
    IsRefused, LockApi, Node, Proxy, Speaks, Storage, Way, acquire, acquire_waiting, address_of,
    eventually, runtime, wait_for,
};
use lockport_client::{Client, Error, Guard, Options, Session, SessionOptions};
use std::thread;
use std::time::{Duration, Instant};

on_every_store! {
    l4_a_guard_that_is_cut_off_knows_before_another_is_granted,
    l4_a_session_that_is_cut_off_knows_before_another_is_granted,
    l7_a_client_whose_answer_was_lost_gets_the_grant_it_was_given,
    l8_a_client_whose_release_was_lost_leaves_the_next_holder_alone,
}

/// The lease of what is to be lost soon.
const SHORT: Duration = Duration::from_secs(1);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

fn l4_a_guard_that_is_cut_off_knows_before_another_is_granted(storage: Storage) {
    cut_off(storage, |client| async move {
        let guard = client.acquire(["a"]).lease(SHORT).await;
        Ok((guard?, None))
    });
}

fn l4_a_session_that_is_cut_off_knows_before_another_is_granted(storage: Storage) {
    cut_off(storage, |client| async move {
        let options = SessionOptions {
            ttl: Some(SHORT),
            grace: Some(SHORT),
            ..SessionOptions::default()
        };
        let session = client.session(options).await?;
        let guard = session.acquire(["a"]).await?;
        Ok((guard, Some(session)))
    });
}

/// Has a client hold a lock, cuts it off in one direction or both, and fails
/// unless its deadline is over when another is granted.
#[track_caller]
fn cut_off<H: Future<Output = Result<(Guard, Option<Session>), Error>> + Send>(
    storage: Storage,
    hold: impl Fn(Client) -> H + Sync,
) {
    let node = Node::builder().storage(storage).start();
    let ways: [&[Way]; 3] = [
        &[Way::ToNode],
        &[Way::ToClient],
        &[Way::ToNode, Way::ToClient],
    ];
    for ways in ways {
        let proxy = Proxy::to(address_of(&node));
        let client = connect(proxy.address());
        // On a busy machine it may be over before it is told of.
        let (guard, session) = eventually("a grant is told of in time", || {
            wait_for("a grant", hold(client.clone())).ok()
        });
        let api = LockApi::of(&node);
        thread::scope(|scope| {
            let next = scope.spawn(|| {
                let grant = api.grant(acquire_waiting(["a"]));
                (grant, Instant::now())
            });
            for way in ways {
                proxy.swallow(*way);
            }
            // It finds out by itself: nobody can tell it.
            wait_for("the guard is lost", guard.lost());
            assert!(!guard.is_held());
            let deadline = guard.deadline().into_std();
            let (grant, told) = next.join().expect("it is granted");
            assert!(grant.fencing_token > guard.token());
            assert!(deadline <= told, "{ways:?}: {:?} too late", deadline - told);
            api.release(&grant.id).expect("it is held");
        });
        drop((guard, session));
    }
}

fn l7_a_client_whose_answer_was_lost_gets_the_grant_it_was_given(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let proxy = Proxy::to(address_of(&node));
    let client = connect(proxy.address());
    proxy.swallow(Way::ToClient);
    let asked = client.acquire(["a"]).lease(LONG);
    let asking = runtime().spawn(asked.into_future());
    eventually("it is granted", || {
        (api.look("a").holder_count == 1).then_some(())
    });
    let token = api.look("a").last_fencing_token;
    proxy.cut_and_heal();
    let guard = wait_for("the answer to the retry", asking);
    let guard = guard.expect("it does not panic").expect("it was granted");
    assert_eq!(guard.token(), token);
    assert_eq!(api.look("a").last_fencing_token, token);
    let released = wait_for("the release", guard.release());
    assert!(released.is_ok(), "{released:?}");
    assert_eq!(api.look("a").holder_count, 0);
}

fn l8_a_client_whose_release_was_lost_leaves_the_next_holder_alone(storage: Storage) {
    let node = Node::builder().storage(storage).start();
    let api = LockApi::of(&node);
    let proxy = Proxy::to(address_of(&node));
    let client = connect(proxy.address());
    let guard = wait_for("a grant", client.acquire(["a"]).lease(LONG).into_future());
    let guard = guard.expect("it is free");
    proxy.swallow(Way::ToClient);
    let releasing = runtime().spawn(guard.release());
    api.wait_until_idle("a");
    let next = api.grant(acquire(["a"]));
    proxy.cut_and_heal();
    let released = wait_for("the answer to the retry", releasing);
    let released = released.expect("it does not panic");
    assert!(released.is_ok(), "{released:?}");
    let lock = api.look("a");
    assert_eq!(lock.last_fencing_token, next.fencing_token);
}

#[test]
fn a_session_of_a_client_outlives_a_kill_of_its_node() {
    let builder = Node::builder().storage(Storage::Embedded);
    let node = builder.start();
    let proxy = Proxy::to(address_of(&node));
    let client = connect(proxy.address());
    let (session, guard) = wait_for("a grant", async {
        let options = SessionOptions {
            ttl: Some(LONG),
            ..SessionOptions::default()
        };
        let session = client.session(options).await.expect("it is opened");
        let guard = session.acquire(["a"]).await.expect("it is free");
        (session, guard)
    });
    node.kill();
    proxy.cut_and_heal();

    let node = builder.start();
    proxy.lead_to(address_of(&node));
    let other = wait_for(
        "a grant after the restart",
        session.acquire(["b"]).into_future(),
    );
    let other = other.expect("the session lives");
    assert!(guard.is_held());
    assert!(other.token() > guard.token());
    let api = LockApi::of(&node);
    assert_eq!(api.look("a").last_fencing_token, guard.token());
    assert_eq!(api.acquire(acquire(["a"])).expect_refused().reason, "HELD");
    let released = wait_for("the release", guard.release());
    assert!(released.is_ok(), "{released:?}");
    wait_for("the close", session.close()).expect("it lives");
    assert_eq!(api.look("b").holder_count, 0);
}

#[track_caller]
fn connect(address: std::net::SocketAddr) -> Client {
    let options = Options::server(address.to_string());
    wait_for("a connection", Client::connect(options)).expect("the node listens")
}
