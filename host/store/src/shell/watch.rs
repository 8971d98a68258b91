//! Those who watch what happens to locks.
//!
//! ```text
//!   state machine --event--> ring -+--> watcher: where it stands, a prefix
//!                             |    +--> watcher
//!                   the oldest fall out: whoever stands before them is told
//!                   of a gap
//! ```
//!
//! The ring is all there is: a watcher is a place in it, and costs the same
//! however slow it is. While nobody watches, and nobody has for [`MEMORY`],
//! nothing is recorded.

use super::Shell;
use crate::core::Limits;
use crate::name::LockName;
use crate::store::{LockEvent, MEMORY, Revision, WatchError, WatchQuery, Watched};
use crate::time::Time;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// How many events a watcher goes through while it keeps others from recording.
const LOOKS: usize = 256;

/// Tells what happens to locks. Dropping it ends that.
pub struct Watch {
    ring: Arc<Ring>,
    prefix: String,
    /// Everything up to this has been told, or is not asked for.
    seen: Revision,
}

/// What is remembered of what happened.
pub(crate) struct Ring {
    events: Mutex<Events>,
    news: Notify,
    /// How many events there is room for.
    room: usize,
    /// How many bytes of them.
    bytes_max: usize,
    /// How many may watch.
    watchers_max: usize,
}

#[derive(Default)]
struct Events {
    ring: VecDeque<Arc<LockEvent>>,
    /// How many bytes that is.
    bytes: usize,
    /// Events up to this one are not remembered.
    forgotten: Revision,
    watchers: usize,
    /// When something happened for the first time that nobody watched, since
    /// somebody did.
    unwatched_since: Option<Time>,
    closed: bool,
}

/// What a watcher finds.
enum Look {
    Found(Watched),
    /// There is more, but what was gone through is not for this watcher.
    More,
    /// It has seen everything.
    Nothing,
    Closed,
}

impl Watch {
    /// A watcher that has joined the ring and stands there.
    pub(crate) fn new(ring: &Arc<Ring>, prefix: String, seen: Revision) -> Self {
        Self {
            ring: ring.clone(),
            prefix,
            seen,
        }
    }

    /// Where the watcher stands: it has been told all there is to tell up to
    /// this. To go on from here later, ask for what is behind it.
    ///
    /// Before anything was told this is where the watch began. So what is
    /// listed after that is no older than it.
    pub fn revision(&self) -> Revision {
        self.seen
    }

    /// Waits for the next thing to tell; `None` when the store is closed.
    /// Dropping the future misses nothing.
    pub async fn next(&mut self) -> Option<Watched> {
        let Self { ring, prefix, seen } = self;
        loop {
            // Made before looking, so that nothing is missed in between.
            let news = ring.news.notified();
            match ring.look(prefix, seen) {
                Look::Found(watched) => return Some(watched),
                Look::More => {}
                Look::Nothing => news.await,
                Look::Closed => return None,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ring.lock().watchers -= 1;
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Watch");
        text.field("prefix", &self.prefix).field("seen", &self.seen);
        text.finish_non_exhaustive()
    }
}

impl Shell {
    pub(crate) async fn watch(&self, query: WatchQuery) -> Result<Watch, WatchError> {
        let mut state = self.state();
        let last = state.core.revision();
        let seen = self.ring.join(query.after, last, state.is_watched);
        let seen = seen.map_err(WatchError::Quota)?;
        state.heed_watchers(true);
        Ok(Watch::new(&self.ring, query.prefix, seen))
    }
}

impl Ring {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            events: Mutex::default(),
            news: Notify::new(),
            room: limits.events,
            bytes_max: limits.event_bytes,
            watchers_max: limits.watchers,
        }
    }

    /// Remembers events, in order. Whether there is anybody to do it for.
    pub(super) fn record(&self, events: impl Iterator<Item = LockEvent>, now: Time) -> bool {
        let mut remembered = self.lock();
        for event in events {
            self.remember(&mut remembered, event);
        }
        let is_wanted = remembered.watchers > 0 || {
            let since = *remembered.unwatched_since.get_or_insert(now);
            now <= since + MEMORY
        };
        if !is_wanted {
            remembered.ring = VecDeque::new();
            remembered.bytes = 0;
        }
        is_wanted
    }

