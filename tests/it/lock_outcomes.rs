//! Every outcome an operation of the lock API can have, in every way there is
//! to ask: by gRPC, in JSON and on a session's stream. Each comes with the code,
//! the status and the reason of the design's table.

mod rows;
mod stage;

use crate::harness::{
    Answered, Ask, JsonApi, LockApi, Node, Refused, Speaks, Storage, acquire, acquire_waiting,
    secret_of, shared,
};
use lockport_proto::Reason;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::{
    AcquireRequest, ForceReleaseRequest, GetRequest, OpenSession, ReleaseRequest, RenewRequest,
    WatchRequest,
};
use rows::{ROWS, STREAM_ROWS, UNARY_ROWS};
use stage::Stage;
use tonic::Code;

on_every_store! {
    every_outcome_is_told_with_the_code_the_status_and_the_reason_of_the_table,
    what_a_token_does_not_permit_is_denied_and_told_nothing_about,
    without_a_token_that_is_known_nothing_is_answered,
    every_limit_is_refused_as_quota,
}

/// The table of `interfaces.md`, section 4, and of the comments in the proto:
/// what clients rely on, so it is written down once more.
const OUTCOMES: &[(&str, Code, u16)] = &[
    ("HELD", Code::AlreadyExists, 409),
    ("TIMED_OUT", Code::Aborted, 409),
    ("DEADLOCK", Code::Aborted, 409),
    ("CANCELLED", Code::Aborted, 409),
    ("LOST", Code::FailedPrecondition, 412),
    ("ELSEWHERE", Code::Aborted, 409),
    ("NOT_HOLDER", Code::PermissionDenied, 403),
    ("UNKNOWN_GRANT", Code::NotFound, 404),
    ("UNKNOWN_SESSION", Code::NotFound, 404),
    ("UNAUTHENTICATED", Code::Unauthenticated, 401),
    ("ACCESS_DENIED", Code::PermissionDenied, 403),
    ("INVALID_REQUEST", Code::InvalidArgument, 400),
    ("INVALID_NAME", Code::InvalidArgument, 400),
    ("INVALID_MODE", Code::InvalidArgument, 400),
    ("INVALID_PERMITS", Code::InvalidArgument, 400),
    ("INVALID_LEASE", Code::InvalidArgument, 400),
    ("INVALID_WAIT", Code::InvalidArgument, 400),
    ("INVALID_HOLDER", Code::InvalidArgument, 400),
    ("INVALID_OWNER", Code::InvalidArgument, 400),
    ("INVALID_REQUEST_ID", Code::InvalidArgument, 400),
    ("INVALID_SESSION", Code::InvalidArgument, 400),
    ("INVALID_GRANT", Code::InvalidArgument, 400),
    ("INVALID_PAGE", Code::InvalidArgument, 400),
    ("INVALID_REASON", Code::InvalidArgument, 400),
    ("QUOTA", Code::ResourceExhausted, 429),
    ("STORE_UNAVAILABLE", Code::Unavailable, 503),
    ("RECOVERING", Code::Unavailable, 503),
    ("DRAINING", Code::Unavailable, 503),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded, 504),
    ("TOO_SLOW", Code::DeadlineExceeded, 408),
    ("NOT_FOUND", Code::Unimplemented, 404),
    ("METHOD_NOT_ALLOWED", Code::Unimplemented, 405),
    ("TOO_LARGE", Code::ResourceExhausted, 413),
    ("UNSUPPORTED_MEDIA_TYPE", Code::InvalidArgument, 415),
    ("INTERNAL", Code::Internal, 500),
];

fn every_outcome_is_told_with_the_code_the_status_and_the_reason_of_the_table(storage: Storage) {
    let stage = Stage::set(storage);
    let before = stage.locks();
    let json = JsonApi::of(&stage.node).with_token(&secret_of("alice"));
    let (stream, _) = stage
        .alice
        .session(OpenSession::default())
        .expect("a session is opened");
    for row in ROWS.iter().chain(UNARY_ROWS) {
        row.run(&stage, "gRPC", &stage.alice);
        // A number that is no mode has no name in JSON.
        if row.what != "no such mode" {
            row.run(&stage, "JSON", &json);
        }
    }
    for row in ROWS.iter().chain(STREAM_ROWS) {
        row.run(&stage, "stream", &stream);
    }
    assert_eq!(stage.locks(), before, "something that was refused happened");
    stream.close();
}

