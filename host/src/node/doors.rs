//! The sockets of a node: bound together, served together, closed in order.
//!
//! ```text
//!   told to stop
//!        |  readiness says so         (admin, still served)
//!        |  waits for locks end       (lock, still served)
//!        v
//!   http: no new connections, what is under way ends
//!        |
//!        v
//!   lock: sessions and watches end, no new connections
//!        |
//!        v
//!   admin: ends
//! ```
//!
//! Who waits for an answer of a component may hold a lock meanwhile, or the
//! session that keeps it: those are renewed until the last answer is out. The
//! administrators' listener is the last to close, so that whoever looks sees a
//! node that ends, and not one that has vanished.

use super::StartError;
use crate::admin::Admin;
use crate::config::NodeConfig;
use crate::gateway::Gateway;
use crate::listener::{Listener, Options, Patience, Ping};
use crate::metrics::Metrics;
use crate::shutdown::{self, Phase, Shutdown, Trigger};
use lockport_locks::LockApi;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The sockets of a node, bound but not served yet.
pub(super) struct Doors {
    http: Listener,
    lock: Option<Listener>,
    admin: Option<Listener>,
}

/// What is served behind them.
pub(super) struct Services {
    pub(super) gateway: Arc<Gateway>,
    pub(super) locks: LockApi,
    pub(super) admin: Admin,
}

/// How long requests of the lock API may take once those of components have
/// ended. None of them waits by then.
const LOCK_DRAIN: Duration = Duration::from_secs(2);

/// How long administrators' requests may take once everything else has ended.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

impl Doors {
    /// Binds every socket that `config` asks for.
    pub(super) async fn bind(config: &NodeConfig, metrics: &Metrics) -> Result<Self, StartError> {
        let listen = &config.listen;
        let limits = &config.limits;
        let options = |name, streams, drain| Options {
            connections: limits.connections,
            headers: limits.headers,
            header_bytes: limits.header_bytes,
            streams,
            ping: Ping::default(),
            patience: Patience {
                header: limits.header_timeout,
                idle: limits.idle_timeout,
                write: limits.write_timeout,
            },
            drain,
            metrics: metrics.listener(name),
        };
        let http = options("http", limits.streams, limits.drain);
        let lock = options("lock", config.locks.streams, LOCK_DRAIN);
        let admin = options("admin", limits.streams, ADMIN_DRAIN);
        Ok(Self {
            http: bind(listen.http, "--http", http).await?,
            lock: match listen.lock {
                Some(address) => Some(bind(address, "--lock", lock).await?),
                None => None,
            },
            admin: match listen.admin {
                Some(address) => Some(bind(address, "--admin", admin).await?),
                None => None,
            },
        })
    }

    /// Where each of them is, by its key in `[listen]`.
    pub(super) fn addresses(&self) -> BTreeMap<&'static str, SocketAddr> {
        let lock = self.lock.as_ref().map(|it| ("lock", it.address()));
        let admin = self.admin.as_ref().map(|it| ("admin", it.address()));
        let http = ("http", self.http.address());
        [Some(http), lock, admin].into_iter().flatten().collect()
    }

    /// Serves until `shutdown` says to stop and everything has ended.
    pub(super) async fn serve(self, services: Services, shutdown: Shutdown) {
        let Services {
            gateway,
            locks,
            admin,
        } = services;
        let (lock_end, lock_shutdown) = shutdown::channel();
        let (admin_end, admin_shutdown) = shutdown::channel();
        let lock = tokio::spawn(serve_if(self.lock, locks.router(), lock_shutdown));
        let admin = tokio::spawn(serve_if(self.admin, admin.router(), admin_shutdown));
        let http = self.http.serve(gateway, shutdown.clone());
        tokio::join!(http, end_waits(&locks, shutdown.clone()));
        locks.end();
        end(lock, "lock", &shutdown, &lock_end).await;
        tracing::info!("every request has ended");
        end(admin, "admin", &shutdown, &admin_end).await;
    }
}

/// Ends the waits of the lock API as soon as the node drains: a wait may last
/// longer than a node has time for.
async fn end_waits(locks: &LockApi, mut shutdown: Shutdown) {
    shutdown.reached(Phase::Draining).await;
    locks.drain();
}

/// Ends a listener.
async fn end(mut served: JoinHandle<()>, name: &str, shutdown: &Shutdown, end: &Trigger) {
    end.advance(Phase::Draining);
    let mut shutdown = shutdown.clone();
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = shutdown.reached(Phase::Aborting) => {
            end.advance(Phase::Aborting);
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::error!(%error, listener = name, "a listener failed");
    }
}

async fn bind(
    address: SocketAddr,
    flag: &'static str,
    options: Options,
) -> Result<Listener, StartError> {
    let bound = Listener::bind(address, options).await;
    bound.map_err(|source| StartError::Bind {
        address,
        flag,
        source,
    })
}

async fn serve_if(listener: Option<Listener>, router: axum::Router, shutdown: Shutdown) {
    if let Some(listener) = listener {
        listener.serve(router, shutdown).await;
    }
}
