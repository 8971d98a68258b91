//! A server that was emptied, or replaced by one that knows less: what the nodes
//! say that they had is so again, and everything else is as the server has it.

use super::*;
use crate::contract::{guarded, key};
use crate::store::{Commit, CommitError, ReleaseError, Released, RenewError, Store};

/// For how long nodes may say what they had: several beats.
const RECLAIM: Duration = Duration::from_millis(1_500);

/// Each way in which a server forgets all it had.
const FORGETTING: [fn(&mut Server); 2] = [
    |server| drop(tell(server, &cmd("FLUSHALL"))),
    Server::replace,
];

async fn node(server: &Server) -> Redis {
    let options = Options {
        reclaim: RECLAIM,
        ..Options::default()
    };
    Redis::open_with(&server.url(), options).await.unwrap()
}

fn for_each_way(test: impl AsyncFn(&mut Server, fn(&mut Server))) {
    for forget in FORGETTING {
        let mut server = Server::start();
        block_on(test(&mut server, forget));
    }
}

/// Waits for an answer of the store.
macro_rules! answered {
    ($asked:expr) => {
        loop {
            match $asked.await {
                Err(error) if error.to_string().contains("unavailable") => {
                    tokio::task::yield_now().await;
                }
                answer => break answer,
            }
        }
    };
}

async fn holders(store: &Redis, text: &str) -> Vec<u64> {
    let lock = answered!(store.lock(name(text))).unwrap();
    lock.holders.iter().map(|it| it.token).collect()
}

fn token(granted: &Granted) -> u64 {
    granted.tokens[0].1
}

fn commit_of(transaction: TransactionId, store: &Redis) -> Commit {
    Commit {
        id: CommitId::mint(store.now()),
        transaction,
        began: store.now(),
        guards: Vec::new(),
        reads: Vec::new(),
        ranges: Vec::new(),
        writes: Vec::new(),
    }
}

#[test]
fn l22_what_a_node_had_it_has_again() {
    for_each_way(async |server, forget| {
        let (one, other) = (node(server).await, node(server).await);
        let of_one = one
            .acquire(of(TransactionId::mint(), &["a"]))
            .await
            .unwrap();
        let session = session();
        let id = session.id;
        other.open_session(session).await.unwrap();
        let mut attached = other.attach(id, caller().principal).await.unwrap();
        let of_session = other.acquire(of_session(id, &["b"])).await.unwrap();
        let own = of_caller(&["c", "d"]);
        let of_own = one.acquire(own.clone()).await.unwrap();
        forget(server);
        assert_eq!(holders(&one, "a").await, [token(&of_one)]);
        assert_eq!(holders(&one, "c").await, [token(&of_own)]);
        assert_eq!(holders(&other, "b").await, [token(&of_session)]);
        assert_eq!(other.beat(id, attached.attachment), Ok(()));
        assert!(
            poll_once(&mut Box::pin(attached.lost.recv()))
                .await
                .is_none()
        );
        let by = caller().principal;
        let renewed = answered!(one.renew(own.id, by.clone(), None)).unwrap();
        assert_eq!(renewed.token, token(&of_own));
        assert_eq!(
            answered!(one.release(own.id, by.clone())),
            Ok(Released::Released)
        );
        assert!(holders(&one, "d").await.is_empty());
        // What comes after it goes on from there.
        let request = waiting(LONG, of_caller(&["c"]));
        let next = answered!(one.acquire(request.clone())).unwrap();
        assert!(token(&next) > token(&of_session).max(token(&of_own)));
    });
}

#[test]
fn a_node_that_goes_while_the_space_is_recovered_does_not_ask_without_a_pause() {
    let server = Server::start();
    let store = block_on(async {
        let options = Options {
            reclaim: LONG,
            ..Options::default()
        };
        let store = Redis::open_with(&server.url(), options).await.unwrap();
        tell(&server, &cmd("FLUSHALL"));
        holders(&store, "a").await;
        store
    });
    tell(&server, cmd("CONFIG").arg("RESETSTAT"));
    drop(store);
    let asked = tell(&server, cmd("INFO").arg("commandstats"));
    let asked: String = ::redis::from_redis_value(asked).unwrap();
    let mut calls = asked.lines().filter_map(|it| {
        let (calls, _) = it.strip_prefix("cmdstat_fcall:calls=")?.split_once(',')?;
        calls.parse::<u32>().ok()
    });
    let calls = calls.next().unwrap();
    assert!((3..100).contains(&calls), "{calls}");
}

