//! What every answer tells besides what was asked: the store's time, how things
//! stand, and what has happened since the answer before.

use super::codec::Reply;
use crate::clock::Clock;
use crate::statistics::Statistics;
use crate::time::Time;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The store's time and its counters, as this node has heard of them.
pub(super) struct Heard {
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
    /// When things stood as they are known to.
    latest: Time,
}

impl Heard {
    pub(super) fn new(clock: Clock) -> Self {
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

    pub(super) fn statistics(&self) -> Statistics {
        self.counters().statistics.clone()
    }

    /// An answer has arrived.
    pub(super) fn hear(&self, reply: &Reply) {
        let (store, clock) = (reply.now.as_micros(), self.clock.now().as_micros());
        // Both are below 2^53.
        let ahead = store.cast_signed().wrapping_sub(clock.cast_signed());
        self.ahead.store(ahead, Ordering::Relaxed);
        self.counters().hear(reply);
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Counters {
    fn hear(&mut self, reply: &Reply) {
        let statistics = &mut self.statistics;
        if reply.now >= self.latest {
            self.latest = reply.now;
            statistics.held = reply.held;
            statistics.waiting = reply.waiting;
            statistics.sessions = reply.sessions;
        }
        for (code, value) in &reply.tally {
            count(statistics, *code, *value);
        }
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
