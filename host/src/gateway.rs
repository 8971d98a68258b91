//! The front door: requests come in, handlers answer them.
//!
//! ```text
//!  listener -> dispatch -> rescue          an error becomes an answer
//!                 |
//!                 +- target, route          whose request is it   (pure)
//!                 +- headers, intake        what the handler sees of it
//!                 +- idempotency            whether it was answered before
//!                 +- locks                  what the route declares
//!                 +- engine                 an instance answers
//!                 |    +- calls -> ...      other components join in
//!                 +- commit                 when it counts
//!                 +- outgoing               what the client sees of it
//! ```
//!
//! One request is one transaction. [`dispatch`] opens it before anything can
//! be staged and ends it on every way out, so that what a request holds is
//! given back whether it succeeds, fails, panics or is abandoned.

pub mod calls;
pub mod commit;
pub mod dispatch;
pub mod ending;
pub mod headers;
pub mod idempotency;
pub mod identity;
pub mod intake;
pub mod locks;
pub mod outcome;
pub mod outgoing;
pub mod pattern;
pub mod rescue;
pub mod route;
pub mod target;

use crate::listener::Service;
use crate::metrics::{Metrics, NOWHERE, RouteMetrics, TransactionMetrics};
use crate::outbound::Door;
use http::{Request, Response};
use hyper::body::Incoming;
use idempotency::Answers;
use lockport_engine::{Component, LockPattern};
use lockport_store::Store;
use outgoing::Outgoing;
use pattern::{RouteLock, RouteSpec};
use route::{Clash, Router};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Routes requests to components and commits what they stage.
pub struct Gateway {
    routes: Router<Arc<Route>>,
    /// Every component by name, with its own routes: a call never reaches
    /// another component than the one it names.
    components: HashMap<Arc<str>, Callee>,
    store: Arc<dyn Store>,
    answers: Answers,
    metrics: Arc<Metrics>,
    /// Requests that have no route.
    nowhere: RouteMetrics,
    transactions: TransactionMetrics,
}

/// A loaded component, and what its manifest says of its requests.
pub struct Deployed {
    /// Its name.
    pub name: Arc<str>,
    /// Its code.
    pub component: Arc<Component>,
    /// Lock names it is granted.
    pub locks: Vec<LockPattern>,
    /// Components it may call.
    pub calls: Vec<String>,
    /// Whether its requests can conflict: it has collections, or calls others
    /// that may have some.
    pub may_conflict: bool,
    /// How long a request may take.
    pub deadline: Duration,
    /// The largest body of a request, in bytes.
    pub request_body: u64,
    /// The largest answer that is held until its commit, in bytes.
    pub response_held: u64,
    /// Its way to the world outside.
    pub outbound: Door,
}

/// One route of a component.
pub struct Route {
    /// Its path, as the manifest has it.
    path: Arc<str>,
    methods: pattern::Methods,
    lock: Option<RouteLock>,
    owner: Arc<Deployed>,
    metrics: RouteMetrics,
}

struct Callee {
    deployed: Arc<Deployed>,
    routes: Router<Arc<Route>>,
}

impl Gateway {
    /// A gateway to these components, which keeps answers to idempotency keys for
    /// so long. Refused if two of their routes would
    /// take the same requests.
    pub fn new(
        store: Arc<dyn Store>,
        keep: Duration,
        components: Vec<(Arc<Deployed>, Vec<RouteSpec>)>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Clash<Arc<Route>>> {
        let mut gateway = Self {
            routes: Router::new(),
            components: HashMap::new(),
            answers: Answers::new(store.clone(), keep),
            store,
            nowhere: metrics.route(NOWHERE, NOWHERE),
            transactions: metrics.transactions(),
            metrics,
        };
        for (deployed, specs) in components {
            let mut own = Router::new();
            for spec in specs {
                let route = Arc::new(Route {
                    path: spec.path.text().clone(),
                    methods: spec.methods,
                    lock: spec.lock,
                    owner: deployed.clone(),
                    metrics: gateway.metrics.route(&deployed.name, spec.path.text()),
                });
                own.add(spec.path.clone(), spec.methods, route.clone())?;
                gateway.routes.add(spec.path, spec.methods, route)?;
            }
            let callee = Callee {
                routes: own,
                deployed: deployed.clone(),
            };
            gateway.components.insert(deployed.name.clone(), callee);
        }
        Ok(gateway)
    }

    /// Removes what was kept for long enough, now and then, until it is dropped.
    pub async fn keep_swept(&self) {
        self.answers.keep_swept().await;
    }
}

impl Service for Arc<Gateway> {
    type Body = Outgoing<Incoming>;

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        self.handle(request)
    }
}

impl Route {
    /// The name of its component.
    pub fn owner(&self) -> &str {
        &self.owner.name
    }
}

impl Deployed {
    fn grants_lock(&self, name: &lockport_store::LockName) -> bool {
        self.locks.iter().any(|it| it.matches(name))
    }
}

impl fmt::Debug for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployed")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.path, self.owner.name)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("components", &self.components.keys())
            .finish_non_exhaustive()
    }
}
