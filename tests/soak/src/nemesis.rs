//! Does to the system what the schedule says, when it says so.

use crate::history::{Recorder, Window};
use crate::proxy::{Passage, Proxy, Way};
use crate::schedule::{Event, Fault};
use crate::world::{Node, World};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How late things come that are late.
const LATE: Duration = Duration::from_millis(150);

/// Runs the events; when this returns, everything is mended.
pub(crate) async fn strike(world: &Arc<World>, events: &[Event], recorder: &Recorder) {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for event in events.iter().copied() {
        let (world, recorder) = (Arc::clone(world), recorder.clone());
        running.spawn(async move {
            sleep_until(began + event.at).await;
            let from = recorder.now();
            let outcome = run(&world, event).await;
            let window = Window {
                fault: event.to_string(),
                from,
                to: recorder.now(),
            };
            let mut history = recorder.history();
            history.windows.push(window);
            if let Err(error) = outcome {
                history.broken.push(format!("{event}: {error:#}"));
            }
        });
    }
    running.join_all().await;
    world.heal();
}

async fn run(world: &World, event: Event) -> Result<()> {
    let node = &world.nodes[event.node % world.nodes.len()];
    let lasts = event.lasts;
    let redis = || world.redis.as_ref().context("there is no Redis");
    let links = || world.nodes.iter().filter_map(|it| it.link.as_ref());
    match event.fault {
        Fault::NodePause => node.pause(lasts).await?,
        Fault::NodeKill => node.kill(lasts).await?,
        Fault::ClientsDelay => clients(node, &BOTH, Passage::Slow(LATE), lasts).await,
        Fault::ClientsStall => clients(node, &BOTH, Passage::Held, lasts).await,
        Fault::ClientsDeaf => clients(node, &[Way::Back], Passage::Lost, lasts).await,
        Fault::ClientsMute => clients(node, &[Way::There], Passage::Lost, lasts).await,
        Fault::ClientsCut => {
            node.http.cut();
            node.locks.cut();
        }
        Fault::LinkDelay => link(node, &BOTH, Passage::Slow(LATE), lasts).await?,
        Fault::LinkStall => link(node, &BOTH, Passage::Held, lasts).await?,
        Fault::LinkDeaf => link(node, &[Way::Back], Passage::Lost, lasts).await?,
        Fault::LinkMute => link(node, &[Way::There], Passage::Lost, lasts).await?,
        Fault::LinkCut => node.link.as_ref().context("there is no link")?.cut(),
        Fault::StorePause => redis()?.pause(lasts).await?,
        Fault::StoreKill => redis()?.kill(lasts).await?,
        Fault::RedisPause => {
            let pause = format!("CLIENT PAUSE {} ALL", lasts.as_millis());
            redis()?.command(&pause).await?;
            sleep(lasts).await;
        }
        Fault::RedisDisconnect => {
            // Of a server that was just started again, nobody may be a client yet.
            redis()?.command("CLIENT KILL TYPE normal").await?;
            redis()?.command("CLIENT KILL TYPE pubsub").await?;
        }
        Fault::FunctionFlush => drop(redis()?.command("FUNCTION FLUSH").await?),
        Fault::ScriptFlush => drop(redis()?.command("SCRIPT FLUSH").await?),
        Fault::FlushAll => drop(redis()?.command("FLUSHALL").await?),
        Fault::Failover => {
            let address = redis()?.fail_over().await?;
            links().for_each(|it| it.lead_to(address));
        }
    }
    Ok(())
}

const BOTH: [Way; 2] = [Way::There, Way::Back];

async fn clients(node: &Node, ways: &[Way], passage: Passage, lasts: Duration) {
    for way in ways {
        node.set_clients(*way, passage);
    }
    sleep(lasts).await;
    node.http.heal();
    node.locks.heal();
}

async fn link(node: &Node, ways: &[Way], passage: Passage, lasts: Duration) -> Result<()> {
    let link: &Proxy = node.link.as_ref().context("there is no link")?;
    for way in ways {
        link.set(*way, passage);
    }
    sleep(lasts).await;
    link.heal();
    Ok(())
}
