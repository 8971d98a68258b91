//! What a store in Redis promises that others need not: several nodes, and a
//! server and connections that fail. What every store promises is tested in
//! `contract.rs`.

mod asked_again;
mod cluster;
mod cost;
mod crowd;
mod direct;
mod disturbed;
mod failover;
mod hand_over;
mod leaps;
mod recovery;
mod relay;
mod replaced;
mod sentinels;
mod steps;
mod sync;
mod tls;
mod users;

use super::server::{Server, strings};
use super::*;
use crate::contract::{
    block_on, caller, guarding, name, of, of_caller, of_session, open, poll_once, put, session,
    waiting,
};
use crate::id::TransactionId;
use crate::pattern::Permission;
use crate::store::{
    Acquire, AcquireError, EventKind, Granted, Holder, OpenSession, SessionError, TTL_MIN,
    WatchQuery, Watched,
};
use crate::time::Time;
use ::redis::{Cmd, cmd};
use std::pin::Pin;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(60);

/// The lease of a node that is to lose it.
const SHORT: Duration = Duration::from_secs(1);

/// Asks for tests of the size that their line names, as `cargo xtask test --long`
/// does.
const IN_FULL: &str = "LOCKPORT_TEST_LONG";

type Queued<'a> = Pin<Box<dyn Future<Output = Result<Granted, AcquireError>> + Send + 'a>>;

async fn node(server: &Server) -> Redis {
    Redis::open(&server.url()).await.unwrap()
}

async fn short_lived(server: &Server) -> Redis {
    let options = Options {
        lease: SHORT,
        ..Options::default()
    };
    Redis::open_with(&server.url(), options).await.unwrap()
}

/// Says something to the server that no node says.
fn tell(server: &Server, command: &Cmd) -> redis::Value {
    command.query(&mut server.connection()).unwrap()
}

/// Whether tests are as large as their lines say; or so that they can be run
/// again and again.
fn in_full() -> bool {
    std::env::var_os(IN_FULL).is_some_and(|it| it == "1")
}

/// A request of a transaction of its own that waits.
fn patient(text: &str) -> Acquire {
    waiting(LONG, of(TransactionId::mint(), &[text]))
}

/// Queues a request, and waits until it is.
async fn queue<'a>(store: &'a Redis, request: &Acquire) -> Queued<'a> {
    let mut queued = store.acquire(request.clone());
    assert!(poll_once(&mut queued).await.is_none());
    store.lock(request.names[0].clone()).await.unwrap();
    assert!(poll_once(&mut queued).await.is_none(), "it waits");
    queued
}

fn transaction_of(request: &Acquire) -> TransactionId {
    match request.holder {
        Holder::Transaction(it) => it,
        _ => panic!("no transaction"),
    }
}

