//! A page of locks, gathered in steps that keep nobody waiting.

use super::codec::{Arguments, Reply};
use super::link::{CallError, Link};
use super::node::Node;
use crate::name::LockName;
use crate::store::{LIST_LIMIT_MAX, Lock, LockPage, LockQuery, StoreError};
use redis::cmd;
use std::collections::BTreeSet;
use tokio::sync::Semaphore;

/// How many locks the server goes through at once, about.
const STEPS: usize = 1_000;

/// How many locks are looked at at once.
const LOOKS: usize = 32;

/// How many pages are gathered at once; whoever asks for one more waits.
const LISTS_MAX: usize = 4;

/// Those who list locks, and their turns.
pub(super) struct Lists(Semaphore);

/// The smallest names of those that were gone through.
struct Smallest<'a> {
    query: &'a LockQuery,
    after: Option<&'a LockName>,
    names: BTreeSet<LockName>,
    limit: usize,
    /// Whether there are more.
    more: bool,
}

impl Lists {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(LISTS_MAX))
    }

    pub(super) async fn page(
        &self,
        link: &Link,
        node: &Node,
        query: LockQuery,
    ) -> Result<LockPage, StoreError> {
        let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
        // Nobody closes the semaphore.
        let _turn = self.0.acquire().await;
        let mut after = query.after.clone();
        loop {
            let mut smallest = Smallest::new(&query, after.as_ref(), limit);
            smallest.gather(link).await?;
            let Smallest { names, more, .. } = smallest;
            let locks = look_at(link, node, &names).await?;
            after = names.into_iter().next_back();
            // If all of them are idle by now, the page begins behind them.
            if !locks.is_empty() || !more {
                return Ok(LockPage { locks, more });
            }
        }
    }
}

/// A lock as it is now.
pub(super) async fn look(link: &Link, node: &Node, name: LockName) -> Result<Lock, StoreError> {
    let locks = look_at(link, node, &BTreeSet::from([name.clone()])).await?;
    let lock = locks.into_iter().next();
    Ok(lock.unwrap_or_else(|| Lock {
        name,
        mode: None,
        holders: Vec::new(),
        holding: 0,
        waiters: Vec::new(),
        waiting: 0,
    }))
}

/// Those of the locks that are not idle.
async fn look_at(
    link: &Link,
    node: &Node,
    names: &BTreeSet<LockName>,
) -> Result<Vec<Lock>, StoreError> {
    let names: Vec<&LockName> = names.iter().collect();
    let mut all = Vec::with_capacity(names.len());
    for names in names.chunks(LOOKS) {
        let arguments = Arguments::look(names.iter().copied());
        let reply: Reply = link.call(node.id(), arguments).await?;
        let locks = reply
            .locks(names.iter().copied())
            .map_err(CallError::from)?;
        all.extend(locks.into_iter().filter(|it| it.mode.is_some()));
    }
    Ok(all)
}

// === impl Smallest ===

impl<'a> Smallest<'a> {
    fn new(query: &'a LockQuery, after: Option<&'a LockName>, limit: usize) -> Self {
        Self {
            query,
            after,
            names: BTreeSet::new(),
            limit,
            more: false,
        }
    }

    /// Goes through the names of all locks that are held or waited for.
    async fn gather(&mut self, link: &Link) -> Result<(), StoreError> {
        let mut cursor = 0_u64;
        loop {
            let mut command = cmd("HSCAN");
            command.arg(link.space().key("l")).arg(cursor);
            command.arg("COUNT").arg(STEPS);
            let answer = link.read(command).await?;
            let (next, fields): (u64, Vec<Vec<u8>>) = redis::from_redis_value(answer)
                .map_err(|it| CallError::Refused(it.to_string()))
                .map_err(StoreError::from)?;
            // Each name is followed by what is known of the lock.
            let names = fields.into_iter().step_by(2);
            let names = names.filter_map(|it| LockName::new(String::from_utf8(it).ok()?).ok());
            names.for_each(|name| self.visit(&name));
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn visit(&mut self, name: &LockName) {
        let is_behind = self.after.is_none_or(|it| name > it);
        let is_asked = name.as_str().starts_with(&self.query.prefix);
        if !is_behind || !is_asked || !self.query.permission.covers(name) {
            return;
        }
        if self.names.len() == self.limit {
            // A name that is seen twice, because its lock was idle in between,
            // is still one.
            let is_smaller = self.names.last().is_some_and(|it| name < it);
            if !is_smaller || self.names.contains(name) {
                self.more |= self.names.last().is_some_and(|it| name > it);
                return;
            }
            self.names.pop_last();
            self.more = true;
        }
        self.names.insert(name.clone());
    }
}
