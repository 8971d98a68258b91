//! The table of answers: what a client hears of each error.

use super::*;
use lockport_store::LockName;
use lockport_store::store::{Cycle, Field, Invalid};

fn name() -> LockName {
    LockName::new("order/1").unwrap()
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("secret-host: connection refused".to_owned())
}

/// A refusal and its answer: status, reason, and `again` if it says when to
/// try again.
type Row = (Refusal, &'static str);

fn row(refusal: impl Into<Refusal>, answer: &'static str) -> Row {
    (refusal.into(), answer)
}

fn text() -> String {
    "secret".to_owned()
}

/// Every refusal there is.
fn table() -> Vec<Row> {
    let groups = [of_requests(), of_locks(), of_handlers(), of_commits()];
    groups.into_iter().flatten().collect()
}

fn of_requests() -> Vec<Row> {
    let broken = IntakeError::Broken(text());
    vec![
        row(TargetError::NotAPath, "400 INVALID_TARGET"),
        row(TargetError::EmptySegment, "400 INVALID_TARGET"),
        row(TargetError::DotSegment, "400 INVALID_TARGET"),
        row(TargetError::Escape, "400 INVALID_TARGET"),
        row(TargetError::NotUtf8, "400 INVALID_TARGET"),
        row(TargetError::Host, "400 INVALID_HOST"),
        row(Refusal::NoRoute, "404 NO_ROUTE"),
        row(Refusal::WrongMethod(Methods::ANY), "405 METHOD_NOT_ALLOWED"),
        row(IntakeError::TooLarge { limit: 1 }, "413 BODY_TOO_LARGE"),
        row(broken, "400 INVALID_BODY"),
        row(Refusal::TooDeep, "508 LOOP"),
        row(Refusal::NoComponent, "502 NO_COMPONENT"),
        row(Refusal::Transaction, "400 INVALID_TRANSACTION"),
        row(Refusal::NotYet("x"), "501 NOT_SERVED"),
        row(Refusal::Panicked, "500 INTERNAL"),
    ]
}

fn of_locks() -> Vec<Row> {
    let acquire = |error| Refusal::Lock(LockError::Acquire(error));
    let lock = Refusal::Lock;
    let store = || AcquireError::Store(unavailable());
    let invalid = || Invalid {
        field: Field::Lease,
        why: text(),
    };
    vec![
        row(
            Refusal::LockName(InvalidName::Empty),
            "400 INVALID_LOCK_NAME",
        ),
        row(Refusal::LockNotGranted, "400 INVALID_LOCK_NAME"),
        row(acquire(AcquireError::Held(name())), "423 HELD again"),
        row(acquire(AcquireError::TimedOut), "423 TIMED_OUT again"),
        row(acquire(AcquireError::Quota(text())), "503 QUOTA again"),
        row(
            acquire(AcquireError::Deadlock(Cycle(vec![]))),
            "423 DEADLOCK again",
        ),
        row(acquire(AcquireError::Invalid(invalid())), "500 INTERNAL"),
        row(acquire(AcquireError::Lost), "500 INTERNAL"),
        row(acquire(AcquireError::NoSession), "500 INTERNAL"),
        row(acquire(AcquireError::NotHolder), "500 INTERNAL"),
        row(acquire(AcquireError::Cancelled), "500 INTERNAL"),
        row(acquire(store()), "503 STORE_UNAVAILABLE again"),
        row(
            lock(LockError::Store(unavailable())),
            "503 STORE_UNAVAILABLE again",
        ),
        row(lock(LockError::Lost), "409 FENCED"),
        row(lock(LockError::Closed), "500 INTERNAL"),
        row(lock(LockError::InUse("secret")), "500 INTERNAL"),
        row(lock(LockError::Invalid(text())), "500 INTERNAL"),
    ]
}

fn of_handlers() -> Vec<Row> {
    vec![
        row(Failure::Trapped(text()), "500 HANDLER_FAILED"),
        row(Failure::NoResponse(text()), "500 HANDLER_FAILED"),
        row(Failure::Deadline, "504 DEADLINE"),
        row(Failure::Overloaded, "503 OVERLOADED again"),
        row(Failure::Host(text()), "500 INTERNAL"),
        row(
            Refusal::BadStatus(StatusCode::CONTINUE),
            "500 HANDLER_FAILED",
        ),
        row(
            Refusal::WrongLength {
                stated: 3,
                actual: 2,
            },
            "500 HANDLER_FAILED",
        ),
        row(Refusal::HeldTooLarge { limit: 5 }, "500 RESPONSE_TOO_LARGE"),
    ]
}

fn of_commits() -> Vec<Row> {
    let commit = Refusal::Commit;
    let conflict = CommitError::Conflict {
        collection: text(),
        key: text(),
    };
    let fenced = CommitError::Fenced {
        name: name(),
        current: 7,
    };
    let unknown = CommitError::Store(unavailable());
    vec![
        row(commit(conflict), "409 CONFLICT"),
        row(
            commit(CommitError::Unguarded { name: name() }),
            "409 UNGUARDED",
        ),
        row(commit(fenced), "409 FENCED"),
        row(commit(CommitError::Aborted), "503 STORE_UNAVAILABLE again"),
        row(commit(CommitError::TooOld), "503 STORE_UNAVAILABLE again"),
        row(commit(unknown), "503 OUTCOME_UNKNOWN"),
    ]
}

#[test]
fn every_error_has_its_status_and_reason() {
    for (refusal, answer) in table() {
        let problem = refusal.problem();
        let again = if problem.retry_after.is_some() {
            " again"
        } else {
            ""
        };
        let said = format!("{} {}{again}", problem.status.as_u16(), problem.reason);
        assert_eq!(said, answer, "{refusal:?}");
    }
}

#[test]
fn nothing_internal_is_said() {
    for (refusal, _) in table() {
        let problem = refusal.problem();
        assert!(!problem.detail.contains("secret"), "{refusal:?}");
        assert!(
            !problem.detail.is_empty() && !problem.detail.ends_with('.'),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_problem_is_a_document_with_all_its_fields() {
    let id = RequestId::mint();
    let refusal = Refusal::Commit(CommitError::Fenced {
        name: name(),
        current: 7,
    });
    let response = refusal.response(&id);
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    let expected = serde_json::json!({
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "the lock `order/1` was lost; its current token is 7",
        "reason": "FENCED",
        "request_id": &**id.text(),
    });
    assert_eq!(body, expected);
}

#[test]
fn a_refusal_says_what_is_allowed_and_when_to_try_again() {
    let id = RequestId::mint();
    let methods = Methods::parse(&["PATCH".to_owned(), "GET".to_owned()]).unwrap();
    let response = Refusal::WrongMethod(methods).response(&id);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD, PATCH");
    let response = Refusal::from(Failure::Overloaded).response(&id);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert!(!response.headers().contains_key(ALLOW));
}
