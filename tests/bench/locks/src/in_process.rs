//! `locks store`: what a store does without gRPC before it.

use crate::load::Measurement;
use crate::meter::Meter;
use crate::unary::LEASE;
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use lockport_store::embedded::Durability;
use lockport_store::redis::Redis;
use lockport_store::secret::SpaceKey;
use lockport_store::store::{Acquire, Holder, Mode, Party, Principal, Released};
use lockport_store::{Embedded, GrantId, LockName, Memory, Store};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where an embedded store is kept.
    #[arg(long, conflicts_with = "redis")]
    directory: Option<PathBuf>,

    /// A server that has the store, as `redis://host:port`; without it and a
    /// directory, the store is in memory.
    #[arg(long)]
    redis: Option<String>,

    /// Acquires and releases in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,

    #[command(flatten)]
    measurement: Measurement,
}

/// Acquires and releases, and prints what was measured.
pub async fn run(arguments: Arguments) -> Result<()> {
    let store: Box<dyn Store> = match (&arguments.directory, &arguments.redis) {
        (Some(directory), _) => Box::new(Embedded::open(directory, Durability::Sync)?),
        (None, Some(url)) => Box::new(Redis::open(url).await?),
        (None, None) => Box::new(Memory::new()),
    };
    let meter = arguments.measurement.meter()?;
    let lanes = (0..arguments.in_flight).map(|lane| lane_of(&*store, &meter, lane));
    let (figures, _) = tokio::try_join!(meter.finish(), try_join_all(lanes))?;
    figures.print()
}

/// A lock of its own, with ids that may be asked again, as the lock API's are.
async fn lane_of(store: &dyn Store, meter: &Meter, lane: usize) -> Result<()> {
    let principal = Principal::new("bench");
    let mut asked = Acquire {
        id: GrantId::mint(),
        repeatable: true,
        names: vec![LockName::new(format!("bench/{lane}"))?],
        mode: Mode::Exclusive,
        holder: Holder::Caller,
        lease: Some(LEASE),
        wait: Duration::ZERO,
        party: Party {
            principal: principal.clone(),
            owner: None,
            label: "bench".into(),
        },
    };
    for round in 0_u64.. {
        if meter.is_over() {
            break;
        }
        asked.id = id(&store.key(), &principal, lane, round);
        let sent = Instant::now();
        store.acquire(asked.clone()).await?;
        meter.call(sent);
        let sent = Instant::now();
        let released = store.release(asked.id, principal.clone()).await?;
        ensure!(released == Released::Released, "the grant was lost");
        meter.call(sent);
        meter.pair();
        // A store in memory never waits; the other lanes have their turn here.
        consume_budget().await;
    }
    Ok(())
}

/// The id that a request id stands for.
fn id(key: &SpaceKey, principal: &Principal, lane: usize, round: u64) -> GrantId {
    let request_id = format!("{lane:016x}{round:016x}");
    key.of_request(principal, &request_id).grant()
}
