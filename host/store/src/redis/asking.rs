//! Those who ask for locks, and what they hear.
//!
//! ```text
//!            the call is        the store says            the store says
//!            under way          that it waits             how that ended
//!   asks ---------------> Sent ----------------> Waiting ---+----------> Told
//!                           |                               |             ^
//!                           |  answered                     | granted     |
//!                           +-------------------------------|-----------> |
//!                                                           v             |
//!                                                        Claiming --------+
//! ```
//!
//! A grant after a wait is the node's for as long as a claim takes: only when
//! the store has heard that it arrived does its lease begin. Whoever goes away
//! before having heard leaves; when the last has left and none has heard of a
//! grant, the store is told: the wait ends, or the grant is given back, and the
//! same id may be asked again. That is said only when no call about the id is
//! under way, so that it cannot overtake one.

use super::codec::{Arguments, Claimed};
use super::errands::Errands;
use super::link::{CallError, Link, Room};
use super::node::{Node, over};
use super::transactions::Transactions;
use crate::core::hash::IdMap;
use crate::core::{self, Acquired};
use crate::id::{GrantId, NodeId, TransactionId};
use crate::store::{Acquire, AcquireError, Granted, Holder, StoreError};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// How many may wait for the answer to one request id at once.
const ASKERS_MAX: usize = 1_000;

/// All who ask at this node.
pub(super) struct Asking {
    link: Link,
    node: Arc<Node>,
    errands: Arc<Errands>,
    /// Those that have asked.
    pub(super) transactions: Transactions,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    asked: IdMap<GrantId, Asked>,
    /// How many have ever asked.
    count: AskerNumber,
}

/// A request, while somebody who asked has not heard.
#[derive(Default)]
struct Asked {
    /// How many have neither heard nor left.
    pending: usize,
    /// How many calls about it are under way.
    calls: usize,
    /// Those who are not told yet.
    replies: Vec<(AskerNumber, Reply)>,
    /// Whether somebody has heard that it was granted.
    is_known: bool,
    /// Whether there may be something that nobody has heard of.
    may_stand: bool,
}

/// Tells those who ask the same from each other.
type AskerNumber = u64;

type Reply = oneshot::Sender<Result<Granted, AcquireError>>;

/// Takes somebody's leave who goes away without having heard.
struct Asker<'a> {
    asking: &'a Asking,
    id: GrantId,
    number: AskerNumber,
    is_pending: bool,
}

impl Asking {
    pub(super) fn new(link: Link, node: Arc<Node>, errands: Arc<Errands>) -> Arc<Self> {
        Arc::new(Self {
            link,
            node,
            errands,
            transactions: Transactions::default(),
            table: Mutex::default(),
        })
    }

    pub(super) async fn acquire(
        self: &Arc<Self>,
        request: Acquire,
    ) -> Result<Granted, AcquireError> {
        core::validate(&request)?;
        let names = core::without_repetitions(request.names.clone())?;
        let room = self.link.room().await;
        let (node, transaction) = match request.holder {
            Holder::Transaction(transaction) => (self.node.alive()?, Some(transaction)),
            Holder::Session(_) | Holder::Caller => (self.node.id(), None),
        };
        let (asker, receiver) = self.enter(request.id)?;
        if let Some(transaction) = transaction {
            self.transactions.asks(transaction);
        }
        let call = Call {
            id: request.id,
            number: asker.number,
            node,
            transaction,
            is_repeatable: request.repeatable,
        };
        let arguments = Arguments::acquire(&request, &names, node);
        drop(self.link.spawn(self.clone().ask(call, arguments, room)));
        let answer = receiver.await;
        let answer = answer.unwrap_or_else(|_| Err(StoreError::from(CallError::Closed).into()));
        asker.hears(answer.is_ok());
        answer
    }

    /// A wait has ended well.
    pub(super) fn granted(self: &Arc<Self>, node: NodeId, id: GrantId, granted: Granted) {
        let Some(first) = granted.acquired.first() else {
            // Its transaction has it all already: there is nothing to claim.
            return self.tell(id, Ok(granted));
        };
        let token = granted.tokens.iter().find(|(name, _)| name == first);
        let Some((_, token)) = token else { return };
        let claim = Arguments::claim(id, *token);
        if !self.begin_call(id) {
            // Nobody waits for it, and so nobody will say that it arrived.
            return self.errands.try_once(node, Arguments::abandon(id));
        }
        let asking = self.clone();
        let claiming = async move {
            let claimed = asking.link.call_here(node, &claim).await;
            let claimed = claimed.and_then(|it| Ok(it.claimed()?));
            asking.tell(id, claimed_as(claimed, granted));
            asking.end_call(id);
        };
        drop(self.link.spawn(claiming));
    }

    /// A wait has ended otherwise.
    pub(super) fn refused(&self, id: GrantId, error: AcquireError) {
        self.tell(id, Err(error));
    }

    /// The node's lease is over: whoever waits is told that.
    pub(super) fn is_over(&self) {
        let mut replies = Vec::new();
        for asked in self.table().asked.values_mut() {
            replies.append(&mut asked.replies);
        }
        for (_, reply) in replies {
            drop(reply.send(Err(over().into())));
        }
    }

    fn enter(
        &self,
        id: GrantId,
    ) -> Result<(Asker<'_>, oneshot::Receiver<Result<Granted, AcquireError>>), AcquireError> {
        let (reply, receiver) = oneshot::channel();
        let mut table = self.table();
        table.count += 1;
        let number = table.count;
        let asked = table.asked.entry(id).or_default();
        if asked.pending >= ASKERS_MAX {
            return Err(AcquireError::Quota(format!(
                "at most {ASKERS_MAX} callers wait for the answer to one request id"
            )));
        }
        asked.pending += 1;
        asked.calls += 1;
        asked.replies.push((number, reply));
        let asker = Asker {
            asking: self,
            id,
            number,
            is_pending: true,
        };
        Ok((asker, receiver))
    }