#[test]
fn every_reason_there_is_is_in_the_table_with_its_code_and_status() {
    let listed: Vec<_> = Reason::ALL
        .iter()
        .map(|it| (it.name(), it.code(), it.status().as_u16()))
        .collect();
    assert_eq!(listed, OUTCOMES);
}

fn what_a_token_does_not_permit_is_denied_and_told_nothing_about(storage: Storage) {
    let stage = Stage::set(storage);
    let guest = LockApi::of(&stage.node).with_token(&secret_of("guest"));
    let json = JsonApi::of(&stage.node).with_token(&secret_of("guest"));
    let (stream, _) = guest
        .session(OpenSession::default())
        .expect("a session is opened");
    let denied = [
        Ask::Acquire(acquire(["held"])),
        // Whether it is held makes no difference, nor does what else is asked.
        Ask::Acquire(acquire(["free"])),
        Ask::Acquire(acquire(["guest/1", "free"])),
        Ask::Acquire(acquire(["guest/1/2"])),
        Ask::Get(GetRequest {
            name: "held".to_owned(),
        }),
        force("guest/1", "why"),
    ];
    for ask in denied {
        for (how, by) in [
            ("gRPC", &guest as &dyn Speaks),
            ("JSON", &json),
            ("stream", &stream),
        ] {
            let refused = by.ask(ask.clone()).expect_err("it is denied");
            assert_refused(how, &refused, "ACCESS_DENIED");
            let told = format!("{refused:?}");
            assert!(!told.contains("bob"), "it says who holds it: {told}");
        }
    }
    // What it may have, it may have; and it sees no more than that.
    let grant = guest.grant(acquire(["guest/1"]));
    for (how, by) in [
        ("gRPC", &guest as &dyn Speaks),
        ("JSON", &json),
        ("stream", &stream),
    ] {
        let names: Vec<String> = by.list("", 100).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["guest/1"], "{how}");
        by.renew(&grant.id, None).expect("it holds it");
    }
    let taken = stage.operator.force_release("guest/1").expect("it may");
    assert_eq!(taken.taken.len(), 1);
    assert_eq!(taken.taken[0].principal, "guest");
    assert_eq!(taken.taken[0].fencing_token, grant.fencing_token);
    let refused = guest.renew(&grant.id, None).expect_err("it was taken");
    assert_refused("gRPC", &refused, "LOST");
    stage.node.logs().wait_for("a test takes it away");
}

fn without_a_token_that_is_known_nothing_is_answered(storage: Storage) {
    let stage = Stage::set(storage);
    let asked = [
        Ask::Acquire(acquire(["free"])),
        Ask::Get(GetRequest {
            name: "held".to_owned(),
        }),
        renew(&stage.held.id),
    ];
    let almost = &secret_of("alice")[1..];
    for token in ["", "nobody", almost] {
        let grpc = LockApi::of(&stage.node).with_token(token);
        let json = JsonApi::of(&stage.node).with_token(token);
        for ask in &asked {
            for by in [&grpc as &dyn Speaks, &json] {
                let refused = by.ask(ask.clone()).expect_err("nobody knows the token");
                assert_refused("", &refused, "UNAUTHENTICATED");
            }
            let challenge = json.send_ask(ask);
            let challenge = challenge.header("www-authenticate");
            assert!(challenge.is_some_and(|it| it.starts_with("Bearer")));
        }
        let watch = grpc.watch(WatchRequest::default()).map(|_| ());
        assert_refused("", &watch.expect_err("no"), "UNAUTHENTICATED");
        let session = grpc.session(OpenSession::default()).map(|_| ());
        assert_refused("", &session.expect_err("no"), "UNAUTHENTICATED");
    }
    let answer = JsonApi::of(&stage.node).get("/v1/locks/held");
    assert_eq!(answer.status, 401, "no token at all: {}", answer.text());
    assert!(!answer.text().contains("bob"), "{}", answer.text());
}

