//! What is under way on a session, and the grants that hang on it.

use crate::calls::to_wire;
use crate::error::Error;
use crate::life::{self, Keeping, Life, Lost};
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answered;
use lockport_proto::lock::{Grant, SessionRequest, SessionResponse};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// How many losses are remembered whose grants were not heard of yet. More than
/// a server has in flight on a stream, so that none is missed; bounded, for some
/// are of grants that nobody asks about any more.
const LOST_EARLY_MAX: usize = 16_384;

/// What is under way, and the grants.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Mutex<Entries>,
    /// Something was asked while there was no stream.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    /// Where requests go, while there is a stream.
    outgoing: Option<mpsc::Sender<SessionRequest>>,
    last_id: u64,
    under_way: HashMap<u64, Request>,
    /// By fencing token.
    grants: HashMap<u64, Kept>,
    /// Tokens that were lost before their grant was heard of, the latest last.
    lost_early: VecDeque<u64>,
    ended: Option<Lost>,
}

/// A grant that somebody asks about.
#[derive(Debug)]
struct Kept {
    keeping: Keeping,
    /// How many do: a request id that is asked twice has two guards of one
    /// grant.
    guards: usize,
}

/// A request without an answer.
#[derive(Debug)]
struct Request {
    operation: Operation,
    /// When its wait ends.
    wait_ends: Instant,
    caller: oneshot::Sender<Result<Answered, Error>>,
}

/// A request of a caller's. Dropping it forgets the request.
pub(super) struct Awaited<'a> {
    table: &'a Table,
    id: u64,
    /// What still has to be sent, and where.
    unsent: Option<(SessionRequest, mpsc::Sender<SessionRequest>)>,
    answer: oneshot::Receiver<Result<Answered, Error>>,
}

