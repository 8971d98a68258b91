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
//! under way, so that it cannot overtake one; and it names the last of those who
//! left, for somebody may ask anew before it has arrived, and is not meant. Nor is
//! whoever asks anew meant by what the store said before it was asked that. A
//! grant that the node hears of by the answer to its own call needs no claim: its
//! lease has begun.
//!
//! While the space is recovered nothing new is granted: whoever would wait for a
//! lock waits for that, too. Afterwards those who waited before are asked for
//! again, under the same ids: the server may have forgotten them. So is what was
//! asked before a recovery and is answered only when it has begun: the answer may
//! be that of a server whose place another has taken.

use super::Means;
use super::codec::{Arguments, Claimed};
use super::errands::Errands;
use super::holdings::{Holdings, Recoveries};
use super::link::{CallError, Link, Room, recovery_pause};
use super::node::{Node, over};
use super::transactions::Transactions;
use crate::core::hash::IdMap;
use crate::core::{self, Acquired};
use crate::id::{GrantId, NodeId};
use crate::name::LockName;
use crate::store::{Acquire, AcquireError, Granted, Holder, StoreError};
use crate::time::Time;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// How many may wait for the answer to one request id at once.
const ASKERS_MAX: usize = 1_000;

/// All who ask at this node.
pub(super) struct Asking {
    link: Link,
    node: Arc<Node>,
    errands: Arc<Errands>,
    holdings: Arc<Holdings>,
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
struct Asked {
    /// The last who asked.
    last: AskerNumber,
    /// Who the node was then.
    node: NodeId,
    /// How many have neither heard nor left.
    pending: usize,
    /// How many calls about it are under way.
    calls: usize,
    /// Those who are not told yet.
    replies: Vec<(Arc<Call>, Reply)>,
    /// Whether somebody has heard that it was granted, these or others before.
    is_known: bool,
    /// Whether there may be something that nobody has heard of.
    may_stand: bool,
    /// Whether it has to be asked again when no call about it is under way.
    is_doubtful: bool,
}

/// Tells those who ask at this node from each other, over all ids: whoever asks
/// later has a higher one.
pub(crate) type AskerNumber = u64;

type Reply = oneshot::Sender<Result<Granted, AcquireError>>;

/// Somebody who asks, the call to make, and where it is told.
type Entered<'a> = (
    Asker<'a>,
    Arc<Call>,
    oneshot::Receiver<Result<Granted, AcquireError>>,
);

/// A grant after a wait, as it is heard of.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandedOver {
    pub(super) id: GrantId,
    /// The last asker whom it is granted to.
    pub(super) last: AskerNumber,
    /// Whether the store knows already that it has arrived.
    pub(super) is_claimed: bool,
    /// After how many recoveries it was heard of.
    pub(super) after: Recoveries,
}

/// What is to be done once a call was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    /// What it says may not be so any more.
    AskAgain,
}

/// Takes somebody's leave who goes away without having heard.
struct Asker<'a> {
    asking: &'a Asking,
    id: GrantId,
    number: AskerNumber,
    is_pending: bool,
}

