//! Why an operation failed, and how each transport says so.
//!
//! The operations know reasons only; this is the one place that turns them
//! into a gRPC status with an `ErrorInfo`, into a problem document, and into
//! the failure on a session's stream.

use crate::statistics::Method;
use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use lockport_proto::{ERROR_DOMAIN, Reason, lock as proto, random_id};
use lockport_store::name::InvalidName;
use lockport_store::store::{
    AcquireError, Field, ForceError, Invalid, ReleaseError, RenewError, SessionError, StoreError,
    WatchError,
};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The longest message, in bytes. A status travels in headers, and peers limit
/// those.
const MESSAGE_BYTES_MAX: usize = 1024;

/// After how many seconds a client may try again what was only busy.
const RETRY_SOON: u32 = 1;

/// Carries the identity of a request, as it does to components.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest identity of a request that a client may choose, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What a program can act on.
    pub(crate) reason: Reason,
    /// A sentence for people; nothing internal is in it.
    pub(crate) message: Cow<'static, str>,
    /// The field of the request that is not allowed, if it is one.
    pub(crate) field: Option<Cow<'static, str>>,
}

/// A failure as a document (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    request_id: &'a str,
}

impl Failure {
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
            message = format!("{}...", &message[..end]).into();
        }
        Self {
            reason,
            message,
            field: None,
        }
    }

    /// A field of the request is not allowed. `why` is what one would say of
    /// it: `is empty`.
    pub(crate) fn field(
        reason: Reason,
        field: impl Into<Cow<'static, str>>,
        why: impl fmt::Display,
    ) -> Self {
        let field = field.into();
        Self {
            field: Some(field.clone()),
            ..Self::new(reason, format!("`{field}` {why}"))
        }
    }

    /// A name is not one.
    pub(crate) fn name(field: impl Into<Cow<'static, str>>, why: &InvalidName) -> Self {
        Self::field(Reason::InvalidName, field, why)
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            Reason::Unauthenticated,
            "send a token as `authorization: Bearer <token>`",
        )
    }

    pub(crate) fn draining() -> Self {
        Self::new(Reason::Draining, "the node is about to end; ask another")
    }

    /// Nothing that lasts was asked, or nothing was begun.
    pub(crate) fn deadline() -> Self {
        Self::new(
            Reason::DeadlineExceeded,
            "the client's deadline passed; what was waited for is given up",
        )
    }

    /// The client's deadline passed while something was changed.
    pub(crate) fn outcome_unknown(method: Method) -> Self {
        let why = match method {
            Method::Acquire => {
                "the client's deadline passed: what was asked may have happened; ask again with the same request id to find out, or cancel it"
            }
            Method::ForceRelease => {
                "the client's deadline passed: what was asked may have happened; look who holds the lock to find out"
            }
            _ => {
                "the client's deadline passed: what was asked may have happened; ask again to find out, it does nothing twice"
            }
        };
        Self::new(Reason::DeadlineExceeded, why)
    }

    /// A request's body does not come.
    pub(crate) fn too_slow(limit: Duration) -> Self {
        Self::new(
            Reason::TooSlow,
            format!("the body did not come within {limit:?}; nothing was begun"),
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            Reason::TooLarge,
            format!("a message may have {limit} bytes at most"),
        )
    }

    /// The host failed; `why` is for the log only.
    pub(crate) fn internal(why: &str) -> Self {
        tracing::error!(why, "the lock API failed");
        Self::new(Reason::Internal, "the host failed")
    }
}

// === where failures come from ===

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Quota(limit) => Self::new(Reason::Quota, limit),
            WatchError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the store gave no answer");
                Self::new(
                    Reason::StoreUnavailable,
                    "the store gave no answer: what was asked may have happened, and may be asked again",
                )
            }
            StoreError::Recovering => Self::new(
                Reason::Recovering,
                "the store is recovering and grants nothing new yet: nothing was done; ask again",
            ),
        }
    }
}

impl From<Invalid> for Failure {
    fn from(Invalid { field, why }: Invalid) -> Self {
        let (reason, name) = match field {
            Field::Names => (Reason::InvalidName, "names"),
            Field::Mode => (Reason::InvalidMode, "mode"),
            Field::Permits => (Reason::InvalidPermits, "permits"),
            Field::Lease => (Reason::InvalidLease, "lease"),
            Field::Wait => (Reason::InvalidWait, "wait"),
            Field::Label => (Reason::InvalidHolder, "holder"),
            Field::Owner => (Reason::InvalidOwner, "owner"),
            Field::RequestId => (Reason::InvalidRequestId, "requestId"),
            Field::Session => (Reason::InvalidSession, "session"),
        };
        Self {
            field: Some(name.into()),
            ..Self::new(reason, why)
        }
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        let reason = match error {
            AcquireError::Held(_) => Reason::Held,
            AcquireError::TimedOut => Reason::TimedOut,
            AcquireError::Deadlock(_) => Reason::Deadlock,
            AcquireError::Cancelled => Reason::Cancelled,
            AcquireError::Lost | AcquireError::NoSession => Reason::Lost,
            AcquireError::NotHolder => Reason::NotHolder,
            AcquireError::Quota(_) => Reason::Quota,
            AcquireError::Invalid(invalid) => return invalid.into(),
            AcquireError::Store(error) => return error.into(),
        };
        Self::new(reason, error.to_string())
    }
}

