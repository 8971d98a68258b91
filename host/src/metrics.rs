//! Every metric there is: its name, its labels and what it means. No other
//! file names one.
//!
//! Some are counted where things happen: whoever counts holds a handle
//! ([`RouteMetrics`], [`TransactionMetrics`], [`ListenerMetrics`]) that was
//! looked up once, so a request costs additions and no look-up. The others are
//! [read](Sources) when somebody asks, from numbers that other parts keep
//! anyway.
//!
//! The values of labels are bounded: names of components, routes as their
//! manifests have them, and words that are written in the code. Nothing that a
//! client chooses becomes one.

mod families;
mod outbound;

use families::{Families, Named};
use lockport_engine::Engine;
use lockport_locks::LockApi;
use lockport_store::Store;
use outbound::OutboundVecs;
pub use outbound::{OutboundMetrics, OutboundOutcome};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::sync::Arc;
use std::time::Duration;

/// What a scrape is, as a media type.
pub const MEDIA_TYPE: &str = prometheus::TEXT_FORMAT;

/// What stands for a component or a route where there is none.
pub const NOWHERE: &str = "-";

const BUILD_INFO: Named = ("lockport_build_info", "Always 1; the labels say what runs.");

const REQUESTS: Named = (
    "lockport_requests_total",
    "Requests to components. The outcome is the handler's answer (success below 400, client_error, server_error), what the gateway said instead (refused below 500, failed), or abandoned by the client.",
);
const REQUEST_SECONDS: Named = (
    "lockport_request_duration_seconds",
    "Time from a request's head to its answer's, the commit included.",
);
const REFUSALS: Named = (
    "lockport_refusals_total",
    "Requests and calls between components that the gateway answered itself, by the reason it gave.",
);
const TRANSACTIONS: Named = (
    "lockport_transactions_total",
    "Transactions of requests: committed, discarded, or refused by the store and why.",
);
const RERUNS: Named = (
    "lockport_reruns_total",
    "How often a handler was run again because what it had read was not current any more.",
);

const OUTBOUND_CONNECTIONS: Named = (
    "lockport_outbound_connections",
    "Connections of components to the world outside that are open now.",
);
const OUTBOUND_LIMIT: Named = (
    "lockport_outbound_connections_limit",
    "How many connections to the world outside a component may have at once.",
);
const OUTBOUND_REQUESTS: Named = (
    "lockport_outbound_requests_total",
    "Requests of components to the world outside: answered, or why not (denied, limit, name, connect, tls, timeout, too_large, broken, abandoned).",
);
const OUTBOUND_CUT: Named = (
    "lockport_outbound_answers_cut_total",
    "Answers from outside that broke off behind their head, or were too large.",
);

const CONNECTIONS: Named = ("lockport_connections", "Connections that are open now.");
const ACCEPTED: Named = (
    "lockport_connections_accepted_total",
    "Connections that were accepted.",
);

const INSTANCES: Named = (
    "lockport_instances",
    "Instances of components: busy with a request, or idle.",
);
const INSTANCES_LIMIT: Named = (
    "lockport_instances_limit",
    "How many instances the node may have at once.",
);
const INSTANCES_QUEUED: Named = (
    "lockport_instance_requests_waiting",
    "Requests that wait for an instance now.",
);
const HANDLER_FAILURES: Named = (
    "lockport_handler_failures_total",
    "Requests and calls that a component gave no whole answer to: trap, deadline, no_response, overloaded, host.",
);

const LOCKS_HELD: Named = ("lockport_locks_held", "Grants that are held now.");
const LOCKS_WAITING: Named = (
    "lockport_locks_waiting",
    "Requests for locks that wait now.",
);
const LOCKS_GRANTED: Named = ("lockport_locks_granted_total", "Grants ever given.");
const LOCKS_CONTENDED: Named = (
    "lockport_locks_contended_total",
    "Requests that found a lock taken, whether they then waited or not.",
);
const LOCKS_REFUSED: Named = (
    "lockport_locks_refused_total",
    "Requests for locks that were granted nothing: held, timed_out, cancelled, deadlock, quota.",
);
const LOCKS_ENDED: Named = (
    "lockport_locks_ended_total",
    "Grants that ended: released, expired, or forced by an operator.",
);
const LOCKS_LOST: Named = (
    "lockport_locks_lost_total",
    "Holders that were told that their grant is lost.",
);
const LOCK_WAIT: Named = (
    "lockport_lock_wait_seconds",
    "How long was waited for grants that were not given at once.",
);
const LOCK_HOLD: Named = ("lockport_lock_hold_seconds", "How long grants were held.");
const GUARDED_REFUSED: Named = (
    "lockport_guarded_writes_refused_total",
    "Commits refused because a lock was lost (fenced) or never acquired (unguarded).",
);
const SESSIONS: Named = ("lockport_lock_sessions", "Sessions that are open now.");
const WATCHERS: Named = ("lockport_lock_watchers", "Watchers there are now.");

