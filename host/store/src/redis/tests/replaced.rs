//! Answers and calls that come late: of a server whose place another has taken,
//! or over a connection that was given up.

use super::direct::Direct;
use super::relay::Relay;
use super::*;
use crate::contract::repeatable;
use crate::redis::codec::Arguments;
use crate::redis::library::Library;
use crate::store::Released;

/// The place of the connection on which a node makes its calls, among those it
/// makes when it comes.
const CALLS: usize = 0;

async fn behind(relay: &Relay, patience: Duration) -> Redis {
    let options = Options {
        lease: 3 * SHORT,
        reclaim: SHORT,
        patience,
        ..Options::default()
    };
    Redis::open_with(&relay.url(), options).await.unwrap()
}

/// Waits for something to be so at a store.
async fn until_waiting(store: &Redis, text: &str, count: usize) {
    while store.lock(name(text)).await.unwrap().waiting != count {}
}

#[test]
fn who_waits_at_a_server_that_was_replaced_does_not_wait_for_ever() {
    let (first, second) = (Server::listening(&[]), Server::listening(&[]));
    block_on(async {
        let relay = Relay::to(first.port());
        let (store, other) = (behind(&relay, LONG).await, node(&first).await);
        other
            .acquire(of(TransactionId::mint(), &["a"]))
            .await
            .unwrap();
        relay.lead_to(second.port());
        relay.hold(0..relay.count());
        let mut waits = store.acquire(waiting(LONG, of_caller(&["a"])));
        assert!(poll_once(&mut waits).await.is_none());
        until_waiting(&other, "a", 1).await;
        // Its beats are not answered, and it finds the other server.
        acquire_again(&store, &of_caller(&["b"])).await;
        relay.release();
        // It is told that nobody knows, or what the other server says.
        let answer = waits.await;
        assert!(
            matches!(answer, Ok(_) | Err(AcquireError::Store(_))),
            "{answer:?}"
        );
    });
}

#[test]
fn a_grant_that_is_heard_of_after_a_recovery_began_is_asked_for_again() {
    let server = Server::listening(&[]);
    block_on(async {
        let relay = Relay::to(server.port());
        let (store, other) = (behind(&relay, LONG).await, node(&server).await);
        relay.hold([CALLS]);
        let mut granted = store.acquire(of_caller(&["a"]));
        assert!(poll_once(&mut granted).await.is_none());
        while other.lock(name("a")).await.unwrap().holding == 0 {}
        // As if the node said to another server what it has, and nobody there knew.
        let means = &store.locks.means;
        assert!(
            means
                .holdings
                .recover(means.node.clock().now(), true)
                .is_empty()
        );
        store.locks.ears.asking.ask_again();
        let taken = other.force_release(
            name("a"),
            caller().principal,
            Permission::all(),
            "it is a test".to_owned(),
        );
        assert_eq!(taken.await.unwrap().len(), 1);
        other.acquire(of_caller(&["a"])).await.unwrap();
        relay.release();
        assert_eq!(granted.await, Err(AcquireError::Held(name("a"))));
    });
}

#[test]
fn a_wait_that_is_heard_of_after_a_recovery_began_is_asked_for_again() {
    let server = Server::listening(&[]);
    block_on(async {
        let relay = Relay::to(server.port());
        let (store, other) = (behind(&relay, LONG).await, node(&server).await);
        other.acquire(of_caller(&["a"])).await.unwrap();
        relay.hold([CALLS]);
        let request = waiting(LONG, of_caller(&["a"]));
        let mut waits = store.acquire(request.clone());
        assert!(poll_once(&mut waits).await.is_none());
        until_waiting(&other, "a", 1).await;
        // As if the node came to another server that has never heard of it.
        let means = &store.locks.means;
        means.holdings.recover(means.node.clock().now(), true);
        let ears = &store.locks.ears;
        ears.inbox.begin_epoch(means.node.id(), [0; 16], 0);
        ears.asking.ask_again();
        other.cancel(request.id, caller().principal).await.unwrap();
        until_waiting(&other, "a", 0).await;
        relay.release();
        until_waiting(&other, "a", 1).await;
    });
}