fn every_limit_is_refused_as_quota(storage: Storage) {
    let node = Node::builder()
        .storage(storage)
        .set("locks.waiters_per_lock", 1)
        .set("locks.holders_per_lock", 2)
        .set("locks.locks_per_principal", 6)
        .set("locks.waiters_per_principal", 2)
        .set("locks.sessions_per_principal", 1)
        .set("locks.watchers", 1)
        .start();
    let api = LockApi::of(&node);
    let json = JsonApi::of(&node);
    let assert_quota = |what: &str, answer: Answered<()>| {
        let refused = answer.expect_err(what);
        assert_refused(what, &refused, "QUOTA");
        assert!(!refused.message.is_empty(), "{refused:?}");
    };
    let (stream, _) = api
        .session(OpenSession::default())
        .expect("it is the first");
    let other = api.session(OpenSession::default()).map(|_| ());
    assert_quota("sessions_per_principal", other);
    let _watching = api.watch(WatchRequest::default()).expect("it is the first");
    let other = api.watch(WatchRequest::default()).map(|_| ());
    assert_quota("watchers", other);
    let answer = json.get("/v1/locks:watch");
    assert_quota("watchers", Err(Refused::of_problem(&answer)));

    let read = AcquireRequest {
        mode: shared(),
        ..acquire(["read"])
    };
    let first = api.grant(read.clone());
    api.grant(read.clone());
    for by in [&api as &dyn Speaks, &json, &stream] {
        assert_quota("holders_per_lock", by.acquire(read.clone()).map(|_| ()));
    }
    let [_, _, c, d] = ["a", "b", "c", "d"].map(|name| api.grant(acquire([name])));
    for by in [&api as &dyn Speaks, &json, &stream] {
        let asked = by.acquire(acquire(["e"]));
        assert_quota("locks_per_principal", asked.map(|_| ()));
    }
    // Who waits needs room for what it waits for.
    for grant in [first, c, d] {
        api.release(&grant.id).expect("it is held");
    }
    let wait = |name| {
        let waiting = stream.send(Operation::Acquire(acquire_waiting([name])));
        api.wait_until_waiting(name, 1);
        waiting
    };
    let _first = wait("a");
    for by in [&api as &dyn Speaks, &json, &stream] {
        let asked = by.acquire(acquire_waiting(["a"]));
        assert_quota("waiters_per_lock", asked.map(|_| ()));
    }
    let _second = wait("b");
    for by in [&api as &dyn Speaks, &json, &stream] {
        let asked = by.acquire(acquire_waiting(["read"]));
        assert_quota("waiters_per_principal", asked.map(|_| ()));
    }
}

/// Fails unless it was refused for this reason, with all that the table has
/// beside it.
#[track_caller]
fn assert_refused(what: &str, refused: &Refused, reason: &str) {
    let row = OUTCOMES.iter().find(|(name, ..)| *name == reason);
    let (_, code, status) = row.expect("the reason is in the table");
    assert_eq!(refused.reason, reason, "{what}: {refused:?}");
    match refused.status {
        Some(told) => assert_eq!(told, *status, "{what}: {refused:?}"),
        None => assert_eq!(refused.code, Some(*code), "{what}: {refused:?}"),
    }
    assert!(!refused.message.is_empty(), "{what}: {refused:?}");
}

fn renew(grant: &str) -> Ask {
    let grant = grant.to_owned();
    Ask::Renew(RenewRequest { grant, lease: None })
}

fn release(grant: &str) -> Ask {
    let grant = grant.to_owned();
    Ask::Release(ReleaseRequest { grant })
}

fn force(name: &str, reason: &str) -> Ask {
    Ask::ForceRelease(ForceReleaseRequest {
        name: name.to_owned(),
        reason: reason.to_owned(),
    })
}