const API_REQUESTS: Named = (
    "lockport_lock_api_requests_total",
    "Requests to the lock API: OK, or the reason of the failure.",
);
const API_STREAMS: Named = (
    "lockport_lock_api_streams",
    "Streams of the lock API that are open now: of sessions and of watchers.",
);
// Named by the older contract, whose dashboards go on.
const COMPAT_LOCKED: Named = (
    "locked_total",
    "Locks taken through the older lock-manager contract.",
);
const COMPAT_UNLOCKED: Named = (
    "unlocked_total",
    "Locks given back through the older lock-manager contract.",
);

/// The upper bounds of request durations, in seconds: from a handler that only
/// reads memory to the deadline of a slow one.
const REQUEST_BOUNDS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    refusals: IntCounterVec,
    transactions: IntCounterVec,
    reruns: IntCounter,
    outbound: OutboundVecs,
    connections: IntGaugeVec,
    accepted: IntCounterVec,
}

/// What is read when somebody asks.
pub struct Sources {
    /// The node's store.
    pub store: Arc<dyn Store>,
    /// The node's engine.
    pub engine: Engine,
    /// The lock API, if it is served.
    pub locks: Option<LockApi>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Its handler answered below 400.
    Success,
    /// Its handler answered 4xx.
    ClientError,
    /// Its handler answered 5xx.
    ServerError,
    /// The gateway answered 4xx.
    Refused,
    /// The gateway answered 5xx.
    Failed,
    /// Its client went away.
    Abandoned,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// It was applied.
    Committed,
    /// Nobody wanted it applied.
    Discarded,
    /// What it had read has changed.
    Conflict,
    /// A guarded write was not covered.
    Unguarded,
    /// A lock was lost.
    Fenced,
    /// The store did not apply it, or did not say.
    Failed,
}

/// Counts the requests of one route.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    outcomes: [IntCounter; RequestOutcome::ALL.len()],
    seconds: Histogram,
}

/// Counts transactions.
#[derive(Clone, Debug)]
pub struct TransactionMetrics {
    ended: [IntCounter; TransactionOutcome::ALL.len()],
    reruns: IntCounter,
}

/// Counts the connections of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    open: IntGauge,
    accepted: IntCounter,
}

/// A connection that is counted as long as this lives.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Metrics {
    /// Nothing was counted yet.
    pub fn new() -> Self {
        let registry = Registry::new();
        let build = register(&registry, IntGaugeVec::new(opts(BUILD_INFO), &["version"]));
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let route = ["component", "route"];
        let seconds = HistogramOpts::new(REQUEST_SECONDS.0, REQUEST_SECONDS.1)
            .buckets(REQUEST_BOUNDS.to_vec());
        let counters =
            |named, labels: &[&str]| register(&registry, IntCounterVec::new(opts(named), labels));
        let metrics = Self {
            requests: counters(REQUESTS, &["component", "route", "outcome"]),
            request_seconds: register(&registry, HistogramVec::new(seconds, &route)),
            refusals: counters(REFUSALS, &["reason"]),
            transactions: counters(TRANSACTIONS, &["outcome"]),
            reruns: register(&registry, IntCounter::with_opts(opts(RERUNS))),
            outbound: OutboundVecs::new(&registry),
            connections: register(
                &registry,
                IntGaugeVec::new(opts(CONNECTIONS), &["listener"]),
            ),
            accepted: counters(ACCEPTED, &["listener"]),
            registry: registry.clone(),
        };
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("the names of metrics are distinct");
        metrics
    }

    /// The requests of a route of a component.
    pub fn route(&self, component: &str, route: &str) -> RouteMetrics {
        RouteMetrics {
            outcomes: RequestOutcome::ALL.map(|it| {
                self.requests
                    .with_label_values(&[component, route, it.word()])
            }),
            seconds: self.request_seconds.with_label_values(&[component, route]),
        }
    }

    /// The transactions of requests.
    pub fn transactions(&self) -> TransactionMetrics {
        let of = |it: TransactionOutcome| self.transactions.with_label_values(&[it.word()]);
        TransactionMetrics {
            ended: TransactionOutcome::ALL.map(of),
            reruns: self.reruns.clone(),
        }
    }

    /// The requests of a component to the world outside, which may have so many
    /// connections at once.
    pub fn outbound(&self, component: &str, connections: usize) -> OutboundMetrics {
        self.outbound.of(component, connections)
    }

    /// The connections of a listener.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            open: self.connections.with_label_values(&[name]),
            accepted: self.accepted.with_label_values(&[name]),
        }
    }

    /// A request or a call was refused for a reason.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Everything, in the text format of Prometheus.
    pub fn scrape(&self, sources: &Sources) -> String {
        let mut read = Families::default();
        read_locks(&mut read, &*sources.store);
        read_engine(&mut read, &sources.engine);
        if let Some(api) = &sources.locks {
            read_api(&mut read, api);
        }
        let families = read.beside(self.registry.gather());
        let encoded = TextEncoder::new().encode_to_string(&families);
        encoded.unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written");
            String::new()
        })
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

