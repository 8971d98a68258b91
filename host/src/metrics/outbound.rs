//! What components ask of the world outside, counted.

use super::{
    OUTBOUND_CONNECTIONS, OUTBOUND_CUT, OUTBOUND_LIMIT, OUTBOUND_REQUESTS, OpenConnection, opts,
    register,
};
use lockport_engine::{CallRefused, Fault};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

/// How a request to the world outside ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundOutcome {
    /// The server answered.
    Answered,
    /// It is not granted, or no request.
    Denied,
    /// The component has as many connections as it may.
    Limit,
    /// The server's name leads nowhere.
    Name,
    /// The server does not take the connection.
    Connect,
    /// The server cannot prove who it is, or speaks no TLS.
    Tls,
    /// Something did not come in time.
    Timeout,
    /// The answer is too large.
    TooLarge,
    /// The connection broke off, or what came is not HTTP.
    Broken,
    /// Nobody waited for the answer any more.
    Abandoned,
}

/// Counts what one component asks of the world outside.
#[derive(Clone, Debug)]
pub struct OutboundMetrics {
    open: IntGauge,
    outcomes: [IntCounter; OutboundOutcome::ALL.len()],
    cut: IntCounter,
}

/// The metrics of all components.
pub(super) struct OutboundVecs {
    open: IntGaugeVec,
    limit: IntGaugeVec,
    outcomes: IntCounterVec,
    cut: IntCounterVec,
}

impl OutboundVecs {
    pub(super) fn new(registry: &Registry) -> Self {
        let component = ["component"];
        let gauges = |named| register(registry, IntGaugeVec::new(opts(named), &component));
        let counters =
            |named, labels: &[&str]| register(registry, IntCounterVec::new(opts(named), labels));
        Self {
            open: gauges(OUTBOUND_CONNECTIONS),
            limit: gauges(OUTBOUND_LIMIT),
            outcomes: counters(OUTBOUND_REQUESTS, &["component", "outcome"]),
            cut: counters(OUTBOUND_CUT, &component),
        }
    }

    pub(super) fn of(&self, component: &str, connections: usize) -> OutboundMetrics {
        let limit = i64::try_from(connections).unwrap_or(i64::MAX);
        self.limit.with_label_values(&[component]).set(limit);
        OutboundMetrics {
            open: self.open.with_label_values(&[component]),
            outcomes: OutboundOutcome::ALL
                .map(|it| self.outcomes.with_label_values(&[component, it.word()])),
            cut: self.cut.with_label_values(&[component]),
        }
    }
}

impl OutboundMetrics {
    /// A request has ended, or the head of its answer is there.
    pub fn ended(&self, outcome: OutboundOutcome) {
        self.outcomes[outcome as usize].inc();
    }

    /// A connection is opened; it counts until what is returned is dropped.
    pub fn opened(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// An answer broke off behind its head.
    pub fn cut(&self) {
        self.cut.inc();
    }

    /// How many connections are open now.
    #[cfg(test)]
    pub fn open(&self) -> i64 {
        self.open.get()
    }

    /// How many requests ended so.
    #[cfg(test)]
    pub fn count(&self, outcome: OutboundOutcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }
}

impl OutboundOutcome {
    const ALL: [Self; 10] = [
        Self::Answered,
        Self::Denied,
        Self::Limit,
        Self::Name,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::TooLarge,
        Self::Broken,
        Self::Abandoned,
    ];

    /// How a request ended that was answered so.
    pub fn of<T>(answer: &Result<T, CallRefused>) -> Self {
        match answer {
            Ok(_) => Self::Answered,
            Err(CallRefused::Denied) => Self::Denied,
            Err(CallRefused::Closed) => Self::Abandoned,
            Err(CallRefused::TooLarge { .. }) => Self::TooLarge,
            Err(CallRefused::Failed(_)) => Self::Broken,
            Err(CallRefused::Fault(fault)) => match fault {
                Fault::Target | Fault::Method => Self::Denied,
                Fault::Connections => Self::Limit,
                Fault::Name => Self::Name,
                Fault::Refused | Fault::Unreachable => Self::Connect,
                Fault::Certificate | Fault::Tls => Self::Tls,
                Fault::NameTimeout
                | Fault::ConnectTimeout
                | Fault::ReadTimeout
                | Fault::Deadline => Self::Timeout,
                Fault::HeadTooLarge { .. } | Fault::BodyTooLarge { .. } => Self::TooLarge,
                Fault::Terminated | Fault::Protocol | Fault::Incomplete => Self::Broken,
            },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Name => "name",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::Abandoned => "abandoned",
        }
    }
}
