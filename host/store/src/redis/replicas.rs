//! Waits until replicas have what was answered, if a node is told to: then it
//! outlives the server.
//!
//! What a replica has it has in the order in which it was done, so one wait is
//! for all that was answered on a connection before. Whoever comes while another
//! waits goes into the next wait, with all others who do.

use super::codec::Reply;
use super::link::{CallError, Connected};
use redis::{RedisError, Value, cmd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long replicas may take. As long no other call is answered on the
/// connection, if they do not.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Those on a connection who wait for replicas.
#[derive(Default)]
pub(super) struct Replicas {
    /// How many have come.
    came: AtomicU64,
    outcome: Mutex<Outcome>,
}

/// What became of those who came, by their numbers.
#[derive(Default)]
struct Outcome {
    /// Enough replicas have what all up to this one were answered.
    confirmed: u64,
    /// All up to this one that are not confirmed have waited too long.
    refused: u64,
}

impl Replicas {
    /// Whether so many replicas have all that was answered on this connection.
    pub(super) async fn have_it(
        &self,
        on: &Connected,
        wanted: u32,
        patience: Duration,
    ) -> Result<bool, RedisError> {
        let number = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        let mut outcome = self.outcome.lock().await;
        if number <= outcome.confirmed {
            return Ok(true);
        }
        if number <= outcome.refused {
            return Ok(false);
        }
        // All of them have been answered by now.
        let last = self.came.load(Ordering::Relaxed);
        let limit = WAIT_MAX.min(patience / 2).as_millis() as u64;
        let mut wait = cmd("WAIT");
        wait.arg(wanted).arg(limit.max(1));
        let count = match on.ask(&wait).await? {
            Value::Int(count) => count,
            _ => 0,
        };
        let is_enough = count >= i64::from(wanted);
        match is_enough {
            true => outcome.confirmed = last,
            false => outcome.refused = last,
        }
        Ok(is_enough)
    }
}

/// What is to be answered if too few replicas have it; nothing if that does not
/// matter, because it is no promise or nothing but a wish.
pub(super) fn unless_replicated(reply: &Reply) -> Option<CallError> {
    let is_new = reply.promises()?;
    Some(CallError::Unconfirmed { is_new })
}
