//! A cluster of three masters: each has the spaces of its slots, and a slot moves
//! from one to another while it is used.

use super::*;
use crate::contract::{guarded, key};
use crate::redis::Lost;
use crate::redis::server::cluster::{Cluster, SLOTS, about};
use crate::store::{Store, Versioned};
use std::sync::atomic::{AtomicU64, Ordering};

/// The first spaces `s0`, `s1` ... of which each master has one.
const SPACES_MAX: usize = 100;

/// How many commits there are at least before and after a slot has moved.
const COMMITS: u64 = 20;

/// A node that does not recover for long.
async fn node(cluster: &Cluster, space: &str) -> Redis {
    let options = Options {
        reclaim: Duration::from_millis(1_500),
        ..Options::default()
    };
    Redis::open_with(&cluster.url(space), options)
        .await
        .unwrap()
}

/// A space of each of the masters.
fn spaces(cluster: &Cluster) -> Vec<String> {
    let all: Vec<(String, u16)> = (0..SPACES_MAX)
        .map(|it| format!("s{it}"))
        .map(|it| (it.clone(), cluster.slot(&it)))
        .collect();
    let of = |slots: &[u16]| {
        let mut found = all.iter();
        let found = found.find(|it| (slots[0]..slots[1]).contains(&it.1));
        found.unwrap().0.clone()
    };
    SLOTS.windows(2).map(of).collect()
}

/// One more each time, under the lock of the value: how often it was committed
/// that one more was there. A commit that was not answered counts if it stands.
async fn count_up(store: &Redis) -> Option<u64> {
    let transaction = TransactionId::mint();
    let holder = waiting(LONG, of(transaction, &["order/k"]));
    let began = store.now();
    let done = async {
        store.acquire(holder.clone()).await.ok()?;
        let read = store.get(guarded(), key("k")).await.ok()?;
        let (version, count) = read.map_or((0, 0), |Versioned { version, value }| {
            (
                version,
                std::str::from_utf8(&value).unwrap().parse().unwrap(),
            )
        });
        let commit = Commit {
            id: CommitId::mint(store.now()),
            transaction,
            began,
            guards: vec![guarding(&holder)],
            reads: vec![(guarded(), key("k"), version)],
            ranges: vec![],
            writes: vec![put(&guarded(), "k", &(count + 1).to_string())],
        };
        store.commit(commit).await.ok()?;
        Some(count + 1)
    };
    let count = done.await;
    store.end(transaction);
    count
}

#[test]
fn a_space_is_used_at_the_master_that_has_its_slot() {
    let cluster = Cluster::start();
    block_on(async {
        for (master, space) in spaces(&cluster).iter().enumerate() {
            let (one, other) = (node(&cluster, space).await, node(&cluster, space).await);
            let holder = of_caller(&["a"]);
            one.acquire(holder.clone()).await.unwrap();
            let request = patient("a");
            let queued = queue(&other, &request).await;
            one.release(holder.id, caller().principal).await.unwrap();
            queued.await.unwrap();
            assert_eq!(count_up(&other).await, Some(1));
            assert_eq!(count_up(&one).await, Some(2));
            for at in 0..cluster.masters.len() {
                let is_there = !cluster.keys(at, cluster.slot(space)).is_empty();
                assert_eq!(is_there, at == master, "{space}");
            }
        }
    });
}

#[test]
fn a_slot_that_moves_while_it_is_used_takes_all_of_its_space_with_it() {
    let cluster = Cluster::start();
    let space = spaces(&cluster).swap_remove(0);
    let slot = cluster.slot(&space);
    block_on(async {
        let (one, other) = (node(&cluster, &space).await, node(&cluster, &space).await);
        let (one, other) = (Arc::new(one), Arc::new(other));
        let kept = of(TransactionId::mint(), &["kept"]);
        let token = one.acquire(kept.clone()).await.unwrap().tokens[0].1;
        let (counts, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut working = tokio::task::JoinSet::new();
        for store in [&one, &other, &one] {
            let (store, counts, is_over) = (store.clone(), counts.clone(), is_over.clone());
            working.spawn(async move {
                while is_over.load(Ordering::Relaxed) == 0 {
                    if count_up(&store).await.is_some() {
                        counts.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        let counted_to = async |number: u64| {
            while counts.load(Ordering::Relaxed) < number {
                tokio::task::yield_now().await;
            }
        };
        counted_to(COMMITS).await;
        cluster
            .migrate(slot, 0, 1, async || {
                // Nobody is answered from half of a space.
                let asked = one.acquire(of_caller(&["b"])).await;
                assert!(matches!(asked, Err(AcquireError::Store(_))), "{asked:?}");
            })
            .await;
        assert!(cluster.keys(0, slot).is_empty());
        counted_to(counts.load(Ordering::Relaxed) + COMMITS).await;
        is_over.store(1, Ordering::Relaxed);
        working.join_all().await;
        // Each commit that was answered stands; one in flight for each may, too.
        let read = one.get(guarded(), key("k")).await.unwrap().unwrap();
        let count: u64 = std::str::from_utf8(&read.value).unwrap().parse().unwrap();
        let answered = counts.load(Ordering::Relaxed);
        assert!(
            (answered..=answered + 3).contains(&count),
            "{answered}: {count}"
        );
        let lock = other.lock(name("kept")).await.unwrap();
        let tokens: Vec<u64> = lock.holders.iter().map(|it| it.token).collect();
        assert_eq!(tokens, [token]);
        let next = acquire_again(&other, &of_caller(&["c"])).await;
        assert!(next.tokens[0].1 > token);
        one.end(transaction_of(&kept));
        until_free(&other, "kept").await;
    });
}

#[test]
fn a_server_of_a_cluster_has_to_be_found_there_and_no_other() {
    let cluster = Cluster::start();
    let alone = Server::listening(&[]);
    block_on(async {
        let url = format!("redis://127.0.0.1:{}", cluster.masters[0].port());
        let refused = Redis::open(&url).await.err();
        assert!(
            matches!(refused, Some(OpenError::Unfit(Unfit::OfCluster))),
            "{refused:?}"
        );
        let url = format!("redis+cluster://127.0.0.1:{}", alone.port());
        let refused = Redis::open(&url).await.err();
        assert!(
            matches!(refused, Some(OpenError::Lost(Lost::Cluster(Some(_))))),
            "{refused:?}"
        );
        let mut gone = about("DELSLOTSRANGE");
        gone.arg(SLOTS[0]).arg(SLOTS[1] - 1);
        for master in &cluster.masters {
            tell(master, &gone);
        }
        let refused = Redis::open(&cluster.url(&spaces(&cluster)[0])).await.err();
        assert!(
            matches!(refused, Some(OpenError::Lost(Lost::Slot(_)))),
            "{refused:?}"
        );
    });
}
