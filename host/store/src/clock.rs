//! The only place that reads the time.
//!
//! Store time begins at the machine's wall clock, or where the store left off
//! if that is later, and from then on is driven by a monotonic clock alone: a
//! step of the wall clock moves no lease. Tests hand the time in.

use crate::time::Time;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

/// Where a store's time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Machine { start: Time, since: Instant },
    Manual(ManualClock),
}

/// A clock that moves only when it is told to. Every store that uses it has let
/// the time pass by the time [`ManualClock::advance`] returns.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Manual>>);

struct Manual {
    now: Time,
    listeners: Vec<Arc<Listener>>,
}

type Listener = dyn Fn() + Send + Sync;

impl Clock {
    /// The machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the time"
    )]
    pub fn machine() -> Self {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let since_epoch = wall.saturating_sub(Duration::from_secs(Time::EPOCH_UNIX_SECONDS));
        Self(Source::Machine {
            start: Time::default() + since_epoch,
            since: Instant::now(),
        })
    }

    /// The time now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the time"
    )]
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Machine { start, since } => {
                *start + Instant::now().saturating_duration_since(*since)
            }
            Source::Manual(clock) => clock.now(),
        }
    }

    /// Moves the clock on to `time`, if it is not there yet.
    pub(crate) fn reach(&mut self, time: Time) {
        let missing = time.since(self.now());
        match &mut self.0 {
            Source::Machine { start, .. } => *start = *start + missing,
            Source::Manual(clock) => clock.advance(missing),
        }
    }

    /// The clock as one that is moved by hand, if it is.
    pub(crate) fn as_manual(&self) -> Option<&ManualClock> {
        match &self.0 {
            Source::Machine { .. } => None,
            Source::Manual(clock) => Some(clock),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(Source::Manual(clock))
    }
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Time) -> Self {
        Self(Arc::new(Mutex::new(Manual {
            now,
            listeners: Vec::new(),
        })))
    }

    /// The time it stands at.
    pub fn now(&self) -> Time {
        self.lock().now
    }

    /// Moves it on, and lets every store that uses it know.
    pub fn advance(&self, duration: Duration) {
        let listeners = {
            let mut manual = self.lock();
            manual.now = manual.now + duration;
            manual.listeners.clone()
        };
        for listener in listeners {
            listener();
        }
    }

    /// Has `listener` called after each move.
    pub(crate) fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.lock().listeners.push(Arc::new(listener));
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({:?})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_from_where_the_store_left_off() {
        let mut clock = Clock::machine();
        let ahead = clock.now() + Duration::from_secs(3600);
        clock.reach(ahead);
        assert!(clock.now() >= ahead);
        clock.reach(Time::default());
        assert!(clock.now() >= ahead, "it never goes back");
    }
}
