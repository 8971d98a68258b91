//! What has to be done and nobody waits for.
//!
//! Each is done once or several times, and it is all the same: so it is sent
//! again until the server has done it: one that refuses may do so for a while
//! only, because replicas are away or its disk is full. There are so many at most; beyond that
//! the node gives up its life, and all that hung on it ends by itself.

use super::codec::Arguments;
use super::link::{CallError, Link};
use super::node::Node;
use crate::id::NodeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many may be under way.
const ERRANDS_MAX: usize = 100_000;

/// How long after one was not done it is sent again, at first and at most. Each
/// pause is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(super) struct Errands {
    link: Link,
    node: Arc<Node>,
    under_way: AtomicUsize,
}

impl Errands {
    pub(super) fn new(link: Link, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self {
            link,
            node,
            under_way: AtomicUsize::new(0),
        })
    }

    /// Calls a function that can be called again and again, until that is done or
    /// the node that it is done for is over.
    pub(super) fn run(self: &Arc<Self>, node: NodeId, arguments: Arguments) {
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= ERRANDS_MAX {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            tracing::error!("too much is left undone: the node begins anew");
            return self.node.is_gone(self.node.id());
        }
        let errands = self.clone();
        let errand = async move {
            let mut pause = PAUSE_MIN;
            while let Err(error) = errands.link.call_here(node, &arguments).await {
                if !may_be_undone(&error) || errands.node.id() != node {
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            errands.under_way.fetch_sub(1, Ordering::Relaxed);
        };
        drop(self.link.spawn(errand));
    }
}

fn may_be_undone(error: &CallError) -> bool {
    match error {
        CallError::NotSent
        | CallError::Unanswered(_)
        | CallError::Recovering
        | CallError::Refused(_) => true,
        CallError::Unconfirmed { .. } | CallError::Malformed(_) | CallError::Closed => false,
    }
}
