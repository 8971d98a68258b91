//! The locks that a route declares: named by its parameters, taken before an
//! instance is, released by the commit.

use super::Route;
use super::rescue::Refusal;
use super::route::Params;
use lockport_engine::Failure;
use lockport_store::{LockName, Transaction};
use std::time::Instant;

/// Takes the locks of `route` for the transaction, waiting for them as long as
/// the route says, and never beyond the deadline.
pub async fn take(
    transaction: &Transaction,
    route: &Route,
    params: &Params,
    deadline: Instant,
) -> Result<(), Refusal> {
    let Some(lock) = &route.lock else {
        return Ok(());
    };
    let names = names(route, params)?;
    let left = deadline.saturating_duration_since(Instant::now());
    let acquiring = transaction.acquire_for_route(names, lock.wait.min(left));
    // The store keeps the wait; this is for a store that does not answer.
    match tokio::time::timeout(left, acquiring).await {
        Ok(acquired) => acquired.map_err(Refusal::Lock),
        Err(_) => Err(Failure::Deadline.into()),
    }
}

/// The names of the route's locks. What a client put into the path can make a
/// name longer or deeper than the manifest meant, so the component's grants
/// are asked about the whole name, not about the template.
fn names(route: &Route, params: &Params) -> Result<Vec<LockName>, Refusal> {
    let templates = route.lock.iter().flat_map(|it| &it.names);
    templates
        .map(|template| {
            let name = template.fill(params).map_err(Refusal::LockName)?;
            match route.owner.grants_lock(&name) {
                true => Ok(name),
                false => Err(Refusal::LockNotGranted),
            }
        })
        .collect()
}
