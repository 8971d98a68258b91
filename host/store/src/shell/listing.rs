//! A page of locks, gathered without keeping anybody waiting: a space may have
//! a million of them, and the mutex is everybody's.

use super::Shell;
use crate::name::LockName;
use crate::store::{LIST_LIMIT_MAX, Lock, LockPage, LockQuery, StoreError};
use std::collections::BTreeSet;

/// How many locks are gone through while the mutex is held.
const STEPS: usize = 1024;

/// How many locks are looked at while the mutex is held.
const LOOKS: usize = 32;

/// How many pages are gathered at once; whoever asks for one more waits.
pub(super) const LISTS_MAX: usize = 4;

/// The smallest names of those that were gone through.
pub(crate) struct Smallest<'a> {
    prefix: &'a str,
    after: Option<&'a LockName>,
    pub(crate) names: BTreeSet<LockName>,
    limit: usize,
    /// Whether there are more.
    pub(crate) more: bool,
}

impl Shell {
    pub(crate) async fn locks(&self, query: LockQuery) -> Result<LockPage, StoreError> {
        let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
        // Nobody closes the semaphore.
        let _turn = self.lists.acquire().await;
        let mut after = query.after;
        loop {
            let (names, more) = self.gather(&query.prefix, after.as_ref(), limit).await;
            let locks = self.look_at(&names);
            after = names.into_iter().next_back();
            // If all of them are idle by now, the page begins behind them.
            if !locks.is_empty() || !more {
                let page = self.looking(|_, _, _| LockPage { locks, more });
                return page.settled().await;
            }
        }
    }

    /// The smallest names of locks that are held or waited for, and whether
    /// there are more.
    async fn gather(
        &self,
        prefix: &str,
        after: Option<&LockName>,
        limit: usize,
    ) -> (BTreeSet<LockName>, bool) {
        let mut smallest = Smallest::new(prefix, after, limit);
        let mut next = Some(0);
        while let Some(from) = next {
            let mut visit = |name: &LockName| smallest.visit(name);
            next = self.state().core.scan(from, STEPS, &mut visit);
            // Whoever else the thread has to serve is let through.
            tokio::task::yield_now().await;
        }
        (smallest.names, smallest.more)
    }

    fn look_at(&self, names: &BTreeSet<LockName>) -> Vec<Lock> {
        let names: Vec<&LockName> = names.iter().collect();
        let mut locks = Vec::with_capacity(names.len());
        for names in names.chunks(LOOKS) {
            self.step(|core, now, effects| {
                let looks = names.iter().map(|it| core.look(it, now, effects));
                locks.extend(looks.filter(|it| it.mode.is_some()));
            });
        }
        locks
    }
}

impl<'a> Smallest<'a> {
    pub(crate) fn new(prefix: &'a str, after: Option<&'a LockName>, limit: usize) -> Self {
        Self {
            prefix,
            after,
            names: BTreeSet::new(),
            limit,
            more: false,
        }
    }

    pub(crate) fn visit(&mut self, name: &LockName) {
        let is_behind = self.after.is_none_or(|it| name > it);
        if !is_behind || !name.as_str().starts_with(self.prefix) {
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
