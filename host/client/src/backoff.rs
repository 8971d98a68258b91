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
    /// there has been enough of them.
    pub(crate) async fn again(&mut self, began: Instant) -> bool {
        let now = Instant::now();
        // What went well for long, as a wait does, begins a new series.
        if now - began > self.patience {
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

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..10).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN);
        assert!(pauses[9] >= PAUSE_MAX / 2 && pauses[9] <= PAUSE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_end_when_patience_does_and_begin_anew_after_a_long_one() {
        let patience = Duration::from_secs(3);
        let mut tries = Tries::new(patience);
        let start = Instant::now();
        while tries.again(Instant::now()).await {}
        let took = start.elapsed();
        assert!(took > patience / 2 && took <= patience, "{took:?}");

        let began = Instant::now();
        tokio::time::advance(patience * 2).await;
        assert!(tries.again(began).await);
    }
}
