//! Calls that go out together, as a bundle.
//!
//! Much of what a call costs the server is the same however much it does. So
//! what is asked while as many bundles are under way as may be waits until one of
//! them is answered, and goes out as one call; what is asked while there are
//! fewer goes out at once. Nothing waits for more to come, and the order stays.

use super::codec::{Arguments, Reply};
use super::link::CallError;
use crate::id::NodeId;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// How many bundles are under way at once: the server works on one while another
/// is on its way.
const UNDER_WAY_MAX: usize = 2;

/// How many operations a bundle has at most: so long it keeps others from the
/// server.
const OPERATIONS_MAX: usize = 32;

/// How many bytes a bundle brings at most, unless a single operation does.
const BYTES_MAX: usize = 64 * 1024;

/// What is to go out on a link.
#[derive(Default)]
pub(super) struct Bundles(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    /// How many bundles are under way, or about to be.
    under_way: usize,
}

/// An operation that is to be done, and who waits for its answer.
pub(super) struct Asked {
    /// The number of the connection on which it is to go out.
    pub(super) connection: u64,
    /// For whom it is done.
    pub(super) node: NodeId,
    pub(super) arguments: Arguments,
    pub(super) reply: oneshot::Sender<Result<Reply, CallError>>,
}

impl Bundles {
    /// Takes in what is asked. Whether a bundle has to be sent for it, by whoever
    /// is told that here.
    pub(super) fn push(&self, asked: Asked) -> bool {
        let mut waiting = self.waiting();
        waiting.asked.push_back(asked);
        let is_to_be_sent = waiting.under_way < UNDER_WAY_MAX;
        waiting.under_way += usize::from(is_to_be_sent);
        is_to_be_sent
    }

    /// The next bundle, for who has to send one, or whose last was answered: all
    /// of one connection and one node. `None` if there is nothing to send; then
    /// one less is under way.
    pub(super) fn next(&self) -> Option<Vec<Asked>> {
        let mut waiting = self.waiting();
        let bundle = waiting.take();
        if bundle.is_empty() {
            waiting.under_way -= 1;
            return None;
        }
        Some(bundle)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Waiting {
    fn take(&mut self) -> Vec<Asked> {
        let (mut bundle, mut bytes) = (Vec::<Asked>::new(), 0);
        while let Some(next) = self.asked.front() {
            bytes += next.arguments.packed.len();
            let fits = bundle.first().is_none_or(|first| {
                let are_short = [first, next].map(|it| it.arguments.operation.is_short());
                are_short == [true, true]
                    && (first.connection, first.node) == (next.connection, next.node)
                    && bundle.len() < OPERATIONS_MAX
                    && bytes <= BYTES_MAX
            });
            if !fits {
                break;
            }
            bundle.extend(self.asked.pop_front());
        }
        bundle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::GrantId;
    use crate::name::LockName;

    fn asked(node: NodeId, connection: u64, arguments: Arguments) -> Asked {
        let (reply, _) = oneshot::channel();
        Asked {
            connection,
            node,
            arguments,
            reply,
        }
    }

    fn short() -> Arguments {
        Arguments::abandon(GrantId::mint())
    }

    fn long() -> Arguments {
        Arguments::look([&LockName::new("a".to_owned()).unwrap()])
    }

    /// How many there are in each bundle that is sent for those.
    fn bundled(all: impl IntoIterator<Item = Asked>) -> Vec<usize> {
        let bundles = Bundles::default();
        for asked in all {
            bundles.push(asked);
        }
        let sent = std::iter::from_fn(|| bundles.next());
        sent.map(|it| it.len()).collect()
    }

    #[test]
    fn a_bundle_has_so_many_operations_at_most() {
        let node = NodeId::mint();
        let many = (0..2 * OPERATIONS_MAX + 1).map(|_| asked(node, 1, short()));
        assert_eq!(bundled(many), [OPERATIONS_MAX, OPERATIONS_MAX, 1]);
    }

    #[test]
    fn a_bundle_has_so_many_bytes_at_most_unless_one_operation_has_more() {
        let node = NodeId::mint();
        let large = |bytes| {
            let mut arguments = short();
            arguments.packed = vec![0; bytes];
            asked(node, 1, arguments)
        };
        let sizes = [BYTES_MAX / 2, BYTES_MAX / 2, 1, 2 * BYTES_MAX, 1];
        assert_eq!(bundled(sizes.map(large)), [2, 1, 1, 1]);
    }

    #[test]
    fn what_differs_goes_out_apart_and_in_order() {
        let (one, other) = (NodeId::mint(), NodeId::mint());
        let all = [
            asked(one, 1, short()),
            asked(one, 1, short()),
            asked(one, 1, long()),
            asked(one, 1, short()),
            asked(other, 1, short()),
            asked(other, 2, short()),
            asked(other, 2, short()),
        ];
        assert_eq!(bundled(all), [2, 1, 1, 1, 2]);
    }

    #[test]
    fn what_is_asked_waits_only_while_enough_is_under_way() {
        let bundles = Bundles::default();
        let ask = || bundles.push(asked(NodeId::mint(), 1, short()));
        for _ in 0..UNDER_WAY_MAX {
            assert!(ask(), "it is sent at once");
            assert_eq!(bundles.next().map(|it| it.len()), Some(1));
        }
        assert!(!ask(), "it waits");
        assert!(bundles.next().is_some(), "until one is answered");
        for _ in 0..UNDER_WAY_MAX {
            assert!(bundles.next().is_none());
        }
        assert!(ask());
    }
}
