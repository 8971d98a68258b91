//! Requests of components to the world outside.
//!
//! ```text
//!   guest -> engine -> gateway/calls -> Door::send
//!                                         |  grant: scheme, host, port
//!                                         |  pool, or connection: address, TLS, HTTP
//!                                         v
//!                                       server
//! ```
//!
//! Nothing is reachable but what the manifest grants, and what counts is the
//! address at the other end of the socket, however it was found. A request that
//! is not granted looks like one to a component that is not: neither says
//! whether there is anything.
//!
//! A [`Door`] is one component's: its grants, its limits and its connections,
//! none of which it shares with another. Redirects are the guest's to follow.

mod address;
mod body;
mod connection;
pub mod grant;
mod pool;
mod resolve;
#[cfg(test)]
mod tests;
mod trust;

pub use resolve::{Resolve, System};
pub use trust::{TrustError, trusting};

use crate::metrics::{OutboundMetrics, OutboundOutcome};
use body::{AnswerBody, Lease};
use connection::{Connection, Held, Unanswered, Way};
use grant::{Destination, OutboundGrant, Permission};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use lockport_engine::{Body, CallRefused, Fault};
use pool::Pool;
use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What a component may use of the world outside.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, those that wait for another request among them.
    /// Default 64. A request that needs one more is refused.
    pub connections: usize,
    /// The body of one answer, in bytes. Default 32 MiB. It is not kept, but
    /// goes to the guest as the guest reads it.
    pub body: u64,
    /// The head of one answer, in bytes. Default 16 KiB.
    pub head: u32,
    /// How long a connection may take: name, TCP and TLS. Default 5 s.
    pub connect: Duration,
}

/// What all components of a node have in common.
#[derive(Clone)]
pub struct World {
    /// How names are resolved.
    pub resolver: Arc<dyn Resolve>,
    /// Whose word is taken for who a server is; needed by grants of `https`.
    pub trust: Option<Arc<ClientConfig>>,
}

/// The way of one component to the world outside. Dropping it closes the
/// connections that wait.
pub struct Door {
    grants: Vec<OutboundGrant>,
    limits: Limits,
    world: World,
    pool: Arc<Pool>,
    connections: Arc<Semaphore>,
    metrics: OutboundMetrics,
}

/// A request that is counted, once it is known how it ended.
struct Counted<'d> {
    metrics: &'d OutboundMetrics,
    outcome: OutboundOutcome,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            body: 32 << 20,
            head: 16 << 10,
            connect: Duration::from_secs(5),
        }
    }
}

impl Door {
    /// The way of a component that is granted this.
    pub fn new(
        grants: Vec<OutboundGrant>,
        limits: Limits,
        world: World,
        metrics: OutboundMetrics,
    ) -> Self {
        let permits = limits.connections.min(Semaphore::MAX_PERMITS);
        Self {
            grants,
            connections: Arc::new(Semaphore::new(permits)),
            limits,
            world,
            pool: Arc::default(),
            metrics,
        }
    }

    /// Sends a request, whose headers are as they may leave the node, and waits
    /// for the head of its answer, until `deadline` at most; then the body of
    /// the answer ends, too. `connect` is how long the guest allows for a
    /// connection, if it says. `leave` is called before anything can be noticed
    /// outside, and not at all for what is not granted.
    ///
    /// Dropping the future, or the answer's body before its end, closes the
    /// connection.
    pub async fn send(
        &self,
        request: Request<Body>,
        connect: Option<Duration>,
        deadline: std::time::Instant,
        leave: impl FnOnce(),
    ) -> Result<Response<Body>, CallRefused> {
        let mut counted = Counted {
            metrics: &self.metrics,
            outcome: OutboundOutcome::Abandoned,
        };
        let sent = self.ask(request, connect, deadline.into(), leave);
        let sent = match tokio::time::timeout_at(deadline.into(), sent).await {
            Ok(sent) => sent,
            Err(_) => Err(Fault::Deadline.into()),
        };
        counted.outcome = OutboundOutcome::of(&sent);
        sent
    }