impl Table {
    /// Enters a request. If the stream is broken it is sent over the next.
    pub(super) fn enter(&self, operation: Operation, wait: Duration) -> Result<Awaited<'_>, Error> {
        let (sender, answer) = oneshot::channel();
        let mut entries = self.lock();
        if let Some(lost) = entries.ended {
            return Err(ended(lost));
        }
        let id = entries.next_id();
        if entries.outgoing.is_none() {
            self.asked.notify_one();
        }
        let unsent = entries.outgoing.clone().map(|outgoing| {
            let operation = Some(operation.clone());
            (SessionRequest { id, operation }, outgoing)
        });
        let now = Instant::now();
        entries.under_way.insert(
            id,
            Request {
                operation,
                wait_ends: now.checked_add(wait).unwrap_or(now),
                caller: sender,
            },
        );
        Ok(Awaited {
            table: self,
            id,
            unsent,
            answer,
        })
    }

    /// An id for a request that the table does not keep.
    pub(super) fn next_id(&self) -> u64 {
        self.lock().next_id()
    }

    /// Requests go here from now on. `held` are the tokens the session was
    /// attached with: a grant that is missing was taken while nobody listened.
    /// (All there are were told over an earlier stream, so none is newer than
    /// the list.) Returns what is under way, oldest first, which has to be sent
    /// again.
    pub(super) fn attach(
        &self,
        outgoing: mpsc::Sender<SessionRequest>,
        held: &[u64],
    ) -> Vec<SessionRequest> {
        let mut entries = self.lock();
        let held: HashSet<u64> = held.iter().copied().collect();
        let missing = entries.grants.iter().filter(|(it, _)| !held.contains(it));
        missing.for_each(|(_, it)| it.keeping.lose(Lost::Taken));
        entries.outgoing = Some(outgoing);
        let now = Instant::now();
        let again = entries.under_way.iter().map(|(id, it)| SessionRequest {
            id: *id,
            operation: Some(it.operation_at(now)),
        });
        let mut again: Vec<_> = again.collect();
        again.sort_unstable_by_key(|it| it.id);
        again
    }

    /// The stream is broken.
    pub(super) fn detach(&self) {
        self.lock().outgoing = None;
    }

    /// Waits until something is under way, but no longer than this. Dropping
    /// the future changes nothing.
    pub(super) async fn asked_within(&self, longest: Duration) {
        let asked = async {
            // A notice may be of something that was given up since.
            while self.lock().under_way.is_empty() {
                self.asked.notified().await;
            }
        };
        // Either will do.
        drop(timeout(longest, asked).await);
    }

    /// The session has ended: nothing is answered any more.
    pub(super) fn end(&self, lost: Lost) {
        let mut entries = self.lock();
        entries.ended.get_or_insert(lost);
        entries.outgoing = None;
        // Whoever waits is told that nobody will answer.
        entries.under_way.clear();
        entries.grants.clear();
    }

    /// Why nothing is answered any more.
    pub(super) fn ended_error(&self) -> Error {
        ended(self.lock().ended.unwrap_or(Lost::Unrenewed))
    }

    /// Hands an answer to whoever asked.
    pub(super) fn settle(&self, response: SessionResponse) {
        let Some(answered) = response.result else {
            return;
        };
        let mut entries = self.lock();
        if let Answered::Lost(lost) = answered {
            return entries.lose(lost.fencing_token);
        }
        let Some(request) = entries.under_way.remove(&response.id) else {
            return;
        };
        let answer = match answered {
            Answered::Failure(failure) => Err(Error::from_failure(failure)),
            answered => Ok(answered),
        };
        entries.hand_over(request.caller, answer);
        if entries.under_way.is_empty() {
            entries.lost_early.clear();
        }
    }

    /// The life of a grant whose answer was handed over.
    pub(super) fn life_of(&self, token: u64) -> Result<Life, Error> {
        let entries = self.lock();
        match (entries.grants.get(&token), entries.ended) {
            (Some(kept), _) => Ok(kept.keeping.life()),
            (None, Some(lost)) => Err(ended(lost)),
            (None, None) => Err(Error::lost(
                "the grant was given back by another guard of it".to_owned(),
            )),
        }
    }

    /// One less asks about a grant.
    pub(super) fn forget(&self, token: u64) {
        self.lock().forget(token);
    }

    /// A grant is given back: other guards of it are told.
    pub(super) fn give_back(&self, token: u64) {
        if let Some(kept) = self.lock().grants.remove(&token) {
            kept.keeping.lose(Lost::Taken);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing below panics half-way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Hands an answer over; a grant is entered first, so that no loss of it is
    /// missed.
    fn hand_over(
        &mut self,
        caller: oneshot::Sender<Result<Answered, Error>>,
        answer: Result<Answered, Error>,
    ) {
        let grant = match &answer {
            Ok(Answered::Acquire(acquired)) => acquired.grant.as_ref(),
            _ => None,
        };
        let token = grant.map(|grant| self.enter_grant(grant));
        if caller.send(answer).is_err()
            && let Some(token) = token
        {
            self.forget(token);
        }
    }

    fn enter_grant(&mut self, grant: &Grant) -> u64 {
        let token = grant.fencing_token;
        let kept = self.grants.entry(token).or_insert_with(|| Kept {
            keeping: life::begin_untimed(),
            guards: 0,
        });
        kept.guards += 1;
        if let Some(at) = self.lost_early.iter().position(|it| *it == token) {
            self.lost_early.remove(at);
            kept.keeping.lose(Lost::Taken);
        }
        token
    }

    fn forget(&mut self, token: u64) {
        if let Entry::Occupied(mut entry) = self.grants.entry(token) {
            entry.get_mut().guards -= 1;
            if entry.get().guards == 0 {
                entry.remove();
            }
        }
    }

    fn lose(&mut self, token: u64) {
        match self.grants.get(&token) {
            Some(kept) => kept.keeping.lose(Lost::Taken),
            // Its answer may still come.
            None if !self.under_way.is_empty() => {
                if self.lost_early.len() == LOST_EARLY_MAX {
                    self.lost_early.pop_front();
                }
                self.lost_early.push_back(token);
            }
            None => {}
        }
    }
}

impl Request {
    /// What to send at this time: a wait that began earlier is shorter now.
    fn operation_at(&self, now: Instant) -> Operation {
        let mut operation = self.operation.clone();
        if let Operation::Acquire(acquire) = &mut operation {
            let left = self.wait_ends.saturating_duration_since(now);
            acquire.wait = (!left.is_zero()).then(|| to_wire(left));
        }
        operation
    }
}

impl Awaited<'_> {
    /// Sends the request and waits for its answer.
    pub(super) async fn answer(mut self) -> Result<Answered, Error> {
        if let Some((request, outgoing)) = self.unsent.take() {
            // If that stream has broken, the next one sends it.
            drop(outgoing.send(request).await);
        }
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.table.ended_error()),
        }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let mut entries = self.table.lock();
        entries.under_way.remove(&self.id);
        // An answer that came too late to be seen.
        if let Ok(Ok(Answered::Acquire(acquired))) = self.answer.try_recv()
            && let Some(grant) = acquired.grant
        {
            entries.forget(grant.fencing_token);
        }
    }
}