/// Asks until there is an answer, and it is a lock.
async fn acquire_again(store: &Redis, request: &Acquire) -> Granted {
    loop {
        let request = Acquire {
            id: crate::id::GrantId::mint(),
            ..request.clone()
        };
        match store.acquire(request).await {
            Ok(granted) => return granted,
            Err(AcquireError::Store(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until a lock is free.
async fn until_free(store: &Redis, text: &str) {
    while store.lock(name(text)).await.unwrap().holding > 0 {}
}

#[test]
fn locks_are_first_come_first_served_over_all_nodes() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        assert_eq!(
            one.key(),
            other.key(),
            "a secret of one is good at the other"
        );
        let holder = of(TransactionId::mint(), &["a"]);
        let mut token = one.acquire(holder.clone()).await.unwrap().tokens[0].1;
        let queued = [
            (&other, patient("a")),
            (&one, patient("a")),
            (&other, patient("a")),
        ];
        let mut waiting = Vec::new();
        for (store, request) in &queued {
            waiting.push(queue(store, request).await);
        }
        one.end(transaction_of(&holder));
        for ((store, request), waiting) in queued.iter().zip(waiting) {
            let next = waiting.await.unwrap().tokens[0].1;
            assert!(next > token);
            token = next;
            store.end(transaction_of(request));
        }
        until_free(&one, "a").await;
    });
}

#[test]
fn what_a_node_held_is_free_within_its_lease_after_it_died() {
    let server = Server::start();
    block_on(async {
        let (dies, lives) = (short_lived(&server).await, node(&server).await);
        dies.acquire(of(TransactionId::mint(), &["a"]))
            .await
            .unwrap();
        let its_waiter = patient("a");
        let lost = queue(&dies, &its_waiter).await;
        let request = patient("a");
        let queued = queue(&lives, &request).await;
        drop(lost);
        tokio::task::spawn_blocking(move || dies.die())
            .await
            .unwrap();
        queued.await.unwrap();
        let lock = lives.lock(name("a")).await.unwrap();
        assert_eq!((lock.holding, lock.waiting), (1, 0));
    });
}

#[test]
fn a_session_goes_on_at_another_node() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        let session = session();
        let (id, principal) = (session.id, caller().principal);
        one.open_session(session).await.unwrap();
        let mut first = one.attach(id, principal.clone()).await.unwrap();
        let granted = one.acquire(of_session(id, &["a"])).await.unwrap();
        let mut second = other.attach(id, principal.clone()).await.unwrap();
        assert_eq!(second.held, [granted.tokens[0].1]);
        assert_eq!(first.lost.recv().await, None, "its line is closed");
        let beat = one.beat(id, first.attachment);
        assert_eq!(beat, Err(SessionError::Elsewhere));
        assert_eq!(other.beat(id, second.attachment), Ok(()));
        // What is taken away through one is told at the other.
        let taken = one.force_release(
            name("a"),
            principal.clone(),
            Permission::all(),
            "a test".to_owned(),
        );
        assert_eq!(taken.await.unwrap().len(), 1);
        assert_eq!(second.lost.recv().await.unwrap().token, granted.tokens[0].1);
        one.close_session(id, principal).await.unwrap();
        assert_eq!(second.lost.recv().await, None);
        assert_eq!(other.beat(id, second.attachment), Err(SessionError::Lost));
    });
}

#[test]
fn what_happens_at_one_node_is_told_at_another_and_after_a_gap_from_what_is_kept() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        let mut watch = one.watch(WatchQuery::default()).await.unwrap();
        let began = watch.revision();
        let mut expected = Vec::new();
        for round in 0..3 {
            let request = of_caller(&["a"]);
            other.acquire(request.clone()).await.unwrap();
            // Its connection breaks, and events are published meanwhile.
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("TYPE").arg("pubsub");
            tell(&server, &kill);
            other.release(request.id, caller().principal).await.unwrap();
            expected.extend([EventKind::Granted, EventKind::Released]);
            for kind in &expected[round * 2..] {
                match watch.next().await {
                    Some(Watched::Event(event)) => assert_eq!(event.kind, *kind),
                    told => panic!("{told:?}"),
                }
            }
        }
        // Who comes back at another node misses nothing.
        let behind = WatchQuery {
            after: Some(began),
            ..WatchQuery::default()
        };
        let mut again = other.watch(behind).await.unwrap();
        for kind in expected {
            match again.next().await {
                Some(Watched::Event(event)) => assert_eq!(event.kind, kind),
                told => panic!("{told:?}"),
            }
        }
    });
}

#[test]
fn l24_a_library_that_is_flushed_is_loaded_again() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        for text in ["a", "b"] {
            tell(&server, cmd("FUNCTION").arg("FLUSH"));
            store.acquire(of_caller(&[text])).await.unwrap();
        }
        let lock = store.lock(name("a")).await.unwrap();
        assert_eq!(lock.holding, 1, "and nothing was forgotten");
    });
}

#[test]
fn a_grant_whose_message_was_lost_arrives_all_the_same() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        for is_broken in [true, false, true, false] {
            let holder = of_caller(&["a"]);
            one.acquire(holder.clone()).await.unwrap();
            let request = patient("a");
            let queued = queue(&other, &request).await;
            if is_broken {
                let mut kill = cmd("CLIENT");
                kill.arg("KILL").arg("TYPE").arg("pubsub");
                tell(&server, &kill);
            } else {
                // As if what is published had been lost on the way.
                let Locks { beats, means, .. } = &other.locks;
                let node = &means.node;
                let connected = beats.connected().await.unwrap();
                let inbox = beats.space().inbox(node.id());
                connected.unsubscribe(&inbox).await.unwrap();
            }
            one.release(holder.id, caller().principal).await.unwrap();
            queued.await.unwrap();
            other.end(transaction_of(&request));
            until_free(&one, "a").await;
        }
    });
}

