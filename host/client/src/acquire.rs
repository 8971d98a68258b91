//! Acquiring: what is asked for, asked again until there is an answer, and
//! given up when nobody waits for it any more.

use crate::calls::{from_wire, to_wire};
use crate::client::Client;
use crate::error::Error;
use crate::guard::Guard;
use crate::life;
use crate::session::Session;
use crate::via::Via;
use lockport_proto::lock::{AcquireRequest, AcquireResponse, CancelRequest, Grant, Mode};
use lockport_proto::{Reason, random_id};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// An acquire that has not been sent: await it to get a [`Guard`].
///
/// Exclusive, without a wait, for 30 s, unless it is told otherwise. Dropping
/// the future gives up the wait on the server, or gives back what was granted.
#[must_use = "nothing is acquired unless it is awaited"]
#[derive(Clone, Debug)]
pub struct Acquire {
    via: Via,
    request: AcquireRequest,
    wait: Duration,
    lease: Option<Duration>,
    /// Whether the caller chose the request's id; known once it is prepared.
    is_named: bool,
}

/// A grant, and when the request was sent that it lasts from.
struct Obtained {
    grant: Grant,
    waited: Option<Duration>,
    sent: Instant,
}

/// Cancels a request when it is dropped, unless it was settled.
struct Unsettled<'a> {
    acquire: &'a Acquire,
    settled: bool,
}

/// The lease of a grant of a call, unless it is told otherwise.
const LEASE: Duration = Duration::from_secs(30);

impl Acquire {
    pub(crate) fn over_calls(client: Client, names: Vec<String>) -> Self {
        Self::new(Via::Calls(client), names)
    }

    pub(crate) fn over_session(session: Session, names: Vec<String>) -> Self {
        Self::new(Via::Session(session), names)
    }

    fn new(via: Via, names: Vec<String>) -> Self {
        Self {
            via,
            request: AcquireRequest {
                names,
                ..AcquireRequest::default()
            },
            wait: Duration::ZERO,
            lease: None,
            is_named: false,
        }
    }

    /// Together with any number of others that say the same.
    pub fn shared(mut self) -> Self {
        self.request.set_mode(Mode::Shared);
        self
    }

    /// Together with others, as many as there are permits. All must say the
    /// same number.
    pub fn permits(mut self, permits: u32) -> Self {
        self.request.set_mode(Mode::Permits);
        self.request.permits = permits;
        self
    }

