//! Why a request is not answered by its handler, and what its client hears
//! instead. The only file that picks a status.
//!
//! An error has two readers. The client gets a status, a `reason` it can act
//! on, and a sentence without anything internal, as `application/problem+json`
//! (RFC 9457). The log gets the whole chain, once.
//!
//! Malformed request lines and heads that are too large never get this far:
//! the HTTP library answers those itself, with 400, 414 or 431 and no body.

use super::identity::RequestId;
use super::intake::IntakeError;
use super::pattern::Methods;
use super::target::TargetError;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use lockport_engine::Failure;
use lockport_store::name::InvalidName;
use lockport_store::store::{AcquireError, CommitError, StoreError};
use lockport_store::transaction::LockError;
use serde::Serialize;
use std::borrow::Cow;

/// Why a request, or a call between components, is not answered by a handler.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The target cannot be taken apart.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No route has the path.
    #[error("no route has this path")]
    NoRoute,
    /// The path has routes, but none with this method.
    #[error("the path does not serve this method")]
    WrongMethod(Methods),
    /// The request's body did not arrive whole.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A route's lock would have a name that is none.
    #[error("the name of the route's lock is not a name")]
    LockName(#[source] InvalidName),
    /// A route's lock would have a name that the component is not granted.
    #[error("the name of the route's lock is not granted to its component")]
    LockNotGranted,
    /// A route's lock was not obtained.
    #[error("the route's lock was not obtained")]
    Lock(#[source] LockError),
    /// The handler gave no answer.
    #[error(transparent)]
    Handler(#[from] Failure),
    /// The handler answered with a status that is no final one.
    #[error("the handler answered with the status {0}")]
    BadStatus(StatusCode),
    /// The handler's answer is not as long as its head says.
    #[error("the answer has {actual} bytes, and its head says {stated}")]
    WrongLength {
        /// What the head says, in bytes.
        stated: u64,
        /// How long it is, in bytes.
        actual: u64,
    },
    /// The answer is too large to be held until its commit.
    #[error("the answer to be held has more than {limit} bytes")]
    HeldTooLarge {
        /// How much may be held, in bytes.
        limit: u64,
    },
    /// The transaction was not committed.
    #[error("the transaction was not committed")]
    Commit(#[source] CommitError),
    /// Components call each other in a loop, or too deep.
    #[error("calls between components are nested too deep")]
    TooDeep,
    /// A call's target is granted but not loaded.
    #[error("the called component is not loaded")]
    NoComponent,
    /// A call says something of its transaction that has no meaning.
    #[error("`Lockport-Transaction` of a call is `none` or absent")]
    Transaction,
    /// A request or a call asks for something that a later version will serve.
    #[error("`{0}` is not served by this version yet")]
    NotYet(&'static str),
    /// The request's `Idempotency-Key` is not one; why.
    #[error("the idempotency key is not allowed: {0}")]
    IdempotencyKey(&'static str),
    /// A request with the same `Idempotency-Key` is being handled.
    #[error("a request with this idempotency key is being handled")]
    InProgress,
    /// The `Idempotency-Key` was used with another body.
    #[error("the idempotency key was used with another body")]
    AnotherBody,
    /// The host panicked.
    #[error("the host panicked while it handled the request")]
    Panicked,
}

/// What a client hears.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// What a program can act on.
    pub reason: &'static str,
    /// A sentence for people.
    pub detail: Cow<'static, str>,
    /// After how many seconds it is worth another try, if it is.
    pub retry_after: Option<u32>,
}

/// [`Problem`] on the wire.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    reason: &'static str,
    request_id: &'a str,
}

/// After how many seconds a client may try again what was only busy. Locks and
/// instances are held for the length of a request, so the least there is.
const RETRY_SOON: u32 = 1;

impl Refusal {
    /// What its client hears. Every error has its line here.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Target(TargetError::Host) => says(400, "INVALID_HOST", self.to_string()),
            Self::Target(_) => says(400, "INVALID_TARGET", self.to_string()),
            Self::NoRoute => says(404, "NO_ROUTE", self.to_string()),
            Self::WrongMethod(_) => says(405, "METHOD_NOT_ALLOWED", self.to_string()),
            Self::Intake(IntakeError::TooLarge { .. }) => {
                says(413, "BODY_TOO_LARGE", self.to_string())
            }
            Self::Intake(IntakeError::Broken(_)) => {
                says(400, "INVALID_BODY", "the request's body broke off")
            }
            Self::LockName(why) => says(
                400,
                "INVALID_LOCK_NAME",
                format!("the lock's name made from the path {why}"),
            ),
            Self::LockNotGranted => says(
                400,
                "INVALID_LOCK_NAME",
                "the lock's name made from the path is not one of this component's",
            ),
            Self::Lock(error) => of_lock(error),
            Self::Handler(failure) => of_failure(failure),
            Self::BadStatus(_) | Self::WrongLength { .. } => {
                of_failure(&Failure::NoResponse(String::new()))
            }
            Self::HeldTooLarge { limit } => says(
                500,
                "RESPONSE_TOO_LARGE",
                format!("the answer is larger than the {limit} bytes that are held"),
            ),
            Self::Commit(error) => of_commit(error),
            Self::TooDeep => says(508, "LOOP", self.to_string()),
            Self::NoComponent => says(502, "NO_COMPONENT", self.to_string()),
            Self::Transaction => says(400, "INVALID_TRANSACTION", self.to_string()),
            Self::NotYet(_) => says(501, "NOT_SERVED", self.to_string()),
            Self::IdempotencyKey(_) => says(400, "INVALID_IDEMPOTENCY_KEY", self.to_string()),
            Self::InProgress => says(409, "IN_PROGRESS", self.to_string()).soon(),
            Self::AnotherBody => says(422, "IDEMPOTENCY_KEY_REUSED", self.to_string()),
            Self::Panicked => says(500, "INTERNAL", "the host failed"),
        }
    }

    /// Whether it is what a handler did: then it may come of what that has read.
    pub fn is_the_handlers(&self) -> bool {
        matches!(
            self,
            Self::Handler(Failure::Trapped(_) | Failure::NoResponse(_))
                | Self::BadStatus(_)
                | Self::WrongLength { .. }
                | Self::HeldTooLarge { .. }
        )
    }

    /// The whole answer to the request `id`.
    pub fn response(&self, id: &RequestId) -> Response<Bytes> {
        let mut response = self.problem().response(id);
        if let Self::WrongMethod(methods) = self
            && let Ok(allowed) = HeaderValue::from_str(&methods.to_string())
        {
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

impl Problem {
    /// The whole answer to the request `id`.
    pub fn response(&self, id: &RequestId) -> Response<Bytes> {
        let mut response = Response::new(self.body(id));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    fn body(&self, id: &RequestId) -> Bytes {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: self.reason,
            request_id: id.text(),
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(&document).unwrap_or_default().into()
    }
}

fn of_lock(error: &LockError) -> Problem {
    match error {
        LockError::Acquire(AcquireError::Held(_)) => {
            says(423, "HELD", "somebody else holds the lock").soon()
        }
        LockError::Acquire(AcquireError::TimedOut) => {
            says(423, "TIMED_OUT", "somebody else held the lock for too long").soon()
        }
        LockError::Acquire(AcquireError::Deadlock(_)) => {
            says(423, "DEADLOCK", "waiting for the lock would never end").soon()
        }
        LockError::Acquire(AcquireError::Quota(_)) => {
            says(503, "QUOTA", "too many are waiting for the lock").soon()
        }
        LockError::Acquire(AcquireError::Store(error)) | LockError::Store(error) => of_store(error),
        LockError::Lost => says(409, "FENCED", "the lock was lost"),
        // The manifest was checked, and nobody else handles a route's locks,
        // which are asked once and hang on no session.
        LockError::Acquire(
            AcquireError::Invalid(_)
            | AcquireError::Cancelled
            | AcquireError::Lost
            | AcquireError::NoSession
            | AcquireError::NotHolder,
        )
        | LockError::Invalid(_)
        | LockError::InUse(_)
        | LockError::Closed => says(500, "INTERNAL", "the host failed"),
    }
}

fn of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => {
            says(503, "STORE_UNAVAILABLE", "the store is not available").soon()
        }
        StoreError::Recovering => recovering(),
    }
}

fn recovering() -> Problem {
    says(
        503,
        "RECOVERING",
        "the store is recovering; nothing was applied",
    )
    .soon()
}

fn of_failure(failure: &Failure) -> Problem {
    match failure {
        Failure::Trapped(_) | Failure::NoResponse(_) => {
            says(500, "HANDLER_FAILED", "the handler failed")
        }
        Failure::Deadline => says(504, "DEADLINE", "the handler did not answer in time"),
        Failure::Overloaded => says(503, "OVERLOADED", "the component is busy").soon(),
        Failure::Host(_) => says(500, "INTERNAL", "the host failed"),
    }
}

fn of_commit(error: &CommitError) -> Problem {
    match error {
        CommitError::Conflict { .. } => says(
            409,
            "CONFLICT",
            "something the request has read has changed since; nothing was applied",
        ),
        CommitError::Unguarded { .. } => says(409, "UNGUARDED", error.to_string()),
        // A name of our own means nothing to anybody outside.
        CommitError::Fenced { name, .. } if name.is_internal() => {
            says(409, "FENCED", "the node was taken for dead meanwhile")
        }
        CommitError::Fenced { .. } => says(409, "FENCED", error.to_string()),
        // Neither can be applied any more, so another try is safe.
        CommitError::Aborted | CommitError::TooOld => {
            says(503, "STORE_UNAVAILABLE", "nothing was applied").soon()
        }
        CommitError::Store(StoreError::Recovering) => recovering(),
        CommitError::Store(StoreError::Unavailable(_)) => says(
            503,
            "OUTCOME_UNKNOWN",
            "the store did not say whether the request was applied",
        ),
    }
}

fn says(status: u16, reason: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem {
        // Every status here is written out above.
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        reason,
        detail: detail.into(),
        retry_after: None,
    }
}

impl Problem {
    fn soon(self) -> Self {
        Self {
            retry_after: Some(RETRY_SOON),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
