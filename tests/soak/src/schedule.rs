//! What is done to the system and when, all of it from a seed.

use crate::random::Random;
use clap::ValueEnum;
use std::fmt;
use std::time::Duration;

/// Which store is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Storage {
    /// `memory:`, one node.
    Memory,
    /// `embedded:`, one node.
    Embedded,
    /// A `redis-server` of the round's own, which writes down everything before
    /// it answers.
    Redis,
}

/// Something that is done to the system, and mended again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// SIGSTOP of a node, then SIGCONT.
    NodePause,
    /// `kill -9` of a node, then another start.
    NodeKill,
    /// What clients and a node say to each other comes late.
    ClientsDelay,
    /// What they say to each other is held back, and comes in the end.
    ClientsStall,
    /// What a node says to its clients is lost: half-open connections.
    ClientsDeaf,
    /// What clients say to a node is lost.
    ClientsMute,
    /// The connections between clients and a node are cut.
    ClientsCut,
    /// SIGSTOP of the Redis server, then SIGCONT.
    StorePause,
    /// `kill -9` of the Redis server, then another start on the same files.
    StoreKill,
    /// What a node and Redis say to each other comes late.
    LinkDelay,
    /// What they say to each other is held back, and comes in the end.
    LinkStall,
    /// What Redis says to a node is lost.
    LinkDeaf,
    /// What a node says to Redis is lost.
    LinkMute,
    /// The connections between a node and Redis are cut.
    LinkCut,
    /// `CLIENT PAUSE`.
    RedisPause,
    /// `CLIENT KILL` of every node.
    RedisDisconnect,
    /// `FUNCTION FLUSH`.
    FunctionFlush,
    /// `SCRIPT FLUSH`.
    ScriptFlush,
    /// `FLUSHALL`: the space is gone.
    FlushAll,
    /// A replica takes over by `REPLICAOF NO ONE`, and the nodes are led to it.
    Failover,
}

/// One fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it begins, from the beginning of the load.
    pub at: Duration,
    /// What is done.
    pub fault: Fault,
    /// To which node, if it is one that concerns a node.
    pub node: usize,
    /// For how long.
    pub lasts: Duration,
}

/// What a schedule is made for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The store.
    pub storage: Storage,
    /// How many nodes there are.
    pub nodes: usize,
    /// For how long the load runs.
    pub load: Duration,
}

/// Time without faults at the beginning, so that there is something to lose.
const CALM: Duration = Duration::from_millis(1_500);

/// Time without faults at the end.
const END: Duration = Duration::from_millis(1_000);

/// The events of a round.
pub fn schedule(seed: u64, shape: Shape, faults: &[Fault]) -> Vec<Event> {
    let mut random = Random::of(seed, 0);
    let mut events = Vec::new();
    let usable: Vec<Fault> = faults
        .iter()
        .copied()
        .filter(|it| it.is_for(shape.storage))
        .collect();
    let mut at = CALM;
    while !usable.is_empty() {
        let fault = *random.pick(&usable);
        let (from, to) = fault.lasts();
        let lasts = random.millis(from, to);
        if at + lasts + END > shape.load {
            break;
        }
        let node = random.below(shape.nodes);
        events.push(Event {
            at,
            fault,
            node,
            lasts,
        });
        // Mostly one after the other, with some time to come to rest; now and
        // then a second one strikes in the middle of the first.
        at += match random.once_in(5) {
            true => lasts / 2,
            false => lasts + random.millis(300, 2_500),
        };
    }
    events
}

// === impl Fault ===

impl Fault {
    /// What is done unless somebody says otherwise: all but what loses the
    /// space.
    pub fn defaults() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|it| !matches!(it, Self::FlushAll | Self::Failover))
            .collect()
    }

    /// Whether this store has something it can be done to.
    pub fn is_for(self, storage: Storage) -> bool {
        match self {
            Self::NodePause
            | Self::ClientsDelay
            | Self::ClientsStall
            | Self::ClientsDeaf
            | Self::ClientsMute
            | Self::ClientsCut => true,
            // What is in memory does not survive its process.
            Self::NodeKill => storage != Storage::Memory,
            _ => storage == Storage::Redis,
        }
    }

    /// How long it lasts, in milliseconds, at least and at most. Longer than the
    /// leases of the load now and then.
    fn lasts(self) -> (u64, u64) {
        match self {
            Self::NodePause | Self::StorePause => (100, 4_500),
            Self::NodeKill | Self::StoreKill => (0, 1_500),
            Self::ClientsDelay | Self::LinkDelay => (1_000, 4_000),
            Self::RedisPause => (200, 1_500),
            Self::ClientsCut
            | Self::LinkCut
            | Self::RedisDisconnect
            | Self::FunctionFlush
            | Self::ScriptFlush
            | Self::FlushAll
            | Self::Failover => (0, 0),
            _ => (200, 4_500),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |it| it.get_name()))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_millis(), self.lasts.as_millis());
        write!(
            f,
            "{at:>6} ms  {} of node {}, {lasts} ms",
            self.fault, self.node
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(storage: Storage) -> Shape {
        Shape {
            storage,
            nodes: 2,
            load: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        let faults = Fault::value_variants();
        let of = |seed| schedule(seed, shape(Storage::Redis), faults);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).len() > 5, "{:?}", of(1));
    }

    #[test]
    fn only_what_a_store_has_is_struck_and_all_of_it_within_the_load() {
        let faults = Fault::value_variants();
        for seed in 0..100 {
            let shape = shape(Storage::Memory);
            for event in schedule(seed, shape, faults) {
                assert!(event.fault.is_for(Storage::Memory), "{event}");
                assert!(event.at >= CALM, "{event}");
                assert!(event.at + event.lasts + END <= shape.load, "{event}");
            }
        }
        assert_eq!(schedule(1, shape(Storage::Memory), &[]), []);
    }

    #[test]
    fn every_fault_comes_sooner_or_later() {
        let mut missing: Vec<Fault> = Fault::value_variants().to_vec();
        for seed in 0..100 {
            let events = schedule(seed, shape(Storage::Redis), Fault::value_variants());
            missing.retain(|it| !events.iter().any(|event| event.fault == *it));
        }
        assert_eq!(missing, []);
    }
}
