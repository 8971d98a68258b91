//! What the node is told, in the order it was sent.
//!
//! Every message has a number. One that is missing is fetched from the list in
//! which they are all kept until the node says that it has them; that it is
//! missing is known from a later message, or from the answer to a beat, which
//! tells how many were sent.
//!
//! Another server counts anew: a message that was sent in an earlier epoch is not
//! taken in any more. The last of them are fetched before what the node has is said.

use super::codec::{Malformed, Message, News};
use super::space::Epoch;
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
    /// In which epoch; before the first of them, any.
    epoch: Option<Epoch>,
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

    /// The number up to which it has them all, and in which epoch: in one that there
    /// never is, if it has none.
    pub(super) fn acknowledged(&self) -> (Epoch, u64) {
        let arriving = self.arriving();
        (arriving.epoch.unwrap_or_default(), arriving.next - 1)
    }

    /// Takes in a message to `node`. Answers what can be told now, in order; or
    /// `None` if the node is another by now.
    pub(super) fn receive(
        &self,
        node: NodeId,
        bytes: &[u8],
    ) -> Result<Option<Vec<News>>, Malformed> {
        let Message {
            epoch,
            number,
            what,
        } = Message::read(bytes)?;
        let mut arriving = self.arriving();
        if arriving.node != node {
            return Ok(None);
        }
        let is_current = *arriving.epoch.get_or_insert(epoch) == epoch;
        if !is_current || number < arriving.next {
            return Ok(Some(Vec::new()));
        }
        if arriving.early.len() < EARLY_MAX || number == arriving.next {
            arriving.early.insert(number, what);
        }
        let mut told = Vec::new();
        loop {
            let next = arriving.next;
            let Some(news) = arriving.early.remove(&next) else {
                return Ok(Some(told));
            };
            arriving.next += 1;
            told.push(news);
        }
    }

    /// From now on it takes in what is sent in this epoch, if the node is still the
    /// same: that which comes behind a number.
    pub(super) fn begin_epoch(&self, node: NodeId, epoch: Epoch, behind: u64) {
        let mut arriving = self.arriving();
        if arriving.node == node {
            *arriving = Arriving {
                epoch: Some(epoch),
                next: behind + 1,
                ..Arriving::new(node)
            };
        }
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
            epoch: None,
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

    const EPOCHS: [Epoch; 2] = [[1; 16], [2; 16]];

    fn message(epoch: Epoch, number: u64) -> Vec<u8> {
        let id = Value::Binary(u128::from(number).to_be_bytes().to_vec());
        let epoch = Value::Binary(epoch.to_vec());
        let message = vec![epoch, number.into(), "timed-out".into(), 1.into(), id];
        let message = Value::Array(message);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &message).unwrap();
        bytes
    }

    fn news(number: u64) -> News {
        News::Refused(GrantId::from_u128(number.into()), 1, AcquireError::TimedOut)
    }

    #[test]
    fn messages_are_told_in_order_and_once_however_they_come() {
        let node = NodeId::mint();
        let inbox = Inbox::new(node);
        let receive = |number| {
            let told = inbox.receive(node, &message(EPOCHS[0], number));
            told.unwrap().unwrap()
        };
        assert_eq!(receive(1), [news(1)]);
        assert_eq!(receive(3), []);
        assert!(inbox.misses());
        assert_eq!((receive(1), inbox.acknowledged().1), (vec![], 1));
        assert_eq!(receive(2), [news(2), news(3)]);
        assert_eq!((inbox.misses(), inbox.acknowledged().1), (false, 3));
    }

    #[test]
    fn a_message_of_a_server_that_was_replaced_takes_no_place_of_another() {
        let [before, since] = EPOCHS;
        let node = NodeId::mint();
        let inbox = Inbox::new(node);
        let receive = |epoch, number| {
            let told = inbox.receive(node, &message(epoch, number));
            told.unwrap().unwrap()
        };
        assert_eq!(receive(before, 1), [news(1)]);
        assert_eq!(receive(before, 3), []);
        inbox.begin_epoch(node, since, 7);
        assert_eq!((inbox.misses(), inbox.acknowledged()), (false, (since, 7)));
        assert_eq!(receive(before, 8), []);
        assert_eq!(receive(since, 8), [news(8)]);
        inbox.begin_epoch(NodeId::mint(), before, 0);
        assert_eq!(inbox.acknowledged().1, 8, "it was another's");
    }

    #[test]
    fn a_message_to_who_the_node_was_before_is_not_told() {
        let before = NodeId::mint();
        let inbox = Inbox::new(before);
        inbox.begin_anew(NodeId::mint());
        assert_eq!(inbox.receive(before, &message(EPOCHS[0], 1)), Ok(None));
        assert_eq!(inbox.acknowledged().1, 0);
    }
}
