//! Accepts connections until it is told to stop, then lets them finish.

use super::Gateway;
use super::connection::{Connection, Patience};
use crate::shutdown::{Phase, Shutdown};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What one client, and all of them, may ask of a listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at once. More wait in the system's queue.
    pub connections: usize,
    /// Header fields of one request.
    pub headers: usize,
    /// Request line and headers of one request, in bytes.
    pub header_bytes: usize,
    /// How patient it is with slow clients.
    pub patience: Patience,
    /// How long connections may take to finish once it was told to stop.
    pub drain: Duration,
}

/// A socket that is bound but not served yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    options: Options,
}

/// The wait after a failed accept, doubled for each that follows at once. Such
/// errors, no file descriptor left say, last until something is closed.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

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
    /// ended, the time for that is over, or `shutdown` says to abort.
    pub async fn serve(self, gateway: Arc<Gateway>, mut shutdown: Shutdown) {
        let connection = Arc::new(Connection::new(gateway, &self.options));
        let mut connections = JoinSet::new();
        let drain_limit = self.options.drain;
        let mut backoff = BACKOFF_MIN;
        loop {
            let full = connections.len() >= self.options.connections;
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Draining) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.socket.accept(), if !full => match accepted {
                    Ok((stream, _)) => {
                        backoff = BACKOFF_MIN;
                        let serve = connection.clone().serve(stream, shutdown.clone());
                        connections.spawn(serve);
                    }
                    Err(error) if is_about_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, ?backoff, "cannot accept a connection");
                        tokio::time::sleep(backoff).await;
                        backoff = (backoff * 2).min(BACKOFF_MAX);
                    }
                },
            }
        }
        for stream in self.take_waiting(connections.len()) {
            let serve = connection.clone().serve(stream, shutdown.clone());
            connections.spawn(serve);
        }
        drain(connections, drain_limit, shutdown).await;
    }
}

impl Listener {
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

/// Waits for the connections that are left, within reason.
async fn drain(mut connections: JoinSet<()>, limit: Duration, mut shutdown: Shutdown) {
    let all_ended = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all_ended => return,
        () = tokio::time::sleep(limit) => {}
        () = shutdown.reached(Phase::Aborting) => {}
    }
    tracing::warn!(
        connections = connections.len(),
        "connections are cut that did not finish in time"
    );
    connections.shutdown().await;
}

/// Whether an accept failed for a reason that went away with its connection.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Small answers go out at once.
pub(super) fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off delayed sending");
    }
}

#[cfg(test)]
mod tests;
