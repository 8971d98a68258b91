//! Values, listings and commits.

use super::Means;
use super::codec::Arguments;
use super::link::{CallError, Link, recovery_pause};
use super::node::Node;
use super::transactions::Transactions;
use crate::id::CommitId;
use crate::listing::Bounds;
use crate::name::{Collection, Key};
use crate::store::{
    Commit, CommitError, Committed, LIST_BYTES_MAX, LIST_LIMIT_MAX, Order, Page, Query, Reading,
    Resolved, StoreError, Versioned,
};
use bytes::Bytes;
use redis::{Value, cmd};

/// How many bytes of a stored value are its version.
const VERSION: usize = 8;

pub(super) async fn get(
    link: &Link,
    collection: &Collection,
    key: &Key,
) -> Result<Option<Versioned>, StoreError> {
    let mut command = cmd("HGET");
    command.arg(link.space().key(&format!("v:{}", collection.name())));
    command.arg(key.as_str());
    match link.read(command).await? {
        Value::Nil => Ok(None),
        Value::BulkString(stored) => read(stored.into()).map(Some),
        other => Err(malformed(format!("{other:?}"))),
    }
}

pub(super) async fn list(
    link: &Link,
    node: &Node,
    collection: &Collection,
    query: &Query,
) -> Result<Page, StoreError> {
    let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
    let bounds = Bounds::of(query);
    // Nothing is between a text and itself; the change number is still asked for.
    let to = match bounds.to.as_deref() {
        Some(_) if bounds.is_empty() => Some(bounds.from.as_str()),
        to => to,
    };
    let is_descending = query.order == Order::Descending;
    let most = (limit, LIST_BYTES_MAX);
    let arguments = Arguments::list(collection, &bounds.from, to, is_descending, most);
    let reply = link.call(node.id(), arguments).await?;
    let listed = reply.listed().map_err(CallError::from)?;
    let mut entries = Vec::with_capacity(listed.entries.len());
    for (key, stored) in listed.entries {
        let key = String::from_utf8(key).map_err(|it| malformed(it.to_string()))?;
        let key = Key::new(key).map_err(|it| malformed(it.to_string()))?;
        entries.push((key, read(stored)?));
    }
    Ok(Page {
        entries,
        more: listed.more,
        change: listed.change,
    })
}

pub(super) async fn commit(
    means: &Means,
    transactions: &Transactions,
    commit: &Commit,
) -> Result<Committed, CommitError> {
    let Means {
        link,
        node,
        holdings,
        ..
    } = means;
    loop {
        // What it read may never have been, as far as the server knows.
        if link
            .space()
            .opened()
            .is_none_or(|it| commit.began < it.since)
        {
            return Err(replaced());
        }
        // A node that may be taken for dead commits nothing: what it held is lost.
        let node = node.alive().map_err(|error| fenced(commit, error))?;
        let before = transactions.commits(commit.transaction);
        let reply = link.call_as_is(node, Arguments::commit(commit, node)).await;
        if let Some(pause) = recovery_pause(&reply) {
            link.pause(pause).await;
            continue;
        }
        let committed = reply.and_then(|it| Ok(it.committed()?));
        let committed = committed.map_err(StoreError::from)??;
        transactions.committed(commit.transaction, &before);
        holdings.transaction_ended(commit.transaction);
        return Ok(committed);
    }
}

pub(super) async fn validate(means: &Means, reading: &Reading) -> Result<(), CommitError> {
    let Means { link, node, .. } = means;
    loop {
        // As for a commit.
        let opened = link.space().opened();
        if opened.is_none_or(|it| reading.began < it.since) {
            return Err(replaced());
        }
        let reply = link
            .call_as_is(node.id(), Arguments::validate(reading))
            .await;
        if let Some(pause) = recovery_pause(&reply) {
            link.pause(pause).await;
            continue;
        }
        let validated = reply.and_then(|it| Ok(it.validated()?));
        return validated.map_err(StoreError::from)?;
    }
}

/// The node's lease is over, and with it whatever the transaction held.
fn fenced(commit: &Commit, error: StoreError) -> CommitError {
    let mut names = commit.guards.iter().flat_map(|it| &it.names);
    match names.next() {
        Some(name) => CommitError::Fenced {
            name: name.clone(),
            current: 0,
        },
        None => error.into(),
    }
}

/// The transaction began before the server was replaced.
fn replaced() -> CommitError {
    CommitError::Conflict {
        collection: "*".to_owned(),
        key: "*".to_owned(),
    }
}

pub(super) async fn resolve(
    link: &Link,
    node: &Node,
    id: CommitId,
) -> Result<Resolved, StoreError> {
    let reply = link.call(node.id(), Arguments::resolve(id)).await?;
    Ok(reply.resolved().map_err(CallError::from)?)
}

/// A value as it is stored: its version in front.
fn read(stored: Bytes) -> Result<Versioned, StoreError> {
    let Some(version) = stored.first_chunk::<VERSION>() else {
        return Err(malformed("a value without a version".to_owned()));
    };
    Ok(Versioned {
        version: u64::from_be_bytes(*version),
        value: stored.slice(VERSION..),
    })
}

fn malformed(what: String) -> StoreError {
    StoreError::Unavailable(format!("what is stored is not understood: {what}"))
}