#[test]
fn l22_nothing_new_is_granted_until_all_could_say_what_they_had() {
    for_each_way(async |server, forget| {
        let (one, other) = (node(server).await, node(server).await);
        let held = of_caller(&["a"]);
        let granted = one.acquire(held.clone()).await.unwrap();
        forget(server);
        // The other may come first; it is told to wait, or waits.
        loop {
            match other.acquire(of_caller(&["a"])).await {
                Err(AcquireError::Held(_)) => break,
                Err(AcquireError::Store(_)) => {}
                answer => panic!("{answer:?}"),
            }
        }
        assert_eq!(holders(&other, "a").await, [token(&granted)]);
    });
}

#[test]
fn l22_those_who_waited_are_granted_what_they_waited_for() {
    for_each_way(async |server, forget| {
        let (one, other) = (node(server).await, node(server).await);
        let held = of_caller(&["a"]);
        let granted = one.acquire(held.clone()).await.unwrap();
        let request = patient("a");
        let queued = queue(&other, &request).await;
        forget(server);
        let by = caller().principal;
        assert_eq!(
            answered!(one.release(held.id, by.clone())),
            Ok(Released::Released)
        );
        assert!(token(&queued.await.unwrap()) > token(&granted));
    });
}

#[test]
fn l22_a_transaction_that_began_before_conflicts() {
    for_each_way(async |server, forget| {
        let store = node(server).await;
        let transaction = TransactionId::mint();
        let mut before = commit_of(transaction, &store);
        before.writes = vec![put(&open(), "k", "v")];
        forget(server);
        let refused = answered!(store.commit(before.clone()));
        // It is found out with the first call.
        let refused = match refused {
            Err(CommitError::Conflict { .. }) => refused,
            answer => panic!("{answer:?}"),
        };
        assert!(refused.is_err());
        assert_eq!(answered!(store.get(open(), key("k"))), Ok(None));
        let mut after = commit_of(TransactionId::mint(), &store);
        after.writes = before.writes;
        answered!(store.commit(after.clone())).unwrap();
    });
}

#[test]
fn l22_numbers_of_commits_and_tokens_go_on_whoever_comes_first() {
    let mut server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let mut commit = commit_of(TransactionId::mint(), &store);
        commit.writes = vec![put(&open(), "k", "v")];
        let before = store.commit(commit).await.unwrap();
        let granted = store.acquire(of_caller(&["a"])).await.unwrap();
        server.replace();
        // One that knows nothing of what was.
        let first = node(&server).await;
        let told = holders(&store, "a").await;
        assert_eq!(told, [token(&granted)], "nobody else has taken it");
        assert_eq!(store.key(), first.key());
        let mut commit = commit_of(TransactionId::mint(), &first);
        commit.writes = vec![put(&open(), "k", "v")];
        let after = loop {
            commit.began = first.now();
            match first.commit(commit.clone()).await {
                Ok(committed) => break committed,
                Err(CommitError::Store(_) | CommitError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert!(after.number > before.number);
    });
}

#[test]
fn l23_what_the_server_has_and_the_node_has_not_is_given_back() {
    let mut server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let ended = of(TransactionId::mint(), &["a"]);
        store.acquire(ended.clone()).await.unwrap();
        let session = session();
        let id = session.id;
        store.open_session(session).await.unwrap();
        let _attached = store.attach(id, caller().principal).await.unwrap();
        let released = of_session(id, &["b"]);
        store.acquire(released.clone()).await.unwrap();
        let kept = of_session(id, &["c"]);
        store.acquire(kept.clone()).await.unwrap();
        server.save();
        store.end(transaction_of(&ended));
        let by = caller().principal;
        store.release(released.id, by).await.unwrap();
        let later = store
            .acquire(of(TransactionId::mint(), &["d"]))
            .await
            .unwrap();
        until_free(&store, "a").await;
        server.replace();
        assert_eq!(holders(&store, "d").await, [token(&later)]);
        assert!(holders(&store, "a").await.is_empty());
        assert!(holders(&store, "b").await.is_empty());
        assert_eq!(holders(&store, "c").await.len(), 1);
    });
}

#[test]
fn l23_of_two_who_have_the_same_the_later_has_it() {
    let mut server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        let first = of_caller(&["a"]);
        one.acquire(first.clone()).await.unwrap();
        server.save();
        let by = caller().principal;
        // Through the other node: the first is told.
        other.release(first.id, by.clone()).await.unwrap();
        let second = other.acquire(of_caller(&["a"])).await.unwrap();
        server.replace();
        assert_eq!(holders(&other, "a").await, [token(&second)]);
        assert_eq!(holders(&one, "a").await, [token(&second)]);
        let renewed = answered!(one.renew(first.id, by.clone(), None));
        assert_eq!(renewed.err(), Some(RenewError::Lost));
    });
}

