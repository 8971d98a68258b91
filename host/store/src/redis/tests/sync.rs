//! Replicas that have to have what is promised: one that stands still, and goes on.

use super::*;
use crate::contract::{guarded, key};
use crate::store::{CommitError, Store};

/// A server and one that follows it.
struct Pair {
    server: Server,
    replica: Server,
}

impl Pair {
    fn start() -> Self {
        // It is not given up for standing still.
        let server = Server::listening(&["--repl-timeout", "600"]);
        let replica = Server::following(&server);
        Self { server, replica }
    }

    async fn node(&self) -> Redis {
        let options = Options {
            sync: 1,
            ..Options::default()
        };
        Redis::open_with(&self.server.url(), options).await.unwrap()
    }

    fn waits(&self) -> u64 {
        let mut about = cmd("INFO");
        about.arg("commandstats");
        let text: String = about.query(&mut self.server.connection()).unwrap();
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix("cmdstat_wait:calls="));
        let count = line.and_then(|it| it.split(',').next());
        count.map_or(0, |it| it.parse().unwrap())
    }
}

fn is_unavailable(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(why) if why.contains("too few replicas"))
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, AcquireError>) {
    match answer {
        Err(AcquireError::Store(error)) if is_unavailable(&error) => {}
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn what_no_replica_has_is_given_back_and_what_one_has_is_held() {
    let pair = Pair::start();
    block_on(async {
        let node = pair.node().await;
        acquire_again(&node, &of_caller(&["first"])).await;
        pair.replica.signal("STOP");
        for mut request in [of_caller(&["a"]), of(TransactionId::mint(), &["a"])] {
            for repeatable in [false, true] {
                request.id = crate::id::GrantId::mint();
                request.repeatable = repeatable;
                assert_unavailable(node.acquire(request.clone()).await);
                until_free(&node, "a").await;
            }
        }
        pair.replica.signal("CONT");
        acquire_again(&node, &of_caller(&["a"])).await;
        assert_eq!(node.lock(name("a")).await.unwrap().holding, 1);
    });
}

#[test]
fn a_grant_that_was_heard_of_is_not_given_up_when_it_is_asked_for_again() {
    let pair = Pair::start();
    block_on(async {
        let (one, other) = (pair.node().await, pair.node().await);
        acquire_again(&one, &of_caller(&["first"])).await;
        let request = Acquire {
            repeatable: true,
            ..of_caller(&["a"])
        };
        one.acquire(request.clone()).await.unwrap();
        pair.replica.signal("STOP");
        for node in [&one, &other] {
            assert_unavailable(node.acquire(request.clone()).await);
            // What is asked later is done later.
            for _ in 0..2 {
                let lock = node.lock(name("a")).await.unwrap();
                assert_eq!(lock.holding, 1);
            }
        }
        pair.replica.signal("CONT");
        let again = acquire_same(&other, &request).await;
        assert_eq!(again.tokens[0].0, name("a"));
    });
}

/// Asks for the same until there is an answer, and it is a lock.
async fn acquire_same(store: &Redis, request: &Acquire) -> Granted {
    loop {
        match store.acquire(request.clone()).await {
            Ok(granted) => return granted,
            Err(AcquireError::Store(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_lock_that_is_handed_over_is_given_back_if_no_replica_has_it() {
    let pair = Pair::start();
    block_on(async {
        let (one, other) = (pair.node().await, pair.node().await);
        let holder = of_caller(&["a"]);
        let held = acquire_again(&one, &holder).await;
        let request = patient("a");
        let queued = queue(&other, &request).await;
        pair.replica.signal("STOP");
        let taken = one.force_release(
            name("a"),
            caller().principal,
            Permission::all(),
            "a test".to_owned(),
        );
        assert_eq!(taken.await.unwrap().len(), 1);
        assert_unavailable(queued.await);
        until_free(&one, "a").await;
        pair.replica.signal("CONT");
        let next = acquire_again(&other, &of_caller(&["a"])).await;
        assert!(next.tokens[0].1 > held.tokens[0].1);
    });
}

#[test]
fn a_commit_that_no_replica_has_may_stand_and_its_id_finds_out() {
    let pair = Pair::start();
    block_on(async {
        let node = pair.node().await;
        let holder = of(TransactionId::mint(), &["order/k"]);
        let holder = loop {
            let holder = Acquire {
                id: crate::id::GrantId::mint(),
                ..holder.clone()
            };
            if node.acquire(holder.clone()).await.is_ok() {
                break holder;
            }
        };
        let commit = Commit {
            id: CommitId::mint(node.now()),
            transaction: transaction_of(&holder),
            began: node.now(),
            guards: vec![guarding(&holder)],
            reads: vec![],
            ranges: vec![],
            writes: vec![put(&guarded(), "k", "v")],
        };
        pair.replica.signal("STOP");
        for _ in 0..2 {
            match node.commit(commit.clone()).await {
                Err(CommitError::Store(error)) if is_unavailable(&error) => {}
                answer => panic!("{answer:?}"),
            }
        }
        let unresolved = node.resolve(commit.id).await.unwrap_err();
        assert!(is_unavailable(&unresolved), "{unresolved:?}");
        pair.replica.signal("CONT");
        let number = loop {
            if let Ok(Resolved::Committed(it)) = node.resolve(commit.id).await {
                break it.number;
            }
        };
        assert_eq!(node.commit(commit).await.unwrap().number, number);
        let got = node.get(guarded(), key("k")).await.unwrap();
        assert_eq!(got.unwrap().value, "v");
    });
}

#[test]
fn what_was_answered_is_there_when_the_replica_takes_the_place_of_the_server() {
    let mut pair = Pair::start();
    block_on(async {
        let node = pair.node().await;
        let held = acquire_again(&node, &of_caller(&["a"])).await;
        let commit = Commit {
            id: CommitId::mint(node.now()),
            transaction: TransactionId::mint(),
            began: node.now(),
            guards: vec![],
            reads: vec![],
            ranges: vec![],
            writes: vec![put(&open(), "k", "v")],
        };
        node.commit(commit).await.unwrap();
        pair.server.kill();
        tokio::task::spawn_blocking(move || node.die())
            .await
            .unwrap();
        let mut promote = cmd("REPLICAOF");
        promote.arg("NO").arg("ONE");
        tell(&pair.replica, &promote);
        let next = Redis::open(&pair.replica.url()).await.unwrap();
        let got = next.get(open(), key("k")).await.unwrap();
        assert_eq!(got.unwrap().value, "v");
        let lock = next.lock(name("a")).await.unwrap();
        let tokens: Vec<u64> = lock.holders.iter().map(|it| it.token).collect();
        assert_eq!(tokens, [held.tokens[0].1]);
    });
}

#[test]
fn those_who_come_at_once_wait_for_replicas_together() {
    let pair = Pair::start();
    block_on(async {
        let node = Arc::new(pair.node().await);
        acquire_again(&node, &of_caller(&["first"])).await;
        let before = pair.waits();
        pair.replica.signal("STOP");
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..100 {
            let node = node.clone();
            let lock = format!("a/{number}");
            asking.spawn(async move { node.acquire(of_caller(&[&lock])).await });
        }
        for answer in asking.join_all().await {
            assert_unavailable(answer);
        }
        // The first waits alone, the others for all that came meanwhile.
        let waits = pair.waits() - before;
        assert!((1..=10).contains(&waits), "{waits}");
        pair.replica.signal("CONT");
    });
}
