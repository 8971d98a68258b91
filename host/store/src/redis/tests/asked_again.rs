//! A request id that is asked again while whoever asked before is leaving: what
//! is said of those who have left must not end what somebody has heard of.

use super::direct::Direct;
use super::*;
use crate::contract::repeatable;
use crate::id::GrantId;
use crate::redis::asking::HandedOver;
use crate::redis::codec::Arguments;
use crate::redis::library::Library;

/// How often what may come in either order is tried.
const ROUNDS: usize = 50;

/// How long an answer may take where one is to be late, and how long the server
/// pauses for that, in milliseconds.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: u64 = 1_000;

/// How many hold the lock, and how many wait for it.
fn stands(direct: &mut Direct) -> (usize, usize) {
    let look = direct.call(&Arguments::look([&name("a")]));
    let locks = look.locks([&name("a")]).unwrap();
    (locks[0].holding, locks[0].waiting)
}

/// Has a node hear of a grant, for all who have asked by now.
fn hand_over(store: &Redis, id: GrantId, granted: Granted, is_claimed: bool) {
    let (means, asking) = (&store.locks.means, &store.locks.ears.asking);
    let handed = HandedOver {
        id,
        last: asking.last(),
        is_claimed,
        after: means.holdings.recoveries(),
    };
    asking.granted(means.node.id(), handed, granted);
}

#[test]
fn whose_wait_is_over_before_the_server_is_asked_has_waited_all_the_same() {
    let server = Server::start();
    block_on(async {
        let store = Redis::open(&server.url()).await.unwrap();
        store.acquire(of_caller(&["a"])).await.unwrap();
        for _ in 0..ROUNDS {
            let request = waiting(Duration::from_micros(1), of_caller(&["a"]));
            assert_eq!(store.acquire(request).await, Err(AcquireError::TimedOut));
        }
    });
}

#[test]
fn who_is_given_up_late_takes_nothing_from_who_asked_since() {
    let server = Server::start();
    let mut direct = Direct::new(&server, Library::Server);
    let holder = of_caller(&["a"]);
    direct.acquire(&holder);
    for is_granted in [true, false] {
        let request = repeatable(waiting(LONG, of_caller(&["a"])));
        for asker in [3, 4] {
            let arguments = direct.acquiring_as(&request, asker);
            direct.call(&arguments).acquired().unwrap();
        }
        if is_granted {
            let principal = caller().principal;
            direct.call(&Arguments::release(holder.id, &principal));
        }
        let before = stands(&mut direct);
        direct.call(&Arguments::abandon(request.id, 3));
        let late = stands(&mut direct);
        assert_eq!(late, before, "it was asked since");
        direct.call(&Arguments::abandon(request.id, 4));
        let left = if is_granted { (0, 0) } else { (1, 0) };
        assert_eq!(stands(&mut direct), left);
        if is_granted {
            direct.acquire(&of_caller(&["a"]));
        }
    }
}

#[test]
fn a_grant_that_was_heard_of_by_an_answer_survives_its_message() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        for _ in 0..ROUNDS {
            let request = repeatable(of_caller(&["a"]));
            let granted = store.acquire(request.clone()).await.unwrap();
            hand_over(&store, request.id, granted, false);
            assert_eq!(store.lock(name("a")).await.unwrap().holding, 1);
            let released = store.release(request.id, caller().principal).await;
            assert_eq!(released, Ok(crate::store::Released::Released));
        }
    });
}

#[test]
fn a_grant_to_one_who_has_left_is_not_told_to_who_asked_since() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let holder = of(TransactionId::mint(), &["a"]);
        let granted = store.acquire(holder).await.unwrap();
        let request = repeatable(waiting(LONG, of_caller(&["a"])));
        drop(queue(&store, &request).await);
        // What the store has said before it hears that the first has left comes
        // when the second asks already.
        let asking = &store.locks.ears.asking;
        let before = asking.last();
        let mut second = store.acquire(request.clone());
        assert!(poll_once(&mut second).await.is_none());
        let handed = HandedOver {
            id: request.id,
            last: before,
            is_claimed: true,
            after: store.locks.means.holdings.recoveries(),
        };
        asking.granted(store.locks.means.node.id(), handed, granted.clone());
        asking.tell(request.id, before, Err(AcquireError::TimedOut));
        assert!(poll_once(&mut second).await.is_none(), "it is not meant");
        hand_over(&store, request.id, granted.clone(), true);
        assert_eq!(second.await, Ok(granted), "it is meant");
    });
}

#[test]
fn one_who_leaves_while_another_asks_the_same_takes_nothing_along() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        for _ in 0..ROUNDS {
            let request = repeatable(waiting(LONG, of_caller(&["a"])));
            let mut leaves = store.acquire(request.clone());
            // Mostly it leaves without an answer.
            drop(poll_once(&mut leaves).await);
            drop(leaves);
            store.acquire(request.clone()).await.unwrap();
            assert_eq!(store.lock(name("a")).await.unwrap().holding, 1);
            let released = store.release(request.id, caller().principal).await;
            assert_eq!(released, Ok(crate::store::Released::Released));
        }
    });
}

#[test]
fn one_who_asks_again_and_is_never_answered_does_not_end_what_the_first_has() {
    let server = Server::start();
    block_on(async {
        let options = Options {
            lease: LONG,
            patience: PATIENCE,
            ..Options::default()
        };
        let store = Redis::open_with(&server.url(), options).await.unwrap();
        let request = repeatable(of_caller(&["a"]));
        store.acquire(request.clone()).await.unwrap();
        let mut pause = cmd("CLIENT");
        pause.arg("PAUSE").arg(PAUSE);
        tell(&server, &pause);
        let mut again = store.acquire(request.clone());
        assert!(poll_once(&mut again).await.is_none());
        drop(again);
        let asking = &store.locks.ears.asking;
        while asking.check_asked(request.id).is_ok() {
            tokio::task::yield_now().await;
        }
        for _ in 0..ROUNDS {
            let lock = loop {
                if let Ok(lock) = store.lock(name("a")).await {
                    break lock;
                }
            };
            assert_eq!(lock.holding, 1, "the first has heard that it has it");
        }
    });
}
