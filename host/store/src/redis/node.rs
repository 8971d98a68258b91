//! Who this node is to the store, and until when.
//!
//! ```text
//!              joined                  its lease is over
//!   Coming -------------------> Alive -------------------+
//!     ^                         |   ^                    |
//!     |                         +---+ a beat             |
//!     +--------------------------------------------------+
//!                   under a new identity
//! ```
//!
//! The node goes by a deadline of its own, which is over before the store's: so
//! whoever holds a lock through it hears that it is lost before anybody else can
//! be granted it.

use crate::clock::Clock;
use crate::id::NodeId;
use crate::store::StoreError;
use crate::time::Time;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// What a deadline of this side is ahead of that of the store, besides a
/// hundredth.
const MARGIN: Duration = Duration::from_millis(2);

/// A node, as it comes and goes.
pub(super) struct Node {
    /// Tells how long ago something was sent.
    clock: Clock,
    lease: Duration,
    life: Mutex<Life>,
    /// Says that there is something to do before the next beat.
    pub(super) nudge: Notify,
}

struct Life {
    id: NodeId,
    /// Until when it may count on being alive; `None` before it has joined.
    until: Option<Time>,
}

impl Node {
    pub(super) fn new(clock: Clock, lease: Duration) -> Self {
        Self {
            clock,
            lease,
            life: Mutex::new(Life {
                id: NodeId::mint(),
                until: None,
            }),
            nudge: Notify::new(),
        }
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// What it goes by, between answers of the store.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn id(&self) -> NodeId {
        self.life().id
    }

    pub(super) fn is_alive(&self) -> bool {
        self.life().is_alive(self.clock.now())
    }

    /// For how long it may count on being alive; `None` if it is not.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let (life, now) = (self.life(), self.clock.now());
        life.until
            .map(|it| it.since(now))
            .filter(|it| !it.is_zero())
    }

    /// Who it is, for what hangs on its life.
    pub(super) fn alive(&self) -> Result<NodeId, StoreError> {
        let life = self.life();
        if life.is_alive(self.clock.now()) {
            Ok(life.id)
        } else {
            Err(over())
        }
    }

    /// The store has renewed its lease, as was asked of it at `sent`.
    pub(super) fn renewed(&self, id: NodeId, sent: Time) {
        let mut life = self.life();
        if life.id == id {
            life.until = Some(sent + without_margin(self.lease));
        }
    }

    /// The store says that its lease has run out: it finds out at once.
    pub(super) fn is_gone(&self, id: NodeId) {
        let mut life = self.life();
        if life.id == id {
            life.until = None;
            self.nudge.notify_one();
        }
    }

    /// Whether it has to come anew, and does so under a new identity.
    pub(super) fn begin_anew(&self) {
        *self.life() = Life {
            id: NodeId::mint(),
            until: None,
        };
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Life {
    fn is_alive(&self, now: Time) -> bool {
        self.until.is_some_and(|it| now < it)
    }
}

/// How long this side may count on something that the store was told to keep
/// for so long.
pub(super) fn without_margin(time: Duration) -> Duration {
    time.saturating_sub(time / 100 + MARGIN)
}

/// Why nothing is done that hangs on the node's life.
pub(super) fn over() -> StoreError {
    StoreError::Unavailable("the node's lease has run out".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_node_is_over_before_its_lease_is() {
        let clock = ManualClock::new(Time::default());
        let lease = Duration::from_secs(5);
        let node = Node::new(clock.clone().into(), lease);
        let id = node.id();
        assert!(node.alive().is_err(), "it has not joined");
        node.renewed(id, clock.now());
        clock.advance(lease - lease / 100 - MARGIN * 2);
        assert_eq!(node.alive(), Ok(id));
        clock.advance(MARGIN);
        assert!(node.alive().is_err());
        node.begin_anew();
        node.renewed(id, clock.now());
        assert!(node.alive().is_err(), "a beat of an earlier life");
    }
}
