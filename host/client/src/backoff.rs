//! How long to pause between tries.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first pause and the longest, before chance shortens them.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Pauses that grow, by chance, so that many clients do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

/// Tries of one operation.
#[derive(Debug)]
pub(crate) struct Tries {
    patience: Duration,
    backoff: Backoff,
    failing_since: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: PAUSE_MIN }
    }

    /// The next pause: between half and all of twice the one before.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MAX);
        pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

impl Tries {
    /// Tries for as long as `patience`, counted from the first failure of a
    /// series.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            backoff: Backoff::new(),
            failing_since: None,
        }
    }

    /// Pauses after a try that began at `began` has failed. False, at once, if
    /// there has been enough of them. `wait` is how long the try was meant to
    /// take when all goes well.
    pub(crate) async fn again(&mut self, began: Instant, wait: Duration) -> bool {
        let now = Instant::now();
        // A wait that went well for long begins a new series. Anything else that
        // took long has failed for as long.
        if wait > self.patience && now - began > self.patience {
            *self = Self::new(self.patience);
        }
        let since = *self.failing_since.get_or_insert(now);
        let pause = self.backoff.pause();
        if now + pause - since > self.patience {
            return false;
        }
        sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many tries there are, each of which takes `each`; at most 10.
    async fn count(patience: Duration, each: Duration, wait: Duration) -> usize {
        let mut tries = Tries::new(patience);
        for tried in 1..10 {
            let began = Instant::now();
            sleep(each).await;
            if !tries.again(began, wait).await {
                return tried;
            }
        }
        10
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_take_longer_than_patience_come_to_an_end() {
        assert_eq!(count(SECOND, 3 * SECOND, Duration::ZERO).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_that_break_after_long_are_tried_as_if_for_the_first_time() {
        assert_eq!(count(SECOND, 3 * SECOND, 60 * SECOND).await, 10);
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..10).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN);
        assert!(pauses[9] >= PAUSE_MAX / 2 && pauses[9] <= PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_end_when_patience_does() {
        let patience = 3 * SECOND;
        let mut tries = Tries::new(patience);
        let start = Instant::now();
        while tries.again(Instant::now(), Duration::ZERO).await {}
        let took = start.elapsed();
        assert!(took > patience / 2 && took <= patience, "{took:?}");
    }
}
