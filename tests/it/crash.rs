//! `kill -9` of a node under load, again and again: what was acknowledged is
//! there, what is there is whole, and fencing tokens only rise.

use crate::harness::{
    Client, Node, Order, Storage, at_minute, eventually, new_order, request, steps,
};
use serde_json::json;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// How often the node is killed.
const KILLS: u64 = 10;

/// Clients that create and change orders.
const CLIENTS: u64 = 4;

/// Changes to each order.
const CHANGES: u64 = 3;

/// Requests that are acknowledged before the node is killed; a few more each
/// time, so that the kills fall on different moments.
const ACKNOWLEDGED: usize = 40;

/// What the clients were told.
#[derive(Default)]
struct Acknowledged {
    orders: Vec<(Order, u64)>,
}

#[test]
fn ten_kills_under_load_lose_nothing_that_was_acknowledged_and_halve_nothing() {
    let builder = Node::builder()
        .shop()
        .guest("probe")
        .storage(Storage::Embedded);
    let user = new_order(1, 1)["user_id"].clone();
    let mut known = Acknowledged::default();
    let mut highest_token = 0;
    for kill in 0..KILLS {
        let node = builder.start();
        let first = node
            .try_lock("item/crash")
            .expect("a restart frees every request's lock");
        assert!(
            first > highest_token,
            "token {first} after {highest_token} was given out"
        );

        let (of_round, token) = load_until_killed(node, &user, ACKNOWLEDGED + kill as usize * 7);
        highest_token = token.max(first);
        known.orders.extend(of_round.orders);
        let node = builder.start();
        check(&node, &user, &known);
        node.logs().assert_no_warnings();
        assert_eq!(node.terminate().code(), Some(0));
    }
    assert!(
        known.orders.len() > 50,
        "the load was too small: {}",
        known.orders.len()
    );
}

/// Runs clients against the node until so many requests were acknowledged, and
/// kills it; gives what was acknowledged and the highest token that was.
fn load_until_killed(node: Node, user: &serde_json::Value, enough: usize) -> (Acknowledged, u64) {
    let count = AtomicUsize::new(0);
    let token = AtomicU64::new(0);
    let mut all = Acknowledged::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let client = node.client();
                scope.spawn(|| change_orders(client, user, &count))
            })
            .collect();
        let tokens = node.client();
        scope.spawn(|| take_tokens(tokens, &token));
        eventually("the load runs", || {
            let runs = count.load(Ordering::Relaxed) >= enough && token.load(Ordering::Relaxed) > 0;
            runs.then_some(())
        });
        node.kill();
        for client in clients {
            all.orders
                .extend(client.join().expect("no answer is odd").orders);
        }
    });
    (all, token.load(Ordering::Relaxed))
}

/// Creates orders and changes each of them, until the node is gone.
fn change_orders(
    mut client: Client,
    user: &serde_json::Value,
    count: &AtomicUsize,
) -> Acknowledged {
    let mut told = Acknowledged::default();
    loop {
        let mut body = new_order(1, 2.5);
        body["user_id"] = user.clone();
        let Ok(answer) = client.try_send(&request("POST", "/orders").json(body)) else {
            return told;
        };
        let answer = answer.expect(201);
        count.fetch_add(1, Ordering::Relaxed);
        let id = answer.json()["id"].as_str().expect("it is text").to_owned();
        told.orders.push((Order { id: id.clone() }, 1));
        for quantity in 2..2 + CHANGES {
            let change = json!({"update_time": at_minute(quantity), "quantity": quantity});
            let change = request("PATCH", &format!("/orders/{id}")).json(change);
            let Ok(answer) = client.try_send(&change) else {
                return told;
            };
            answer.expect(204);
            count.fetch_add(1, Ordering::Relaxed);
            told.orders.last_mut().expect("one was just put there").1 = quantity;
        }
    }
}

/// Takes tokens of one lock, until the node is gone.
fn take_tokens(mut client: Client, highest: &AtomicU64) {
    while let Ok(answer) = client.try_send(&steps("probe", ["acquire item/crash"])) {
        let token = answer.expect(200).number("acquire");
        let before = highest.swap(token, Ordering::Relaxed);
        assert!(token > before, "token {token} after {before}");
    }
}

/// Fails unless everything acknowledged is there and everything there is whole.
#[track_caller]
fn check(node: &Node, user: &serde_json::Value, known: &Acknowledged) {
    let listed = node.orders_of(user);
    for (order, quantity) in &known.orders {
        assert!(
            listed
                .iter()
                .any(|listed| listed["id"] == order.id.as_str()),
            "{} was acknowledged and is not there",
            order.id,
        );
        let there = node.order(order)["quantity"].as_u64().expect("it is whole");
        // The change that was under way may or may not have been made.
        assert!(
            there == *quantity || there == quantity + 1,
            "{}: {quantity} was acknowledged, {there} is there",
            order.id,
        );
    }
    // Orders that nobody was told of are whole as well.
    for listed in &listed {
        let id = listed["id"].as_str().expect("it is text").to_owned();
        node.assert_invoice_fits(&Order { id });
    }
    let untold = listed.len() - known.orders.len();
    assert!(
        untold as u64 <= CLIENTS * KILLS,
        "{untold} orders are there that nobody was told of",
    );
}
