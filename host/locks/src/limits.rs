//! How much the lock API takes of one client.

use std::time::Duration;

/// How much the lock API takes of one client. What all clients together may
/// hold and wait for, the store limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message or body, in bytes. Default 256 KiB.
    pub message_bytes: usize,
    /// How many operations of one session's stream may be in flight, those that
    /// wait not counted; beyond it, the stream is not read on. Default 1 024.
    pub session_in_flight: usize,
    /// How many operations of one session's stream may wait, watches included;
    /// beyond it they are refused. Default 10 000.
    pub session_waits: usize,
    /// How long the body of a request may take to come, or the first message on
    /// a session's stream. Default 30 s.
    pub body: Duration,
    /// How many streams that need no token may be open, those of the health and
    /// of the reflection service; beyond it they are refused. Default 1 000.
    pub open_streams: usize,
    /// How many sessions may be opened or attached at once; beyond it, they wait
    /// for their turn. So a crowd that comes back neither keeps everybody else
    /// waiting nor fills what a store has room for. Default 64.
    pub openings: usize,
    /// How often a watcher is told that nothing happened. Default 10 s.
    pub progress: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 256 * 1024,
            session_in_flight: 1024,
            session_waits: 10_000,
            body: Duration::from_secs(30),
            open_streams: 1000,
            openings: 64,
            progress: Duration::from_secs(10),
        }
    }
}
