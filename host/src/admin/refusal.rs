//! What administrators hear if they are not answered: the only file of this
//! listener that picks a status.

use crate::gateway::identity::{self, RequestId};
use crate::gateway::rescue::Problem;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It has no token, or one that nobody has.
    #[error("a bearer token is needed")]
    NoToken,
    /// Its token is not an operator's.
    #[error("the token is not an operator's")]
    NoOperator,
    /// Nothing has this path.
    #[error("nothing has this path")]
    Nothing,
    /// Everything here is only read.
    #[error("the path does not serve this method")]
    WrongMethod,
}

/// The status of a readiness report.
pub(super) fn of_readiness(ready: bool) -> StatusCode {
    match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Refusal {
    /// The whole answer to the request `id`.
    pub(super) fn response(self, id: &RequestId) -> Response {
        let (status, reason) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            Self::NoOperator => (StatusCode::FORBIDDEN, "ACCESS_DENIED"),
            Self::Nothing => (StatusCode::NOT_FOUND, "NO_ROUTE"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
        };
        let problem = Problem {
            status,
            reason,
            detail: self.to_string().into(),
            retry_after: None,
        };
        let mut response = problem.response(id).map(axum::body::Body::from);
        let extra = match self {
            Self::NoToken => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::WrongMethod => Some((ALLOW, HeaderValue::from_static("GET,HEAD"))),
            Self::NoOperator | Self::Nothing => None,
        };
        response.headers_mut().insert(identity::HEADER, id.header());
        response.headers_mut().extend(extra);
        response.into_response()
    }
}
