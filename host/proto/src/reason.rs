//! The one table of why the lock API refuses: a name, a gRPC code and an HTTP
//! status each.

use http::StatusCode;
use std::fmt;
use tonic::Code;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, $status:ident;)+) => {
        /// Why the lock API refuses. The names never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name, as clients see it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Its gRPC status code.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)+ }
            }

            /// Its HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }
        }
    };
}

reasons! {
    /// Somebody else holds a lock, and the request does not wait.
    Held = "HELD", AlreadyExists, CONFLICT;
    /// The wait ran out.
    TimedOut = "TIMED_OUT", Aborted, CONFLICT;
    /// Waiting would never have ended.
    Deadlock = "DEADLOCK", Aborted, CONFLICT;
    /// The request id was cancelled.
    Cancelled = "CANCELLED", Aborted, CONFLICT;
    /// The grant, or the session, has ended.
    Lost = "LOST", FailedPrecondition, PRECONDITION_FAILED;
    /// The session is attached to another stream.
    Elsewhere = "ELSEWHERE", Aborted, CONFLICT;
    /// The grant, or the session, is another principal's.
    NotHolder = "NOT_HOLDER", PermissionDenied, FORBIDDEN;
    /// There never was such a grant.
    UnknownGrant = "UNKNOWN_GRANT", NotFound, NOT_FOUND;
    /// There never was such a session.
    UnknownSession = "UNKNOWN_SESSION", NotFound, NOT_FOUND;
    /// The bearer token is missing or wrong.
    Unauthenticated = "UNAUTHENTICATED", Unauthenticated, UNAUTHORIZED;
    /// The token does not permit this.
    AccessDenied = "ACCESS_DENIED", PermissionDenied, FORBIDDEN;
    /// The request cannot be read.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument, BAD_REQUEST;
    /// A name, or how many they are.
    InvalidName = "INVALID_NAME", InvalidArgument, BAD_REQUEST;
    /// The mode.
    InvalidMode = "INVALID_MODE", InvalidArgument, BAD_REQUEST;
    /// The number of permits.
    InvalidPermits = "INVALID_PERMITS", InvalidArgument, BAD_REQUEST;
    /// The lease.
    InvalidLease = "INVALID_LEASE", InvalidArgument, BAD_REQUEST;
    /// The wait.
    InvalidWait = "INVALID_WAIT", InvalidArgument, BAD_REQUEST;
    /// The holder's text.
    InvalidHolder = "INVALID_HOLDER", InvalidArgument, BAD_REQUEST;
    /// The owner.
    InvalidOwner = "INVALID_OWNER", InvalidArgument, BAD_REQUEST;
    /// The request id, or that it stands for another request.
    InvalidRequestId = "INVALID_REQUEST_ID", InvalidArgument, BAD_REQUEST;
    /// The session, its times, or where it is named.
    InvalidSession = "INVALID_SESSION", InvalidArgument, BAD_REQUEST;
    /// The grant's text is missing.
    InvalidGrant = "INVALID_GRANT", InvalidArgument, BAD_REQUEST;
    /// The page's size or token.
    InvalidPage = "INVALID_PAGE", InvalidArgument, BAD_REQUEST;
    /// The text for the log.
    InvalidReason = "INVALID_REASON", InvalidArgument, BAD_REQUEST;
    /// A limit is reached.
    Quota = "QUOTA", ResourceExhausted, TOO_MANY_REQUESTS;
    /// The store gave no answer: what was asked may have happened.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable, SERVICE_UNAVAILABLE;
    /// The store grants nothing new yet.
    Recovering = "RECOVERING", Unavailable, SERVICE_UNAVAILABLE;
    /// The node is about to end.
    Draining = "DRAINING", Unavailable, SERVICE_UNAVAILABLE;
    /// The client's own deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, GATEWAY_TIMEOUT;
    /// The body did not come in time; nothing was begun.
    TooSlow = "TOO_SLOW", DeadlineExceeded, REQUEST_TIMEOUT;
    /// There is no such method, path or lock API.
    NotFound = "NOT_FOUND", Unimplemented, NOT_FOUND;
    /// The path takes another HTTP method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", Unimplemented, METHOD_NOT_ALLOWED;
    /// The body is too large.
    TooLarge = "TOO_LARGE", ResourceExhausted, PAYLOAD_TOO_LARGE;
    /// The body is of another type.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", InvalidArgument, UNSUPPORTED_MEDIA_TYPE;
    /// The host failed.
    Internal = "INTERNAL", Internal, INTERNAL_SERVER_ERROR;
}

impl Reason {
    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(*reason));
        }
        assert_eq!(Reason::from_name("NONE"), None);
    }
}
