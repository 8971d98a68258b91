//! What the node is told, in the order it was sent.
//!
//! Every message has a number. One that is missing is fetched from the list in
//! which they are all kept until the node says that it has them; that it is
//! missing is known from a later message, or from the answer to a beat, which
//! tells how many were sent.

use super::codec::{Malformed, Message, News};
use crate::id::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// How many messages are kept that came before their turn. Beyond it they are
/// fetched again.
const EARLY_MAX: usize = 10_000;

/// The messages to this node.
pub(super) struct Inbox(Mutex<Arriving>);

struct Arriving {
    /// To whom they are sent.
    node: NodeId,
    /// The number of the next.
    next: u64,
    /// Those that came before their turn.
    early: BTreeMap<u64, News>,
}

impl Inbox {
    pub(super) fn new(node: NodeId) -> Self {
        Self(Mutex::new(Arriving::new(node)))
    }

    /// Begins anew, for another node.
    pub(super) fn begin_anew(&self, node: NodeId) {
        *self.arriving() = Arriving::new(node);
    }

    /// To whom they are sent.
    pub(super) fn node(&self) -> NodeId {
        self.arriving().node
    }

    /// The number up to which it has them all.
    pub(super) fn acknowledged(&self) -> u64 {
        self.arriving().next - 1
    }

    /// Takes in a message to `node`. Answers what can be told now, in order.
    pub(super) fn receive(&self, node: NodeId, bytes: &[u8]) -> Result<Vec<News>, Malformed> {
        let Message { number, what } = Message::read(bytes)?;
        let mut arriving = self.arriving();
        if arriving.node != node || number < arriving.next {
            return Ok(Vec::new());
        }
        if arriving.early.len() < EARLY_MAX || number == arriving.next {
            arriving.early.insert(number, what);
        }
        let mut told = Vec::new();
        loop {
            let next = arriving.next;
            let Some(news) = arriving.early.remove(&next) else {
                return Ok(told);
            };
            arriving.next += 1;
            told.push(news);
        }
    }

    /// What came before its turn may never have been sent, as far as the server
    /// knows.
    pub(super) fn forget_early(&self) {
        self.arriving().early.clear();
    }

    /// Whether a message is missing.
    pub(super) fn misses(&self) -> bool {
        !self.arriving().early.is_empty()
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Arriving {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            next: 1,
            early: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::GrantId;
    use crate::store::AcquireError;
    use rmpv::Value;

    fn message(number: u64) -> Vec<u8> {
        let id = Value::Binary(u128::from(number).to_be_bytes().to_vec());
        let message = Value::Array(vec![number.into(), "timed-out".into(), id]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &message).unwrap();
        bytes
    }

    fn news(number: u64) -> News {
        News::Refused(GrantId::from_u128(number.into()), AcquireError::TimedOut)
    }

    #[test]
    fn messages_are_told_in_order_and_once_however_they_come() {
        let node = NodeId::mint();
        let inbox = Inbox::new(node);
        let receive = |number| inbox.receive(node, &message(number)).unwrap();
        assert_eq!(receive(1), [news(1)]);
        assert_eq!(receive(3), []);
        assert!(inbox.misses());
        assert_eq!((receive(1), inbox.acknowledged()), (vec![], 1));
        assert_eq!(receive(2), [news(2), news(3)]);
        assert_eq!((inbox.misses(), inbox.acknowledged()), (false, 3));
    }

    #[test]
    fn a_message_to_who_the_node_was_before_is_not_told() {
        let before = NodeId::mint();
        let inbox = Inbox::new(before);
        inbox.begin_anew(NodeId::mint());
        assert_eq!(inbox.receive(before, &message(1)), Ok(vec![]));
        assert_eq!(inbox.acknowledged(), 0);
    }
}
