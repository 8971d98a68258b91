//! A cluster of three masters: each has the spaces of its slots, and a slot moves
//! from one to another while it is used.

use super::*;
use crate::contract::{guarded, key};
use crate::redis::Lost;
use crate::redis::server::free_port;
use crate::store::{Store, Versioned};
use ::redis::Value;
use std::sync::atomic::{AtomicU64, Ordering};

/// The slots of each master: the first, and the one behind the last.
const SLOTS: [u16; 4] = [0, 5_000, 10_000, 16_384];

/// The first spaces `s0`, `s1` ... of which each master has one.
const SPACES_MAX: usize = 100;

/// How many commits there are at least before and after a slot has moved.
const COMMITS: u64 = 20;

/// The masters of a cluster.
struct Cluster {
    masters: Vec<Server>,
    /// How they call themselves.
    names: Vec<String>,
}

impl Cluster {
    fn start() -> Self {
        let bus = AtomicU64::new(0);
        let start = || {
            let master = Server::start_with(|port, _| {
                bus.store(free_port().into(), Ordering::Relaxed);
                let (port, bus) = (port.to_string(), bus.load(Ordering::Relaxed).to_string());
                let arguments = [
                    ["--port", &port],
                    ["--cluster-port", &bus],
                    ["--cluster-enabled", "yes"],
                    ["--cluster-config-file", "nodes.conf"],
                    ["--cluster-node-timeout", "2000"],
                ];
                strings(arguments.as_flattened())
            });
            (master, bus.load(Ordering::Relaxed))
        };
        let started: Vec<(Server, u64)> = (0..SLOTS.len() - 1).map(|_| start()).collect();
        for (at, (master, _)) in started.iter().enumerate() {
            let mut slots = cluster("ADDSLOTSRANGE");
            slots.arg(SLOTS[at]).arg(SLOTS[at + 1] - 1);
            tell(master, &slots);
            tell(master, cluster("SET-CONFIG-EPOCH").arg(at + 1));
            for (other, bus) in &started[..at] {
                let mut meet = cluster("MEET");
                meet.arg("127.0.0.1").arg(other.port()).arg(bus);
                tell(master, &meet);
            }
        }
        let masters: Vec<Server> = started.into_iter().map(|it| it.0).collect();
        for master in &masters {
            while !is_whole(master) {
                std::thread::yield_now();
            }
        }
        let names = masters.iter().map(|it| text(tell(it, &cluster("MYID"))));
        Self {
            names: names.collect(),
            masters,
        }
    }

    fn url(&self, space: &str) -> String {
        let all = self
            .masters
            .iter()
            .map(|it| format!("127.0.0.1:{}", it.port()));
        let all: Vec<String> = all.collect();
        format!("redis+cluster://{}?space={space}", all.join(","))
    }

    async fn node(&self, space: &str) -> Redis {
        let options = Options {
            reclaim: Duration::from_millis(1_500),
            ..Options::default()
        };
        Redis::open_with(&self.url(space), options).await.unwrap()
    }

    /// The slot of a space, as the servers see it.
    fn slot(&self, space: &str) -> u16 {
        let mut slot = cluster("KEYSLOT");
        slot.arg(format!("{{lp:{space}}}:m"));
        ::redis::from_redis_value(tell(&self.masters[0], &slot)).unwrap()
    }

    /// A space of each of the masters.
    fn spaces(&self) -> Vec<String> {
        let all: Vec<(String, u16)> = (0..SPACES_MAX)
            .map(|it| format!("s{it}"))
            .map(|it| (it.clone(), self.slot(&it)))
            .collect();
        let of = |slots: &[u16]| {
            let mut found = all.iter();
            let found = found.find(|it| (slots[0]..slots[1]).contains(&it.1));
            found.unwrap().0.clone()
        };
        SLOTS.windows(2).map(of).collect()
    }

    /// The keys of a slot that a master has.
    fn keys(&self, master: usize, slot: u16) -> Vec<Vec<u8>> {
        let mut keys = cluster("GETKEYSINSLOT");
        keys.arg(slot).arg(1_000);
        ::redis::from_redis_value(tell(&self.masters[master], &keys)).unwrap()
    }

    fn set_slot(&self, master: usize, slot: u16, how: &str, other: usize) {
        let mut set = cluster("SETSLOT");
        set.arg(slot).arg(how).arg(&self.names[other]);
        tell(&self.masters[master], &set);
    }

    /// Moves a slot from one master to another, as `redis-cli` does, and calls
    /// `halfway` when each of them has some of its keys.
    async fn migrate(&self, slot: u16, from: usize, to: usize, halfway: impl AsyncFnOnce()) {
        self.set_slot(to, slot, "IMPORTING", from);
        self.set_slot(from, slot, "MIGRATING", to);
        let keys = self.keys(from, slot);
        let (first, rest) = keys.split_at(keys.len() / 2);
        assert!(!first.is_empty());
        self.send(first, from, to);
        halfway().await;
        self.send(rest, from, to);
        loop {
            let late = self.keys(from, slot);
            if late.is_empty() {
                break;
            }
            self.send(&late, from, to);
        }
        for master in [to, from] {
            self.set_slot(master, slot, "NODE", to);
        }
    }

    fn send(&self, keys: &[Vec<u8>], from: usize, to: usize) {
        let mut migrate = cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.masters[to].port());
        migrate.arg("").arg(0).arg(5_000).arg("KEYS").arg(keys);
        tell(&self.masters[from], &migrate);
    }
}

fn cluster(what: &str) -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg(what);
    command
}

fn text(value: Value) -> String {
    ::redis::from_redis_value(value).unwrap()
}

/// Whether a master knows all others and all slots.
fn is_whole(master: &Server) -> bool {
    let about = text(tell(master, &cluster("INFO")));
    about.contains("cluster_state:ok") && about.contains("cluster_known_nodes:3")
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
        for (master, space) in cluster.spaces().iter().enumerate() {
            let (one, other) = (cluster.node(space).await, cluster.node(space).await);
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
    let space = cluster.spaces().swap_remove(0);
    let slot = cluster.slot(&space);
    block_on(async {
        let (one, other) = (cluster.node(&space).await, cluster.node(&space).await);
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
        let mut gone = self::cluster("DELSLOTSRANGE");
        gone.arg(SLOTS[0]).arg(SLOTS[1] - 1);
        for master in &cluster.masters {
            tell(master, &gone);
        }
        let refused = Redis::open(&cluster.url(&cluster.spaces()[0])).await.err();
        assert!(
            matches!(refused, Some(OpenError::Lost(Lost::Slot(_)))),
            "{refused:?}"
        );
    });
}