impl From<RenewError> for Failure {
    fn from(error: RenewError) -> Self {
        let reason = match error {
            RenewError::Lost => Reason::Lost,
            RenewError::NotHolder => Reason::NotHolder,
            RenewError::Invalid(invalid) => return invalid.into(),
            RenewError::Store(error) => return error.into(),
        };
        Self::new(reason, error.to_string())
    }
}

impl From<ForceError> for Failure {
    fn from(error: ForceError) -> Self {
        match error {
            ForceError::NotPermitted => Self::new(Reason::AccessDenied, error.to_string()),
            ForceError::Store(error) => error.into(),
        }
    }
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::NotHolder => Self::new(Reason::NotHolder, error.to_string()),
            ReleaseError::Quota(_) => Self::new(Reason::Quota, error.to_string()),
            ReleaseError::Store(error) => error.into(),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let reason = match error {
            SessionError::Lost => Reason::Lost,
            SessionError::Elsewhere => Reason::Elsewhere,
            SessionError::NotHolder => Reason::NotHolder,
            SessionError::Quota(_) => Reason::Quota,
            SessionError::Invalid(invalid) => return invalid.into(),
            SessionError::Store(error) => return error.into(),
        };
        Self::new(reason, error.to_string())
    }
}

// === how failures are said ===

impl From<&Failure> for Status {
    fn from(failure: &Failure) -> Self {
        let mut metadata = HashMap::new();
        if let Some(field) = &failure.field {
            metadata.insert("field".to_owned(), field.clone().into_owned());
        }
        let name = failure.reason.name();
        let details = ErrorDetails::with_error_info(name, ERROR_DOMAIN, metadata);
        let code = failure.reason.code();
        let mut status = Status::with_error_details(code, failure.message.as_ref(), details);
        if failure.reason == Reason::Unauthenticated {
            let scheme = MetadataValue::from_static("Bearer");
            status.metadata_mut().insert("www-authenticate", scheme);
        }
        status
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Self::from(&failure)
    }
}

impl From<&Failure> for proto::Failure {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.reason.code().into(),
            reason: failure.reason.name().to_owned(),
            message: failure.message.clone().into_owned(),
        }
    }
}

impl Failure {
    /// What the gRPC library refuses itself, with a reason: what it cannot
    /// read, and methods it does not know. Its code stays, unless the table
    /// knows better. Without a reason if the client has gone: nobody reads it.
    pub(crate) fn of_library(status: &Status, message_bytes: usize) -> Status {
        const UNREADABLE: &str = "failed to decode Protobuf message";
        // What the connection says comes with a cause, and at times that is one
        // of ours: a body that did not come in time.
        if !status.details().is_empty() || status.source().is_some() {
            return status.clone();
        }
        let message = status.message().to_owned();
        let refused = match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => {
                return Self::too_large(message_bytes).into();
            }
            Code::Internal if message.starts_with(UNREADABLE) => {
                return Self::new(Reason::InvalidRequest, message).into();
            }
            Code::Unimplemented if message.is_empty() => {
                return Self::new(Reason::NotFound, "there is no such method").into();
            }
            Code::Unimplemented => Self::new(Reason::UnsupportedMediaType, message),
            _ => Self::new(Reason::InvalidRequest, message),
        };
        let info = ErrorDetails::with_error_info(refused.reason.name(), ERROR_DOMAIN, []);
        Status::with_error_details_and_metadata(
            status.code(),
            refused.message,
            info,
            status.metadata().clone(),
        )
    }

    /// The reason in a status.
    pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
        Reason::from_name(&status.get_details_error_info()?.reason)
    }

    /// The failure as an answer over HTTP to a request with these headers.
    /// `allow` is what a wrong method would have to be.
    pub(crate) fn response(&self, request: &HeaderMap, allow: Option<&str>) -> Response<Body> {
        let id = request_id(request);
        let mut response = Response::new(Body::from(self.document(&id)));
        *response.status_mut() = self.reason.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(Ok(allow)) = allow.map(HeaderValue::from_str) {
            headers.insert(ALLOW, allow);
        }
        match self.reason {
            Reason::Unauthenticated => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Reason::Quota | Reason::StoreUnavailable | Reason::Recovering | Reason::Draining => {
                headers.insert(RETRY_AFTER, RETRY_SOON.into());
            }
            _ => {}
        }
        response
    }

    /// The failure as a problem document.
    pub(crate) fn document(&self, request_id: &str) -> Vec<u8> {
        let status = self.reason.status();
        let problem = Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &self.message,
            reason: self.reason.name(),
            field: self.field.as_deref(),
            request_id,
        };
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(&problem).unwrap_or_default()
    }
}

/// The identity of a request: the one its client chose, if it is a plain word,
/// or else a new, random one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let plain = |it: &u8| it.is_ascii_alphanumeric() || b"-_.:".contains(it);
    let chosen = headers.get(REQUEST_ID).and_then(|it| it.to_str().ok());
    let is_plain = |it: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&it.len()) && it.as_bytes().iter().all(plain)
    };
    match chosen.filter(is_plain) {
        Some(chosen) => chosen.to_owned(),
        None => random_id(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}
