//! The table of answers: what a client hears of each error.

use super::*;
use lockport_store::LockName;

fn name() -> LockName {
    LockName::new("order/1").unwrap()
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("secret-host: connection refused".to_owned())
}

/// Every refusal there is, with its status, its reason, and whether it says
/// when to try again.
fn table() -> Vec<(Refusal, u16, &'static str, bool)> {
    let acquire = |error| Refusal::Lock(LockError::Acquire(error));
    let text = || "secret".to_owned();
    vec![
        (TargetError::NotAPath.into(), 400, "INVALID_TARGET", false),
        (TargetError::DotSegment.into(), 400, "INVALID_TARGET", false),
        (TargetError::Host.into(), 400, "INVALID_HOST", false),
        (Refusal::NoRoute, 404, "NO_ROUTE", false),
        (
            Refusal::WrongMethod(Methods::ANY),
            405,
            "METHOD_NOT_ALLOWED",
            false,
        ),
        (
            IntakeError::TooLarge { limit: 1 }.into(),
            413,
            "BODY_TOO_LARGE",
            false,
        ),
        (
            IntakeError::Broken(text()).into(),
            400,
            "INVALID_BODY",
            false,
        ),
        (
            Refusal::LockName(InvalidName::Empty),
            400,
            "INVALID_LOCK_NAME",
            false,
        ),
        (Refusal::LockNotGranted, 400, "INVALID_LOCK_NAME", false),
        (acquire(AcquireError::Held(name())), 423, "HELD", true),
        (acquire(AcquireError::TimedOut), 423, "TIMED_OUT", true),
        (acquire(AcquireError::Quota(text())), 503, "QUOTA", true),
        (
            acquire(AcquireError::Invalid(text())),
            500,
            "INTERNAL",
            false,
        ),
        (
            acquire(AcquireError::Store(unavailable())),
            503,
            "STORE_UNAVAILABLE",
            true,
        ),
        (
            Refusal::Lock(LockError::Store(unavailable())),
            503,
            "STORE_UNAVAILABLE",
            true,
        ),
        (Refusal::Lock(LockError::Lost), 409, "FENCED", false),
        (Refusal::Lock(LockError::Closed), 500, "INTERNAL", false),
        (
            Refusal::Lock(LockError::InUse("secret")),
            500,
            "INTERNAL",
            false,
        ),
        (
            Refusal::Lock(LockError::Invalid(text())),
            500,
            "INTERNAL",
            false,
        ),
        (
            Failure::Trapped(text()).into(),
            500,
            "HANDLER_FAILED",
            false,
        ),
        (
            Failure::NoResponse(text()).into(),
            500,
            "HANDLER_FAILED",
            false,
        ),
        (Failure::Deadline.into(), 504, "DEADLINE", false),
        (Failure::Overloaded.into(), 503, "OVERLOADED", true),
        (Failure::Host(text()).into(), 500, "INTERNAL", false),
        (
            Refusal::BadStatus(StatusCode::CONTINUE),
            500,
            "HANDLER_FAILED",
            false,
        ),
        (
            Refusal::HeldTooLarge { limit: 5 },
            500,
            "RESPONSE_TOO_LARGE",
            false,
        ),
        (
            Refusal::Commit(CommitError::Conflict {
                collection: text(),
                key: text(),
            }),
            409,
            "CONFLICT",
            false,
        ),
        (
            Refusal::Commit(CommitError::Unguarded { name: name() }),
            409,
            "UNGUARDED",
            false,
        ),
        (
            Refusal::Commit(CommitError::Fenced {
                name: name(),
                current: 7,
            }),
            409,
            "FENCED",
            false,
        ),
        (
            Refusal::Commit(CommitError::Aborted),
            503,
            "STORE_UNAVAILABLE",
            true,
        ),
        (
            Refusal::Commit(CommitError::TooOld),
            503,
            "STORE_UNAVAILABLE",
            true,
        ),
        (
            Refusal::Commit(CommitError::Store(unavailable())),
            503,
            "OUTCOME_UNKNOWN",
            false,
        ),
        (Refusal::TooDeep, 508, "LOOP", false),
        (Refusal::NoComponent, 502, "NO_COMPONENT", false),
        (Refusal::NotYet("x"), 501, "NOT_SERVED", false),
        (Refusal::Panicked, 500, "INTERNAL", false),
    ]
}

#[test]
fn every_error_has_its_status_and_reason() {
    for (refusal, status, reason, again) in table() {
        let problem = refusal.problem();
        assert_eq!(problem.status.as_u16(), status, "{refusal:?}");
        assert_eq!(problem.reason, reason, "{refusal:?}");
        assert_eq!(problem.retry_after.is_some(), again, "{refusal:?}");
    }
}

#[test]
fn nothing_internal_is_said() {
    for (refusal, ..) in table() {
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
