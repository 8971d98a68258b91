//! Every exit code, and which error gets which.
//!
//! To add a code: add it to [`Exit`] and to [`HELP`]; a test compares the two.
//! Codes are never given another meaning.

use crate::bundle::BundleError;
use crate::bundle::section::SectionError;
use crate::config::ConfigError;
use crate::node::StartError;
use lockport_store::embedded::OpenError;
use std::error::Error;
use std::process::ExitCode;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Done = 0,
    /// A fault of ours.
    Fault = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A configuration or a manifest is wrong, or components do not fit.
    Config = 3,
    /// A component cannot be loaded.
    Component = 4,
    /// An address cannot be bound.
    Address = 5,
    /// The store cannot be opened.
    Store = 6,
    /// Another process uses the data directory.
    InUse = 7,
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
  7  another process uses the data directory";

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
            StartError::Wiring(_) => Exit::Config,
            StartError::Store(error) => Exit::of_store(error),
            StartError::Component { .. } => Exit::Component,
            StartError::Bind { .. } => Exit::Address,
            StartError::Engine(_) | StartError::Host(_) => Exit::Fault,
        };
        Self::new(exit, &error, error.hint())
    }
}

impl Exit {
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
            | OpenError::Foreign { .. }
            | OpenError::NoLog { .. }
            | OpenError::Database(_)
            | OpenError::Thread(_) => Self::Store,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests;
