//! Accepts connections until it is told to stop, then lets them finish.
//!
//! Every socket of a node is a [`Listener`]: the one for components, the lock
//! API's and the administrators'. They differ in the [`Service`] they are
//! given and in nothing else, so each of them speaks HTTP/1.1 and HTTP/2, has
//! the same limits, and ends in the same way.
//!
//! ```text
//!   listener --accepts--> connection --+-- preface     which protocol
//!                                      +-- progress    how slow a client may be
//!                                      +-- service     who answers
//! ```

mod connection;
mod preface;
mod progress;
mod service;

pub use progress::Patience;
pub use service::{BodyError, Service};

use crate::metrics::ListenerMetrics;
use crate::shutdown::{Phase, Shutdown};
use connection::Connection;
use progress::Alive;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What one client, and all of them, may ask of a listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at once. More wait in the system's queue.
    pub connections: usize,
    /// Header fields of one request of HTTP/1. On HTTP/2 there may be as many
    /// as fit into `header_bytes`, each counted with 32 bytes more than it has.
    pub headers: usize,
    /// Request line and headers of one request, in bytes.
    pub header_bytes: usize,
    /// Requests at once on one connection of HTTP/2. A client has to wait with
    /// more.
    pub streams: u32,
    /// How a peer that has silently gone is noticed.
    pub ping: Ping,
    /// How patient it is with slow clients.
    pub patience: Patience,
    /// How long connections may take to finish once it was told to stop.
    pub drain: Duration,
    /// Counts its connections.
    pub metrics: ListenerMetrics,
}

/// How a peer that has silently gone is noticed: on HTTP/2 by pings, and on
/// every connection by the system, which also sees that nothing it sent is
/// acknowledged.
#[derive(Clone, Debug)]
pub struct Ping {
    /// How often a quiet connection is asked whether anybody is there. Default
    /// 20 s.
    pub every: Duration,
    /// How long the answer may take before the connection is cut. Default
    /// 20 s.
    pub timeout: Duration,
}

/// A socket that is bound but not served yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    options: Options,
}

/// The connections of a listener.
struct Connections<S> {
    open: JoinSet<()>,
    connection: Arc<Connection<S>>,
    metrics: ListenerMetrics,
    shutdown: Shutdown,
    alive: Alive,
    /// Ends when nothing of any connection is left.
    gone: mpsc::Receiver<Infallible>,
}

/// The wait after a failed accept, doubled for each that follows at once. Such
/// errors, no file descriptor left say, last until something is closed.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long requests are waited for whose connections were cut. They end by
/// being dropped, at the latest when they next give way.
const CUT_GRACE: Duration = Duration::from_secs(1);

impl Default for Ping {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Binds the socket.
    pub async fn bind(address: SocketAddr, options: Options) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            options,
        })
    }

    /// The address it is bound to, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` says to drain, then until every connection has
    /// ended, the time for that is over, or `shutdown` says to abort. When it
    /// returns, no request is at work any more.
    pub async fn serve(self, service: impl Service, mut shutdown: Shutdown) {
        let connection = Connection::new(service, &self.options);
        let metrics = self.options.metrics.clone();
        let mut connections = Connections::new(connection, metrics, shutdown.clone());
        let mut backoff = BACKOFF_MIN;
        loop {
            let full = connections.open.len() >= self.options.connections;
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Draining) => break,
                // What ends may be what an accept failed for the lack of.
                Some(_) = connections.open.join_next() => {}
                stream = self.accept(&mut backoff), if !full => connections.add(stream),
            }
        }
        let drain = self.options.drain;
        for stream in self.take_waiting(connections.open.len()) {
            connections.add(stream);
        }
        connections.drain(drain).await;
    }

    /// The next connection. Dropping the future misses none, and gives up the
    /// wait after a failure.
    async fn accept(&self, backoff: &mut Duration) -> TcpStream {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    *backoff = BACKOFF_MIN;
                    return stream;
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    let pause = *backoff;
                    *backoff = (pause * 2).min(BACKOFF_MAX);
                    tracing::warn!(%error, ?pause, "cannot accept a connection");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Closes the socket and takes the connections that wait in the system's
    /// queue, as far as there is room beside `open` others: who has connected
    /// already is served, and nobody else can queue up for a node that is
    /// about to end.
    fn take_waiting(self, open: usize) -> Vec<TcpStream> {
        let room = self.options.connections.saturating_sub(open);
        // Asked of the system itself: the runtime may not have heard of them.
        let Ok(socket) = self.socket.into_std() else {
            return Vec::new();
        };
        let accept = || socket.accept().ok().map(|(stream, _)| stream);
        std::iter::from_fn(accept)
            .take(room)
            .filter_map(|stream| {
                stream.set_nonblocking(true).ok()?;
                TcpStream::from_std(stream).ok()
            })
            .collect()
    }
}

/// Whether an accept failed for a reason that went away with its connection.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

// === impl Connections ===

impl<S: Service> Connections<S> {
    fn new(connection: Connection<S>, metrics: ListenerMetrics, shutdown: Shutdown) -> Self {
        let (alive, gone) = mpsc::channel(1);
        Self {
            open: JoinSet::new(),
            connection: Arc::new(connection),
            metrics,
            shutdown,
            alive,
            gone,
        }
    }

    fn add(&mut self, stream: TcpStream) {
        let (shutdown, alive) = (self.shutdown.clone(), self.alive.clone());
        let serve = self.connection.clone().serve(stream, shutdown, alive);
        let open = self.metrics.accepted();
        self.open.spawn(async move {
            serve.await;
            drop(open);
        });
    }

    /// Waits for the connections that are left, within reason, and then for
    /// what their requests leave behind.
    async fn drain(mut self, limit: Duration) {
        let all_ended = async { while self.open.join_next().await.is_some() {} };
        let ended = tokio::select! {
            () = all_ended => true,
            () = tokio::time::sleep(limit) => false,
            () = self.shutdown.reached(Phase::Aborting) => false,
        };
        if !ended {
            tracing::warn!(
                connections = self.open.len(),
                "connections are cut that did not finish in time"
            );
            self.open.shutdown().await;
        }
        drop(self.alive);
        // Requests of HTTP/2 are tasks, which end a moment after their
        // connection.
        let gone = tokio::time::timeout(CUT_GRACE, self.gone.recv()).await;
        if gone.is_err() {
            tracing::warn!("requests are left behind that did not end in time");
        }
    }
}

#[cfg(test)]
mod tests;