#[test]
fn l24_what_is_ended_while_there_is_no_connection_is_ended_later() {
    let server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        for _ in 0..5 {
            let holder = of(TransactionId::mint(), &["a"]);
            acquire_again(&one, &holder).await;
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("TYPE").arg("normal");
            tell(&server, &kill);
            one.end(transaction_of(&holder));
            let next = acquire_again(&other, &patient("a")).await;
            assert_eq!(next.tokens.len(), 1);
            let taken = other.force_release(
                name("a"),
                caller().principal,
                Permission::all(),
                "a test".to_owned(),
            );
            drop(taken.await);
            until_free(&other, "a").await;
        }
    });
}

#[test]
fn l6_a_node_whose_lease_ran_out_says_so_and_comes_anew() {
    let server = Server::start();
    block_on(async {
        let store = short_lived(&server).await;
        let holder = of(TransactionId::mint(), &["a"]);
        store.acquire(holder.clone()).await.unwrap();
        let request = patient("a");
        let queued = queue(&store, &request).await;
        let mut pause = cmd("CLIENT");
        pause.arg("PAUSE").arg(3_500).arg("ALL");
        tell(&server, &pause);
        let clock = Clock::machine();
        let paused = clock.now();
        // Nobody is left waiting for what cannot come any more, and that is said
        // in time, although the server says nothing.
        let refused = queued.await;
        assert!(
            matches!(refused, Err(AcquireError::Store(_))),
            "{refused:?}"
        );
        assert!(clock.now().since(paused) < SHORT * 2);
        let commit = Commit {
            id: CommitId::mint(store.now()),
            transaction: transaction_of(&holder),
            began: Time::default(),
            guards: vec![guarding(&holder)],
            reads: vec![],
            ranges: vec![],
            writes: vec![put(&open(), "a", "a")],
        };
        let refused = store.commit(commit.clone()).await;
        assert!(
            matches!(refused, Err(CommitError::Fenced { .. })),
            "{refused:?}"
        );
        // It comes anew, and what it held is not its own any more.
        acquire_again(&store, &patient("a")).await;
        let refused = store.commit(commit).await;
        assert!(
            matches!(refused, Err(CommitError::Fenced { .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn l6_a_session_that_the_store_cannot_be_told_of_is_over_here_before_it_is_there() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let session = OpenSession {
            ttl: TTL_MIN,
            grace: TTL_MIN,
            ..session()
        };
        let (id, principal) = (session.id, caller().principal);
        store.open_session(session).await.unwrap();
        let mut attached = store.attach(id, principal).await.unwrap();
        let mut pause = cmd("CLIENT");
        pause.arg("PAUSE").arg(4_000).arg("ALL");
        tell(&server, &pause);
        let mut looking = store.lock(name("a"));
        assert!(poll_once(&mut looking).await.is_none());
        // It is heard all the time, but the store is not.
        while store.beat(id, attached.attachment).is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(attached.lost.recv().await, None);
        assert!(
            poll_once(&mut looking).await.is_none(),
            "the server says nothing yet"
        );
    });
}

#[test]
fn a_server_that_would_forget_locks_is_refused_at_the_start() {
    let server = Server::start();
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    tell(&server, &set);
    block_on(async {
        let refused = Redis::open(&server.url()).await.err();
        assert!(
            matches!(refused, Some(OpenError::Unfit(Unfit::Policy(_)))),
            "{refused:?}"
        );
    });
}

#[test]
fn a_server_that_is_not_there_is_said_to_be() {
    let url = Server::start().url();
    block_on(async {
        let refused = Redis::open(&url).await.err();
        assert!(matches!(refused, Some(OpenError::Server(_))), "{refused:?}");
    });
}
