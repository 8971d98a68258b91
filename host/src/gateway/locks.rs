//! The locks of a request: those that its route declares, named by its
//! parameters, taken before an instance is, released by the commit; and its turn
//! after a conflict.

use super::Route;
use super::rescue::Refusal;
use super::route::Params;
use lockport_engine::Failure;
use lockport_store::store::{AcquireError, CommitError};
use lockport_store::transaction::LockError;
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
    within(deadline, acquiring).await
}

/// Has a transaction that conflicted begin again, when it is its turn.
pub async fn begin_again(
    transaction: &Transaction,
    conflict: &CommitError,
    deadline: Instant,
) -> Result<(), Refusal> {
    let left = deadline.saturating_duration_since(Instant::now());
    match within(deadline, transaction.begin_again(conflict, left)).await {
        Err(Refusal::Lock(LockError::Acquire(AcquireError::TimedOut | AcquireError::Held(_)))) => {
            Err(Failure::Deadline.into())
        }
        begun => begun,
    }
}

/// The store keeps the wait; this is for a store that does not answer.
async fn within(
    deadline: Instant,
    asked: impl Future<Output = Result<(), LockError>>,
) -> Result<(), Refusal> {
    in_time(deadline, asked).await?.map_err(Refusal::Lock)
}

/// Does what a request needs by its deadline, or not at all.
pub async fn in_time<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Refusal> {
    let done = tokio::time::timeout_at(deadline.into(), work).await;
    done.map_err(|_| Failure::Deadline.into())
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