// === impl readings ===

fn read_locks(read: &mut Families, store: &dyn Store) {
    let now = store.statistics();
    read.gauge(LOCKS_HELD, now.held);
    read.gauge(LOCKS_WAITING, now.waiting);
    read.gauge(SESSIONS, now.sessions);
    read.gauge(WATCHERS, now.watchers);
    read.counter(LOCKS_GRANTED, now.granted);
    read.counter(LOCKS_CONTENDED, now.contended);
    read.counters(
        LOCKS_REFUSED,
        [
            ([("reason", "held")], now.refused),
            ([("reason", "timed_out")], now.timed_out),
            ([("reason", "cancelled")], now.cancelled),
            ([("reason", "deadlock")], now.deadlocks),
            ([("reason", "quota")], now.over_quota),
        ],
    );
    read.counters(
        LOCKS_ENDED,
        [
            ([("how", "released")], now.released),
            ([("how", "expired")], now.expired),
            ([("how", "forced")], now.forced),
        ],
    );
    read.counter(LOCKS_LOST, now.lost);
    read.counters(
        GUARDED_REFUSED,
        [
            ([("reason", "fenced")], now.fenced),
            ([("reason", "unguarded")], now.unguarded),
        ],
    );
    read.histogram(LOCK_WAIT, &now.wait);
    read.histogram(LOCK_HOLD, &now.hold);
}

fn read_engine(read: &mut Families, engine: &Engine) {
    let now = engine.statistics();
    read.gauge(INSTANCES_LIMIT, now.instances_max);
    let components = || now.components.iter();
    let instances = components().flat_map(|it| {
        let labels = |state| [("component", it.name.as_str()), ("state", state)];
        [(labels("busy"), it.busy), (labels("idle"), it.idle)]
    });
    read.gauges(INSTANCES, instances);
    let waiting = components().map(|it| ([("component", it.name.as_str())], it.waiting));
    read.gauges(INSTANCES_QUEUED, waiting);
    let failures = components().flat_map(|it| {
        it.failures
            .iter()
            .map(|(kind, count)| ([("component", it.name.as_str()), ("kind", *kind)], *count))
    });
    read.counters(HANDLER_FAILURES, failures);
}

fn read_api(read: &mut Families, api: &LockApi) {
    let now = api.statistics();
    let requests = now.requests.iter().map(|it| {
        let labels = [
            ("method", it.method),
            ("transport", it.transport),
            ("outcome", it.outcome),
        ];
        (labels, it.count)
    });
    read.counters(API_REQUESTS, requests);
    read.gauges(
        API_STREAMS,
        [
            ([("kind", "session")], now.sessions),
            ([("kind", "watch")], now.watches),
        ],
    );
    read.counter(COMPAT_LOCKED, now.compat_locked);
    read.counter(COMPAT_UNLOCKED, now.compat_unlocked);
}

// === impl handles ===

impl RouteMetrics {
    /// A request has ended.
    pub fn ended(&self, outcome: RequestOutcome, took: Duration) {
        self.outcomes[outcome as usize].inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

impl TransactionMetrics {
    /// A transaction has ended.
    pub fn ended(&self, outcome: TransactionOutcome) {
        self.ended[outcome as usize].inc();
    }

    /// One has begun again after a conflict: its handler is run again.
    pub fn began_again(&self) {
        self.reruns.inc();
    }
}

impl ListenerMetrics {
    /// Connections that nobody looks at.
    #[cfg(test)]
    pub fn unwatched() -> Self {
        Metrics::new().listener(NOWHERE)
    }

    /// A connection was accepted.
    pub fn accepted(&self) -> OpenConnection {
        self.accepted.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RequestOutcome {
    const ALL: [Self; 6] = [
        Self::Success,
        Self::ClientError,
        Self::ServerError,
        Self::Refused,
        Self::Failed,
        Self::Abandoned,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl TransactionOutcome {
    const ALL: [Self; 6] = [
        Self::Committed,
        Self::Discarded,
        Self::Conflict,
        Self::Unguarded,
        Self::Fenced,
        Self::Failed,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Discarded => "discarded",
            Self::Conflict => "conflict",
            Self::Unguarded => "unguarded",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
        }
    }
}

fn opts((name, help): Named) -> Opts {
    Opts::new(name, help)
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    // A test makes them all, so neither can fail anywhere else.
    let collector = collector.expect("the names of metrics are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("the names of metrics are distinct");
    collector
}

#[cfg(test)]
mod tests;
