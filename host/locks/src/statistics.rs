//! Counters of what was asked and how it was answered.
//!
//! One number per method, transport and outcome, in one flat table: counting
//! is one addition.

use crate::failure::Failure;
use lockport_proto::Reason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was asked of the lock API since the node started, and what is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiStatistics {
    /// How many requests ended how; only those that there were.
    pub requests: Vec<Requests>,
    /// Sessions' streams that are open now.
    pub sessions: u64,
    /// Watchers' streams that are open now, those on a session's stream too.
    pub watches: u64,
    /// Locks taken through the older contract.
    pub compat_locked: u64,
    /// Locks given back through the older contract.
    pub compat_unlocked: u64,
}

/// How many requests of one kind there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Of which method: `acquire`.
    pub method: &'static str,
    /// How they came: `grpc`, `json`, `session` or `compat`.
    pub transport: &'static str,
    /// How they ended: `OK`, `ABANDONED` by the client before there was an
    /// answer, or the reason of a failure.
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

macro_rules! labels {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $kind { $($variant,)+ }

        impl $kind {
            const ALL: &[Self] = &[$(Self::$variant,)+];

            const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

labels! {
    /// What is asked. A session's stream counts once it has ended.
    Method {
        Acquire = "acquire",
        Cancel = "cancel",
        Renew = "renew",
        Release = "release",
        Get = "get",
        List = "list",
        ForceRelease = "force_release",
        Watch = "watch",
        Session = "session",
        Open = "open",
        Beat = "beat",
        Close = "close",
        Lock = "lock",
        Unlock = "unlock",
        Other = "other",
    }
}

labels! {
    /// How it is asked.
    Transport {
        Grpc = "grpc",
        Json = "json",
        Session = "session",
        Compat = "compat",
    }
}

impl Method {
    /// Whether asking for it changes nothing.
    pub(crate) const fn only_looks(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// How many outcomes there are: success, to be given up, and each reason.
const OUTCOMES: usize = 2 + Reason::ALL.len();
const OK: usize = 0;
const ABANDONED: usize = 1;

/// The counters.
pub(crate) struct Counters {
    requests: Box<[AtomicU64]>,
    pub(crate) sessions: Arc<AtomicU64>,
    pub(crate) watches: Arc<AtomicU64>,
    pub(crate) compat_locked: AtomicU64,
    pub(crate) compat_unlocked: AtomicU64,
}

/// A request that was asked. It is counted when this is dropped: as abandoned
/// unless it was answered.
pub(crate) struct Asked<'a> {
    outcomes: &'a [AtomicU64],
    outcome: usize,
}

/// Something that is open as long as this lives.
pub(crate) struct Open(Arc<AtomicU64>);

impl Counters {
    pub(crate) fn new() -> Self {
        let cells = Method::ALL.len() * Transport::ALL.len() * OUTCOMES;
        Self {
            requests: (0..cells).map(|_| AtomicU64::new(0)).collect(),
            sessions: Arc::default(),
            watches: Arc::default(),
            compat_locked: AtomicU64::new(0),
            compat_unlocked: AtomicU64::new(0),
        }
    }

    /// One more request.
    pub(crate) fn ask(&self, method: Method, transport: Transport) -> Asked<'_> {
        let row = method as usize * Transport::ALL.len() + transport as usize;
        Asked {
            outcomes: &self.requests[row * OUTCOMES..][..OUTCOMES],
            outcome: ABANDONED,
        }
    }

    pub(crate) fn snapshot(&self) -> ApiStatistics {
        let mut requests = Vec::new();
        for (at, cell) in self.requests.iter().enumerate() {
            let count = cell.load(Ordering::Relaxed);
            if count == 0 {
                continue;
            }
            let (row, outcome) = (at / OUTCOMES, at % OUTCOMES);
            requests.push(Requests {
                method: Method::ALL[row / Transport::ALL.len()].name(),
                transport: Transport::ALL[row % Transport::ALL.len()].name(),
                outcome: match outcome {
                    OK => "OK",
                    ABANDONED => "ABANDONED",
                    reason => Reason::ALL[reason - 2].name(),
                },
                count,
            });
        }
        ApiStatistics {
            requests,
            sessions: self.sessions.load(Ordering::Relaxed),
            watches: self.watches.load(Ordering::Relaxed),
            compat_locked: self.compat_locked.load(Ordering::Relaxed),
            compat_unlocked: self.compat_unlocked.load(Ordering::Relaxed),
        }
    }
}

impl Asked<'_> {
    /// This is how it ends.
    pub(crate) fn answered<T>(mut self, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.outcome = match &answer {
            Ok(_) => OK,
            Err(failure) => 2 + failure.reason as usize,
        };
        answer
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.outcomes[self.outcome].fetch_add(1, Ordering::Relaxed);
    }
}

impl Open {
    pub(crate) fn new(gauge: &Arc<AtomicU64>) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(gauge))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_the_table_is_one_of_its_own() {
        let counters = Counters::new();
        for method in Method::ALL {
            for transport in Transport::ALL {
                let ask = || counters.ask(*method, *transport);
                drop(ask());
                ask().answered(Ok(())).unwrap();
                for reason in Reason::ALL {
                    ask()
                        .answered::<()>(Err(Failure::new(*reason, "")))
                        .unwrap_err();
                }
            }
        }
        let requests = counters.snapshot().requests;
        assert_eq!(requests.len(), counters.requests.len());
        assert!(requests.iter().all(|it| it.count == 1));
        let last = requests.last().unwrap();
        assert_eq!(
            (last.method, last.transport, last.outcome),
            ("other", "compat", Reason::Internal.name())
        );
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let counters = Counters::new();
        let open = Open::new(&counters.sessions);
        assert_eq!(counters.snapshot().sessions, 1);
        drop(open);
        assert_eq!(counters.snapshot().sessions, 0);
    }
}