    async fn ask(
        &self,
        mut request: Request<Body>,
        connect: Option<Duration>,
        deadline: Instant,
        leave: impl FnOnce(),
    ) -> Result<Response<Body>, CallRefused> {
        let (to, permission) = self.admit(&mut request)?;
        leave();
        let limit = connect.map_or(self.limits.connect, |it| it.min(self.limits.connect));
        let way = Way {
            to: &to,
            permission,
            resolver: &*self.world.resolver,
            trust: self.world.trust.as_ref(),
            head_max: self.limits.head,
            until: connection::until(limit, deadline),
        };
        let (connection, response) = self.exchange(request, &way, deadline).await?;
        let lease = Lease {
            connection,
            pool: self.pool.clone(),
            to,
        };
        self.take_in(response, lease)
    }

    /// Whether a request may go where it wants to. Brings its head into the
    /// form in which it is sent.
    fn admit(&self, request: &mut Request<Body>) -> Result<(Destination, Permission), CallRefused> {
        let to = Destination::of(request.uri()).ok_or(CallRefused::Denied)?;
        let permission = grant::permission(&self.grants, &to).ok_or(CallRefused::Denied)?;
        // It would make a tunnel of the connection.
        if request.method() == Method::CONNECT {
            return Err(Fault::Method.into());
        }
        // Anything else could be taken for a target of its own.
        if !request.uri().path().starts_with('/') {
            return Err(Fault::Target.into());
        }
        let host = HeaderValue::from_str(&to.authority()).map_err(|_| Fault::Target)?;
        request.headers_mut().insert(HOST, host);
        Ok((to, permission))
    }

    /// Sends a request on a connection that waits or a new one. One that waits
    /// may have been closed meanwhile: then nothing was sent, and it goes to
    /// the next.
    async fn exchange(
        &self,
        mut request: Request<Body>,
        way: &Way<'_>,
        deadline: Instant,
    ) -> Result<(Connection, Response<Incoming>), CallRefused> {
        loop {
            let waiting = self.pool.take(way.to, deadline).await;
            let is_new = waiting.is_none();
            let mut connection = match waiting {
                Some(connection) => connection,
                None => self.connect(way).await?,
            };
            connection.ends_at(deadline);
            match connection.send(request, self.limits.head).await {
                Ok(response) => return Ok((connection, response)),
                Err(Unanswered {
                    unsent: Some(unsent),
                    ..
                }) if !is_new => request = *unsent,
                Err(Unanswered { fault, .. }) => return Err(fault.into()),
            }
        }
    }

    async fn connect(&self, way: &Way<'_>) -> Result<Connection, CallRefused> {
        let permit = match self.connections.clone().try_acquire_owned() {
            Ok(permit) => permit,
            // One that only waits makes room, which takes a moment.
            Err(_) if self.pool.let_go() => {
                let permit = self.connections.clone().acquire_owned();
                let permit = tokio::time::timeout_at(way.until, permit).await;
                let permit = permit.map_err(|_| Fault::Connections)?;
                permit.map_err(|_| Fault::Connections)?
            }
            Err(_) => return Err(Fault::Connections.into()),
        };
        let open = self.metrics.opened();
        Connection::open(way, Held { permit, open }).await
    }

    /// The answer as the guest will see it.
    fn take_in(
        &self,
        response: Response<Incoming>,
        lease: Lease,
    ) -> Result<Response<Body>, CallRefused> {
        let (head, incoming) = response.into_parts();
        // Nobody asked for another protocol.
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Protocol.into());
        }
        if size_of(&head.headers) > self.limits.head as usize {
            let limit = self.limits.head;
            return Err(Fault::HeadTooLarge { limit }.into());
        }
        // What it announces is all that is known yet.
        if incoming.size_hint().lower() > self.limits.body {
            let limit = self.limits.body;
            return Err(Fault::BodyTooLarge { limit }.into());
        }
        let body = AnswerBody::new(incoming, self.limits.body, lease, self.metrics.clone());
        let body = body.map_err(Into::into).boxed_unsync();
        Ok(Response::from_parts(head, body))
    }
}

/// The size of header fields as HTTP/2 counts it, in bytes.
fn size_of(headers: &HeaderMap) -> usize {
    /// What a field counts beside its name and its value (RFC 9113, 6.5.2).
    const FIELD: usize = 32;
    let fields = headers.iter();
    fields
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD)
        .sum()
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.ended(self.outcome);
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}