#[test]
fn who_waits_is_asked_for_again_even_if_another_was_just_asking_the_same() {
    let server = Server::listening(&[]);
    block_on(async {
        let relay = Relay::to(server.port());
        let (store, other) = (behind(&relay, SHORT).await, node(&server).await);
        other
            .acquire(of(TransactionId::mint(), &["a"]))
            .await
            .unwrap();
        let request = repeatable(waiting(LONG, of_caller(&["a"])));
        let waits = queue(&store, &request).await;
        relay.hold([CALLS]);
        // Another asks the same, and is not answered.
        let mut also = store.acquire(request.clone());
        assert!(poll_once(&mut also).await.is_none());
        let means = &store.locks.means;
        means.holdings.recover(means.node.clock().now(), true);
        let ears = &store.locks.ears;
        ears.inbox.begin_epoch(means.node.id(), [0; 16], 0);
        ears.asking.ask_again();
        other.cancel(request.id, caller().principal).await.unwrap();
        until_waiting(&other, "a", 0).await;
        let answer = also.await;
        assert!(matches!(answer, Err(AcquireError::Store(_))), "{answer:?}");
        let answer = waits.await;
        assert_eq!(
            answer,
            Err(AcquireError::Cancelled),
            "it was asked for again"
        );
    });
}

#[test]
fn what_a_node_says_it_has_heard_in_an_earlier_epoch_is_not_forgotten_now() {
    let server = Server::start();
    let mut direct = Direct::new(&server, Library::Server);
    let holder = of_caller(&["a"]);
    direct.acquire(&holder);
    let waits = waiting(LONG, of_caller(&["a"]));
    direct.acquire(&waits);
    direct.call(&Arguments::release(holder.id, &caller().principal));
    let earlier = Arguments::node_beat(super::direct::LEASE, ([9; 16], 500), None);
    direct.call(&earlier).node_beaten().unwrap();
    let kept = |direct: &mut Direct| {
        direct
            .memory_of_keys()
            .keys()
            .any(|it| it.starts_with("i:"))
    };
    assert!(kept(&mut direct), "the node has not heard of its grant");
    direct.call(&direct.beat(1)).node_beaten().unwrap();
    assert!(!kept(&mut direct));
}

#[test]
fn a_node_that_is_handed_a_session_has_its_grants() {
    let server = Server::start();
    let mut direct = Direct::new(&server, Library::Server);
    let first = direct.node;
    let session = session();
    direct
        .call(&Arguments::open_session(&session))
        .session()
        .unwrap()
        .unwrap();
    let principal = caller().principal;
    direct.call(&Arguments::attach(session.id, &principal));
    let held = repeatable(of_session(session.id, &["a"]));
    direct.acquire(&held);
    direct.go_as_another();
    direct.call(&Arguments::attach(session.id, &principal));
    // Somebody at the first, who had asked the same, goes without an answer.
    direct.node = first;
    direct.call(&Arguments::abandon(held.id, 7));
    let look = direct.call(&Arguments::look([&name("a")]));
    assert_eq!(look.locks([&name("a")]).unwrap()[0].holding, 1);
}

#[test]
fn a_grant_whose_claim_was_not_answered_does_not_stand() {
    let server = Server::listening(&[]);
    block_on(async {
        let relay = Relay::to(server.port());
        let (store, other) = (behind(&relay, SHORT).await, node(&server).await);
        let holder = of_caller(&["a"]);
        other.acquire(holder.clone()).await.unwrap();
        let request = Acquire {
            lease: Some(LONG),
            ..waiting(LONG, of_caller(&["a"]))
        };
        let waits = queue(&store, &request).await;
        relay.hold([CALLS]);
        let released = other.release(holder.id, caller().principal).await;
        assert_eq!(released, Ok(Released::Released));
        let answer = waits.await;
        assert!(matches!(answer, Err(AcquireError::Store(_))), "{answer:?}");
        until_free(&other, "a").await;
    });
}

#[test]
fn the_end_of_a_transaction_is_said_again_to_a_server_that_refuses_for_a_while() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let held = of(TransactionId::mint(), &["a"]);
        store.acquire(held.clone()).await.unwrap();
        let refuses = |replicas: u32| {
            let mut command = cmd("CONFIG");
            command
                .arg("SET")
                .arg("min-replicas-to-write")
                .arg(replicas);
            tell(&server, &command);
        };
        refuses(1);
        store.end(transaction_of(&held));
        let refused = store.acquire(of_caller(&["b"])).await;
        assert!(
            matches!(refused, Err(AcquireError::Store(_))),
            "{refused:?}"
        );
        refuses(0);
        until_free(&store, "a").await;
    });
}

#[test]
fn what_a_transaction_asked_over_a_connection_that_was_given_up_comes_too_late() {
    let server = Server::start();
    let mut direct = Direct::new(&server, Library::Server);
    let (one, other) = (TransactionId::mint(), TransactionId::mint());
    direct.acquire(&of(one, &["a"]));
    direct.link += 1;
    direct.call(&Arguments::end(direct.node, one));
    direct.link -= 1;
    let late = direct.acquire(&of(one, &["b"]));
    assert!(late.recovering().is_some(), "it may ask again");
    direct.link += 1;
    let asked = direct.acquire(&of(other, &["b"])).acquired();
    assert!(matches!(
        asked,
        Ok((crate::core::Acquired::Granted(_), true))
    ));
}
