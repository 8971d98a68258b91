//! What goes wrong in a handler, and what its client is told.

use serde::Serialize;

use crate::{BodyError, IntoResponse, JsonError, Response, call, host, locks, state};

/// Whatever the SDK can fail with, so that `?` works throughout a handler.
///
/// As a response it is `application/problem+json`. A component that has
/// another format for errors wraps this type in its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request's body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),

    /// The request's body is not the JSON that was expected.
    #[error(transparent)]
    Json(#[from] JsonError),

    /// The handler asked for a parameter that its route does not have.
    #[error("the route has no parameter `{0}`")]
    NoParam(String),

    /// The handler answered something that has no JSON form.
    #[error("the answer has no JSON form")]
    Encode(#[source] serde_json::Error),

    /// An operation on a lock failed.
    #[error(transparent)]
    Lock(#[from] locks::Error),

    /// An operation on state failed.
    #[error(transparent)]
    State(#[from] state::Error),

    /// A call to another component failed.
    #[error(transparent)]
    Call(#[from] call::Error),
}

/// An error and its causes in one line: `field "a" is not valid: too long`.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

// === impl Error ===

impl Error {
    /// The status that says it best.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Body(BodyError::TooLarge { .. }) => 413,
            Self::Body(BodyError::Incomplete) | Self::Json(_) => 400,
            Self::NoParam(_) | Self::Encode(_) => 500,
            Self::Lock(error) => lock_status(error),
            Self::State(error) => state_status(error),
            Self::Call(_) => 502,
        }
    }
}

impl IntoResponse for Error {
    /// A problem document. Of a failure of the server it says no more than its
    /// kind; the whole of it goes to the component's log.
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: &'a str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            request_id: &'a str,
        }

        let status = self.status();
        let text = describe(&self);
        if status >= 500 {
            host::log(&text);
        }
        let problem = Problem {
            r#type: "about:blank",
            title: title(status),
            status,
            detail: if status >= 500 {
                "the handler failed"
            } else {
                &text
            },
            request_id: &host::request_id(),
        };
        // A struct of strings and a number always has a JSON form.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let response = Response::bytes(status, "application/problem+json", body);
        match status {
            423 | 503 => response.header("retry-after", "1"),
            _ => response,
        }
    }
}

fn lock_status(error: &locks::Error) -> u16 {
    match error {
        locks::Error::Held | locks::Error::TimedOut | locks::Error::Deadlock => 423,
        locks::Error::InvalidArgument(_) => 400,
        locks::Error::Lost => 409,
        locks::Error::Quota(_) | locks::Error::Recovering | locks::Error::Unavailable(_) => 503,
        locks::Error::AccessDenied | locks::Error::InUse | locks::Error::Closed => 500,
    }
}

fn state_status(error: &state::Error) -> u16 {
    match error {
        state::Error::InvalidArgument(_) => 400,
        state::Error::Exists | state::Error::Conflict => 409,
        state::Error::Quota(_) | state::Error::Recovering | state::Error::Unavailable(_) => 503,
        state::Error::AccessDenied
        | state::Error::Closed
        | state::Error::Encode(_)
        | state::Error::Corrupt { .. } => 500,
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        409 => "Conflict",
        413 => "Content Too Large",
        423 => "Locked",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
