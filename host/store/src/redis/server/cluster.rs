//! A cluster of a test's own: three masters, each with a third of the slots.

use super::{Server, free_port, strings, until};
use redis::{Cmd, Value, cmd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The slots of each master: the first, and the one behind the last.
pub(crate) const SLOTS: [u16; 4] = [0, 5_000, 10_000, 16_384];

/// The masters of a cluster.
pub(crate) struct Cluster {
    pub(crate) masters: Vec<Server>,
    /// How they call themselves.
    names: Vec<String>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_with(|port| strings(&["--port", port]))
    }

    /// Starts masters that are told how to listen on their ports.
    pub(crate) fn start_with(listening: impl Fn(&str) -> Vec<String>) -> Self {
        let bus = AtomicU64::new(0);
        let start = || {
            let master = Server::start_with(|port, _| {
                bus.store(free_port().into(), Ordering::Relaxed);
                let (port, bus) = (port.to_string(), bus.load(Ordering::Relaxed).to_string());
                let arguments = [
                    ["--cluster-port", &bus],
                    ["--cluster-enabled", "yes"],
                    ["--cluster-config-file", "nodes.conf"],
                    ["--cluster-node-timeout", "2000"],
                ];
                [listening(&port), strings(arguments.as_flattened())].concat()
            });
            (master, bus.load(Ordering::Relaxed))
        };
        let started: Vec<(Server, u64)> = (0..SLOTS.len() - 1).map(|_| start()).collect();
        for (at, (master, _)) in started.iter().enumerate() {
            let mut slots = about("ADDSLOTSRANGE");
            slots.arg(SLOTS[at]).arg(SLOTS[at + 1] - 1);
            tell(master, &slots);
            tell(master, about("SET-CONFIG-EPOCH").arg(at + 1));
        }
        until("all masters know each other and all slots", || {
            // On a busy machine a meeting may fail.
            meet(&started[0].0, &started[1..]);
            started.iter().all(|it| is_whole(&it.0))
        });
        let masters: Vec<Server> = started.into_iter().map(|it| it.0).collect();
        let names = masters.iter().map(|it| text(tell(it, &about("MYID"))));
        Self {
            names: names.collect(),
            masters,
        }
    }

    pub(crate) fn url(&self, space: &str) -> String {
        let all = self
            .masters
            .iter()
            .map(|it| format!("127.0.0.1:{}", it.port()));
        let all: Vec<String> = all.collect();
        format!("redis+cluster://{}?space={space}", all.join(","))
    }

    /// The slot of a space, as the servers see it.
    pub(crate) fn slot(&self, space: &str) -> u16 {
        let mut slot = about("KEYSLOT");
        slot.arg(format!("{{lp:{space}}}:m"));
        redis::from_redis_value(tell(&self.masters[0], &slot)).unwrap()
    }

    /// The keys of a slot that a master has.
    pub(crate) fn keys(&self, master: usize, slot: u16) -> Vec<Vec<u8>> {
        let mut keys = about("GETKEYSINSLOT");
        keys.arg(slot).arg(1_000);
        redis::from_redis_value(tell(&self.masters[master], &keys)).unwrap()
    }

    fn set_slot(&self, master: usize, slot: u16, how: &str, other: usize) {
        let mut set = about("SETSLOT");
        set.arg(slot).arg(how).arg(&self.names[other]);
        tell(&self.masters[master], &set);
    }

    /// Moves a slot from one master to another, as `redis-cli` does, and calls
    /// `halfway` when each of them has some of its keys.
    pub(crate) async fn migrate(
        &self,
        slot: u16,
        from: usize,
        to: usize,
        halfway: impl AsyncFnOnce(),
    ) {
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

/// A command about the cluster.
pub(crate) fn about(what: &str) -> Cmd {
    let mut command = cmd("CLUSTER");
    command.arg(what);
    command
}

/// Says something to a server.
fn tell(server: &Server, command: &Cmd) -> Value {
    command.query(&mut server.connection()).unwrap()
}

fn text(value: Value) -> String {
    redis::from_redis_value(value).unwrap()
}

/// Has a master meet the two others, unless it knows as many.
fn meet(master: &Server, others: &[(Server, u64)]) {
    let known = text(tell(master, &about("INFO")));
    if ["cluster_known_nodes:1", "cluster_known_nodes:2"]
        .iter()
        .any(|it| known.contains(it))
    {
        for (other, bus) in others {
            let mut meet = about("MEET");
            meet.arg("127.0.0.1").arg(other.port()).arg(bus);
            tell(master, &meet);
        }
    }
}

/// Whether a master knows all others and all slots.
fn is_whole(master: &Server) -> bool {
    let about = text(tell(master, &about("INFO")));
    about.contains("cluster_state:ok") && about.contains("cluster_known_nodes:3")
}
