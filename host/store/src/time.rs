//! Store time: what leases, tokens and commit ids are measured in.

use std::ops::Add;
use std::time::Duration;

/// A moment in store time: microseconds since 2025-01-01T00:00:00Z.
///
/// Store time never goes back, not over a restart either; a step of the
/// machine's clock does not move it while a store is open. Below 2^53 until
/// the year 2310.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// 2025-01-01T00:00:00Z, in seconds since the Unix epoch.
    pub const EPOCH_UNIX_SECONDS: u64 = 1_735_689_600;

    /// The moment `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }
}
