//! Callers of the lock API who keep their own deadlines, and do all that may be
//! done: wait or not, renew or not, forget to give back, ask again.

use super::{Site, names};
use crate::history::{Hold, Micros, Outcome};
use crate::random::Random;
use lockport_client::{Client, Error, Released, api::Grant};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a request without an answer is asked again.
const TRIES: usize = 3;

/// What is left out of a lease, for clocks that run apart: a hundredth, and so
/// much.
const MARGIN: Duration = Duration::from_millis(2);

/// A caller.
struct Caller {
    site: Site,
    node: usize,
    client: Client,
    random: Random,
}

/// What it has.
struct Held {
    grant: Grant,
    lease: Duration,
    /// Until when it can be sure of it.
    deadline: Instant,
}

pub(super) async fn run(site: Site, number: usize, random: Random) {
    let node = number % site.nodes.len();
    let Some(client) = site.connect(node, Duration::ZERO).await else {
        return;
    };
    let mut caller = Caller {
        site,
        node,
        client,
        random,
    };
    let mut count = 0;
    while !caller.site.is_over() {
        count += 1;
        let hold = caller.hold(format!("caller{number}.{count}")).await;
        let failed = hold.outcome != Outcome::Ok;
        caller.site.recorder.history().holds.push(hold);
        let pause = match failed {
            true => caller.random.millis(5, 60),
            false => caller.random.millis(0, 20),
        };
        sleep(pause).await;
    }
}

impl Caller {
    /// Takes locks, has them for a while, and gives them back or does not.
    async fn hold(&mut self, request: String) -> Hold {
        let mut hold = Hold {
            node: self.node,
            request,
            via: "call".to_owned(),
            names: names(&mut self.random),
            shared: self.random.once_in(3),
            asked: self.site.recorder.now(),
            ..Hold::default()
        };
        let lease = self.random.millis(1_200, 4_000);
        let wait = match self.random.below(3) {
            0 => Duration::ZERO,
            _ => self.random.millis(300, 6_000),
        };
        let Some((held, waited)) = self.acquire(&mut hold, lease, wait).await else {
            return hold;
        };
        let Some(mut held) = self.claim(&mut hold, held, waited).await else {
            return hold;
        };
        match self.random.below(120) {
            // Forgets it.
            0 => hold.until = self.at(held.deadline),
            // Sleeps until it has run out.
            1 => {
                hold.until = self.at(held.deadline);
                sleep_until(held.deadline + Duration::from_millis(20)).await;
            }
            // Keeps it for longer than its lease.
            2..4 => {
                if self.keep(&mut hold, &mut held).await {
                    self.give_back(&mut hold, &held).await;
                }
            }
            _ => {
                sleep(self.random.millis(0, 40)).await;
                self.give_back(&mut hold, &held).await;
            }
        }
        hold
    }

    /// What it was given, and whether it had waited for it.
    async fn acquire(
        &mut self,
        hold: &mut Hold,
        lease: Duration,
        wait: Duration,
    ) -> Option<(Held, bool)> {
        for attempt in 0..TRIES {
            hold.again = attempt > 0;
            let sent = Instant::now();
            let mut acquire = self.client.acquire(hold.names.clone());
            if hold.shared {
                acquire = acquire.shared();
            }
            let acquire = acquire.lease(lease).wait(wait).holder(&hold.request);
            let answer = acquire.request_id(&hold.request).unguarded().await;
            match answer {
                Ok(answer) => {
                    hold.outcome = Outcome::Ok;
                    hold.told = Some(self.site.recorder.now());
                    let grant = answer.grant?;
                    hold.token = Some(grant.fencing_token);
                    let waited = answer
                        .waited
                        .is_some_and(|it| (it.seconds, it.nanos) > (0, 0));
                    let deadline = deadline(sent, remaining(&grant));
                    let held = Held {
                        grant,
                        lease,
                        deadline,
                    };
                    return Some((held, waited));
                }
                Err(error) if !is_unknown(&error) => {
                    hold.outcome = Outcome::Fail;
                    hold.told = Some(self.site.recorder.now());
                    return None;
                }
                Err(_) => sleep(self.random.millis(50, 400)).await,
            }
        }
        // Whatever became of it, it is to be over.
        let _ = self.client.cancel(&hold.request).await;
        None
    }

    /// Makes sure of a grant that was waited for, by renewing it.
    async fn claim(&mut self, hold: &mut Hold, mut held: Held, waited: bool) -> Option<Held> {
        let fresh = held.deadline.saturating_duration_since(Instant::now()) > held.lease / 2;
        if fresh && !waited {
            return Some(held);
        }
        self.renew(&mut held).await.ok()?;
        hold.until = self.at(held.deadline);
        Some(held)
    }

    /// Renews a few times; whether it is still held.
    async fn keep(&mut self, hold: &mut Hold, held: &mut Held) -> bool {
        for _ in 0..self.random.below(6) {
            hold.until = self.at(held.deadline);
            sleep(held.lease / 3).await;
            match self.renew(held).await {
                Err(error) if error.is_lost() => {
                    let now = self.site.recorder.now();
                    hold.lost_early = (now < hold.until).then_some(now);
                    hold.until = hold.until.min(now);
                    return false;
                }
                _ => hold.until = self.at(held.deadline),
            }
        }
        true
    }

    async fn renew(&self, held: &mut Held) -> Result<(), Error> {
        let sent = Instant::now();
        let grant = self.client.renew(&held.grant.id, Some(held.lease)).await?;
        held.deadline = held.deadline.max(deadline(sent, remaining(&grant)));
        Ok(())
    }

    async fn give_back(&mut self, hold: &mut Hold, held: &Held) {
        let deadline = self.at(held.deadline);
        hold.until = deadline.min(self.site.recorder.now());
        for attempt in 0..TRIES {
            let released = self.client.release(&held.grant.id).await;
            let now = self.site.recorder.now();
            match released {
                Ok(Released::Released) => return,
                // Only the first time can it not have been us.
                Ok(Released::Already) if attempt == 0 && now < deadline => {
                    hold.lost_early = Some(now);
                    return;
                }
                Ok(Released::Already) => return,
                Err(_) => sleep(self.random.millis(20, 200)).await,
            }
        }
    }

    fn at(&self, time: Instant) -> Micros {
        self.site.recorder.at(time.into_std())
    }
}

/// Until when one can be sure of what was asked for then and remained so long
/// when it was answered.
fn deadline(sent: Instant, remaining: Duration) -> Instant {
    sent + remaining.saturating_sub(remaining / 100 + MARGIN)
}

fn remaining(grant: &Grant) -> Duration {
    let remaining = grant.remaining.unwrap_or_default();
    let seconds = u64::try_from(remaining.seconds).unwrap_or(0);
    let nanos = u32::try_from(remaining.nanos).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Whether it may have been done all the same. The client's own word is about
/// what it asked for as long as it was patient.
fn is_unknown(error: &Error) -> bool {
    error.outcome_unknown() || error.reason.is_none()
}
