//! Hand-overs that do not arrive: what the node is told is lost on the way, or
//! the node dies before it has heard.

use super::*;
use crate::clock::Clock;

/// How long a grant that was handed over waits for its claim: see `acquire.lua`.
const CLAIM: Duration = Duration::from_secs(1);

#[test]
fn l11_a_grant_whose_messages_are_all_lost_is_noticed_with_a_beat() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        let connected = other.locks.beats.connected().await.unwrap();
        let inbox = other.locks.beats.space().inbox(other.locks.means.node.id());
        connected.unsubscribe(&inbox).await.unwrap();
        let clock = Clock::machine();
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            let holder = of_caller(&["a"]);
            one.acquire(holder.clone()).await.unwrap();
            let request = patient("a");
            let queued = queue(&other, &request).await;
            one.release(holder.id, caller().principal).await.unwrap();
            let given = clock.now();
            queued.await.unwrap();
            slowest = slowest.max(clock.now().since(given));
            other.end(transaction_of(&request));
            until_free(&one, "a").await;
        }
        println!("L11: noticed within {slowest:?}");
        let mut listeners = cmd("PUBSUB");
        listeners.arg("NUMSUB").arg(&inbox);
        let told = tell(&server, &listeners);
        let nobody =
            redis::Value::Array(vec![redis::Value::BulkString(inbox), redis::Value::Int(0)]);
        assert_eq!(told, nobody, "nothing was ever heard");
    });
}

#[test]
fn l13_what_was_handed_to_a_node_that_is_dead_is_taken_back_when_it_is_not_claimed() {
    let server = Server::start();
    block_on(async {
        let options = Options {
            // It is not its lease that frees what it has.
            lease: LONG,
            ..Options::default()
        };
        let dies = Redis::open_with(&server.url(), options).await.unwrap();
        let lives = node(&server).await;
        let holder = of_caller(&["a"]);
        let first = lives.acquire(holder.clone()).await.unwrap();
        let its_waiter = patient("a");
        // Who waits there does not take leave, either.
        std::mem::forget(queue(&dies, &its_waiter).await);
        let request = patient("a");
        let queued = queue(&lives, &request).await;
        tokio::task::spawn_blocking(move || dies.die())
            .await
            .unwrap();
        let released = lives.release(holder.id, caller().principal).await;
        assert_eq!(released, Ok(crate::store::Released::Released));
        let lock = lives.lock(name("a")).await.unwrap();
        assert_eq!((lock.holding, lock.waiting), (1, 1), "handed to the dead");
        let handed = lock.holders[0].clone();
        assert_eq!(handed.grant, its_waiter.id);
        let granted = queued.await.unwrap();
        let taken_back = granted.since.since(handed.since);
        println!("L13: taken back after {taken_back:?}");
        assert!(taken_back >= CLAIM, "{taken_back:?}");
        let token = granted.tokens[0].1;
        assert!(token > handed.token && handed.token > first.tokens[0].1);
        let lock = lives.lock(name("a")).await.unwrap();
        assert_eq!((lock.holding, lock.waiting), (1, 0));
    });
}
