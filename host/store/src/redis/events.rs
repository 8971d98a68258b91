//! What happens to locks, for those who watch here.
//!
//! While anybody watches anywhere, the store publishes every event and keeps the
//! latest in a stream. Each event has its number; one that is missing, and what
//! happened before anybody watched here, comes from the stream.

use super::codec::{Arguments, Malformed, event};
use super::link::{CallError, Link};
use super::node::Node;
use crate::shell::{Ring, Watch};
use crate::store::{LockEvent, MEMORY, Revision, StoreError, WatchError, WatchQuery};
use crate::time::Time;
use redis::{Value, cmd};
use std::sync::{Arc, Mutex, MutexGuard};

/// How many events are fetched at once.
const CHUNK: usize = 1_000;

/// What is known of events at this node.
pub(super) struct Events {
    ring: Arc<Ring>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The ring has all up to this one, or says what it has not; 0 if nothing is
    /// recorded.
    seen: Revision,
    /// How many are about to watch.
    coming: usize,
    /// Until when the store was told that somebody watches.
    until: Option<Time>,
}

/// Somebody is about to watch: from now on what is published is recorded.
struct Coming<'a>(&'a Events);

impl Events {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            ring: Arc::new(ring),
            known: Mutex::default(),
        }
    }

    /// One watcher more. The link is the one on which events are published: what
    /// is answered there comes after all that happened before.
    pub(super) async fn watch(
        &self,
        link: &Link,
        node: &Node,
        now: Time,
        query: WatchQuery,
    ) -> Result<Watch, WatchError> {
        let until = now + MEMORY;
        let _coming = Coming::new(self);
        let reply = link.call(node.id(), Arguments::watch(Some(until))).await;
        let last = reply.and_then(|it| Ok(it.watching()?));
        let last = last.map_err(StoreError::from)?;
        {
            let mut known = self.known();
            known.until = known.until.max(Some(until));
            if known.seen == 0 {
                known.seen = last;
                self.ring.restart(last);
            }
        }
        self.catch_up(link, last).await?;
        if let Some(after) = query.after.filter(|it| *it < last) {
            self.recall(link, after).await?;
        }
        let place = self.ring.join(query.after, last, true);
        place
            .map(|it| Watch::new(&self.ring, query.prefix, it))
            .map_err(WatchError::Quota)
    }

    /// Until when somebody watches here, as far as is known now. Once nobody does
    /// nothing is recorded any more.
    pub(super) fn until(&self, now: Time) -> Option<Time> {
        let mut known = self.known();
        if self.ring.watchers() > 0 {
            known.until = Some(now + MEMORY);
        } else if known.until.is_none_or(|it| it < now) && known.coming == 0 && known.seen > 0 {
            self.ring.restart(known.seen);
            known.seen = 0;
        }
        known.until
    }

    /// An event was published.
    pub(super) fn publish(&self, bytes: &[u8]) -> Result<(), Malformed> {
        self.record(event(bytes)?);
        self.ring.tell();
        Ok(())
    }

    pub(super) fn watchers(&self) -> u64 {
        self.ring.watchers() as u64
    }

    pub(super) fn close(&self) {
        self.ring.close();
    }

    /// Whether anybody would miss an event.
    pub(super) fn are_watched(&self) -> bool {
        self.ring.watchers() > 0
    }

    /// Fetches what was published up to `last` and did not come.
    pub(super) async fn catch_up(&self, link: &Link, last: Revision) -> Result<(), StoreError> {
        loop {
            let seen = self.known().seen;
            if seen >= last {
                return Ok(());
            }
            let events = fetch(link, seen, last).await?;
            if events.first().is_none_or(|it| it.revision != seen + 1) {
                self.skip(last);
                return Ok(());
            }
            events.into_iter().for_each(|it| self.record(it));
            self.ring.tell();
        }
    }

    /// Fetches what is behind `after` and is not remembered here, if the store
    /// remembers all of it and there is room.
    async fn recall(&self, link: &Link, after: Revision) -> Result<(), StoreError> {
        let last = self.ring.forgotten();
        let mut events: Vec<LockEvent> = Vec::new();
        let mut next = after;
        while next < last && events.len() < self.ring.room() {
            let more = fetch(link, next, last).await?;
            if more.is_empty() {
                return Ok(());
            }
            for event in more {
                if event.revision != next + 1 {
                    return Ok(());
                }
                next = event.revision;
                events.push(event);
            }
        }
        self.ring.recall(after, events);
        Ok(())
    }

    /// Takes in an event, if anybody watches. Whoever missed one before it is
    /// told of a gap.
    fn record(&self, event: LockEvent) {
        let mut known = self.known();
        let revision = event.revision;
        if known.seen == 0 {
            if known.coming == 0 {
                return;
            }
            self.ring.restart(revision - 1);
        } else if revision <= known.seen {
            return;
        } else if revision != known.seen + 1 {
            self.ring.forget(revision - 1);
        }
        known.seen = revision;
        self.ring.record_one(event);
    }

    /// The server was replaced: whoever watches is told of a gap up to `last`.
    pub(super) fn break_off(&self, last: Revision) {
        if self.known().seen > 0 {
            self.skip(last);
        }
    }

    /// What happened up to `last` is not to be had.
    fn skip(&self, last: Revision) {
        let mut known = self.known();
        if known.seen < last {
            known.seen = last;
            self.ring.forget(last);
            self.ring.tell();
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl<'a> Coming<'a> {
    fn new(events: &'a Events) -> Self {
        events.known().coming += 1;
        Self(events)
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.known().coming -= 1;
    }
}

/// The next events behind `after`, up to `last`, that the store remembers.
async fn fetch(link: &Link, after: Revision, last: Revision) -> Result<Vec<LockEvent>, StoreError> {
    let mut command = cmd("XRANGE");
    command.arg(link.space().key("ev"));
    command.arg(format!("({after}-0")).arg(format!("{last}-0"));
    command.arg("COUNT").arg(CHUNK);
    let answer = link.read(command).await?;
    let entries: Vec<(Value, Vec<Vec<u8>>)> = redis::from_redis_value(answer)
        .map_err(|it| CallError::Refused(it.to_string()))
        .map_err(StoreError::from)?;
    let events = entries.iter().filter_map(|(_, fields)| fields.get(1));
    let events: Result<_, _> = events.map(|it| event(it)).collect();
    Ok(events.map_err(CallError::from)?)
}
