//! Why the lock API refused, or gave no answer.

use lockport_proto::lock::Failure;
use lockport_proto::{ERROR_DOMAIN, Reason};
use std::error::Error as StdError;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why an operation failed.
///
/// Its text is a sentence to act on, without its [source](StdError::source).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Why the server refused. `None` if it was not the lock API that did: no
    /// connection, no answer, or another server.
    pub reason: Option<Reason>,
    /// The status code.
    pub code: Code,
    /// What to act on.
    pub message: String,
    /// What lies behind it: mostly a fault of the connection.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What became of an operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was refused.
    Refused,
    /// It is not known whether it happened.
    Unknown,
}

impl Error {
    /// Whether somebody else holds a lock, and nobody waited for it.
    pub fn is_held(&self) -> bool {
        self.reason == Some(Reason::Held)
    }

    /// Whether the locks were not free within the wait.
    pub fn is_timed_out(&self) -> bool {
        self.reason == Some(Reason::TimedOut)
    }

    /// Whether waiting would never have ended.
    pub fn is_deadlock(&self) -> bool {
        self.reason == Some(Reason::Deadlock)
    }

    /// Whether the grant or the session has ended.
    pub fn is_lost(&self) -> bool {
        matches!(
            self.reason,
            Some(Reason::Lost | Reason::UnknownGrant | Reason::UnknownSession)
        )
    }

    /// Whether somebody else has the locks: trying later may help.
    pub fn is_contention(&self) -> bool {
        self.is_held() || self.is_timed_out() || self.is_deadlock()
    }

    /// Whether it is not known if the operation happened: no answer came, or
    /// the server did not know either. Asking again is safe; it has been done
    /// for as long as [`Options::patience`](crate::Options::patience) says.
    pub fn outcome_unknown(&self) -> bool {
        self.outcome() == Outcome::Unknown
    }

    /// What a caller did wrong, found before anything was sent.
    pub(crate) fn local(message: String) -> Self {
        Self {
            reason: None,
            code: Code::InvalidArgument,
            message,
            source: None,
        }
    }

    /// That an answer makes no sense.
    pub(crate) fn nonsense(what: &str) -> Self {
        Self {
            reason: None,
            code: Code::Internal,
            message: format!("the server's answer makes no sense: {what}"),
            source: None,
        }
    }

    /// That a grant or a session has ended.
    pub(crate) fn lost(message: String) -> Self {
        Self {
            reason: Some(Reason::Lost),
            code: Reason::Lost.code(),
            message,
            source: None,
        }
    }

    /// That no answer came in time.
    pub(crate) fn no_answer(server: &str, within: Duration) -> Self {
        Self {
            reason: None,
            code: Code::Unavailable,
            message: format!("the lock API at {server} gave no answer within {within:?}"),
            source: None,
        }
    }

    /// That there is no connection.
    pub(crate) fn unreachable(server: &str, source: &dyn StdError) -> Self {
        Self {
            reason: None,
            code: Code::Unavailable,
            message: format!("the lock API at {server} cannot be reached"),
            source: Some(Box::new(Broken::new(source))),
        }
    }

    /// What a call failed with.
    pub(crate) fn from_status(server: &str, status: Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info
            .filter(|it| it.domain == ERROR_DOMAIN)
            .and_then(|it| Reason::from_name(&it.reason));
        if reason.is_none()
            && let Some(source) = status.source()
        {
            return Self::unreachable(server, source);
        }
        Self {
            reason,
            code: status.code(),
            message: match status.message() {
                "" => format!("the server refused: {}", status.code().description()),
                message => message.to_owned(),
            },
            source: None,
        }
    }

    /// What an operation on a session failed with.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self {
            reason: Reason::from_name(&failure.reason),
            code: Code::from_i32(failure.code),
            message: failure.message,
            source: None,
        }
    }

    /// The same of an acquire that has waited: what it finds held at last was
    /// not free within its wait.
    pub(crate) fn after_waiting(self, wait: Duration) -> Self {
        if wait.is_zero() || !self.is_held() {
            return self;
        }
        Self {
            reason: Some(Reason::TimedOut),
            code: Reason::TimedOut.code(),
            ..self
        }
    }

    fn outcome(&self) -> Outcome {
        match (self.reason, self.code) {
            (
                Some(
                    Reason::StoreUnavailable
                    | Reason::Recovering
                    | Reason::Draining
                    | Reason::DeadlineExceeded,
                ),
                _,
            ) => Outcome::Unknown,
            (Some(_), _) => Outcome::Refused,
            // Not the lock API's own words: the connection, or what is between.
            (
                None,
                Code::Unavailable
                | Code::Unknown
                | Code::Cancelled
                | Code::Internal
                | Code::DeadlineExceeded,
            ) => Outcome::Unknown,
            (None, _) => Outcome::Refused,
        }
    }
}

/// Why a connection failed: what lies behind a status that no server sent.
/// What is between says the same in other words.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Broken {
    text: String,
}

impl Broken {
    fn new(error: &dyn StdError) -> Self {
        let mut error = error;
        while let Some(source) = error.source() {
            error = source;
        }
        let text = error.to_string();
        Self { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::{ErrorDetails, StatusExt};

    fn status(reason: Reason) -> Status {
        let details = ErrorDetails::with_error_info(reason.name(), ERROR_DOMAIN, []);
        Status::with_error_details(reason.code(), "no", details)
    }

    #[test]
    fn every_reason_is_read_from_a_status_and_from_a_failure() {
        for reason in Reason::ALL.iter().copied() {
            let from_status = Error::from_status("a:1", status(reason));
            let from_failure = Error::from_failure(Failure {
                code: reason.code() as i32,
                reason: reason.name().to_owned(),
                message: "no".to_owned(),
            });
            for error in [from_status, from_failure] {
                assert_eq!(error.reason, Some(reason));
                assert_eq!(error.code, reason.code());
                assert_eq!(error.to_string(), "no");
            }
        }
    }

    #[test]
    fn only_what_may_pass_has_an_unknown_outcome() {
        let unknown = Reason::ALL.iter().copied();
        let unknown = unknown.filter(|it| Error::from_status("", status(*it)).outcome_unknown());
        assert_eq!(
            unknown.collect::<Vec<_>>(),
            [
                Reason::StoreUnavailable,
                Reason::Recovering,
                Reason::Draining,
                Reason::DeadlineExceeded
            ]
        );
        for of_others in [
            Status::unavailable("gone"),
            Status::deadline_exceeded("late"),
        ] {
            assert!(Error::from_status("", of_others).outcome_unknown());
        }
        assert!(!Error::from_status("", Status::unimplemented("what")).outcome_unknown());
    }

    #[test]
    fn a_reason_of_another_domain_is_not_ours() {
        let details = ErrorDetails::with_error_info("HELD", "example.com", []);
        let status = Status::with_error_details(Code::AlreadyExists, "no", details);
        assert_eq!(Error::from_status("", status).reason, None);
    }

    #[test]
    fn what_is_held_after_a_wait_has_timed_out() {
        let held = || Error::from_status("", status(Reason::Held));
        assert!(held().after_waiting(Duration::ZERO).is_held());
        assert!(held().after_waiting(Duration::from_secs(1)).is_timed_out());
    }
}