#[test]
fn l23_a_session_s_grant_that_another_has_by_now_is_lost() {
    let mut server = Server::start();
    block_on(async {
        let (one, other) = (node(&server).await, node(&server).await);
        let session = session();
        let id = session.id;
        one.open_session(session).await.unwrap();
        let mut attached = one.attach(id, caller().principal).await.unwrap();
        server.save();
        let held = one.acquire(of_session(id, &["a"])).await.unwrap();
        // Two nodes that say the same of one lock: one has heard too late.
        let mut grant = other.acquire(of_caller(&["b"])).await.unwrap();
        grant.acquired = vec![name("a")];
        grant.tokens = vec![(name("a"), token(&grant))];
        let request = of_caller(&["a"]);
        let now = other.locks.means.node.clock().now();
        let holdings = &other.locks.means.holdings;
        assert!(holdings.granted(&request, &grant, now, holdings.recoveries()));
        server.replace();
        let lost = attached.lost.recv().await.unwrap();
        assert_eq!(lost.token, token(&held));
        assert_eq!(holders(&one, "a").await, [token(&grant)]);
    });
}

#[test]
fn l22_a_guarded_write_of_who_has_lost_the_lock_is_refused() {
    let mut server = Server::start();
    block_on(async {
        let store = node(&server).await;
        server.save();
        let holder = of(TransactionId::mint(), &["lock/k"]);
        store.acquire(holder.clone()).await.unwrap();
        server.replace();
        assert_eq!(holders(&store, "lock/k").await.len(), 1);
        let mut commit = commit_of(transaction_of(&holder), &store);
        commit.began = Time::default();
        commit.guards = vec![guarding(&holder)];
        commit.writes = vec![put(&guarded(), "k", "v")];
        let refused = answered!(store.commit(commit.clone())).err();
        assert!(
            matches!(refused, Some(CommitError::Conflict { .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn l22_whoever_watches_is_told_of_a_gap() {
    for_each_way(async |server, forget| {
        let store = node(server).await;
        let mut watch = store.watch(WatchQuery::default()).await.unwrap();
        store.acquire(of_caller(&["a"])).await.unwrap();
        assert!(matches!(watch.next().await, Some(Watched::Event(_))));
        forget(server);
        let told = watch.next().await;
        assert!(matches!(told, Some(Watched::Gap { .. })), "{told:?}");
    });
}

#[test]
fn strangers_are_refused_as_ever() {
    for_each_way(async |server, forget| {
        let store = node(server).await;
        let held = of_caller(&["a"]);
        store.acquire(held.clone()).await.unwrap();
        forget(server);
        let stranger = crate::store::Principal::new("mallory");
        let refused = answered!(store.release(held.id, stranger.clone()));
        assert_eq!(refused, Err(ReleaseError::NotHolder));
    });
}

#[test]
fn a_node_that_goes_gives_back_what_hung_on_it_at_once() {
    let server = Server::start();
    block_on(async {
        let (goes, stays) = (node(&server).await, node(&server).await);
        goes.acquire(of(TransactionId::mint(), &["a"]))
            .await
            .unwrap();
        tokio::task::spawn_blocking(move || drop(goes))
            .await
            .unwrap();
        // Not only when its lease is over.
        assert!(holders(&stays, "a").await.is_empty());
    });
}

#[test]
fn a_node_that_has_much_to_say_lives_on_while_it_says_it() {
    const TRANSACTIONS: usize = 300;
    let mut server = Server::start();
    block_on(async {
        let store = short_lived(&server).await;
        let name_of = |number: usize, at: usize| format!("many/{number}/{at}");
        for number in 0..TRANSACTIONS {
            let names: Vec<String> = (0..crate::store::NAMES_PER_GRANT_MAX)
                .map(|at| name_of(number, at))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let request = of(TransactionId::mint(), &names);
            store.acquire(request).await.unwrap();
        }
        let node = store.locks.means.node.id();
        server.replace();
        let last = name_of(TRANSACTIONS - 1, 0);
        assert_eq!(holders(&store, &last).await.len(), 1);
        assert_eq!(
            store.locks.means.node.id(),
            node,
            "its lease has not run out"
        );
    });
}
