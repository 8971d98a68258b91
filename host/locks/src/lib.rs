//! The server of the lock API.
//!
//! The operations exist once, in `service.rs`: they take a message and give a
//! message, or a `Failure`. What is around them only converts:
//!
//! ```text
//!   gRPC ---------- grpc.rs ----+
//!   gRPC stream --- session.rs -+                     +-- convert.rs
//!   JSON ---------- json.rs ----+--> service.rs ------+
//!   both, watching  watch.rs ---+         |           +-- access.rs
//!                                         v
//!   older contract  compat.rs ---> lockport_store::Store
//! ```
//!
//! `door.rs` is where requests come in: it finds out who calls, and who is to
//! answer.

mod access;
mod limits;
mod statistics;

mod compat;
mod door;
mod grpc;
mod health;
mod json;
mod session;
mod watch;

mod convert;
mod drain;
mod failure;
mod list;
mod patience;
mod percent;
mod service;

#[cfg(test)]
mod tests;

pub use access::{
    ANONYMOUS, Access, AccessError, Caller, LEGACY, PRINCIPAL_BYTES_MAX, SECRET_BYTES_MAX,
    SECRET_BYTES_MIN, Token, Unauthenticated,
};
pub use limits::Limits;
pub use lockport_store::LockPattern;
pub use statistics::{ApiStatistics, Requests};

use door::Door;
use lockport_store::Store;
use lockport_store::store::LEASE_MAX;
use service::Service;
use std::sync::Arc;
use std::time::Duration;

/// How the lock API is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may do what.
    pub access: Access,
    /// How the older contract is served; `None`: not at all.
    pub compat: Option<Compat>,
    /// How much is taken of one client.
    pub limits: Limits,
}

/// How the older contract is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compat {
    /// Whether it is served without a bearer token even where the rest asks for
    /// one.
    pub anonymous: bool,
    /// How long its locks are held unless they are given back.
    pub lease: Duration,
}

/// The lock API over one store. Cheap to clone.
#[derive(Clone)]
pub struct LockApi {
    service: Arc<Service>,
    door: Door,
}

impl LockApi {
    /// The lock API over `store`.
    pub fn new(store: Arc<dyn Store>, options: Options) -> Self {
        let service = Arc::new(Service::new(store, options.limits));
        let door = Door::new(&service, options);
        Self { service, door }
    }

    /// Everything that is served on the port: gRPC, JSON, the older contract,
    /// health and reflection. It needs HTTP/2 by prior knowledge for gRPC, and
    /// HTTP/1.1 or HTTP/2 for the rest.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().fallback_service(self.door.clone())
    }

    /// Says that the node is about to end: the health is not serving, waits end
    /// with `DRAINING`, and no new wait and no new session begins. Whoever holds
    /// something keeps it: sessions go on to beat and are attached again, and
    /// everything that is answered at once is answered. Cannot be taken back.
    pub fn drain(&self) {
        self.service.drain.begin();
    }

    /// Says that the node ends: the streams of sessions and watches end with
    /// `DRAINING`, and nothing new is acquired, attached or watched. Grants are
    /// still renewed and released, for as long as the port is served. Cannot be
    /// taken back.
    pub fn end(&self) {
        self.service.drain.end();
    }

    /// What was asked, how it was answered, and what is open.
    pub fn statistics(&self) -> ApiStatistics {
        self.service.counters.snapshot()
    }
}

impl Default for Compat {
    fn default() -> Self {
        Self {
            anonymous: true,
            lease: LEASE_MAX,
        }
    }
}