    /// Waits for so long, up to 1 h.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long the grant lasts unless it is renewed: 100 ms to 24 h. Refused
    /// for a session's, which lasts as long as the session does.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Whose waits are looked at together for deadlocks; at most 256 bytes.
    /// Unless it is named, each request is its own owner, on a session too: its
    /// tasks wait for each other as for anybody else, and a cycle ends by the
    /// wait.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.request.owner = owner.into();
        self
    }

    /// Who asks, in words for an operator; at most 256 bytes.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.request.holder = holder.into();
        self
    }

    /// Names the request, so that another process can repeat it and get the
    /// same grant; at most 256 bytes, chosen at random. Without it one is
    /// minted.
    ///
    /// An error whose outcome is unknown leaves a request that was named as it
    /// is, for whoever repeats it or cancels it: a cancel of ours could come
    /// behind the repetition. One that was not is cancelled.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request.request_id = id.into();
        self
    }

    /// Acquires, and leaves the grant to the caller, who renews and releases
    /// it by its id. One that was waited for has just been renewed.
    pub async fn unguarded(self) -> Result<AcquireResponse, Error> {
        let acquire = self.prepared();
        let mut unsettled = Unsettled::new(&acquire);
        let obtained = acquire.obtain().await;
        unsettled.settle(&obtained);
        let Obtained { grant, waited, .. } = obtained?;
        if let Via::Session(session) = &acquire.via {
            session.forget(grant.fencing_token);
        }
        Ok(AcquireResponse {
            grant: Some(grant),
            waited: waited.as_ref().copied().map(to_wire),
        })
    }

    async fn guarded(self) -> Result<Guard, Error> {
        let acquire = self.prepared();
        let mut unsettled = Unsettled::new(&acquire);
        let obtained = acquire.obtain().await;
        unsettled.settle(&obtained);
        let Obtained { grant, sent, .. } = obtained?;
        match &acquire.via {
            Via::Calls(client) => {
                let remaining = grant.remaining.as_ref().map_or(Duration::ZERO, from_wire);
                let lease = acquire.lease.unwrap_or(LEASE);
                Ok(Guard::of_call(
                    client.clone(),
                    grant,
                    sent,
                    lease,
                    remaining,
                ))
            }
            Via::Session(session) => Guard::of_session(session.clone(), grant),
        }
    }

    /// What is sent each time: with an id, and with the lease that is kept.
    fn prepared(mut self) -> Self {
        self.is_named = !self.request.request_id.is_empty();
        if !self.is_named {
            self.request.request_id = random_id();
        }
        match self.via {
            Via::Calls(_) => drop(self.lease.get_or_insert(LEASE)),
            // Else the session would be the owner, and two of its tasks that
            // want the same lock would look like a deadlock.
            Via::Session(_) if self.request.owner.is_empty() => {
                self.request.owner.clone_from(&self.request.request_id);
            }
            Via::Session(_) => {}
        }
        self.request.lease = self.lease.map(to_wire);
        self
    }

    /// Asks until there is an answer. A grant that was long in coming is
    /// renewed once, so that its holder has most of its lease.
    async fn obtain(&self) -> Result<Obtained, Error> {
        let (sent, answer) = self.ask().await?;
        let grant = answer.grant.ok_or_else(|| Error::nonsense("no grant"))?;
        let waited = answer.waited.as_ref().map(from_wire);
        let obtained = Obtained {
            grant,
            waited,
            sent,
        };
        match &self.via {
            Via::Calls(client) => {
                obtained
                    .freshened(client, self.lease.unwrap_or(LEASE))
                    .await
            }
            Via::Session(_) => Ok(obtained),
        }
    }

    async fn ask(&self) -> Result<(Instant, AcquireResponse), Error> {
        let end = Instant::now().checked_add(self.wait);
        let mut tries = self.via.client().tries();
        loop {
            let sent = Instant::now();
            let left = end.map_or(self.wait, |end| end.saturating_duration_since(sent));
            match self.ask_once(left).await {
                Ok(answer) => return Ok((sent, answer)),
                Err(error) if error.outcome_unknown() => {
                    if !tries.again(sent, left).await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error.after_waiting(self.wait)),
            }
        }
    }

    async fn ask_once(&self, wait: Duration) -> Result<AcquireResponse, Error> {
        let mut message = self.request.clone();
        message.wait = (!wait.is_zero()).then(|| to_wire(wait));
        self.via.ask_once(message, wait).await
    }

    /// Cancels the request, for as long as it takes within patience.
    fn cancel_in_background(&self) {
        let via = self.via.clone();
        let request_id = self.request.request_id.clone();
        self.via.client().in_background(async move {
            let cancelled = via.ask(CancelRequest { request_id }).await;
            if let Err(error) = cancelled {
                // What was granted runs out by itself.
                tracing::debug!(%error, "a request that was given up could not be cancelled");
            }
        });
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Guard, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.guarded())
    }
}

// === impl Obtained ===

impl Obtained {
    /// Renews the grant if it was waited for, or if much of its lease has
    /// passed on the way.
    async fn freshened(mut self, client: &Client, lease: Duration) -> Result<Self, Error> {
        let remaining = self.grant.remaining.as_ref().map_or(lease, from_wire);
        let waited = self.waited.is_some_and(|it| !it.is_zero());
        let late =
            Instant::now() + lease - life::beat(lease) > life::deadline(self.sent, remaining);
        if waited || late {
            self.sent = Instant::now();
            self.grant = client.renew(&self.grant.id, Some(lease)).await?;
        }
        Ok(self)
    }
}

// === impl Unsettled ===

impl<'a> Unsettled<'a> {
    fn new(acquire: &'a Acquire) -> Self {
        Self {
            acquire,
            settled: false,
        }
    }

    /// The request has an answer that leaves nothing behind on the server, or
    /// nothing that is ours to take away.
    fn settle(&mut self, outcome: &Result<Obtained, Error>) {
        self.settled = match outcome {
            Ok(_) => true,
            // The caller's to settle.
            Err(_) if self.acquire.is_named => true,
            // A server that failed on the way may have granted it.
            Err(error) => {
                error.reason.is_some_and(|it| it != Reason::Internal) && !error.outcome_unknown()
            }
        };
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.acquire.cancel_in_background();
        }
    }
}
