//! What is asked, and why it is refused: the rows of the table.

use super::stage::Stage;
use super::{assert_refused, force, release, renew};
use crate::harness::{Ask, Speaks, acquire, acquire_waiting, millis};
use lockport_proto::Duration;
use lockport_proto::lock::{
    AcquireRequest, CancelRequest, GetRequest, ListRequest, Mode, RenewRequest,
};

/// What is asked by a principal that may lock everything, and why it is
/// refused.
pub(super) struct Row {
    pub(super) what: &'static str,
    reason: &'static str,
    ask: fn(&Stage) -> Ask,
}

const fn row(what: &'static str, reason: &'static str, ask: fn(&Stage) -> Ask) -> Row {
    Row { what, reason, ask }
}

/// What anybody can ask.
pub(super) const ROWS: &[Row] = &[
    row("held", "HELD", |_| Ask::Acquire(acquire(["held"]))),
    row("one of two is held", "HELD", |_| {
        Ask::Acquire(acquire(["free", "held"]))
    }),
    row("held by oneself", "HELD", |_| {
        Ask::Acquire(acquire(["mine"]))
    }),
    row("held by a reader", "HELD", |_| {
        Ask::Acquire(acquire(["read"]))
    }),
    row("not free in time", "TIMED_OUT", |_| {
        Ask::Acquire(AcquireRequest {
            wait: millis(50),
            ..acquire(["held"])
        })
    }),
    row("two owners wait for each other", "DEADLOCK", |_| {
        Ask::Acquire(AcquireRequest {
            owner: "one".to_owned(),
            ..acquire_waiting(["cycle/2"])
        })
    }),
    row("its id was cancelled", "CANCELLED", |_| {
        Ask::Acquire(AcquireRequest {
            request_id: "cancelled".to_owned(),
            ..acquire(["free"])
        })
    }),
    row("its id has ended", "LOST", |_| {
        Ask::Acquire(AcquireRequest {
            request_id: "ended".to_owned(),
            ..acquire(["ended"])
        })
    }),
    row("renewed after its end", "LOST", |stage| {
        renew(&stage.ended.id)
    }),
    row("renewed by another", "NOT_HOLDER", |stage| {
        renew(&stage.held.id)
    }),
    row("released by another", "NOT_HOLDER", |stage| {
        release(&stage.held.id)
    }),
    row("renewed, and never given", "UNKNOWN_GRANT", |stage| {
        renew(&stage.never_given)
    }),
    row("released, and never given", "UNKNOWN_GRANT", |stage| {
        release(&stage.never_given)
    }),
    row("no grant's text", "UNKNOWN_GRANT", |_| renew("{\u{e9}}")),
    row("force is for operators", "ACCESS_DENIED", |_| {
        force("held", "why")
    }),
    row("no name", "INVALID_NAME", |_| {
        Ask::Acquire(AcquireRequest::default())
    }),
    row("an empty name", "INVALID_NAME", |_| {
        Ask::Acquire(acquire(["free", ""]))
    }),
    row("too many names", "INVALID_NAME", |_| {
        Ask::Acquire(acquire((0..65).map(|n| format!("free/{n}"))))
    }),
    row("no such mode", "INVALID_MODE", |_| {
        Ask::Acquire(AcquireRequest {
            mode: 4,
            ..acquire(["free"])
        })
    }),
    row("permits without a number", "INVALID_PERMITS", |_| {
        Ask::Acquire(AcquireRequest {
            mode: Mode::Permits.into(),
            ..acquire(["free"])
        })
    }),
    row("a number without permits", "INVALID_PERMITS", |_| {
        Ask::Acquire(AcquireRequest {
            permits: 2,
            ..acquire(["free"])
        })
    }),
    row("another number of permits", "INVALID_PERMITS", |_| {
        Ask::Acquire(AcquireRequest {
            mode: Mode::Permits.into(),
            permits: 3,
            ..acquire(["parted"])
        })
    }),
    row("too long a wait", "INVALID_WAIT", |_| {
        Ask::Acquire(AcquireRequest {
            wait: millis(3_600_001),
            ..acquire(["free"])
        })
    }),
    row("a wait that is negative", "INVALID_WAIT", |_| {
        Ask::Acquire(AcquireRequest {
            wait: Some(seconds(-1)),
            ..acquire(["free"])
        })
    }),
    row("too long a holder", "INVALID_HOLDER", |_| {
        Ask::Acquire(AcquireRequest {
            holder: "x".repeat(257),
            ..acquire(["free"])
        })
    }),
    row("too long an owner", "INVALID_OWNER", |_| {
        Ask::Acquire(AcquireRequest {
            owner: "x".repeat(257),
            ..acquire(["free"])
        })
    }),
    row("too long an id", "INVALID_REQUEST_ID", |_| {
        Ask::Acquire(AcquireRequest {
            request_id: "x".repeat(257),
            ..acquire(["free"])
        })
    }),
    row("an id for something else", "INVALID_REQUEST_ID", |_| {
        Ask::Acquire(AcquireRequest {
            request_id: "mine".to_owned(),
            ..acquire(["free"])
        })
    }),
    row("nothing to cancel", "INVALID_REQUEST_ID", |_| {
        let request_id = String::new();
        Ask::Cancel(CancelRequest { request_id })
    }),
    row("nothing to renew", "INVALID_GRANT", |_| renew("")),
    row("nothing to release", "INVALID_GRANT", |_| release("")),
    row("too short a renewal", "INVALID_LEASE", |stage| {
        Ask::Renew(RenewRequest {
            grant: stage.mine.id.clone(),
            lease: millis(99),
        })
    }),
    row("nobody's name", "INVALID_NAME", |_| {
        let name = "x".repeat(513);
        Ask::Get(GetRequest { name })
    }),
    row("too long a page", "INVALID_PAGE", |_| {
        Ask::List(ListRequest {
            page_size: 1_001,
            ..ListRequest::default()
        })
    }),
];

