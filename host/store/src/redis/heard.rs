//! What every answer tells besides what was asked: the store's time, how things
//! stand, and what has happened since the answer before.

use super::codec::{Heading, Reached};
use crate::clock::Clock;
use crate::statistics::Statistics;
use crate::time::Time;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The store's time and its counters, as this node has heard of them.
pub(crate) struct Heard {
    /// Goes on between answers.
    clock: Clock,
    /// By how much the store's time is ahead of the clock, in microseconds.
    ahead: AtomicI64,
    /// The latest time that was told to anybody.
    told: AtomicU64,
    counters: Mutex<Counters>,
}

#[derive(Default)]
struct Counters {
    statistics: Statistics,
    /// The highest that was heard of each, whether or not the store still knows:
    /// things stand as they are known to at that time.
    reached: Reached,
}

impl Heard {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            ahead: AtomicI64::new(0),
            told: AtomicU64::new(0),
            counters: Mutex::default(),
        }
    }

    /// The store's time. Never goes back.
    pub(super) fn now(&self) -> Time {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let now = self.clock.now().as_micros().saturating_add_signed(ahead);
        Time::from_micros(self.told.fetch_max(now, Ordering::Relaxed).max(now))
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.counters().statistics.clone()
    }

    /// An answer has arrived.
    pub(crate) fn hear(&self, heading: &Heading) {
        let (store, clock) = (
            heading.reached.now.as_micros(),
            self.clock.now().as_micros(),
        );
        // Both are below 2^53.
        let ahead = store.cast_signed().wrapping_sub(clock.cast_signed());
        self.ahead.store(ahead, Ordering::Relaxed);
        self.counters().hear(heading);
    }

    /// The highest numbers that were heard of.
    pub(super) fn reached(&self) -> Reached {
        self.counters().reached
    }

    /// Something was read without a function.
    pub(super) fn reached_at_least(&self, reached: Reached) {
        self.counters().reach(reached);
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Counters {
    fn hear(&mut self, heading: &Heading) {
        let is_latest = heading.reached.now >= self.reached.now;
        self.reach(heading.reached);
        let statistics = &mut self.statistics;
        if is_latest {
            statistics.held = heading.held;
            statistics.waiting = heading.waiting;
            statistics.sessions = heading.sessions;
        }
        for (code, value) in &heading.tally {
            count(statistics, *code, *value);
        }
    }

    fn reach(&mut self, reached: Reached) {
        let highest = &mut self.reached;
        highest.now = highest.now.max(reached.now);
        highest.token = highest.token.max(reached.token);
        highest.revision = highest.revision.max(reached.revision);
        highest.commit = highest.commit.max(reached.commit);
    }
}

/// Counts one thing, by the code that the library has for it in `tell.lua`.
fn count(statistics: &mut Statistics, code: u64, value: u64) {
    let counter = match code {
        1 => &mut statistics.granted,
        2 => &mut statistics.contended,
        3 => &mut statistics.refused,
        4 => &mut statistics.timed_out,
        5 => &mut statistics.cancelled,
        6 => &mut statistics.deadlocks,
        7 => &mut statistics.over_quota,
        8 => &mut statistics.released,
        9 => &mut statistics.expired,
        10 => &mut statistics.forced,
        11 => &mut statistics.lost,
        12 => &mut statistics.fenced,
        13 => &mut statistics.unguarded,
        14 => return statistics.wait.record(Duration::from_micros(value)),
        15 => return statistics.hold.record(Duration::from_micros(value)),
        // A later library counts more than we know of.
        _ => return,
    };
    *counter += value;
}
