//! A server that does not answer for a while, and a network that does not reach
//! it: whoever asks is told so, and it is over by itself when the server is back.

use crate::harness::{
    IsRefused, JsonApi, KEEPS_EVERYTHING, LockApi, Node, Proxy, RedisServer, Speaks, Way, acquire,
    assert_shop_error, eventually, request,
};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

/// What a node says of its store.
#[track_caller]
fn readiness(node: &Node) -> (u16, Value) {
    let answer = node.admin().send(&request("GET", "/readyz"));
    (answer.status, answer.json()["checks"][0].clone())
}

/// A node in front of this server that gives up on an answer soon.
fn shop(server: &Arc<RedisServer>) -> crate::harness::Builder {
    Node::builder()
        .shop()
        .guest("probe")
        .redis(server, "shop")
        .set("store.timeout", "200ms")
        .set("store.lease", "1s")
        .set("store.reclaim", "1s")
}

/// Fails unless all that a node serves says that the store is away.
#[track_caller]
fn assert_says_that_the_store_is_away(node: &Node) {
    let (status, store) = readiness(node);
    assert_eq!((status, &store["ok"]), (503, &Value::Bool(false)));
    node.admin().send(&request("GET", "/healthz")).expect(200);

    let refused = LockApi::of(node)
        .acquire(acquire(["away"]))
        .expect_refused();
    assert_eq!(refused.reason, "STORE_UNAVAILABLE", "{refused:?}");
    assert_eq!(refused.code, Some(Code::Unavailable));
    let refused = JsonApi::of(node)
        .acquire(acquire(["away"]))
        .expect_refused();
    assert_eq!(refused.reason, "STORE_UNAVAILABLE", "{refused:?}");
    assert_eq!(refused.status, Some(503));
    // What the gateway does itself, and what a component makes of it.
    let locked = node.run("probe/locked/a", ["get items a"]);
    locked.expect_problem(503, "STORE_UNAVAILABLE");
    let answer = node.get("/orders/00000000-0000-4000-8000-000000000000");
    assert_eq!(assert_shop_error(&answer, 503), "unavailable");
}

/// Waits until a node serves as if nothing had been.
#[track_caller]
fn wait_until_it_serves(node: &Node) {
    eventually("the node is ready", || {
        (readiness(node).0 == 200).then_some(())
    });
    let api = LockApi::of(node);
    // The node's own lease may have run out: it comes anew with a beat.
    let grant = eventually("a lock is granted", || {
        api.acquire(acquire(["back"])).ok()?.grant
    });
    api.release(&grant.id).expect("it is held");
    eventually("an order is created", || {
        let order = crate::harness::new_order(2, 12.5);
        (node.post("/orders", order).status == 201).then_some(())
    });
}

#[test]
fn a_server_that_is_stopped_for_a_while_is_unavailable_and_then_it_is_not() {
    let server = Arc::new(RedisServer::start());
    let node = shop(&server).start();
    let order = node.create_order();
    server.pause();
    assert_says_that_the_store_is_away(&node);
    server.go_on();
    wait_until_it_serves(&node);
    node.assert_invoice_fits(&order);
}

#[test]
fn a_network_that_swallows_answers_is_given_up_after_the_timeout() {
    let server = Arc::new(RedisServer::start());
    let proxy = Proxy::to(server.address());
    let node = shop(&server)
        .set("store.url", RedisServer::url_at(proxy.address(), "shop"))
        .start();
    let order = node.create_order();
    proxy.swallow(Way::ToClient);
    let asked = Instant::now();
    assert_says_that_the_store_is_away(&node);
    // Each question took at most the timeout and the wait for a connection.
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    proxy.cut_and_heal();
    wait_until_it_serves(&node);
    node.assert_invoice_fits(&order);
}

#[test]
fn l24_connections_that_the_server_closes_are_made_again_and_no_lock_is_lost() {
    let server = Arc::new(RedisServer::start());
    let node = shop(&server).start();
    let api = LockApi::of(&node);
    let held = api.grant(acquire(["held"]));
    for _ in 0..5 {
        server.ask("CLIENT KILL TYPE normal SKIPME yes");
        server.ask("CLIENT KILL TYPE pubsub SKIPME yes");
        wait_until_it_serves(&node);
    }
    api.renew(&held.id, None).expect("it was held all the time");
}

#[test]
fn a_server_that_is_killed_and_started_again_has_what_was_acknowledged() {
    let server = Arc::new(RedisServer::with(&KEEPS_EVERYTHING));
    let node = shop(&server).may_log_errors().start();
    let order = node.create_order();
    let before = token(&node);
    server.kill();
    assert_says_that_the_store_is_away(&node);
    server.start_again();
    wait_until_it_serves(&node);
    node.assert_invoice_fits(&order);
    assert!(token(&node) > before, "tokens rise");
}

/// The fencing token of a lock that is free.
#[track_caller]
fn token(node: &Node) -> u64 {
    let api = LockApi::of(node);
    let grant = api.grant(acquire(["a"]));
    api.release(&grant.id).expect("it is held");
    grant.fencing_token
}
