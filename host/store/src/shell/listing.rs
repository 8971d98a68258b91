//! A page of locks, gathered without keeping anybody waiting: a space may have
//! a million of them, and the mutex is everybody's.
//!
//! The first page puts the names in order, which takes as long as there are
//! locks. From then on a page costs what it shows and the logarithm of what
//! there is; but names that begin as asked, and are not permitted, are gone by
//! one by one.

use super::{Shell, State};
use crate::name::LockName;
use crate::store::{LIST_LIMIT_MAX, Lock, LockPage, LockQuery, StoreError};
use crate::time::Time;
use std::time::Duration;

/// How many names are put in order, gone by or forgotten while the mutex is
/// held.
pub(super) const STEPS: usize = 256;

/// How many locks are looked at while the mutex is held.
const LOOKS: usize = 32;

/// How many pages are gathered at once; whoever asks for one more waits.
pub(super) const LISTS_MAX: usize = 4;

/// For how long after a listing the names are kept in order for the next.
pub(super) const ORDER_KEPT: Duration = Duration::from_secs(60);

/// The names of a page that is being gathered.
struct Gathering<'a> {
    query: &'a LockQuery,
    /// The last name that was gone by.
    after: Option<LockName>,
    names: Vec<LockName>,
    limit: usize,
    /// Whether there are more behind those.
    more: bool,
}

impl Shell {
    pub(crate) async fn locks(&self, mut query: LockQuery) -> Result<LockPage, StoreError> {
        // Nobody closes the semaphore.
        let _turn = self.lists.acquire().await;
        loop {
            let (names, more) = self.gather(&query).await;
            let locks = self.look_at(&names);
            // If all of them are idle by now, the page begins behind them.
            if !locks.is_empty() || !more {
                let page = self.looking(|_, _, _| LockPage { locks, more });
                return page.settled().await;
            }
            query.after = names.into_iter().next_back();
        }
    }

    /// The smallest names of locks that are held or waited for, and whether
    /// there are more.
    async fn gather(&self, query: &LockQuery) -> (Vec<LockName>, bool) {
        let mut gathering = Gathering {
            query,
            after: query.after.clone(),
            names: Vec::new(),
            limit: query.limit.clamp(1, LIST_LIMIT_MAX),
            more: false,
        };
        for prefix in query.permission.prefixes(&query.prefix) {
            loop {
                let goes_on = self.enter(|state, now, _| gathering.go_on(prefix, state, now));
                // Whoever else the thread has to serve is let through.
                tokio::task::yield_now().await;
                if !goes_on {
                    break;
                }
            }
        }
        (gathering.names, gathering.more)
    }

    fn look_at(&self, names: &[LockName]) -> Vec<Lock> {
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

impl State {
    /// Forgets the order of the names when nobody has listed for a while. It is
    /// due again until it is gone.
    pub(super) fn forget_order(&mut self, now: Time) {
        if self.ordered_until.is_some_and(|it| it <= now) && self.core.forget_order(STEPS) {
            self.ordered_until = None;
        }
    }
}

impl Gathering<'_> {
    /// Does some steps. Whether there are more to do for this prefix.
    fn go_on(&mut self, prefix: &str, state: &mut State, now: Time) -> bool {
        state.ordered_until = Some(now + ORDER_KEPT);
        if self.more {
            return false;
        }
        if !state.core.put_in_order(STEPS) {
            return true;
        }
        let after = self.after.take();
        let mut last = None;
        let mut names = state.core.names(prefix, after.as_ref());
        for name in names.by_ref().take(STEPS) {
            last = Some(name);
            if !self.query.permission.covers(name) {
                continue;
            }
            if self.names.len() == self.limit {
                self.more = true;
                return false;
            }
            self.names.push(name.clone());
        }
        let goes_on = names.next().is_some();
        let last = last.cloned();
        drop(names);
        self.after = last.or(after);
        goes_on
    }
}
