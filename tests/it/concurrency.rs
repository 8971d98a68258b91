//! Many at once on the same data: nothing is lost, nothing is half done, and
//! nobody sees a state that never was.

use crate::harness::{Node, Order, Storage, at_minute, cents, request};
use serde_json::{Value, json};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// PATCHes at once on one order.
const PATCHES: u64 = 24;

/// How often they are sent.
const ROUNDS: u64 = 8;

on_every_store! {
    of_24_patches_at_once_every_204_is_an_applied_update,
    creating_at_once_makes_every_order_and_every_invoice,
}

/// A PATCH that was sent and what came of it.
struct Sent {
    update_time: String,
    quantity: u64,
    status: u16,
}

fn of_24_patches_at_once_every_204_is_an_applied_update(storage: Storage) {
    let node = Node::builder().shop().storage(storage).start();
    let order = node.create_order_of(1, 2.5);
    let created = node.order(&order);
    let over = AtomicBool::new(false);
    let (sent, seen) = thread::scope(|scope| {
        let reader = scope.spawn(|| watch(&node, &order, &over));
        let mut sent = Vec::new();
        for round in 0..ROUNDS {
            let of_round = patch_at_once(&node, &order, round);
            let applied = of_round.iter().filter(|patch| patch.status == 204);
            let latest = applied.max_by_key(|patch| &patch.update_time);
            assert_eq!(
                latest.expect("one got through").quantity,
                node.order(&order)["quantity"]
                    .as_u64()
                    .expect("it is whole"),
                "the latest acknowledged update is the one that is there",
            );
            sent.extend(of_round);
        }
        over.store(true, Ordering::Relaxed);
        (sent, reader.join().expect("the reader saw nothing odd"))
    });

    for patch in &sent {
        assert!(
            [204, 409, 423].contains(&patch.status),
            "a PATCH was answered {}",
            patch.status,
        );
    }
    // Whatever was seen was acknowledged to somebody.
    for state in seen {
        let known = state["updated_at"] == created["updated_at"]
            || sent.iter().any(|patch| {
                patch.status == 204
                    && state["quantity"] == patch.quantity
                    && state["updated_at"]
                        .as_str()
                        .is_some_and(|at| at[..19] == patch.update_time[..19])
            });
        assert!(known, "nobody was told of {state}");
    }
    node.assert_invoice_fits(&order);
    node.logs().assert_no_warnings();
}

fn creating_at_once_makes_every_order_and_every_invoice(storage: Storage) {
    let node = Node::builder().shop().storage(storage).start();
    let mut orders: Vec<Order> = thread::scope(|scope| {
        let clients: Vec<_> = (0..PATCHES)
            .map(|number| {
                let node = &node;
                scope.spawn(move || {
                    let quantity = i64::try_from(number + 1).expect("it is small");
                    (0..5)
                        .map(|_| node.create_order_of(quantity, 1))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("every order was created"))
            .collect()
    });
    let count = orders.len();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), count, "two orders have one id");
    let mut invoices: Vec<String> = orders
        .iter()
        .map(|order| node.assert_invoice_fits(order)["invoice_id"].to_string())
        .collect();
    invoices.sort();
    invoices.dedup();
    assert_eq!(invoices.len(), count, "two orders have one invoice");
}

/// Sends [`PATCHES`] at once, each with a quantity and a time of its own.
fn patch_at_once(node: &Node, order: &Order, round: u64) -> Vec<Sent> {
    let start = Barrier::new(PATCHES as usize);
    thread::scope(|scope| {
        let patches: Vec<_> = (0..PATCHES)
            .map(|number| {
                let start = &start;
                scope.spawn(move || {
                    let quantity = round * PATCHES + number + 2;
                    let update_time = at_minute(quantity);
                    let body = json!({"update_time": update_time, "quantity": quantity});
                    let mut client = node.client();
                    start.wait();
                    let answer = client.send(&request("PATCH", &order.path()).json(body));
                    Sent {
                        update_time,
                        quantity,
                        status: answer.status,
                    }
                })
            })
            .collect();
        let join = |patch: thread::ScopedJoinHandle<_>| patch.join().expect("it was answered");
        patches.into_iter().map(join).collect()
    })
}

/// Reads the order and its invoice until it is `over`; gives the states of the
/// order that it saw. Two reads are two transactions, so an invoice counts
/// only if the order was the same before it and after it.
fn watch(node: &Node, order: &Order, over: &AtomicBool) -> Vec<Value> {
    let mut client = node.client();
    let mut get = |path: &str| client.send(&request("GET", path)).expect(200).json();
    let mut seen = Vec::new();
    let mut compared = 0;
    while !over.load(Ordering::Relaxed) || compared == 0 {
        let before = get(&order.path());
        let invoice = get(&format!(
            "/invoices/{}",
            before["invoice_id"].as_str().expect("text")
        ));
        let after = get(&order.path());
        if before == after {
            let quantity = before["quantity"].as_i64().expect("it is whole");
            assert_eq!(
                cents(&invoice["total"]),
                quantity * cents(&before["value"]),
                "order {before}\ninvoice {invoice}",
            );
            compared += 1;
        }
        seen.push(before);
    }
    seen
}