    /// Asks the store, for somebody who may have left meanwhile.
    async fn ask(self: Arc<Self>, call: Call, arguments: Arguments, room: Room) {
        let reply = self.link.call_here(call.node, &arguments).await;
        drop(room);
        let acquired = reply.and_then(|reply| {
            if reply.is_gone() {
                self.node.is_gone(call.node);
                return Ok(None);
            }
            Ok(Some(reply.acquired()?))
        });
        let answer = match acquired {
            Ok(Some((Acquired::Granted(granted), is_new))) => {
                self.note(call.id, |asked| {
                    asked.is_known |= !is_new;
                    asked.may_stand = true;
                });
                Some(Ok(granted))
            }
            Ok(Some((Acquired::Refused(error), _))) => Some(Err(error)),
            // What is told to whom the node was does not arrive here.
            Ok(Some((Acquired::Waiting, _))) if self.node.id() != call.node => {
                Some(Err(over().into()))
            }
            Ok(Some((Acquired::Waiting, _))) => {
                self.note(call.id, |asked| asked.may_stand |= !asked.has(call.number));
                None
            }
            Ok(None) => Some(Err(over().into())),
            Err(error) => {
                // One that may be asked again is found by who asks again.
                let may_stand = !call.is_repeatable && !matches!(error, CallError::NotSent);
                self.note(call.id, |asked| asked.may_stand |= may_stand);
                if let Some(transaction) = call.transaction {
                    self.transactions.is_uncertain(transaction);
                }
                Some(Err(StoreError::from(error).into()))
            }
        };
        if let Some(answer) = answer {
            self.answer(call, answer);
        }
        self.end_call(call.id);
    }

    fn note(&self, id: GrantId, note: impl FnOnce(&mut Asked)) {
        if let Some(asked) = self.table().asked.get_mut(&id) {
            note(asked);
        }
    }

    /// Tells one who asked, unless that one has left or was told.
    fn answer(&self, call: Call, answer: Result<Granted, AcquireError>) {
        let reply = {
            let mut table = self.table();
            let asked = table.asked.get_mut(&call.id);
            asked.and_then(|asked| {
                let at = asked
                    .replies
                    .iter()
                    .position(|(it, _)| *it == call.number)?;
                Some(asked.replies.swap_remove(at).1)
            })
        };
        if let Some(reply) = reply {
            // One that is gone has taken leave, or is about to.
            drop(reply.send(answer));
        }
    }

    /// Tells all who wait for an answer.
    fn tell(&self, id: GrantId, answer: Result<Granted, AcquireError>) {
        let replies = match self.table().asked.get_mut(&id) {
            Some(asked) => {
                asked.may_stand |= answer.is_ok();
                std::mem::take(&mut asked.replies)
            }
            None => return,
        };
        for (_, reply) in replies {
            drop(reply.send(answer.clone()));
        }
    }

    /// Whether there is anybody to make a call about this for.
    fn begin_call(&self, id: GrantId) -> bool {
        let mut table = self.table();
        let asked = table.asked.get_mut(&id);
        asked.is_some_and(|asked| {
            asked.calls += 1;
            true
        })
    }

    fn end_call(&self, id: GrantId) {
        let mut table = self.table();
        if let Some(asked) = table.asked.get_mut(&id) {
            asked.calls -= 1;
        }
        self.settle(id, table);
    }

    /// Forgets a request about which nothing is to come any more.
    fn settle(&self, id: GrantId, mut table: MutexGuard<'_, Table>) {
        let is_over = |it: &Asked| it.pending + it.calls == 0;
        if !table.asked.get(&id).is_some_and(is_over) {
            return;
        }
        let asked = table.asked.remove(&id);
        // Sent before anybody can ask for it anew.
        if asked.is_some_and(|it| it.may_stand && !it.is_known) {
            self.errands
                .try_once(self.node.id(), Arguments::abandon(id));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Asked {
    /// Whether one who asked is still to be told.
    fn has(&self, number: AskerNumber) -> bool {
        self.replies.iter().any(|(it, _)| *it == number)
    }
}

impl Asker<'_> {
    /// The answer has arrived.
    fn hears(mut self, of_grant: bool) {
        self.is_pending = false;
        let mut table = self.asking.table();
        if let Some(asked) = table.asked.get_mut(&self.id) {
            asked.pending -= 1;
            asked.is_known |= of_grant;
        }
        self.asking.settle(self.id, table);
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        if !self.is_pending {
            return;
        }
        let mut table = self.asking.table();
        if let Some(asked) = table.asked.get_mut(&self.id) {
            asked.pending -= 1;
            asked.may_stand = true;
            asked.replies.retain(|(it, _)| *it != self.number);
        }
        self.asking.settle(self.id, table);
    }
}

/// One who asks, as the store is asked.
#[derive(Clone, Copy)]
struct Call {
    id: GrantId,
    number: AskerNumber,
    node: NodeId,
    transaction: Option<TransactionId>,
    is_repeatable: bool,
}

/// What those are told whose grant was claimed.
fn claimed_as(
    claimed: Result<Claimed, CallError>,
    granted: Granted,
) -> Result<Granted, AcquireError> {
    match claimed {
        Ok(Claimed::Held(remaining)) => Ok(Granted {
            remaining,
            ..granted
        }),
        Ok(Claimed::Lost) => Err(AcquireError::Lost),
        Err(error) => Err(StoreError::from(error).into()),
    }
}