impl Asking {
    pub(super) fn new(means: Means) -> Arc<Self> {
        let Means {
            link,
            node,
            errands,
            holdings,
        } = means;
        Arc::new(Self {
            link,
            node,
            errands,
            holdings,
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
        let waits = !request.wait.is_zero();
        let room = self.link.room().await;
        let (node, transaction) = match request.holder {
            Holder::Transaction(transaction) => (self.node.alive()?, Some(transaction)),
            Holder::Session(_) | Holder::Caller => (self.node.id(), None),
        };
        let (asker, call, receiver) = self.enter(request, names, node)?;
        if let Some(transaction) = transaction {
            self.transactions.asks(transaction);
        }
        drop(self.link.spawn(self.clone().ask(call, room, false)));
        let answer = receiver.await;
        let answer = answer.unwrap_or_else(|_| Err(StoreError::from(CallError::Closed).into()));
        asker.hears(answer.is_ok());
        match answer {
            // Its wait was over before the server was asked.
            Err(AcquireError::Held(_)) if waits => Err(AcquireError::TimedOut),
            answer => answer,
        }
    }

    /// A wait has ended well.
    pub(super) fn granted(self: &Arc<Self>, node: NodeId, handed: HandedOver, granted: Granted) {
        let HandedOver { id, last, .. } = handed;
        if granted.acquired.is_empty() {
            // Its transaction has it all already: there is nothing to claim.
            return self.tell(id, last, Ok(granted));
        }
        let Some(token) = granted.own_token() else {
            return;
        };
        let Some(call) = self.begin_call(id, last) else {
            // Nobody waits for it, and so nobody will say that it arrived; unless
            // somebody has heard of it by the answer to a call.
            if !self.holds(id) {
                self.leave(node, id, last);
            }
            return;
        };
        if handed.is_claimed {
            return self.is_granted(call, handed, Ok(granted));
        }
        let asking = self.clone();
        let claim = Arguments::claim(id, token);
        let claiming = async move {
            let claimed = asking.link.call_here(node, &claim).await;
            let claimed = claimed.and_then(|it| Ok(it.claimed()?));
            if claimed.is_err() {
                // It does, whether or not it is claimed.
                asking.note(id, |asked| asked.may_stand = true);
            }
            asking.is_granted(call, handed, claimed_as(claimed, granted));
        };
        drop(self.link.spawn(claiming));
    }

    /// What became of a grant after a wait, and of the call that was about it.
    fn is_granted(
        self: &Arc<Self>,
        call: Arc<Call>,
        handed: HandedOver,
        answer: Result<Granted, AcquireError>,
    ) {
        let HandedOver {
            id, last, after, ..
        } = handed;
        let is_so = match &answer {
            Ok(granted) => self.has(&call, granted, after),
            Err(_) => self.holdings.recoveries() == after,
        };
        if !is_so {
            return self.ask_once_more(call);
        }
        self.tell(id, last, answer);
        self.end_call(id);
    }

    /// Nobody at a node waits for a request, or has heard of its grant, up to the
    /// last who has asked.
    pub(super) fn leave(&self, node: NodeId, id: GrantId, last: AskerNumber) {
        self.errands.run(node, Arguments::abandon(id, last));
    }

    /// Whether somebody here has heard of a grant, and it has not run out.
    fn holds(&self, id: GrantId) -> bool {
        self.holdings.contains(id, self.node.clock().now())
    }

    /// The node's lease is over: whoever waits is told that.
    pub(super) fn is_over(&self) {
        let mut replies = Vec::new();
        for asked in self.table().asked.values_mut() {
            // It may have been granted by what did not come here.
            asked.may_stand |= !asked.replies.is_empty();
            replies.append(&mut asked.replies);
        }
        for (_, reply) in replies {
            drop(reply.send(Err(over().into())));
        }
    }

    /// Whether somebody here asks this; or else the last who has asked anything.
    pub(super) fn check_asked(&self, id: GrantId) -> Result<(), AskerNumber> {
        let table = self.table();
        let is_asked = table.asked.contains_key(&id);
        is_asked.then_some(()).ok_or(table.count)
    }

    /// The last who has asked anything here.
    pub(super) fn last(&self) -> AskerNumber {
        self.table().count
    }

    /// The server was replaced: everybody who waits is asked for again, in the
    /// order in which they came here.
    pub(super) fn ask_again(self: &Arc<Self>) {
        let mut waiting: Vec<Arc<Call>> = Vec::new();
        for asked in self.table().asked.values_mut() {
            asked.is_doubtful = true;
            waiting.extend(asked.begin_again());
        }
        waiting.sort_by_key(|it| it.number);
        for call in waiting {
            self.ask_once_more(call);
        }
    }

    /// Asks for somebody, and for all who ask the same, whether or not the store
    /// knows. The call has begun.
    fn ask_once_more(self: &Arc<Self>, call: Arc<Call>) {
        let asking = self.clone();
        let again = async move {
            let room = asking.link.room().await;
            asking.ask(call, room, true).await;
        };
        drop(self.link.spawn(again));
    }

    fn enter(
        &self,
        request: Acquire,
        names: Vec<LockName>,
        node: NodeId,
    ) -> Result<Entered<'_>, AcquireError> {
        let (reply, receiver) = oneshot::channel();
        let mut table = self.table();
        table.count += 1;
        let (id, number) = (request.id, table.count);
        let asked = table.asked.entry(id).or_insert_with(|| Asked {
            last: number,
            node,
            pending: 0,
            calls: 0,
            replies: Vec::new(),
            is_known: self.holds(id),
            may_stand: false,
            is_doubtful: false,
        });
        if asked.pending >= ASKERS_MAX {
            return Err(AcquireError::Quota(format!(
                "at most {ASKERS_MAX} callers wait for the answer to one request id"
            )));
        }
        let call = Arc::new(Call {
            request,
            names,
            number,
            node,
            asked: self.node.clock().now(),
        });
        (asked.last, asked.node) = (number, node);
        asked.pending += 1;
        asked.calls += 1;
        asked.replies.push((call.clone(), reply));
        let asker = Asker {
            asking: self,
            id,
            number,
            is_pending: true,
        };
        Ok((asker, call, receiver))
    }

    /// Asks the store, for somebody who may have left meanwhile.
    async fn ask(self: Arc<Self>, call: Arc<Call>, mut room: Room, mut is_again: bool) {
        loop {
            let after = self.holdings.recoveries();
            let again = is_again.then(|| self.last_of(&call));
            let arguments = call.arguments(self.node.clock().now(), again);
            let reply = self.link.call_here(call.node, &arguments).await;
            drop(room);
            if let Some(pause) = self.pause(&call, again, &reply) {
                tokio::time::sleep(pause).await;
            } else if self.answered(&call, reply, again, after) == Next::Nothing {
                return;
            } else {
                is_again = true;
            }
            room = self.link.room().await;
        }
    }

    /// For how long a request waits because the space is recovered, if it does
    /// and somebody still waits for it.
    fn pause(
        &self,
        call: &Call,
        again: Option<AskerNumber>,
        reply: &Result<super::codec::Reply, CallError>,
    ) -> Option<Duration> {
        let (pause, now) = (recovery_pause(reply)?, self.node.clock().now());
        let table = self.table();
        let asked = table.asked.get(&call.request.id)?;
        let is_meant = |it: &&Arc<Call>| match again {
            Some(last) => it.number <= last,
            None => it.number == call.number,
        };
        let meant = asked.replies.iter().map(|it| &it.0).filter(is_meant);
        let patience = meant.map(|it| it.remaining(now)).max()?;
        (!patience.is_zero()).then(|| pause.min(patience))
    }

    /// The store has answered, or not.
    fn answered(
        self: &Arc<Self>,
        call: &Arc<Call>,
        reply: Result<super::codec::Reply, CallError>,
        again: Option<AskerNumber>,
        after: Recoveries,
    ) -> Next {
        let id = call.request.id;
        let acquired = reply.and_then(|reply| {
            if reply.is_gone() {
                self.node.is_gone(call.node);
                return Ok(None);
            }
            if reply.recovering().is_some() {
                return Err(CallError::Recovering);
            }
            Ok(Some(reply.acquired()?))
        });
        let answer = match acquired {
            Ok(Some((Acquired::Granted(granted), is_new))) => {
                self.note(id, |asked| {
                    asked.is_known |= !is_new && again.is_none();
                    asked.may_stand = true;
                });
                if !self.has(call, &granted, after) {
                    return Next::AskAgain;
                }
                Ok(granted)
            }
            Ok(Some((Acquired::Refused(error), _))) => Err(error),
            // What is told to whom the node was does not arrive here.
            Ok(Some((Acquired::Waiting, _))) if self.node.id() != call.node => Err(over().into()),
            Ok(Some((Acquired::Waiting, _))) => return self.waits(call, after),
            Ok(None) => Err(over().into()),
            Err(error) => {
                self.is_unanswered(call, &error);
                Err(StoreError::from(error).into())
            }
        };
        match again {
            // All of them were asked for at once.
            Some(last) => self.tell(id, last, answer),
            None => self.answer(call, answer),
        }
        self.end_call(id);
        Next::Nothing
    }

    /// The store will say how it ends: that which was asked, or that which has taken
    /// its place and is asked for all who wait by then.
    fn waits(self: &Arc<Self>, call: &Call, after: Recoveries) -> Next {
        let id = call.request.id;
        let mut table = self.table();
        let is_so = self.holdings.recoveries() == after;
        if let Some(asked) = table.asked.get_mut(&id) {
            asked.may_stand |= !is_so || !asked.has(call.number);
            asked.calls -= usize::from(is_so);
        }
        if !is_so {
            return Next::AskAgain;
        }
        self.call_ended(id, table);
        Next::Nothing
    }

    fn is_unanswered(&self, call: &Call, error: &CallError) {
        let is_done = !matches!(error, CallError::NotSent | CallError::Recovering);
        let may_stand = match error {
            // It stands, and nobody may rely on it.
            CallError::Unconfirmed { is_new } => *is_new,
            // One that may be asked again is found by who asks again.
            _ => !call.request.repeatable && is_done,
        };
        self.note(call.request.id, |asked| asked.may_stand |= may_stand);
        if let (Holder::Transaction(transaction), true) = (call.request.holder, is_done)
            && !self.transactions.is_uncertain(transaction)
        {
            let end = Arguments::end(call.node, transaction);
            self.errands.run(call.node, end);
        }
    }

    /// Somebody is about to hear that they were granted what they asked for. Whether
    /// that still is so.
    fn has(&self, call: &Call, granted: &Granted, after: Recoveries) -> bool {
        // What hung on whom the node was has ended.
        if call.request.holder != Holder::Caller && self.node.id() != call.node {
            return true;
        }
        let now = self.node.clock().now();
        self.holdings.granted(&call.request, granted, now, after)
    }

    /// The last who has asked the same as this one.
    fn last_of(&self, call: &Call) -> AskerNumber {
        let table = self.table();
        let asked = table.asked.get(&call.request.id);
        asked.map_or(call.number, |it| it.last)
    }

    fn note(&self, id: GrantId, note: impl FnOnce(&mut Asked)) {
        if let Some(asked) = self.table().asked.get_mut(&id) {
            note(asked);
        }
    }

    /// Tells one who asked, unless that one has left or was told.
    fn answer(&self, call: &Call, answer: Result<Granted, AcquireError>) {
        let reply = {
            let mut table = self.table();
            let asked = table.asked.get_mut(&call.request.id);
            asked.and_then(|asked| {
                let at = asked
                    .replies
                    .iter()
                    .position(|(it, _)| it.number == call.number)?;
                Some(asked.replies.swap_remove(at).1)
            })
        };
        if let Some(reply) = reply {
            // One that is gone has taken leave, or is about to.
            drop(reply.send(answer));
        }
    }

    /// Tells all who wait for an answer, up to the last who is meant.
    pub(super) fn tell(
        &self,
        id: GrantId,
        last: AskerNumber,
        answer: Result<Granted, AcquireError>,
    ) {
        let told: Vec<_> = match self.table().asked.get_mut(&id) {
            Some(asked) => {
                asked.may_stand |= answer.is_ok();
                let is_meant = |it: &mut (Arc<Call>, Reply)| it.0.number <= last;
                asked.replies.extract_if(.., is_meant).collect()
            }
            None => return,
        };
        for (_, reply) in told {
            drop(reply.send(answer.clone()));
        }
    }

    /// Begins a call about this for the first of those who wait for an answer and
    /// are meant, if there are any.
    fn begin_call(&self, id: GrantId, last: AskerNumber) -> Option<Arc<Call>> {
        let mut table = self.table();
        let asked = table.asked.get_mut(&id)?;
        let mut calls = asked.replies.iter().map(|it| &it.0);
        let call = calls.find(|it| it.number <= last)?.clone();
        asked.calls += 1;
        Some(call)
    }

    fn end_call(self: &Arc<Self>, id: GrantId) {
        let mut table = self.table();
        if let Some(asked) = table.asked.get_mut(&id) {
            asked.calls -= 1;
        }
        self.call_ended(id, table);
    }

    /// There is a call less; perhaps another has waited for that.
    fn call_ended(self: &Arc<Self>, id: GrantId, mut table: MutexGuard<'_, Table>) {
        let again = table.asked.get_mut(&id).and_then(Asked::begin_again);
        self.settle(id, table);
        if let Some(call) = again {
            self.ask_once_more(call);
        }
    }

    /// Forgets a request about which nothing is to come any more.
    fn settle(&self, id: GrantId, mut table: MutexGuard<'_, Table>) {
        let Entry::Occupied(asked) = table.asked.entry(id) else {
            return;
        };
        if asked.get().pending + asked.get().calls > 0 {
            return;
        }
        let asked = asked.remove();
        if asked.may_stand && !asked.is_known {
            self.holdings.ended(id);
            // Nobody up to the last who has asked anything asks this any more.
            self.leave(asked.node, id, table.count);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Asked {
    /// Begins a call for all who wait, if it has to be asked again and no call is
    /// under way: in the name of who waits longest.
    fn begin_again(&mut self) -> Option<Arc<Call>> {
        if self.calls > 0 || !std::mem::take(&mut self.is_doubtful) {
            return None;
        }
        let calls = self.replies.iter().map(|it| &it.0);
        let call = calls.max_by_key(|it| it.asked + it.request.wait)?.clone();
        self.calls = 1;
        Some(call)
    }

    /// Whether one who asked is still to be told.
    fn has(&self, number: AskerNumber) -> bool {
        self.replies.iter().any(|(it, _)| it.number == number)
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
            asked.replies.retain(|(it, _)| it.number != self.number);
        }
        self.asking.settle(self.id, table);
    }
}

/// One who asks, as the store is asked.
struct Call {
    request: Acquire,
    /// Those of the request without repetitions.
    names: Vec<LockName>,
    number: AskerNumber,
    node: NodeId,
    /// When it came, by this side's clock.
    asked: Time,
}

impl Call {
    /// For how long it may still wait.
    fn remaining(&self, now: Time) -> Duration {
        self.request.wait.saturating_sub(now.since(self.asked))
    }

    /// `again` says for whom else it is asked: for all up to that one.
    fn arguments(&self, now: Time, again: Option<AskerNumber>) -> Arguments {
        let wait = self.remaining(now);
        let Self { request, names, .. } = self;
        let last = again.unwrap_or(self.number);
        Arguments::acquire(request, names, self.node, wait, again.is_some(), last)
    }
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
