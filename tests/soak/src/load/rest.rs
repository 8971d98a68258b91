//! What is there before the load and after it.

use super::script::{Script, entries};
use super::transactions::{ACCOUNTS, AGAIN, BALANCE, COUNTERS, REGISTERS};
use crate::history::{Outcome, Recorder, Rest};
use crate::http::Client;
use crate::world::World;
use anyhow::{Context, Result, bail};
use lockport_client::{Client as LockClient, Options};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the system may take to serve again when every fault is mended.
const RECOVERY: Duration = Duration::from_secs(40);

/// Markers of one page.
const PAGE: usize = 400;

/// Fills the accounts, and gives what is there then.
pub(crate) async fn fill(world: &World, clock: &Recorder) -> Result<Rest> {
    let mut client = Client::of(world.nodes[0].http.address());
    for account in 0..ACCOUNTS {
        let mut script = Script::begin("fill", format!("fill-{account}"));
        let key = format!("a{account}");
        script.acquire(&[&key], 0);
        script.set("items", &key, &BALANCE.to_string());
        let filled = script.run(&mut client, 0, clock).await;
        if filled.outcome != Outcome::Ok {
            bail!("an account cannot be filled: {}", filled.answer);
        }
    }
    read(&mut client, clock).await
}

/// What is there when everything has come to rest: waits until every node
/// serves, every lock can be had, and two looks show the same.
pub(crate) async fn come_to_rest(world: &World, clock: &Recorder) -> Result<Rest> {
    for node in &world.nodes {
        let mut client = Client::of(node.http.address());
        let end = Instant::now() + RECOVERY;
        while let Err(error) = read(&mut client, clock).await {
            if Instant::now() > end {
                return Err(error.context(format!(
                    "{} does not serve {RECOVERY:?} after the last fault",
                    node.name()
                )));
            }
            sleep(AGAIN).await;
        }
    }
    for node in &world.nodes {
        locks_are_free(node.locks.address().to_string())
            .await
            .with_context(|| format!("asked {}", node.name()))?;
    }
    let mut client = Client::of(world.nodes[0].http.address());
    let end = Instant::now() + RECOVERY;
    let mut last = read(&mut client, clock).await?;
    loop {
        sleep(AGAIN * 5).await;
        let now = read(&mut client, clock).await?;
        if now == last {
            return Ok(now);
        }
        if Instant::now() > end {
            bail!("the state still changes {RECOVERY:?} after the last request");
        }
        last = now;
    }
}

/// Takes every lock of the load together, which is possible only if nothing was
/// forgotten.
async fn locks_are_free(server: String) -> Result<()> {
    let client = LockClient::connect(Options::server(server)).await?;
    let names = super::LOCKS.iter().copied();
    let all = client.acquire(names).wait(RECOVERY).await;
    let guard = all.context("the locks cannot be had")?;
    guard.release().await.context("they cannot be given back")?;
    Ok(())
}

/// Reads everything the checks know.
async fn read(client: &mut Client, clock: &Recorder) -> Result<Rest> {
    let mut rest = Rest::default();
    for (collection, kind, count) in [
        ("items", "a", ACCOUNTS),
        ("items", "c", COUNTERS),
        ("items", "g", 2),
        ("notes", "c", COUNTERS),
        ("notes", "r", REGISTERS),
    ] {
        let mut script = Script::begin("read", String::new());
        for number in 0..count {
            script.get(collection, &format!("{kind}{number}"));
        }
        let answer = script.run(client, 0, clock).await;
        if answer.outcome != Outcome::Ok {
            bail!("values cannot be read: {}", answer.answer);
        }
        let there = answer.reads.into_iter().filter(|it| it.version > 0);
        rest.values
            .extend(there.map(|it| (it.key, (it.version, it.value))));
    }
    let mut after = String::new();
    loop {
        let list = format!("list notes {PAGE} prefix=t-{after}");
        let answer = client.run(&[list]).await;
        let answer = answer.filter(|it| it.status == 200);
        let answer = answer.context("the markers cannot be listed")?;
        let line = answer.text.trim().strip_prefix("list: ");
        let line = line.context("a listing is not understood")?;
        let page = entries(line).context("a listing is not understood")?;
        if let Some((key, _)) = page.last() {
            after = format!(" after={key}");
        }
        rest.markers.extend(page.into_iter().map(|(key, _)| key));
        if !line.ends_with(" more") {
            return Ok(rest);
        }
    }
}
