//! One round: a fresh system, load and faults, rest, and the check.

use crate::check::{Expect, Violation, check};
use crate::history::{History, Recorder};
use crate::load::{Load, Size, rest};
use crate::nemesis;
use crate::schedule::{Event, Fault, Shape, schedule};
use crate::world::World;
use anyhow::Result;
use std::sync::Arc;
use tokio::time::sleep;

pub use crate::load::Size as LoadSize;
pub use crate::world::Places;

/// What a round is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From which everything random comes.
    pub seed: u64,
    /// The store, the nodes, and how long the load runs.
    pub shape: Shape,
    /// What may be done to the system.
    pub faults: Vec<Fault>,
    /// How many clients there are.
    pub size: Size,
    /// Where things are.
    pub places: Places,
}

/// What came of it.
#[derive(Debug)]
pub struct Round {
    /// What was done to the system.
    pub events: Vec<Event>,
    /// What was seen.
    pub history: History,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    /// What the nodes logged, by their names.
    pub logs: Vec<(String, String)>,
}

impl Plan {
    /// What will be done to the system.
    pub fn events(&self) -> Vec<Event> {
        schedule(self.seed, self.shape, &self.faults)
    }

    /// What these events leave of the promises.
    fn expect(&self, events: &[Event]) -> Expect {
        let has = |fault| events.iter().any(|it| it.fault == fault);
        let (flushed, replaced) = (has(Fault::FlushAll), has(Fault::Failover));
        // Nodes that live and hear of it claim what they hold.
        let others = [Fault::FlushAll, Fault::Failover];
        let nodes_live = events.iter().all(|it| others.contains(&it.fault));
        Expect {
            keeps_commits: !flushed && !replaced,
            keeps_state: !flushed,
            keeps_grants: nodes_live || !flushed && !replaced,
        }
    }

    /// Runs the round. An error says that the system did not even start.
    pub async fn run(&self) -> Result<Round> {
        let events = self.events();
        let world = World::start(&self.places, self.shape.storage, self.shape.nodes).await?;
        let world = Arc::new(world);
        let recorder = Recorder::begin();
        let first = rest::fill(&world, &recorder).await?;
        recorder.history().first = first;

        let load = Load::start(&world, &recorder, self.seed, self.size);
        tokio::join!(
            sleep(self.shape.load),
            nemesis::strike(&world, &events, &recorder)
        );
        load.end(&recorder).await;
        let last = rest::come_to_rest(&world, &recorder).await;
        let complaints = world.complaints().await;

        let mut history = std::mem::take(&mut *recorder.history());
        match last {
            Ok(last) => history.last = last,
            Err(error) => history.broken.push(format!("{error:#}")),
        }
        history.broken.extend(complaints);
        let violations = match history.last.markers.is_empty() {
            // Nothing is known of what is there: only what is wrong with that,
            // and with the locks.
            true => check(
                &history,
                Expect {
                    keeps_state: false,
                    ..self.expect(&events)
                },
            ),
            false => check(&history, self.expect(&events)),
        };
        Ok(Round {
            events,
            history,
            violations,
            logs: world.logs(),
        })
    }
}
