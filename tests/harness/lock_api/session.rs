//! Asking on a session's stream, many at a time.

use super::{Answered, Ask, LockApi, Refused, Speaks, Told};
use crate::harness::BOUND;
use futures_util::stream::poll_fn;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Outcome;
use lockport_proto::lock::watch_response::Item;
use lockport_proto::lock::{
    Beat, CloseSession, Event, LostGrant, OpenSession, SessionOpened, SessionRequest,
    SessionResponse, WatchRequest,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tonic::{Code, Status, Streaming};

/// How many requests may wait to be sent: more than any test asks at once.
const ASKED_MAX: usize = 20_000;

/// A session that was opened or attached.
pub(crate) type Opened = SessionOpened;

/// The stream of a session. It does not beat by itself. Dropping it ends the
/// stream and closes nothing.
pub(crate) struct SessionStream {
    requests: mpsc::Sender<SessionRequest>,
    next_id: AtomicU64,
    answers: Arc<Answers>,
}

/// What has come, and who waits for it.
#[derive(Default)]
struct Answers {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    askers: HashMap<u64, Sender<Outcome>>,
    lost: Vec<LostGrant>,
    /// How the stream ended: without a status if it just did.
    end: Option<Option<Status>>,
}

/// A watch on a session's stream.
pub(crate) struct WatchingOnStream(Pending);

/// An answer that may not have come yet.
pub(crate) struct Pending(Receiver<Outcome>);

impl SessionStream {
    pub(super) fn open(api: &LockApi, open: OpenSession) -> Answered<(Self, Opened)> {
        let (requests, mut receiver) = mpsc::channel(ASKED_MAX);
        let answers = Arc::new(Answers::default());
        let stream = Self {
            requests,
            next_id: AtomicU64::new(1),
            answers: Arc::clone(&answers),
        };
        let opened = stream.send(Operation::Open(open));
        let outgoing = poll_fn(move |context| receiver.poll_recv(context));
        let mut client = LockServiceClient::new(api.channel());
        let begin = client.session(api.request(outgoing));
        let incoming = super::wait_for("a session's stream", begin)
            .map_err(|status| Refused::of_status(&status))?;
        super::runtime().spawn(Answers::collect(answers, incoming.into_inner()));
        match opened.0.recv_timeout(BOUND) {
            Ok(Outcome::Opened(opened)) => Ok((stream, opened)),
            Ok(Outcome::Failure(failure)) => Err(Refused::of_failure(&failure)),
            Ok(other) => panic!("an open was answered {other:?}"),
            Err(RecvTimeoutError::Timeout) => panic!("a session was not opened in {BOUND:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = stream.wait_for_end().expect("it ended with a status");
                Err(Refused::of_status(&status))
            }
        }
    }

    /// Asks, and does not wait for the answer.
    pub(crate) fn send(&self, operation: Operation) -> Pending {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send_as(id, operation)
    }

    /// The same, with an id of the test's choice.
    pub(crate) fn send_as(&self, id: u64, operation: Operation) -> Pending {
        let (sender, receiver) = channel();
        let mut state = self.answers.lock();
        // On a stream that has ended nobody will answer.
        if state.end.is_none() {
            state.askers.insert(id, sender);
        }
        drop(state);
        let operation = Some(operation);
        let sent = self.requests.try_send(SessionRequest { id, operation });
        // A stream that has ended takes nothing more, which the asker is told.
        assert!(
            !matches!(sent, Err(TrySendError::Full(_))),
            "{ASKED_MAX} wait"
        );
        Pending(receiver)
    }

    /// Keeps the session alive.
    pub(crate) fn beat(&self) -> Answered<()> {
        match self.send(Operation::Beat(Beat {})).outcome()? {
            Outcome::Beat(_) => Ok(()),
            other => panic!("a beat was answered {other:?}"),
        }
    }

    /// Begins to watch.
    pub(crate) fn watch(&self, request: WatchRequest) -> WatchingOnStream {
        WatchingOnStream(self.send(Operation::Watch(request)))
    }

    /// Ends the session; returns when the stream has ended too.
    #[track_caller]
    pub(crate) fn close(self) {
        let outcome = self.send(Operation::Close(CloseSession {})).outcome();
        assert!(matches!(outcome, Ok(Outcome::Closed(_))), "{outcome:?}");
        let end = self.wait_for_end();
        assert!(end.is_none(), "after `close` the stream ended with {end:?}");
    }

    /// Waits for the stream to end: with a status unless all is well.
    #[track_caller]
    pub(crate) fn wait_for_end(&self) -> Option<Status> {
        let (state, timeout) = self
            .answers
            .ended
            .wait_timeout_while(self.answers.lock(), BOUND, |state| state.end.is_none())
            .expect("no holder of this mutex panics");
        assert!(!timeout.timed_out(), "the stream did not end in {BOUND:?}");
        state.end.clone().flatten()
    }

    /// The grants that the server said were lost.
    pub(crate) fn lost(&self) -> Vec<LostGrant> {
        self.answers.lock().lost.clone()
    }
}

impl Speaks for SessionStream {
    fn ask(&self, ask: Ask) -> Answered {
        let operation = match ask {
            Ask::Acquire(message) => Operation::Acquire(message),
            Ask::Cancel(message) => Operation::Cancel(message),
            Ask::Renew(message) => Operation::Renew(message),
            Ask::Release(message) => Operation::Release(message),
            Ask::Get(message) => Operation::Get(message),
            Ask::List(message) => Operation::List(message),
            Ask::ForceRelease(message) => Operation::ForceRelease(message),
        };
        self.send(operation).answer()
    }
}

// === impl Pending ===

impl Pending {
    /// Waits for the answer.
    #[track_caller]
    pub(crate) fn answer(self) -> Answered {
        Ok(match self.outcome()? {
            Outcome::Acquire(told) => Told::Acquire(told),
            Outcome::Cancel(told) => Told::Cancel(told),
            Outcome::Renew(told) => Told::Renew(told),
            Outcome::Release(told) => Told::Release(told),
            Outcome::Get(told) => Told::Get(told),
            Outcome::List(told) => Told::List(told),
            Outcome::ForceRelease(told) => Told::ForceRelease(told),
            other => panic!("an operation was answered {other:?}"),
        })
    }

    /// Waits for the answer, as it travelled.
    #[track_caller]
    fn outcome(self) -> Answered<Outcome> {
        match self.0.recv_timeout(BOUND) {
            Ok(Outcome::Failure(failure)) => Err(Refused::of_failure(&failure)),
            Ok(outcome) => Ok(outcome),
            Err(RecvTimeoutError::Timeout) => panic!("no answer on the stream in {BOUND:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the stream ended before the answer"),
        }
    }
}

impl WatchingOnStream {
    /// The next message.
    #[track_caller]
    pub(crate) fn next(&self) -> Item {
        match self.0.0.recv_timeout(BOUND) {
            Ok(Outcome::Watch(message)) => message.item.expect("it says something"),
            other => panic!("a watch on a stream was answered {other:?}"),
        }
    }

    /// The next event.
    #[track_caller]
    pub(crate) fn next_event(&self) -> Event {
        loop {
            match self.next() {
                Item::Event(event) => return event,
                Item::Progress(_) => {}
                gap @ Item::Gap(_) => panic!("instead of an event: {gap:?}"),
            }
        }
    }
}

// === impl Answers ===

impl Answers {
    /// Hands on what comes, until the stream ends.
    async fn collect(self: Arc<Self>, mut incoming: Streaming<SessionResponse>) {
        let end = loop {
            match incoming.message().await {
                Ok(Some(response)) => self.hand_on(response),
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        let mut state = self.lock();
        state.end = Some(end);
        state.askers.clear();
        self.ended.notify_all();
    }

    fn hand_on(&self, SessionResponse { id, result }: SessionResponse) {
        let mut state = self.lock();
        match result.expect("a response says something") {
            Outcome::Lost(lost) => {
                assert_eq!(id, 0, "nobody asked for `lost`");
                state.lost.push(lost);
            }
            other => {
                let is_last = !matches!(other, Outcome::Watch(_));
                let asker = state.askers.get(&id).cloned();
                let asker = asker.unwrap_or_else(|| panic!("nobody asked {id}: {other:?}"));
                if is_last {
                    state.askers.remove(&id);
                }
                // The asker may have gone.
                let _ = asker.send(other);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this mutex panics")
    }
}

impl Refused {
    /// Of a failure on a session's stream.
    fn of_failure(failure: &lockport_proto::lock::Failure) -> Self {
        Self {
            code: Some(Code::from(failure.code)),
            status: None,
            reason: failure.reason.clone(),
            message: failure.message.clone(),
        }
    }
}
