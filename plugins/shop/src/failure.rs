//! The form in which the shop tells errors: `{"error":"...","message":"..."}`.

use lockport_guest::{BodyError, Error, IntoResponse, Response, call, describe, locks, log, state};
use serde::Serialize;

/// What a client is told while somebody else holds the lock.
pub const LOCKED: &str =
    "the resource you try to modify is currently blocked. Try again in a few moments";

/// A refusal or a failure, as the client is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub status: u16,

    /// A word for programs: `resource_locked`.
    pub error: &'static str,

    /// A sentence for people.
    pub message: String,
}

// === impl Failure ===

impl Failure {
    /// A failure with any status.
    #[must_use]
    pub fn new(status: u16, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    /// 422: the request cannot be what its sender meant. The message names the
    /// field and why.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "invalid_request", message)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("there is no such {what}"))
    }

    /// 423: somebody else holds a lock.
    #[must_use]
    pub fn locked() -> Self {
        Self::new(423, "resource_locked", LOCKED)
    }

    /// 500, with the reason in the log and not in the answer.
    fn internal(reason: &Error) -> Self {
        log(&describe(reason));
        Self::new(500, "internal", "the request could not be handled")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Json(reason) => Self::invalid(describe(reason)),
            Error::Body(reason @ BodyError::TooLarge { .. }) => {
                Self::new(413, "body_too_large", reason.to_string())
            }
            Error::Body(reason @ BodyError::Incomplete) => {
                Self::new(400, "invalid_request", reason.to_string())
            }
            _ => match error.status() {
                423 => Self::locked(),
                409 => Self::new(409, "conflict", describe(&error)),
                503 => {
                    log(&describe(&error));
                    Self::new(503, "unavailable", "try again in a few moments")
                }
                _ => Self::internal(&error),
            },
        }
    }
}

impl From<locks::Error> for Failure {
    fn from(error: locks::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<state::Error> for Failure {
    fn from(error: state::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<call::Error> for Failure {
    fn from(error: call::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            message: &'a str,
        }

        let body = Body {
            error: self.error,
            message: &self.message,
        };
        match Response::json(self.status, &body) {
            Ok(response) if matches!(self.status, 423 | 503) => response.header("retry-after", "1"),
            Ok(response) => response,
            Err(error) => error.into_response(),
        }
    }
}
