//! The connections of a component that wait for another request to the same
//! server. The one that was used last is used first, so that what is too much
//! ends by its idle time.

use super::connection::Connection;
use super::grant::Destination;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many connections of a component wait at most. If there is one more, the
/// one that has waited longest is closed.
const IDLE_MAX: usize = 16;

/// How long a connection waits for another request. Shorter than servers do, as
/// a request that meets their end would fail.
const IDLE: Duration = Duration::from_secs(15);

/// How long a connection may take to have done with its last request.
const SETTLE: Duration = Duration::from_millis(50);

/// The connections that wait, those that were used last at the end.
#[derive(Default)]
pub(super) struct Pool(Mutex<VecDeque<(Destination, Connection)>>);

impl Pool {
    /// A connection to `to` that can be used until `deadline`, if one waits.
    pub(super) async fn take(&self, to: &Destination, deadline: Instant) -> Option<Connection> {
        loop {
            let mut connection = self.remove(to)?;
            // Its own end must not come first.
            connection.ends_at(deadline);
            let ready = tokio::time::timeout(SETTLE, connection.ready());
            if matches!(ready.await, Ok(true)) && !connection.is_closed() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection that has done with its request.
    pub(super) fn keep(&self, to: Destination, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        connection.ends_at(Instant::now() + IDLE);
        let mut waiting = self.lock();
        waiting.retain(|(_, it)| !it.is_closed());
        waiting.push_back((to, connection));
        let too_many = waiting.len() > IDLE_MAX;
        let oldest = if too_many { waiting.pop_front() } else { None };
        drop(waiting);
        drop(oldest);
    }

    /// Closes the connection that has waited longest, to make room. Whether
    /// there was one.
    pub(super) fn let_go(&self) -> bool {
        let oldest = self.lock().pop_front();
        oldest.is_some()
    }

    fn remove(&self, to: &Destination) -> Option<Connection> {
        let mut waiting = self.lock();
        let at = waiting.iter().rposition(|(it, _)| it == to)?;
        waiting.remove(at).map(|(_, it)| it)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Destination, Connection)>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
