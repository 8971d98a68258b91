//! What there is before the rows are asked: a node with four principals, and
//! locks in every state.

use crate::harness::{
    LockApi, Node, SessionStream, Speaks, Storage, acquire, acquire_waiting, secret_of, shared,
};
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{AcquireRequest, Grant, Mode, OpenSession};

/// Everything there is.
pub(super) struct Stage {
    /// A principal that may lock everything.
    pub(super) alice: LockApi,
    /// An operator.
    pub(super) operator: LockApi,
    /// Of `held`: bob's.
    pub(super) held: Grant,
    /// Of `mine`: alice's.
    pub(super) mine: Grant,
    /// Of alice's, with the request id `ended`; given back.
    pub(super) ended: Grant,
    /// It reads as one, and was given to nobody.
    pub(super) never_given: String,
    /// Of alice's.
    pub(super) session: String,
    /// Of alice's; closed.
    pub(super) ended_session: String,
    /// Of bob's.
    pub(super) other_session: String,
    /// They last as long as their streams.
    _streams: Vec<SessionStream>,
    /// Behind everything that uses it.
    pub(super) node: Node,
}

impl Stage {
    /// Sets it.
    #[track_caller]
    pub(super) fn set(storage: Storage) -> Self {
        let node = Node::builder()
            .storage(storage)
            .token("alice", false, &["**"])
            .token("bob", false, &["**"])
            .token("guest", false, &["guest/*"])
            .token("operator", true, &["**"])
            .start();
        let of = |principal| LockApi::of(&node).with_token(&secret_of(principal));
        let (alice, bob) = (of("alice"), of("bob"));
        let held = bob.grant(acquire(["held"]));
        let mine = alice.grant(with_id("mine"));
        let ended = alice.grant(with_id("ended"));
        alice.release(&ended.id).expect("it is held");
        alice.cancel("cancelled").expect("it may be cancelled");
        bob.grant(AcquireRequest {
            mode: shared(),
            ..acquire(["read"])
        });
        bob.grant(AcquireRequest {
            mode: Mode::Permits.into(),
            permits: 2,
            ..acquire(["parted"])
        });
        let open = |api: &LockApi| {
            let opened = api.session(OpenSession::default());
            opened.expect("a session is opened")
        };
        let (stream, session) = open(&alice);
        let (closed, ended_session) = open(&alice);
        closed.close();
        let (other, other_session) = open(&bob);
        half_a_cycle(&alice, &stream);
        Self {
            operator: of("operator"),
            alice,
            never_given: another_digit(&held.id),
            held,
            mine,
            ended,
            session: session.session,
            ended_session: ended_session.session,
            other_session: other_session.session,
            _streams: vec![stream, other],
            node,
        }
    }

    /// The locks there are, and who holds them with which token.
    pub(super) fn locks(&self) -> Vec<(String, Vec<u64>, u32)> {
        let locks = self.operator.list("", 1_000).into_iter();
        locks
            .map(|lock| {
                let tokens = lock.holders.iter().map(|it| it.fencing_token).collect();
                (lock.name, tokens, lock.waiter_count)
            })
            .collect()
    }
}

/// `cycle/1` is held by the owner `one`, `cycle/2` by `two`, who waits for the
/// other.
fn half_a_cycle(alice: &LockApi, stream: &SessionStream) {
    for (owner, name) in [("one", "cycle/1"), ("two", "cycle/2")] {
        alice.grant(AcquireRequest {
            owner: owner.to_owned(),
            ..acquire([name])
        });
    }
    // Its answer never comes: it waits until the stage is struck.
    drop(stream.send(Operation::Acquire(AcquireRequest {
        owner: "two".to_owned(),
        ..acquire_waiting(["cycle/1"])
    })));
    alice.wait_until_waiting("cycle/1", 1);
}

fn with_id(id: &str) -> AcquireRequest {
    AcquireRequest {
        request_id: id.to_owned(),
        ..acquire([id])
    }
}

/// `text` with its last digit changed.
pub(super) fn another_digit(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    format!("{rest}{other}")
}
