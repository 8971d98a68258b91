//! Two nodes change the same orders, and one of them is killed again and again:
//! every invoice fits its order all the time, what was acknowledged is there,
//! and the other node goes on.

use crate::harness::{
    Client, Node, Order, Random, RedisServer, at_minute, eventually, is_long, request,
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Orders that all clients change.
const ORDERS: usize = 4;

/// Clients of each node.
const CLIENTS: u64 = 3;

/// How often the node is killed.
const KILLS_SHORT: u64 = 4;
const KILLS_LONG: u64 = 40;

/// Changes that each node acknowledges before the kill; a few more each time.
const ACKNOWLEDGED: u64 = 20;

/// What is changed, and how far it has come.
struct Shop {
    orders: Vec<Order>,
    /// The latest change of each order that was acknowledged: its minute, which
    /// is its quantity.
    latest: Vec<AtomicU64>,
    minute: AtomicU64,
    over: AtomicBool,
}

#[test]
fn invoices_fit_their_orders_while_two_nodes_change_them_and_one_is_killed() {
    let server = Arc::new(RedisServer::start());
    let space = Node::builder()
        .shop()
        .redis(&server, "shop")
        .set("store.lease", "1s");
    let lasting = space.beside().start();
    let shop = Shop {
        orders: (0..ORDERS)
            .map(|_| lasting.create_order_of(1, 2.5))
            .collect(),
        latest: (0..ORDERS).map(|_| AtomicU64::new(1)).collect(),
        minute: AtomicU64::new(1),
        over: AtomicBool::new(false),
    };
    let random = Random::seeded();
    let kills = if is_long() { KILLS_LONG } else { KILLS_SHORT };
    for kill in 0..kills {
        let killed = space.beside().start();
        shop.change_while_one_is_killed(killed, &lasting, &random, kill);
        shop.check(&lasting);
    }
}

impl Shop {
    /// Changes orders at both nodes, kills one, and goes on at the other.
    fn change_while_one_is_killed(&self, killed: Node, lasting: &Node, random: &Random, kill: u64) {
        let enough = ACKNOWLEDGED + kill % 10 * 3;
        let (of_killed, of_lasting) = (AtomicU64::new(0), AtomicU64::new(0));
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        self.over.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let number = (kill * CLIENTS + client) * 2;
                let (to, of_it) = (killed.client(), random.fork(number));
                scope.spawn(|| self.change(to, of_it, &of_killed));
                let (to, of_it) = (lasting.client(), random.fork(number + 1));
                scope.spawn(|| self.change_and_be_answered(to, of_it, &of_lasting));
            }
            eventually("both nodes change orders", || {
                let both = count(&of_killed).min(count(&of_lasting));
                (both >= enough).then_some(())
            });
            killed.kill();
            // It goes on, with the orders too that the other had locked.
            let before = count(&of_lasting);
            eventually("the other node goes on", || {
                (count(&of_lasting) >= before + enough).then_some(())
            });
            self.over.store(true, Ordering::Relaxed);
        });
    }

    /// Changes orders until the node is gone.
    fn change(&self, mut client: Client, mut random: Random, acknowledged: &AtomicU64) {
        while !self.over.load(Ordering::Relaxed) {
            if self
                .try_change(&mut client, &mut random, acknowledged)
                .is_err()
            {
                return;
            }
        }
    }

    /// Changes orders until it is over; every request has to be answered.
    fn change_and_be_answered(&self, mut client: Client, mut random: Random, count: &AtomicU64) {
        while !self.over.load(Ordering::Relaxed) {
            let tried = self.try_change(&mut client, &mut random, count);
            tried.expect("this node was not killed");
        }
    }

    fn try_change(
        &self,
        client: &mut Client,
        random: &mut Random,
        acknowledged: &AtomicU64,
    ) -> std::io::Result<()> {
        let order = random.below(ORDERS);
        let minute = 1 + self.minute.fetch_add(1, Ordering::Relaxed);
        let change = json!({"update_time": at_minute(minute), "quantity": minute});
        let change = request("PATCH", &self.orders[order].path()).json(change);
        let answer = client.try_send(&change)?;
        match answer.status {
            204 => {
                self.latest[order].fetch_max(minute, Ordering::Relaxed);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // Overtaken, or locked for longer than it waits.
            409 | 423 => {}
            other => panic!("{other}: {}", answer.text()),
        }
        Ok(())
    }

    /// Fails unless everything is whole and nothing acknowledged is gone.
    #[track_caller]
    fn check(&self, node: &Node) {
        for (order, latest) in self.orders.iter().zip(&self.latest) {
            let there = node.assert_invoice_fits(order)["quantity"].as_u64();
            let there = there.expect("it is whole");
            let latest = latest.load(Ordering::Relaxed);
            assert!(
                there >= latest,
                "{latest} was acknowledged, {there} is there"
            );
        }
    }
}