    /// Remembers an event, whether or not anybody watches.
    pub(crate) fn record_one(&self, event: LockEvent) {
        self.remember(&mut self.lock(), event);
    }

    /// Everything up to this one is not to be had: who has not seen it is told of
    /// a gap.
    pub(crate) fn forget(&self, until: Revision) {
        let mut remembered = self.lock();
        while remembered
            .ring
            .front()
            .is_some_and(|it| it.revision <= until)
        {
            remembered.forget_oldest();
        }
        remembered.forgotten = remembered.forgotten.max(until);
    }

    /// Begins anew: nothing is remembered, and what is behind this one comes.
    pub(crate) fn restart(&self, after: Revision) {
        let mut remembered = self.lock();
        remembered.ring = VecDeque::new();
        remembered.bytes = 0;
        remembered.forgotten = after;
    }

    /// Up to which one events are not remembered.
    pub(crate) fn forgotten(&self) -> Revision {
        self.lock().forgotten
    }

    /// How many events there is room for.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Remembers again what is behind `after` and was forgotten, which is all of
    /// these events, unless there is no room for them.
    pub(crate) fn recall(&self, after: Revision, events: Vec<LockEvent>) {
        let mut remembered = self.lock();
        let is_all = events.last().map(|it| it.revision) == Some(remembered.forgotten);
        let bytes: usize = events.iter().map(bytes_of).sum();
        let fits = remembered.ring.len() + events.len() <= self.room
            && remembered.bytes + bytes <= self.bytes_max;
        if is_all && fits {
            let events = events.into_iter().rev().map(Arc::new);
            events.for_each(|it| remembered.ring.push_front(it));
            remembered.bytes += bytes;
            remembered.forgotten = after;
        }
    }

    /// Wakes those who watch.
    pub(crate) fn tell(&self) {
        self.news.notify_waiters();
    }

    pub(crate) fn watchers(&self) -> usize {
        self.lock().watchers
    }

    /// Whoever watches is told the rest, and then that it is over.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.tell();
    }

    /// One watcher more: where it stands. `last` is the revision of the last
    /// event there was.
    pub(crate) fn join(
        &self,
        after: Option<Revision>,
        last: Revision,
        is_recorded: bool,
    ) -> Result<Revision, String> {
        let mut events = self.lock();
        if events.watchers >= self.watchers_max {
            return Err(format!("at most {} may watch", self.watchers_max));
        }
        events.watchers += 1;
        events.unwatched_since = None;
        if !is_recorded {
            events.forgotten = last;
        }
        Ok(match after {
            None => last,
            // Somebody else's, or of a time that is not remembered: begin with
            // a gap.
            Some(after) if after > last => 0,
            Some(after) => after,
        })
    }

    /// What there is behind `seen`, which is moved behind what was looked at.
    fn look(&self, prefix: &str, seen: &mut Revision) -> Look {
        let events = self.lock();
        if *seen < events.forgotten {
            *seen = events.forgotten;
            return Look::Found(Watched::Gap(*seen));
        }
        let from = events.ring.partition_point(|it| it.revision <= *seen);
        for event in events.ring.range(from..).take(LOOKS) {
            *seen = event.revision;
            if event.names.iter().any(|it| it.as_str().starts_with(prefix)) {
                return Look::Found(Watched::Event(event.clone()));
            }
        }
        if events.ring.len() > from.saturating_add(LOOKS) {
            Look::More
        } else if events.closed {
            Look::Closed
        } else {
            Look::Nothing
        }
    }

    fn remember(&self, remembered: &mut Events, event: LockEvent) {
        remembered.bytes += bytes_of(&event);
        remembered.ring.push_back(Arc::new(event));
        while remembered.ring.len() > self.room || remembered.bytes > self.bytes_max {
            remembered.forget_oldest();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Events {
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.ring.pop_front() {
            self.forgotten = oldest.revision;
            self.bytes -= bytes_of(&oldest);
        }
    }
}

/// About how much memory an event takes. Texts that others hold as well are
/// counted too: the event may be the last to hold them.
fn bytes_of(event: &LockEvent) -> usize {
    let name = |it: &LockName| size_of::<LockName>() + it.as_str().len();
    let names: usize = event.names.iter().map(name).sum();
    let party = &event.party;
    let owner = party.owner.as_ref().map_or(0, |it| it.len());
    size_of::<LockEvent>() + names + party.principal.as_str().len() + owner + party.label.len()
}
