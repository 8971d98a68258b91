//! `locks`: one operation of the lock API each, answered as the API answers it.

mod show;

use super::arguments::{LocksArgs, LocksCommand, Wanted};
use super::exit::Report;
use super::output::Output;
use super::{Global, client};
use lockport_client::api::{
    ForceReleaseResponse, Gap, GetResponse, ListResponse, ReleaseResponse, RenewResponse,
    WatchResponse, release_response::Outcome, watch_response,
};
use lockport_client::{Client, Item, Released};
use std::ops::ControlFlow;

/// Does what is asked for, and prints the answer.
pub(super) fn run(global: &Global, locks: &LocksArgs, output: &Output) -> Result<(), Report> {
    let _flush = client::log(global);
    client::runtime()?.block_on(async {
        let client = Client::connect(client::options(&locks.server)?).await?;
        match &locks.command {
            LocksCommand::Ls { prefix } => list(&client, prefix, output).await,
            LocksCommand::Get { name } => get(&client, name, output).await,
            LocksCommand::Watch { prefix, from } => watch(&client, prefix, *from, output).await,
            LocksCommand::Acquire { wanted, request_id } => {
                acquire(&client, wanted, request_id.as_deref(), output).await
            }
            LocksCommand::Renew { grant, lease } => {
                let grant = Some(client.renew(grant, *lease).await?);
                let answer = RenewResponse { grant };
                let _ = output.answer(&answer, show::renewed);
                Ok(())
            }
            LocksCommand::Release { grant } => release(&client, grant, output).await,
            LocksCommand::ForceRelease { name, reason } => {
                let taken = client.force_release(name, reason).await?;
                let answer = ForceReleaseResponse { taken };
                let _ = output.answer(&answer, |it| show::taken(name, it));
                Ok(())
            }
        }
    })
}

/// All pages as one: tables are aligned over all of their rows.
async fn list(client: &Client, prefix: &str, output: &Output) -> Result<(), Report> {
    let mut all = ListResponse::default();
    let mut token = String::new();
    loop {
        let page = client.list(prefix, &token).await?;
        all.locks.extend(page.locks);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let _ = output.answer(&all, show::locks);
    Ok(())
}

async fn get(client: &Client, name: &str, output: &Output) -> Result<(), Report> {
    let lock = Some(client.get(name).await?);
    let _ = output.answer(&GetResponse { lock }, show::lock);
    Ok(())
}

/// Ends when nobody reads what is printed any more.
async fn watch(client: &Client, prefix: &str, from: u64, output: &Output) -> Result<(), Report> {
    let mut watching = client.watch(prefix).from(from).await?;
    loop {
        let item = match watching.next().await? {
            Item::Event(event) => watch_response::Item::Event(event),
            Item::Gap(revision) => watch_response::Item::Gap(Gap { revision }),
        };
        let told = WatchResponse { item: Some(item) };
        if let ControlFlow::Break(()) = output.answer(&told, show::told) {
            return Ok(());
        }
    }
}

async fn acquire(
    client: &Client,
    wanted: &Wanted,
    request_id: Option<&str>,
    output: &Output,
) -> Result<(), Report> {
    let mut acquire = client::acquire(client, wanted);
    if let Some(id) = request_id {
        acquire = acquire.request_id(id);
    }
    let answer = acquire.unguarded().await?;
    let _ = output.answer(&answer, show::acquired);
    Ok(())
}

async fn release(client: &Client, grant: &str, output: &Output) -> Result<(), Report> {
    let outcome = match client.release(grant).await? {
        Released::Released => Outcome::Released,
        Released::Already => Outcome::Already,
    };
    let answer = ReleaseResponse {
        outcome: outcome.into(),
    };
    let _ = output.answer(&answer, show::released);
    Ok(())
}
