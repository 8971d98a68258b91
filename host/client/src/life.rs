//! Until when something is held, and how it was lost.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How a guard or a session was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// No renewal was acknowledged in time. The server can grant the locks to
    /// others soon.
    #[error("no renewal was acknowledged in time")]
    Unrenewed,
    /// The server says that the grant has ended. Others may hold the locks
    /// already.
    #[error("the server says that the grant has ended")]
    Taken,
    /// The server says that the session has ended, and all its grants with it.
    /// Others may hold the locks already.
    #[error("the server says that the session has ended")]
    SessionEnded,
    /// The session was closed.
    #[error("the session was closed")]
    Closed,
    /// Another client has its session's secret, and took the session over again
    /// each time it was attached.
    #[error("another client with the session's secret keeps taking it over")]
    Elsewhere,
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
struct Standing {
    until: Instant,
    lost: Option<Lost>,
}

/// What its keeper holds: it says how things stand.
#[derive(Debug)]
pub(crate) struct Keeping(watch::Sender<Standing>);

/// What everybody else holds: it asks how things stand. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Life(watch::Receiver<Standing>);

/// The part of a lease that is left out for clocks that run apart: a hundredth
/// and the fixed part.
const MARGIN_PART: u32 = 100;
/// See [`MARGIN_PART`].
const MARGIN: Duration = Duration::from_millis(2);

/// In how many parts a lease is cut: one passes between renewals.
const BEATS: u32 = 3;

/// The shortest time that an answer to a renewal is waited for.
const ANSWER_MIN: Duration = Duration::from_millis(250);

/// Longer than any process runs.
const AGES: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Something that lasts until it is taken away.
pub(crate) fn begin_untimed() -> Keeping {
    begin(Instant::now() + AGES).0
}

/// Something that is held until then.
pub(crate) fn begin(until: Instant) -> (Keeping, Life) {
    let (sender, receiver) = watch::channel(Standing { until, lost: None });
    (Keeping(sender), Life(receiver))
}

/// Until when a lease can be relied on that was asked for at `sent`. The server
/// counts from when that arrived, which is later.
pub(crate) fn deadline(sent: Instant, lease: Duration) -> Instant {
    sent + lease.saturating_sub(lease / MARGIN_PART + MARGIN)
}

/// How long after an acknowledged renewal the next one is sent.
pub(crate) fn beat(lease: Duration) -> Duration {
    lease / BEATS
}

/// How long an answer to a renewal is waited for before the connection is given
/// up: there has to be time for another.
pub(crate) fn beat_patience(lease: Duration) -> Duration {
    (beat(lease) / 2).max(ANSWER_MIN)
}

// === impl Keeping ===

impl Keeping {
    /// A renewal was acknowledged. Never shortens.
    pub(crate) fn extend(&self, until: Instant) {
        self.0.send_modify(|it| it.until = it.until.max(until));
    }

    /// It is lost. The first loss counts.
    pub(crate) fn lose(&self, lost: Lost) {
        self.0.send_if_modified(|it| {
            let first = it.lost.is_none();
            it.lost.get_or_insert(lost);
            first
        });
    }

    /// Until when it is held.
    pub(crate) fn until(&self) -> Instant {
        self.0.borrow().until
    }

    /// For somebody else to ask how things stand.
    pub(crate) fn life(&self) -> Life {
        Life(self.0.subscribe())
    }
}

// === impl Life ===

impl Life {
    /// Until when it is held unless it is renewed or taken away.
    pub(crate) fn until(&self) -> Instant {
        self.0.borrow().until
    }

    /// How it was lost, if it was.
    pub(crate) fn fate(&self) -> Option<Lost> {
        let it = *self.0.borrow();
        it.lost
            .or_else(|| (Instant::now() >= it.until).then_some(Lost::Unrenewed))
    }

    /// Waits until it is lost. Watches the deadline by itself, so that it does
    /// not matter whether the keeper gets to run.
    pub(crate) async fn lost(&self) -> Lost {
        let mut standing = self.0.clone();
        loop {
            let it = *standing.borrow_and_update();
            if let Some(lost) = it.lost {
                return lost;
            }
            match timeout_at(it.until, standing.changed()).await {
                Ok(Ok(())) => {}
                // The keeper is gone: what is held runs out.
                Ok(Err(_)) => {
                    tokio::time::sleep_until(it.until).await;
                    return self.fate().unwrap_or(Lost::Unrenewed);
                }
                Err(_) if standing.has_changed().unwrap_or(false) => {}
                Err(_) => return Lost::Unrenewed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::advance;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn the_margin_is_one_percent_and_two_milliseconds() {
        let sent = Instant::now();
        let until = deadline(sent, LEASE);
        assert_eq!(until - sent, Duration::from_millis(9_898));
        assert_eq!(deadline(sent, Duration::from_millis(1)), sent);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_lost_at_its_deadline_and_not_before() {
        let (keeping, life) = begin(Instant::now() + LEASE);
        advance(LEASE - Duration::from_millis(1)).await;
        assert_eq!(life.fate(), None);
        assert!(life.lost().now_or_never().is_none());
        keeping.extend(Instant::now() + LEASE);
        advance(LEASE - Duration::from_millis(1)).await;
        assert_eq!(life.fate(), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(life.fate(), Some(Lost::Unrenewed));
        assert_eq!(life.lost().await, Lost::Unrenewed);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_loss_follows_the_renewals() {
        let (keeping, life) = begin(Instant::now() + LEASE);
        let start = Instant::now();
        let waiting = tokio::spawn(async move { (life.lost().await, Instant::now()) });
        tokio::task::yield_now().await;
        advance(LEASE / 2).await;
        keeping.extend(Instant::now() + LEASE);
        let (lost, at) = waiting.await.unwrap();
        assert_eq!(lost, Lost::Unrenewed);
        assert!(at - start >= LEASE + LEASE / 2, "{:?}", at - start);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_loss_counts_and_a_renewal_does_not_revive() {
        let (keeping, life) = begin(Instant::now() + LEASE);
        keeping.lose(Lost::Taken);
        keeping.lose(Lost::Unrenewed);
        keeping.extend(Instant::now() + LEASE * 2);
        assert_eq!(life.fate(), Some(Lost::Taken));
        assert_eq!(life.lost().await, Lost::Taken);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_keeper_it_runs_out() {
        let (keeping, life) = begin(Instant::now() + LEASE);
        let start = Instant::now();
        drop(keeping);
        assert_eq!(life.lost().await, Lost::Unrenewed);
        assert_eq!(start.elapsed(), LEASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_only_ever_lengthens() {
        let (keeping, life) = begin(Instant::now() + LEASE);
        let until = life.until();
        keeping.extend(until - Duration::from_secs(1));
        assert_eq!(life.until(), until);
    }
}