fn ended(lost: Lost) -> Error {
    Error::lost(format!("nothing more is answered on the session: {lost}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockport_proto::lock::{AcquireRequest, AcquireResponse, LostGrant};

    fn lost(token: u64) -> SessionResponse {
        let lost = LostGrant {
            fencing_token: token,
            ..LostGrant::default()
        };
        SessionResponse {
            id: 0,
            result: Some(Answered::Lost(lost)),
        }
    }

    fn granted(id: u64, token: u64) -> SessionResponse {
        let grant = Some(Grant {
            fencing_token: token,
            ..Grant::default()
        });
        let answer = AcquireResponse {
            grant,
            ..AcquireResponse::default()
        };
        SessionResponse {
            id,
            result: Some(Answered::Acquire(answer)),
        }
    }

    fn acquire(table: &Table) -> Awaited<'_> {
        let operation = Operation::Acquire(AcquireRequest::default());
        table.enter(operation, Duration::ZERO).unwrap()
    }

    #[tokio::test]
    async fn losses_that_come_early_are_remembered_but_not_without_end() {
        let table = Table::default();
        let first = acquire(&table);
        let _waits = acquire(&table);
        for token in 1..=10 * LOST_EARLY_MAX as u64 {
            table.settle(lost(token));
        }
        let last = 10 * LOST_EARLY_MAX as u64;
        assert_eq!(table.lock().lost_early.len(), LOST_EARLY_MAX);
        table.settle(granted(1, last));
        first.answer().await.unwrap();
        assert_eq!(table.life_of(last).unwrap().fate(), Some(Lost::Taken));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_to_be_asked_waits_no_longer_than_it_may() {
        const LONGEST: Duration = Duration::from_secs(10);
        let table = Table::default();
        let start = Instant::now();
        drop(acquire(&table));
        table.asked_within(LONGEST).await;
        assert_eq!(start.elapsed(), LONGEST, "what was given up counts");
        let waiting = async {
            table.asked_within(LONGEST).await;
            start.elapsed()
        };
        let (waited, _asked) = tokio::join!(waiting, async { acquire(&table) });
        assert_eq!(waited, LONGEST, "it was not woken");
        let _under_way = acquire(&table);
        table.asked_within(LONGEST).await;
        assert_eq!(start.elapsed(), LONGEST, "something is under way");
    }

    #[tokio::test]
    async fn a_grant_is_kept_until_the_last_of_its_guards_is_gone() {
        let table = Table::default();
        for _ in 0..2 {
            let awaited = acquire(&table);
            table.settle(granted(awaited.id, 7));
            awaited.answer().await.unwrap();
        }
        table.forget(7);
        let life = table.life_of(7).unwrap();
        table.settle(lost(7));
        assert_eq!(life.fate(), Some(Lost::Taken));
        table.forget(7);
        assert!(table.life_of(7).unwrap_err().is_lost());
    }
}
