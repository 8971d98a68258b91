//! What is under way on a session, and the grants that hang on it.

use crate::calls::to_wire;
use crate::error::Error;
use crate::life::{self, Keeping, Life, Lost};
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answered;
use lockport_proto::lock::{Grant, SessionRequest, SessionResponse};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What is under way, and the grants.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Where requests go, while there is a stream.
    outgoing: Option<mpsc::Sender<SessionRequest>>,
    last_id: u64,
    under_way: HashMap<u64, Request>,
    /// By fencing token.
    grants: HashMap<u64, Keeping>,
    /// Tokens that were lost before their grant was heard of.
    lost_early: HashSet<u64>,
    ended: Option<Lost>,
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
        missing.for_each(|(_, keeping)| keeping.lose(Lost::Taken));
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
        match entries.grants.get(&token) {
            Some(keeping) => Ok(keeping.life()),
            None => Err(ended(entries.ended.unwrap_or(Lost::Taken))),
        }
    }

    /// Nobody asks about a grant any more.
    pub(super) fn forget(&self, token: u64) {
        self.lock().grants.remove(&token);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing below panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.grants.remove(&token);
        }
    }

    fn enter_grant(&mut self, grant: &Grant) -> u64 {
        let token = grant.fencing_token;
        let keeping = life::begin_untimed();
        if self.lost_early.remove(&token) {
            keeping.lose(Lost::Taken);
        }
        self.grants.insert(token, keeping);
        token
    }

    fn lose(&mut self, token: u64) {
        match self.grants.get(&token) {
            Some(keeping) => keeping.lose(Lost::Taken),
            // Its answer may still come.
            None if !self.under_way.is_empty() => drop(self.lost_early.insert(token)),
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
            entries.grants.remove(&grant.fencing_token);
        }
    }
}

fn ended(lost: Lost) -> Error {
    Error::lost(format!("the session has ended: {lost}"))
}
