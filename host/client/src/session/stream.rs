//! The stream of a session: opened, kept alive by beats, and replaced when it
//! breaks.
//!
//! ```text
//!            open                 broken, or a beat unanswered
//!   (none) --------> Attached -----------------------------> Detached
//!                     |    ^                                  |    |
//!               close |    +-- attached with the secret ------+    |
//!                     v                                            |
//!                   Ended <---- the deadline, or the server says so
//! ```
//!
//! A stream that is told that the session is attached elsewhere is as good as
//! broken: mostly the other one is this client's own, over a connection it has
//! given up. If it happens again before a lease has passed, somebody else has
//! the session's secret: it is left to them, or both would go on for ever.

use super::Shared;
use crate::backoff::Backoff;
use crate::calls::{from_wire, service, to_wire};
use crate::client::Client;
use crate::connection::Line;
use crate::error::Error;
use crate::life::{self, Keeping, Life, Lost};
use crate::options::SessionOptions;
use futures_util::Stream;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answered;
use lockport_proto::lock::{Beat, OpenSession, SessionOpened, SessionRequest, SessionResponse};
use lockport_proto::{Reason, random_id};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tonic::Streaming;

/// How many requests are queued on a stream at most; whoever has another waits.
const QUEUE: usize = 256;

/// The longest that a session whose stream broke stays away while nothing is
/// asked of it. When a server is started again all sessions have lost their
/// streams at once; those that are in no hurry come back one by one, by chance,
/// so that nobody else waits for them. Never longer than a third of what the
/// session has left to live; whatever is asked of it, or was, brings it back at
/// once.
pub const RETURN_MAX: Duration = Duration::from_secs(20);

/// Which part of what it has left to live a session stays away at most: there
/// has to be time for some more tries.
const RETURN_PART: u32 = 3;

/// The id of the first request of a stream.
const OPEN_ID: u64 = u64::MAX;

/// A session that was opened and whose task has not started.
pub(super) struct Opened {
    secret: String,
    lease: Duration,
    keeping: Keeping,
    life: Life,
    attached: Attached,
}

/// A stream that the session is attached to.
struct Attached {
    /// The connection that carries it.
    line: Line,
    /// When it was asked for.
    sent: Instant,
    /// Overtakes what is queued.
    urgent: mpsc::Sender<SessionRequest>,
    queue: mpsc::Sender<SessionRequest>,
    incoming: Streaming<SessionResponse>,
    /// The tokens of the grants the session held when it was attached.
    held: Vec<u64>,
}

/// What is sent: the urgent first.
struct Outgoing {
    urgent: mpsc::Receiver<SessionRequest>,
    queue: mpsc::Receiver<SessionRequest>,
}

/// Why a stream serves no more.
enum End {
    /// It broke.
    Broken(Error),
    /// The session has ended.
    Over(Lost),
}

/// Where its beats stand.
enum Pulse {
    /// The next one is sent then.
    Due(Instant),
    /// One was sent and is not acknowledged.
    Sent { id: u64, at: Instant },
}

