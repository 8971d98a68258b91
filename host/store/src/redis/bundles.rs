//! Calls that go out together, as a bundle.
//!
//! Much of what a call costs the server is the same however much it does. So
//! what is asked while a bundle is under way waits until that is answered, or
//! there is enough for another, and goes out as one call; what is asked while
//! nothing is under way goes out at once. The order stays.

use super::codec::{Arguments, Reply};
use super::link::CallError;
use crate::id::NodeId;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// How many bundles are under way at once: the server works on one while another
/// is on its way.
const UNDER_WAY_MAX: usize = 2;

/// How many operations are enough for one more bundle while another is under way:
/// a full one, since smaller ones cost the server more for each.
const ENOUGH: usize = OPERATIONS_MAX;

/// How many operations a bundle has at most: so long it keeps others from the
/// server.
const OPERATIONS_MAX: usize = 32;

/// How many bytes a bundle brings at most, unless a single operation does.
const BYTES_MAX: usize = 64 * 1024;

/// What is to go out on a connection.
#[derive(Default)]
pub(super) struct Bundles(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    /// How many bundles are under way, or about to be.
    under_way: usize,
    /// Whether the connection was given up.
    is_closed: bool,
}

/// An operation that is to be done, and who waits for its answer.
pub(super) struct Asked {
    /// For whom it is done.
    pub(super) node: NodeId,
    pub(super) arguments: Arguments,
    pub(super) reply: oneshot::Sender<Result<Reply, CallError>>,
}

impl Bundles {
    /// Takes in what is asked. Whether a bundle has to be sent by whoever is told
    /// that here.
    pub(super) fn push(&self, asked: Asked) -> bool {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            drop(waiting);
            asked.give_up();
            return false;
        }
        waiting.asked.push_back(asked);
        let are_enough = waiting.asked.len() >= ENOUGH;
        let most = if are_enough { UNDER_WAY_MAX } else { 1 };
        let is_to_be_sent = waiting.under_way < most;
        waiting.under_way += usize::from(is_to_be_sent);
        is_to_be_sent
    }

    /// The connection is given up: what waits did not go out, and neither does what
    /// is asked from now on.
    pub(super) fn close(&self) {
        let asked = {
            let mut waiting = self.waiting();
            waiting.is_closed = true;
            std::mem::take(&mut waiting.asked)
        };
        asked.into_iter().for_each(Asked::give_up);
    }

    /// The next bundle, for who has to send one, or whose last was answered: all
    /// of one node. `None` if there is nothing to send, or
    /// what there is waits for another's to be answered; then one less is under
    /// way.
    pub(super) fn next(&self) -> Option<Vec<Asked>> {
        let mut waiting = self.waiting();
        let may_wait = waiting.under_way > 1 && waiting.asked.len() < ENOUGH;
        let bundle = if may_wait { Vec::new() } else { waiting.take() };
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

impl Asked {
    fn give_up(self) {
        // Whoever has gone has no need of it.
        drop(self.reply.send(Err(CallError::Recovering)));
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
                    && first.node == next.node
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

    fn asked(node: NodeId, arguments: Arguments) -> Asked {
        let (reply, _) = oneshot::channel();
        Asked {
            node,
            arguments,
            reply,
        }
    }

    fn short() -> Arguments {
        Arguments::abandon(GrantId::mint(), 1)
    }

    fn long() -> Arguments {
        Arguments::look([&LockName::new("a").unwrap()])
    }

    /// How many there are in each bundle that is sent for those.
    fn bundled(all: impl IntoIterator<Item = Asked>) -> Vec<usize> {
        let mut waiting = Waiting::default();
        waiting.asked.extend(all);
        let bundles = std::iter::from_fn(|| Some(waiting.take().len()));
        bundles.take_while(|it| *it > 0).collect()
    }

    #[test]
    fn a_bundle_has_so_many_operations_at_most() {
        let node = NodeId::mint();
        let many = (0..2 * OPERATIONS_MAX + 1).map(|_| asked(node, short()));
        assert_eq!(bundled(many), [OPERATIONS_MAX, OPERATIONS_MAX, 1]);
    }

    #[test]
    fn a_bundle_has_so_many_bytes_at_most_unless_one_operation_has_more() {
        let node = NodeId::mint();
        let large = |bytes| {
            let mut arguments = short();
            arguments.packed = vec![0; bytes];
            asked(node, arguments)
        };
        let sizes = [BYTES_MAX / 2, BYTES_MAX / 2, 1, 2 * BYTES_MAX, 1];
        assert_eq!(bundled(sizes.map(large)), [2, 1, 1, 1]);
    }

    #[test]
    fn what_differs_goes_out_apart_and_in_order() {
        let (one, other) = (NodeId::mint(), NodeId::mint());
        let all = [
            asked(one, short()),
            asked(one, short()),
            asked(one, long()),
            asked(one, short()),
            asked(other, short()),
            asked(other, short()),
        ];
        assert_eq!(bundled(all), [2, 1, 1, 2]);
    }

    #[test]
    fn what_waits_for_a_connection_that_is_given_up_is_told_so_at_once() {
        let (bundles, node) = (Bundles::default(), NodeId::mint());
        let ask = || {
            let (reply, answer) = oneshot::channel();
            let arguments = short();
            let is_to_be_sent = bundles.push(Asked {
                node,
                arguments,
                reply,
            });
            (is_to_be_sent, answer)
        };
        let is_given_up = |mut answer: oneshot::Receiver<_>| {
            matches!(answer.try_recv(), Ok(Err(CallError::Recovering)))
        };
        let (_, mut sent) = ask();
        assert_eq!(bundles.next().map(|it| it.len()), Some(1));
        let (_, waits) = ask();
        bundles.close();
        assert!(sent.try_recv().is_err(), "its answer may still come");
        assert!(is_given_up(waits));
        let (is_to_be_sent, late) = ask();
        assert!(!is_to_be_sent && is_given_up(late));
        assert!(bundles.next().is_none());
    }

    #[test]
    fn what_is_asked_waits_only_while_something_is_under_way_and_it_is_not_much() {
        let (bundles, node) = (Bundles::default(), NodeId::mint());
        let ask = || bundles.push(asked(node, short()));
        let next = || bundles.next().map(|it| it.len());
        assert!(ask(), "it is sent at once");
        assert_eq!(next(), Some(1));
        assert!(!ask(), "it waits");
        assert_eq!(next(), Some(1), "until the other is answered");
        for _ in 1..ENOUGH {
            assert!(!ask());
        }
        assert!(ask(), "they are enough");
        assert_eq!(next(), Some(ENOUGH));
        for _ in 0..ENOUGH {
            assert!(!ask(), "there are two already");
        }
        assert_eq!(next(), Some(ENOUGH), "one is answered");
        assert!(!ask());
        assert_eq!(next(), None, "the other waits for this");
        assert_eq!(next(), Some(1));
        assert_eq!(next(), None);
        assert!(ask(), "it is sent at once");
    }
}