/// What only a caller on its own can ask wrongly: a session has neither.
pub(super) const UNARY_ROWS: &[Row] = &[
    row("too short a lease", "INVALID_LEASE", |_| lease(millis(99))),
    row("too long a lease", "INVALID_LEASE", |_| {
        lease(millis(24 * 3_600_000 + 1))
    }),
    row("a negative lease", "INVALID_LEASE", |_| {
        lease(Some(seconds(-30)))
    }),
    row("another's session", "NOT_HOLDER", |stage| {
        session(&stage.other_session)
    }),
    row("no session's text", "UNKNOWN_SESSION", |_| session("zzz")),
    row("a session that has ended", "LOST", |stage| {
        session(&stage.ended_session)
    }),
    row("a session's grant with a lease", "INVALID_LEASE", |stage| {
        Ask::Acquire(AcquireRequest {
            session: stage.session.clone(),
            lease: millis(1_000),
            ..acquire(["free"])
        })
    }),
];

/// The same for a session's stream.
pub(super) const STREAM_ROWS: &[Row] = &[
    row("a lease on a session", "INVALID_LEASE", |_| {
        lease(millis(1_000))
    }),
    row("a session on a session", "INVALID_SESSION", |stage| {
        session(&stage.session)
    }),
];

impl Row {
    /// Asks it, and fails unless the answer is the one of the table.
    #[track_caller]
    pub(super) fn run(&self, stage: &Stage, how: &str, by: &dyn Speaks) {
        let what = format!("{how}: {}", self.what);
        match by.ask((self.ask)(stage)) {
            Ok(told) => panic!("{what}: {told:?}"),
            Err(refused) => assert_refused(&what, &refused, self.reason),
        }
    }
}

fn lease(lease: Option<Duration>) -> Ask {
    Ask::Acquire(AcquireRequest {
        lease,
        ..acquire(["free"])
    })
}

fn session(session: &str) -> Ask {
    Ask::Acquire(AcquireRequest {
        session: session.to_owned(),
        ..acquire(["free"])
    })
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}
