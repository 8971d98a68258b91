//! A server whose user may do what a node needs and no more; or less than that.

use super::*;
use crate::contract::{SECOND, guarded, key, query};
use crate::redis::permissions::rules;
use crate::store::{LockQuery, Order, Store};

/// The space of these tests.
const SPACE: &str = "shop";

/// A server that knows a user by these rules, and where that one finds it.
fn with_user(rules: &str) -> (Server, String) {
    let server = Server::listening(&[]);
    let mut set = cmd("ACL");
    set.arg("SETUSER").arg("node").arg("on").arg(">secret");
    set.arg(rules.split(' ').collect::<Vec<_>>());
    tell(&server, &set);
    let url = format!(
        "redis://node:secret@127.0.0.1:{}?space={SPACE}",
        server.port()
    );
    (server, url)
}

/// What the user is said to lack.
fn lacking(rules: &str) -> String {
    let (_server, url) = with_user(rules);
    match block_on(Redis::open(&url)).err() {
        Some(OpenError::Unfit(Unfit::Permissions(lacking))) => lacking,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_user_who_may_do_what_a_node_needs_is_enough() {
    let (server, url) = with_user(&rules(SPACE));
    block_on(async {
        let (one, other) = (Redis::open(&url).await, Redis::open(&url).await);
        let (one, other) = (one.unwrap(), other.unwrap());
        let mut watch = one.watch(WatchQuery::default()).await.unwrap();
        let holder = of(TransactionId::mint(), &["order/k"]);
        one.acquire(holder.clone()).await.unwrap();
        let request = patient("order/k");
        let queued = queue(&other, &request).await;
        let commit = Commit {
            id: CommitId::mint(one.now()),
            transaction: transaction_of(&holder),
            began: one.now(),
            guards: vec![guarding(&holder)],
            reads: vec![(guarded(), key("k"), 0)],
            ranges: vec![],
            writes: vec![put(&guarded(), "k", "v")],
        };
        one.commit(commit.clone()).await.unwrap();
        queued.await.unwrap();
        assert!(matches!(watch.next().await, Some(Watched::Event(_))));
        one.resolve(commit.id).await.unwrap();
        let got = other.get(guarded(), key("k")).await.unwrap();
        assert_eq!(got.unwrap().value, "v");
        let page = other
            .list(guarded(), query("", None, Order::Ascending, 1))
            .await
            .unwrap();
        assert_eq!(page.entries.len(), 1);
        let all = LockQuery {
            permission: Permission::all(),
            prefix: String::new(),
            after: None,
            limit: 10,
        };
        let locks = other.locks(all).await.unwrap();
        assert_eq!(locks.locks.len(), 1);
        let session = session();
        let (id, principal) = (session.id, caller().principal);
        one.open_session(session).await.unwrap();
        let mut attached = one.attach(id, principal.clone()).await.unwrap();
        one.acquire(of_session(id, &["b"])).await.unwrap();
        let short = waiting(SECOND / 10, of_caller(&["b"]));
        let refused = other.acquire(short).await;
        assert_eq!(refused, Err(AcquireError::TimedOut));
        other.attach(id, principal.clone()).await.unwrap();
        assert_eq!(attached.lost.recv().await, None);
        other.close_session(id, principal).await.unwrap();
        other.end(transaction_of(&request));
        until_free(&one, "order/k").await;
        // What it had is said again, to a server that knows nothing.
        let kept = of_caller(&["c"]);
        one.acquire(kept.clone()).await.unwrap();
        tell(&server, &cmd("FLUSHALL"));
        tell(&server, cmd("FUNCTION").arg("FLUSH"));
        loop {
            match one.lock(name("c")).await {
                Ok(lock) if lock.holding == 1 => break,
                _ => tokio::task::yield_now().await,
            }
        }
    });
}

#[test]
fn a_user_who_may_do_less_is_refused_and_what_it_lacks_is_named() {
    let all = rules(SPACE);
    let without = |them: &[&str]| {
        let left = all.split(' ').filter(|it| !them.contains(it));
        left.collect::<Vec<_>>().join(" ")
    };
    let (keys, channels) = ("~{lp:shop}:*", "&{lp:shop}:*");
    for (them, named) in [
        (&["+hset"][..], "+hset"),
        (&["+zadd", "+publish"], "+publish +zadd"),
        (&["+fcall"], "+fcall"),
        (&["+function|load"], "+function|load"),
        (&["+info"], "+info"),
        (&["+multi"], "+multi"),
        (&["+discard"], "+discard"),
        (&["+subscribe"], "+subscribe"),
        (&["+unsubscribe"], "+unsubscribe"),
        (&[channels], channels),
        (&[keys, channels], &format!("{channels} {keys}")),
    ] {
        assert_eq!(lacking(&without(them)), named);
    }
    // Nothing was done with what it was looked for.
    let (server, url) = with_user(&without(&["+multi", "+info"]));
    assert!(block_on(Redis::open(&url)).is_err());
    assert_eq!(tell(&server, &cmd("DBSIZE")), ::redis::Value::Int(0));
}

#[test]
fn a_password_that_is_wrong_is_not_shown() {
    let (server, _) = with_user(&rules(SPACE));
    let url = format!("redis://node:hidden@127.0.0.1:{}", server.port());
    let refused = block_on(Redis::open(&url)).err().unwrap();
    let OpenError::Server(error) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.code(), Some("WRONGPASS"));
    assert!(!format!("{refused:?} {refused} {error}").contains("hidden"));
}