/// Opens a session.
pub(super) async fn open(client: &Client, options: SessionOptions) -> Result<Opened, Error> {
    let request = OpenSession {
        ttl: options.ttl.map(to_wire),
        grace: options.grace.map(to_wire),
        session: String::new(),
        holder: options.holder.unwrap_or_default(),
        // The answer may be lost; then the next try finds what it has opened.
        request_id: random_id(),
    };
    let mut tries = client.tries();
    let (opened, attached) = loop {
        let began = Instant::now();
        match attach(client, request.clone(), client.request_timeout()).await {
            Ok(done) => break done,
            Err(error) if error.outcome_unknown() => {
                if !tries.again(began, Duration::ZERO).await {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    };
    let [ttl, grace] = [opened.ttl, opened.grace].map(|it| it.as_ref().map(from_wire));
    let (Some(ttl), Some(grace)) = (ttl, grace) else {
        return Err(Error::nonsense("a session without its times"));
    };
    let lease = ttl.min(grace);
    let (keeping, life) = life::begin(life::deadline(attached.sent, lease));
    Ok(Opened {
        secret: opened.session,
        lease,
        keeping,
        life,
        attached,
    })
}

/// Opens a stream and attaches a session to it.
async fn attach(
    client: &Client,
    open: OpenSession,
    within: Duration,
) -> Result<(SessionOpened, Attached), Error> {
    let connection = client.connection();
    let line = connection.line();
    let (urgent, urgent_receiver) = mpsc::channel(1);
    let (queue, queue_receiver) = mpsc::channel(QUEUE);
    let outgoing = Outgoing {
        urgent: urgent_receiver,
        queue: queue_receiver,
    };
    let sent = Instant::now();
    let request = SessionRequest {
        id: OPEN_ID,
        operation: Some(Operation::Open(open)),
    };
    // The channel was made for one at least.
    drop(urgent.try_send(request));
    let mut service = service(line.channel.clone());
    let opening = async {
        let answer = service.session(connection.request(outgoing)).await?;
        let mut incoming = answer.into_inner();
        let first = incoming.message().await?;
        Ok((first, incoming))
    };
    let (first, incoming) = match timeout(within, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(Error::from_status(connection.server(), status)),
        Err(_) => {
            connection.give_up(&line, sent);
            return Err(Error::no_answer(connection.server(), within));
        }
    };
    let mut attached = Attached {
        line,
        sent,
        urgent,
        queue,
        incoming,
        held: Vec::new(),
    };
    match first.and_then(|it| it.result) {
        Some(Answered::Opened(mut opened)) => {
            attached.held = std::mem::take(&mut opened.fencing_tokens);
            Ok((opened, attached))
        }
        Some(Answered::Failure(failure)) => Err(Error::from_failure(failure)),
        _ => Err(Error::nonsense("a session that is not opened")),
    }
}

// === impl Opened ===

impl Opened {
    pub(super) fn life(&self) -> Life {
        self.life.clone()
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Serves the session until it has ended.
    pub(super) async fn run(self, shared: Arc<Shared>) {
        let Self {
            secret,
            keeping,
            mut attached,
            ..
        } = self;
        let mut elsewhere: Option<Instant> = None;
        let lost = loop {
            let again = shared.table.attach(attached.queue.clone(), &attached.held);
            if !again.is_empty() {
                // By itself: answers have to be read meanwhile.
                shared
                    .client
                    .in_background(send_again(attached.queue.clone(), again));
            }
            let end = attached.serve(&shared, &keeping).await;
            shared.table.detach();
            match end {
                End::Over(lost) => break lost,
                End::Broken(error) => {
                    tracing::debug!(%error, "a session's stream broke");
                    if error.reason == Some(Reason::Elsewhere) {
                        let before = elsewhere.replace(Instant::now());
                        if before.is_some_and(|at| at.elapsed() < shared.lease) {
                            break Lost::Elsewhere;
                        }
                        sleep(Backoff::new().pause()).await;
                    } else {
                        shared.table.asked_within(return_within(&keeping)).await;
                    }
                }
            }
            match attach_again(&shared, &keeping, &secret).await {
                Ok(other) => attached = other,
                Err(lost) => break lost,
            }
        };
        tracing::debug!(%lost, "a session has ended");
        keeping.lose(lost);
        shared.table.end(lost);
    }
}

async fn send_again(queue: mpsc::Sender<SessionRequest>, requests: Vec<SessionRequest>) {
    for request in requests {
        if queue.send(request).await.is_err() {
            return;
        }
    }
}

/// Attaches the session to another stream, within its deadline.
async fn attach_again(shared: &Shared, keeping: &Keeping, secret: &str) -> Result<Attached, Lost> {
    let request = OpenSession {
        session: secret.to_owned(),
        ..OpenSession::default()
    };
    let patience = life::beat_patience(shared.lease);
    let mut backoff = Backoff::new();
    let attaching = async {
        loop {
            match attach(&shared.client, request.clone(), patience).await {
                Ok((_, attached)) => return Ok(attached),
                Err(error) if ends_session(&error) => return Err(Lost::SessionEnded),
                Err(error) => {
                    tracing::debug!(%error, "a session could not be attached and is tried again");
                    sleep(backoff.pause()).await;
                    shared.table.asked_within(return_within(keeping)).await;
                }
            }
        }
    };
    let attached = match timeout_at(keeping.until(), attaching).await {
        Ok(attached) => attached?,
        Err(_) => return Err(Lost::Unrenewed),
    };
    // It was attached, so it lives from when that was asked for.
    keeping.extend(life::deadline(attached.sent, shared.lease));
    Ok(attached)
}

/// How long a session that nobody asks anything stays away, by chance: see
/// [`RETURN_MAX`].
fn return_within(keeping: &Keeping) -> Duration {
    let left = keeping.until().saturating_duration_since(Instant::now());
    (left / RETURN_PART)
        .min(RETURN_MAX)
        .mul_f64(rand::random::<f64>())
}

/// Whether it is no use to attach the session again.
fn ends_session(error: &Error) -> bool {
    error.is_lost() || error.reason == Some(Reason::NotHolder)
}

// === impl Attached ===

impl Attached {
    /// Hands out answers and beats until the stream breaks or the session ends.
    async fn serve(&mut self, shared: &Shared, keeping: &Keeping) -> End {
        let beat = life::beat(shared.lease);
        let patience = life::beat_patience(shared.lease);
        let mut pulse = Pulse::Due(self.sent + beat);
        let mut alarm = pin!(sleep_until(pulse.alarm(patience).min(keeping.until())));
        loop {
            let message = select! {
                biased;
                () = &mut alarm => {
                    if let Some(end) = self.wake(&mut pulse, patience, shared, keeping) {
                        return end;
                    }
                    alarm.as_mut().reset(pulse.alarm(patience).min(keeping.until()));
                    continue;
                }
                message = self.incoming.message() => message,
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return End::Broken(Error::nonsense("the stream has just ended")),
                Err(status) => {
                    let server = shared.client.connection().server();
                    let error = Error::from_status(server, status);
                    return match ends_session(&error) {
                        true => End::Over(Lost::SessionEnded),
                        false => End::Broken(error),
                    };
                }
            };
            match (&pulse, &response.result) {
                (Pulse::Sent { id, at }, Some(Answered::Beat(_))) if *id == response.id => {
                    keeping.extend(life::deadline(*at, shared.lease));
                    pulse = Pulse::Due(*at + beat);
                    alarm
                        .as_mut()
                        .reset(pulse.alarm(patience).min(keeping.until()));
                }
                (_, Some(Answered::Closed(_))) => {
                    shared.table.settle(response);
                    return End::Over(Lost::Closed);
                }
                _ => shared.table.settle(response),
            }
        }
    }

    /// Something is due.
    fn wake(
        &self,
        pulse: &mut Pulse,
        patience: Duration,
        shared: &Shared,
        keeping: &Keeping,
    ) -> Option<End> {
        let now = Instant::now();
        if now >= keeping.until() {
            return Some(End::Over(Lost::Unrenewed));
        }
        if now < pulse.alarm(patience) {
            return None;
        }
        let connection = shared.client.connection();
        let silent = || Error::no_answer(connection.server(), patience);
        match pulse {
            Pulse::Due(_) => {
                let id = shared.table.next_id();
                let request = SessionRequest {
                    id,
                    operation: Some(Operation::Beat(Beat {})),
                };
                // If even the open has not gone out, nothing does.
                if self.urgent.try_send(request).is_err() {
                    return Some(End::Broken(silent()));
                }
                *pulse = Pulse::Sent { id, at: now };
                None
            }
            Pulse::Sent { at, .. } => {
                connection.give_up(&self.line, *at);
                Some(End::Broken(silent()))
            }
        }
    }
}

impl Pulse {
    /// When something has to be done about it.
    fn alarm(&self, patience: Duration) -> Instant {
        match self {
            Self::Due(at) => *at,
            Self::Sent { at, .. } => *at + patience,
        }
    }
}

impl Stream for Outgoing {
    type Item = SessionRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        match self.urgent.poll_recv(cx) {
            Poll::Ready(Some(request)) => Poll::Ready(Some(request)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.queue.poll_recv(cx),
        }
    }
}

#[cfg(test)]
mod tests;
