//! Every exit code, and which error gets which.
//!
//! To add a code: add it to [`Exit`] and to [`HELP`]; a test compares the two.
//! Codes are never given another meaning.

use crate::bundle::BundleError;
use crate::bundle::section::SectionError;
use crate::config::ConfigError;
use crate::node::StartError;
use lockport_client::{Error as ClientError, Reason};
use lockport_store::embedded::OpenError;
use std::error::Error;
use std::process::ExitCode;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Done,
    /// A fault of ours.
    Fault,
    /// The command line is wrong.
    Usage,
    /// A configuration or a manifest is wrong, or components do not fit.
    Config,
    /// A component cannot be loaded.
    Component,
    /// An address cannot be bound.
    Address,
    /// The store cannot be opened.
    Store,
    /// Another process uses the data directory.
    InUse,
    /// The lock API gave no answer.
    Unreachable,
    /// The lock API does not permit it.
    Denied,
    /// The lock API does not understand what was asked, or does not allow it.
    Refused,
    /// A limit of the lock API is reached.
    Quota,
    /// Somebody else has the locks.
    Contention,
    /// The locks were lost.
    Lost,
    /// The command that was to be run cannot be.
    NotRunnable,
    /// There is no such command to be run.
    NotFound,
    /// As the caller chose.
    Chosen(u8),
}

/// The codes, for `--help`.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  a fault of lockport itself
    2  the command line is wrong
    3  the configuration or a manifest is wrong, or components do not fit together
    4  a component cannot be loaded
    5  an address cannot be bound
    6  the store cannot be opened
    7  another process uses the data directory
    8  the lock API cannot be reached, or gave no answer
    9  the lock API does not permit it
   10  the lock API refused what was asked for
   11  a limit of the lock API is reached
   75  the locks were not obtained: somebody else has them
   76  the locks were lost, or the grant has ended
  126  the command that was to be run cannot be
  127  the command that was to be run was not found";

/// An error as its user sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong.
    pub error: String,
    /// Why, from the outside in.
    pub causes: Vec<String>,
    /// What to do about it, if we know.
    pub hint: Option<String>,
}

impl Report {
    /// An error and its causes.
    pub fn new(exit: Exit, error: &dyn Error, hint: Option<String>) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self {
            exit,
            error: error.to_string(),
            causes,
            hint,
        }
    }

    /// There is no command to run.
    pub fn no_command() -> Self {
        Self {
            exit: Exit::Usage,
            error: "there is no command to run".to_owned(),
            causes: vec![],
            hint: None,
        }
    }

    /// A fault of ours: something that was not supposed to fail.
    pub fn fault(error: &dyn Error) -> Self {
        Self::new(Exit::Fault, error, None)
    }
}

impl From<ConfigError> for Report {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, &error, error.hint().map(str::to_owned))
    }
}

impl From<BundleError> for Report {
    fn from(error: BundleError) -> Self {
        Self::new(Exit::of_bundle(&error), &error, error.hint())
    }
}

impl From<StartError> for Report {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Bundle(error) => Exit::of_bundle(error),
            StartError::Wiring(_)
            | StartError::Token(_)
            | StartError::Configuration(_)
            | StartError::Trust(_) => Exit::Config,
            StartError::Store(error) => Exit::of_store(error),
            StartError::Redis { .. } => Exit::Store,
            StartError::Component { .. } => Exit::Component,
            StartError::Bind { .. } => Exit::Address,
            StartError::Engine(_) | StartError::Host(_) => Exit::Fault,
        };
        Self::new(exit, &error, error.hint())
    }
}

impl From<ClientError> for Report {
    fn from(error: ClientError) -> Self {
        let hint = match error.reason {
            None if error.outcome_unknown() => {
                Some("is a node running? name its lock API with --server or LOCKPORT_LOCK_ADDR")
            }
            Some(Reason::Unauthenticated) => {
                Some("give a token with --token-file or LOCKPORT_API_TOKEN")
            }
            Some(Reason::Held) => Some("wait for it with --wait, such as --wait 10s"),
            _ => None,
        };
        Self::new(Exit::of_client(&error), &error, hint.map(str::to_owned))
    }
}

impl Exit {
    /// The code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Fault => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Component => 4,
            Self::Address => 5,
            Self::Store => 6,
            Self::InUse => 7,
            Self::Unreachable => 8,
            Self::Denied => 9,
            Self::Refused => 10,
            Self::Quota => 11,
            Self::Contention => 75,
            Self::Lost => 76,
            Self::NotRunnable => 126,
            Self::NotFound => 127,
            Self::Chosen(code) => code,
        }
    }

    fn of_client(error: &ClientError) -> Self {
        if error.is_contention() {
            return Self::Contention;
        }
        if error.is_lost() {
            return Self::Lost;
        }
        if error.outcome_unknown() {
            return Self::Unreachable;
        }
        match error.reason {
            Some(Reason::Unauthenticated | Reason::AccessDenied | Reason::NotHolder) => {
                Self::Denied
            }
            Some(Reason::Quota) => Self::Quota,
            Some(Reason::Internal) => Self::Fault,
            _ => Self::Refused,
        }
    }

    fn of_bundle(error: &BundleError) -> Self {
        match error {
            // What was named in the configuration is not there.
            BundleError::Manifest(_) | BundleError::Nothing { .. } => Self::Config,
            BundleError::Section {
                source: SectionError::TooLong(_) | SectionError::NotText,
                ..
            } => Self::Config,
            BundleError::NotBuilt { .. }
            | BundleError::Unreadable { .. }
            | BundleError::TooLarge { .. }
            | BundleError::Section { .. } => Self::Component,
        }
    }

    fn of_store(error: &OpenError) -> Self {
        match error {
            OpenError::InUse { .. } => Self::InUse,
            OpenError::Directory { .. }
            | OpenError::Newer { .. }
            | OpenError::Unreleased { .. }
            | OpenError::Foreign { .. }
            | OpenError::NoLog { .. }
            | OpenError::Database(_)
            | OpenError::Thread(_) => Self::Store,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests;
